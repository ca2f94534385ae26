"""What is known of sources: their heartbeats, their repeats, and the numbers of their events.

Owns `source_heartbeat`, `source_silence` and `source_repeat`, and the reading of `event` by source.
What is stored is counted when somebody asks, so that ingestion pays for none of it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.metering.completeness import Delays, Gap, Heartbeats, Numbers
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]

GAPS_MAX = 20
NUMBERS_MAX = 2_000_000
BEATS_MAX = 10_000
# Heartbeats this long before a span still say where its counting begins, and that a source lives.
REMEMBERED = timedelta(days=31)

_NUMBER = "(e.attributes ->> 'sequence')::bigint"
_NUMBERED = "e.attributes ->> 'sequence' ~ '^[0-9]{1,18}$'"
_BEAT = """
INSERT INTO source_heartbeat AS h
    (customer, source, hour, at, received_at, sent, silence_after_s)
VALUES (%(customer)s, %(source)s, %(hour)s, %(at)s, %(received_at)s, %(sent)s, %(silence_after_s)s)
ON CONFLICT (customer, source, hour) DO UPDATE SET at = EXCLUDED.at,
    received_at = EXCLUDED.received_at, sent = EXCLUDED.sent,
    silence_after_s = EXCLUDED.silence_after_s
WHERE EXCLUDED.at >= h.at
"""
_LAST_WORD = """
INSERT INTO source_silence AS s (customer, source, at, silent_at)
VALUES (%(customer)s, %(source)s, %(at)s,
    %(received_at)s + %(silence_after_s)s::bigint * interval '1 second')
ON CONFLICT (customer, source) DO UPDATE SET at = EXCLUDED.at, silent_at = EXCLUDED.silent_at
WHERE EXCLUDED.at >= s.at
"""
_OVERDUE = "silent_at >= %(since)s AND silent_at < %(until)s"
_CONTRADICTED = """
SELECT at, sent FROM source_heartbeat
WHERE customer = %(customer)s AND source = %(source)s
  AND ((at <= %(at)s AND sent > %(sent)s) OR (at > %(at)s AND sent < %(sent)s))
ORDER BY at LIMIT 1
"""
_ADD_REPEATS = """
INSERT INTO source_repeat AS r (customer, source, hour, duplicates, conflicts)
SELECT customer, source, hour, duplicates, conflicts
FROM json_to_recordset(%s) AS k (customer text, source text, hour timestamptz, duplicates bigint,
    conflicts bigint)
ON CONFLICT (customer, source, hour) DO UPDATE
SET duplicates = r.duplicates + EXCLUDED.duplicates, conflicts = r.conflicts + EXCLUDED.conflicts
"""
_SEEN = """
SELECT e.source, count(*) AS received, count(*) FILTER (WHERE e.status = 'quarantined') AS waiting,
    count(*) FILTER (WHERE e.received_at - e.time > %(late)s) AS late,
    count(*) FILTER (WHERE e.time > e.received_at) AS ahead,
    max(e.time - e.received_at) AS ahead_most, max(e.received_at) AS last_received_at,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY e.received_at - e.time) AS median,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY e.received_at - e.time) AS p95,
    max(e.received_at - e.time) AS longest
FROM event e
WHERE e.time >= %(start)s AND e.time < %(end)s AND {scope}
GROUP BY e.source
"""
_REPEATED = """
SELECT e.source, sum(e.duplicates) AS duplicates, sum(e.conflicts) AS conflicts
FROM source_repeat e
WHERE e.hour >= %(start)s - interval '59 minutes 59 seconds' AND e.hour < %(end)s AND {scope}
GROUP BY e.source
"""
_BEATING = """
SELECT DISTINCT e.source FROM source_heartbeat e
WHERE e.hour >= %(remembered)s AND e.hour < %(end)s AND {scope}
"""
_SOURCES = f"""
WITH seen AS ({_SEEN}), repeated AS ({_REPEATED}), beating AS ({_BEATING}),
    named AS (SELECT source FROM seen UNION SELECT source FROM repeated
              UNION SELECT source FROM beating)
