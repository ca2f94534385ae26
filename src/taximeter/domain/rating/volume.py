"""The model volume: all units at the price of the tier that q falls in, plus its flat fee.

The amount may fall as the quantity grows (80 after 150); the difference is a credit, never
clamped. A negative quantity is priced in the first tier.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Volume
from taximeter.domain.rating.place import Place
from taximeter.domain.rating.step import Step, priced
from taximeter.domain.rating.tier import tier_index, tier_steps
from taximeter.kernel.quantity import ZERO


def amount(model: Volume, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    tier = model.tiers[tier_index(model.tiers, quantity)]
    return priced(quantity, tier.unit, tier.per) + tier.flat


def steps(model: Volume, quantity: Decimal, place: Place | None = None) -> tuple[Step, ...]:
    """The units, then the flat fee, of the one tier."""
    total, first = (quantity, True) if place is None else (place.total, place.first)
    total = min(total, quantity) if quantity < ZERO else total
    return tier_steps(model.tiers, tier_index(model.tiers, total), quantity, with_fee=first)
