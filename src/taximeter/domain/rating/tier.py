"""What the tiered models share: which tier a quantity falls in, and how a tier is called.

Bounds are inclusive and the first tier is entered at 0. A negative quantity falls in the first
tier and is priced there, so it can never be inflated by the tiers above. A last tier that has a
bound is still the last: a quantity beyond it stays in it, because use is never unpriced.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from taximeter.domain.catalog.plan import Tier
from taximeter.domain.rating.step import Step, units_step
from taximeter.kernel.quantity import ZERO, format_decimal


class Bounded(Protocol):
    """A tier, as far as its bound goes."""

    @property
    def up_to(self) -> Decimal | None:
        """The last quantity of the tier (None: without end)."""
        ...


def tier_index(tiers: Sequence[Bounded], quantity: Decimal) -> int:
    """The index of the tier that `quantity` falls in."""
    for index, tier in enumerate(tiers):
        if tier.up_to is None or quantity <= tier.up_to:
            return index
    return len(tiers) - 1


def tier_label(tiers: Sequence[Bounded], index: int) -> str:
    """`tier 2 (above 5 to 10)`."""
    start = tiers[index - 1].up_to if index else None
    end = tiers[index].up_to
    words = []
    if start is not None:
        words.append(f"above {format_decimal(start)}")
    if end is not None:
        words.append(f"to {format_decimal(end)}")
        if index == len(tiers) - 1:
            words.append("and beyond")
    return f"tier {index + 1} ({' '.join(words) or 'any quantity'})"


def tier_steps(
    tiers: Sequence[Tier], index: int, units: Decimal, *, with_fee: bool = True
) -> tuple[Step, ...]:
    """`units` at the tier's unit price, then its flat fee (`with_fee`); one step where it has only
    a fee.
    """
    tier = tiers[index]
    label = tier_label(tiers, index)
    if tier.flat == ZERO or not with_fee:
        return (units_step(f"{label}: ", units, tier.unit, tier.per),)
    fee = f"flat fee {format_decimal(tier.flat)}"
    if tier.unit == ZERO:
        return (Step(f"{label}: {fee} for {format_decimal(units)}", units, None, tier.flat),)
    return (
        units_step(f"{label}: ", units, tier.unit, tier.per),
        Step(f"{label}: {fee}", None, None, tier.flat),
    )
