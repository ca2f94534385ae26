"""Rows of `meter`: every version of every meter, append-only."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = "key, version, document, created_at"
COUNTS_FROM = "coalesce(counts_from, created_at)"


@dataclass(frozen=True, slots=True)
class MeterVersion:
    """One version of a meter, with its document as the seller wrote it."""

    key: str
    version: int
    document: Mapping[str, object]
    created_at: datetime


def _version_of(row: Sequence[Any]) -> MeterVersion:
    return MeterVersion(row[0], row[1], row[2], row[3].astimezone(UTC))


async def find(connection: Connection, key: str) -> MeterVersion | None:
    """The newest version of the meter `key`, if there is one."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM meter WHERE key = %s ORDER BY version DESC LIMIT 1", [key]
    )
    row = await cursor.fetchone()
    return _version_of(row) if row else None


async def find_all(
    connection: Connection, keys: Collection[str]
) -> dict[str, tuple[MeterVersion, datetime]]:
    """The newest version of each of these meters, and from when on its first one counts."""
    cursor = await connection.execute(
        f"""
        SELECT DISTINCT ON (key) {_COLUMNS}, min({COUNTS_FROM}) OVER (PARTITION BY key)
        FROM meter WHERE key = ANY(%s) ORDER BY key, version DESC
        """,
        [sorted(keys)],
    )
    return {row[0]: (_version_of(row), row[4].astimezone(UTC)) for row in await cursor.fetchall()}


async def first_counts_from(connection: Connection, key: str) -> datetime:
    """From when on the first version of a meter that exists counts: nothing from before."""
    cursor = await connection.execute(f"SELECT min({COUNTS_FROM}) FROM meter WHERE key = %s", [key])
    row = await cursor.fetchone()
    assert row is not None and row[0] is not None, f"there is a meter {key}"
    at: datetime = row[0]
    return at.astimezone(UTC)


async def changed_at(connection: Connection) -> datetime:
    """From when on the newest version of all counts: the first of instants, where there is none."""
    cursor = await connection.execute(f"SELECT max({COUNTS_FROM}) FROM meter")
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else datetime.min.replace(tzinfo=UTC)


async def insert(connection: Connection, meter: MeterVersion, counts_from: datetime) -> None:
    """Add a version. Raises `UniqueViolation` where another transaction added it meanwhile."""
    await connection.execute(
        f"INSERT INTO meter ({_COLUMNS}, counts_from) VALUES (%s, %s, %s, %s, %s)",
        [meter.key, meter.version, Jsonb(dict(meter.document)), meter.created_at, counts_from],
    )


async def page(connection: Connection, *, after: str | None, limit: int) -> list[MeterVersion]:
    """The newest version of each meter, by key, after `after`."""
    cursor = await connection.execute(
        f"""
        SELECT DISTINCT ON (key) {_COLUMNS} FROM meter
        WHERE (%(after)s::text IS NULL OR key > %(after)s)
        ORDER BY key, version DESC LIMIT %(limit)s
        """,
        {"after": after, "limit": limit},
    )
    return [_version_of(row) for row in await cursor.fetchall()]


async def keys(connection: Connection) -> set[str]:
    """The keys of all meters."""
    cursor = await connection.execute("SELECT DISTINCT key FROM meter")
    return {row[0] for row in await cursor.fetchall()}
