"""The SQL of checking books: what rows say beside what their entries come to.

Each statement names one customer and answers with its first difference only, so that it takes no
memory however much the customer has. Must not lock, write, or decide what a difference means.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]
BucketKey = tuple[str, datetime, str]

_CUSTOMERS = """
SELECT customer FROM customer
WHERE (%(start)s::text IS NULL OR customer >= %(start)s)
  AND (%(after)s::text IS NULL OR customer > %(after)s)
ORDER BY customer LIMIT %(limit)s
"""
_GRANTS = """
SELECT COALESCE(g.id, e.grant_id) COLLATE "C" AS name, g.remaining, e.amount
FROM (
    SELECT id, asset, remaining FROM credit_grant WHERE customer = %(customer)s
) g
FULL JOIN (
    SELECT grant_id, asset, sum(amount) AS amount FROM wallet_entry
    WHERE customer = %(customer)s AND grant_id IS NOT NULL GROUP BY grant_id, asset
) e ON e.grant_id = g.id AND e.asset = g.asset
WHERE g.remaining IS DISTINCT FROM e.amount ORDER BY name LIMIT 1
"""
_DEBTS = """
SELECT COALESCE(w.asset, e.asset) COLLATE "C" AS name, w.debt, -e.amount
FROM (
    SELECT asset, debt FROM wallet WHERE customer = %(customer)s
) w
FULL JOIN (
    SELECT asset, sum(amount) AS amount FROM wallet_entry
    WHERE customer = %(customer)s AND grant_id IS NULL GROUP BY asset
) e ON e.asset = w.asset
WHERE COALESCE(w.debt, 0) <> COALESCE(-e.amount, 0) ORDER BY name LIMIT 1
"""
# A hold that expired by `swept_until` has been taken out of the counters.
_COUNTERS = """
SELECT COALESCE(a.name, h.name) COLLATE "C" AS name, a.amount, h.amount
FROM (
    SELECT c.key AS name, c.value::numeric AS amount
    FROM hold_account o CROSS JOIN LATERAL json_each_text(o.counters) c
    WHERE o.customer = %(customer)s AND c.key NOT LIKE 'r:%%'
) a
FULL JOIN (
    SELECT c.key AS name, sum(c.value::numeric) AS amount
    FROM hold o LEFT JOIN hold_account s ON s.customer = o.customer
    CROSS JOIN LATERAL json_each_text(o.counters) c
    WHERE o.customer = %(customer)s AND o.state = 'open'
        AND o.expires_at > COALESCE(s.swept_until, '-infinity')
    GROUP BY c.key
) h ON h.name = a.name
WHERE COALESCE(a.amount, 0) <> COALESCE(h.amount, 0) ORDER BY name LIMIT 1
"""
# What a rate has counted in a window: not more than holds were placed for then. It may be less,
# where the rate came to hold within the window.
_RATES = """
SELECT r.name, r.amount, h.amount
FROM (
    SELECT c.key AS name, c.value::numeric AS amount, p.parts[1] AS feature, t.step,
        timestamptz '1970-01-01 00:00:00+00' + p.parts[3]::bigint * t.step AS start
    FROM hold_account o CROSS JOIN LATERAL json_each_text(o.counters) c
    CROSS JOIN LATERAL (
        SELECT regexp_match(c.key, '^r:(.*):(second|minute|hour):([0-9]+)$') AS parts
    ) p
    CROSS JOIN LATERAL (SELECT ('1 ' || p.parts[2])::interval AS step) t
    WHERE o.customer = %(customer)s AND c.key LIKE 'r:%%'
) r
CROSS JOIN LATERAL (
    SELECT COALESCE(sum(quantity), 0) AS amount FROM hold
    WHERE customer = %(customer)s AND feature = r.feature
        AND placed_at >= r.start AND placed_at < r.start + r.step
) h
WHERE r.amount > h.amount ORDER BY r.name LIMIT 1
"""
_STATES = """
SELECT id, state, CASE WHEN resolution IS NULL THEN 'open' ELSE 'resolved' END FROM hold
WHERE customer = %(customer)s
  AND ((state = 'open') <> (resolution IS NULL) OR (state = 'open') <> (resolved_at IS NULL))
