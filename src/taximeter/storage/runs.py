"""The SQL of runs: the events of one trace, and the traces of a span of time.

Events without a trace stand in no index of this. Must not fold or rate.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.kernel.times import Period
from taximeter.storage.events import EVENT_COLUMNS, StoredEvent, stored_of

Connection = AsyncConnection[tuple[Any, ...]]

# As the index event_trace has them.
_TRACED = "e.attributes ?| ARRAY['trace_id', 'traceparent'] AND e.status = 'accepted'"
_TRACE = """
left(COALESCE(e.attributes ->> 'trace_id', substr(e.attributes ->> 'traceparent', 4, 32)), 256)
"""
_RUNS = f"""
SELECT trace, first, last, events, run FROM (
    SELECT {_TRACE} COLLATE "C" AS trace, min(e.time) AS first, max(e.time) AS last,
        count(*) AS events,
        (array_agg(e.attributes ->> 'run' ORDER BY e.time) FILTER (WHERE e.attributes ? 'run'))[1]
            AS run
    FROM event e
    WHERE {_TRACED} AND e.customer = %(customer)s AND e.time >= %(start)s AND e.time < %(end)s
    GROUP BY 1
) r
WHERE %(first)s::timestamptz IS NULL OR (first, trace) < (%(first)s, %(trace)s)
ORDER BY first DESC, trace DESC LIMIT %(limit)s
"""


class RunRow(NamedTuple):
    """A run, by its events within a span of time."""

    trace: str
    start: datetime
    last: datetime
    events: int
    name: str | None


async def events_of(
    connection: Connection, customer: str, trace: str, limit: int
) -> list[StoredEvent]:
    """The first accepted events of a run, by time."""
    cursor = await connection.execute(
        f"""
        SELECT {EVENT_COLUMNS} FROM event e
        WHERE {_TRACED} AND e.customer = %s AND {_TRACE} = %s
        ORDER BY e.time, e.source, e.id LIMIT %s
        """,
        [customer, trace, limit],
    )
    return [stored_of(row) for row in await cursor.fetchall()]


async def page(
    connection: Connection,
    customer: str,
    span: Period,
    after: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[RunRow]:
    """The runs with events in `span`, those that began last first, after `after`: the time of the
    first event and the trace of the last run shown.
    """
    cursor = await connection.execute(
        _RUNS,
        {
            "customer": customer, "start": span.start, "end": span.end, "limit": limit,
            "first": after[0] if after else None, "trace": after[1] if after else None,
        },
    )  # fmt: skip
    return [
        RunRow(row[0], row[1].astimezone(UTC), row[2].astimezone(UTC), row[3], row[4])
        for row in await cursor.fetchall()
    ]
