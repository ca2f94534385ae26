"""Reading usage: hourly buckets, and accepted events where an hour is too coarse.

Owns the SQL of usage queries. Adds parts up by the rules that domain/metering/fold.py states;
which hours and which events are wanted is the service's to say. All of it works on one customer,
but for the search of the customers that have usage.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.catalog.meter import Aggregation, Meter
from taximeter.domain.metering.event import Event, decode_number
from taximeter.domain.metering.reserved import BUCKET
from taximeter.kernel.quantity import DECIMAL_PATTERN
from taximeter.kernel.times import Period

Connection = AsyncConnection[tuple[Any, ...]]
Group = tuple[str, ...]

EVENTS_PER_FETCH = 2_000

_ADDED: dict[Aggregation, str] = {
    "count": "sum(quantity)",
    "sum": "sum(quantity)",
    "max": "max(quantity)",
    "min": "min(quantity)",
    "latest": "(array_agg(quantity ORDER BY latest DESC NULLS LAST))[1]",
}
# A meter counts an event only if it was there when the event was accepted: when it was received, or
# says that it was counted. One that waited and does not say is of a time before that was kept.
_THERE = """
coalesce(e.counted_at, CASE WHEN e.reason IS NULL THEN e.received_at ELSE 'infinity' END) >= {since}
"""
_COUNTED = f"""
e.customer = %(customer)s AND e.type = %(type)s AND e.status = 'accepted'
    AND e.time >= %(start)s AND e.time < %(end)s
    AND {_THERE.format(since="%(since)s")}
"""
_COUNTED_THERE = f"""
e.customer = c.customer AND e.type = w.type AND e.status = 'accepted'
    AND e.time >= w.starts AND e.time < w.ends
    AND {_THERE.format(since="w.since")}
"""

_EVENT = """
e.source, e.id, e.time, e.received_at, e.data::text, e.path, e.subscription, e.attributes::text
"""

_decode = msgspec.json.Decoder(float_hook=decode_number).decode


class Wanted(NamedTuple):
    """Whose usage of which meter. `since` is when the meter's first version was made."""

    customer: str
    meter: Meter
    since: datetime
    group_by: tuple[str, ...]


class Part(NamedTuple):
    """What the hours of the window `window` add up to for one group."""

    window: int
    group: Group
    quantity: Decimal
    latest: str | None


def _groups(group_by: Sequence[str]) -> tuple[str, dict[str, object]]:
    """SQL of the group that a bucket belongs to, and its parameters."""
    values = [f"coalesce(b.dimensions::jsonb ->> %(by{n})s, '')" for n in range(len(group_by))]
    parameters: dict[str, object] = {f"by{n}": name for n, name in enumerate(group_by)}
    return f'ARRAY[{", ".join(values)}]::text[] COLLATE "C"', parameters


async def hour_parts(
    connection: Connection,
    wanted: Wanted,
    spans: Sequence[tuple[int, Period]],
    *,
    after: tuple[int, Group] | None,
    limit: int,
) -> list[Part]:
    """The sums of the hours in each span, by (window, group), after `after`; each span is a
    window's number and whole UTC hours of it.
    """
    group, parameters = _groups(wanted.group_by)
    beyond = "" if after is None else "WHERE (n, grp) > (%(after_n)s, %(after_group)s::text[])"
    cursor = await connection.execute(
        f"""
        SELECT n, grp, {_ADDED[wanted.meter.aggregation]}, max(latest)
        FROM (
            SELECT w.n, {group} AS grp, b.quantity, b.latest
            FROM unnest(%(numbers)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
                AS w (n, starts, ends)
            JOIN usage_bucket b ON b.customer = %(customer)s AND b.meter = %(meter)s
                AND b.bucket_start >= w.starts AND b.bucket_start < w.ends
        ) AS part
        {beyond}
        GROUP BY n, grp ORDER BY n, grp LIMIT %(limit)s
        """,
        {**parameters, **_spans(wanted, spans, after), "limit": limit},
    )
    return [Part(row[0], tuple(row[1]), row[2], row[3]) for row in await cursor.fetchall()]


async def hour_sums(
    connection: Connection, spans: Sequence[tuple[str, str, Period]]
) -> list[Decimal | None]:
    """What the hours that begin in each span (a customer, a meter that adds up, and a period) sum
    up to; None where there are none. Asks by span, so that each is a look into an index.
    """
    cursor = await connection.execute(
        """
        SELECT (
            SELECT sum(b.quantity) FROM usage_bucket b
            WHERE b.customer = c.customer AND b.meter = w.meter
                AND b.bucket_start >= w.starts AND b.bucket_start < w.ends
        )
        FROM unnest(%(customers)s::text[], %(meters)s::text[], %(starts)s::timestamptz[],
            %(ends)s::timestamptz[]) WITH ORDINALITY AS w (customer, meter, starts, ends, n)
        JOIN customer c ON c.customer = w.customer
        ORDER BY w.n
        """,
        {
            "customers": [customer for customer, _, _ in spans],
            "meters": [meter for _, meter, _ in spans],
            "starts": [span.start for _, _, span in spans],
            "ends": [span.end for _, _, span in spans],
        },
    )
    return [row[0] for row in await cursor.fetchall()]


