"""Counting what is charged towards budgets, and towards alerts on spend.

Owns which of them a charge counts towards: those of its asset whose path it lies within, in the
window in which it is charged. Called last in a transaction, after wallets are drawn.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from taximeter.domain.entitlement.alert import SpendAlert
from taximeter.domain.entitlement.budget import Budget
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.alerts import Counted, raise_spend
from taximeter.services.context import Connection, Context
from taximeter.storage import budgets as storage

# The terms of those customers who have budgets, alerts or wallets that are topped up.
Limited = Mapping[str, CustomerTerms]


def limited_among(terms: Iterable[CustomerTerms | None]) -> Limited:
    """Those of these terms that hold budgets, alerts or auto top-ups, by customer."""
    return {
        one.customer.key: one
        for one in terms
        if one is not None and (one.budgets or one.alerts or one.auto_topups)
    }


def is_limited(limited: Limited, customer: str, asset: str) -> bool:
    """Whether the customer has a budget of this asset, or an alert on its spend."""
    terms = limited.get(customer)
    return terms is not None and asset in terms.counted_assets


def is_watched(limited: Limited, customer: str, asset: str) -> bool:
    """Whether the customer has an alert on the balance of this asset, or has it topped up."""
    terms = limited.get(customer)
    return terms is not None and (bool(terms.balance_alerts(asset)) or terms.is_topped_up(asset))


class Spend(msgspec.Struct, frozen=True, gc=False):
    """An amount charged for usage at `path`: negative where it is given back."""

    customer: str
    asset: str
    amount: Decimal
    path: str | None


async def count_spend(
    context: Context,
    connection: Connection,
    terms: Mapping[str, CustomerTerms],
    spends: Sequence[Spend],
    at: datetime,
) -> None:
    """Add these amounts, charged at the instant `at`, to the budgets that cover them, and raise
    the alerts that this reaches; `terms` are those of their customers.
    """
    found: dict[tuple[str, str, datetime], Decimal] = defaultdict(lambda: ZERO)
    counters: dict[tuple[str, str, datetime], tuple[Budget, Period]] = {}
    windows: dict[tuple[str, str], Period] = {}
    alerts: dict[tuple[str, str], SpendAlert] = {}
    for spend in spends:
        for budget, alert in _counting(terms[spend.customer]):
            if not budget.covers(spend.asset, spend.path):
                continue
            named = (spend.customer, budget.window)
            if named not in windows:
                windows[named] = terms[spend.customer].window_of(budget, at)
            key = (spend.customer, budget.name, windows[named].start)
            found[key] += spend.amount
            counters[key] = budget, windows[named]
            if alert is not None:
                alerts[spend.customer, budget.name] = alert
    found = {key: amount for key, amount in found.items() if amount != ZERO}
    if not found:
        return
    counted = []
    for row in sorted(await storage.add_spend(connection, found)):
        key = (row.customer, row.name, row.window_start)
        counted.append(Counted(*counters[key], row.spent - found[key], row.spent))
    await raise_spend(context, connection, alerts, counted, at)


def _counting(terms: CustomerTerms) -> Iterator[tuple[Budget, SpendAlert | None]]:
    """What counts a customer's spend: budgets, and the counters of alerts on it."""
    for budget in terms.budgets:
        yield budget, None
    for alert in terms.alerts:
        if isinstance(alert, SpendAlert):
            yield alert.counter, alert
