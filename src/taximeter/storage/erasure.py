"""The SQL of taking content away: requests of erasure, and the rows that hold what goes.

Owns the table `erasure`. What is written in place of what goes, and in which order, is the
services' to say. Amounts and identities are not touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from taximeter.domain.metering.event import decode_number
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]
Position = tuple[str, str]

_COLUMNS = "customer, requested_at, actor, reason, source_after, id_after, events, finished_at"
_FIND = f"SELECT {_COLUMNS} FROM erasure WHERE customer = %s"
_LOCK = f"{_FIND} FOR UPDATE"
_REQUEST = """
INSERT INTO erasure AS e (customer, requested_at, actor, reason, events)
VALUES (%s, %s, %s, %s, 0)
ON CONFLICT (customer) DO UPDATE SET requested_at = EXCLUDED.requested_at, actor = EXCLUDED.actor,
    reason = EXCLUDED.reason, source_after = NULL, id_after = NULL, events = 0, finished_at = NULL
    WHERE e.finished_at IS NOT NULL
"""
_CONTENT = """
SELECT e.source, e.id, e.type, e.data::text, e.attributes IS NOT NULL FROM event e
WHERE e.customer = %(customer)s AND e.received_at <= %(until)s
    AND (%(source)s::text IS NULL OR (e.source, e.id) > (%(source)s, %(id)s))
ORDER BY e.source, e.id LIMIT %(limit)s
"""
_OLD_CONTENT = """
SELECT e.source, e.id, e.type, e.data::text, e.attributes IS NOT NULL, e.time FROM event e
WHERE e.customer = %(customer)s AND e.time < %(before)s AND e.status <> 'quarantined'
    AND (%(time)s::timestamptz IS NULL OR (e.time, e.source, e.id) > (%(time)s, %(source)s, %(id)s))
ORDER BY e.time, e.source, e.id LIMIT %(limit)s
"""
_SET_CONTENT = """
UPDATE event AS e SET data = r.data, attributes = NULL
FROM json_to_recordset(%s) AS r (source text, id text, data jsonb)
WHERE e.customer = %s AND e.source = r.source AND e.id = r.id
"""
_CORRECTED = """
SELECT source, id, number, data::text FROM event_correction
WHERE customer = %(customer)s AND time < %(before)s
    AND (%(source)s::text IS NULL OR (source, id, number) > (%(source)s, %(id)s, %(number)s))
ORDER BY source, id, number LIMIT %(limit)s
"""
_SET_CORRECTED = """
UPDATE event_correction AS c SET data = r.data
FROM json_to_recordset(%s) AS r (source text, id text, number integer, data jsonb)
WHERE c.customer = %s AND c.source = r.source AND c.id = r.id AND c.number = r.number
"""
_STAGED = """
SELECT backfill, source, id, type, data::text, attributes IS NOT NULL FROM backfill_event
WHERE customer = %(customer)s AND outcome IS NULL AND (
    %(backfill)s::text IS NULL OR (backfill, source, id) > (%(backfill)s, %(source)s, %(id)s)
)
ORDER BY backfill, source, id LIMIT %(limit)s
"""
_SET_STAGED = """
UPDATE backfill_event AS e SET data = r.data, attributes = NULL
FROM json_to_recordset(%s) AS r (backfill text, source text, id text, data jsonb)
WHERE e.customer = %s AND e.backfill = r.backfill AND e.source = r.source AND e.id = r.id
"""
_LETTERS = """
SELECT max(id) FROM (
    SELECT id FROM dead_letter WHERE %(after)s::text IS NULL OR id > %(after)s
    ORDER BY id LIMIT %(limit)s
) AS l
"""
# What cannot be read names nobody.
_CLEAR_LETTERS = """
UPDATE dead_letter SET content = 'erased', detail = 'erased', encoding = 'text'
WHERE (%(after)s::text IS NULL OR id > %(after)s) AND id <= %(last)s AND encoding = 'text'
    AND received_at <= %(until)s AND content ~ %(pattern)s