async def plain_sums(
    connection: Connection, spans: Sequence[tuple[Wanted, Period]]
) -> list[Decimal]:
    """What the events in each span sum up to: of meters that add up one plain property (or count),
    and leave none out. What is no number, or a negative one that the meter refuses, adds nothing.
    """
    cursor = await connection.execute(
        f"""
        SELECT (
            SELECT coalesce(sum(
                CASE WHEN w.value IS NULL THEN 1
                    WHEN NOT w.negative AND (e.data ->> w.value) LIKE '-%%' THEN 0
                    WHEN jsonb_typeof(e.data -> w.value) = 'number'
                        OR (e.data ->> w.value) ~ %(number)s
                        AND jsonb_typeof(e.data -> w.value) = 'string'
                    THEN (e.data ->> w.value)::numeric END
            ), 0)
            FROM event e WHERE {_COUNTED_THERE}
        )
        FROM unnest(%(customers)s::text[], %(types)s::text[], %(sinces)s::timestamptz[],
            %(values)s::text[], %(negatives)s::boolean[], %(starts)s::timestamptz[],
            %(ends)s::timestamptz[]) WITH ORDINALITY
            AS w (customer, type, since, value, negative, starts, ends, n)
        JOIN customer c ON c.customer = w.customer
        ORDER BY w.n
        """,
        {
            "customers": [wanted.customer for wanted, _ in spans],
            "types": [wanted.meter.event_type for wanted, _ in spans],
            "sinces": [wanted.since for wanted, _ in spans],
            "values": [wanted.meter.value for wanted, _ in spans],
            "negatives": [wanted.meter.allow_negative for wanted, _ in spans],
            "starts": [span.start for _, span in spans],
            "ends": [span.end for _, span in spans],
            "number": DECIMAL_PATTERN,
        },
    )
    return [row[0] for row in await cursor.fetchall()]


async def bucket_parts(
    connection: Connection,
    wanted: Wanted,
    spans: Sequence[tuple[int, Period]],
    cut: Collection[str],
    *,
    after: tuple[int, Group] | None,
    limit: int,
) -> list[tuple[Part, str]]:
    """As `hour_parts`, of a meter that takes values by bucket: the sum of what the buckets of each
    window and group come to, without those in `cut`, each of which stands beside it with its name.
    """
    group, parameters = _groups(wanted.group_by)
    beyond = "" if after is None else "WHERE (n, grp) > (%(after_n)s, %(after_group)s::text[])"
    cursor = await connection.execute(
        f"""
        SELECT n, grp, sum(quantity), max(latest), cut FROM (
            SELECT n, grp, {_ADDED[wanted.meter.aggregation]} AS quantity, max(latest) AS latest,
                CASE WHEN bucket = ANY(%(cut)s) THEN bucket ELSE '' END AS cut,
                dense_rank() OVER (ORDER BY n, grp) AS place
            FROM (
                SELECT w.n, {group} AS grp, b.quantity, b.latest,
                    coalesce(b.dimensions::jsonb ->> %(bucket)s, '') AS bucket
                FROM unnest(%(numbers)s::integer[], %(starts)s::timestamptz[],
                    %(ends)s::timestamptz[]) AS w (n, starts, ends)
                JOIN usage_bucket b ON b.customer = %(customer)s AND b.meter = %(meter)s
                    AND b.bucket_start >= w.starts AND b.bucket_start < w.ends
            ) AS part
            {beyond}
            GROUP BY n, grp, bucket
        ) AS bucket
        WHERE place <= %(limit)s GROUP BY n, grp, cut
        """,
        {
            **parameters, **_spans(wanted, spans, after), "limit": limit, "cut": list(cut),
            "bucket": BUCKET,
        },
    )  # fmt: skip
    return [
        (Part(row[0], tuple(row[1]), row[2], row[3]), row[4]) for row in await cursor.fetchall()
    ]


def _spans(
    wanted: Wanted, spans: Sequence[tuple[int, Period]], after: tuple[int, Group] | None
) -> dict[str, object]:
    return {
        "customer": wanted.customer, "meter": wanted.meter.key,
        "numbers": [number for number, _ in spans],
        "starts": [span.start for _, span in spans], "ends": [span.end for _, span in spans],
        "after_n": after[0] if after else None, "after_group": list(after[1]) if after else [],
    }  # fmt: skip


async def events_in(
    connection: Connection, wanted: Wanted, span: Period
) -> AsyncGenerator[Event, None]:
    """The accepted events that the meter may have counted in `span`, by time. They are fetched
    as they are read, so that their number takes no memory.
    """
    async with connection.cursor(name="usage_events") as cursor:
        cursor.itersize = EVENTS_PER_FETCH
        await cursor.execute(
            f"""
            SELECT {_EVENT} FROM event e WHERE {_COUNTED} ORDER BY e.time
            """,
            _parameters(wanted, span),
        )
        async for row in cursor:
            yield _event_of(wanted, row)


