"""Reading which subscriptions are on a plan."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]
# Customer and id.
SubscriptionKey = tuple[str, str]

_ON_PLAN = """
SELECT DISTINCT p.customer, p.subscription FROM subscription_phase p
WHERE p.plan = %(plan)s
  AND (%(versions)s::integer[] IS NULL OR p.version = ANY(%(versions)s))
  AND (p.ends_at IS NULL OR p.ends_at > %(at)s)
  AND (%(customer)s::text IS NULL OR p.customer = %(customer)s)
  AND (%(ids)s::text[] IS NULL OR p.subscription = ANY(%(ids)s))
  AND (%(customer_after)s::text IS NULL
    OR (p.customer, p.subscription) > (%(customer_after)s, %(id_after)s))
ORDER BY p.customer, p.subscription LIMIT %(limit)s
"""


async def on_plan(
    connection: Connection,
    plan: str,
    *,
    versions: Sequence[int] | None,
    at: datetime,
    customer: str | None,
    ids: Sequence[str] | None,
    after: SubscriptionKey | None,
    limit: int,
) -> list[SubscriptionKey]:
    """The subscriptions that are on one of these versions (None: any) of the plan at `at` or
    later, by customer and id, after `after`; `customer` and `ids` restrict to some.
    """
    cursor = await connection.execute(
        _ON_PLAN,
        {
            "plan": plan,
            "versions": None if versions is None else list(versions),
            "at": at,
            "customer": customer,
            "ids": None if ids is None else list(ids),
            "customer_after": after[0] if after else None,
            "id_after": after[1] if after else None,
            "limit": limit,
        },
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def existing(connection: Connection, ids: Sequence[str], *, customer: str | None) -> set[str]:
    """Which of these ids are of a subscription (of this customer)."""
    cursor = await connection.execute(
        "SELECT id FROM subscription WHERE id = ANY(%s) AND (%s::text IS NULL OR customer = %s)",
        [list(ids), customer, customer],
    )
    return {row[0] for row in await cursor.fetchall()}
