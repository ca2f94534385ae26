"""Counting what is charged towards budgets.

Owns which budgets a charge counts towards: those of its asset whose path it lies within, in the
window in which it is charged. Called last in a transaction, after wallets are drawn.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection
from taximeter.storage import budgets as storage

# The terms of those customers who have budgets.
Limited = Mapping[str, CustomerTerms]


def limited_among(terms: Iterable[CustomerTerms | None]) -> Limited:
    """Those of these terms that hold budgets, by customer."""
    return {one.customer.key: one for one in terms if one is not None and one.budgets}


def is_limited(limited: Limited, customer: str, asset: str) -> bool:
    """Whether the customer has a budget of this asset."""
    terms = limited.get(customer)
    return terms is not None and any(budget.asset == asset for budget in terms.budgets)


class Spend(NamedTuple):
    """An amount charged for usage at `path`: negative where it is given back."""

    customer: str
    asset: str
    amount: Decimal
    path: str | None


async def count_spend(
    connection: Connection,
    terms: Mapping[str, CustomerTerms],
    spends: Sequence[Spend],
    at: datetime,
) -> None:
    """Add these amounts, charged at the instant `at`, to the budgets that cover them; `terms` are
    those of their customers.
    """
    found: dict[tuple[str, str, datetime], Decimal] = defaultdict(lambda: ZERO)
    starts: dict[tuple[str, str], datetime] = {}
    for spend in spends:
        for budget in terms[spend.customer].budgets:
            if budget.covers(spend.asset, spend.path):
                window = (spend.customer, budget.window)
                if window not in starts:
                    starts[window] = terms[spend.customer].window_of(budget, at).start
                found[spend.customer, budget.name, starts[window]] += spend.amount
    found = {key: amount for key, amount in found.items() if amount != ZERO}
    if found:
        await storage.add_spend(connection, found)
