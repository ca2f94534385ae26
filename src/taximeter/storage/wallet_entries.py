"""What moved grants and wallets, summed and listed: reads of `wallet_entry`."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.ids import first_id
from taximeter.storage.wallets import Entry

Connection = AsyncConnection[tuple[Any, ...]]

# What a grant began with is no movement of it.
_OF_GRANT = """
FROM wallet_entry
WHERE customer = %(customer)s AND grant_id = %(grant)s
  AND NOT (amount > 0 AND kind IN ('grant', 'rollover', 'transfer'))
"""
_SUM_REMOVALS = """
SELECT coalesce(-sum(amount) FILTER (WHERE kind = 'void'), 0),
    coalesce(-sum(amount) FILTER (WHERE kind = 'transfer'), 0),
    coalesce(-sum(amount) FILTER (WHERE kind = 'rollover'), 0)
FROM wallet_entry
WHERE customer = %(customer)s AND grant_id = %(grant)s
  AND kind IN ('void', 'transfer', 'rollover') AND amount < 0
"""
_TAKEN_BEFORE = f"""
SELECT coalesce(-sum(amount), 0) {_OF_GRANT} AND id >= %(first)s AND id < %(before)s
"""
_PAGE_MOVEMENTS = f"""
SELECT customer, id, asset, grant_id, kind, amount, at, ref
{_OF_GRANT} AND id >= %(since)s AND (%(until)s::text IS NULL OR id < %(until)s)
  AND (%(after)s::text IS NULL OR id > %(after)s)
ORDER BY id LIMIT %(limit)s
"""
_DRAWN_SINCE = """
SELECT asset, coalesce(-sum(amount) FILTER (WHERE kind = 'draw'), 0), count(*), min(at)
FROM (
    SELECT asset, kind, amount, at FROM wallet_entry WHERE customer = %s AND id >= %s
    ORDER BY id DESC LIMIT %s
) e
GROUP BY asset
"""


def first_movement_id(grant: Grant) -> str:
    """An id that sorts before those of the grant's entries."""
    return first_id("went", grant.created_at)


def _of(grant: Grant) -> dict[str, str]:
    return {"customer": grant.customer, "grant": grant.id}


class Removals(NamedTuple):
    """What was taken out of a grant otherwise than by use, as positive amounts: voided, transferred
    to another asset, rolled over.
    """

    voided: Decimal
    transferred: Decimal
    rolled_over: Decimal


async def sum_removals(connection: Connection, grant: Grant) -> Removals:
    """What was taken out of a grant so far otherwise than by use."""
    cursor = await connection.execute(_SUM_REMOVALS, _of(grant))
    row = await cursor.fetchone()
    assert row is not None, "a sum has a row"
    return Removals(*row)


async def taken_before(connection: Connection, grant: Grant, before: str) -> Decimal:
    """What had been taken out of a grant by its entries with ids below `before`."""
    cursor = await connection.execute(
        _TAKEN_BEFORE, {**_of(grant), "first": first_movement_id(grant), "before": before}
    )
    row = await cursor.fetchone()
    assert row is not None, "a sum has a row"
    return Decimal(row[0])


async def page_movements(
    connection: Connection,
    grant: Grant,
    *,
    since: str,
    until: str | None,
    after: str | None,
    limit: int,
) -> list[Entry]:
    """What was taken out of a grant (positive: given back), oldest first: entries with ids from
    `since` on, below `until`, and after `after`.
    """
    cursor = await connection.execute(
        _PAGE_MOVEMENTS,
        {**_of(grant), "since": since, "until": until, "after": after, "limit": limit},
    )
    return [Entry(*row)._replace(at=row[6].astimezone(UTC)) for row in await cursor.fetchall()]


class Drawn(NamedTuple):
    """Of an asset's movements: what usage drew, how many movements there are, and the oldest."""

    asset: str
    drawn: Decimal
    movements: int
    oldest: datetime


async def drawn_since(connection: Connection, customer: str, since: str, limit: int) -> list[Drawn]:
    """What was drawn from a customer's wallets by entries with ids from `since` on, of the newest
    `limit` of them.
    """
    cursor = await connection.execute(_DRAWN_SINCE, [customer, since, limit])
    return [
        Drawn(row[0], row[1], row[2], row[3].astimezone(UTC)) for row in await cursor.fetchall()
    ]


async def first_movement(connection: Connection, customer: str) -> datetime | None:
    """When the customer's credit first moved."""
    cursor = await connection.execute(
        "SELECT at FROM wallet_entry WHERE customer = %s ORDER BY id LIMIT 1", [customer]
    )
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row else None