async def events_page(
    connection: Connection, wanted: Wanted, span: Period, after: Event | None, *, limit: int
) -> list[Event]:
    """As `events_in`, the first of them after `after`, in the order of time and identity. May
    stand in a pipeline.
    """
    beyond = (
        "" if after is None else "AND (e.time, e.source, e.id) > (%(time)s, %(source)s, %(id)s)"
    )
    cursor = await connection.execute(
        f"""
        SELECT {_EVENT}
        FROM event e WHERE {_COUNTED} {beyond} ORDER BY e.time, e.source, e.id LIMIT %(limit)s
        """,
        {
            **_parameters(wanted, span), "limit": limit, "time": after.time if after else None,
            "source": after.source if after else None, "id": after.id if after else None,
        },
    )  # fmt: skip
    return [_event_of(wanted, row) for row in await cursor.fetchall()]


def _event_of(wanted: Wanted, row: Sequence[Any]) -> Event:
    source, event_id, time, received_at, data, path, subscription, attributes = row
    return Event(
        wanted.customer, source, event_id, wanted.meter.event_type, time.astimezone(UTC),
        received_at.astimezone(UTC), _decode(data), "", path, subscription,
        _decode(attributes) if attributes else None,
    )  # fmt: skip


def _parameters(wanted: Wanted, span: Period) -> dict[str, object]:
    return {
        "customer": wanted.customer, "type": wanted.meter.event_type,
        "meter": wanted.meter.key, "since": wanted.since,
        "start": span.start, "end": span.end,
    }  # fmt: skip


async def next_hour(connection: Connection, wanted: Wanted, span: Period) -> datetime | None:
    """The first hour of usage that begins in `span`."""
    return await _first(
        connection,
        """
        SELECT min(bucket_start) FROM usage_bucket
        WHERE customer = %(customer)s AND meter = %(meter)s
            AND bucket_start >= %(start)s AND bucket_start < %(end)s
        """,
        _parameters(wanted, span),
    )


async def next_event(connection: Connection, wanted: Wanted, span: Period) -> datetime | None:
    """The time of the first event in `span` that the meter may have counted."""
    sql = f"SELECT e.time FROM event e WHERE {_COUNTED} ORDER BY e.time LIMIT 1"
    return await _first(connection, sql, _parameters(wanted, span))


async def _first(
    connection: Connection, sql: str, parameters: dict[str, object]
) -> datetime | None:
    cursor = await connection.execute(sql, parameters)
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


async def used_hours(
    connection: Connection, wanted: Wanted, hours: Collection[datetime]
) -> set[datetime]:
    """Those of these hours that have usage."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT bucket_start FROM usage_bucket
        WHERE customer = %s AND meter = %s AND bucket_start = ANY(%s)
        """,
        [wanted.customer, wanted.meter.key, list(hours)],
    )
    return {row[0].astimezone(UTC) for row in await cursor.fetchall()}


async def hour_groups(
    connection: Connection, wanted: Wanted, span: Period, *, limit: int
) -> list[Group]:
    """The groups with usage in hours that begin in `span`."""
    group, parameters = _groups(wanted.group_by)
    cursor = await connection.execute(
        f"""
        SELECT DISTINCT {group} FROM usage_bucket b
        WHERE customer = %(customer)s AND meter = %(meter)s
            AND bucket_start >= %(start)s AND bucket_start < %(end)s LIMIT %(limit)s
        """,
        {**parameters, **_parameters(wanted, span), "limit": limit},
    )
    return [tuple(row[0]) for row in await cursor.fetchall()]


async def customers_from(
    connection: Connection, wanted: Wanted, span: Period, *, hours: bool, limit: int
) -> list[str]:
    """Customers with usage in `span`, by key, from `wanted.customer` on. With `hours` they are
    found by their hourly buckets, else by their events; those with archived ones there may have
    none that the meter counts.
    """
    found = f"""
        SELECT FROM event e WHERE {_COUNTED.replace("%(customer)s", "c.customer")}
        UNION ALL
        SELECT FROM archive_part p WHERE p.customer = c.customer
            AND p.time_last >= %(start)s AND p.time_first < %(end)s
    """
    if hours:
        found = """
            SELECT FROM usage_bucket b WHERE b.customer = c.customer AND b.meter = %(meter)s
                AND b.bucket_start >= %(start)s AND b.bucket_start < %(end)s
        """
    cursor = await connection.execute(
        f"""
        SELECT c.customer FROM customer c WHERE c.customer >= %(customer)s AND EXISTS ({found})
        ORDER BY c.customer LIMIT %(limit)s
        """,
        {**_parameters(wanted, span), "limit": limit},
    )
    return [row[0] for row in await cursor.fetchall()]
