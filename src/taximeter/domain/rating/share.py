"""What a part of a price's usage costs, once the whole of it is known.

Owns the rule: at the average price of its rate. Parts that make up the whole cost what the whole
does, but for the 12th decimal.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.rate import rate_price
from taximeter.domain.rating.usage import Part, Usage, parts_of
from taximeter.kernel.quantity import ZERO, divide


def average_amount(price: UsagePrice, usage: Usage, part: Usage) -> Decimal:
    """What `part` of the `usage` of a segment costs: of each rate's line, its share of the units
    (of the fees, where single events are priced); what bends the price as a whole is spread alike.
    """
    lines = rate_price(price, usage)
    weights = {of_rate.match: of_rate for of_rate in parts_of(price, part)}
    amount = rated = ZERO
    wholes = parts_of(price, usage)
    for whole, line in zip(wholes, lines, strict=False):
        rated += line.amount
        mine = weights.get(whole.match)
        fees = _fees(whole)
        of_all = fees or whole.quantity
        if mine is not None and of_all:
            of_part = _fees(mine) if fees else mine.quantity
            amount += divide(line.amount * of_part, of_all)
    bent = sum((line.amount for line in lines[len(wholes) :]), ZERO)
    return amount + divide(bent * amount, rated) if bent and rated else amount


def _fees(part: Part) -> Decimal:
    return sum((units.fees for units in part.units), ZERO)
