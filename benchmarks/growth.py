"""Ingestion and sizes as the table of events grows, before and after old events are archived.

The worst case for an index: ids in no order, over 10,000 customers, two years of usage. The table
is filled by SQL (years.py says how); what is measured then goes through a server, in batches of
1,000 with 16 connections, in turn with three others: the database-only floor of ingest.py; a second
server on a second database of the same customers that has next to no events; and the same events
with ids that grow with time. After a checkpoint the first change of every page is written whole to
the log. There is one before some rounds that are not measured, after which the rows of customers
have been changed, while nearly every page of a large key has not: so it stays between checkpoints.

    make bench ARGS=growth
    make bench ARGS="growth --sizes 10000000,50000000,100000000 --data /srv/growth"
    make bench ARGS="growth --sizes 100000000 --data /srv/growth --only fill"

With --data the database is kept: a run that finds some events there goes on from them. --only says
which step to take: `fill` up to the sizes, `measure` what is there, or `archive` what is older than
a month. Above 5,000,000 events, and when it is asked for by name, that is not `taximeter archive
run`: the database packs the identities and drops the content itself, and no files are written.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import years
from benchmarks.ingest import floor_rate
from benchmarks.world import Running, batches, events, server
from taximeter.gateways.postgres import EmbeddedPostgres

SIZES_DEFAULT = "200000,1000000"
ARCHIVED_MAX = 5_000_000
MEASURED = 20_000
ROUNDS = 3
WARMING = 2
RANDOM = "in no order"
ORDERED = "that grow"


@dataclass(frozen=True)
class World:
    """A server on its database."""

    running: Running
    database: EmbeddedPostgres

    def checkpoint(self) -> None:
        """Have all that is changed on disk."""
        with psycopg.connect(self.database.superuser_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def log_position(self) -> int:
        """How many bytes of write-ahead log there have been."""
        with psycopg.connect(self.database.superuser_url) as connection:
            row = connection.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
            ).fetchone()
        assert row is not None
        return int(row[0])


@dataclass(frozen=True)
class Measured:
    """What one round found: bytes of write-ahead log for each event, and parts of the floor and of
    the empty table's rate.
    """

    events_s: float
    log_bytes: float
    to_floor: float
    to_empty: float


@contextmanager
def world(data: Path) -> Iterator[World]:
    """A server on the database in this directory."""
    with EmbeddedPostgres.start(data) as database, server(database.url) as running:
        yield World(running, database)


@contextmanager
def empty_world() -> Iterator[World]:
    """A server on a database of as many customers and no events."""
    with tempfile.TemporaryDirectory(prefix="taximeter-growth-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres.start(Path(folder) / "data") as database:
            years.make_customers(database.url)
            with server(database.url) as running:
                yield World(running, database)


def made_events(seed: int, ids: str) -> list[dict[str, Any]]:
    """Events that fall among those that are there, with such ids."""
    made = events(MEASURED, seed=seed, customers=years.CUSTOMERS)
    now = int(time.time() * 1000) << 80
    for number, event in enumerate(made):
        given = secrets.randbits(128) if ids == RANDOM else now + (number << 64)
        event |= {"id": str(uuid.UUID(int=given)), "source": years.SOURCE}
    return made


def rate(on: World, made: list[dict[str, Any]]) -> tuple[float, float]:
    """Events a second through the server, and bytes of write-ahead log for each."""
    before = on.log_position()
    took = on.running.load("/v1/events", batches(made, 1000), 16)
    return MEASURED / took["wall_s"], (on.log_position() - before) / MEASURED


def measure(data: Path) -> None:
    """Print a line for what is in this directory."""
    count, archived = years.state(data)
    found: dict[str, list[Measured]] = {RANDOM: [], ORDERED: []}
    with world(data) as full, empty_world() as empty:
        for each in (full, empty):
            each.checkpoint()
            for seed in range(WARMING):
                rate(each, made_events(seed, RANDOM))
        for seed in range(WARMING, WARMING + ROUNDS):
            floor = floor_rate(empty.database.url, made_events(seed, RANDOM), 1000)
            without, _ = rate(empty, made_events(seed, RANDOM))
            for ids, measured in found.items():
                events_s, log_bytes = rate(full, made_events(seed, ids))
                measured.append(Measured(events_s, log_bytes, events_s / floor, events_s / without))
        text = sizes(full.database.url)
    print(f"  {count:>12,} events{' archived' if archived else ''}: {text}")
    for ids, measured in found.items():
        log_bytes = sum(each.log_bytes for each in measured) / ROUNDS
        print(
            f"      ids {ids:11}: {max(each.events_s for each in measured):8,.0f}/s "
            f"({_listed([each.to_floor for each in measured])} of the floor, "
            f"{_listed([each.to_empty for each in measured])} of the empty table's), "
            f"{log_bytes:,.0f} B of log each",
            flush=True,
        )


def sizes(url: str) -> str:
    """What an event takes, in the table and in its indexes, and an identity in the archive."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE event")
        row = connection.execute(
            """
            SELECT (SELECT reltuples FROM pg_class WHERE oid = 'event'::regclass),
                pg_table_size('event'), pg_relation_size('event_pkey'),
                pg_indexes_size('event') - pg_relation_size('event_pkey'),
                pg_total_relation_size('usage_bucket'),
                (SELECT sum(length(entries)) / 36 FROM event_identity),
                pg_table_size('event_identity'), pg_indexes_size('event_identity')
            """
        ).fetchone()
    assert row is not None
    count, table, key, others, buckets, archived, packed, packed_indexes = row
    text = (
        f"{table / count:,.0f} B in the table, {key / count:,.0f} + {others / count:,.0f} in its "
        f"key and its other indexes, of {count:,.0f} ({(table + key + others) / 1e9:.2f} GB); "
        f"hourly usage {buckets / 1e9:.2f} GB"
    )
    if archived:
        text += (
            f"; {int(archived):,} archived: {packed / float(archived):,.0f} + "
            f"{packed_indexes / float(archived):,.1f} B each"
        )
    return text


