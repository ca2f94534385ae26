"""Rows of `dead_letter`: what consumers of streams could not deliver."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]
Encoding = Literal["text", "base64"]

_COLUMNS = """
id, received_at, stream, "position", item, event_id, path, code, detail, bytes, encoding, content,
resolved_at, resolution
"""
_INSERT = """
INSERT INTO dead_letter (stream, "position", item, digest, id, received_at, event_id, path, code,
    detail, bytes, encoding, content)
SELECT stream, "position", item, digest, id, received_at, event_id, path, code, detail, bytes,
    encoding, content
FROM json_to_recordset(%s) AS r (stream text, "position" text, item integer, digest bytea, id text,
    received_at timestamptz, event_id text, path text, code text, detail text, bytes bigint,
    encoding text, content text)
ON CONFLICT (stream, "position", item, digest) DO NOTHING
RETURNING id
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM dead_letter
WHERE (%(stream)s::text IS NULL OR stream = %(stream)s)
  AND (%(code)s::text IS NULL OR code = %(code)s)
  AND (%(resolved)s::boolean IS NULL OR (resolved_at IS NOT NULL) = %(resolved)s)
  AND (%(after)s::text IS NULL OR id > %(after)s)
ORDER BY id LIMIT %(limit)s
"""
_RESOLVE = f"""
UPDATE dead_letter SET resolved_at = %s, resolution = %s
WHERE id = %s AND resolved_at IS NULL RETURNING {_COLUMNS}
"""


class LetterRow(NamedTuple):
    """A row to be. `digest` is of the content, as the database writes bytes."""

    stream: str
    position: str
    item: int
    digest: str
    id: str
    received_at: datetime
    event_id: str | None
    path: str
    code: str
    detail: str
    bytes: int
    encoding: Encoding
    content: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A part of a message that was not taken: where the message lies, why, and its content, cut
    where that is shorter than `bytes`. `resolution`: what became of it, by a person's word.
    """

    id: str
    received_at: datetime
    stream: str
    position: str
    item: int
    event_id: str | None
    path: str
    code: str
    detail: str
    bytes: int
    encoding: Encoding
    content: str
    resolved_at: datetime | None
    resolution: str | None


async def insert(connection: Connection, rows: Sequence[LetterRow]) -> int:
    """Keep what is not kept yet; how many those were."""
    body = document([row._asdict() for row in rows])
    cursor = await connection.execute(_INSERT, [body])
    return len(await cursor.fetchall())


async def page(
    connection: Connection,
    *,
    stream: str | None,
    code: str | None,
    resolved: bool | None,
    after: str | None,
    limit: int,
) -> list[DeadLetter]:
    """Letters, the oldest first, after the id `after`; None stands for any."""
    wanted = {"stream": stream, "code": code, "resolved": resolved, "after": after, "limit": limit}
    cursor = await connection.execute(_PAGE, wanted)
    return [_letter_of(row) for row in await cursor.fetchall()]


async def find(connection: Connection, letter_id: str) -> DeadLetter | None:
    """The letter of this id, if there is one."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE id = %s", [letter_id]
    )
    row = await cursor.fetchone()
    return _letter_of(row) if row else None


async def resolve(
    connection: Connection, letter_id: str, *, at: datetime, resolution: str
) -> DeadLetter | None:
    """Note what became of an open letter; None where there is no open one of this id."""
    cursor = await connection.execute(_RESOLVE, [at, resolution, letter_id])
    row = await cursor.fetchone()
    return _letter_of(row) if row else None


def _letter_of(row: Sequence[Any]) -> DeadLetter:
    resolved_at = row[12].astimezone(UTC) if row[12] else None
    return DeadLetter(
        row[0], row[1].astimezone(UTC), row[2], row[3], row[4], row[5], row[6], row[7], row[8],
        row[9], row[10], row[11], resolved_at, row[13],
    )  # fmt: skip
