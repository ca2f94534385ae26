"""The model graduated: each tier's units at that tier's price, and its flat fee once entered.

Tier n + 1 is entered when the quantity exceeds tier n's bound. A negative quantity is all in the
first tier: a credit at its unit price, beside its flat fee, which is owed at 0 already.
"""

from collections.abc import Iterator
from decimal import Decimal

from taximeter.domain.catalog.plan import Graduated, Tier
from taximeter.domain.rating.step import Step, priced
from taximeter.domain.rating.tier import tier_steps
from taximeter.kernel.quantity import ZERO


def amount(model: Graduated, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    total = ZERO
    for tier, units in _entered(model.tiers, quantity):
        total += priced(units, tier.unit, tier.per) + tier.flat
    return total


def steps(model: Graduated, quantity: Decimal) -> tuple[Step, ...]:
    """One or two steps for each tier entered; their quantities add up to `quantity`."""
    found: list[Step] = []
    for index, (_, units) in enumerate(_entered(model.tiers, quantity)):
        found += tier_steps(model.tiers, index, units)
    return tuple(found)


def _entered(tiers: tuple[Tier, ...], quantity: Decimal) -> Iterator[tuple[Tier, Decimal]]:
    """The tiers entered, in order, each with the units that fall in it."""
    start = ZERO
    for tier in tiers[:-1]:
        assert tier.up_to is not None, "only the last tier is without end"
        if quantity <= tier.up_to:
            yield tier, quantity - start
            return
        yield tier, tier.up_to - start
        start = tier.up_to
    yield tiers[-1], quantity - start
