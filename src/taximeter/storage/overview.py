"""Reading what many customers used since an instant, from hourly buckets."""

from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]

_USED = """
SELECT k.customer, k.meter, k.since, b.dimensions, sum(b.quantity), sum(b.events)
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS k (customer, meter, since)
JOIN usage_bucket b
    ON b.customer = k.customer AND b.meter = k.meter AND b.bucket_start >= k.since
GROUP BY 1, 2, 3, 4
"""


class Since(NamedTuple):
    """Whose usage of which meter, in hours that begin at `since` or later."""

    customer: str
    meter: str
    since: datetime


class Used(NamedTuple):
    """What was used with these dimension values, by how many events. `quantity` says something
    only of meters whose quantities add up.
    """

    dimensions: str
    quantity: Decimal
    events: int


async def used_since(connection: Connection, wanted: Collection[Since]) -> dict[Since, list[Used]]:
    """What was used, apart by dimension values; what was not used is left out."""
    found: dict[Since, list[Used]] = {}
    if wanted:
        columns = [list(column) for column in zip(*wanted, strict=True)]
        cursor = await connection.execute(_USED, columns)
        for row in await cursor.fetchall():
            key = Since(row[0], row[1], row[2].astimezone(UTC))
            found.setdefault(key, []).append(Used(row[3], row[4], int(row[5])))
    return found
