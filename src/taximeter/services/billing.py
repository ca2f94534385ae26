"""Billing: when a boundary is closed, and how a draft becomes final.

Owns exactly-once closing of boundaries, and finalization. What an invoice says is statement.py;
amounts, lines and totals are the domain's. A finalized invoice never changes: usage
that comes later is billed as f(total) - billed before, on the next invoice.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.invoicing.discounts import less_discounts, total_off
from taximeter.domain.invoicing.invoice import (
    Invoice,
    finalize,
    format_number,
    payment_due_at,
)
from taximeter.domain.invoicing.totals import AppliedCredits, apply_credits, total
from taximeter.domain.subscription.charges import boundaries, closed_period
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.money import format_minor
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import format_instant, period_at
from taximeter.services import outbox
from taximeter.services.command import Transaction
from taximeter.services.context import Connection
from taximeter.services.level_usage import changed_segments
from taximeter.services.outbox import Message
from taximeter.services.overage import bill_overage, take_overage, waiting_overage
from taximeter.services.plan_credits import grant_due, grant_shortfall
from taximeter.services.statement import Statement, has_ended, state
from taximeter.services.true_up import FAR
from taximeter.services.wallets import apply_to_wallet
from taximeter.storage import invoices as storage
from taximeter.storage import subscriptions
from taximeter.storage import totals as total_storage
from taximeter.storage import wallets as wallet_storage
from taximeter.storage.invoices import InvoiceRow
from taximeter.storage.totals import LateTotal

BOUNDARIES_MAX = 120
NUMBER_PREFIX = "INV"
_INSTANT = timedelta(microseconds=1)


def _currency(subscription: Subscription) -> str:
    return subscription.phases[0].plan.currency


def draft_of(subscription: Subscription, statement: Statement, row: InvoiceRow) -> Invoice:
    """The draft that says what `statement` does."""
    return Invoice(
        id=row.id, number=None, customer=subscription.customer, subscription=subscription.id,
        status="draft", currency=_currency(subscription), period=statement.period,
        lines=statement.lines, settled=statement.settled,
        totals=total(statement.lines, discount=total_off(statement.discounts)),
        created_at=row.created_at, finalized_at=None, due_at=None,
        input_digest=statement.input_digest, discounts=statement.discounts,
    )  # fmt: skip


async def credits_for(
    connection: Connection, invoice: Invoice, at: datetime, grants: Sequence[Grant] | None = None
) -> AppliedCredits:
    """What the customer's grants would give to the invoice at `at`."""
    if grants is None:
        key = (invoice.customer, invoice.currency)
        grants = (await wallet_storage.grants_of(connection, [key]))[key]
    lines = less_discounts(invoice.lines, invoice.discounts)
    return apply_credits(
        lines, invoice.totals, grants, at, currency=invoice.currency, period=invoice.period
    )


def following_boundary(subscription: Subscription, after: datetime | None) -> datetime | None:
    """The first billing boundary after `after` (None: of all). Past the subscription's end its
    plan's periods go on, so that usage which comes late is billed at the end of one.
    """
    found = next(boundaries(subscription, after, FAR), None)
    if found is None and after is not None:
        return period_at(subscription.anchor, subscription.phases[-1].plan.period, after).end
    return found


async def locked_subscription(connection: Connection, found: Subscription) -> Subscription:
    """The subscription under its lock, read again: it may have changed before it was locked."""
    await subscriptions.lock(connection, found)
    again = await subscriptions.find(connection, found.id, customer=found.customer)
    assert again is not None, "a subscription is never deleted"
    return again


class Closing(NamedTuple):
    """The boundaries that have passed, and the one that is next (None: never again)."""

    boundaries: tuple[datetime, ...]
    following: datetime | None


