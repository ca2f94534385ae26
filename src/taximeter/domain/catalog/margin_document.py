"""Reading the margin floor of a plan. Owns its grammar, defaults and checks."""

from collections.abc import Sequence
from decimal import Decimal
from typing import get_args

from taximeter.domain.catalog.credit import CreditUnit
from taximeter.domain.catalog.fields import Fields
from taximeter.domain.catalog.margin import MarginFloor
from taximeter.domain.catalog.plan import Enforcement, Price, UsagePrice

PERCENT_MAX = Decimal(100)
ENFORCEMENTS: tuple[Enforcement, ...] = get_args(Enforcement)


def read_margin(
    fields: Fields, prices: Sequence[Price], assets: Sequence[CreditUnit], currency: str | None
) -> MarginFloor | None:
    """The plan's optional `margin`. What usage is priced in must have a price in the plan's
    currency, for a margin to be told.
    """
    nested = fields.nested("margin")
    if nested is None:
        return None
    percent = nested.number("floor")
    enforcement = nested.choice("enforcement", ENFORCEMENTS, default="hard")
    free_cost_max = nested.number("free_cost_max", optional=True)
    nested.done()
    if percent is not None and percent >= PERCENT_MAX:
        nested.fail("floor", "out_of_range", "Nothing could cost anything. Say less than 100.")
        return None
    priced = {one.asset for one in assets if one.unit_price is not None} | {currency}
    for price in prices:
        if isinstance(price, UsagePrice) and price.asset not in priced:
            detail = (
                f"A unit of {price.asset} has no price, so that no margin can be told. Say its "
                "unit_price under assets."
            )
            fields.fail("margin", "no_unit_price", detail)
            return None
    if percent is None or enforcement is None:
        return None
    return MarginFloor(percent, enforcement == "hard", free_cost_max)
