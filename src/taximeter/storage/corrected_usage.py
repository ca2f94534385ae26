"""The SQL of taking usage back: rows of totals and hours set to what they come to, and those of
which nothing is left removed.

Decides nothing. Each statement names one customer.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.kernel.times import Period
from taximeter.storage.events import EVENT_COLUMNS, StoredEvent, stored_of
from taximeter.storage.ingestion import MemberRow, document
from taximeter.storage.levels import LevelRow

Connection = AsyncConnection[tuple[Any, ...]]


class TotalRowKey(NamedTuple):
    """Names a row of `usage_total` within its customer."""

    subscription: str
    price: str
    period_start: datetime
    meter: str
    version: int
    dimensions: str


class HourKey(NamedTuple):
    """Names a row of `usage_bucket` within its customer."""

    meter: str
    bucket_start: datetime
    version: int
    dimensions: str


class Folded(NamedTuple):
    """What a row of totals or hours says."""

    quantity: Decimal
    events: int
    latest: str | None


_TOTALS = """
unnest(%(c0)s::text[], %(c1)s::text[], %(c2)s::timestamptz[], %(c3)s::text[], %(c4)s::integer[],
    %(c5)s::text[]) AS k (subscription, price, period_start, meter, version, dimensions)
"""
_SAME_TOTAL = """
t.customer = %(customer)s AND t.subscription = k.subscription AND t.price = k.price
    AND t.period_start = k.period_start AND t.meter = k.meter AND t.version = k.version
    AND t.dimensions = k.dimensions
"""
_HOURS = """
unnest(%(c0)s::text[], %(c1)s::timestamptz[], %(c2)s::integer[], %(c3)s::text[])
    AS k (meter, bucket_start, version, dimensions)
"""
_SAME_HOUR = """
t.customer = %(customer)s AND t.meter = k.meter AND t.bucket_start = k.bucket_start
    AND t.version = k.version AND t.dimensions = k.dimensions
"""
_SET_TOTALS = """
UPDATE usage_total AS t SET quantity = r.quantity, events = r.events, latest = r.latest
FROM json_to_recordset(%s) AS r (subscription text, price text, period_start timestamptz,
    meter text, version integer, dimensions text, quantity numeric, events bigint, latest text)
WHERE t.customer = %s AND t.subscription = r.subscription AND t.price = r.price
    AND t.period_start = r.period_start AND t.meter = r.meter AND t.version = r.version
    AND t.dimensions = r.dimensions
"""
_SET_HOURS = """
UPDATE usage_bucket AS t SET quantity = r.quantity, events = r.events, latest = r.latest
FROM json_to_recordset(%s) AS r (meter text, bucket_start timestamptz, version integer,
    dimensions text, quantity numeric, events bigint, latest text)
WHERE t.customer = %s AND t.meter = r.meter AND t.bucket_start = r.bucket_start
    AND t.version = r.version AND t.dimensions = r.dimensions
"""
_DELETE_MEMBERS = """
DELETE FROM usage_member m
USING json_to_recordset(%s) AS r (customer text, subscription text, price text,
    period_start timestamptz, meter text, version integer, member bytea)
WHERE m.customer = r.customer AND m.subscription = r.subscription AND m.price = r.price
    AND m.period_start = r.period_start AND m.meter = r.meter AND m.version = r.version
    AND m.member = r.member
"""
_DELETE_LEVELS = """
DELETE FROM usage_level l
USING json_to_recordset(%s) AS r (customer text, meter text, subscription text, dimensions text,
    time timestamptz, received_at timestamptz, event text)
WHERE l.customer = r.customer AND l.meter = r.meter AND l.subscription = r.subscription
    AND l.dimensions = r.dimensions AND l.time = r.time AND l.received_at = r.received_at
    AND l.event = decode(r.event, 'hex')
