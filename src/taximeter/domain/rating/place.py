"""Where a price's units stand in a ladder.

A lone price has its ladder to itself. In a pool the prices fill one ladder in the order in which
they are written: each begins where those before it end.
"""

from decimal import Decimal
from typing import NamedTuple

from taximeter.kernel.quantity import ZERO


class Place(NamedTuple):
    """`before` units of other prices stand below; `total` are in the ladder in all. The `first`
    price pays what is owed once, from the first unit or none.
    """

    before: Decimal
    total: Decimal
    first: bool


def alone(quantity: Decimal) -> Place:
    """The place of `quantity` units that share their ladder with none."""
    return Place(ZERO, quantity, first=True)
