"""Rows of `backfill`, the events that were loaded into it, and how far it is with each customer.

Owns their form, and which events it is about. Decides nothing about them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from taximeter.domain.metering.backfill import Backfill, BackfillState
from taximeter.domain.metering.event import Event, decode_number
from taximeter.kernel.times import Period
from taximeter.storage.events import EVENT_COLUMNS, StoredEvent, stored_of
from taximeter.storage.ingestion import Identity, document

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = """
b.id, b.kind, b.customer, b.types, b.meter, b.span_start, b.span_end, b.replaces, b.reason, b.state,
b.actor, b.created_at, b.started_at, b.ended_at
"""
_FIND = f"SELECT {_COLUMNS} FROM backfill b WHERE b.id = %s"
_LOCK = f"{_FIND} FOR UPDATE"
_KEEP = f"{_FIND} FOR SHARE"
_STAGE = """
INSERT INTO backfill_event (backfill, customer, source, id, type, time, path, subscription, digest,
    data, attributes)
SELECT %s, customer, source, id, type, time, path, subscription, decode(digest, 'hex'), data,
    attributes
FROM json_to_recordset(%s) AS r (customer text, source text, id text, type text, time timestamptz,
    path text, subscription text, digest text, data jsonb, attributes jsonb)
ON CONFLICT DO NOTHING RETURNING customer, source, id
"""
_STAGED_DIGESTS = """
SELECT e.customer, e.source, e.id, encode(e.digest, 'hex') FROM backfill_event e
JOIN unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, id)
    ON e.customer = k.customer AND e.source = k.source AND e.id = k.id
WHERE e.backfill = %s
"""
# Whose events a backfill is about: those for whom some were loaded, and where it changes what is
# there those who have some, or may have some in the archive.
_CUSTOMERS = """
SELECT customer FROM (
    SELECT DISTINCT customer FROM backfill_event WHERE backfill = %(id)s
    UNION
    SELECT c.customer FROM customer c
    WHERE %(changes)s AND (%(customer)s::text IS NULL OR c.customer = %(customer)s) AND (EXISTS (
        SELECT FROM event e WHERE e.customer = c.customer AND e.type = ANY(%(types)s)
            AND e.time >= %(start)s AND e.time < %(end)s AND e.status <> 'void'
    ) OR EXISTS (
        SELECT FROM archive_part p WHERE p.customer = c.customer
            AND p.time_last >= %(start)s AND p.time_first < %(end)s
    ))
) AS found
WHERE %(after)s::text IS NULL OR customer > %(after)s
ORDER BY customer
"""
# Counted, so that they are looked up event by event. What the transaction itself has written is in
# no statistics, and NOT EXISTS becomes a join that goes through all of it for each event.
_NOT_STAGED = """
0 = (
    SELECT count(*) FROM backfill_event s
    WHERE s.customer = e.customer AND s.backfill = %(id)s AND s.source = e.source AND s.id = e.id
)
"""
_NOT_CORRECTED = """
0 = (
    SELECT count(*) FROM event_correction k
    WHERE k.customer = e.customer AND k.source = e.source AND k.id = e.id AND k.backfill = %(id)s
)
"""
_THERE = f"""
FROM event e
WHERE e.customer = %(customer)s AND e.type = ANY(%(types)s) AND e.time >= %(start)s
    AND e.time < %(end)s AND e.received_at <= %(until)s AND e.status = ANY(%(statuses)s)
    AND {_NOT_STAGED} AND {_NOT_CORRECTED}
"""
_IN_THE_WAY = f"""
SELECT {EVENT_COLUMNS} {_THERE} ORDER BY e.time LIMIT %(limit)s FOR UPDATE OF e
"""
_TO_CHANGE = f"""
SELECT (SELECT count(*) FROM (SELECT {_THERE} AND %(changes)s LIMIT %(limit)s) AS there)
    + (SELECT count(*) FROM (
        SELECT FROM backfill_event
        WHERE customer = %(customer)s AND backfill = %(id)s AND outcome IS NULL LIMIT %(limit)s
    ) AS waiting)
"""
_STAGED = """
SELECT s.customer, s.source, s.id, s.type, s.time, s.path, s.subscription, encode(s.digest, 'hex'),
    s.data::text, s.attributes::text
