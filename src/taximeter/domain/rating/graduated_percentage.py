"""The model graduated_percentage: each tier's part of an amount at that tier's percent, and its
flat fee once entered. Tiers are entered as those of the model graduated.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import GraduatedPercentage
from taximeter.domain.rating.graduated import entered
from taximeter.domain.rating.place import Place, alone
from taximeter.domain.rating.step import Step, percent_of, percent_step
from taximeter.domain.rating.tier import tier_label
from taximeter.kernel.quantity import ZERO, format_decimal


def amount(model: GraduatedPercentage, quantity: Decimal) -> Decimal:
    """What the amount `quantity` costs."""
    total = ZERO
    for index, _, part, with_fee in entered(model.tiers, quantity, alone(quantity)):
        tier = model.tiers[index]
        total += percent_of(tier.percent, part) + (tier.flat if with_fee else ZERO)
    return total


def steps(
    model: GraduatedPercentage, quantity: Decimal, place: Place | None = None
) -> tuple[Step, ...]:
    """One or two steps for each tier entered."""
    found = []
    for index, _, part, with_fee in entered(model.tiers, quantity, place or alone(quantity)):
        tier, label = model.tiers[index], tier_label(model.tiers, index)
        found.append(percent_step(f"{label}: ", part, tier.percent))
        if with_fee and tier.flat != ZERO:
            text = f"{label}: flat fee {format_decimal(tier.flat)}"
            found.append(Step(text, None, None, tier.flat))
    return tuple(found)
