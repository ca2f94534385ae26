"""The SQL of ingestion: the event rows, totals, buckets and distinct members.

Owns the statements of the ingest transaction. Decides nothing: what is new comes back from
INSERT ... ON CONFLICT DO NOTHING, and totals are folded by the rules that domain/metering/fold.py
states.

Rows go to the server as columns (columns.py): nearly as fast as a binary COPY for thousands, much
faster for a few, and, unlike COPY, they may be pipelined, so that a whole transaction takes two
round trips. Rows are sorted by key, so that two transactions that touch the same rows take their
locks in the same order.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.metering.event import Event
from taximeter.storage.columns import Columns
from taximeter.storage.identity import ENTRY_OF, KEY_OF

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]
Identity = tuple[str, str, str]

_EVENT_ROWS = Columns(
    "r",
    "customer text, source text, id text, type text, time timestamptz, received_at timestamptz,"
    " path text, subscription text, digest text, data jsonb, attributes jsonb, reason text",
)
_NOT_ARCHIVED = f"""
WHERE {ENTRY_OF.format("r.customer", KEY_OF.format("r"))} IS NULL
"""
_EVENTS = f"""
INSERT INTO event (customer, source, id, type, time, received_at, status, reason, path,
    subscription, digest, data, attributes)
SELECT customer, source, id, type, time, received_at,
    CASE WHEN reason IS NULL THEN 'accepted' ELSE 'quarantined' END, reason, path, subscription,
    decode(digest, 'hex'), data, attributes
FROM {_EVENT_ROWS}
"""
_ONCE = "ON CONFLICT (customer, source, id) DO NOTHING"
_DIGESTS = """
SELECT e.customer, e.source, e.id, encode(e.digest, 'hex') FROM event e
JOIN unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, id)
    ON e.customer = k.customer AND e.source = k.source AND e.id = k.id
"""
_ARCHIVED_DIGESTS = f"""
SELECT k.customer, k.source, k.id, encode(substr(
    {ENTRY_OF.format("c.customer", KEY_OF.format("k"))}, 17, 16
), 'hex')
FROM unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, id)
JOIN customer c ON c.customer = k.customer
"""
# A row that a final invoice has counted stays when its last event is voided. It says 0 then, and
# that is no value which another could be less than.
_FOLDED = """
CASE EXCLUDED.aggregation
    WHEN 'max' THEN
        greatest(CASE WHEN {table}.events > 0 THEN {table}.quantity END, EXCLUDED.quantity)
    WHEN 'min' THEN
        least(CASE WHEN {table}.events > 0 THEN {table}.quantity END, EXCLUDED.quantity)
    WHEN 'latest' THEN
        CASE WHEN EXCLUDED.latest <= {table}.latest THEN {table}.quantity ELSE EXCLUDED.quantity END
    WHEN 'percentile' THEN {table}.quantity -- until its values are counted (storage/values.py)
    ELSE {table}.quantity + EXCLUDED.quantity
END
"""
_TOTAL_ROWS = Columns(
    "r",
    "customer text, subscription text, price text, period_start timestamptz,"
    " period_end timestamptz, meter text, version integer, dimensions text, aggregation text,"
    " quantity numeric, events bigint, latest text",
)
_UPSERT_TOTALS = f"""
INSERT INTO usage_total AS t
    (customer, subscription, price, period_start, period_end, meter, version, dimensions,
     aggregation, quantity, previous, events, latest)
SELECT customer, subscription, price, period_start, period_end, meter, version, dimensions,
    aggregation, quantity, 0, events, latest
FROM {_TOTAL_ROWS}
ON CONFLICT (customer, subscription, price, period_start, meter, version, dimensions)
DO UPDATE SET previous = t.quantity, quantity = {_FOLDED.format(table="t")},
    events = t.events + EXCLUDED.events, latest = greatest(t.latest, EXCLUDED.latest)
RETURNING customer, subscription, price, period_start, dimensions, meter, version, previous,
    quantity, events
"""
_BUCKET_ROWS = Columns(
    "r",
    "customer text, meter text, version integer, bucket_start timestamptz, dimensions text,"
    " aggregation text, quantity numeric, events bigint, latest text",
)
_UPSERT_BUCKETS = f"""
INSERT INTO usage_bucket AS b
    (customer, meter, version, bucket_start, dimensions, aggregation, quantity, events, latest)
SELECT customer, meter, version, bucket_start, dimensions, aggregation, quantity, events, latest
FROM {_BUCKET_ROWS}
ON CONFLICT (customer, meter, bucket_start, version, dimensions)
DO UPDATE SET quantity = {_FOLDED.format(table="b")},
    events = b.events + EXCLUDED.events, latest = greatest(b.latest, EXCLUDED.latest)
"""
_MEMBER_ROWS = Columns(
    "r",
    "customer text, subscription text, price text, period_start timestamptz, meter text,"
    " version integer, member bytea",
)
_INSERT_MEMBERS = f"""
INSERT INTO usage_member (customer, subscription, price, period_start, meter, version, member)
SELECT customer, subscription, price, period_start, meter, version, member
FROM {_MEMBER_ROWS}
ON CONFLICT DO NOTHING
RETURNING customer, subscription, price, period_start, meter, version, encode(member, 'hex')
"""
_of_event = attrgetter(
    "customer", "source", "id", "type", "time", "received_at", "path", "subscription", "digest",
    "data", "attributes",
)  # fmt: skip
_encode = msgspec.json.Encoder(decimal_format="number").encode


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `event`: accepted, or quarantined for `reason`."""

    event: Event
    reason: str | None


