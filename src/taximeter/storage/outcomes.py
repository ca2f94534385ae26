"""Rows of `outcome`, its events and its steps.

Owns their form. An outcome's row is the lock of its events: whoever adds one or decides about it
has written or locked the row first, in the order of (customer, id).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.metering.outcome import Outcome, State

Connection = AsyncConnection[tuple[Any, ...]]
Identity = tuple[str, str, str]
# Customer, source and id of an event, and the key of the meter that reads it.
EventKey = tuple[str, str, str, str]

_encode = msgspec.json.Encoder(decimal_format="string").encode

_COLUMNS = """
o.customer, o.id, o.state, o.share, o.human_review, o.opened_at, o.confirm_at, o.confirmed_at,
o.reversible_s, o.events, o.steps
"""
_COLUMN_COUNT = 11
_OPEN = f"""
INSERT INTO outcome AS o (customer, id, state, share, human_review, opened_at, confirm_at,
    reversible_s, events, steps)
SELECT customer, id, 'pending', 0, human_review, opened_at, confirm_at, reversible_s, events, 0
FROM json_to_recordset(%s) AS r (customer text, id text, human_review boolean,
    opened_at timestamptz, confirm_at timestamptz, reversible_s bigint, events bigint)
ON CONFLICT (customer, id) DO UPDATE SET events = o.events + EXCLUDED.events,
    human_review = o.human_review OR (EXCLUDED.human_review AND o.confirmed_at IS NULL),
    confirm_at = CASE WHEN o.state = 'pending' THEN greatest(o.confirm_at, EXCLUDED.confirm_at) END
RETURNING {_COLUMNS}
"""
_INSERT_EVENTS = """
INSERT INTO outcome_event (customer, source, event, meter, outcome, attempt)
SELECT customer, source, event, meter, outcome, attempt
FROM json_to_recordset(%s) AS r (customer text, source text, event text, meter text, outcome text,
    attempt bigint)
"""
_IS_FIRST = """
NOT EXISTS (
    SELECT FROM outcome_event f
    WHERE f.customer = e.customer AND f.outcome = e.outcome AND f.meter = e.meter
      AND f.attempt < e.attempt
)
"""
_OF_EVENTS = f"""
SELECT e.customer, e.source, e.event, e.meter, {_IS_FIRST}, {_COLUMNS}
FROM outcome_event e
JOIN unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, event)
    ON e.customer = k.customer AND e.source = k.source AND e.event = k.event
JOIN outcome o ON o.customer = e.customer AND o.id = e.outcome
"""
_OF_OUTCOMES = f"""
SELECT e.customer, e.source, e.event, e.meter, e.outcome, e.attempt, {_IS_FIRST}
FROM outcome_event e WHERE e.customer = %(customer)s AND e.outcome = ANY(%(ids)s)
  AND (e.outcome, e.meter, e.attempt)
      > (%(outcome_after)s, %(meter_after)s, %(attempt_after)s::bigint)
ORDER BY e.outcome, e.meter, e.attempt LIMIT %(limit)s
"""
_LOCK = f"""
SELECT {_COLUMNS} FROM outcome o WHERE o.customer = %s AND o.id = ANY(%s) ORDER BY o.id FOR UPDATE
"""
_WRITE = """
UPDATE outcome AS o SET state = k.state, share = k.share, human_review = k.human_review,
    confirm_at = k.confirm_at, confirmed_at = k.confirmed_at, steps = k.steps
FROM json_to_recordset(%s) AS k (customer text, id text, state text, share numeric,
    human_review boolean, confirm_at timestamptz, confirmed_at timestamptz, steps bigint)
WHERE o.customer = k.customer AND o.id = k.id
"""
_INSERT_STEPS = """
INSERT INTO outcome_step (customer, outcome, step, state, share, human_review, reason, evidence,
    actor, at)
SELECT customer, outcome, step, state, share, human_review, reason, evidence, actor, at
FROM json_to_recordset(%s) AS r (customer text, outcome text, step bigint, state text,
    share numeric, human_review boolean, reason text, evidence text, actor text, at timestamptz)
"""
_STEPS = """
SELECT customer, outcome, step, state, share, human_review, reason, evidence, actor, at
FROM outcome_step WHERE customer = %s AND outcome = %s ORDER BY step DESC LIMIT %s
"""
_DUE = """
SELECT customer, id FROM outcome
WHERE confirm_at <= %(at)s AND NOT customer = ANY(%(without)s)
ORDER BY confirm_at LIMIT %(limit)s
"""


class Opening(NamedTuple):
    """What some new events, `events` in number, say of the outcome that they name."""

    customer: str
    id: str
    human_review: bool
    opened_at: datetime
    confirm_at: datetime | None
    reversible_s: int | None
    events: int


class Attempt(NamedTuple):
    """An event as its outcome's `attempt`-th, for a meter that reads it."""

    customer: str
    source: str
    event: str
    meter: str
    outcome: str
    attempt: int


class Opened(NamedTuple):
    """The outcome that an event belongs to for one meter. `first`: it is the first of its events
    that the meter reads.
    """

    outcome: Outcome
    first: bool


class ReadAttempt(NamedTuple):
    """An attempt, and whether it is the outcome's first for its meter."""

    attempt: Attempt
    first: bool


@dataclass(frozen=True, slots=True)
class StepRow:
    """One decision about an outcome, its `step`-th; `share` is what is billed after it."""

    customer: str
    outcome: str
    step: int
    state: State
    share: Decimal
    human_review: bool
    reason: str | None
    evidence: str | None
    actor: str
    at: datetime


