"""The model stairstep: the flat fee of the tier that q falls in.

The first step is owed at 0, and for a negative quantity as well: a fee that use cannot lower.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Stairstep
from taximeter.domain.rating.step import Step
from taximeter.domain.rating.tier import tier_index, tier_label
from taximeter.kernel.quantity import format_decimal


def amount(model: Stairstep, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    return model.tiers[tier_index(model.tiers, quantity)].flat


def steps(model: Stairstep, quantity: Decimal) -> tuple[Step, ...]:
    """The one fee."""
    index = tier_index(model.tiers, quantity)
    fee = model.tiers[index].flat
    text = f"{tier_label(model.tiers, index)}: {format_decimal(fee)} for {format_decimal(quantity)}"
    return (Step(text, quantity, None, fee),)
