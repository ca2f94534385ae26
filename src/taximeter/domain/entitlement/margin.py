"""One call against the margin floor of the plan that prices it.

Owns what is found of it; where that stands among what decides about a hold is credit/hold.py's.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.margin import MarginFloor, margin_percent
from taximeter.kernel.quantity import ZERO, divide

MarginDoubt = Literal["margin_floor", "cost_unknown"]
_WHOLE = Decimal(100)


@dataclass(frozen=True, slots=True)
class CallMargin:
    """What a call is priced at and what it costs (None: that was not said), in `asset`, and the
    floor that it must keep.
    """

    floor: MarginFloor
    asset: str
    price: Decimal
    cost: Decimal | None

    @property
    def doubt(self) -> MarginDoubt | None:
        """What is wrong with the call, if anything is."""
        if self.cost is None:
            return "cost_unknown"
        broken = self.floor.is_broken(price=self.price, cost=self.cost)
        return "margin_floor" if broken else None

    @property
    def percent(self) -> Decimal | None:
        """What the call leaves over, in percent of its price; None where that cannot be told."""
        return None if self.cost is None else margin_percent(price=self.price, cost=self.cost)

    @property
    def excess(self) -> Decimal:
        """By how much the call costs more than the floor lets it, where that is broken."""
        assert self.cost is not None, "what is not known breaks nothing"
        if self.price <= ZERO:
            return self.cost - (self.floor.free_cost_max or ZERO)
        return self.cost - divide(self.price * (_WHOLE - self.floor.percent), _WHOLE)
