"""Rows of `webhook_endpoint` and `webhook_delivery`: who is told, and how it went."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]
DeliveryState = Literal["pending", "delivered", "failed"]

_ENDPOINT = "id, url, events, created_at, disabled_at, disabled_reason"
_FIND_ENDPOINT = f"SELECT {_ENDPOINT} FROM webhook_endpoint WHERE id = %s AND deleted_at IS NULL"
_LOCK_ENDPOINT = f"{_FIND_ENDPOINT} FOR UPDATE"
_PAGE_ENDPOINTS = f"""
SELECT {_ENDPOINT} FROM webhook_endpoint
WHERE deleted_at IS NULL AND (%(after)s::text IS NULL OR id > %(after)s)
ORDER BY id LIMIT %(limit)s
"""
_OPEN_ENDPOINTS = f"""
SELECT {_ENDPOINT} FROM webhook_endpoint WHERE deleted_at IS NULL AND disabled_at IS NULL
ORDER BY id FOR SHARE
"""
_DISABLE = """
UPDATE webhook_endpoint SET disabled_at = %s, disabled_reason = %s
WHERE id = %s AND disabled_at IS NULL
"""
_DELETE = "UPDATE webhook_endpoint SET deleted_at = %s, disabled_at = %s WHERE id = %s"
_ABANDON = """
UPDATE webhook_delivery SET state = 'failed', next_at = NULL, answer_status = NULL,
    answer_text = %s
WHERE endpoint = %s AND state = 'pending'
"""
_INSERT_DELIVERIES = """
INSERT INTO webhook_delivery (id, message, endpoint, state, attempts, tries, next_at, created_at)
SELECT id, message, endpoint, 'pending', 0, 0, at, at
FROM json_to_recordset(%s) AS r (id text, message text, endpoint text, at timestamptz)
ON CONFLICT (message, endpoint) DO NOTHING
"""
_DELIVERY = """
d.id, d.message, d.endpoint, m.type, m.customer, d.state, d.attempts, d.created_at,
d.attempted_at, d.next_at, d.answer_status, d.answer_text
"""
_DELIVERIES = f"SELECT {_DELIVERY} FROM webhook_delivery d JOIN outbox m ON m.id = d.message"
_PAGE_DELIVERIES = f"""
{_DELIVERIES}
WHERE (%(endpoint)s::text IS NULL OR d.endpoint = %(endpoint)s)
  AND (%(state)s::text IS NULL OR d.state = %(state)s)
  AND (%(before)s::text IS NULL OR d.id < %(before)s)
ORDER BY d.id DESC LIMIT %(limit)s
"""
_DUE = """
SELECT endpoint FROM webhook_delivery WHERE state = 'pending' AND next_at <= %(at)s
    AND NOT endpoint = ANY(%(without)s)
GROUP BY endpoint ORDER BY min(next_at) LIMIT %(limit)s
"""
_CLAIM = """
UPDATE webhook_delivery d
SET attempts = d.attempts + 1, tries = d.tries + 1, next_at = %(until)s, attempted_at = %(at)s
FROM outbox m, webhook_endpoint e
WHERE d.id = (
    SELECT id FROM webhook_delivery WHERE endpoint = %(endpoint)s AND state = 'pending'
        AND next_at <= %(at)s
    ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
) AND m.id = d.message AND e.id = d.endpoint
RETURNING d.id, d.message, d.attempts, d.tries, m.body, e.url, e.secret
"""
_DELIVERED = """
UPDATE webhook_delivery SET state = 'delivered', next_at = NULL, answer_status = %s,
    answer_text = %s
WHERE id = %s
"""
_MISSED = """
UPDATE webhook_delivery SET state = %s, next_at = %s, answer_status = %s, answer_text = %s
WHERE id = %s AND state = 'pending' AND attempts = %s
"""
_AGAIN = """
UPDATE webhook_delivery SET state = 'pending', tries = 0, next_at = created_at WHERE id = %s
"""
_FORGET = """
DELETE FROM webhook_delivery WHERE id IN (
    SELECT id FROM webhook_delivery WHERE id < %s AND state <> 'pending' ORDER BY id LIMIT %s
)
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where messages of the types `events` (or `*`: of all) go. Its secret is asked for apart."""

    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None

    def wants(self, kind: str) -> bool:
        """Whether messages of this type are sent there."""
        return "*" in self.events or kind in self.events


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to an endpoint, as of its last attempt. Its times are real ones."""

    id: str
    message: str
    endpoint: str
    type: str
    customer: str | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    attempted_at: datetime | None
    next_at: datetime | None
    answer_status: int | None
    answer_text: str | None


class NewDelivery(NamedTuple):
    """A message to be sent to an endpoint, from `at` on."""

    id: str
    message: str
    endpoint: str
    at: datetime


class Claim(NamedTuple):
    """A delivery that is ours to try until its time has passed; `tries` counts since it was asked
    for last.
    """

    id: str
    message: str
    attempts: int
    tries: int
    body: str
    url: str
    secret: str


def _endpoint_of(row: Sequence[Any]) -> Endpoint:
    return Endpoint(
        row[0], row[1], tuple(row[2]), row[3].astimezone(UTC), _utc(row[4]), row[5]
    )  # fmt: skip


