"""The model volume: all units at the price of the tier that q falls in, plus its flat fee.

The amount may fall as the quantity grows (80 after 150); the difference is a credit, never
clamped. A negative quantity is priced in the first tier.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Volume
from taximeter.domain.rating.place import Place
from taximeter.domain.rating.step import Step
from taximeter.domain.rating.tier import tier_amount, tier_index, tier_steps
from taximeter.kernel.quantity import ZERO


def amount(model: Volume, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    tier = model.tiers[tier_index(model.tiers, quantity)]
    return tier_amount(tier, quantity) + tier.flat


def steps(model: Volume, quantity: Decimal, place: Place | None = None) -> tuple[Step, ...]:
    """The units, then the flat fee, of the one tier."""
    total, first = (quantity, True) if place is None else (place.total, place.first)
    total = min(total, quantity) if quantity < ZERO else total
    offset = ZERO if place is None else place.before
    index = tier_index(model.tiers, total)
    return tier_steps(model.tiers, index, quantity, offset=offset, with_fee=first)
