"""What of an event's content has to stay so that usage can be counted again, and what need not.

Owns the rule: what a meter or a price reads stays, everything else may be taken away. The digest of
an event is of what was sent, and is not computed again.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from taximeter.domain.catalog.meter import Meter

# What costs and outcomes are read from.
ALWAYS_READ = frozenset(("cost", "outcome_id", "human_review"))
_CONDITIONS = ("when", "match")
_PROPERTIES = ("value", "dimensions")


def read_by_meters(meters: Iterable[Meter]) -> set[str]:
    """The properties of `data`, as dotted paths, that these meters read."""
    paths: set[str] = set()
    for meter in meters:
        if meter.expression is not None:
            paths.update(meter.expression.names)
        elif meter.value is not None:
            paths.add(meter.value)
        paths.update(meter.dimensions)
        paths.update(path for path, _ in (*meter.filter, *meter.exclude))
    return paths


def read_by_prices(document: object) -> set[str]:
    """The properties that a plan's document, or a part of it, names: in conditions and matches, as
    values and as dimensions. Names a few too many rather than one too few.
    """
    if isinstance(document, Mapping):
        paths: set[str] = set()
        for key, value in document.items():
            if key in _CONDITIONS and isinstance(value, Mapping):
                paths.update(map(str, value))
            elif key in _PROPERTIES:
                paths.update([value] if isinstance(value, str) else map(str, _listed(value)))
            paths |= read_by_prices(value)
        return paths
    if isinstance(document, list | tuple):
        return set().union(*map(read_by_prices, document))
    return set()


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else ()


def reduced(data: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Of an event's `data` what stands at one of these paths; a key that itself contains the dots
    wins, as it does where properties are read.
    """
    kept: dict[str, Any] = {}
    for path in sorted(paths):
        if path in data:
            kept[path] = data[path]
            continue
        parts = path.split(".")
        value: Any = data
        for part in parts:
            if type(value) is not dict or part not in value:
                break
            value = value[part]
        else:
            within = kept
            for part in parts[:-1]:
                inner = within.get(part)
                within[part] = inner = dict(inner) if type(inner) is dict else {}
                within = inner
            within[parts[-1]] = value
    return kept
