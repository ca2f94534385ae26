"""Reading rows of `event`, and accepting those that were quarantined.

Owns their form as domain events and as what clients read. Here only their status changes: an
accepted one that was quarantined before keeps the reason, as its history. Correcting them is
corrections.py.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.metering.event import Event, decode_number

Connection = AsyncConnection[tuple[Any, ...]]
Identity = tuple[str, str, str]
Position = tuple[str, datetime, str, str]

EVENT_COLUMNS = """
e.customer, e.source, e.id, e.type, e.time, e.received_at, e.path, e.subscription, e.data::text,
e.attributes::text, encode(e.digest, 'hex'), e.status, e.reason, e.counted_at
"""
_ORDER = "e.customer, e.time, e.source, e.id"
_AFTER = """
(e.customer, e.time, e.source, e.id)
    > (%(customer_after)s, %(time_after)s, %(source_after)s, %(id_after)s)
"""
_ACCEPT = """
UPDATE event AS e SET status = 'accepted', counted_at = %s
FROM unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, id)
WHERE e.customer = k.customer AND e.source = k.source AND e.id = k.id AND e.status = 'quarantined'
RETURNING e.customer, e.source, e.id
"""
_SET_COUNTED_AT = """
UPDATE event AS e SET counted_at = %s
FROM unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, id)
WHERE e.customer = k.customer AND e.source = k.source AND e.id = k.id
"""
_OF_IDENTITIES = f"""
SELECT {EVENT_COLUMNS} FROM event e
JOIN unnest(%s::text[], %s::text[], %s::text[]) AS k (customer, source, id)
    ON e.customer = k.customer AND e.source = k.source AND e.id = k.id
"""
_SET_REASONS = """
UPDATE event AS e SET reason = k.reason
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS k (customer, source, id, reason)
WHERE e.customer = k.customer AND e.source = k.source AND e.id = k.id AND e.status = 'quarantined'
"""
# What an event waits for has appeared, or it waits for nothing that could appear.
_HOPEFUL = """
CASE e.reason
    WHEN 'unknown_customer' THEN EXISTS (SELECT FROM customer c WHERE c.customer = e.customer)
    WHEN 'no_meter' THEN e.type = ANY(%(metered)s)
    WHEN 'unknown_subscription' THEN EXISTS (
        SELECT FROM subscription s
        WHERE s.customer = e.customer AND e.subscription IN (s.id, s.key)
    )
    ELSE %(others)s
END
"""

# The content of an event is read only where somebody's prices may apply to it.
_WAITING = """
SELECT e.customer, e.type, e.time, e.source, e.id, e.subscription, e.reason,
    CASE WHEN e.type = ANY(%(metered)s)
            AND EXISTS (SELECT FROM customer c WHERE c.customer = e.customer)
        THEN e.data::text END
FROM event e WHERE {conditions} ORDER BY {order} LIMIT %(limit)s
"""

_decode = msgspec.json.Decoder(float_hook=decode_number).decode


class StoredEvent(NamedTuple):
    """An event and what became of it. `reason` is why it is, or was, quarantined; `counted_at` as
    of when the meters read it, where that is not when it was received.
    """

    event: Event
    status: str
    reason: str | None
    counted_at: datetime | None = None


class WaitingEvent(NamedTuple):
    """An event in quarantine. `data` is None where there is no such customer, or no meter of the
    event's type.
    """

    customer: str
    type: str
    time: datetime
    source: str
    id: str
    subscription: str | None
    reason: str
    data: Mapping[str, Any] | None

    @property
    def position(self) -> Position:
        """Where it stands in lists."""
        return self.customer, self.time, self.source, self.id


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; None stands for any. Times are the events' own, `end` excluded."""

    customer: str | None = None
    type: str | None = None
    status: str | None = None
    start: datetime | None = None
    end: datetime | None = None


def stored_of(row: Sequence[Any]) -> StoredEvent:
    """The event in a row of `EVENT_COLUMNS`."""
    event = Event(
        row[0], row[1], row[2], row[3], row[4].astimezone(UTC), row[5].astimezone(UTC),
        data=_decode(row[8]), digest=row[10], path=row[6], subscription=row[7],
        attributes=_decode(row[9]) if row[9] else None,
    )  # fmt: skip
    return StoredEvent(event, row[11], row[12], row[13].astimezone(UTC) if row[13] else None)


async def find(
    connection: Connection, *, customer: str, source: str, event_id: str
) -> StoredEvent | None:
    """The event of this identity, if there is one."""
    cursor = await connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event e WHERE customer = %s AND source = %s AND id = %s",
        [customer, source, event_id],
    )
    row = await cursor.fetchone()
    return stored_of(row) if row else None