FROM backfill_event s
WHERE s.customer = %s AND s.backfill = %s AND s.outcome IS NULL
ORDER BY s.source, s.id LIMIT %s
"""
_SET_OUTCOMES = """
UPDATE backfill_event AS s SET outcome = r.outcome, data = '{}', attributes = NULL
FROM unnest(%s::text[], %s::text[], %s::text[]) AS r (source, id, outcome)
WHERE s.customer = %s AND s.backfill = %s AND s.source = r.source AND s.id = r.id
"""
_BROUGHT = f"""
SELECT {EVENT_COLUMNS} FROM backfill_event s
JOIN event e ON e.customer = s.customer AND e.source = s.source AND e.id = s.id
WHERE s.customer = %(customer)s AND s.backfill = %(id)s
    AND s.outcome IN ('accepted', 'quarantined') AND e.status <> 'void'
    AND NOT EXISTS (
        SELECT FROM event_correction k
        WHERE k.customer = e.customer AND k.source = e.source AND k.id = e.id
    )
ORDER BY s.source, s.id LIMIT %(limit)s FOR UPDATE OF e
"""
# Corrections that the backfill made and nobody has touched since, with what stood before.
_CORRECTED = f"""
SELECT {EVENT_COLUMNS}, k.status, k.waited_for, k.time, k.path, k.data::text, k.counted_at
FROM event_correction k
JOIN event e ON e.customer = k.customer AND e.source = k.source AND e.id = k.id
WHERE k.customer = %(customer)s AND k.backfill = %(id)s AND k.kind <> 'restore'
    AND NOT EXISTS (
        SELECT FROM event_correction n
        WHERE n.customer = k.customer AND n.source = k.source AND n.id = k.id
            AND n.number > k.number
    )
    AND NOT EXISTS (
        SELECT FROM backfill_event s
        WHERE s.customer = k.customer AND s.backfill = k.backfill AND s.source = k.source
            AND s.id = k.id AND s.outcome IN ('accepted', 'quarantined')
    )
ORDER BY k.source, k.id LIMIT %(limit)s FOR UPDATE OF e
"""
_EVENT_COLUMN_COUNT = 14
_decode = msgspec.json.Decoder(float_hook=decode_number).decode


class Counts(NamedTuple):
    """How many events a backfill voided, amended, added, set aside, and refused."""

    voided: int = 0
    amended: int = 0
    added: int = 0
    quarantined: int = 0
    refused: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(*(mine + more for mine, more in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a backfill could not be applied to a customer."""

    customer: str
    path: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is: events loaded, customers by state, events by what became of them, and
    the first failures.
    """

    loaded: int
    customers: Mapping[str, int]
    counts: Counts
    failures: Sequence[Failure]


class Restorable(NamedTuple):
    """An event that a backfill corrected, as it is now and as it was before."""

    now: StoredEvent
    before: StoredEvent


async def insert(connection: Connection, one: Backfill) -> None:
    """Write a new backfill."""
    await connection.execute(
        """
        INSERT INTO backfill (id, kind, customer, types, meter, span_start, span_end, replaces,
            reason, state, actor, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            one.id, one.kind, one.customer, list(one.types), one.meter, one.span.start,
            one.span.end, one.replaces, one.reason, one.state, one.actor, one.created_at,
        ],
    )  # fmt: skip


async def find(
    connection: Connection, backfill_id: str, *, lock: bool = False, share: bool = False
) -> Backfill | None:
    """The backfill of this id; locked, or with `share` kept in the state that it is in."""
    statement = _LOCK if lock else _KEEP if share else _FIND
    cursor = await connection.execute(statement, [backfill_id])
    row = await cursor.fetchone()
    return _backfill_of(row) if row else None


def _backfill_of(row: Sequence[Any]) -> Backfill:
    span = Period(row[5].astimezone(UTC), row[6].astimezone(UTC))
    return Backfill(
        row[0], row[1], row[2], tuple(row[3]), row[4], span, row[7], row[8], row[9], row[10],
        row[11].astimezone(UTC), _utc(row[12]), _utc(row[13]),
    )  # fmt: skip


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None


