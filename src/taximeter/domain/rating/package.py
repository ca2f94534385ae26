"""The model package: ceil(max(0, q - free) / size) x amount.

A package that is begun is paid in full. A negative quantity needs no package: the amount is 0.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Package
from taximeter.domain.rating.place import Place
from taximeter.domain.rating.step import Step, free_step, free_units
from taximeter.kernel.quantity import ONE, ZERO, ceil_div, format_decimal


def amount(model: Package, quantity: Decimal) -> Decimal:
    """What `quantity` costs."""
    return _packages(model, quantity) * model.amount


def steps(model: Package, quantity: Decimal, place: Place | None = None) -> tuple[Step, ...]:
    """The free units, where the model has some, then the packages that these units begin."""
    before = ZERO if place is None else place.before
    end = before + max(quantity, ZERO)
    packages = _packages(model, end) - _packages(model, before)
    word = "package" if packages == ONE else "packages"
    text = (
        f"{format_decimal(packages)} {word} of {format_decimal(model.size)}"
        f" at {format_decimal(model.amount)}"
    )
    bought = Step(text, packages, model.amount, packages * model.amount)
    if model.free == ZERO:
        return (bought,)
    free = free_units(end, model.free) - free_units(before, model.free)
    return (free_step(free, model.free, "free"), bought)


def _packages(model: Package, quantity: Decimal) -> Decimal:
    return ceil_div(max(ZERO, quantity - model.free), model.size)
