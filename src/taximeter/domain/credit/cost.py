"""What of a grant's cost basis goes with what is taken out of it.

Owns the one rule: cost goes in proportion to the amount, exact to the 12th decimal, counted from
the beginning of the grant. So the shares of parts taken one after the other sum to the share of
the whole, and what takes the last unit takes the last of the cost.
"""

from decimal import Decimal

from taximeter.kernel.quantity import divide


def cost_of(basis: Decimal, amount: Decimal, gone: Decimal) -> Decimal:
    """What of the cost `basis` of a grant of `amount` has gone once `gone` of it has been taken."""
    return basis if gone == amount else divide(basis * gone, amount)


def cost_between(basis: Decimal, amount: Decimal, before: Decimal, after: Decimal) -> Decimal:
    """What of the cost goes as what has been taken rises from `before` to `after` (negative where
    it falls: something is given back).
    """
    return cost_of(basis, amount, after) - cost_of(basis, amount, before)
