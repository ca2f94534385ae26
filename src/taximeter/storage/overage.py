"""Rows of `overage`: what was used past the grants of an asset that has a price."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.times import Period

Connection = AsyncConnection[tuple[Any, ...]]


class Overage(NamedTuple):
    """Units of an asset used past its grants, taken out of the debt when a period closed."""

    boundary: datetime
    asset: str
    invoice: str
    plan: str
    version: int
    quantity: Decimal
    unit_price: Decimal


_OVERAGE_COLUMNS = "o.boundary, o.asset, o.invoice, o.plan, o.version, o.quantity, o.unit_price"
_INSERT_OVERAGE = """
INSERT INTO overage AS o (customer, subscription, boundary, asset, invoice, plan, version, quantity,
    unit_price, billed)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, false)
ON CONFLICT (customer, subscription, boundary, asset)
    DO UPDATE SET quantity = o.quantity + EXCLUDED.quantity
"""
_UNBILLED = f"""
SELECT {_OVERAGE_COLUMNS} FROM overage o
WHERE o.customer = %(customer)s AND o.subscription = %(subscription)s AND NOT o.billed
  AND o.boundary <= %(boundary)s
  AND NOT EXISTS (
      SELECT FROM invoice i
      WHERE i.customer = %(customer)s AND i.subscription = %(subscription)s
        AND i.status = 'draft' AND i.boundary >= o.boundary AND i.boundary < %(boundary)s
  )
ORDER BY o.boundary, o.asset
"""
_OVERAGE_WITHIN = f"""
SELECT {_OVERAGE_COLUMNS} FROM overage o
WHERE o.customer = %s AND o.subscription = %s AND o.boundary > %s AND o.boundary <= %s
ORDER BY o.boundary, o.asset
"""
_DEBT_MOVED = """
SELECT coalesce(sum(amount), 0) FROM wallet_entry
WHERE customer = %s AND id >= %s AND at >= %s AND asset = %s AND grant_id IS NULL
  AND kind <> 'overage'
"""


async def add_overage(connection: Connection, subscription: Subscription, row: Overage) -> None:
    """Note what an invoice will bill for an asset at a boundary."""
    await connection.execute(
        _INSERT_OVERAGE,
        [
            subscription.customer, subscription.id, row.boundary, row.asset, row.invoice, row.plan,
            row.version, row.quantity, row.unit_price,
        ],
    )  # fmt: skip


async def unbilled_overage(
    connection: Connection, subscription: Subscription, boundary: datetime
) -> list[Overage]:
    """What the draft of a boundary bills: what no final invoice, and no earlier draft, does."""
    cursor = await connection.execute(
        _UNBILLED,
        {
            "customer": subscription.customer, "subscription": subscription.id,
            "boundary": boundary,
        },
    )  # fmt: skip
    return [_overage_of(row) for row in await cursor.fetchall()]


async def overage_within(
    connection: Connection, subscription: Subscription, period: Period
) -> list[Overage]:
    """What was used past the grants in billing periods that closed within `period`, its end
    included.
    """
    cursor = await connection.execute(
        _OVERAGE_WITHIN, [subscription.customer, subscription.id, period.start, period.end]
    )
    return [_overage_of(row) for row in await cursor.fetchall()]


async def mark_overage_billed(
    connection: Connection, subscription: Subscription, boundary: datetime, invoice: str
) -> None:
    """Note that the invoice of a boundary, final now, bills what none before it did."""
    await connection.execute(
        """
        UPDATE overage SET billed = true, invoice = %s
        WHERE customer = %s AND subscription = %s AND NOT billed AND boundary <= %s
        """,
        [invoice, subscription.customer, subscription.id, boundary],
    )


async def waiting_invoice(
    connection: Connection, subscription: Subscription, until: datetime
) -> tuple[datetime, str] | None:
    """The last boundary by `until` of which something is not billed yet, and the id of the invoice
    that was to bill it.
    """
    cursor = await connection.execute(
        """
        SELECT boundary, invoice FROM overage
        WHERE customer = %s AND subscription = %s AND NOT billed AND boundary <= %s
        ORDER BY boundary DESC LIMIT 1
        """,
        [subscription.customer, subscription.id, until],
    )
    row = await cursor.fetchone()
    return (row[0].astimezone(UTC), row[1]) if row else None


async def is_open(connection: Connection, subscription: Subscription, boundary: datetime) -> bool:
    """Whether the boundary has not been closed yet."""
    cursor = await connection.execute(
        "SELECT next_boundary <= %s FROM subscription WHERE customer = %s AND id = %s",
        [boundary, subscription.customer, subscription.id],
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def debt_moved(
    connection: Connection, customer: str, asset: str, since: datetime, first_id: str
) -> Decimal:
    """By how much entries since `since`, but for overage taken, lowered the debt (negative: raised
    it). No id of theirs is below `first_id`.
    """
    cursor = await connection.execute(_DEBT_MOVED, [customer, first_id, since, asset])
    row = await cursor.fetchone()
    assert row is not None
    return Decimal(row[0])


def _overage_of(row: Sequence[Any]) -> Overage:
    return Overage(row[0].astimezone(UTC), *row[1:])