def closing_by(subscription: Subscription, following: datetime | None, at: datetime) -> Closing:
    """What is to be closed at `at` where `following` is the first boundary not closed yet: at most
    120 boundaries at once.
    """
    passed: list[datetime] = []
    while following is not None and following <= at and len(passed) < BOUNDARIES_MAX:
        passed.append(following)
        following = following_boundary(subscription, following)
    return Closing(tuple(passed), following)


async def bill_due(transaction: Transaction, subscription: Subscription) -> int:
    """Make a draft for each boundary that has passed, grant what the plan grants by now, and
    finalize the drafts whose time has come; returns how many boundaries were closed. All in the
    order of time, a period's close before the grants of the next. The subscription's row must be
    locked.
    """
    connection, at = transaction.connection, transaction.at
    closing = closing_by(subscription, await subscriptions.lock(connection, subscription), at)
    for boundary in closing.boundaries:
        await grant_due(transaction, subscription, until=boundary)
        await _close(transaction, subscription, boundary)
    await subscriptions.set_next_boundary(connection, subscription, closing.following)
    await grant_due(transaction, subscription, until=closing.following)
    for row in await storage.drafts_of(connection, subscription):
        if row.finalize_at <= at:
            await finalize_invoice(transaction, row, by_itself=True)
    return len(closing.boundaries)


async def _close(transaction: Transaction, subscription: Subscription, boundary: datetime) -> None:
    connection = transaction.connection
    waiting = await waiting_overage(connection, subscription, boundary)
    ended = has_ended(subscription, boundary)
    if ended and waiting is None and not await late_now(connection, subscription, boundary):
        return
    again = waiting is not None and waiting[0] == boundary
    invoice_id = waiting[1] if waiting and again else transaction.new_id("inv")
    row = draft_row(subscription, boundary, invoice_id, transaction.at)
    await storage.insert_draft(connection, row, currency=_currency(subscription))
    if not ended:
        await take_overage(transaction, subscription, row)


def draft_row(
    subscription: Subscription, boundary: datetime, invoice_id: str, at: datetime
) -> InvoiceRow:
    """The draft made at `at` for a boundary that has passed."""
    phase = subscription.phase_at(boundary - _INSTANT) or subscription.phases[-1]
    grace_s = phase.plan.grace_s if boundary > subscription.starts_at else 0
    return InvoiceRow(
        customer=subscription.customer, id=invoice_id, subscription=subscription.id,
        boundary=boundary, status="draft", finalize_at=boundary + timedelta(seconds=grace_s),
        created_at=at, frozen=None,
    )  # fmt: skip


async def finalize_invoice(
    transaction: Transaction, row: InvoiceRow, *, by_itself: bool = False
) -> Invoice | None:
    """Finalize a draft (and earlier drafts of its subscription first); one that is final is
    returned as it is. `by_itself`: a draft that bills nothing is dropped, and None returned.
    """
    connection = transaction.connection
    subscription = await subscriptions.find(connection, row.subscription, customer=row.customer)
    assert subscription is not None, "an invoice belongs to a subscription"
    subscription = await locked_subscription(connection, subscription)
    locked = await storage.lock(connection, row.customer, row.id)
    if locked is None:
        return None
    if locked.frozen is not None:
        return finalize_again(locked.frozen)
    for earlier in await storage.drafts_of(connection, subscription):
        if earlier.boundary < row.boundary:
            await _finalize_one(transaction, subscription, earlier, by_itself=by_itself)
    return await _finalize_one(transaction, subscription, locked, by_itself=by_itself)


def finalize_again(invoice: Invoice) -> Invoice:
    """What finalizing a finalized invoice gives: itself. Raises `InvalidState` for one that is
    void or uncollectible.
    """
    return finalize(
        invoice, number="", at=invoice.created_at, due_at=invoice.created_at,
        credits=AppliedCredits((), (), ZERO),
    )  # fmt: skip


