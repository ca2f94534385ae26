"""Rows of `plan_version` and `plan_retirement`: every version of every plan, append-only.

A version is in force from `effective_at`, or from when it was made where that is null, until one
that comes into force later. What was cancelled never is.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Connection = AsyncConnection[tuple[Any, ...]]
Status = Literal["active", "scheduled", "superseded", "cancelled"]

_HOLDS = "({0}.cancelled_at IS NULL AND ({0}.effective_at IS NULL OR {0}.effective_at <= %(at)s))"
_RANK = "coalesce({0}.effective_at, {0}.created_at), {0}.version"
_SELECT = f"""
SELECT v.plan, v.version, v.document, v.created_at, coalesce(v.effective_at, v.created_at),
    CASE WHEN v.cancelled_at IS NOT NULL THEN 'cancelled'
        WHEN v.effective_at > %(at)s THEN 'scheduled'
        WHEN EXISTS (SELECT FROM plan_version n WHERE n.plan = v.plan AND {_HOLDS.format("n")}
            AND ({_RANK.format("n")}) > ({_RANK.format("v")})) THEN 'superseded'
        ELSE 'active' END,
    (SELECT r.retired_at FROM plan_retirement r WHERE r.plan = v.plan)
FROM plan_version v
"""
# The version in force; where there is none, the first that will be; else what was cancelled last.
_SHOWN = f"""
v.version = (SELECT w.version FROM plan_version w WHERE w.plan = v.plan
    ORDER BY {_HOLDS.format("w")} DESC, (w.cancelled_at IS NULL) DESC,
        CASE WHEN w.effective_at > %(at)s AND w.cancelled_at IS NULL THEN w.effective_at END,
        coalesce(w.effective_at, w.created_at) DESC, w.version DESC LIMIT 1)
"""
_FIND = f"""
{_SELECT} WHERE v.plan = %(key)s
    AND (v.version = %(version)s OR (%(version)s::integer IS NULL AND {_SHOWN}))
"""
_PAGE = f"""
{_SELECT} WHERE {_SHOWN} AND (%(after)s::text IS NULL OR v.plan > %(after)s)
    AND (%(family)s::text IS NULL OR v.document ->> 'family' = %(family)s)
ORDER BY v.plan LIMIT %(limit)s
"""
_VERSIONS = f"""
{_SELECT} WHERE v.plan = %(key)s AND (%(before)s::integer IS NULL OR v.version < %(before)s)
ORDER BY v.version DESC LIMIT %(limit)s
"""
_FAMILY = f"""
{_SELECT} WHERE v.document ? 'family' AND v.document ->> 'family' = %(family)s
    AND v.cancelled_at IS NULL
ORDER BY v.plan, v.version
"""
_INSERT = """
INSERT INTO plan_version (plan, version, document, created_at, effective_at)
VALUES (%s, %s, %s, %s, %s)
"""
_HOLD = """
SELECT FROM plan_version WHERE plan = %s AND version = %s AND cancelled_at IS NULL FOR SHARE
"""
_LOCK = "SELECT FROM plan_version WHERE plan = %s AND version = %s FOR UPDATE"
_CANCEL = """
UPDATE plan_version v SET cancelled_at = %(at)s
WHERE v.plan = %(key)s AND v.version = %(version)s AND v.cancelled_at IS NULL
    AND v.effective_at > %(at)s
