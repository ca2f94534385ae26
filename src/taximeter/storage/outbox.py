"""Rows of `outbox`: what happened, to be told. Written in the transaction that it happens in."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]

_INSERT = """
INSERT INTO outbox (id, at, type, customer, body)
SELECT id, at, type, customer, body
FROM json_to_recordset(%s) AS r (id text, at timestamptz, type text, customer text, body text)
"""
_WAITING = """
SELECT id, at, type, customer, body FROM outbox WHERE dispatched_at IS NULL
ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED
"""
_FORGET = """
DELETE FROM outbox WHERE seq IN (
    SELECT seq FROM outbox m WHERE dispatched_at < %s
        AND NOT EXISTS (SELECT FROM webhook_delivery d WHERE d.message = m.id)
    ORDER BY seq LIMIT %s
)
"""


class OutboxRow(NamedTuple):
    """A message; `body` is what will be sent of it, to the letter."""

    id: str
    at: datetime
    type: str
    customer: str | None
    body: str


async def insert(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Add messages, in this order."""
    await connection.execute(_INSERT, [document([row._asdict() for row in rows])])


async def take_waiting(connection: Connection, limit: int) -> list[OutboxRow]:
    """The messages that were not given to endpoints yet, in their order; locked."""
    cursor = await connection.execute(_WAITING, [limit])
    return [OutboxRow(row[0], row[1].astimezone(UTC), *row[2:]) for row in await cursor.fetchall()]


async def set_dispatched(connection: Connection, ids: Collection[str], at: datetime) -> None:
    """Note that these messages were given to the endpoints that want them."""
    await connection.execute(
        "UPDATE outbox SET dispatched_at = %s WHERE id = ANY(%s)", [at, list(ids)]
    )


async def drop(connection: Connection, ids: Collection[str]) -> None:
    """Forget messages that no endpoint wants."""
    await connection.execute("DELETE FROM outbox WHERE id = ANY(%s)", [list(ids)])


async def forget(connection: Connection, before: datetime, limit: int) -> None:
    """Delete messages that were dispatched before, and of which no delivery is kept."""
    await connection.execute(_FORGET, [before, limit])
