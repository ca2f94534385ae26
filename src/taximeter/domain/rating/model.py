"""The models by name: what a quantity costs, and the steps that say so.

Owns the choice of the model's module. Models that price single events have no amount of a
quantity: event_price.py gives each event its fee.
"""

from decimal import Decimal
from typing import assert_never

from taximeter.domain.catalog.plan import (
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PerUnit,
    QuantityModel,
    Stairstep,
    Volume,
)
from taximeter.domain.rating import (
    graduated,
    graduated_percentage,
    package,
    per_unit,
    percentage,
    stairstep,
    volume,
)
from taximeter.domain.rating.place import Place
from taximeter.domain.rating.step import Step


def model_amount(model: QuantityModel, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    match model:
        case PerUnit():
            return per_unit.amount(model, quantity)
        case Package():
            return package.amount(model, quantity)
        case Graduated():
            return graduated.amount(model, quantity)
        case Volume():
            return volume.amount(model, quantity)
        case Stairstep():
            return stairstep.amount(model, quantity)
        case GraduatedPercentage():
            return graduated_percentage.amount(model, quantity)
        case Percentage():
            return percentage.amount(model, quantity)
        case _:
            assert_never(model)


def model_steps(
    model: QuantityModel, quantity: Decimal, place: Place | None = None
) -> tuple[Step, ...]:
    """The steps that add up to it; `place` is where the units stand in the ladder of a pool."""
    match model:
        case PerUnit():
            return per_unit.steps(model, quantity)
        case Package():
            return package.steps(model, quantity, place)
        case Graduated():
            return graduated.steps(model, quantity, place)
        case Volume():
            return volume.steps(model, quantity, place)
        case Stairstep():
            return stairstep.steps(model, quantity, place)
        case GraduatedPercentage():
            return graduated_percentage.steps(model, quantity, place)
        case Percentage():
            return percentage.steps(model, quantity)
        case _:
            assert_never(model)
