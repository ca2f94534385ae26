"""The SQL of levels: what events set, what held over a span, and whose bills a change touches.

Owns `usage_level` and `level_change`. Integrates nothing: rows come in the order in which levels
follow each other, for domain/metering/level.py to fold.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.kernel.times import Period
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]

ROWS_PER_FETCH = 2_000

# Events are counted on the hope that all are new: a level that is there was sent in vain.
_INSERT_LEVELS = """
INSERT INTO usage_level (customer, meter, subscription, dimensions, time, received_at, event,
    source, id, value)
SELECT customer, meter, subscription, dimensions, time, received_at, decode(event, 'hex'), source,
    id, value
FROM json_to_recordset(%s) AS r (customer text, meter text, subscription text, dimensions text,
    time timestamptz, received_at timestamptz, event text, source text, id text, value numeric)
ON CONFLICT DO NOTHING
"""
# A change that is already noted leaves the row as it is.
_NOTE_CHANGES = """
INSERT INTO level_change AS c (customer, subscription, meter, since)
SELECT customer, subscription, meter, since FROM json_to_recordset(%s)
    AS r (customer text, subscription text, meter text, since timestamptz)
ON CONFLICT (customer, subscription, meter)
DO UPDATE SET since = EXCLUDED.since WHERE c.since > EXCLUDED.since
"""
# Each series of levels (subscription and dimensions) is found by one step in the key; of each, the
# level that held when the span began, then those that followed.
_HELD = """
WITH RECURSIVE series AS (
    (SELECT subscription, dimensions FROM usage_level
     WHERE customer = %(customer)s AND meter = %(meter)s
     ORDER BY subscription, dimensions LIMIT 1)
    UNION ALL
    SELECT n.subscription, n.dimensions FROM series s CROSS JOIN LATERAL (
        SELECT l.subscription, l.dimensions FROM usage_level l
        WHERE l.customer = %(customer)s AND l.meter = %(meter)s
            AND (l.subscription, l.dimensions) > (s.subscription, s.dimensions)
        ORDER BY l.subscription, l.dimensions LIMIT 1
    ) n
)
SELECT s.subscription, s.dimensions, h.time, h.value
FROM series s CROSS JOIN LATERAL (
    (SELECT NULL::timestamptz AS time, NULL::timestamptz AS received_at, l.source, l.id, l.value
     FROM usage_level l
     WHERE NOT %(signed)s AND l.customer = %(customer)s AND l.meter = %(meter)s
         AND l.subscription = s.subscription AND l.dimensions = s.dimensions
         AND l.time < %(start)s
     ORDER BY l.time DESC, l.received_at DESC, l.source DESC, l.id DESC LIMIT 1)
    UNION ALL
    (SELECT NULL, NULL, '', '', sum(l.value)
     FROM usage_level l
     WHERE %(signed)s AND l.customer = %(customer)s AND l.meter = %(meter)s
         AND l.subscription = s.subscription AND l.dimensions = s.dimensions
         AND l.time < %(start)s
     HAVING count(*) > 0)
    UNION ALL
    (SELECT l.time, l.received_at, l.source, l.id, l.value
     FROM usage_level l
     WHERE l.customer = %(customer)s AND l.meter = %(meter)s
         AND l.subscription = s.subscription AND l.dimensions = s.dimensions
         AND l.time >= %(start)s AND l.time < %(end)s)
) h
WHERE %(subscription)s::text IS NULL OR s.subscription IN ('', %(subscription)s)
ORDER BY s.subscription, s.dimensions, h.time NULLS FIRST, h.received_at, h.source, h.id
"""


class LevelRow(msgspec.Struct, frozen=True):
    """What one event set; `event` is its digest in hexadecimal."""

    customer: str
    meter: str
    subscription: str
    dimensions: str
    time: datetime
    received_at: datetime
    event: str
    source: str
    id: str
    value: Decimal | int


class ChangeRow(msgspec.Struct, frozen=True):
    """Since when the levels behind a subscription's bills changed."""

    customer: str
    subscription: str
    meter: str
    since: datetime


