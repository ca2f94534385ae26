"""Who did what: one append-only row for each change."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Connection = AsyncConnection[tuple[Any, ...]]


async def insert(
    connection: Connection,
    *,
    audit_id: str,
    at: datetime,
    actor: str,
    action: str,
    object_id: str,
    detail: Mapping[str, object],
) -> None:
    """Write one audit row."""
    await connection.execute(
        "INSERT INTO audit (id, at, actor, action, object, detail) VALUES (%s, %s, %s, %s, %s, %s)",
        [audit_id, at, actor, action, object_id, Jsonb(dict(detail))],
    )
