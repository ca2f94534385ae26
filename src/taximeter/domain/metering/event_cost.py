"""What an event says that it cost: the number or the amount in its `data.cost`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from taximeter.kernel.quantity import ZERO, parse_decimal, within_bounds


class EventCost(NamedTuple):
    """`amount` is None where it is no number of 0 or more; `asset` where none is named."""

    amount: Decimal | None
    asset: str | None


def event_cost(data: Mapping[str, Any]) -> EventCost | None:
    """The event's own cost; None where it carries none."""
    cost = data.get("cost")
    if cost is None:
        return None
    asset = None
    if type(cost) is dict:
        asset = cost.get("asset")
        cost = cost.get("amount")
    number = number_of(cost)
    return EventCost(None if number is None or number < ZERO else number, asset)


def number_of(value: object) -> Decimal | None:
    """A property as a number within the contract's digits; None for anything else."""
    if type(value) is int or type(value) is Decimal:
        number = Decimal(value)
        return number if within_bounds(number) else None
    return parse_decimal(value) if type(value) is str else None