"""
# Free texts about a customer, and copies of what it was called.
_TEXTS = (
    """
    UPDATE audit SET detail = '{"erased": true}'
    WHERE action <> 'customer.erased'
        AND (object = %(customer)s OR detail ->> 'customer' = %(customer)s)
    """,
    """
    UPDATE outbox SET body = json_build_object('type', type, 'erased', true)::text
    WHERE customer = %(customer)s AND dispatched_at IS NOT NULL
    """,
    """
    UPDATE webhook_delivery d SET answer_text = NULL FROM outbox o
    WHERE o.id = d.message AND o.customer = %(customer)s
    """,
    "UPDATE outcome_step SET reason = NULL, evidence = NULL WHERE customer = %(customer)s",
    "UPDATE event_correction SET reason = 'erased' WHERE customer = %(customer)s",
    "UPDATE backfill SET reason = 'erased' WHERE customer = %(customer)s",
    "UPDATE suspension SET reason = 'erased' WHERE customer = %(customer)s",
)

_decode = msgspec.json.Decoder(float_hook=decode_number).decode


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request to erase what is personal of a customer, and how far that is: up to which event in
    the database (`after`), and how many have been changed. `finished_at` is None while it goes on.
    """

    customer: str
    requested_at: datetime
    actor: str
    reason: str
    after: Position | None
    events: int
    finished_at: datetime | None


class Content(NamedTuple):
    """What an event says; `attributes`: it has some."""

    source: str
    id: str
    type: str
    data: Mapping[str, Any]
    attributes: bool
    time: datetime | None = None


class Corrected(NamedTuple):
    """What an event said before a correction."""

    source: str
    id: str
    number: int
    data: Mapping[str, Any]


class Staged(NamedTuple):
    """What an event says that was loaded into a backfill and not applied yet."""

    backfill: str
    source: str
    id: str
    type: str
    data: Mapping[str, Any]
    attributes: bool


class ContentRow(msgspec.Struct, frozen=True):
    """What an event says from now on."""

    source: str
    id: str
    data: Mapping[str, Any]


class StagedRow(msgspec.Struct, frozen=True):
    """What an event of a backfill says from now on."""

    backfill: str
    source: str
    id: str
    data: Mapping[str, Any]


class CorrectedRow(msgspec.Struct, frozen=True):
    """What an event said before a correction, from now on."""

    source: str
    id: str
    number: int
    data: Mapping[str, Any]


async def request(
    connection: Connection, customer: str, at: datetime, actor: str, reason: str
) -> None:
    """Note a request; one that goes on stays as it is."""
    await connection.execute(_REQUEST, [customer, at, actor, reason])


async def find(connection: Connection, customer: str, *, lock: bool = False) -> Erasure | None:
    """The last request for this customer; with `lock` nobody else works on it meanwhile."""
    cursor = await connection.execute(_LOCK if lock else _FIND, [customer])
    row = await cursor.fetchone()
    return _erasure_of(row) if row else None


async def unfinished(connection: Connection, limit: int) -> list[str]:
    """Customers with a request that goes on."""
    cursor = await connection.execute(
        "SELECT customer FROM erasure WHERE finished_at IS NULL ORDER BY customer LIMIT %s", [limit]
    )
    return [row[0] for row in await cursor.fetchall()]