async def page(
    connection: Connection, *, customer: str | None, before: str | None, limit: int
) -> list[Backfill]:
    """Backfills (that are about one customer alone), the newest first, before the id `before`."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM backfill b
        WHERE (%(customer)s::text IS NULL OR b.customer = %(customer)s)
            AND (%(before)s::text IS NULL OR b.id < %(before)s)
        ORDER BY b.id DESC LIMIT %(limit)s
        """,
        {"customer": customer, "before": before, "limit": limit},
    )
    return [_backfill_of(row) for row in await cursor.fetchall()]


async def set_state(
    connection: Connection, backfill_id: str, state: BackfillState, at: datetime
) -> None:
    """Let the backfill, which is locked, be in this state. It has started once it was applied."""
    await connection.execute(
        """
        UPDATE backfill SET state = %(state)s, ended_at = %(at)s,
            started_at = CASE WHEN %(state)s = 'applying' THEN COALESCE(started_at, %(at)s)
                ELSE started_at END
        WHERE id = %(id)s
        """,
        {"id": backfill_id, "state": state, "at": at},
    )


async def progress(connection: Connection, backfill_id: str, failures_max: int) -> Progress:
    """How far it is."""
    cursor = await connection.execute(
        "SELECT count(*) FROM backfill_event WHERE backfill = %s", [backfill_id]
    )
    loaded = (await cursor.fetchall())[0][0]
    cursor = await connection.execute(
        """
        SELECT state, count(*), sum(voided)::bigint, sum(amended)::bigint, sum(added)::bigint,
            sum(quarantined)::bigint, sum(refused)::bigint
        FROM backfill_customer WHERE backfill = %s GROUP BY state
        """,
        [backfill_id],
    )
    customers: dict[str, int] = {}
    counts = Counts()
    for row in await cursor.fetchall():
        customers[row[0]] = row[1]
        counts = counts.plus(Counts(*row[2:]))
    cursor = await connection.execute(
        """
        SELECT customer, problem FROM backfill_customer
        WHERE backfill = %s AND state = 'failed' ORDER BY customer LIMIT %s
        """,
        [backfill_id, failures_max],
    )
    failures = [Failure(row[0], **row[1]) for row in await cursor.fetchall()]
    return Progress(loaded, customers, counts, failures)


async def stage(connection: Connection, backfill_id: str, events: Sequence[Event]) -> set[Identity]:
    """Load events that are not there yet; returns which ones were not."""
    cursor = await connection.execute(_STAGE, [backfill_id, document(events)])
    return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}


async def staged_digests(
    connection: Connection, backfill_id: str, events: Sequence[Event]
) -> dict[Identity, str]:
    """The digests of those of these events that are loaded."""
    columns = [
        [one.customer for one in events], [one.source for one in events], [one.id for one in events]
    ]  # fmt: skip
    cursor = await connection.execute(_STAGED_DIGESTS, [*columns, backfill_id])
    return {(row[0], row[1], row[2]): row[3] for row in await cursor.fetchall()}


async def discard_events(connection: Connection, backfill_id: str) -> None:
    """Forget what was loaded."""
    await connection.execute("DELETE FROM backfill_event WHERE backfill = %s", [backfill_id])


def _about(one: Backfill, after: str | None = None) -> dict[str, object]:
    return {
        "id": one.id, "changes": one.replaces or one.kind == "meter", "customer": one.customer,
        "types": list(one.types), "start": one.span.start, "end": one.span.end, "after": after,
    }  # fmt: skip


async def customers(
    connection: Connection, one: Backfill, *, after: str | None, limit: int
) -> list[str]:
    """Whose events it is about, by key, after `after`."""
    cursor = await connection.execute(
        f"{_CUSTOMERS} LIMIT %(limit)s", {**_about(one, after), "limit": limit}
    )
    return [row[0] for row in await cursor.fetchall()]


async def begin(connection: Connection, one: Backfill) -> None:
    """Note all customers that it is about."""
    await connection.execute(
        f"""
        INSERT INTO backfill_customer (customer, backfill, state)
        SELECT customer, %(id)s, 'pending' FROM ({_CUSTOMERS}) AS whose ON CONFLICT DO NOTHING
        """,
        _about(one),
    )


async def try_again(connection: Connection, backfill_id: str) -> None:
    """Let the customers with whom it failed wait for it again."""
    await connection.execute(
        "UPDATE backfill_customer SET state = 'pending' WHERE backfill = %s AND state = 'failed'",
        [backfill_id],
    )


