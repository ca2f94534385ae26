"""What decides about holds, read in one round trip: wallets, grants, budgets, features.

Owns the reading; the decision is domain/credit/hold.py's. Nothing of it is locked but the
customer's account: usage that is being committed beside it counts as coming after the decision,
and another decision of the same customer waits for the account.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from taximeter.domain.credit.hold import (
    Ask,
    BudgetRoom,
    FeatureRoom,
    InvoiceRoom,
    Purse,
    QuotaRoom,
    RateRoom,
    Source,
    Standing,
)
from taximeter.domain.entitlement.budget import ALWAYS, Budget
from taximeter.domain.entitlement.rate import rate_counter, rate_window
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.rights import rights_of
from taximeter.kernel.quantity import ZERO
from taximeter.services.allowances import used_of_all
from taximeter.services.approvals import found_named, send_named
from taximeter.services.context import Connection
from taximeter.services.hold_account import Accounts
from taximeter.services.owed import has_credit_limit, invoice_room
from taximeter.storage import budgets as budget_storage
from taximeter.storage import purses as purse_storage
from taximeter.storage import wallets
from taximeter.storage.wallets import Cursor

Asks = Mapping[str, Sequence[Ask]]


class Reading(NamedTuple):
    """What was asked for; in a pipeline that waits for nothing yet. `limits` are the budgets that
    some ask counts towards, by customer, each with when its window ends; `approvals` those that
    some ask names.
    """

    purses: Cursor
    spent: Cursor | None
    approvals: Cursor | None
    limits: Mapping[str, Sequence[tuple[Budget, datetime | None]]]


async def send_reading(
    connection: Connection, terms: Mapping[str, CustomerTerms], asks: Asks, at: datetime
) -> Reading:
    """Ask for what decides about these asks, by customer, at the instant `at`."""
    purses = await purse_storage.send_purses(connection, asks.keys(), at)
    windows = []
    limits: dict[str, list[tuple[Budget, datetime | None]]] = {}
    for customer, own in asks.items():
        of_customer = terms[customer]
        limits[customer] = []
        for budget in _budgets(of_customer, own):
            window = of_customer.window_of(budget, at)
            windows.append((customer, budget.name, window.start))
            resets_at = None if window is ALWAYS else window.end
            limits[customer].append((budget, resets_at))
    spent = await budget_storage.send_spent(connection, windows) if windows else None
    return Reading(purses, spent, await send_named(connection, asks), limits)


def _budgets(terms: CustomerTerms, asks: Sequence[Ask]) -> Sequence[Budget]:
    """The budgets that some ask counts towards. A customer may have a thousand of them, and a group
    as many asks, which are of few paths.
    """
    if not terms.budgets:
        return ()
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
    purses = await purse_storage.found_purses(reading.purses)
    spent = await budget_storage.found_spent(reading.spent) if reading.spent is not None else {}
    approvals = await found_named(reading.approvals)
    await _add_spent_grants(connection, accounts, purses)
    features = await _feature_rooms(connection, terms, asks, accounts)
    rooms = await _invoice_rooms(connection, terms, asks, purses, accounts.at)
    return {
        customer: Standing(
            at=accounts.now_of(customer),
            hard=terms[customer].is_hard_at(accounts.at),
            purses=purses.get(customer, {}),
            budgets=[
                BudgetRoom(budget, spent.get((customer, budget.name), ZERO), resets_at)
                for budget, resets_at in reading.limits[customer]
            ],
            suspensions=terms[customer].suspensions,
            features=features.get(customer, {}),
            invoice=rooms.get(customer),
            approvals=approvals.get(customer, {}),
        )
        for customer in asks
    }


async def _invoice_rooms(
    connection: Connection, terms: Mapping[str, CustomerTerms], asks: Asks,
    purses: Mapping[str, Mapping[str, Purse]], at: datetime,
) -> dict[str, InvoiceRoom]:  # fmt: skip
    """What those may still owe who have a credit limit, and work that draws from no wallet."""
    rooms = {}
    for customer, own in asks.items():
        if has_credit_limit(terms[customer]):
            invoiced = any(need.invoiced for ask in own for need in ask.needs)
            if invoiced or not purses.get(customer):
                room = await invoice_room(connection, terms[customer], at)
                if room is not None:
                    rooms[customer] = room
    return rooms


async def _feature_rooms(
    connection: Connection, terms: Mapping[str, CustomerTerms], asks: Asks, accounts: Accounts
) -> dict[str, dict[str, FeatureRoom]]:
    """What the customers may do with the features that they ask for; usage is read for all quotas
    at once.
    """
    wanted = sorted(
        {(customer, ask.feature) for customer, own in asks.items() for ask in own
         if ask.feature is not None}
    )  # fmt: skip
    if not wanted:
        return {}
    found = [(key, rights_of(terms[key[0]], key[1], accounts.at)) for key in wanted]
    quotas = [(key[0], quota) for key, rights in found if rights for quota in rights.quotas]
    used = iter(await used_of_all(connection, quotas))
    rooms: dict[str, dict[str, FeatureRoom]] = {}
    for (customer, feature), rights in found:
        if rights is not None:
            at = accounts.now_of(customer)
            rooms.setdefault(customer, {})[feature] = FeatureRoom(
                rights.enabled, rights.slots,
                tuple(
                    QuotaRoom(one.limit, next(used), one.blocks, one.each, one.resets_at)
                    for one in rights.quotas
                ),
                tuple(
                    RateRoom(
                        one.limit, one.per, rate_counter(feature, one.per, at),
                        rate_window(one.per, at).end,
                    )
                    for one in rights.rates
                ),
            )  # fmt: skip
    return rooms


async def _add_spent_grants(
    connection: Connection, accounts: Accounts, purses: Mapping[str, Mapping[str, Purse]]
) -> None:
    """Add the grants that holds reserve of and that have nothing left for them: usage took it. They
    come last: nothing is drawn from them, but they are owed.
    """
    missing = []
    for customer, counters in accounts.counters.items():
        reserved = [name for name in counters if name.startswith("g:")]
        if reserved:
            own = purses.get(customer, {}).values()
            known = {source.counter for purse in own for source in purse.grants}
            missing += [(customer, name[2:]) for name in reserved if name not in known]
    if missing:
        for grant in (await wallets.grants_by_id(connection, missing)).values():
            purse = purses.get(grant.customer, {}).get(grant.asset)
            if purse is not None and grant.usable_at(accounts.at):
                purse.grants.append(
                    Source(f"g:{grant.id}", grant.remaining, grant.scope_meters, grant.scope_path)
                )