def _delivery_of(row: Sequence[Any]) -> Delivery:
    return Delivery(
        id=row[0], message=row[1], endpoint=row[2], type=row[3], customer=row[4], state=row[5],
        attempts=row[6], created_at=row[7].astimezone(UTC), attempted_at=_utc(row[8]),
        next_at=_utc(row[9]), answer_status=row[10], answer_text=row[11],
    )  # fmt: skip


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None


async def insert_endpoint(connection: Connection, endpoint: Endpoint, secret: str) -> None:
    """Add an endpoint."""
    await connection.execute(
        "INSERT INTO webhook_endpoint (id, url, events, secret, created_at) "
        "VALUES (%s, %s, %s, %s, %s)",
        [endpoint.id, endpoint.url, list(endpoint.events), secret, endpoint.created_at],
    )


async def find_endpoint(
    connection: Connection, endpoint_id: str, *, lock: bool = False
) -> Endpoint | None:
    """The endpoint with this id, unless it was deleted; with `lock` nobody else changes it."""
    cursor = await connection.execute(_LOCK_ENDPOINT if lock else _FIND_ENDPOINT, [endpoint_id])
    row = await cursor.fetchone()
    return _endpoint_of(row) if row else None


async def page_endpoints(
    connection: Connection, *, after: str | None, limit: int
) -> list[Endpoint]:
    """Endpoints by id, after `after`."""
    cursor = await connection.execute(_PAGE_ENDPOINTS, {"after": after, "limit": limit})
    return [_endpoint_of(row) for row in await cursor.fetchall()]


async def open_endpoints(connection: Connection) -> list[Endpoint]:
    """The endpoints to which something is sent; none of them ends before the transaction does."""
    cursor = await connection.execute(_OPEN_ENDPOINTS)
    return [_endpoint_of(row) for row in await cursor.fetchall()]


async def disable_endpoint(
    connection: Connection, endpoint_id: str, reason: str, at: datetime
) -> None:
    """Send nothing more to an endpoint; what was on its way is given up."""
    await connection.execute(_DISABLE, [at, reason, endpoint_id])
    await connection.execute(_ABANDON, [reason, endpoint_id])


async def delete_endpoint(
    connection: Connection, endpoint_id: str, reason: str, at: datetime
) -> None:
    """Forget an endpoint; its deliveries stay, and what was on its way is given up."""
    await connection.execute(_DELETE, [at, at, endpoint_id])
    await connection.execute(_ABANDON, [reason, endpoint_id])


async def insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery]) -> None:
    """Add deliveries; one that is there already is left as it is."""
    rows = [delivery._asdict() for delivery in deliveries]
    await connection.execute(_INSERT_DELIVERIES, [document(rows)])


async def find_delivery(connection: Connection, delivery_id: str) -> tuple[Delivery, str] | None:
    """The delivery with this id, and the body that it carries."""
    cursor = await connection.execute(
        f"SELECT {_DELIVERY}, m.body FROM webhook_delivery d JOIN outbox m ON m.id = d.message "
        "WHERE d.id = %s",
        [delivery_id],
    )
    row = await cursor.fetchone()
    return (_delivery_of(row[:-1]), row[-1]) if row else None


async def page_deliveries(
    connection: Connection,
    *,
    endpoint: str | None,
    state: DeliveryState | None,
    before: str | None,
    limit: int,
) -> list[Delivery]:
    """Deliveries, newest first, before `before`; to one endpoint, in one state."""
    cursor = await connection.execute(
        _PAGE_DELIVERIES,
        {"endpoint": endpoint, "state": state, "before": before, "limit": limit},
    )
    return [_delivery_of(row) for row in await cursor.fetchall()]


async def due(
    connection: Connection, at: datetime, limit: int, *, without: Collection[str]
) -> list[str]:
    """The endpoints to which something is to be sent by `at`, the longest waiting first."""
    cursor = await connection.execute(_DUE, {"at": at, "limit": limit, "without": list(without)})
    return [row[0] for row in await cursor.fetchall()]


async def claim(
    connection: Connection, endpoint_id: str, at: datetime, until: datetime
) -> Claim | None:
    """Count an attempt at the endpoint's first delivery that is due; nobody else tries it before
    `until`.
    """
    cursor = await connection.execute(_CLAIM, {"endpoint": endpoint_id, "at": at, "until": until})
    row = await cursor.fetchone()
    return Claim(*row) if row else None


async def set_delivered(connection: Connection, claim: Claim, status: int, text: str) -> None:
    """Note that the receiver has it, whatever became of the delivery meanwhile."""
    await connection.execute(_DELIVERED, [status, text, claim.id])


async def set_missed(
    connection: Connection, claim: Claim, status: int | None, text: str, next_at: datetime | None
) -> None:
    """Note a failed attempt: it is tried again at `next_at`, or (None) no more. Nothing is noted
    where it was tried or asked for again meanwhile.
    """
    state: DeliveryState = "pending" if next_at else "failed"
    await connection.execute(_MISSED, [state, next_at, status, text, claim.id, claim.attempts])


async def set_pending(connection: Connection, delivery_id: str) -> None:
    """Have a delivery made again, at once."""
    await connection.execute(_AGAIN, [delivery_id])


async def forget(connection: Connection, before: str, limit: int) -> None:
    """Delete deliveries that have ended, whose ids are before this one, the oldest first."""
    await connection.execute(_FORGET, [before, limit])