class Held(NamedTuple):
    """A level of one series: `subscription` is that which its events named, or empty. `time` None:
    what held (of a signed meter, what all changes added up to) when the span began.
    """

    subscription: str
    dimensions: str
    time: datetime | None
    value: Decimal


async def send_levels(
    connection: Connection, rows: Sequence[LevelRow], changes: Sequence[ChangeRow]
) -> None:
    """Add what new events set, and note whose bills it may touch."""
    await connection.execute(_INSERT_LEVELS, [document(rows)])
    if changes:
        await note_changes(connection, changes)


async def note_changes(connection: Connection, changes: Sequence[ChangeRow]) -> None:
    """Note whose bills a change may touch, of several the earliest; sorted by their key."""
    await connection.execute(_NOTE_CHANGES, [document(changes)])


async def level_meters(connection: Connection, keys: Sequence[str]) -> dict[str, Meter]:
    """Those of these meters that measure a level, in their newest version."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT ON (key) key, version, document FROM meter
        WHERE key = ANY(%s) AND document ->> 'aggregation' = 'weighted_sum'
        ORDER BY key, version DESC
        """,
        [list(keys)],
    )
    return {
        key: parse_meter(key, body, version=version)
        for key, version, body in await cursor.fetchall()
    }


async def levels_in(
    connection: Connection, customer: str, meter: Meter, subscription: str | None, span: Period
) -> AsyncGenerator[Held, None]:
    """The levels that held in `span`, series by series, in the order in which they followed each
    other; of events that named no subscription or this one (None: any). They are fetched as they
    are read, so that their number takes no memory.
    """
    async with connection.cursor(name="levels") as cursor:
        cursor.itersize = ROWS_PER_FETCH
        await cursor.execute(
            _HELD,
            {
                "customer": customer, "meter": meter.key, "subscription": subscription,
                "signed": meter.signed, "start": span.start, "end": span.end,
            },
        )  # fmt: skip
        async for tag, dimensions, time, value in cursor:
            yield Held(tag, dimensions, time.astimezone(UTC) if time else None, value)


async def changed_levels(
    connection: Connection, customer: str, subscription: str
) -> list[tuple[str, datetime]]:
    """The meters whose levels changed since the subscription's last final invoice, and from when
    on.
    """
    cursor = await connection.execute(
        """
        SELECT meter, since FROM level_change WHERE customer = %s AND subscription = %s
        ORDER BY meter
        """,
        [customer, subscription],
    )
    return [(meter, since.astimezone(UTC)) for meter, since in await cursor.fetchall()]


async def take_changes(
    connection: Connection, customer: str, subscription: str
) -> list[tuple[str, datetime]]:
    """As `changed_levels`, and forget them: the invoice being finalized looks at all of it.

    Comes before the levels are read: a change that is forgotten is committed and will be read.
    """
    cursor = await connection.execute(
        "DELETE FROM level_change WHERE customer = %s AND subscription = %s RETURNING meter, since",
        [customer, subscription],
    )
    return sorted((meter, since.astimezone(UTC)) for meter, since in await cursor.fetchall())


async def next_level(
    connection: Connection, customer: str, meter: str, at: datetime
) -> datetime | None:
    """The time of the first level set at `at` or later."""
    cursor = await connection.execute(
        "SELECT min(time) FROM usage_level WHERE customer = %s AND meter = %s AND time >= %s",
        [customer, meter, at],
    )
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


async def customers_from(
    connection: Connection, customer: str, meter: str, before: datetime, limit: int
) -> list[str]:
    """Customers of whom a level was set before `before`, by key, from `customer` on."""
    cursor = await connection.execute(
        """
        SELECT c.customer FROM customer c WHERE c.customer >= %s AND EXISTS (
            SELECT FROM usage_level l
            WHERE l.customer = c.customer AND l.meter = %s AND l.time < %s
        )
        ORDER BY c.customer LIMIT %s
        """,
        [customer, meter, before, limit],
    )
    return [row[0] for row in await cursor.fetchall()]
