"""The SQL of percentiles: how often each value came in a segment, and the value at a rank.

Owns `usage_value`, and the quantity of those totals that are one of these values. A segment's row
of `usage_total` is changed, and so locked, before its values are, so that whoever reads the value
at a rank reads all that were counted.
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
_UPSERT_VALUES = f"""
INSERT INTO usage_value AS v ({_KEYS}, value, events)
SELECT {_KEYS}, value, events
FROM json_to_recordset(%s) AS r (customer text, subscription text, price text,
    period_start timestamptz, meter text, version integer, dimensions text, value numeric,
    events bigint)
ON CONFLICT ({_KEYS}, value) DO UPDATE SET events = v.events + EXCLUDED.events
"""
_OF_TOTAL = """
v.customer = t.customer AND v.subscription = t.subscription AND v.price = t.price
    AND v.period_start = t.period_start AND v.meter = t.meter AND v.version = t.version
    AND v.dimensions = t.dimensions
"""
# The values are walked in the order of the key from the nearer end, up to the rank.
_RANK = f"""
UPDATE usage_total AS t SET quantity = CASE WHEN t.events = 0 THEN 0 WHEN r.percentile < 0.5 THEN (
    SELECT value FROM (
        SELECT v.value,
            sum(v.events) OVER (ORDER BY v.value ROWS UNBOUNDED PRECEDING) AS reached
        FROM usage_value v WHERE {_OF_TOTAL}
    ) w WHERE reached >= ceil(r.percentile * t.events) ORDER BY value LIMIT 1
) ELSE (
    SELECT value FROM (
        SELECT v.value,
            sum(v.events) OVER (ORDER BY v.value DESC ROWS UNBOUNDED PRECEDING) AS reached
        FROM usage_value v WHERE {_OF_TOTAL}
    ) w WHERE reached > t.events - ceil(r.percentile * t.events) ORDER BY value DESC LIMIT 1
) END
FROM json_to_recordset(%s) AS r (customer text, subscription text, price text,
    period_start timestamptz, meter text, version integer, dimensions text, percentile numeric)
WHERE t.customer = r.customer AND t.subscription = r.subscription AND t.price = r.price
    AND t.period_start = r.period_start AND t.meter = r.meter AND t.version = r.version
    AND t.dimensions = r.dimensions
RETURNING t.customer, t.subscription, t.price, t.period_start, t.dimensions, t.quantity
"""


class ValueRow(msgspec.Struct, frozen=True, gc=False):
    """How often a batch adds a value to a segment."""

    customer: str
    subscription: str
    price: str
    period_start: datetime
    meter: str
    version: int
    dimensions: str
    value: Decimal | int
    events: int


class RankRow(msgspec.Struct, frozen=True, gc=False):
    """Which value of a segment its total is."""

    customer: str
    subscription: str
    price: str
    period_start: datetime
    meter: str
    version: int
    dimensions: str
    percentile: Decimal


async def send_values(
    connection: Connection, rows: Sequence[ValueRow], ranks: Sequence[RankRow]
) -> Cursor:
    """Add values to segments whose totals were just changed, and set these to the value at their
    rank; `with_ranks` reads the answer.
    """
    await connection.execute(_UPSERT_VALUES, [document(rows)])
    return await connection.execute(_RANK, [document(ranks)], binary=True)


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