SELECT n.source, coalesce(s.received, 0), coalesce(s.waiting, 0), coalesce(s.late, 0),
    coalesce(s.ahead, 0), s.ahead_most, s.last_received_at, s.median, s.p95, s.longest,
    coalesce(r.duplicates, 0), coalesce(r.conflicts, 0)
FROM named n LEFT JOIN seen s ON s.source = n.source LEFT JOIN repeated r ON r.source = n.source
WHERE %(after)s::text IS NULL OR n.source > %(after)s
ORDER BY n.source LIMIT %(limit)s
"""
_BOUNDS = f"""
SELECT e.source, min({_NUMBER}), max({_NUMBER}), count(*) - count(DISTINCT {_NUMBER}),
    bool_or(e.attributes ->> 'sequencetype' = 'Integer')
FROM event e
WHERE e.time >= %(start)s AND e.time < %(end)s AND e.source = ANY(%(sources)s) AND {_NUMBERED}
GROUP BY e.source
"""
_BEFORE = f"""
SELECT max({_NUMBER}) FROM event e
WHERE e.source = %(source)s AND {_NUMBERED} AND {_NUMBER} < %(number)s
"""
_GAPS = f"""
SELECT count(*), max(s.n),
    (array_agg(ARRAY[s.before + 1, s.n - 1] ORDER BY s.n)
        FILTER (WHERE s.n > s.before + 1))[1:{GAPS_MAX}]
FROM (
    SELECT d.n, lag(d.n, 1, %(first)s - 1) OVER (ORDER BY d.n) AS before
    FROM (
        SELECT DISTINCT {_NUMBER} AS n FROM event e
        WHERE e.source = %(source)s AND {_NUMBERED} AND {_NUMBER} >= %(first)s
          AND {_NUMBER} <= %(last)s
        ORDER BY n LIMIT {NUMBERS_MAX}
    ) d
) s
"""
_LAST_BEATS = f"""
SELECT DISTINCT ON (e.customer, e.source) e.customer, e.source, e.at, e.received_at, e.sent,
    e.silence_after_s
FROM source_heartbeat e
WHERE e.source = ANY(%(sources)s) AND e.hour >= %(remembered)s AND e.at <= %(until)s AND {{scope}}
ORDER BY e.customer, e.source, e.hour DESC LIMIT {BEATS_MAX}
"""
_COUNT_OF_ALL = """
SELECT count(*) FROM event e
WHERE e.source = %(source)s AND e.time >= coalesce(%(start)s::timestamptz, '-infinity')
  AND e.time < %(end)s
"""
_COUNT_OF_EACH = """
SELECT e.source, count(*)
FROM unnest(%(customers)s::text[], %(sources)s::text[], %(starts)s::timestamptz[],
    %(ends)s::timestamptz[]) AS k (customer, source, starts_at, ends_at)
JOIN event e ON e.customer = k.customer AND e.source = k.source
    AND e.time >= coalesce(k.starts_at, '-infinity') AND e.time < k.ends_at
