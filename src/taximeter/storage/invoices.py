"""Rows of `invoice` and `invoice_line`, and the counter of invoice numbers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.lines import Line, RateKey
from taximeter.domain.rating.step import Step
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.times import Period

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = """
customer, id, subscription, boundary, status, finalize_at, created_at, document::text
"""
_FREEZE = """
UPDATE invoice SET status = %s, number = %s, document = %s::jsonb
WHERE customer = %s AND id = %s AND status = 'draft'
"""
_LINE = """
INSERT INTO invoice_line (customer, invoice, id, subscription, kind, price, plan, version, rate,
    segment_start, segment_end, description, quantity, exact, amount)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_LINES = """
SELECT id, kind, price, plan, version, rate, segment_start, segment_end, description, quantity,
    exact, amount
FROM invoice_line
WHERE customer = %s AND subscription = %s AND segment_start >= %s AND segment_start < %s
    AND segment_end <= %s
ORDER BY invoice, id
"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Invoice).decode


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """An invoice as stored. `frozen` is there once it is finalized; a draft is computed."""

    customer: str
    id: str
    subscription: str
    boundary: datetime
    status: str
    finalize_at: datetime
    created_at: datetime
    frozen: Invoice | None


def _row_of(row: Sequence[Any]) -> InvoiceRow:
    return InvoiceRow(
        customer=row[0], id=row[1], subscription=row[2], boundary=row[3].astimezone(UTC),
        status=row[4], finalize_at=row[5].astimezone(UTC), created_at=row[6].astimezone(UTC),
        frozen=_decode(row[7]) if row[7] else None,
    )  # fmt: skip


async def insert_draft(connection: Connection, row: InvoiceRow, *, currency: str) -> None:
    """Note that a boundary is billed; a unique key makes a second time impossible."""
    await connection.execute(
        """
        INSERT INTO invoice
            (customer, id, subscription, boundary, status, currency, finalize_at, created_at)
        VALUES (%s, %s, %s, %s, 'draft', %s, %s, %s)
        """,
        [
            row.customer, row.id, row.subscription, row.boundary, currency, row.finalize_at,
            row.created_at,
        ],
    )  # fmt: skip


async def find(
    connection: Connection, invoice_id: str, *, customer: str | None = None
) -> InvoiceRow | None:
    """The invoice with this id, if there is one (and it is this customer's)."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM invoice WHERE id = %s AND (%s::text IS NULL OR customer = %s)
        """,
        [invoice_id, customer, customer],
    )
    row = await cursor.fetchone()
    return _row_of(row) if row else None


async def lock(connection: Connection, customer: str, invoice_id: str) -> InvoiceRow | None:
    """The invoice, locked until the transaction ends; None where it is gone."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM invoice WHERE customer = %s AND id = %s FOR UPDATE",
        [customer, invoice_id],
    )
    row = await cursor.fetchone()
    return _row_of(row) if row else None


async def freeze(connection: Connection, invoice: Invoice) -> None:
    """Write a draft as finalized, with its lines. Once: a finalized invoice is not touched."""
    document = _encode(invoice).decode()
    cursor = await connection.execute(
        _FREEZE, [invoice.status, invoice.number, document, invoice.customer, invoice.id]
    )
    assert cursor.rowcount == 1, "only a draft is frozen, and its row is locked"
    async with connection.cursor() as lines:
        await lines.executemany(
            _LINE,
            [
                [
                    invoice.customer, invoice.id, line.id, invoice.subscription, line.kind,
                    line.price, line.plan, line.plan_version, rate_text(line.rate),
                    line.period.start, line.period.end, line.description, line.quantity,
                    line.exact, line.amount,
                ]
                for line in invoice.lines
            ],
        )  # fmt: skip


async def replace_document(connection: Connection, invoice: Invoice) -> None:
    """Write a finalized invoice's new status and totals (void, paid)."""
    await connection.execute(
        "UPDATE invoice SET status = %s, document = %s::jsonb WHERE customer = %s AND id = %s",
        [invoice.status, _encode(invoice).decode(), invoice.customer, invoice.id],
    )


async def billed_lines(
    connection: Connection, subscription: Subscription, within: Period
) -> list[Line]:
    """What finalized invoices billed for segments within the period, as lines with one step."""
    cursor = await connection.execute(
        _LINES,
        [subscription.customer, subscription.id, within.start, within.end, within.end],
    )
    return [_line_of(row, subscription) for row in await cursor.fetchall()]


