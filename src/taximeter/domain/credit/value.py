"""What credit that was drawn was sold for, against what it cost to serve.

Owns both: what a draw is worth, by the grant that it took from, and when that is too little or too
much for its cost. Must not know what was used.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.margin import margin_percent
from taximeter.domain.credit.wallet import GrantKind
from taximeter.kernel.money import Money
from taximeter.kernel.quantity import ZERO, divide

ValueFlag = Literal["too_cheap", "too_dear"]


@dataclass(frozen=True, slots=True)
class DrawnFrom:
    """A grant that was drawn from: what there was of it, and what was paid for it (None: that was
    not said).
    """

    kind: GrantKind
    amount: Decimal
    cost_basis: Money | None


def worth(
    drawn: Decimal, source: DrawnFrom | None, unit_price: Decimal | None, currency: str
) -> Decimal | None:
    """What was or will be paid for `drawn`, in `currency`: nothing where it was given; its share of
    what the grant cost; else, and of usage past the grants (no `source`), the list price. None
    where that is not known.
    """
    if source is not None:
        if source.kind == "promotional":
            return ZERO
        if source.cost_basis is not None:
            if source.cost_basis.asset != currency:
                return None
            return divide(source.cost_basis.amount * drawn, source.amount)
    return None if unit_price is None else drawn * unit_price


@dataclass(frozen=True, slots=True)
class Corridor:
    """Between which margins, in percent, credit is sold right (None: no bound)."""

    least: Decimal
    most: Decimal | None

    def flag(self, *, value: Decimal, cost: Decimal) -> ValueFlag | None:
        """What is wrong with selling for `value` what costs `cost`."""
        percent = margin_percent(price=value, cost=cost)
        if percent is None:
            return "too_cheap" if cost > ZERO else None
        if percent < self.least:
            return "too_cheap"
        return "too_dear" if self.most is not None and percent > self.most else None
