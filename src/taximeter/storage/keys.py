"""Rows of `api_key`. Holds digests of secrets, never secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from taximeter.domain.entitlement.key_rate import KeyRate

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = (
    "id, name, scopes, customer, created_at, expires_at, revoked_at, rate_requests, rate_per, path"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    customer: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rate: KeyRate | None = None
    path: str | None = None


def _key_of(row: Sequence[Any]) -> ApiKey:
    rate = None if row[7] is None else KeyRate(row[7], row[8])
    return ApiKey(
        id=row[0], name=row[1], scopes=tuple(row[2]), customer=row[3], created_at=row[4],
        expires_at=row[5], revoked_at=row[6], rate=rate, path=row[9],
    )  # fmt: skip


def _rate_columns(rate: KeyRate | None) -> tuple[int | None, str | None]:
    return (None, None) if rate is None else (rate.requests, rate.per)


async def insert(connection: Connection, key: ApiKey, digest: bytes) -> None:
    """Keep a new key by the digest of its secret."""
    await connection.execute(
        f"INSERT INTO api_key ({_COLUMNS}, secret_sha256) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            key.id, key.name, list(key.scopes), key.customer, key.created_at, key.expires_at,
            key.revoked_at, *_rate_columns(key.rate), key.path, digest,
        ],
    )  # fmt: skip


async def find_by_digest(connection: Connection, digest: bytes) -> ApiKey | None:
    """The key whose secret has this digest, even if revoked or expired."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM api_key WHERE secret_sha256 = %s", [digest]
    )
    row = await cursor.fetchone()
    return _key_of(row) if row else None


async def revoke(connection: Connection, key_id: str, at: datetime) -> ApiKey | None:
    """Mark a key as revoked (the first time counts); None where there is no such key."""
    cursor = await connection.execute(
        "UPDATE api_key SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s "
        f"RETURNING {_COLUMNS}",
        [at, key_id],
    )
    row = await cursor.fetchone()
    return _key_of(row) if row else None


async def set_rate(connection: Connection, key_id: str, rate: KeyRate | None) -> ApiKey | None:
    """Set how fast a key may ask (None: as fast as it likes); None where there is no such key."""
    cursor = await connection.execute(
        f"UPDATE api_key SET rate_requests = %s, rate_per = %s WHERE id = %s RETURNING {_COLUMNS}",
        [*_rate_columns(rate), key_id],
    )
    row = await cursor.fetchone()
    return _key_of(row) if row else None


async def page(connection: Connection, *, after: str | None, limit: int) -> list[ApiKey]:
    """Keys by id, after `after`."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM api_key WHERE (%(after)s::text IS NULL OR id > %(after)s)
        ORDER BY id LIMIT %(limit)s
        """,
        {"after": after, "limit": limit},
    )
    return [_key_of(row) for row in await cursor.fetchall()]


async def any_key(connection: Connection) -> bool:
    """Whether a key was ever made."""
    cursor = await connection.execute("SELECT EXISTS (SELECT FROM api_key)")
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])