ORDER BY id LIMIT 1
"""
_STILL_RESERVED = """
SELECT id, counters::text, '{}' FROM hold
WHERE customer = %(customer)s AND state <> 'open' AND counters::text <> '{}' ORDER BY id LIMIT 1
"""
# What a capture by events charged stands in entries that name the price, not the hold: a hold may
# have captured more than the entries that name it, never less.
_CAPTURED = """
SELECT e.ref || ', ' || e.asset, (h.captured ->> e.asset)::numeric, e.drawn
FROM (
    SELECT ref, asset, -sum(amount) AS drawn FROM wallet_entry
    WHERE customer = %(customer)s AND ref >= 'hold_' AND ref < 'hold`' GROUP BY ref, asset
) e
LEFT JOIN hold h ON h.customer = %(customer)s AND h.id = e.ref
WHERE COALESCE((h.captured ->> e.asset)::numeric, 0) < e.drawn ORDER BY e.ref, e.asset LIMIT 1
"""
_USED = """
SELECT COALESCE(a.id, u.approval) COLLATE "C" AS name, a.used::numeric, u.holds::numeric
FROM (
    SELECT id, used FROM approval WHERE customer = %(customer)s AND used > 0
) a
FULL JOIN (
    SELECT approval, count(*) AS holds FROM approval_use
    WHERE customer = %(customer)s GROUP BY approval
) u ON u.approval = a.id
WHERE a.used IS DISTINCT FROM u.holds ORDER BY name LIMIT 1
"""
_FEW_EVENTS = """
SELECT count(*) + (
    SELECT coalesce(sum(rows), 0) FROM archive_part WHERE customer = %(customer)s
) FROM (
    SELECT FROM event WHERE customer = %(customer)s AND status = 'accepted' LIMIT %(limit)s
) e
"""
_RECEIVED = """
SELECT EXISTS (
    SELECT FROM event WHERE customer = %(customer)s AND status = 'accepted'
        AND counted_at IS NULL
        AND (received_at = ANY(%(instants)s) OR %(waited)s AND reason IS NOT NULL)
)
"""
_BUCKETS = """
SELECT meter, bucket_start, dimensions, sum(events),
    sum(quantity) FILTER (WHERE aggregation IN ('sum', 'count'))
FROM usage_bucket WHERE customer = %s GROUP BY meter, bucket_start, dimensions
"""


class Check(NamedTuple):
    """A comparison: of which objects, what of them, and the statement that finds the first whose
    row (second column) is not what its entries come to (third column).
    """

    kind: str
    field: str
    statement: str


CHECKS = (
    Check("grant", "remaining", _GRANTS),
    Check("wallet", "debt", _DEBTS),
    Check("hold account", "counter", _COUNTERS),
    Check("hold account", "rate", _RATES),
    Check("hold", "state", _STATES),
    Check("hold", "counters", _STILL_RESERVED),
    Check("hold", "captured", _CAPTURED),
    Check("approval", "used", _USED),
)


class Unequal(NamedTuple):
    """An object whose row is not what its entries come to; None: there is no row, or no entry."""

    name: str
    stored: Decimal | str | None
    recomputed: Decimal | str | None


class Bucket(NamedTuple):
    """An hour of usage, meter versions added up: its events, and its quantity where the meter adds
    up (else None).
    """

    events: int
    quantity: Decimal | None


async def customers_from(
    connection: Connection, *, start: str | None, after: str | None, limit: int
) -> list[str]:
    """Keys of customers, in order, from `start` on and after `after`."""
    cursor = await connection.execute(_CUSTOMERS, {"start": start, "after": after, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def count_customers(connection: Connection, start: str | None) -> int:
    """How many customers there are from `start` on."""
    cursor = await connection.execute(
        "SELECT count(*) FROM customer WHERE %(start)s::text IS NULL OR customer >= %(start)s",
        {"start": start},
    )
    row = await cursor.fetchone()
    assert row is not None, "a count has a row"
    return int(row[0])


async def first_unequal(connection: Connection, customer: str, check: Check) -> Unequal | None:
    """The first object of a customer's that differs."""
    cursor = await connection.execute(check.statement, {"customer": customer})
    row: Sequence[Any] | None = await cursor.fetchone()
    return Unequal(*row) if row is not None else None


async def has_more_events(connection: Connection, customer: str, count: int) -> bool:
    """Whether more than `count` events of the customer are accepted, those in files
    among them; reads no more than that.
    """
    cursor = await connection.execute(_FEW_EVENTS, {"customer": customer, "limit": count + 1})
    row = await cursor.fetchone()
    return row is not None and row[0] > count


async def has_received_at(
    connection: Connection, customer: str, instants: Collection[datetime], *, waited: bool
) -> bool:
    """Whether an accepted event of the customer, which does not say when it was counted, was
    received at one of these instants; `waited`: or was quarantined first.
    """
    cursor = await connection.execute(
        _RECEIVED, {"customer": customer, "instants": list(instants), "waited": waited}
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def buckets(connection: Connection, customer: str) -> dict[BucketKey, Bucket]:
    """All hours of a customer's usage, by meter, start and dimensions."""
    cursor = await connection.execute(_BUCKETS, [customer])
    return {
        (row[0], row[1].astimezone(UTC), row[2]): Bucket(int(row[3]), row[4])
        for row in await cursor.fetchall()
    }
