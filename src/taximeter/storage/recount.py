"""The SQL of counting a customer's usage again."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from taximeter.storage.events import EVENT_COLUMNS, StoredEvent, stored_of

Connection = AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class StoredTotal:
    """A row of `usage_total`; `billed`: a finalized invoice has counted it."""

    subscription: str
    price: str
    period_start: datetime
    period_end: datetime
    meter: str
    version: int
    dimensions: str
    quantity: Decimal
    events: int
    latest: str | None
    billed: bool


async def totals_after(connection: Connection, customer: str, since: datetime) -> list[StoredTotal]:
    """The totals of segments that reach past `since`."""
    cursor = await connection.execute(
        """
        SELECT subscription, price, period_start, period_end, meter, version, dimensions,
            quantity, events, latest, billed IS NOT NULL
        FROM usage_total WHERE customer = %s AND period_end > %s
        """,
        [customer, since],
    )
    return [
        StoredTotal(row[0], row[1], row[2].astimezone(UTC), row[3].astimezone(UTC), *row[4:])
        for row in await cursor.fetchall()
    ]


async def delete_segments(
    connection: Connection, customer: str, keys: Sequence[tuple[str, str, datetime, str, int]]
) -> None:
    """Remove the totals, distinct members and values of these segments: (subscription, price,
    period_start, meter, version) each.
    """
    columns = [list(column) for column in zip(*keys, strict=True)]
    if not columns:
        return
    for table in ("usage_member", "usage_value", "usage_total"):
        await connection.execute(
            f"""
            DELETE FROM {table} t
            USING unnest(%s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::integer[])
                AS k (subscription, price, period_start, meter, version)
            WHERE t.customer = %s AND t.subscription = k.subscription AND t.price = k.price
              AND t.period_start = k.period_start AND t.meter = k.meter AND t.version = k.version
            """,
            [*columns, customer],
        )


async def has_events(connection: Connection, customer: str, since: datetime) -> bool:
    """Whether the customer has accepted events at or after `since`."""
    cursor = await connection.execute(
        # The order makes it read the index from there on, whatever the statistics say.
        """
        SELECT time FROM event WHERE customer = %s AND time >= %s AND status = 'accepted'
        ORDER BY customer, time LIMIT 1
        """,
        [customer, since],
    )
    return await cursor.fetchone() is not None


async def set_period_end(
    connection: Connection, customer: str, total: StoredTotal, end: datetime
) -> None:
    """Give a total's segment another end."""
    await connection.execute(
        """
        UPDATE usage_total SET period_end = %s
        WHERE customer = %s AND subscription = %s AND price = %s AND period_start = %s
        """,
        [end, customer, total.subscription, total.price, total.period_start],
    )


async def events_from(
    connection: Connection, customer: str, start: datetime, step: int
) -> AsyncIterator[list[StoredEvent]]:
    """The customer's accepted events from `start` on, by time, in steps of at most `step`."""
    async with connection.cursor(name="events_from") as cursor:
        await cursor.execute(
            f"""
            SELECT {EVENT_COLUMNS} FROM event e
            WHERE customer = %s AND time >= %s AND status = 'accepted' ORDER BY time
            """,
            [customer, start],
        )
        while rows := await cursor.fetchmany(step):
            yield [stored_of(row) for row in rows]
