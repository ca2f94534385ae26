"""The model stairstep: the flat fee of the tier that q falls in.

The first step is owed at 0, and for a negative quantity as well: a fee that use cannot lower.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Stairstep
from taximeter.domain.rating.place import Place
from taximeter.domain.rating.step import Step
from taximeter.domain.rating.tier import tier_index, tier_label
from taximeter.kernel.quantity import format_decimal


def amount(model: Stairstep, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    return model.tiers[tier_index(model.tiers, quantity)].flat


def steps(model: Stairstep, quantity: Decimal, place: Place | None = None) -> tuple[Step, ...]:
    """The one fee, which the first price of a pool owes for all."""
    if place is not None and not place.first:
        return ()
    index = tier_index(model.tiers, quantity if place is None else place.total)
    fee = model.tiers[index].flat
    text = f"{tier_label(model.tiers, index)}: {format_decimal(fee)} for {format_decimal(quantity)}"
    return (Step(text, quantity, None, fee),)
