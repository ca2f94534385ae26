"""Rows of `outbox`: what happened, to be told. Written in the transaction that it happens in."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]

_INSERT = """
INSERT INTO outbox (id, at, type, customer, body)
SELECT id, at, type, customer, body
FROM json_to_recordset(%s) AS r (id text, at timestamptz, type text, customer text, body text)
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
