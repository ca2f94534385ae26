"""The SQL of kept dimension values: which they are, and keeping more."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection

from taximeter.kernel.times import Period
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]


class KeptKey(NamedTuple):
    """A customer's meter version, and the month that begins then."""

    customer: str
    meter: str
    version: int
    month: datetime


class KeptRow(msgspec.Struct, frozen=True, gc=False):
    """A value of the dimension `name` that is kept apart, as the `ordinal`-th of its month."""

    customer: str
    meter: str
    version: int
    month: datetime
    name: str
    value: str
    ordinal: int


class Values(NamedTuple):
    """The values of a dimension that are kept; `own`: some by the very transaction that asks, which
    may still be rolled back.
    """

    values: frozenset[str]
    own: bool


_READ = """
SELECT d.customer, d.meter, d.version, d.month, d.name, array_agg(d.value),
    bool_or(d.transaction IS NOT DISTINCT FROM pg_current_xact_id_if_assigned())
FROM usage_dimension d
JOIN unnest(%s::text[], %s::text[], %s::integer[], %s::timestamptz[])
    AS k (customer, meter, version, month)
    ON d.customer = k.customer AND d.meter = k.meter AND d.version = k.version
    AND d.month = k.month
GROUP BY d.customer, d.meter, d.version, d.month, d.name
"""
_INSERT = """
INSERT INTO usage_dimension
    (customer, meter, version, month, name, value, ordinal, transaction)
SELECT customer, meter, version, month, name, value, ordinal, pg_current_xact_id()
FROM json_to_recordset(%s) AS r (customer text, meter text, version integer, month timestamptz,
    name text, value text, ordinal integer)
ON CONFLICT DO NOTHING RETURNING customer
"""
_IN_SPAN = """
SELECT version, month, name, array_agg(value) FROM usage_dimension
WHERE customer = %s AND meter = %s AND month > %s - interval '1 month' AND month < %s
GROUP BY version, month, name
"""


async def read(
    connection: Connection, keys: Sequence[KeptKey]
) -> dict[tuple[KeptKey, str], Values]:
    """The values kept of each dimension of these keys."""
    cursor = await connection.execute(_READ, [list(column) for column in zip(*keys, strict=True)])
    return {
        (KeptKey(row[0], row[1], row[2], row[3].astimezone(UTC)), row[4]): Values(
            frozenset(row[5]), row[6]
        )
        for row in await cursor.fetchall()
    }


async def insert(connection: Connection, rows: Sequence[KeptRow]) -> bool:
    """Keep these values; false where another transaction has kept one of them, or has taken one's
    place, meanwhile.
    """
    cursor = await connection.execute(_INSERT, [document(rows)])
    return len(await cursor.fetchall()) == len(rows)


async def kept_in(
    connection: Connection, customer: str, meter: str, span: Period
) -> list[tuple[int, datetime, str, frozenset[str]]]:
    """The values kept of a customer's meter in the months that `span` touches: by version, month
    and dimension.
    """
    cursor = await connection.execute(_IN_SPAN, [customer, meter, span.start, span.end])
    return [
        (version, month.astimezone(UTC), name, frozenset(values))
        for version, month, name, values in await cursor.fetchall()
    ]