async def _finalize_one(
    transaction: Transaction, subscription: Subscription, row: InvoiceRow, *, by_itself: bool
) -> Invoice | None:
    connection, at = transaction.connection, transaction.at
    late = await _take_late(connection, subscription, row.boundary)
    statement = await state(connection, subscription, row.boundary, late, at)
    draft = draft_of(subscription, statement, row)
    if by_itself and bills_nothing(draft):
        await storage.discard(connection, row)
        return None
    key = (row.customer, draft.currency)
    debts = await wallet_storage.lock_wallets(connection, [key])
    grants = (await wallet_storage.grants_of(connection, [key]))[key]
    credits = await credits_for(connection, draft, at, grants)
    await apply_to_wallet(transaction, draft, credits, grants, debts[key])
    due_at = payment_due_at(
        at, net_terms_days=subscription.net_terms_days, timezone=subscription.anchor.timezone
    )
    number = format_number(NUMBER_PREFIX, await storage.take_number(connection, NUMBER_PREFIX))
    invoice = finalize(draft, number=number, at=at, due_at=due_at, credits=credits)
    await storage.freeze(connection, invoice)
    await bill_overage(connection, subscription, invoice.id, row.boundary)
    await grant_shortfall(transaction, subscription, invoice.lines)
    await transaction.audit(
        "invoice.finalized", invoice.id,
        {"number": number, "customer": invoice.customer, "total": str(invoice.totals.total)},
    )  # fmt: skip
    told = Message("invoice.finalized", invoice.customer, _finalized_document(invoice), at)
    await outbox.put(transaction.context, connection, told)
    return invoice


def _finalized_document(invoice: Invoice) -> dict[str, object]:
    """What is told of a finalized invoice; the rest of it is read by its id."""
    assert invoice.finalized_at is not None and invoice.due_at is not None, "it is final"
    digits = minor_digits(invoice.currency)
    return {
        "id": invoice.id,
        "number": invoice.number,
        "customer": invoice.customer,
        "subscription": invoice.subscription,
        "currency": invoice.currency,
        "total": format_minor(invoice.totals.total, digits),
        "amount_due": format_minor(invoice.totals.amount_due, digits),
        "finalized_at": format_instant(invoice.finalized_at),
        "due_at": format_instant(invoice.due_at),
    }


def bills_nothing(draft: Invoice) -> bool:
    """Whether a draft is not worth a document: it is dropped when its time has come."""
    return not any(line.quantity or line.amount for line in (*draft.lines, *draft.settled))


async def closed_until(
    connection: Connection, subscription: Subscription, *, drafts: bool = False
) -> datetime | None:
    """The last boundary whose invoice is final (`drafts`: that has an invoice at all)."""
    return await storage.last_boundary(connection, subscription, drafts=drafts)


async def late_now(
    connection: Connection, subscription: Subscription, boundary: datetime
) -> list[LateTotal]:
    """The segments whose usage may have changed since they were billed, as a draft of `boundary`
    would count it: none where an earlier draft waits, which will count them all.
    """
    if any(row.boundary < boundary for row in await storage.drafts_of(connection, subscription)):
        return []
    since = closed_period(subscription, boundary).start
    late = await total_storage.late_totals(
        connection, subscription.customer, subscription.id, since
    )
    return late + await changed_segments(connection, subscription, since)


async def _take_late(
    connection: Connection, subscription: Subscription, boundary: datetime
) -> list[LateTotal]:
    """As `late_now`, and note that the invoice of `boundary`, which is being finalized, counts all
    of it. Comes before usage is read: what is noted is locked and will be read.
    """
    since = closed_period(subscription, boundary).start
    changed = await changed_segments(connection, subscription, since, forget=True)
    late = await total_storage.mark_billed(
        connection, subscription.customer, subscription.id, boundary
    )
    return late + changed


def with_credits(invoice: Invoice, credits: AppliedCredits) -> Invoice:
    """A draft shown with the credits that it would get now."""
    return replace(invoice, totals=credits.onto(invoice.totals))
