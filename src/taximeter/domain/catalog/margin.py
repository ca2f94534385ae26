"""What a call must leave over: the margin floor of a plan.

Owns the value and its judgment of one call. What the call is priced at and what it costs are found
elsewhere; both are amounts of the plan's currency.
"""

from dataclasses import dataclass
from decimal import Decimal

from taximeter.kernel.quantity import ZERO, divide

_WHOLE = Decimal(100)


@dataclass(frozen=True, slots=True)
class MarginFloor:
    """At least `percent` of what a call is priced at is left when its cost is paid, else it is
    refused (`hard`) or told. A call that is free to the customer may cost `free_cost_max` (None:
    whatever it costs).
    """

    percent: Decimal
    hard: bool
    free_cost_max: Decimal | None

    def __post_init__(self) -> None:
        assert ZERO <= self.percent < _WHOLE, "a floor leaves room for some cost"

    def is_broken(self, *, price: Decimal, cost: Decimal) -> bool:
        """Whether a call of this price and cost leaves less than the floor."""
        if price <= ZERO:
            return self.free_cost_max is not None and cost > self.free_cost_max
        return (price - cost) * _WHOLE < price * self.percent


def margin_percent(*, price: Decimal, cost: Decimal) -> Decimal | None:
    """What is left of the price, in percent of it, to the 12th decimal; None of a free call."""
    return None if price <= ZERO else divide((price - cost) * _WHOLE, price)
