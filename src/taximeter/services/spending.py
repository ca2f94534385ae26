"""Counting what is charged towards budgets.

Owns which budgets a charge counts towards: those of its asset whose path it lies within, in the
window in which it is charged. Called last in a transaction, after wallets are drawn.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection
from taximeter.storage import budgets as storage


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
    for spend in spends:
        for budget in terms[spend.customer].budgets:
            if budget.covers(spend.asset, spend.path):
                window = terms[spend.customer].window_of(budget, at)
                found[spend.customer, budget.name, window.start] += spend.amount
    found = {key: amount for key, amount in found.items() if amount != ZERO}
    if found:
        await storage.add_spend(connection, found)
