"""Invoices: upcoming, list, get, finalize, and what explains a line.

Owns the reading of invoices. A draft is computed as it is read, from the totals of that moment; a
finalized invoice is answered as it was frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.plan import Dimensional, UsagePrice
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.lines import Line
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import Value
from taximeter.domain.metering.reserved import FEE
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.subscription.routing import Reading
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, encode_cursor, invalid_cursor, make_page
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import format_instant, parse_instant
from taximeter.services import archive
from taximeter.services.billing import (
    credits_for,
    draft_of,
    finalize_again,
    finalize_invoice,
    late_now,
    with_credits,
)
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.epochs import epochs_of, read_as_counted
from taximeter.services.opening import BilledOf, billed_as_opened
from taximeter.services.statement import has_ended, state
from taximeter.storage import customers, outcomes, subscriptions
from taximeter.storage import invoices as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.events import EventFilter
from taximeter.storage.invoices import InvoiceRow

EVENTS_SCANNED_MAX = 20_000
EVENTS_PER_SCAN = 1_000


async def upcoming_invoice(
    context: Context, customer: str, subscription_id: str | None = None
) -> Invoice:
    """What the customer's next invoice says so far: of the subscription named, else of the one
    that is billed next. Raises `NotFound` for the customer, or where none will come.
    """
    async with context.pool.connection() as connection:
        if await customers.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        found = await _next_billed(connection, customer, subscription_id)
        if found is None:
            raise NotFound(kind="upcoming invoice of customer", key=customer)
        boundary, subscription = found
        row = _upcoming(context, subscription, boundary)
        return await _draft(context, connection, subscription, row)


async def open_invoices(
    context: Context, connection: Connection, customer: str
) -> list[tuple[InvoiceRow, Invoice]]:
    """All of the customer's drafts, and what the next invoice of each of its subscriptions says so
    far (its id is `upcoming`), as the transaction of the connection sees them.
    """
    found = []
    following = await subscriptions.next_boundaries(connection, customer)
    for one in await subscriptions.of_customer(connection, customer):
        rows = await storage.drafts_of(connection, one)
        boundary = following.get(one.id)
        if boundary is not None and (
            not has_ended(one, boundary) or await late_now(connection, one, boundary)
        ):
            rows = [*rows, _upcoming(context, one, boundary)]
        found += [(row, await _draft(context, connection, one, row)) for row in rows]
    return found


def _upcoming(context: Context, one: Subscription, boundary: datetime) -> InvoiceRow:
    return InvoiceRow(
        customer=one.customer, id="upcoming", subscription=one.id, boundary=boundary,
        status="draft", finalize_at=boundary, created_at=context.clock.now(), frozen=None,
    )  # fmt: skip


async def _next_billed(
    connection: Connection, customer: str, subscription_id: str | None
) -> tuple[datetime, Subscription] | None:
    """The next boundary of any of the customer's subscriptions (of the one named). One that has
    ended counts only where usage came late.
    """
    following = await subscriptions.next_boundaries(connection, customer)
    found = [
        (following[one.id], one)
        for one in await subscriptions.of_customer(connection, customer)
        if subscription_id in (None, one.id, one.key) and one.id in following
    ]
    for boundary, one in sorted(found, key=lambda each: each[0]):
        if not has_ended(one, boundary) or await late_now(connection, one, boundary):
            return boundary, one
    return None


async def _draft(
    context: Context, connection: Connection, subscription: Subscription, row: InvoiceRow
) -> Invoice:
    late = await late_now(connection, subscription, row.boundary)
    now = context.clock.now()
    statement = await state(connection, subscription, row.boundary, late, now)
    draft = draft_of(subscription, statement, row)
    return with_credits(draft, await credits_for(connection, draft, now))


async def _shown(context: Context, connection: Connection, row: InvoiceRow) -> Invoice:
    if row.frozen is not None:
        return row.frozen
    subscription = await subscriptions.find(connection, row.subscription, customer=row.customer)
    assert subscription is not None, "an invoice belongs to a subscription"
    return await _draft(context, connection, subscription, row)


async def get_invoice(context: Context, invoice_id: str, customer: str | None) -> Invoice:
    """The invoice with this id (of this customer). Raises `NotFound`."""
    async with context.pool.connection() as connection:
        row = await storage.find(connection, invoice_id, customer=customer)
        if row is None:
            raise NotFound(kind="invoice", key=invoice_id)
        return await _shown(context, connection, row)


async def list_invoices(
    context: Context,
    *,
    customer: str | None,
    status: str | None,
    subscription: str | None,
    limit: int,
    cursor: str | None,
) -> Page[Invoice]:
    """Invoices, the newest first."""
    before = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, customer=customer, status=status, subscription=subscription,
            before=before[0] if before else None, limit=limit + 1,
        )  # fmt: skip
        page = make_page(rows, limit, lambda row: (row.id,))
        shown = [await _shown(context, connection, row) for row in page.rows]
    return Page(shown, page.next_cursor)


async def finalize_by_hand(transaction: Transaction, invoice_id: str) -> Invoice:
    """Finalize a draft now; a finalized invoice is answered as it is. Raises `NotFound`, or
    `InvalidState` for a void or uncollectible one.
    """
    row = await storage.find(transaction.connection, invoice_id)
    if row is None:
        raise NotFound(kind="invoice", key=invoice_id)
    if row.frozen is not None:
        return finalize_again(row.frozen)
    invoice = await finalize_invoice(transaction, row)
    if invoice is None:
        raise NotFound(kind="invoice", key=invoice_id)
    return invoice


class ExplainedEvent(NamedTuple):
    """An event behind a line, and the quantity that its meter read in it."""

    event: Event
    quantity: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A line, and a page of the events that it counts."""

    invoice: Invoice
    line: Line
    events: Sequence[ExplainedEvent]
    next_cursor: str | None


