"""A plan document as YAML that reads back as the same plan.

Owns the order in which fields are written: as people write them, since the database keeps none.
"""

from collections.abc import Mapping
from typing import Any

import yaml

_ORDER = (
    "key", "name", "family", "segment", "feature", "type", "currency", "period", "trial_days",
    "prices", "meter", "asset", "settle", "timing", "included", "model", "dimensions", "rates",
    "match", "otherwise", "tiers", "up_to", "amount", "size", "free", "unit", "per", "percent",
    "flat", "multipliers", "pool", "outcome", "discount", "maximum", "minimum", "kind", "every",
    "expires", "limit", "window", "overage", "value", "concurrency",
    "rate",
)  # fmt: skip
_FIRST_OF_WORDS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_RANK = {name: rank for rank, name in enumerate(_ORDER)}
CONTENT_TYPE = "application/yaml"


def plan_yaml(document: Mapping[str, Any]) -> str:
    """The YAML of a plan document. Numbers are in quotes."""
    text: str = yaml.dump(
        _ordered(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True,
        default_flow_style=None, width=100,
    )  # fmt: skip
    return text


def _ordered(value: Any) -> Any:
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (_RANK.get(name, len(_ORDER)), name))
        return {name: _ordered(value[name]) for name in names if value[name] is not None}
    return value


class _Dumper(yaml.SafeDumper):
    """Quotes what no word starts like: `0.30`, `1e3` and `2026-01-01` stay texts everywhere."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if text and text[0] in _FIRST_OF_WORDS else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)
