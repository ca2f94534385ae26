"""Definitions of alerts: put, deleted, read.

Owns when one begins anew, and that what is reached already when it is put is told at once.
"""

from typing import TypeAlias

from taximeter.domain.entitlement.alert import Alert, AllowanceAlert, BalanceAlert, SpendAlert
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.services.alerts import Counted, raise_spend
from taximeter.services.allowance_alerts import tell_allowances
from taximeter.services.balance_alerts import look_at_balance
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.storage import alerts as storage
from taximeter.storage import budgets, customers, wallets
from taximeter.storage import terms as term_storage

StoredAlert: TypeAlias = storage.StoredAlert
ALERTS_MAX = 100


async def put_alert(transaction: Transaction, alert: Alert) -> tuple[StoredAlert, bool]:
    """Define an alert, or replace the one of its name; returns it and whether it is new. One of
    other thresholds goes on with what it has counted and told; any other begins anew.

    Raises `NotFound` for the customer, and `Invalid` where they have too many.
    """
    connection, at = transaction.connection, transaction.at
    await term_storage.note_change(connection, alert.customer, at)
    if await customers.find(connection, alert.customer, lock=True) is None:
        raise NotFound(kind="customer", key=alert.customer)
    before = await storage.find(connection, alert.customer, alert.name)
    if before is None:
        await _check_number(connection, alert.customer)
    elif not _goes_on(before.alert, alert):
        await _forget(transaction, before.alert)
    # The wallet first: who moves a balance holds it, and then writes what is told of it.
    has_wallet = isinstance(alert, BalanceAlert) and await _lock_wallet(connection, alert)
    stored = StoredAlert(alert, before.created_at if before else at, at)
    await storage.put(connection, stored)
    if has_wallet or not isinstance(alert, BalanceAlert):
        await _tell_reached(transaction, alert)
    await transaction.audit(
        "alert.updated" if before else "alert.created", alert.name, {"customer": alert.customer}
    )
    return stored, before is None


async def _check_number(connection: Connection, customer: str) -> None:
    found = await storage.alerts_of(connection, [customer])
    if len(found.get(customer, ())) >= ALERTS_MAX:
        detail = f"A customer has at most {ALERTS_MAX} alerts. Delete one first."
        raise Invalid([FieldError("name", "too_many", detail)])


def _goes_on(before: Alert, after: Alert) -> bool:
    """Whether a definition is only of other thresholds."""
    match before, after:
        case SpendAlert(), SpendAlert():
            return before.counter == after.counter
        case BalanceAlert(), BalanceAlert():
            return before.asset == after.asset
        case AllowanceAlert(), AllowanceAlert():
            return True
        case _:
            return False


async def _forget(transaction: Transaction, alert: Alert) -> None:
    """Let what a definition counts begin anew, with the next one of its name."""
    connection = transaction.connection
    if isinstance(alert, SpendAlert):
        await budgets.forget_spend(connection, alert.customer, alert.counter.name)
    elif isinstance(alert, BalanceAlert):
        await storage.rearm_all(connection, alert.customer, alert.name, transaction.at)


async def _lock_wallet(connection: Connection, alert: BalanceAlert) -> bool:
    """Lock the wallet whose balance is told; False where there is none yet."""
    cursor = await wallets.send_lock(connection, [(alert.customer, alert.asset)])
    return bool(await wallets.locked_debts(cursor))


async def _tell_reached(transaction: Transaction, alert: Alert) -> None:
    connection, at = transaction.connection, transaction.at
    if isinstance(alert, BalanceAlert):
        key = (alert.customer, alert.asset)
        await look_at_balance(transaction, key)
        await storage.plan_look(connection, *key, at)
        return
    terms = (await term_storage.customer_terms(connection, [alert.customer]))[alert.customer]
    if isinstance(alert, AllowanceAlert):
        await tell_allowances(transaction.context, connection, terms, at)
    else:
        counter = alert.counter
        window, named = terms.window_of(counter, at), (alert.customer, counter.name)
        asked = await budgets.send_spent(connection, [(*named, window.start)])
        spent = (await budgets.found_spent(asked)).get(named, ZERO)
        counted = Counted(counter, window, ZERO, spent)
        await raise_spend(transaction.context, connection, {named: alert}, [counted], at)


async def delete_alert(transaction: Transaction, customer: str, name: str) -> StoredAlert:
    """Stop telling; what was raised stays in the list. Raises `NotFound`."""
    connection = transaction.connection
    await term_storage.note_change(connection, customer, transaction.at)
    stored = await _find(connection, customer, name)
    await _forget(transaction, stored.alert)
    await storage.delete(connection, customer, name)
    await transaction.audit("alert.deleted", name, {"customer": customer})
    return stored


async def _find(connection: Connection, customer: str, name: str) -> StoredAlert:
    stored = await storage.find(connection, customer, name)
    if stored is None:
        raise NotFound(kind="alert", key=name)
    return stored


async def get_alert(context: Context, customer: str, name: str) -> StoredAlert:
    """The definition of this name. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        return await _find(connection, customer, name)


async def list_alerts(
    context: Context, customer: str, *, limit: int, cursor: str | None
) -> Page[StoredAlert]:
    """What is told of a customer, by name. Raises `NotFound` for the customer."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        if await customers.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        rows = await storage.page_definitions(
            connection, customer, after=after[0] if after else None, limit=limit + 1
        )
    return make_page(rows, limit, lambda stored: (stored.alert.name,))
