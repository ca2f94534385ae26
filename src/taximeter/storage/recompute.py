"""The SQL of recomputing usage: tables beside the stored ones, in which it is counted again, and
the comparison of both.

The tables of a transaction are temporary and have the names of those that they stand for, so the
very statements that count usage count it again; the stored ones are named with their schema. All of
it is of one customer, and takes no memory here however much that has.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composed, Identifier

Connection = AsyncConnection[tuple[Any, ...]]

_SCHEMA = """
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = 'usage_total'::regclass
"""
_SHADOW = "CREATE TEMP TABLE {table} (LIKE {stored} INCLUDING INDEXES) ON COMMIT DROP"


class Kind(NamedTuple):
    """A table of usage: by what its rows are known, what of them is compared, and what of a row
    that is not there. `open`: which rows may be set right. A difference is told of the columns
    `told`.
    """

    table: str
    name: str
    keys: tuple[str, ...]
    compared: tuple[tuple[str, str], ...]
    told: tuple[str, ...]
    open: str = "true"


_SEGMENT = ("subscription", "price", "period_start", "meter", "version")
KINDS = (
    Kind("usage_total", "usage total", (*_SEGMENT, "dimensions"),
         (("quantity", "0"), ("events", "0"), ("below", "COALESCE(s.below, r.below)")),
         (*_SEGMENT, "dimensions"), "s.billed IS NULL"),
    Kind("usage_bucket", "usage hour", ("meter", "bucket_start", "version", "dimensions"),
         (("quantity", "0"), ("events", "0")), ("meter", "bucket_start", "version", "dimensions")),
    Kind("usage_member", "distinct value", (*_SEGMENT, "member"),
         (("member", "NULL"),), _SEGMENT),
    Kind("usage_value", "value", (*_SEGMENT, "dimensions", "value"),
         (("events", "0"),), (*_SEGMENT, "dimensions", "value")),
    Kind("usage_level", "level",
         ("meter", "subscription", "dimensions", "time", "received_at", "event"),
         (("value", "NULL"),), ("meter", "dimensions", "time")),
)  # fmt: skip
_SHADOWED = (*(kind.table for kind in KINDS), "level_change")

# What is stored beside what was counted again; rows of nothing are as good as none.
_UNEQUAL = """
SELECT {told}, {field_values} FROM (SELECT * FROM {stored} WHERE customer = %(customer)s) s
FULL JOIN {again} r ON {same} WHERE {differs} ORDER BY {order} LIMIT 1
"""
_DELETE = """
DELETE FROM {stored} s WHERE s.customer = %(customer)s AND {open} AND NOT EXISTS (
    SELECT FROM {again} r WHERE {same} AND NOT ({differs})
)
"""
_INSERT = """
INSERT INTO {stored} SELECT r.* FROM {again} r WHERE NOT EXISTS (
    SELECT FROM {stored} s WHERE s.customer = %(customer)s AND {same}
)
"""


class Unequal(NamedTuple):
    """The first row that differs: of which kind, its key in words, which column, and what it says
    in both (None: there is no row).
    """

    kind: Kind
    key: str
    field: str
    stored: Decimal | str | None
    recomputed: Decimal | str | None


async def begin_snapshot(connection: Connection) -> None:
    """Let all reads of this transaction see the same instant. Must come first in it."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


async def shadow(connection: Connection) -> str:
    """Have all that counts usage in this transaction write to empty tables, which end with it;
    returns the schema of the stored ones.
    """
    cursor = await connection.execute(_SCHEMA)
    row = await cursor.fetchone()
    assert row is not None, "the schema is there"
    schema = str(row[0])
    for table in _SHADOWED:
        await connection.execute(
            SQL(_SHADOW).format(table=Identifier(table), stored=Identifier(schema, table))
        )
    return schema


def _statement(template: str, kind: Kind, schema: str) -> Composed:
    same = [SQL("s.{0} = r.{0}").format(Identifier(key)) for key in ("customer", *kind.keys)]
    differs = [
        SQL("COALESCE(s.{0}, {1}) IS DISTINCT FROM COALESCE(r.{0}, {1})").format(
            Identifier(column), SQL(nothing)
        )
        for column, nothing in kind.compared
    ]  # fmt: skip
    told = [SQL("COALESCE(s.{0}, r.{0})").format(Identifier(key)) for key in kind.told]
    sides = [
        SQL("{0}.{1}").format(SQL(side), Identifier(column))
        for column, _ in kind.compared
        for side in "sr"
    ]
    return SQL(template).format(
        stored=Identifier(schema, kind.table), again=Identifier("pg_temp", kind.table),
        same=SQL(" AND ").join(same), differs=SQL(" OR ").join(differs),
        told=SQL(", ").join(told), field_values=SQL(", ").join(sides), open=SQL(kind.open),
        order=SQL(", ").join([SQL(str(n + 1)) for n in range(len(kind.told))]),
    )  # fmt: skip


async def first_unequal(connection: Connection, customer: str, schema: str) -> Unequal | None:
    """The first row of a customer's usage that is not what was counted again."""
    for kind in KINDS:
        cursor = await connection.execute(
            _statement(_UNEQUAL, kind, schema), {"customer": customer}
        )
        row: Sequence[Any] | None = await cursor.fetchone()
        if row is None:
            continue
        key = ", ".join(
            f"{name} {_told(value)}" for name, value in zip(kind.told, row, strict=False)
        )
        pairs = row[len(kind.told) :]
        for n, (column, _) in enumerate(kind.compared):
            stored, again = pairs[2 * n], pairs[2 * n + 1]
            if stored != again or n == len(kind.compared) - 1:
                return Unequal(kind, key, column, _plain(stored), _plain(again))
    return None


def _told(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _plain(value: object) -> Decimal | str | None:
    if value is None or isinstance(value, Decimal):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


async def repair(connection: Connection, customer: str, schema: str) -> int:
    """Set what may be set right to what was counted again; how many rows that took."""
    changed = 0
    for kind in KINDS:
        for template in (_DELETE, _INSERT):
            cursor = await connection.execute(
                _statement(template, kind, schema), {"customer": customer}
            )
            changed += cursor.rowcount
    return changed
