"""How one event's value is read and how values become a quantity.

Owns the rules of each aggregation. Folding is the same for a batch that arrives now and for a
query over raw events; storage adds two folded parts by the same rules.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from taximeter.domain.catalog.expression import Expression, Uncomputable
from taximeter.domain.catalog.meter import WHOLE, Aggregation, Meter
from taximeter.domain.metering.event import Event
from taximeter.kernel.quantity import ONE, ZERO, ceil_div, format_decimal, parse_decimal

DIMENSIONS_BYTES_MAX = 1500
MISSING_VALUE = "missing_value"
NON_NUMERIC_VALUE = "non_numeric_value"
NEGATIVE_VALUE = "negative_value"
UNCOMPUTABLE_VALUE = "uncomputable_value"
INVALID_DIMENSION = "invalid_dimension"

Value = Decimal | int | str

_encode = msgspec.json.Encoder().encode


class Unreadable(Exception):
    """An event that a meter cannot read. `args[0]` is the stable reason it is quarantined for."""


def property_at(data: Mapping[str, Any], path: str) -> Any:
    """The property of `data` at a dotted path, None where it is missing. A key that itself
    contains the dots wins.
    """
    if path in data:
        return data[path]
    value: Any = data
    for part in path.split("."):
        if type(value) is not dict or part not in value:
            return None
        value = value[part]
    return value


def text_of(value: object) -> str | None:
    """A property as the text that dimensions, filters and distinct values compare: `true`, `12`,
    `0.5`; so 1 and "1" are the same value. None for objects and arrays, "" for a missing one.
    """
    if type(value) is str:
        return value
    if value is None:
        return ""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is Decimal:
        return format_decimal(value)
    return None


def counts(meter: Meter, data: Mapping[str, Any]) -> bool:
    """Whether the meter's filter lets this event count. A missing property is none of the values
    that count, and none of those that do not.
    """
    return all(
        (value := property_at(data, path)) is not None and text_of(value) in wanted
        for path, wanted in meter.filter
    ) and not any(
        (value := property_at(data, path)) is not None and text_of(value) in unwanted
        for path, unwanted in meter.exclude
    )


def metered_value(meter: Meter, data: Mapping[str, Any]) -> Value:
    """What the event adds: 1 for `count`, a text for `unique`, else a number.

    Raises `Unreadable` where a property is missing, not a number, or negative on a meter that does
    not allow that, and where the meter's expression has no result.
    """
    if meter.value is None:
        return 1
    if meter.expression is not None:
        value: Any = _computed(meter.expression, data)
    else:
        value = data.get(meter.value)
        if type(value) is int and value >= 0 and meter.aggregation != "unique":
            return value
        value = property_at(data, meter.value)
        if value is None:
            raise Unreadable(MISSING_VALUE)
    if meter.aggregation == "unique":
        text = text_of(value)
        if text is None:
            raise Unreadable(NON_NUMERIC_VALUE)
        return text
    number = _number(value)
    if number < 0 and not meter.allow_negative:
        raise Unreadable(NEGATIVE_VALUE)
    return number


def _computed(expression: Expression, data: Mapping[str, Any]) -> Decimal | int:
    values = []
    for name in expression.names:
        value = property_at(data, name)
        if value is None:
            raise Unreadable(MISSING_VALUE)
        values.append(_number(value))
    try:
        return expression.result(values)
    except Uncomputable:
        raise Unreadable(UNCOMPUTABLE_VALUE) from None


def _number(value: object) -> Decimal | int:
    number: Decimal | int | None
    if type(value) is int or type(value) is Decimal:
        number = value
    else:
        number = parse_decimal(value) if type(value) is str else None
    if number is None:
        raise Unreadable(NON_NUMERIC_VALUE)
    return number


def dimension_values(meter: Meter, data: Mapping[str, Any]) -> tuple[str, ...]:
    """The event's values of the meter's dimensions, in the meter's order ("" where missing).

    Raises `Unreadable` for an object or array, or where they are together over 1,500 bytes
    of JSON, as which they are keys of an index.
    """
    values = []
    size = 0
    for path in meter.dimensions:
        text = text_of(property_at(data, path))
        if text is None:
            raise Unreadable(INVALID_DIMENSION)
        size += len(_encode(text)) + len(_encode(path)) + 2
        values.append(text)
    if size > DIMENSIONS_BYTES_MAX:
        raise Unreadable(INVALID_DIMENSION)
    return tuple(values)


def read_value(meter: Meter, data: Mapping[str, Any]) -> tuple[tuple[str, ...], Value] | None:
    """The event's dimension values and what it adds; None where the meter does not count it, or
    cannot read it.
    """
    try:
        if not counts(meter, data):
            return None
        return dimension_values(meter, data), metered_value(meter, data)
    except Unreadable:
        return None


def latest_order(event: Event) -> str:
    """By what `latest` decides: event time, then receipt, then identity. Compares as text."""
    return "|".join(
        (
            event.time.replace(tzinfo=None).isoformat(timespec="microseconds"),
            event.received_at.replace(tzinfo=None).isoformat(timespec="microseconds"),
            event.source,
            event.id,
        )
    )


def member_digest(dimensions: str, value: str) -> bytes:
    """The 16-byte identity of one distinct value within one set of dimensions."""
    return hashlib.blake2b(f"{dimensions}\0{value}".encode(), digest_size=16).digest()


class Tally(msgspec.Struct, gc=False):
    """The folded part of some events of one meter. `latest` orders the last value of a `latest`
    meter; `members` holds the distinct values of a `unique` one; `values` how often each value of a
    `percentile` came, and `levels` what each event of a level said: neither has a quantity until
    all of it is known (`folded_quantity`).
    """

    quantity: Decimal | int = 0
    events: int = 0
    latest: str | None = None
    members: set[str] | None = None
    levels: list[tuple[Event, Decimal | int]] | None = None
    values: Counter[Decimal | int] | None = None

    def add(self, aggregation: Aggregation, value: Value, event: Event) -> None:
        """Fold one event's `metered_value` in."""
        self.events += 1
        if aggregation == "sum" or aggregation == "count":
            self.quantity += value  # type: ignore[operator]
        elif aggregation == "unique":
            if self.members is None:
                self.members = set()
            self.members.add(str(value))
            self.quantity = len(self.members)
        elif aggregation == "weighted_sum":
            assert not isinstance(value, str)
            if self.levels is None:
                self.levels = []
            self.levels.append((event, value))
        elif aggregation == "percentile":
            assert not isinstance(value, str)
            if self.values is None:
                self.values = Counter()
            self.values[value] += 1
        else:
            assert not isinstance(value, str)
            self._replace(aggregation, value, event)

    def apart(self) -> "Tally":
        """The same, to merge others into: what it holds is not shared with this one."""
        members = None if self.members is None else set(self.members)
        values = None if self.values is None else Counter(self.values)
        return Tally(self.quantity, self.events, self.latest, members, self.levels, values)

    def merge(self, aggregation: Aggregation, other: "Tally") -> None:
        """Fold another part of the same meter in."""
        self.events += other.events
        if aggregation == "sum" or aggregation == "count":
            self.quantity += other.quantity
        elif aggregation == "unique":
            self.members = (self.members or set()) | (other.members or set())
            self.quantity = len(self.members)
        elif aggregation == "percentile":
            if self.values is None:
                self.values = Counter()
            self.values.update(other.values or {})
        elif aggregation == "latest":
            if self.latest is None or (other.latest or "") > self.latest:
                self.latest, self.quantity = other.latest, other.quantity
        elif self.events == other.events or (other.quantity > self.quantity) == (
            aggregation == "max"
        ):
            self.quantity = other.quantity

    def _replace(self, aggregation: Aggregation, value: Decimal | int, event: Event) -> None:
        if aggregation == "latest":
            order = latest_order(event)
            if self.latest is None or order > self.latest:
                self.latest, self.quantity = order, value
        elif self.events == 1 or (value > self.quantity) == (aggregation == "max"):
            self.quantity = value