def archive(data: Path, folder: Path) -> None:
    """Move what is older than a month into files, and print what that came to."""
    count, _ = years.state(data)
    with EmbeddedPostgres.start(data) as database:
        command = [str(Path(sys.executable).with_name("taximeter")), "archive", "run",
                   "--before", years.MONTH[:10], "--to", str(folder)]  # fmt: skip
        begun = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, "DATABASE_URL": database.url},
            check=True,
            stdout=subprocess.PIPE,
        )
        took = time.perf_counter() - begun
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE event")
            connection.execute("VACUUM ANALYZE event_identity")
    years.note(data, count, archived=True)
    moved = int(done.stdout.split()[0].replace(b",", b""))
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    print(
        f"    {moved:,} events archived in {took:,.0f} s ({moved / took:,.0f}/s), "
        f"files of {size / max(1, moved):,.0f} B an event",
        flush=True,
    )


def run(data: Path, wanted: list[int]) -> None:
    """Print the curve."""
    for size in wanted:
        fill(data, size)
        measure(data)
    if max(wanted) <= ARCHIVED_MAX:
        archive(data, data / "archive")
    else:
        years.pack(data)
    measure(data)


def fill(data: Path, size: int) -> None:
    """So many events, if there are fewer."""
    there, archived = years.state(data)
    if archived:
        sys.exit(f"The events in {data} are archived already: name another directory.")
    if size > there:
        years.fill(data, there, size)


def _listed(ratios: list[float]) -> str:
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"{sum(ratios) / len(ratios):.3f} [{each}]"


def main() -> None:
    """Fill, measure, archive, measure again; or the step that is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default=SIZES_DEFAULT)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", choices=("fill", "measure", "archive"))
    asked, _ = parser.parse_known_args()
    wanted = sorted(int(size) for size in asked.sizes.split(","))
    print("growth: events a second through the server as the table of events grows", flush=True)
    if asked.data is None:
        with tempfile.TemporaryDirectory(prefix="taximeter-growth-") as folder:
            Path(folder).chmod(0o755)
            run(Path(folder), wanted)
        return
    asked.data.mkdir(parents=True, exist_ok=True)
    asked.data.chmod(0o755)
    if asked.only == "fill":
        for size in wanted:
            fill(asked.data, size)
    elif asked.only == "measure":
        measure(asked.data)
    elif asked.only == "archive":
        years.pack(asked.data)
    else:
        run(asked.data, wanted)


if __name__ == "__main__":
    main()
