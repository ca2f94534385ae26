"""The model per_unit: q / per x unit. A negative quantity gives a negative amount (a credit)."""

from decimal import Decimal

from taximeter.domain.catalog.plan import PerUnit
from taximeter.domain.rating.step import Step, priced, units_step


def amount(model: PerUnit, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    return priced(quantity, model.unit, model.per)


def steps(model: PerUnit, quantity: Decimal) -> tuple[Step, ...]:
    """The amount as one step."""
    return (units_step("", quantity, model.unit, model.per),)
