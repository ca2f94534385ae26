"""Which prices are linear: parts of their usage rate apart and add up to the whole.

Owns the one test that lets a settlement rate only what changed.
"""

from taximeter.domain.catalog.plan import (
    CostPlus,
    Dimensional,
    Dynamic,
    Percentage,
    PerUnit,
    RateModel,
    UsagePrice,
)
from taximeter.kernel.quantity import ONE, divide


def is_linear(price: UsagePrice) -> bool:
    """Whether each unit costs the same whatever else was used, to the last digit."""
    if price.included or price.group or price.maximum_per_day is not None:
        return False
    if price.maximum is not None or price.minimum is not None:
        return False
    if price.discount is not None and price.discount.amount is not None:
        return False
    model = price.model
    if isinstance(model, Dimensional):
        others = () if isinstance(model.otherwise, str) else (model.otherwise,)
        return all(_adds_up(one) for one in (*(rate.model for rate in model.rates), *others))
    return _adds_up(model)


def _adds_up(model: RateModel) -> bool:
    """An inexact division by `per` would be rounded once for each part."""
    if isinstance(model, PerUnit):
        return divide(ONE, model.per) * model.per == ONE
    if isinstance(model, Percentage):
        return not model.in_order and not model.free_amount
    return isinstance(model, CostPlus | Dynamic)
