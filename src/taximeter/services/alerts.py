"""Alerts: defined, raised in the transaction that crosses a threshold, and listed.

Owns that each is raised once: whoever raises has counted under a lock, and what was raised before
in the same window stays. What is raised goes to the outbox with it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from taximeter.domain.entitlement.alert import Alert, AlertKind, BalanceAlert, SpendAlert, reached
from taximeter.domain.entitlement.budget import ALWAYS, Budget
from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import Period, format_instant
from taximeter.services import outbox
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.outbox import Message
from taximeter.storage import alerts as storage
from taximeter.storage import budgets, customers
from taximeter.storage.terms import note_change

Raised: TypeAlias = storage.Raised
StoredAlert: TypeAlias = storage.StoredAlert


class Counted(NamedTuple):
    """What a budget, or the counter of an alert on spend, had counted in a window before and after
    a charge.
    """

    budget: Budget
    window: Period
    before: Decimal
    after: Decimal


async def raise_spend(
    context: Context,
    connection: Connection,
    alerts: Mapping[tuple[str, str], SpendAlert],
    counted: Sequence[Counted],
    at: datetime,
) -> None:
    """Raise what these charges reached: shares of budgets, and amounts of `alerts`, which are by
    customer and the name of their counter. The rows of what is counted are locked.
    """
    raised = []
    for one in counted:
        alert = alerts.get((one.budget.customer, one.budget.name))
        if alert is None:
            raised += _shares_reached(context, one, at)
        else:
            raised += _amounts_reached(context, alert, one, at)
    await raise_alerts(context, connection, raised)


def _shares_reached(context: Context, one: Counted, at: datetime) -> list[Raised]:
    budget = one.budget
    shares = {share * budget.limit: share for share in reversed(budget.alerts)}
    return [
        Raised(
            budget.customer, "budget.threshold", budget.name, one.window.start, 0, shares[mark],
            context.ids("alert", at), at,
            {
                "path": budget.path, "asset": budget.asset, "limit": format_decimal(budget.limit),
                "spent": format_decimal(one.after), "enforcement": budget.enforcement,
                "window": _window(one.window),
            },
        )
        for mark in reached(one.before, one.after, shares)
    ]  # fmt: skip


def _amounts_reached(
    context: Context, alert: SpendAlert, one: Counted, at: datetime
) -> list[Raised]:
    return [
        Raised(
            alert.customer, "spend.threshold", alert.name, one.window.start, 0, mark,
            context.ids("alert", at), at,
            {
                "asset": alert.asset, "spent": format_decimal(one.after),
                "window": _window(one.window),
            },
        )
        for mark in reached(one.before, one.after, alert.at)
    ]  # fmt: skip


def _window(window: Period) -> dict[str, str] | None:
    if window == ALWAYS:
        return None
    return {"from": format_instant(window.start), "to": format_instant(window.end)}


async def raise_alerts(context: Context, connection: Connection, raised: Sequence[Raised]) -> None:
    """Remember these alerts, and tell those that were not raised in their window before."""
    if not raised:
        return
    fresh = await storage.insert_raised(connection, raised)
    messages = [
        Message(one.kind, one.customer, alert_document(one), one.at)
        for one in raised
        if one.id in fresh
    ]
    await outbox.put(context, connection, *messages)


def alert_document(one: Raised) -> dict[str, object]:
    """An alert that was raised, as it is listed and told."""
    return {
        "id": one.id,
        "kind": one.kind,
        "customer": one.customer,
        "name": one.name,
        "threshold": format_decimal(one.threshold),
        "at": format_instant(one.at),
        **one.data,
    }


async def list_raised(
    context: Context,
    *,
    customer: str | None,
    kind: AlertKind | None,
    limit: int,
    cursor: str | None,
) -> Page[Raised]:
    """Alerts that were raised, newest first; of one customer, of one kind."""
    before = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, customer=customer, kind=kind, before=before[0] if before else None,
            limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda one: (one.id,))


async def put_alert(transaction: Transaction, alert: Alert) -> tuple[StoredAlert, bool]:
    """Define an alert, or replace the one of its name; returns it and whether it is new. What is
    counted of spend begins anew where the asset or the window is another.

    Raises `NotFound` for the customer.
    """
    connection, at = transaction.connection, transaction.at
    await note_change(connection, alert.customer, at)
    if await customers.find(connection, alert.customer) is None:
        raise NotFound(kind="customer", key=alert.customer)
    before = await storage.find(connection, alert.customer, alert.name)
    if before is not None and not _goes_on(before.alert, alert):
        await _forget(transaction, before.alert)
    stored = StoredAlert(alert, before.created_at if before else at, at)
    await storage.put(connection, stored)
    await transaction.audit(
        "alert.updated" if before else "alert.created", alert.name, {"customer": alert.customer}
    )
    return stored, before is None


def _goes_on(before: Alert, after: Alert) -> bool:
    """Whether a definition is only of other thresholds."""
    match before, after:
        case SpendAlert(), SpendAlert():
            return before.counter == after.counter
        case BalanceAlert(), BalanceAlert():
            return before.asset == after.asset
        case _:
            return False


async def _forget(transaction: Transaction, alert: Alert) -> None:
    """Let what a definition counts begin anew, with the next one of its name."""
    connection = transaction.connection
    if isinstance(alert, SpendAlert):
        await budgets.forget_spend(connection, alert.customer, alert.counter.name)
    elif isinstance(alert, BalanceAlert):
        await storage.rearm_all(connection, alert.customer, alert.name, transaction.at)


async def delete_alert(transaction: Transaction, customer: str, name: str) -> StoredAlert:
    """Stop telling; what was raised stays in the list. Raises `NotFound`."""
    connection = transaction.connection
    await note_change(connection, customer, transaction.at)
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
