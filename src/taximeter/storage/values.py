"""The SQL of percentiles: how often each value came in a segment, and the value at a rank.

Owns `usage_value`, and the quantity of those totals that are one of these values. A segment's row
of `usage_total` is changed, and so locked, before its values are, so that whoever reads the value
at a rank reads all that were counted.

A total knows how many events lie `below` the value that it is: so the rank is found by its
neighbours, and what a batch takes does not grow with the values that are there. Where `below` is
not known (NULL) all values are walked once.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import AsyncConnection, AsyncCursor

from taximeter.storage.ingestion import ChangedTotal, document

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

_KEYS = "customer, subscription, price, period_start, meter, version, dimensions"
_ROWS = """
json_to_recordset(%s) AS r (customer text, subscription text, price text,
    period_start timestamptz, meter text, version integer, dimensions text, percentile numeric,
    value numeric[], events bigint[])
"""
_OF_ROW = """
t.customer = r.customer AND t.subscription = r.subscription AND t.price = r.price
    AND t.period_start = r.period_start AND t.meter = r.meter AND t.version = r.version
    AND t.dimensions = r.dimensions
"""
_UPSERT_VALUES = f"""
INSERT INTO usage_value AS v ({_KEYS}, value, events)
SELECT {_KEYS}, u.value, u.events
FROM {_ROWS}, unnest(r.value, r.events) AS u (value, events)
ON CONFLICT ({_KEYS}, value) DO UPDATE SET events = v.events + EXCLUDED.events
"""
_SHIFT = f"""
UPDATE usage_total AS t SET below = t.below + (
    SELECT COALESCE(sum(u.events), 0) FROM unnest(r.value, r.events) AS u (value, events)
    WHERE u.value < t.quantity
)
FROM {_ROWS} WHERE {_OF_ROW}
"""
_OF_TOTAL = """
v.customer = t.customer AND v.subscription = t.subscription AND v.price = t.price
    AND v.period_start = t.period_start AND v.meter = t.meter AND v.version = t.version
    AND v.dimensions = t.dimensions
"""
_RANK = "ceil(r.percentile * t.events)"
# The values are walked in the order of the key, from where the total stood: up from its value, or
# down below it. Every event that a batch adds or takes moves the rank, or what lies below, by one
# place at most, so no more values are walked than the batch has events.
_UP = f"""
SELECT ARRAY[w.value, COALESCE(t.below, 0) + w.reached - w.events] FROM (
    SELECT v.value, v.events,
        sum(v.events) OVER (ORDER BY v.value ROWS UNBOUNDED PRECEDING) AS reached
    FROM usage_value v
    WHERE {_OF_TOTAL}
        AND v.value >= CASE WHEN t.below IS NULL THEN '-Infinity' ELSE t.quantity END
) w WHERE w.reached >= {_RANK} - COALESCE(t.below, 0) ORDER BY w.value LIMIT 1
"""
_DOWN = f"""
SELECT ARRAY[w.value, t.below - w.reached] FROM (
    SELECT v.value,
        sum(v.events) OVER (ORDER BY v.value DESC ROWS UNBOUNDED PRECEDING) AS reached
    FROM usage_value v
    WHERE {_OF_TOTAL} AND v.value < t.quantity
) w WHERE w.reached > t.below - {_RANK} ORDER BY w.value DESC LIMIT 1
"""
_MOVE = f"""
UPDATE usage_total AS t SET quantity = r.place[1], below = r.place[2]
FROM (
    SELECT t.customer, t.subscription, t.price, t.period_start, t.meter, t.version, t.dimensions,
        CASE WHEN t.events = 0 THEN ARRAY[0, 0]::numeric[]
            WHEN {_RANK} > COALESCE(t.below, 0) THEN ({_UP}) ELSE ({_DOWN}) END AS place
    FROM usage_total t JOIN {_ROWS} ON {_OF_ROW}
) r
WHERE {_OF_ROW}
RETURNING t.customer, t.subscription, t.price, t.period_start, t.dimensions, t.quantity
"""


class ValuesRow(msgspec.Struct, frozen=True, gc=False):
    """How often a batch adds each value to a segment, whose total is the one at `percentile`: of
    each of `value`, in their order, as many as `events` says at its place.
    """

    customer: str
    subscription: str
    price: str
    period_start: datetime
    meter: str
    version: int
    dimensions: str
    percentile: Decimal
    value: Sequence[Decimal | int]
    events: Sequence[int]


async def send_values(connection: Connection, rows: Sequence[ValuesRow]) -> Cursor:
    """Add values to segments whose totals were just changed, and set these to the value at their
    rank; `with_ranks` reads the answer.
    """
    found = [document(rows)]
    await connection.execute(_UPSERT_VALUES, found)
    await connection.execute(_SHIFT, found)
    return await connection.execute(_MOVE, found, binary=True)


async def with_ranks(cursor: Cursor, changed: Sequence[ChangedTotal]) -> list[ChangedTotal]:
    """These changed totals, with the quantities that `send_values` set."""
    ranked = {row[:5]: row[5] for row in await cursor.fetchall()}
    return [
        msgspec.structs.replace(total, quantity=ranked.get(key, total.quantity))
        for total in changed
        for key in [
            (total.customer, total.subscription, total.price, total.period_start, total.dimensions)
        ]
    ]
