"""What decides about holds, read in one round trip: wallets, grants, budgets, features.

Owns the reading; the decision is domain/credit/hold.py's. Nothing of it is locked but the
customer's account: usage that is being committed beside it counts as coming after the decision,
and another decision of the same customer waits for the account.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.credit.burn import burn_order
from taximeter.domain.credit.hold import Ask, BudgetRoom, Purse, Standing
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.entitlement.budget import ALWAYS, Budget
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection
from taximeter.services.hold_account import Accounts
from taximeter.storage import budgets as budget_storage
from taximeter.storage import wallets
from taximeter.storage.wallets import Cursor, WalletKey

Asks = Mapping[str, Sequence[Ask]]


class Reading(NamedTuple):
    """What was asked for; in a pipeline that waits for nothing yet."""

    keys: Sequence[WalletKey]
    debts: Cursor
    grants: Cursor
    spent: Cursor | None


async def send_reading(
    connection: Connection, terms: Mapping[str, CustomerTerms], asks: Asks, at: datetime
) -> Reading:
    """Ask for what decides about these asks, by customer, at the instant `at`."""
    keys = sorted(
        {(customer, need.asset) for customer, own in asks.items() for ask in own
         for need in ask.needs}
    )  # fmt: skip
    debts = await wallets.send_debts(connection, sorted(asks))
    grants = await wallets.send_grants(connection, keys, at=at)
    windows = [
        (customer, budget.name, terms[customer].window_of(budget, at).start)
        for customer in asks
        for budget in _budgets(terms[customer], asks[customer])
    ]
    spent = await budget_storage.send_spent(connection, windows) if windows else None
    return Reading(keys, debts, grants, spent)


def _budgets(terms: CustomerTerms, asks: Sequence[Ask]) -> list[Budget]:
    """The budgets that some ask counts towards."""
    if not terms.budgets:
        return []
    wanted = {(need.asset, ask.path) for ask in asks for need in ask.needs}
    return [
        budget
        for budget in terms.budgets
        if any(budget.covers(asset, path) for asset, path in wanted)
    ]


async def standings(
    connection: Connection,
    terms: Mapping[str, CustomerTerms],
    asks: Asks,
    accounts: Accounts,
    reading: Reading,
) -> dict[str, Standing]:
    """The standing of each customer, from what `send_reading` asked for."""
    debts = await wallets.locked_debts(reading.debts)
    grants = await wallets.found_grants(reading.grants, reading.keys)
    spent = await budget_storage.found_spent(reading.spent) if reading.spent is not None else {}
    at = accounts.at
    for grant in await _spent_grants(connection, accounts, grants.values()):
        if grant.usable_at(at) and (grant.customer, grant.asset) in grants:
            grants[grant.customer, grant.asset].append(grant)
    purses: dict[str, dict[str, Purse]] = {customer: {} for customer in asks}
    for key, debt in debts.items():
        usable = [grant for grant in grants.get(key, ()) if grant.usable_at(at)]
        purses[key[0]][key[1]] = Purse(tuple(burn_order(usable)), debt)
    return {
        customer: Standing(
            hard=terms[customer].customer.enforcement == "hard",
            purses=purses[customer],
            budgets=_rooms(terms[customer], own, spent, at),
            suspensions=terms[customer].suspensions,
            features={},
        )
        for customer, own in asks.items()
    }


async def _spent_grants(
    connection: Connection, accounts: Accounts, found: Iterable[Sequence[Grant]]
) -> Iterable[Grant]:
    """The grants that holds reserve of and that have nothing left for them: usage took it."""
    known = {grant.id for grants in found for grant in grants}
    missing = [
        (customer, name[2:])
        for customer, counters in accounts.counters.items()
        for name in counters
        if name.startswith("g:") and name[2:] not in known
    ]
    return (await wallets.grants_by_id(connection, missing)).values() if missing else ()


def _rooms(
    terms: CustomerTerms,
    asks: Sequence[Ask],
    spent: Mapping[tuple[str, str], Decimal],
    at: datetime,
) -> list[BudgetRoom]:
    rooms = []
    for budget in _budgets(terms, asks):
        window = terms.window_of(budget, at)
        resets_at = None if window == ALWAYS else window.end
        rooms.append(BudgetRoom(budget, spent.get((budget.customer, budget.name), ZERO), resets_at))
    return rooms
