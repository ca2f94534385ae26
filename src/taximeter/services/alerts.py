"""Alerts: raised in the transaction that crosses a threshold, and listed.

Owns that each is raised once: whoever raises has counted under a lock, and what was raised before
in the same window stays. What is raised goes to the outbox with it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from taximeter.domain.entitlement.alert import AlertKind, SpendAlert, reached
from taximeter.domain.entitlement.budget import ALWAYS, Budget
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import Period, format_instant
from taximeter.services import outbox
from taximeter.services.context import Connection, Context
from taximeter.services.outbox import Message
from taximeter.storage import alerts as storage

Raised: TypeAlias = storage.Raised


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
            budget.customer, "budget.threshold", budget.name, one.window.start, budget.revision,
            shares[mark],
            context.ids("alert", at), at,
            {
                "path": budget.path, "asset": budget.asset, "limit": format_decimal(budget.limit),
                "spent": format_decimal(one.after), "enforcement": budget.enforcement,
                "window": window_document(one.window),
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
                "window": window_document(one.window),
            },
        )
        for mark in reached(one.before, one.after, alert.at)
    ]  # fmt: skip


def window_document(window: Period) -> dict[str, str] | None:
    """A window as alerts show it; None: one that never ends."""
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


async def raised_since(
    connection: Connection, customer: str, since: datetime, limit: int
) -> list[Raised]:
    """The customer's alerts from the instant `since` on, newest first."""
    return await storage.page(
        connection, customer=customer, kind=None, before=None, limit=limit, since=since
    )


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