async def next_customer(
    connection: Connection, backfill_id: str, states: Sequence[str]
) -> str | None:
    """The first customer with whom it is in one of these states."""
    cursor = await connection.execute(
        "SELECT min(customer) FROM backfill_customer WHERE backfill = %s AND state = ANY(%s)",
        [backfill_id, list(states)],
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def note(
    connection: Connection,
    backfill_id: str,
    customer: str,
    state: str,
    counts: Counts,
    problem: Failure | None = None,
) -> None:
    """Note how far it is with a customer; counts add up."""
    told = None
    if problem is not None:
        told = Jsonb({"path": problem.path, "code": problem.code, "detail": problem.detail})
    await connection.execute(
        """
        UPDATE backfill_customer SET state = %s, problem = %s, voided = voided + %s,
            amended = amended + %s, added = added + %s, quarantined = quarantined + %s,
            refused = refused + %s
        WHERE customer = %s AND backfill = %s
        """,
        [state, told, *counts, customer, backfill_id],
    )


async def in_the_way(
    connection: Connection, one: Backfill, customer: str, until: datetime, limit: int
) -> list[StoredEvent]:
    """The customer's events that it voids or counts anew, and has not yet; locked. What was
    received after `until` is left alone.
    """
    cursor = await connection.execute(_IN_THE_WAY, _there(one, customer, until, limit))
    return [stored_of(row) for row in await cursor.fetchall()]


def _there(one: Backfill, customer: str, until: datetime, limit: int) -> dict[str, object]:
    statuses = ["accepted"] if one.kind == "meter" else ["accepted", "quarantined"]
    wanted = {**_about(one), "customer": customer, "until": until, "limit": limit}
    return {**wanted, "statuses": statuses}


async def are_over(
    connection: Connection, one: Backfill, customer: str, until: datetime, limit: int
) -> bool:
    """Whether more than `limit` of the customer's events are yet to be changed or taken in."""
    cursor = await connection.execute(_TO_CHANGE, _there(one, customer, until, limit + 1))
    return bool((await cursor.fetchall())[0][0] > limit)


async def waiting_events(
    connection: Connection, one: Backfill, customer: str, at: datetime, limit: int
) -> list[Event]:
    """The customer's events that were loaded and not applied yet, as received at the instant
    `at`.
    """
    cursor = await connection.execute(_STAGED, [customer, one.id, limit])
    return [
        Event(
            row[0], row[1], row[2], row[3], row[4].astimezone(UTC), at, _decode(row[8]), row[7],
            row[5], row[6], _decode(row[9]) if row[9] else None,
        )
        for row in await cursor.fetchall()
    ]  # fmt: skip


async def set_outcomes(
    connection: Connection, one: Backfill, customer: str, outcomes: Sequence[tuple[Event, str]]
) -> None:
    """Note what became of these of a customer's events. What they say is in `event` from now on."""
    if outcomes:
        columns = [
            [event.source for event, _ in outcomes], [event.id for event, _ in outcomes],
            [outcome for _, outcome in outcomes],
        ]  # fmt: skip
        await connection.execute(_SET_OUTCOMES, [*columns, customer, one.id])


async def brought(
    connection: Connection, one: Backfill, customer: str, limit: int
) -> list[StoredEvent]:
    """The customer's events that it added and nobody has corrected since; locked."""
    cursor = await connection.execute(
        _BROUGHT, {"customer": customer, "id": one.id, "limit": limit}
    )
    return [stored_of(row) for row in await cursor.fetchall()]


async def corrected(
    connection: Connection, one: Backfill, customer: str, limit: int
) -> list[Restorable]:
    """The customer's events that it voided or amended and nobody has corrected since; locked."""
    cursor = await connection.execute(
        _CORRECTED, {"customer": customer, "id": one.id, "limit": limit}
    )
    return [_restorable_of(row) for row in await cursor.fetchall()]


def _restorable_of(row: Sequence[Any]) -> Restorable:
    now = stored_of(row)
    status, reason, time, path, data, counted_at = row[_EVENT_COLUMN_COUNT:]
    event = msgspec.structs.replace(
        now.event, time=time.astimezone(UTC), path=path, data=_decode(data)
    )
    return Restorable(now, StoredEvent(event, status, reason, _utc(counted_at)))
