"""Rows of `plan_version`: every version of every plan, append-only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = "plan, version, document, created_at"


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One version of a plan, with its document as the seller wrote it."""

    key: str
    version: int
    document: Mapping[str, object]
    created_at: datetime


def _version_of(row: Sequence[Any]) -> PlanVersion:
    return PlanVersion(row[0], row[1], row[2], row[3].astimezone(UTC))


async def find(connection: Connection, key: str, version: int | None = None) -> PlanVersion | None:
    """The version `version` (None: the newest) of the plan `key`, if there is one."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM plan_version
        WHERE plan = %(key)s AND (%(version)s::integer IS NULL OR version = %(version)s)
        ORDER BY version DESC LIMIT 1
        """,
        {"key": key, "version": version},
    )
    row = await cursor.fetchone()
    return _version_of(row) if row else None


async def insert(connection: Connection, plan: PlanVersion) -> None:
    """Add a version. Raises `UniqueViolation` where another transaction added it meanwhile."""
    await connection.execute(
        f"INSERT INTO plan_version ({_COLUMNS}) VALUES (%s, %s, %s, %s)",
        [plan.key, plan.version, Jsonb(dict(plan.document)), plan.created_at],
    )


async def page(connection: Connection, *, after: str | None, limit: int) -> list[PlanVersion]:
    """The newest version of each plan, by key, after `after`."""
    cursor = await connection.execute(
        f"""
        SELECT DISTINCT ON (plan) {_COLUMNS} FROM plan_version
        WHERE (%(after)s::text IS NULL OR plan > %(after)s)
        ORDER BY plan, version DESC LIMIT %(limit)s
        """,
        {"after": after, "limit": limit},
    )
    return [_version_of(row) for row in await cursor.fetchall()]


async def versions(
    connection: Connection, key: str, *, before: int | None, limit: int
) -> list[PlanVersion]:
    """The versions of one plan, newest first, older than `before`."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM plan_version
        WHERE plan = %(key)s AND (%(before)s::integer IS NULL OR version < %(before)s)
        ORDER BY version DESC LIMIT %(limit)s
        """,
        {"key": key, "before": before, "limit": limit},
    )
    return [_version_of(row) for row in await cursor.fetchall()]