async def explain_line(
    context: Context,
    invoice_id: str,
    line_id: str,
    *,
    customer: str | None,
    limit: int,
    cursor: str | None,
) -> Explanation:
    """What a line is made of, down to the events. Raises `NotFound`.

    An adjustment's line shows all events of its segment: its amount is the price of all of them
    less what was billed before.
    """
    invoice = await get_invoice(context, invoice_id, customer)
    lines = (*invoice.lines, *invoice.settled)
    line = next((one for one in lines if one.id == line_id), None)
    if line is None:
        raise NotFound(kind=f"line on invoice {invoice_id}:", key=line_id)
    if line.meter is None:
        return Explanation(invoice, line, (), None)
    assert invoice.subscription is not None
    async with context.pool.connection() as connection:
        found, following = await _events_behind(connection, invoice, line, limit, cursor)
    return Explanation(invoice, line, found, following)


async def _events_behind(
    connection: Connection, invoice: Invoice, line: Line, limit: int, cursor: str | None
) -> tuple[list[ExplainedEvent], str | None]:
    """Read the events of the line's period in steps and keep those that its price counted."""
    position = decode_cursor(cursor, 3)
    after = None
    if position is not None:
        at = parse_instant(position[0])
        if at is None:
            raise invalid_cursor()
        after = (invoice.customer, at, position[1], position[2])
    terms = (await term_storage.customer_terms(connection, [invoice.customer]))[invoice.customer]
    versions = await term_storage.meter_versions(connection)
    event_type = next(meter.event_type for _, meter in versions if meter.key == line.meter)
    epochs = epochs_of(terms, versions)
    wanted = EventFilter(
        customer=invoice.customer, type=event_type, status="accepted",
        start=line.period.start, end=line.period.end,
    )  # fmt: skip
    found: list[ExplainedEvent] = []
    for _ in range(EVENTS_SCANNED_MAX // EVENTS_PER_SCAN):
        rows = await archive.event_page(connection, wanted, after=after, limit=EVENTS_PER_SCAN)
        counted = [(stored.event, read_as_counted(epochs, terms, stored)) for stored in rows]
        billed_of = await _billed_now(connection, counted)
        for event, readings in counted:
            after = (event.customer, event.time, event.source, event.id)
            for reading in readings if not isinstance(readings, str) else ():
                quantity = _quantity_on(line, invoice, event, reading, billed_of)
                if quantity is not None:
                    found.append(ExplainedEvent(event, quantity))
            if len(found) == limit:
                return found, encode_cursor((format_instant(event.time), event.source, event.id))
        if len(rows) < EVENTS_PER_SCAN:
            return found, None
    assert after is not None
    return found, encode_cursor((format_instant(after[1]), after[2], after[3]))


async def _billed_now(
    connection: Connection, counted: Sequence[tuple[Event, Sequence[Reading] | str]]
) -> BilledOf:
    """How much of these events is billed as their outcomes stand."""
    identities = {
        (event.customer, event.source, event.id)
        for event, readings in counted
        if not isinstance(readings, str) and any(route.pending for route, _, _ in readings)
    }
    return billed_as_opened(await outcomes.of_events(connection, identities))


def _quantity_on(
    line: Line, invoice: Invoice, event: Event, reading: Reading, billed_of: BilledOf
) -> str | None:
    """How much of what a meter read in an event is counted on the line, its units and not the fees
    beside them; None: it is not on it.
    """
    route, values, value = reading
    dimensions = dict(zip(route.names, values, strict=True))
    if route.meter.key != line.meter or dimensions.get(FEE):
        return None
    for target in (*route.targets, *route.pending):
        if (
            target.subscription == invoice.subscription
            and target.price.key == line.price
            and _of_rate(target.price, line, dimensions)
        ):
            if target.price.outcome is None:
                return _printed(value)
            assert not isinstance(value, str), "an outcome is of a meter that adds up"
            key = (event.customer, event.source, event.id, route.meter.key)
            part = billed_of(key, target.price.outcome, value)
            return format_decimal(part.quantity) if part.quantity else None
    return None


def _printed(value: Value) -> str:
    return format_decimal(value) if isinstance(value, Decimal) else str(value)


def _of_rate(price: UsagePrice, line: Line, dimensions: dict[str, str]) -> bool:
    """Whether usage with these dimensions stands on this line of a dimensional price."""
    if not isinstance(price.model, Dimensional):
        return True
    match = match_rate(price.model, dimensions)
    if isinstance(match, int):
        return price.model.rates[match].key == line.rate
    return match == "otherwise" and not line.rate