async def is_asked_since(connection: Connection, customers: Sequence[str], since: datetime) -> bool:
    """Whether an erasure of one of these customers goes on, or was asked for since."""
    cursor = await connection.execute(
        """
        SELECT EXISTS (
            SELECT FROM erasure
            WHERE customer = ANY(%s) AND (finished_at IS NULL OR requested_at > %s)
        )
        """,
        [list(customers), since],
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def advance(
    connection: Connection, customer: str, after: Position | None, events: int
) -> None:
    """Note how far an erasure is."""
    source, event_id = after or (None, None)
    await connection.execute(
        """
        UPDATE erasure SET source_after = %s, id_after = %s, events = events + %s
        WHERE customer = %s
        """,
        [source, event_id, events, customer],
    )


async def finish(connection: Connection, customer: str, at: datetime) -> None:
    """Note that an erasure has ended."""
    await connection.execute(
        "UPDATE erasure SET finished_at = %s WHERE customer = %s", [at, customer]
    )


async def set_document(
    connection: Connection, customer: str, document: Mapping[str, object], at: datetime
) -> None:
    """Let a customer's settings be these."""
    await connection.execute(
        "UPDATE customer SET document = %s, updated_at = %s WHERE customer = %s",
        [Jsonb(dict(document)), at, customer],
    )


async def price_documents(connection: Connection) -> list[object]:
    """Everything that prices may say of properties: all plans, and what was agreed beside them."""
    cursor = await connection.execute(
        """
        SELECT document FROM plan_version
        UNION ALL SELECT deal FROM subscription_phase WHERE deal <> '{}'
        """
    )
    return [row[0] for row in await cursor.fetchall()]


async def clear_texts(connection: Connection, customer: str) -> None:
    """Take away free texts about a customer, and copies of its settings and messages."""
    for statement in _TEXTS:
        await connection.execute(statement, {"customer": customer})


async def content_of(
    connection: Connection, customer: str, until: datetime, *, after: Position | None, limit: int
) -> list[Content]:
    """Events of a customer that were received `until` then, by source and id, after `after`."""
    source, event_id = after or (None, None)
    cursor = await connection.execute(
        _CONTENT,
        {
            "customer": customer, "until": until, "source": source, "id": event_id,
            "limit": limit,
        },
    )  # fmt: skip
    return [
        Content(row[0], row[1], row[2], _decode(row[3]), row[4]) for row in await cursor.fetchall()
    ]


async def old_content(
    connection: Connection, customer: str, before: datetime, *, after: Content | None, limit: int
) -> list[Content]:
    """Events of a customer of a time before `before`, by time and identity, after `after`."""
    cursor = await connection.execute(
        _OLD_CONTENT,
        {
            "customer": customer, "before": before, "limit": limit,
            "time": after.time if after else None, "source": after.source if after else None,
            "id": after.id if after else None,
        },
    )  # fmt: skip
    return [
        Content(row[0], row[1], row[2], _decode(row[3]), row[4], row[5].astimezone(UTC))
        for row in await cursor.fetchall()
    ]


async def set_content(connection: Connection, customer: str, rows: Sequence[ContentRow]) -> None:
    """Let these events say this, without attributes."""
    if rows:
        await connection.execute(_SET_CONTENT, [document(rows), customer])


async def corrected(
    connection: Connection, customer: str, before: datetime, *, after: Corrected | None, limit: int
) -> list[Corrected]:
    """What events of a time before `before` said before their corrections, after `after`."""
    cursor = await connection.execute(
        _CORRECTED,
        {
            "customer": customer, "before": before, "limit": limit,
            "source": after.source if after else None, "id": after.id if after else None,
            "number": after.number if after else None,
        },
    )  # fmt: skip
    return [Corrected(row[0], row[1], row[2], _decode(row[3])) for row in await cursor.fetchall()]


async def set_corrected(
    connection: Connection, customer: str, rows: Sequence[CorrectedRow]
) -> None:
    """Let this be what events said before their corrections."""
    if rows:
        await connection.execute(_SET_CORRECTED, [document(rows), customer])


async def staged(
    connection: Connection, customer: str, *, after: Staged | None, limit: int
) -> list[Staged]:
    """A customer's events that wait in backfills, after `after`."""
    cursor = await connection.execute(
        _STAGED,
        {
            "customer": customer, "backfill": after.backfill if after else None,
            "source": after.source if after else None, "id": after.id if after else None,
            "limit": limit,
        },
    )  # fmt: skip
    return [
        Staged(row[0], row[1], row[2], row[3], _decode(row[4]), row[5])
        for row in await cursor.fetchall()
    ]


async def set_staged(connection: Connection, customer: str, rows: Sequence[StagedRow]) -> None:
    """Let these events that wait in backfills say this, without attributes."""
    if rows:
        await connection.execute(_SET_STAGED, [document(rows), customer])


async def clear_letters(
    connection: Connection, pattern: str, until: datetime, *, after: str | None, limit: int
) -> str | None:
    """Take away what those of the next `limit` dead letters after the id `after` say that were
    received `until` then and match the `pattern`; the last id looked at (None: there is none).
    """
    cursor = await connection.execute(_LETTERS, {"after": after, "limit": limit})
    [last] = await cursor.fetchone() or (None,)
    if last is not None:
        parameters = {"after": after, "last": last, "until": until, "pattern": pattern}
        await connection.execute(_CLEAR_LETTERS, parameters)
    return None if last is None else str(last)


async def goes_on(connection: Connection, customer: str) -> bool:
    """Whether an erasure of this customer is not finished."""
    erasure = await find(connection, customer)
    return erasure is not None and erasure.finished_at is None


def _erasure_of(row: Sequence[Any]) -> Erasure:
    after = (row[4], row[5]) if row[4] is not None else None
    finished = row[7].astimezone(UTC) if row[7] else None
    return Erasure(row[0], row[1].astimezone(UTC), row[2], row[3], after, row[6], finished)