async def of_identities(
    connection: Connection, identities: Iterable[Identity]
) -> list[StoredEvent]:
    """Those of these events that are stored."""
    columns = [list(column) for column in zip(*identities, strict=True)]
    if not columns:
        return []
    cursor = await connection.execute(_OF_IDENTITIES, columns)
    return [stored_of(row) for row in await cursor.fetchall()]


async def page(
    connection: Connection, wanted: EventFilter, *, after: Position | None, limit: int
) -> list[StoredEvent]:
    """Events by customer, then time, source and id, after `after`."""
    conditions, parameters = _conditions(wanted, after)
    cursor = await connection.execute(
        f"SELECT {EVENT_COLUMNS} FROM event e WHERE {conditions} ORDER BY {_ORDER} LIMIT %(limit)s",
        {**parameters, "limit": limit},
    )
    return [stored_of(row) for row in await cursor.fetchall()]


async def waiting(
    connection: Connection,
    customer: str | None,
    *,
    metered: Collection[str],
    after: Position | None,
    limit: int,
) -> list[WaitingEvent]:
    """Events in quarantine of a customer or (None) of all, in the order of `page`; `metered` are
    the types that meters read.
    """
    conditions, parameters = _conditions(EventFilter(customer, status="quarantined"), after)
    cursor = await connection.execute(
        _WAITING.format(conditions=conditions, order=_ORDER),
        {**parameters, "metered": sorted(metered), "limit": limit},
    )
    return [
        WaitingEvent(
            row[0], row[1], row[2].astimezone(UTC), row[3], row[4], row[5], row[6],
            _decode(row[7]) if row[7] is not None else None,
        )
        for row in await cursor.fetchall()
    ]  # fmt: skip


async def releasable(
    connection: Connection,
    wanted: EventFilter,
    *,
    metered: Iterable[str],
    others: bool,
    after: Position | None,
    limit: int,
) -> list[StoredEvent]:
    """Quarantined events, in the order of `page`, without those that surely still wait: for a
    customer, for a subscription, or for a meter of a type that is not among `metered`. With
    `others` also those whose content was at fault.
    """
    conditions, parameters = _conditions(wanted, after)
    cursor = await connection.execute(
        f"""
        SELECT {EVENT_COLUMNS} FROM event e
        WHERE {conditions} AND e.status = 'quarantined' AND {_HOPEFUL}
        ORDER BY {_ORDER} LIMIT %(limit)s
        """,
        {**parameters, "metered": list(metered), "others": others, "limit": limit},
    )
    return [stored_of(row) for row in await cursor.fetchall()]


def _conditions(wanted: EventFilter, after: Position | None) -> tuple[str, Mapping[str, object]]:
    """Only what is asked for is in the text, so that a plan can use the index that fits."""
    conditions = {
        "e.customer = %(customer)s": wanted.customer,
        "e.type = %(type)s": wanted.type,
        "e.time >= %(start)s": wanted.start,
        "e.time < %(end)s": wanted.end,
    }
    texts = [text for text, value in conditions.items() if value is not None]
    if wanted.status is not None:
        assert wanted.status in ("accepted", "quarantined", "void"), wanted.status
        texts.append(f"e.status = '{wanted.status}'")
    parameters: dict[str, object] = {
        "customer": wanted.customer, "type": wanted.type,
        "start": wanted.start, "end": wanted.end,
    }  # fmt: skip
    if after is not None:
        texts.append(_AFTER)
        names = ("customer_after", "time_after", "source_after", "id_after")
        parameters.update(zip(names, after, strict=True))
    return " AND ".join(texts) or "true", parameters


async def accept(
    connection: Connection, identities: Sequence[Identity], at: datetime
) -> set[Identity]:
    """Accept these quarantined events, as the meters read them at the instant `at`; returns those
    that no other transaction has accepted.
    """
    if not identities:
        return set()
    columns = [list(column) for column in zip(*sorted(identities), strict=True)]
    cursor = await connection.execute(_ACCEPT, [at, *columns])
    return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}


async def set_counted_at(
    connection: Connection, identities: Sequence[Identity], at: datetime
) -> None:
    """Say that meters read these events, which this transaction inserted, as of `at`."""
    columns = [list(column) for column in zip(*sorted(identities), strict=True)]
    await connection.execute(_SET_COUNTED_AT, [at, *columns])


async def set_reasons(connection: Connection, reasons: Sequence[tuple[str, str, str, str]]) -> None:
    """Say why events are still quarantined: (customer, source, id, reason) each."""
    if reasons:
        columns = [list(column) for column in zip(*sorted(reasons), strict=True)]
        await connection.execute(_SET_REASONS, columns)


async def count_quarantined(connection: Connection, wanted: EventFilter) -> int:
    """How many of these events are quarantined."""
    conditions, parameters = _conditions(wanted, None)
    cursor = await connection.execute(
        f"SELECT count(*) FROM event e WHERE {conditions} AND e.status = 'quarantined'", parameters
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
