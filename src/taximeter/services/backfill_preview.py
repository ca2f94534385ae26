"""What a backfill would do, seen by doing it in a transaction that is rolled back.

Owns what is compared: usage by meter, wallets, and invoices that are not final, on which the
adjustments of final ones stand. Ingestion waits meanwhile, so a page has few customers, one with
over 20,000 events to change is only told of, beforehand, and each is stopped where it takes too
long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.lines import Line
from taximeter.domain.metering.backfill import Backfill
from taximeter.kernel.errors import FieldError, Invalid, NotFound, Unavailable
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.services.archive import recall_span
from taximeter.services.backfill_apply import PORTION, apply_portion, fault_of, recalls
from taximeter.services.balance import read_balance
from taximeter.services.command import Transaction, in_time, run
from taximeter.services.context import Connection, Context
from taximeter.services.invoices import open_invoices
from taximeter.services.usage import total_of
from taximeter.storage import backfills as storage
from taximeter.storage import customers
from taximeter.storage.backfills import Counts
from taximeter.storage.terms import current_meters, keep_out

CUSTOMERS_MAX = 20
PORTIONS_MAX = 10

_TOO_MANY = FieldError(
    "", "too_many_events",
    f"Over {PORTIONS_MAX * PORTION:,} events would change, or come out of the archive, too many to "
    "be shown beforehand. Apply the backfill to a shorter span first, or apply it and revert it "
    "where it was wrong.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moved:
    """A figure before and after."""

    before: Decimal
    after: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceEffect:
    """An invoice that is not final (`upcoming`: that of the period under way): its total, and the
    lines that adjust final ones as they would be.
    """

    id: str
    subscription: str
    currency: str
    total: Moved
    adjustments: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a backfill would do to one customer: usage by meter within the backfill's span, what
    wallets have posted by asset, and invoices; `problem` is why it could not be applied.
    """

    customer: str
    counts: Counts
    usage: Mapping[str, Moved]
    wallets: Mapping[str, Moved]
    invoices: Sequence[InvoiceEffect]
    problem: FieldError | None = None


@dataclass(frozen=True, slots=True)
class _State:
    usage: Mapping[str, Decimal]
    wallets: Mapping[str, Decimal]
    invoices: Mapping[tuple[str, str], Invoice]


async def preview(
    context: Context, actor: str, backfill_id: str, *, limit: int, cursor: str | None
) -> Page[Effect]:
    """What a backfill would do to each of a page of customers, by key. Writes nothing.

    Raises `NotFound`, `InvalidState` where it is not open, and `TooSlow`.
    """
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        one = await storage.find(connection, backfill_id)
        if one is None:
            raise NotFound(kind="backfill", key=backfill_id)
        one.check("preview")
        keys = await storage.customers(
            connection, one, after=after[0] if after else None, limit=limit + 1
        )
    page = make_page(keys, limit, lambda key: (key,))
    return Page([await _effect(context, actor, one, key) for key in page.rows], page.next_cursor)


async def _effect(context: Context, actor: str, one: Backfill, customer: str) -> Effect:
    async def work(transaction: Transaction) -> Effect:
        connection = transaction.connection
        await keep_out(connection)
        before = await _state(context, connection, one, customer, transaction.at)
        if recalls(one) and not await recall_span(
            connection, customer, one.span, rows_max=PORTIONS_MAX * PORTION
        ):
            raise Invalid([_TOO_MANY])
        counts = Counts()
        for _ in range(PORTIONS_MAX + 1):  # the last one finds that nothing is left
            more, done = await apply_portion(transaction, one, customer)
            counts = counts.plus(more)
            if done:
                break
        else:
            raise Invalid([_TOO_MANY])
        after = await _state(context, connection, one, customer, transaction.at)
        return _difference(customer, counts, before, after)

    try:
        async with in_time(context):
            async with context.pool.connection() as connection:
                now = context.clock.now()
                if await storage.are_over(connection, one, customer, now, PORTIONS_MAX * PORTION):
                    raise Invalid([_TOO_MANY])
            return await run(context, actor, work, dry_run=True)
    except (Invalid, Unavailable) as refused:
        return Effect(customer, Counts(), {}, {}, (), fault_of(refused))


async def _state(
    context: Context, connection: Connection, one: Backfill, customer: str, at: datetime
) -> _State:
    if await customers.find(connection, customer) is None:
        return _State({}, {}, {})
    meters = [meter for meter in await current_meters(connection) if meter.event_type in one.types]
    invoices = await open_invoices(context, connection, customer)
    return _State(
        {m.key: await total_of(connection, m, customer, one.span, at) for m in meters},
        {own.asset: own.posted for own in await read_balance(connection, customer, at)},
        {(row.id, row.subscription): invoice for row, invoice in invoices},
    )


def _difference(customer: str, counts: Counts, before: _State, after: _State) -> Effect:
    return Effect(
        customer, counts, _moved(before.usage, after.usage), _moved(before.wallets, after.wallets),
        [
            InvoiceEffect(
                invoice_id, subscription, invoice.currency,
                Moved(_total(before.invoices.get((invoice_id, subscription))), _total(invoice)),
                [line for line in invoice.lines if line.kind == "adjustment"],
            )
            for (invoice_id, subscription), invoice in after.invoices.items()
        ],
    )  # fmt: skip


def _total(invoice: Invoice | None) -> Decimal:
    return ZERO if invoice is None else invoice.totals.total


def _moved(before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> dict[str, Moved]:
    return {
        key: Moved(before.get(key, ZERO), after.get(key, ZERO))
        for key in sorted(before.keys() | after.keys())
    }