"""


def _columns(customer: str, keys: Collection[tuple[Any, ...]]) -> dict[str, object]:
    columns = zip(*keys, strict=True)
    return {"customer": customer, **{f"c{n}": list(column) for n, column in enumerate(columns)}}


async def totals_at(
    connection: Connection, customer: str, keys: Collection[TotalRowKey]
) -> dict[TotalRowKey, Folded]:
    """Those of these totals that are there."""
    cursor = await connection.execute(
        f"""
        SELECT t.subscription, t.price, t.period_start, t.meter, t.version, t.dimensions,
            t.quantity, t.events, t.latest
        FROM usage_total t JOIN {_TOTALS} ON {_SAME_TOTAL}
        """,
        _columns(customer, keys),
    )
    return {
        TotalRowKey(row[0], row[1], row[2].astimezone(UTC), *row[3:6]): Folded(*row[6:])
        for row in await cursor.fetchall()
    }


async def hours_at(
    connection: Connection, customer: str, keys: Collection[HourKey]
) -> dict[HourKey, Folded]:
    """Those of these hours that have usage."""
    cursor = await connection.execute(
        f"""
        SELECT t.meter, t.bucket_start, t.version, t.dimensions, t.quantity, t.events, t.latest
        FROM usage_bucket t JOIN {_HOURS} ON {_SAME_HOUR}
        """,
        _columns(customer, keys),
    )
    return {
        HourKey(row[0], row[1].astimezone(UTC), row[2], row[3]): Folded(*row[4:])
        for row in await cursor.fetchall()
    }


async def set_totals(
    connection: Connection, customer: str, rows: Mapping[TotalRowKey, Folded]
) -> None:
    """Let these totals say this."""
    found = [{**key._asdict(), **row._asdict()} for key, row in sorted(rows.items())]
    await connection.execute(_SET_TOTALS, [document(found), customer])


async def set_hours(connection: Connection, customer: str, rows: Mapping[HourKey, Folded]) -> None:
    """Let these hours say this."""
    found = [{**key._asdict(), **row._asdict()} for key, row in sorted(rows.items())]
    await connection.execute(_SET_HOURS, [document(found), customer])


async def drop_totals(connection: Connection, customer: str, keys: Collection[TotalRowKey]) -> None:
    """Remove those of these totals of which no event is left and that no final invoice counts; and
    values that are no longer there.
    """
    await connection.execute(
        f"""
        DELETE FROM usage_value t USING {_TOTALS} WHERE {_SAME_TOTAL} AND t.events = 0
        """,
        _columns(customer, keys),
    )
    await connection.execute(
        f"""
        DELETE FROM usage_total t USING {_TOTALS}
        WHERE {_SAME_TOTAL} AND t.events = 0 AND t.billed IS NULL
        """,
        _columns(customer, keys),
    )


async def drop_hours(connection: Connection, customer: str, keys: Collection[HourKey]) -> None:
    """Remove those of these hours of which no event is left."""
    await connection.execute(
        f"DELETE FROM usage_bucket t USING {_HOURS} WHERE {_SAME_HOUR} AND t.events = 0",
        _columns(customer, keys),
    )


async def drop_members(connection: Connection, rows: Sequence[MemberRow]) -> None:
    """Remove distinct values that are no longer seen in their segment."""
    if rows:
        await connection.execute(_DELETE_MEMBERS, [document(rows)])


async def drop_levels(connection: Connection, rows: Sequence[LevelRow]) -> None:
    """Remove what events set."""
    await connection.execute(_DELETE_LEVELS, [document(rows)])


async def events_within(
    connection: Connection, customer: str, types: Collection[str], span: Period, step: int
) -> AsyncIterator[list[StoredEvent]]:
    """The customer's accepted events of these types within `span`, in steps of at most `step`."""
    async with connection.cursor(name="events_within") as cursor:
        await cursor.execute(
            f"""
            SELECT {EVENT_COLUMNS} FROM event e
            WHERE customer = %s AND time >= %s AND time < %s AND type = ANY(%s)
                AND status = 'accepted'
            """,
            [customer, span.start, span.end, list(types)],
        )
        while rows := await cursor.fetchmany(step):
            yield [stored_of(row) for row in rows]
