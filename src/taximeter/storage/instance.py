"""The one row of `instance`."""

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]


async def ensure(
    connection: Connection, at: datetime, clock_at: datetime | None
) -> tuple[bool, datetime | None]:
    """Make the row if it is missing; returns whether it was, and what the test clock shows."""
    cursor = await connection.execute(
        "INSERT INTO instance (created_at, clock_at) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [at, clock_at],
    )
    created = cursor.rowcount == 1
    cursor = await connection.execute("SELECT clock_at FROM instance")
    row = await cursor.fetchone()
    assert row is not None
    return created, row[0]


async def set_clock(connection: Connection, at: datetime) -> None:
    """Keep what the test clock shows."""
    await connection.execute("UPDATE instance SET clock_at = %s", [at])
