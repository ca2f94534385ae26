"""What the tiered models share: which tier a quantity falls in, and how a tier is called.

Bounds are inclusive and the first tier is entered at 0. A negative quantity falls in the first
tier and is priced there, so it can never be inflated by the tiers above. A last tier that has a
bound is still the last: a quantity beyond it stays in it, because use is never unpriced.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from taximeter.domain.catalog.plan import Tier
from taximeter.domain.rating.step import Step, priced, units_step
from taximeter.kernel.quantity import ONE, ZERO, ceil_div, format_decimal


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


def tier_amount(tier: Tier, units: Decimal, *, offset: Decimal = ZERO) -> Decimal:
    """What `units` cost at the tier's unit price, its flat fee apart. `offset` units of other
    prices stand in the tier before them: sold in blocks, the one they began is paid already.
    """
    if tier.blocks:
        return _blocks(tier, units, offset) * tier.unit
    return priced(units, tier.unit, tier.per)


def _blocks(tier: Tier, units: Decimal, offset: Decimal) -> Decimal:
    """How many blocks the units begin; a negative quantity begins none."""
    end = offset + max(units, ZERO)
    return ceil_div(end, tier.per) - ceil_div(offset, tier.per)


def _tier_step(tier: Tier, label: str, units: Decimal, offset: Decimal) -> Step:
    if not tier.blocks:
        return units_step(f"{label}: ", units, tier.unit, tier.per)
    blocks = _blocks(tier, units, offset)
    word = "block" if blocks == ONE else "blocks"
    text = (
        f"{label}: {format_decimal(blocks)} {word} of {format_decimal(tier.per)} at "
        f"{format_decimal(tier.unit)}"
    )
    return Step(text, blocks, tier.unit, blocks * tier.unit)


def tier_steps(
    tiers: Sequence[Tier],
    index: int,
    units: Decimal,
    *,
    offset: Decimal = ZERO,
    with_fee: bool = True,
) -> tuple[Step, ...]:
    """`units` at the tier's unit price, then its flat fee (`with_fee`); one step where it has only
    a fee. `offset` is as in `tier_amount`.
    """
    tier = tiers[index]
    label = tier_label(tiers, index)
    step = _tier_step(tier, label, units, offset)
    if tier.flat == ZERO or not with_fee:
        return (step,)
    fee = f"flat fee {format_decimal(tier.flat)}"
    if tier.unit == ZERO:
        return (Step(f"{label}: {fee} for {format_decimal(units)}", units, None, tier.flat),)
    return step, Step(f"{label}: {fee}", None, None, tier.flat)
