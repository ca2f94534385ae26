"""Reading `usage_total`: what invoices and settlement rate."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]
Key = TypeVar("Key", bound=tuple[str, str, str, datetime])

# A total of which no event is left stays where a final invoice has counted it. It is no usage: what
# the first usage costs is not charged for it.
_SEGMENTS = """
SELECT t.customer, t.subscription, t.price, t.period_start, t.dimensions, sum(t.quantity)
FROM usage_total t
JOIN unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[])
    AS k (customer, subscription, price, period_start)
    ON t.customer = k.customer AND t.subscription = k.subscription AND t.price = k.price
    AND t.period_start = k.period_start
GROUP BY 1, 2, 3, 4, 5 HAVING sum(t.events) > 0 OR sum(t.quantity) <> 0
ORDER BY 1, 2, 3, 4, 5
"""


async def segment_totals(
    connection: Connection, keys: Sequence[Key]
) -> dict[tuple[str, str, str, datetime], list[tuple[str, Decimal]]]:
    """All totals of these segments of which an event is left: (dimensions, quantity) each, meter
    versions added up.
    """
    found: dict[tuple[str, str, str, datetime], list[tuple[str, Decimal]]] = defaultdict(list)
    if keys:
        columns = [list(column) for column in zip(*keys, strict=True)]
        cursor = await connection.execute(_SEGMENTS, columns)
        for row in await cursor.fetchall():
            found[row[0], row[1], row[2], row[3]].append((row[4], row[5]))
    return found


class LateTotal(NamedTuple):
    """A total that changed after its invoice was finalized."""

    price: str
    period_start: datetime
    period_end: datetime


async def late_totals(
    connection: Connection, customer: str, subscription: str, before: datetime
) -> list[LateTotal]:
    """Segments that ended by `before` whose totals differ from what invoices have counted."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT price, period_start, period_end FROM usage_total
        WHERE customer = %s AND subscription = %s AND period_end <= %s
          AND billed IS DISTINCT FROM quantity
        ORDER BY period_start, price
        """,
        [customer, subscription, before],
    )
    return [
        LateTotal(row[0], row[1].astimezone(UTC), row[2].astimezone(UTC))
        for row in await cursor.fetchall()
    ]


async def mark_billed(
    connection: Connection, customer: str, subscription: str, until: datetime
) -> list[LateTotal]:
    """Note that the invoice being finalized counts all totals of segments ended by `until`;
    returns the segments whose totals had changed since they were last counted.

    Comes before the totals are read to be rated: what is marked is locked and will be read. Usage
    that arrives in between may be rated without being marked, which costs a second look only.
    """
    cursor = await connection.execute(
        """
        UPDATE usage_total SET billed = quantity
        WHERE customer = %s AND subscription = %s AND period_end <= %s
          AND billed IS DISTINCT FROM quantity
        RETURNING price, period_start, period_end
        """,
        [customer, subscription, until],
    )
    found = {
        LateTotal(row[0], row[1].astimezone(UTC), row[2].astimezone(UTC))
        for row in await cursor.fetchall()
    }
    return sorted(found, key=lambda late: (late.period_start, late.price))
