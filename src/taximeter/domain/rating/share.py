"""What a part of a price's usage costs, once the whole of it is known.

Owns the rule: at the average price of its rate. Parts that make up the whole cost what the whole
does, but for the 12th decimal.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.rate import rate_price
from taximeter.domain.rating.usage import Part, Usage, parts_of
from taximeter.kernel.quantity import ZERO, divide


class Averages:
    """What parts of the `usage` of a segment cost: of each rate's line, their share of the units
    (of the fees, where single events are priced); what bends the price as a whole is spread alike.
    The whole is rated once, however many parts are asked about.
    """

    __slots__ = ("_bent", "_price", "_rated", "_rates")

    def __init__(self, price: UsagePrice, usage: Usage) -> None:
        lines, wholes = rate_price(price, usage), parts_of(price, usage)
        self._price = price
        self._rated = sum((line.amount for line in lines[: len(wholes)]), ZERO)
        self._bent = sum((line.amount for line in lines[len(wholes) :]), ZERO)
        self._rates = {
            whole.match: (line.amount, _fees(whole), whole.quantity)
            for whole, line in zip(wholes, lines, strict=False)
        }

    def amount(self, part: Usage) -> Decimal:
        """What this part costs."""
        amount = ZERO
        for mine in parts_of(self._price, part):
            of_line, fees, quantity = self._rates.get(mine.match, (ZERO, ZERO, ZERO))
            of_all = fees or quantity
            if of_all:
                amount += divide(of_line * (_fees(mine) if fees else mine.quantity), of_all)
        if self._bent and self._rated:
            amount += divide(self._bent * amount, self._rated)
        return amount


def _fees(part: Part) -> Decimal:
    return sum((units.fees for units in part.units), ZERO)