def _line_of(row: Sequence[Any], subscription: Subscription) -> Line:
    exact: Decimal = row[10]
    return Line(
        id=row[0], kind=row[1], price=row[2], meter=None, plan=row[3], plan_version=row[4],
        description=row[8], quantity=row[9], unit_amount=None, amount=row[11], exact=exact,
        asset=subscription.phases[0].plan.currency,
        period=Period(row[6].astimezone(UTC), row[7].astimezone(UTC)), rate=rate_of(row[5]),
        steps=(Step("billed", None, None, exact),),
    )  # fmt: skip


def rate_text(rate: RateKey) -> str | None:
    """A rate's match as text."""
    return None if rate is None else json.dumps(rate, ensure_ascii=False)


def rate_of(text: str | None) -> RateKey:
    """The match in a text that `rate_text` made."""
    return None if text is None else tuple((name, value) for name, value in json.loads(text))


async def last_boundary(
    connection: Connection, subscription: Subscription, *, drafts: bool
) -> datetime | None:
    """The last boundary that was billed and finalized (`drafts`: or has a draft)."""
    cursor = await connection.execute(
        """
        SELECT max(boundary) FROM invoice
        WHERE customer = %s AND subscription = %s AND (%s OR status <> 'draft')
        """,
        [subscription.customer, subscription.id, drafts],
    )
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


async def any_finalized(connection: Connection, customer: str) -> bool:
    """Whether an invoice of the customer was ever finalized."""
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM invoice WHERE customer = %s AND status <> 'draft')", [customer]
    )
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])


async def drafts_of(connection: Connection, subscription: Subscription) -> list[InvoiceRow]:
    """The drafts of a subscription, by boundary."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM invoice
        WHERE customer = %s AND subscription = %s AND status = 'draft' ORDER BY boundary
        """,
        [subscription.customer, subscription.id],
    )
    return [_row_of(row) for row in await cursor.fetchall()]


async def unpaid(connection: Connection, customer: str) -> Decimal:
    """What the customer's open invoices ask for in all."""
    cursor = await connection.execute(
        """
        SELECT coalesce(sum((document -> 'totals' ->> 'amount_due')::numeric), 0) FROM invoice
        WHERE customer = %s AND status = 'open'
        """,
        [customer],
    )
    row = await cursor.fetchone()
    assert row is not None, "a sum is always there"
    found: Decimal = row[0]
    return found


async def discard_drafts(
    connection: Connection, subscription: Subscription, since: datetime
) -> None:
    """Drop the drafts of boundaries at or after `since`: the terms they were made by changed."""
    await connection.execute(
        """
        DELETE FROM invoice
        WHERE customer = %s AND subscription = %s AND status = 'draft' AND boundary >= %s
        """,
        [subscription.customer, subscription.id, since],
    )


async def discard(connection: Connection, row: InvoiceRow) -> None:
    """Drop a draft that turned out to bill nothing."""
    await connection.execute(
        "DELETE FROM invoice WHERE customer = %s AND id = %s AND status = 'draft'",
        [row.customer, row.id],
    )


async def take_number(connection: Connection, name: str) -> int:
    """The next number of a gap-free series. Take it last: its row stays locked until commit."""
    cursor = await connection.execute(
        """
        INSERT INTO number_counter (name, value) VALUES (%s, 1)
        ON CONFLICT (name) DO UPDATE SET value = number_counter.value + 1 RETURNING value
        """,
        [name],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def page(
    connection: Connection,
    *,
    customer: str | None,
    status: str | None,
    subscription: str | None,
    before: str | None,
    limit: int,
) -> list[InvoiceRow]:
    """Invoices by age, the newest first."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM invoice
        WHERE (%(customer)s::text IS NULL OR customer = %(customer)s)
          AND (%(status)s::text IS NULL OR status = %(status)s)
          AND (%(subscription)s::text IS NULL OR subscription = %(subscription)s)
          AND (%(before)s::text IS NULL OR id < %(before)s)
        ORDER BY id DESC LIMIT %(limit)s
        """,
        {
            "customer": customer, "status": status, "subscription": subscription,
            "before": before, "limit": limit,
        },
    )  # fmt: skip
    return [_row_of(row) for row in await cursor.fetchall()]


async def due(connection: Connection, at: datetime, limit: int) -> list[tuple[str, str]]:
    """Drafts (customer, id) to be finalized at or before `at`, earliest first."""
    cursor = await connection.execute(
        """
        SELECT customer, id FROM invoice WHERE status = 'draft' AND finalize_at <= %s
        ORDER BY finalize_at, customer, id LIMIT %s
        """,
        [at, limit],
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def next_due(connection: Connection) -> datetime | None:
    """When the earliest draft is to be finalized."""
    cursor = await connection.execute("SELECT min(finalize_at) FROM invoice WHERE status = 'draft'")
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None
