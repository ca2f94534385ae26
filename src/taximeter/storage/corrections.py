"""Rows of `event_correction`, and the rows of `event` that corrections change.

Owns their form. A row of `event` is the event as it counts now; what it was before is here, and
is never changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.metering.event import decode_number
from taximeter.storage.events import EVENT_COLUMNS, Identity, StoredEvent, stored_of
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]
Kind = Literal["void", "amend", "restore"]

_LOCK = f"""
SELECT {EVENT_COLUMNS} FROM event e
WHERE e.customer = %s AND (e.source, e.id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
ORDER BY e.source, e.id FOR UPDATE
"""
_WRITE = """
UPDATE event AS e SET status = r.status, reason = r.reason, time = r.time, path = r.path,
    data = r.data, counted_at = r.counted_at
FROM json_to_recordset(%s) AS r (customer text, source text, id text, status text, reason text,
    time timestamptz, path text, data jsonb, counted_at timestamptz)
WHERE e.customer = r.customer AND e.source = r.source AND e.id = r.id
"""
_INSERT = """
INSERT INTO event_correction AS c (customer, source, id, number, kind, at, actor, reason, backfill,
    status, waited_for, time, path, data, counted_at)
SELECT r.customer, r.source, r.id, 1 + (
        SELECT count(*) FROM event_correction k
        WHERE k.customer = e.customer AND k.source = e.source AND k.id = e.id
    ), r.kind, r.at, r.actor, r.reason, r.backfill, r.status, r.waited_for, r.time, r.path, r.data,
    r.counted_at
FROM json_to_recordset(%s) AS r (customer text, source text, id text, kind text, at timestamptz,
    actor text, reason text, backfill text, status text, waited_for text, time timestamptz,
    path text, data jsonb, counted_at timestamptz)
JOIN event e ON e.customer = r.customer AND e.source = r.source AND e.id = r.id
"""
_COLUMNS = """
c.number, c.kind, c.at, c.actor, c.reason, c.backfill, c.status, c.waited_for, c.time, c.path,
c.data::text, c.counted_at
"""

_decode = msgspec.json.Decoder(float_hook=decode_number).decode


@dataclass(frozen=True, slots=True)
class Correction:
    """One correction of an event, its `number`-th, and what stood before it: `status`, what it
    `waited_for` in quarantine, `time`, `path` and `data`.
    """

    number: int
    kind: Kind
    at: datetime
    actor: str
    reason: str
    backfill: str | None
    status: str
    waited_for: str | None
    time: datetime
    path: str | None
    data: Mapping[str, Any]
    counted_at: datetime | None


class CorrectionRow(msgspec.Struct, frozen=True):
    """A row to append; its number follows from those that are there."""

    customer: str
    source: str
    id: str
    kind: Kind
    at: datetime
    actor: str
    reason: str
    backfill: str | None
    status: str
    waited_for: str | None
    time: datetime
    path: str | None
    data: Mapping[str, Any]
    counted_at: datetime | None


class _EventRow(msgspec.Struct, frozen=True):
    customer: str
    source: str
    id: str
    status: str
    reason: str | None
    time: datetime
    path: str | None
    data: Mapping[str, Any]
    counted_at: datetime | None


async def lock(
    connection: Connection, customer: str, names: Sequence[tuple[str, str]]
) -> list[StoredEvent]:
    """Those of a customer's events (source and id each) that are stored, locked, in that order."""
    sources, ids = [source for source, _ in names], [name for _, name in names]
    cursor = await connection.execute(_LOCK, [customer, sources, ids])
    return [stored_of(row) for row in await cursor.fetchall()]


async def write(connection: Connection, events: Sequence[StoredEvent]) -> None:
    """Let these events, which are locked, count as they are from now on."""
    rows = [
        _EventRow(
            one.event.customer, one.event.source, one.event.id, one.status, one.reason,
            one.event.time, one.event.path, one.event.data, one.counted_at,
        )
        for one in events
    ]  # fmt: skip
    await connection.execute(_WRITE, [document(rows)])


async def insert(connection: Connection, rows: Sequence[CorrectionRow]) -> None:
    """Append corrections, of events that are locked, one of each."""
    await connection.execute(_INSERT, [document(rows)])


async def of_event(connection: Connection, identity: Identity) -> list[Correction]:
    """The corrections of an event, in order."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM event_correction c
        WHERE c.customer = %s AND c.source = %s AND c.id = %s ORDER BY c.number
        """,
        list(identity),
    )
    return [correction_of(row) for row in await cursor.fetchall()]


def correction_of(row: Sequence[Any]) -> Correction:
    """The correction in a row."""
    return Correction(
        row[0], row[1], row[2].astimezone(UTC), row[3], row[4], row[5], row[6], row[7],
        row[8].astimezone(UTC), row[9], _decode(row[10]),
        row[11].astimezone(UTC) if row[11] else None,
    )  # fmt: skip
