"""The first answers to requests that carried an Idempotency-Key."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]


class Key(NamedTuple):
    """An idempotency key within its scope (the API key), and the digest of its request."""

    scope: str
    key: str
    request_digest: bytes


class StoredAnswer(NamedTuple):
    """What was answered first, and the digest of the request it answered."""

    request_digest: bytes
    status: int
    body: bytes


async def find_answers(
    connection: Connection, keys: Sequence[Key]
) -> dict[tuple[str, str], StoredAnswer]:
    """The stored answers of those of these keys that were used before."""
    cursor = await connection.execute(
        """
        SELECT scope, key, request_digest, status, body FROM idempotency
        WHERE (scope, key) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
        """,
        [[key.scope for key in keys], [key.key for key in keys]],
    )
    return {(row[0], row[1]): StoredAnswer(*row[2:]) for row in await cursor.fetchall()}


async def store_answer(
    connection: Connection, key: Key, status: int, body: bytes, at: datetime
) -> bool:
    """Keep the first answer; False where another transaction used the key meanwhile."""
    cursor = await connection.execute(
        """
        INSERT INTO idempotency (scope, key, request_digest, status, body, created_at)
        VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING true
        """,
        [key.scope, key.key, key.request_digest, status, body, at],
    )
    # Fetched and not counted: within a pipeline the number of rows is not known yet.
    return await cursor.fetchone() is not None


async def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Forget the oldest of the answers given before `before`, at most `limit` of them; how many."""
    cursor = await connection.execute(
        """
        DELETE FROM idempotency WHERE (scope, key) IN (
            SELECT scope, key FROM idempotency WHERE created_at < %s ORDER BY created_at LIMIT %s
        )
        """,
        [before, limit],
    )
    return cursor.rowcount
