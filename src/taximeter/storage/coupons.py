"""Rows of `coupon`: each coupon as it is now, and how often it was redeemed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from taximeter.domain.catalog.discount import Coupon
from taximeter.domain.catalog.discount_document import parse_coupon

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = "key, version, document, redeemed, created_at, updated_at, ended_at"
_FIND = f"SELECT {_COLUMNS} FROM coupon WHERE key = %s"
_LOCK = f"{_FIND} FOR UPDATE"
_INSERT = """
INSERT INTO coupon (key, version, document, redemptions_max, redeemed, created_at, updated_at)
VALUES (%s, %s, %s, %s, 0, %s, %s)
"""
_UPDATE = """
UPDATE coupon SET version = %s, document = %s, redemptions_max = %s, updated_at = %s,
    ended_at = NULL
WHERE key = %s
"""


@dataclass(frozen=True, slots=True)
class StoredCoupon:
    """A coupon as stored. After `ended_at` it is not redeemed any more."""

    coupon: Coupon
    document: Mapping[str, object]
    redeemed: int
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


def _coupon_of(row: Sequence[Any]) -> StoredCoupon:
    return StoredCoupon(
        coupon=parse_coupon(row[0], row[2], version=row[1]), document=row[2], redeemed=row[3],
        created_at=row[4].astimezone(UTC), updated_at=row[5].astimezone(UTC),
        ended_at=row[6].astimezone(UTC) if row[6] else None,
    )  # fmt: skip


async def find(connection: Connection, key: str, *, lock: bool = False) -> StoredCoupon | None:
    """The coupon `key`, if there is one; with `lock` no other transaction changes it."""
    cursor = await connection.execute(_LOCK if lock else _FIND, [key])
    row = await cursor.fetchone()
    return _coupon_of(row) if row else None


async def insert(
    connection: Connection, coupon: Coupon, document: Mapping[str, object], at: datetime
) -> None:
    """Add a coupon. Raises `UniqueViolation` where another transaction added it meanwhile."""
    await connection.execute(
        _INSERT,
        [coupon.key, coupon.version, Jsonb(dict(document)), coupon.redemptions_max, at, at],
    )


async def update(
    connection: Connection, coupon: Coupon, document: Mapping[str, object], at: datetime
) -> None:
    """Give a coupon other terms, and let it be redeemed; what was redeemed is counted on."""
    await connection.execute(
        _UPDATE,
        [coupon.version, Jsonb(dict(document)), coupon.redemptions_max, at, coupon.key],
    )


async def end(connection: Connection, key: str, at: datetime) -> None:
    """End a coupon; one that has ended stays as it is."""
    await connection.execute(
        "UPDATE coupon SET ended_at = %s WHERE key = %s AND ended_at IS NULL", [at, key]
    )


async def take(connection: Connection, key: str) -> StoredCoupon | None:
    """Count one redemption and return the coupon, locked until the transaction ends; None where
    there is no such coupon, it has ended, or its redemptions are used up.
    """
    cursor = await connection.execute(
        f"""
        UPDATE coupon SET redeemed = redeemed + 1
        WHERE key = %s AND ended_at IS NULL
            AND (redemptions_max IS NULL OR redeemed < redemptions_max)
        RETURNING {_COLUMNS}
        """,
        [key],
    )
    row = await cursor.fetchone()
    return _coupon_of(row) if row else None


async def page(connection: Connection, *, after: str | None, limit: int) -> list[StoredCoupon]:
    """Coupons by key, after `after`, ended ones too."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM coupon WHERE (%(after)s::text IS NULL OR key > %(after)s)
        ORDER BY key LIMIT %(limit)s
        """,
        {"after": after, "limit": limit},
    )
    return [_coupon_of(row) for row in await cursor.fetchall()]