GROUP BY e.source
"""


class Heartbeat(NamedTuple):
    """What a source says at `at`, its own time: `sent` events with a time before it, in all."""

    customer: str
    source: str
    at: datetime
    received_at: datetime
    sent: int
    silence_after_s: int | None


class Repeats(NamedTuple):
    """Events of a source that came in an hour and were there already."""

    customer: str
    source: str
    hour: datetime
    duplicates: int
    conflicts: int


class Span(NamedTuple):
    """Which events are meant: with a time from `start` to `end`, of one customer and one source or
    (None) of all.
    """

    start: datetime
    end: datetime
    customer: str | None
    source: str | None


class Seen(NamedTuple):
    """What was received of a source in a span."""

    source: str
    received: int
    quarantined: int
    late: int
    ahead: int
    ahead_most: timedelta
    last_received_at: datetime | None
    delays: Delays | None
    duplicates: int
    conflicts: int


async def put_heartbeat(connection: Connection, beat: Heartbeat) -> None:
    """Keep a heartbeat, as the last of its hour and of all unless a later one is known."""
    hour = beat.at.replace(minute=0, second=0, microsecond=0)
    await connection.execute(_BEAT, {**beat._asdict(), "hour": hour})
    await connection.execute(_LAST_WORD, beat._asdict())


async def contradicted(connection: Connection, beat: Heartbeat) -> tuple[datetime, int] | None:
    """An earlier heartbeat with more events, or a later one with fewer: its time and count."""
    cursor = await connection.execute(_CONTRADICTED, beat._asdict())
    row = await cursor.fetchone()
    return (row[0].astimezone(UTC), row[1]) if row else None


async def add_repeats(connection: Connection, rows: Sequence[Repeats]) -> None:
    """Count repeats, in the order of their keys: two that count the same wait for each other."""
    await connection.execute(_ADD_REPEATS, [document([row._asdict() for row in sorted(rows)])])


async def page(
    connection: Connection, span: Span, *, late: timedelta, after: str | None, limit: int
) -> list[Seen]:
    """The sources of a span by name, after `after`: those with events, repeats, or heartbeats."""
    parameters = {**_parameters(span), "late": late, "after": after, "limit": limit}
    cursor = await connection.execute(_SOURCES.format(scope=_scope(span)), parameters)
    return [
        Seen(
            row[0], row[1], row[2], row[3], row[4], max(timedelta(0), row[5] or timedelta(0)),
            row[6].astimezone(UTC) if row[6] else None,
            Delays(row[7], row[8], row[9]) if row[9] is not None else None,
            int(row[10]), int(row[11]),
        )
        for row in await cursor.fetchall()
    ]  # fmt: skip


async def numbers(
    connection: Connection, span: Span, sources: Collection[str]
) -> dict[str, Numbers]:
    """The numbers of these sources' events in a span, of all customers; what lies between them is
    looked for whatever its time. Numbers follow on the greatest below them, or begin with 1 where
    the source says that its numbers are such (`sequencetype` is `Integer`).
    """
    cursor = await connection.execute(_BOUNDS, {**_parameters(span), "sources": list(sources)})
    found = {}
    for source, least, greatest, repeated, from_one in await cursor.fetchall():
        cursor = await connection.execute(_BEFORE, {"source": source, "number": least})
        [before] = await cursor.fetchone() or (None,)
        first = before + 1 if before is not None else min(1, least) if from_one else least
        cursor = await connection.execute(
            _GAPS, {"source": source, "first": first, "last": greatest}
        )
        row = await cursor.fetchone()
        assert row is not None, "an aggregate has a row"
        gaps = [Gap(*gap) for gap in row[2] or ()]
        found[source] = Numbers(first, row[1], row[0], repeated, gaps, row[1] == greatest)
    return found


async def heartbeats(
    connection: Connection, span: Span, sources: Collection[str]
) -> dict[str, Heartbeats]:
    """What these sources said by the end of a span that they sent since its start. One that speaks
    of all its customers together is taken at that word, else what it said of each is added up.
    """
    latest = await _last_beats(connection, span, sources, span.end)
    before = {
        (one.customer, one.source): one
        for one in await _last_beats(connection, span, sources, span.start)
    }
    by_source: dict[str, list[Heartbeat]] = {}
    for one in latest:
        by_source.setdefault(one.source, []).append(one)
    for source, beats in by_source.items():
        by_source[source] = [one for one in beats if not one.customer] or beats
    starts = {
        one: before.get((one.customer, one.source)) for beats in by_source.values() for one in beats
    }
    received = await _received(connection, starts)
    return {
        source: _heartbeats(beats, [starts[one] for one in beats], received.get(source, 0))
        for source, beats in by_source.items()
    }


async def count_overdue(connection: Connection, at: datetime) -> int:
    """How many sources should have said something by `at`. What has been overdue for 31 days is
    forgotten.
    """
    span = {"since": at - REMEMBERED, "until": at}
    cursor = await connection.execute(f"SELECT count(*) FROM source_silence WHERE {_OVERDUE}", span)
    row = await cursor.fetchone()
    assert row is not None, "a count has a row"
    return int(row[0])


async def overdue_between(
    connection: Connection, since: datetime | None, until: datetime, limit: int
) -> list[tuple[str, str]]:
    """Sources, by customer and name, that became overdue from `since` on (None: that have not been
    forgotten) and before `until`, and still are: up to `limit` of them, the first to become so.
    """
    cursor = await connection.execute(
        f"""
        SELECT customer, source FROM source_silence WHERE {_OVERDUE}
        ORDER BY silent_at LIMIT %(limit)s
        """,
        {"since": since or until - REMEMBERED, "until": until, "limit": limit},
    )
    return sorted((row[0], row[1]) for row in await cursor.fetchall())


async def archived_until(connection: Connection) -> datetime | None:
    """Up to which time events may lie in the archive, where this does not count them."""
    cursor = await connection.execute("SELECT max(time_last) FROM archive")
    [until] = await cursor.fetchone() or (None,)
    return until.astimezone(UTC) if until else None


async def _last_beats(
    connection: Connection, span: Span, sources: Collection[str], until: datetime
) -> list[Heartbeat]:
    parameters = {**_parameters(span), "sources": list(sources), "until": until}
    cursor = await connection.execute(_LAST_BEATS.format(scope=_scope(span)), parameters)
    return [_beat_of(row) for row in await cursor.fetchall()]


def _beat_of(row: Sequence[Any]) -> Heartbeat:
    return Heartbeat(
        row[0], row[1], row[2].astimezone(UTC), row[3].astimezone(UTC), row[4], row[5]
    )  # fmt: skip


async def _received(
    connection: Connection, starts: Mapping[Heartbeat, Heartbeat | None]
) -> dict[str, int]:
    """How many events of each source are there from one heartbeat to the other."""
    found: dict[str, int] = {}
    each: list[tuple[str, str, datetime | None, datetime]] = []
    for beat, before in starts.items():
        start = before.at if before else None
        if beat.customer:
            each.append((beat.customer, beat.source, start, beat.at))
            continue
        cursor = await connection.execute(
            _COUNT_OF_ALL, {"source": beat.source, "start": start, "end": beat.at}
        )
        [found[beat.source]] = await cursor.fetchone() or (0,)
    if each:
        names = ("customers", "sources", "starts", "ends")
        columns = [list(column) for column in zip(*each, strict=True)]
        cursor = await connection.execute(_COUNT_OF_EACH, dict(zip(names, columns, strict=True)))
        found |= {row[0]: row[1] for row in await cursor.fetchall()}
    return found


def _heartbeats(
    beats: Sequence[Heartbeat], before: Sequence[Heartbeat | None], received: int
) -> Heartbeats:
    """What several beats say together; the last one to come says how the source is."""
    last = max(beats, key=lambda one: one.received_at)
    starts = [one.at for one in before if one is not None]
    expected = sum(one.sent for one in beats) - sum(one.sent for one in before if one is not None)
    return Heartbeats(
        min(starts) if len(starts) == len(beats) else None, last.at, expected, received,
        last.received_at,
        timedelta(seconds=last.silence_after_s) if last.silence_after_s is not None else None,
    )  # fmt: skip


def _scope(span: Span) -> str:
    conditions = {"e.customer = %(customer)s": span.customer, "e.source = %(source)s": span.source}
    return " AND ".join(text for text, value in conditions.items() if value is not None) or "true"


def _parameters(span: Span) -> dict[str, object]:
    return {**span._asdict(), "remembered": span.start - REMEMBERED}