class TotalRow(msgspec.Struct, frozen=True, gc=False):
    """What a batch adds to one row of `usage_total`."""

    customer: str
    subscription: str
    price: str
    period_start: datetime
    period_end: datetime
    meter: str
    version: int
    dimensions: str
    aggregation: str
    quantity: Decimal | int
    events: int
    latest: str | None


class BucketRow(msgspec.Struct, frozen=True, gc=False):
    """What a batch adds to one row of `usage_bucket`."""

    customer: str
    meter: str
    version: int
    bucket_start: datetime
    dimensions: str
    aggregation: str
    quantity: Decimal | int
    events: int
    latest: str | None


class MemberRow(msgspec.Struct, frozen=True):
    """A distinct value seen in a segment; `member` is its digest in hexadecimal."""

    customer: str
    subscription: str
    price: str
    period_start: datetime
    meter: str
    version: int
    member: str


class ChangedTotal(msgspec.Struct, frozen=True, gc=False):
    """A row of `usage_total` before and after a batch. `created`: it was not there before, which
    only has to be known where its price does not rate parts apart; `gone`: no event is left of it.
    """

    customer: str
    subscription: str
    price: str
    period_start: datetime
    dimensions: str
    previous: Decimal
    quantity: Decimal
    created: bool
    gone: bool = False


def document(rows: Collection[object]) -> str:
    """Rows as the JSON document that statements take whose rows are few, or hold lists."""
    return _encode(rows).decode()


def _columns(rows: Sequence[EventRow]) -> list[str | None]:
    columns = zip(*map(_of_event, (row.event for row in rows)), strict=True)
    return _EVENT_ROWS.of_columns([*columns, [row.reason for row in rows]])


def _insert(*, archived: bool) -> str:
    return f"{_EVENTS} {_NOT_ARCHIVED if archived else ''} {_ONCE}"


async def send_events(
    connection: Connection, rows: Sequence[EventRow], *, archived: bool
) -> Cursor:
    """Insert what is not there yet, behind a savepoint; with `archived` neither what is in the
    archive. Once the pipeline has been read, the cursor's `rowcount` tells how many were new.
    """
    await connection.execute("SAVEPOINT before_events")
    return await connection.execute(_insert(archived=archived), _columns(rows))


async def undo_events(connection: Connection) -> None:
    """Undo `send_events` and all that was sent after it."""
    await connection.execute("ROLLBACK TO SAVEPOINT before_events")


async def insert_again(
    connection: Connection, rows: Sequence[EventRow], *, archived: bool
) -> set[Identity]:
    """Undo `send_events` and all that was sent after it, insert once more, and return the
    identities that were new.
    """
    await undo_events(connection)
    cursor = await connection.execute(
        _insert(archived=archived) + " RETURNING customer, source, id", _columns(rows)
    )
    return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}


async def stored_digests(
    connection: Connection, identities: Iterable[Identity], *, archived: bool
) -> dict[Identity, str]:
    """The digest of each of these events that is stored; with `archived` also in the archive."""
    columns = [list(column) for column in zip(*identities, strict=True)]
    if not columns:
        return {}
    found: dict[Identity, str] = {}
    for statement in (_ARCHIVED_DIGESTS, _DIGESTS) if archived else (_DIGESTS,):
        cursor = await connection.execute(statement, columns)
        found |= {(row[0], row[1], row[2]): row[3] for row in await cursor.fetchall() if row[3]}
    return found


async def send_totals(connection: Connection, rows: Sequence[TotalRow]) -> Cursor:
    """Add to the running totals; `changed_totals` reads the answer."""
    return await connection.execute(_UPSERT_TOTALS, _TOTAL_ROWS.of(rows), binary=True)


async def changed_totals(
    cursor: Cursor,
    rows: Sequence[TotalRow],
    segments: Collection[tuple[str, str, str, datetime]],
    tied: Collection[tuple[str, str, str, datetime]],
) -> list[ChangedTotal]:
    """Each row of these segments that `send_totals` touched, before and after. Of those that are
    `tied`, it is told whether they were created.
    """
    added = {
        (r.customer, r.subscription, r.price, r.period_start, r.dimensions, r.meter, r.version):
        r.events
        for r in (rows if tied else ())
        if (r.customer, r.subscription, r.price, r.period_start) in tied
    }  # fmt: skip
    return [
        ChangedTotal(
            row[0], row[1], row[2], row[3], row[4], row[7], row[8],
            created=bool(added) and added.get(row[:7]) == row[9],
        )
        for row in await cursor.fetchall()
        if row[:4] in segments
    ]  # fmt: skip


async def send_buckets(connection: Connection, rows: Sequence[BucketRow]) -> None:
    """Add to the hourly buckets."""
    await connection.execute(_UPSERT_BUCKETS, _BUCKET_ROWS.of(rows))


async def add_members(connection: Connection, rows: Sequence[MemberRow]) -> set[MemberRow]:
    """Note distinct values; returns those that were new in their segment."""
    cursor = await connection.execute(_INSERT_MEMBERS, _MEMBER_ROWS.of(rows))
    return {
        MemberRow(row[0], row[1], row[2], row[3], row[4], row[5], "\\x" + row[6])
        for row in await cursor.fetchall()
    }
