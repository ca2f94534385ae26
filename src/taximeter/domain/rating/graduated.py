"""The model graduated: each tier's units at that tier's price, and its flat fee once entered.

Tier n + 1 is entered when the quantity exceeds tier n's bound. A negative quantity is all in the
first tier: a credit at its unit price, beside its flat fee, which is owed at 0 already.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.plan import Graduated, Tier
from taximeter.domain.rating.place import Place, alone
from taximeter.domain.rating.step import Step
from taximeter.domain.rating.tier import Bounded, tier_amount, tier_steps
from taximeter.kernel.quantity import ZERO


def amount(model: Graduated, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    total = ZERO
    for tier, units in _filled(model.tiers, quantity):
        total += tier_amount(tier, units) + tier.flat
    return total


def steps(model: Graduated, quantity: Decimal, place: Place | None = None) -> tuple[Step, ...]:
    """One or two steps for each tier entered; their quantities add up to `quantity`."""
    found: list[Step] = []
    for entry in entered(model.tiers, quantity, place or alone(quantity)):
        found += tier_steps(
            model.tiers, entry.tier, entry.units, offset=entry.offset, with_fee=entry.with_fee
        )
    return tuple(found)


def _filled(tiers: tuple[Tier, ...], quantity: Decimal) -> Iterator[tuple[Tier, Decimal]]:
    """The tiers that a lone price enters, in order, each with the units that fall in it."""
    start = ZERO
    for tier in tiers[:-1]:
        assert tier.up_to is not None, "only the last tier is without end"
        if quantity <= tier.up_to:
            yield tier, quantity - start
            return
        yield tier, tier.up_to - start
        start = tier.up_to
    yield tiers[-1], quantity - start


class Entry(NamedTuple):
    """The `units` that fall in the tier at index `tier`, after `offset` others in it, and whether
    they are the ones that enter it and so owe its flat fee.
    """

    tier: int
    offset: Decimal
    units: Decimal
    with_fee: bool


def entered(tiers: Sequence[Bounded], quantity: Decimal, place: Place) -> Iterator[Entry]:
    """The tiers that `quantity` units enter or add to at their place in the ladder, in order."""
    if quantity < ZERO:
        yield Entry(0, ZERO, quantity, place.first)
        return
    low, high, start = place.before, place.before + quantity, ZERO
    for index, tier in enumerate(tiers):
        end = None if index == len(tiers) - 1 else tier.up_to
        units = (high if end is None else min(high, end)) - max(low, start)
        enters = place.first if index == 0 else low <= start < high
        if units > ZERO or enters:
            yield Entry(index, max(low - start, ZERO), max(units, ZERO), enters)
        if end is None or high <= end:
            return
        start = end