def _outcome_of(row: Sequence[Any]) -> Outcome:
    return Outcome(
        row[0], row[1], row[2], row[3], row[4], row[5].astimezone(UTC), _utc(row[6]), _utc(row[7]),
        *row[8:_COLUMN_COUNT],
    )  # fmt: skip


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None


def _document(rows: Iterable[object]) -> str:
    return _encode(list(rows)).decode()


async def open_outcomes(
    connection: Connection, openings: Sequence[Opening]
) -> dict[tuple[str, str], Outcome]:
    """Open these outcomes, or add to those that are there, and lock them: each as it stands now."""
    rows = sorted(openings, key=lambda one: (one.customer, one.id))
    cursor = await connection.execute(_OPEN, [_document(row._asdict() for row in rows)])
    found = [_outcome_of(row) for row in await cursor.fetchall()]
    return {(one.customer, one.id): one for one in found}


async def insert_events(connection: Connection, attempts: Sequence[Attempt]) -> None:
    """Note events of outcomes that are locked."""
    await connection.execute(_INSERT_EVENTS, [_document(one._asdict() for one in attempts)])


async def of_events(
    connection: Connection, identities: Iterable[Identity]
) -> dict[EventKey, Opened]:
    """The outcome of each of these events, for each meter that reads it for one."""
    columns = [list(column) for column in zip(*identities, strict=True)]
    if not columns:
        return {}
    cursor = await connection.execute(_OF_EVENTS, columns)
    return {
        (row[0], row[1], row[2], row[3]): Opened(_outcome_of(row[5:]), row[4])
        for row in await cursor.fetchall()
    }


async def attempts_of(
    connection: Connection,
    customer: str,
    ids: Sequence[str],
    *,
    after: Attempt | None = None,
    limit: int,
) -> list[ReadAttempt]:
    """Events of these outcomes, by outcome, meter and order of arrival, after `after`."""
    cursor = await connection.execute(
        _OF_OUTCOMES,
        {
            "customer": customer,
            "ids": list(ids),
            "outcome_after": after.outcome if after else "",
            "meter_after": after.meter if after else "",
            "attempt_after": after.attempt if after else 0,
            "limit": limit,
        },
    )
    return [ReadAttempt(Attempt(*row[:6]), row[6]) for row in await cursor.fetchall()]


async def find(connection: Connection, customer: str, outcome_id: str) -> Outcome | None:
    """The outcome of this customer with this id, if there is one."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM outcome o WHERE o.customer = %s AND o.id = %s",
        [customer, outcome_id],
    )
    row = await cursor.fetchone()
    return _outcome_of(row) if row else None


async def lock(connection: Connection, customer: str, ids: Sequence[str]) -> list[Outcome]:
    """Those of these outcomes of a customer that exist, locked, by id."""
    cursor = await connection.execute(_LOCK, [customer, list(ids)])
    return [_outcome_of(row) for row in await cursor.fetchall()]


async def write(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write what was decided about these outcomes, which are locked."""
    rows = [
        {
            "customer": one.customer, "id": one.id, "state": one.state, "share": one.share,
            "human_review": one.human_review, "confirm_at": one.confirm_at,
            "confirmed_at": one.confirmed_at, "steps": one.steps,
        }
        for one in outcomes
    ]  # fmt: skip
    await connection.execute(_WRITE, [_document(rows)])


async def insert_steps(connection: Connection, steps: Sequence[StepRow]) -> None:
    """Append decisions."""
    await connection.execute(_INSERT_STEPS, [_document(steps)])


async def last_steps(
    connection: Connection, customer: str, outcome_id: str, limit: int
) -> list[StepRow]:
    """The last `limit` decisions about an outcome, in order."""
    cursor = await connection.execute(_STEPS, [customer, outcome_id, limit])
    rows = await cursor.fetchall()
    return [StepRow(*(*row[:9], row[9].astimezone(UTC))) for row in reversed(rows)]


async def page(
    connection: Connection,
    *,
    customer: str | None,
    state: State | None,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Outcome]:
    """Outcomes by customer and id, after `after`; None stands for any."""
    conditions = ["true"]
    if customer is not None:
        conditions.append("o.customer = %(customer)s")
    if state is not None:
        # In the text, so that the index of undecided ones can be used.
        conditions.append(f"o.state = '{_known(state)}'")
    if after is not None:
        conditions.append("(o.customer, o.id) > (%(customer_after)s, %(id_after)s)")
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM outcome o WHERE {" AND ".join(conditions)}
        ORDER BY o.customer, o.id LIMIT %(limit)s
        """,
        {
            "customer": customer,
            "customer_after": after[0] if after else None,
            "id_after": after[1] if after else None,
            "limit": limit,
        },
    )
    return [_outcome_of(row) for row in await cursor.fetchall()]


def _known(state: State) -> State:
    assert state in ("pending", "confirmed", "partial", "disputed", "failed", "reversed"), state
    return state


async def due(
    connection: Connection, at: datetime, limit: int, *, without: Iterable[str]
) -> Mapping[str, list[str]]:
    """The ids, by customer, of up to `limit` outcomes that confirm themselves by `at`, the
    earliest first; none of the customers `without`.
    """
    cursor = await connection.execute(_DUE, {"at": at, "limit": limit, "without": list(without)})
    found: dict[str, list[str]] = {}
    for customer, outcome_id in await cursor.fetchall():
        found.setdefault(customer, []).append(outcome_id)
    return found


async def next_due(connection: Connection) -> datetime | None:
    """The earliest instant, maybe past, at which an outcome confirms itself."""
    cursor = await connection.execute(
        "SELECT min(confirm_at) FROM outcome WHERE confirm_at IS NOT NULL"
    )
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None
