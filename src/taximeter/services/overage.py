"""What customers use past their grants of a credit unit that has a price.

Owns the turning of a wallet's debt into a line of the invoice that closes a billing period. The
debt is taken in the transaction that makes the draft, before the grants of the next step could
repay it, and stays taken: what is given back later raises the balance. Of several subscriptions
that price the same unit, the one that closes first bills the debt.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.plan import Plan
from taximeter.domain.invoicing.lines import Line, overage_line
from taximeter.domain.subscription.charges import closed_period
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.ids import first_id
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.command import Transaction
from taximeter.services.context import Connection
from taximeter.storage import overage as storage
from taximeter.storage import wallets
from taximeter.storage.invoices import InvoiceRow
from taximeter.storage.overage import Overage
from taximeter.storage.wallets import Entry

_INSTANT = timedelta(microseconds=1)


def may_have_overage(subscription: Subscription) -> bool:
    """Whether any plan of the subscription has ever priced a credit unit."""
    return any(unit.unit_price is not None for p in subscription.phases for unit in p.plan.assets)


def _plan_at(subscription: Subscription, boundary: datetime) -> Plan:
    return (subscription.phase_at(boundary - _INSTANT) or subscription.phases[-1]).plan


def _priced(plan: Plan) -> dict[str, Decimal]:
    return {one.asset: one.unit_price for one in plan.assets if one.unit_price is not None}


async def take_overage(
    transaction: Transaction, subscription: Subscription, row: InvoiceRow
) -> None:
    """Move the debts that the wallets of priced units had at the boundary of the draft `row` out of
    them, to be billed by it. The subscription's row must be locked.
    """
    plan, boundary = _plan_at(subscription, row.boundary), row.boundary
    prices = _priced(plan)
    if not prices or closed_period(subscription, boundary).start == boundary:
        return
    connection, customer = transaction.connection, subscription.customer
    keys = [(customer, asset) for asset in sorted(prices)]
    debts = await wallets.locked_debts(await wallets.send_lock(connection, keys))
    for (_, asset), debt in sorted(debts.items()):
        moved = await storage.debt_moved(
            connection, customer, asset, boundary, first_id("went", boundary)
        )
        quantity = min(debt, debt + moved)
        if quantity <= ZERO:
            continue
        entry = Entry(
            customer, transaction.new_id("went"), asset, None, "overage", quantity, transaction.at,
            row.id,
        )  # fmt: skip
        await wallets.set_debts(connection, [(customer, asset, debt - quantity)])
        await wallets.insert_entries(connection, [entry])
        overage = Overage(
            boundary, asset, row.id, plan.key, plan.version, quantity, prices[asset]
        )  # fmt: skip
        await storage.add_overage(connection, subscription, overage)


async def waiting_overage(
    connection: Connection, subscription: Subscription, boundary: datetime
) -> tuple[datetime, str] | None:
    """Overage taken by `boundary` whose draft was dropped, since the terms changed: its boundary,
    and the id of that draft.
    """
    if not may_have_overage(subscription):
        return None
    return await storage.waiting_invoice(connection, subscription, boundary)


async def bill_overage(
    connection: Connection, subscription: Subscription, invoice_id: str, boundary: datetime
) -> None:
    """Note that the invoice of the boundary, which is final now, bills what waited for it."""
    if may_have_overage(subscription):
        await storage.mark_overage_billed(connection, subscription, boundary, invoice_id)


async def overage_lines(
    connection: Connection, subscription: Subscription, boundary: datetime
) -> list[Line]:
    """What the invoice of the boundary bills for overage: what was taken when its period closed,
    and where that is still to come, the debts as they stand.
    """
    if not may_have_overage(subscription):
        return []
    rows = await storage.unbilled_overage(connection, subscription, boundary)
    if await storage.is_open(connection, subscription, boundary):
        rows += await _standing(connection, subscription, boundary)
    return _lines(subscription, rows)


async def _standing(
    connection: Connection, subscription: Subscription, boundary: datetime
) -> list[Overage]:
    plan = _plan_at(subscription, boundary)
    prices = _priced(plan)
    debts = await wallets.debts(connection, subscription.customer)
    return [
        Overage(boundary, asset, "", plan.key, plan.version, debt, prices[asset])
        for asset, debt in sorted(debts.items())
        if asset in prices and debt > ZERO
    ]


async def overage_of(
    connection: Connection, subscription: Subscription, period: Period
) -> list[Line]:
    """The overage of billing periods that closed within `period`, whatever invoice bills it."""
    if not may_have_overage(subscription):
        return []
    return _lines(subscription, await storage.overage_within(connection, subscription, period))


def _lines(subscription: Subscription, rows: list[Overage]) -> list[Line]:
    plans = {(p.plan.key, p.plan.version): p.plan for p in subscription.phases}
    lines = []
    for row in rows:
        plan = plans.get((row.plan, row.version)) or _plan_at(subscription, row.boundary)
        period = closed_period(subscription, row.boundary)
        lines.append(overage_line(plan, row.asset, row.quantity, row.unit_price, period))
    return lines