def folded_quantity(meter: Meter, tally: Tally) -> Decimal:
    """What a tally of the meter's events comes to."""
    if meter.percentile is None:
        return Decimal(tally.quantity)
    return nearest_rank(tally.values or Counter(), meter.percentile)


def nearest_rank(values: Mapping[Decimal | int, int], percentile: Decimal) -> Decimal:
    """The least of these values (each with how often it came) that at least this share of them is
    not above: in order, the one at the place of percentile x number, rounded up. 0 of none.
    """
    rank = ceil_div(percentile * sum(values.values()), ONE)
    reached = 0
    for value in sorted(values):
        reached += values[value]
        if reached >= rank:
            return Decimal(value)
    return ZERO


def combine(aggregation: Aggregation, parts: list[tuple[Decimal, str | None]]) -> Decimal:
    """The quantity of parts that were folded apart: (quantity, latest order) each.

    Raises `AssertionError` for what is of all values at once, and does not add up.
    """
    assert aggregation not in WHOLE, "it is counted from all values"
    if not parts:
        return ZERO
    quantities = [quantity for quantity, _ in parts]
    if aggregation == "max":
        return max(quantities)
    if aggregation == "min":
        return min(quantities)
    if aggregation == "latest":
        return max(parts, key=lambda part: part[1] or "")[0]
    return sum(quantities, ZERO)