"""
_RETIRE = """
INSERT INTO plan_retirement (plan, retired_at) VALUES (%s, %s) ON CONFLICT (plan) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One version of a plan, with its document as the seller wrote it.

    `status` is that at the instant it was asked for; `retired_at` is the plan's.
    """

    key: str
    version: int
    document: Mapping[str, object]
    created_at: datetime
    effective_at: datetime
    status: Status
    retired_at: datetime | None


def _version_of(row: Sequence[Any]) -> PlanVersion:
    retired_at = row[6].astimezone(UTC) if row[6] else None
    made, effective = row[3].astimezone(UTC), row[4].astimezone(UTC)
    return PlanVersion(row[0], row[1], row[2], made, effective, row[5], retired_at)


async def find(
    connection: Connection, key: str, version: int | None = None, *, at: datetime
) -> PlanVersion | None:
    """The version `version` of the plan `key` as it is at `at`, if there is one.

    None asks for the version in force; where there is none yet, for the first that will be.
    """
    values = {"key": key, "version": version, "at": at}
    row = await (await connection.execute(_FIND, values)).fetchone()
    return _version_of(row) if row else None


async def hold(connection: Connection, key: str, version: int) -> bool:
    """Keep a version from being cancelled until the transaction ends; whether it is not yet."""
    return (await connection.execute(_HOLD, [key, version])).rowcount == 1


async def lock(connection: Connection, key: str, version: int) -> None:
    """Wait for those who hold a version, and keep it until the transaction ends."""
    await connection.execute(_LOCK, [key, version])


async def lock_families(connection: Connection) -> None:
    """Keep other writers of plans out until the transaction ends: no two members of a family
    take one segment at the same time.
    """
    await connection.execute("LOCK TABLE plan_version IN SHARE ROW EXCLUSIVE MODE")


async def last_version(connection: Connection, key: str) -> int:
    """The number of the last version that was made, cancelled or not; 0 where there is none."""
    query = "SELECT coalesce(max(version), 0) FROM plan_version WHERE plan = %s"
    row = await (await connection.execute(query, [key])).fetchone()
    assert row is not None
    return int(row[0])


async def insert(connection: Connection, plan: PlanVersion) -> None:
    """Add a version. Raises `UniqueViolation` where another transaction added it meanwhile."""
    scheduled = plan.effective_at if plan.effective_at > plan.created_at else None
    row = [plan.key, plan.version, Jsonb(dict(plan.document)), plan.created_at, scheduled]
    await connection.execute(_INSERT, row)


async def cancel(connection: Connection, key: str, version: int, *, at: datetime) -> bool:
    """Take back a version that is not in force yet at `at`; whether it could be."""
    cursor = await connection.execute(_CANCEL, {"key": key, "version": version, "at": at})
    return cursor.rowcount == 1


async def is_used(connection: Connection, key: str, version: int) -> bool:
    """Whether a subscription has a phase on this version."""
    query = "SELECT EXISTS (SELECT FROM subscription_phase WHERE plan = %s AND version = %s)"
    row = await (await connection.execute(query, [key, version])).fetchone()
    assert row is not None
    return bool(row[0])


async def retire(connection: Connection, key: str, at: datetime) -> bool:
    """Note that the plan takes no new subscriptions; whether that is new."""
    return (await connection.execute(_RETIRE, [key, at])).rowcount == 1


async def unretire(connection: Connection, key: str) -> bool:
    """Note that the plan takes new subscriptions again; whether that is new."""
    cursor = await connection.execute("DELETE FROM plan_retirement WHERE plan = %s", [key])
    return cursor.rowcount == 1


async def page(
    connection: Connection, *, after: str | None, family: str | None, limit: int, at: datetime
) -> list[PlanVersion]:
    """One version of each plan as `find` chooses it, by key, after `after`; of one family where
    it is named.
    """
    values = {"after": after, "family": family, "limit": limit, "at": at}
    cursor = await connection.execute(_PAGE, values)
    return [_version_of(row) for row in await cursor.fetchall()]


async def versions(
    connection: Connection, key: str, *, before: int | None, limit: int, at: datetime
) -> list[PlanVersion]:
    """The versions of one plan, newest first, older than `before`."""
    values = {"key": key, "before": before, "limit": limit, "at": at}
    cursor = await connection.execute(_VERSIONS, values)
    return [_version_of(row) for row in await cursor.fetchall()]


async def family(connection: Connection, name: str, *, at: datetime) -> list[PlanVersion]:
    """The versions that are or will be in force, or were, and name this family; by plan."""
    cursor = await connection.execute(_FAMILY, {"family": name, "at": at})
    return [_version_of(row) for row in await cursor.fetchall()]


async def pricing(
    connection: Connection, meter: str
) -> AsyncGenerator[tuple[int, Mapping[str, Any], Mapping[str, Any]], None]:
    """Every version of a plan that prices this meter, with its document: as it is published, and
    with each set of overrides that was agreed beside it.
    """
    async with connection.cursor(name="pricing") as cursor:
        await cursor.execute(
            """
            WITH priced AS (
                SELECT v.plan, v.version, v.document FROM plan_version v WHERE EXISTS (
                    SELECT FROM jsonb_array_elements(v.document -> 'prices') AS p
                    WHERE p ->> 'meter' = %s
                )
            )
            SELECT version, document, '{}'::jsonb FROM priced UNION ALL
            SELECT v.version, v.document, o.overrides FROM priced v JOIN (
                SELECT DISTINCT plan, version, deal -> 'overrides' AS overrides
                FROM subscription_phase WHERE deal -> 'overrides' IS NOT NULL
            ) o USING (plan, version)
            """,
            [meter],
        )
        async for row in cursor:
            yield row[0], row[1], row[2]
