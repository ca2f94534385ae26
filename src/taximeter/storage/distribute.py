"""A running database taken apart over the nodes of a Citus cluster, and what stands where.

Owns the questions to PostgreSQL's and Citus's catalogs and carrying out the plan of
distribution.py. Must not decide where a table stands. Citus is the operator's: nothing here
installs it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from taximeter.kernel.errors import Unavailable
from taximeter.storage.distribution import TABLES, Found, Kind, Step, plan
from taximeter.storage.migrate import connect, only_us

Connection = psycopg.Connection[tuple[Any, ...]]

LARGEST_MAX = 5

_HAS_CITUS = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
_CAN_CITUS = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citus')"
_TABLES = """
SELECT c.relname, pg_total_relation_size(c.oid), pg_relation_size(c.oid)
FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition AND c.relname NOT LIKE '\\_yoyo%' AND c.relname <> 'yoyo_lock'
"""
_REFERENCES = """
SELECT k.conrelid::regclass::text, k.confrelid::regclass::text FROM pg_constraint k
WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace AND k.conparentid = 0
"""
# A table whose move was cut off stands in the metadata as a local one: it is not placed yet.
_PLACED = """
SELECT logicalrelid::regclass::text FROM pg_dist_partition
WHERE partkey IS NOT NULL OR repmodel = 't'
"""
_PLACED_BYTES = "SELECT citus_total_relation_size(%s::regclass)"
_NODES = """
SELECT count(*) FILTER (WHERE groupid = 0), count(*) FILTER (WHERE shouldhaveshards)
FROM pg_dist_node WHERE isactive AND noderole = 'primary'
"""
_SHARDS = """
SELECT nodename || ':' || nodeport, count(*), coalesce(sum(shard_size), 0)::bigint
FROM citus_shards WHERE citus_table_type = 'distributed' GROUP BY 1 ORDER BY 1
"""
_LARGEST = """
SELECT customer, sum(events)::bigint FROM usage_bucket
GROUP BY customer ORDER BY 2 DESC, 1 LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class PlacedTable:
    """A table: where it belongs, whether it stands there, and its bytes with indexes, on all nodes.
    A local one stands where it belongs.
    """

    name: str
    kind: Kind
    placed: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What distributing a database would do now, and what is in the way of it, if anything: a
    sentence with the cure.
    """

    tables: Sequence[PlacedTable]
    steps: Sequence[Step]
    obstacle: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: its address, how many shards it has, and their bytes."""

    name: str
    shards: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What stands where. `nodes` is empty where there is no cluster, and so is `largest`: the
    customers with the most events that meters counted, and how many those are.
    """

    tables: Sequence[PlacedTable]
    nodes: Sequence[Node]
    largest: Sequence[tuple[str, int]]


def outlook(url: str, *, shards: int) -> Outlook:
    """What `distribute` would do to the database at `url`; writes nothing. Raises `Unavailable`."""
    with connect(url) as connection:
        return _outlook(connection, shards)


def distribute(url: str, *, shards: int, told: Callable[[Step], None]) -> None:
    """Do what is still to be done; `told` hears of each step before it begins.

    May be ended and begun again at any time: a step is done wholly or not at all, and what is done
    is not done again. Migrations wait meanwhile. Raises `Unavailable`.
    """
    with connect(url) as guard, only_us(guard), connect(url) as connection:
        found = _outlook(connection, shards)
        if found.obstacle is not None:
            raise Unavailable(what="The database cannot be distributed.", cure=found.obstacle)
        for step in found.steps:
            told(step)
            try:
                _carry_out(connection, step)
            except psycopg.Error as error:
                raise Unavailable(
                    what=f"Citus refused {', '.join(step.tables)}: {error}",
                    cure="What was done before stays. Mend it, and run `taximeter db distribute` "
                    "again.",
                ) from error


def sizes(url: str) -> Sizes:
    """What stands where, and how large it is. Raises `Unavailable`."""
    with connect(url) as connection:
        has_citus = _one(connection, _HAS_CITUS)
        placed = _placed(connection) if has_citus else set()
        tables = _tables(connection, _found(connection, placed))
        if not placed:
            return Sizes(tables, (), ())
        nodes = [Node(*row) for row in connection.execute(_SHARDS).fetchall()]
        largest = connection.execute(_LARGEST, [LARGEST_MAX]).fetchall()
        return Sizes(tables, nodes, [(row[0], row[1]) for row in largest])


def _outlook(connection: Connection, shards: int) -> Outlook:
    has_citus = _one(connection, _HAS_CITUS)
    found = _found(connection, _placed(connection) if has_citus else set())
    return Outlook(
        tables=_tables(connection, found),
        steps=plan(found, shards=shards),
        obstacle=_obstacle(connection, has_citus=has_citus),
    )


def _obstacle(connection: Connection, *, has_citus: bool) -> str | None:
    if not has_citus:
        if _one(connection, _CAN_CITUS):
            return (
                "Citus is installed, but not in this database. As a superuser, run: CREATE "
                "EXTENSION citus."
            )
        return (
            "This server has no Citus. Install Citus 12.1 or newer on it and on each worker, put "
            "citus first in shared_preload_libraries, restart, and run: CREATE EXTENSION citus."
        )
    coordinators, with_shards = connection.execute(_NODES).fetchone() or (0, 0)
    if not coordinators:
        return (
            "The cluster does not know its coordinator, which is this server. Run: SELECT "
            "citus_set_coordinator_host('ADDRESS', 5432)."
        )
    if not with_shards:
        return (
            "No node takes shards. Add a worker with SELECT citus_add_node('ADDRESS', 5432), or "
            "let this one take them with SELECT citus_set_node_property('ADDRESS', 5432, "
            "'shouldhaveshards', true)."
        )
    return None


def _carry_out(connection: Connection, step: Step) -> None:
    if step.online:  # Citus commits in between by itself, and refuses a transaction
        for statement in step.statements:
            connection.execute(statement)
        return
    with connection.transaction():
        for statement in step.statements:
            connection.execute(statement)


def _found(connection: Connection, placed: set[str]) -> Found:
    rows = [row for row in connection.execute(_TABLES).fetchall() if row[0] in TABLES]
    return Found(
        bytes={row[0]: row[1] for row in rows},
        references={(row[0], row[1]) for row in connection.execute(_REFERENCES).fetchall()},
        placed=placed,
        left_behind={row[0] for row in rows if row[0] in placed and row[2]},
        online=_one(connection, "SHOW wal_level") == "logical",
    )


def _tables(connection: Connection, found: Found) -> list[PlacedTable]:
    tables = []
    for name, local_bytes in found.bytes.items():
        kind, total = TABLES[name], local_bytes
        if name in found.placed:
            total = _one(connection, _PLACED_BYTES, [name])
        tables.append(PlacedTable(name, kind, kind == "local" or name in found.placed, total))
    return sorted(tables, key=lambda table: (-table.bytes, table.name))


def _placed(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute(_PLACED).fetchall()}


def _one(connection: Connection, query: str, values: Sequence[object] = ()) -> Any:
    row = connection.execute(query.encode(), values or None).fetchone()
    return row[0] if row else None
