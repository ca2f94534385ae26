"""The SQL of ingestion: staging, the event rows, totals, buckets and distinct members.

Owns the statements of the ingest transaction. Decides nothing: what is new comes back from
INSERT ... ON CONFLICT DO NOTHING RETURNING, and totals are folded by the rules that
domain/metering/fold.py states.

Rows are staged by binary COPY into temporary tables, sorted by key, so that two transactions
that touch the same rows take their locks in the same order.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.metering.event import Event

Connection = AsyncConnection[tuple[Any, ...]]
Identity = tuple[str, str, str]

STAGING = """
CREATE TEMP TABLE IF NOT EXISTS event_staging (
    customer text, source text, id text, type text, time timestamptz, received_at timestamptz,
    status text, reason text, path text, subscription text, digest bytea, data text,
    attributes text
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS total_staging (
    customer text, subscription text, price text, period_start timestamptz,
    period_end timestamptz, meter text, version integer, dimensions text, aggregation text,
    quantity numeric, events bigint, latest text
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS bucket_staging (
    customer text, meter text, version integer, bucket_start timestamptz, dimensions text,
    aggregation text, quantity numeric, events bigint, latest text
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS member_staging (LIKE usage_member) ON COMMIT DELETE ROWS;
"""

_COPY_EVENTS = "COPY event_staging FROM STDIN (FORMAT binary)"
_EVENT_TYPES = [
    "text", "text", "text", "text", "timestamptz", "timestamptz", "text", "text", "text", "text",
    "bytea", "text", "text",
]  # fmt: skip
_INSERT_EVENTS = """
INSERT INTO event SELECT customer, source, id, type, time, received_at, status, reason, path,
    subscription, digest, data::jsonb, attributes::jsonb
FROM event_staging
ON CONFLICT (customer, source, id) DO NOTHING RETURNING customer, source, id
"""
_DIGESTS = """
SELECT customer, source, id, digest FROM event
WHERE (customer, source, id) IN (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))
"""

_COPY_TOTALS = "COPY total_staging FROM STDIN (FORMAT binary)"
_TOTAL_TYPES = [
    "text", "text", "text", "timestamptz", "timestamptz", "text", "int4", "text", "text",
    "numeric", "int8", "text",
]  # fmt: skip
_FOLDED = """
CASE EXCLUDED.aggregation
    WHEN 'max' THEN greatest({table}.quantity, EXCLUDED.quantity)
    WHEN 'min' THEN least({table}.quantity, EXCLUDED.quantity)
    WHEN 'latest' THEN
        CASE WHEN EXCLUDED.latest > {table}.latest THEN EXCLUDED.quantity ELSE {table}.quantity END
    ELSE {table}.quantity + EXCLUDED.quantity
END
"""
_UPSERT_TOTALS = f"""
INSERT INTO usage_total AS t
    (customer, subscription, price, period_start, period_end, meter, version, dimensions,
     aggregation, quantity, previous, events, latest)
SELECT customer, subscription, price, period_start, period_end, meter, version, dimensions,
    aggregation, quantity, 0, events, latest
FROM total_staging
ON CONFLICT (customer, subscription, price, period_start, meter, version, dimensions)
DO UPDATE SET previous = t.quantity, quantity = {_FOLDED.format(table="t")},
    events = t.events + EXCLUDED.events, latest = greatest(t.latest, EXCLUDED.latest)
RETURNING customer, subscription, price, period_start, dimensions, meter, version, previous,
    quantity, events
"""

_COPY_BUCKETS = "COPY bucket_staging FROM STDIN (FORMAT binary)"
_BUCKET_TYPES = [
    "text", "text", "int4", "timestamptz", "text", "text", "numeric", "int8", "text",
]  # fmt: skip
_UPSERT_BUCKETS = f"""
INSERT INTO usage_bucket AS b
    (customer, meter, version, bucket_start, dimensions, aggregation, quantity, events, latest)
SELECT customer, meter, version, bucket_start, dimensions, aggregation, quantity, events, latest
FROM bucket_staging
ON CONFLICT (customer, meter, bucket_start, version, dimensions)
DO UPDATE SET quantity = {_FOLDED.format(table="b")},
    events = b.events + EXCLUDED.events, latest = greatest(b.latest, EXCLUDED.latest)
"""

_COPY_MEMBERS = "COPY member_staging FROM STDIN (FORMAT binary)"
_MEMBER_TYPES = ["text", "text", "text", "timestamptz", "text", "int4", "bytea"]
_INSERT_MEMBERS = """
INSERT INTO usage_member SELECT * FROM member_staging
ON CONFLICT DO NOTHING
RETURNING customer, subscription, price, period_start, meter, version, member
"""


class EventRow(NamedTuple):
    """A row of `event`, in the order of its columns."""

    customer: str
    source: str
    id: str
    type: str
    time: datetime
    received_at: datetime
    status: str
    reason: str | None
    path: str | None
    subscription: str | None
    digest: bytes
    data: str
    attributes: str | None


class TotalRow(NamedTuple):
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
    quantity: Decimal
    events: int
    latest: str | None


class BucketRow(NamedTuple):
    """What a batch adds to one row of `usage_bucket`."""

    customer: str
    meter: str
    version: int
    bucket_start: datetime
    dimensions: str
    aggregation: str
    quantity: Decimal
    events: int
    latest: str | None


class MemberRow(NamedTuple):
    """A distinct value seen in a segment."""

    customer: str
    subscription: str
    price: str
    period_start: datetime
    meter: str
    version: int
    member: bytes


class ChangedTotal(NamedTuple):
    """A row of `usage_total` before and after a batch. `created`: it was not there before."""

    customer: str
    subscription: str
    price: str
    period_start: datetime
    dimensions: str
    previous: Decimal
    quantity: Decimal
    created: bool


def event_row(event: Event, reason: str | None) -> EventRow:
    """The row of an event: accepted, or quarantined for `reason`."""
    return EventRow(
        event.customer, event.source, event.id, event.type, event.time, event.received_at,
        "quarantined" if reason else "accepted", reason, event.path, event.subscription,
        event.digest, event.content.decode(),
        event.attributes.decode() if event.attributes else None,
    )  # fmt: skip


async def prepare_connection(connection: Connection) -> None:
    """Make the staging tables of this connection, once."""
    await connection.execute(STAGING)
    await connection.commit()


async def _stage(
    connection: Connection, copy_sql: str, types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    async with connection.cursor() as cursor, cursor.copy(copy_sql) as copy:
        copy.set_types(types)
        for row in sorted(rows):
            await copy.write_row(row)


async def insert_events(connection: Connection, rows: Sequence[EventRow]) -> set[Identity]:
    """Insert what is not there yet and return the identities that were new."""
    await _stage(connection, _COPY_EVENTS, _EVENT_TYPES, rows)
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_INSERT_EVENTS)
        return set(await cursor.fetchall())  # type: ignore[arg-type]


async def stored_digests(
    connection: Connection, identities: Iterable[Identity]
) -> dict[Identity, bytes]:
    """The digest of each of these events that is stored."""
    columns = [list(column) for column in zip(*identities, strict=True)]
    if not columns:
        return {}
    cursor = await connection.execute(_DIGESTS, columns)
    return {(row[0], row[1], row[2]): row[3] for row in await cursor.fetchall()}


async def add_totals(connection: Connection, rows: Sequence[TotalRow]) -> list[ChangedTotal]:
    """Add to the running totals; returns each row touched, before and after."""
    if not rows:
        return []
    await _stage(connection, _COPY_TOTALS, _TOTAL_TYPES, rows)
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_UPSERT_TOTALS)
        found = await cursor.fetchall()
    added = {(*row[:4], row.dimensions, row.meter, row.version): row.events for row in rows}
    return [
        ChangedTotal(*row[:5], row[7], row[8], created=added[row[:7]] == row[9]) for row in found
    ]


async def add_buckets(connection: Connection, rows: Sequence[BucketRow]) -> None:
    """Add to the hourly buckets."""
    if rows:
        await _stage(connection, _COPY_BUCKETS, _BUCKET_TYPES, rows)
        await connection.execute(_UPSERT_BUCKETS)


async def add_members(connection: Connection, rows: Sequence[MemberRow]) -> set[MemberRow]:
    """Note distinct values; returns those that were new in their segment."""
    if not rows:
        return set()
    await _stage(connection, _COPY_MEMBERS, _MEMBER_TYPES, rows)
    cursor = await connection.execute(_INSERT_MEMBERS)
    return {MemberRow(*row) for row in await cursor.fetchall()}
