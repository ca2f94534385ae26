"""Rows of `subscription` and `subscription_phase`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from taximeter.domain.subscription.subscription import Subscription
from taximeter.storage.phases import deal_json, quantities_json, said_json
from taximeter.storage.terms import SUBSCRIPTION_COLUMNS, subscriptions_of

Connection = AsyncConnection[tuple[Any, ...]]

_JOINED = """
FROM subscription s
JOIN subscription_phase p ON p.customer = s.customer AND p.subscription = s.id
JOIN plan_version v ON v.plan = p.plan AND v.version = p.version
"""
_PUT = """
INSERT INTO subscription (customer, id, key, anchor_local, timezone, starts_at, ends_at,
    cancelled_at, term_ends_at, credit_unused, net_terms_days, created_at, next_boundary, term)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (customer, id) DO UPDATE SET ends_at = EXCLUDED.ends_at,
    cancelled_at = EXCLUDED.cancelled_at, term_ends_at = EXCLUDED.term_ends_at,
    credit_unused = EXCLUDED.credit_unused, next_boundary = EXCLUDED.next_boundary
"""
_PUT_PHASE = """
INSERT INTO subscription_phase
    (customer, subscription, starts_at, ends_at, plan, version, quantities, proration, deal, said)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_PAGE = """
SELECT customer, id FROM subscription
WHERE (%(customer)s::text IS NULL OR customer = %(customer)s)
  AND (%(customer_after)s::text IS NULL OR (customer, id) > (%(customer_after)s, %(id_after)s))
ORDER BY customer, id LIMIT %(limit)s
"""


async def find(
    connection: Connection, subscription_id: str, *, customer: str | None = None
) -> Subscription | None:
    """The subscription with this id, if there is one (and it is this customer's)."""
    cursor = await connection.execute(
        f"""
        SELECT {SUBSCRIPTION_COLUMNS} {_JOINED}
        WHERE s.id = %s AND (%s::text IS NULL OR s.customer = %s) ORDER BY p.starts_at
        """,
        [subscription_id, customer, customer],
    )
    found = subscriptions_of(await cursor.fetchall())
    return next((one for group in found.values() for one in group), None)


async def lock(connection: Connection, subscription: Subscription) -> datetime | None:
    """Lock a subscription's row; returns its next billing boundary as stored."""
    cursor = await connection.execute(
        "SELECT next_boundary FROM subscription WHERE customer = %s AND id = %s FOR UPDATE",
        [subscription.customer, subscription.id],
    )
    row = await cursor.fetchone()
    assert row is not None, "a subscription is never deleted"
    return row[0].astimezone(UTC) if row[0] else None


async def key_taken(connection: Connection, customer: str, key: str) -> bool:
    """Whether the customer has a subscription of this key."""
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM subscription WHERE customer = %s AND key = %s)",
        [customer, key],
    )
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])


async def put(
    connection: Connection, subscription: Subscription, next_boundary: datetime | None
) -> None:
    """Insert or replace a subscription and its phases."""
    s = subscription
    await connection.execute(
        _PUT,
        [
            s.customer, s.id, s.key, s.anchor.local, s.anchor.timezone, s.starts_at, s.ends_at,
            s.cancelled_at, s.term_ends_at, s.credit_unused, s.net_terms_days, s.created_at,
            next_boundary, s.term.text if s.term else None,
        ],
    )  # fmt: skip
    await connection.execute(
        "DELETE FROM subscription_phase WHERE customer = %s AND subscription = %s",
        [s.customer, s.id],
    )
    for phase in s.phases:
        said = said_json(phase.said)
        await connection.execute(
            _PUT_PHASE,
            [
                s.customer, s.id, phase.starts_at, phase.ends_at, phase.plan.key,
                phase.plan.version, Jsonb(quantities_json(phase.quantities)), phase.proration,
                Jsonb(deal_json(phase.deal)), None if said is None else Jsonb(said),
            ],
        )  # fmt: skip


async def set_next_boundary(
    connection: Connection, subscription: Subscription, at: datetime | None
) -> None:
    """Write when the subscription is billed next (None: never again)."""
    await connection.execute(
        "UPDATE subscription SET next_boundary = %s WHERE customer = %s AND id = %s",
        [at, subscription.customer, subscription.id],
    )


async def page(
    connection: Connection, *, customer: str | None, after: tuple[str, str] | None, limit: int
) -> list[Subscription]:
    """Subscriptions by customer and id."""
    cursor = await connection.execute(
        _PAGE,
        {
            "customer": customer,
            "customer_after": after[0] if after else None,
            "id_after": after[1] if after else None,
            "limit": limit,
        },
    )
    return await _load(connection, await cursor.fetchall())


async def of_customer(connection: Connection, customer: str) -> list[Subscription]:
    """All subscriptions of a customer, oldest first."""
    cursor = await connection.execute(
        f"""
        SELECT {SUBSCRIPTION_COLUMNS} {_JOINED} WHERE s.customer = %s
        ORDER BY s.created_at, s.id, p.starts_at
        """,
        [customer],
    )
    return subscriptions_of(await cursor.fetchall()).get(customer, [])


async def due(connection: Connection, at: datetime, limit: int) -> list[tuple[str, str]]:
    """Subscriptions (customer, id) with a billing boundary at or before `at`, earliest first."""
    cursor = await connection.execute(
        """
        SELECT customer, id FROM subscription WHERE next_boundary <= %s
        ORDER BY next_boundary, customer, id LIMIT %s
        """,
        [at, limit],
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def next_boundaries(connection: Connection, customer: str) -> dict[str, datetime]:
    """The next billing boundary of each subscription of a customer that has one, by id."""
    cursor = await connection.execute(
        """
        SELECT id, next_boundary FROM subscription
        WHERE customer = %s AND next_boundary IS NOT NULL
        """,
        [customer],
    )
    return {row[0]: row[1].astimezone(UTC) for row in await cursor.fetchall()}


async def next_due(connection: Connection) -> datetime | None:
    """The earliest billing boundary of any subscription."""
    cursor = await connection.execute("SELECT min(next_boundary) FROM subscription")
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


async def _load(connection: Connection, keys: Sequence[tuple[Any, ...]]) -> list[Subscription]:
    found = []
    for customer, subscription_id in keys:
        subscription = await find(connection, subscription_id, customer=customer)
        assert subscription is not None, "a subscription is never deleted"
        found.append(subscription)
    return found
