"""Ingestion and sizes as the table of events grows, before and after old events are archived.

The worst case for an index: ids in no order, over 10,000 customers, two years of usage. The table
is filled by the database itself; what is measured then goes through the server, in batches of
1,000 with 16 connections, as a ratio to the database-only floor of ingest.py on empty tables at
the same time, and that as a part of what it was before there were events. Each measure begins with
a checkpoint, after which the first change of every page is written whole.

    make bench ARGS=growth
    make bench ARGS="growth --sizes 10000000,50000000,100000000 --data /srv/growth"

With --data the database is kept: a run that finds some events there goes on from them. Above
5,000,000 events the last measure does not wait for `taximeter archive run`: the database packs the
identities and drops the content itself, and no files are written.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.ingest import floor_rate
from benchmarks.world import Running, batches, customer_key, events, server, set_up
from taximeter.gateways.postgres import EmbeddedPostgres

CUSTOMERS = 10_000
SIZES_DEFAULT = "200000,1000000"
PORTION = 1_000_000
ARCHIVED_MAX = 5_000_000
MEASURED = 20_000
ROUNDS = 3
WARMING = 2
CLONED = ("customer", "subscription", "subscription_phase", "wallet", "credit_grant")
# 25 events of a customer come together: that many share an hour, and a row of usage by hour.
EVENTS = """
INSERT INTO event (customer, source, id, type, time, received_at, status, digest, data)
SELECT customer, 'filled', md5(n::text)::uuid::text, 'llm.completion', at, at, 'accepted',
    decode(md5('content' || n), 'hex'), jsonb_build_object(
        'model', 'gpt-5.2', 'input_tokens', n %% 4000, 'output_tokens', n %% 900)
FROM (
    SELECT n, 'customer-' || lpad((hashint8(n / 25) & 1048575) %% %(customers)s || '', 5, '0')
            AS customer,
        '2024-11-01Z'::timestamptz + (n::numeric / %(size)s) * interval '729 days' AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
) e
"""
USAGE = """
INSERT INTO usage_bucket (customer, meter, version, bucket_start, dimensions, aggregation, quantity,
    events)
SELECT 'customer-' || lpad((hashint8(n) & 1048575) %% %(customers)s || '', 5, '0'), meter, 1,
    date_trunc('hour', '2024-11-01Z'::timestamptz
        + (n * 25::numeric / %(size)s) * interval '729 days'), '{}', 'sum', 50000, 25
FROM generate_series(%(first)s::bigint / 25, %(last)s::bigint / 25) n,
    unnest(ARRAY['input_tokens', 'output_tokens']) AS meter
ON CONFLICT DO NOTHING
"""


def clone_customers(url: str) -> None:
    """Make all customers as the first one is."""
    with psycopg.connect(url) as connection:
        for table in CLONED:
            columns = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                " AND is_generated = 'NEVER' AND table_schema = 'public'",
                [table],
            ).fetchall()
            names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in columns)
            copied = sql.SQL(", ").join(sql.SQL("r.") + sql.Identifier(name) for (name,) in columns)
            connection.execute(
                sql.SQL(
                    "INSERT INTO {table} ({names}) SELECT {copied} FROM {table} t, "
                    "generate_series(1, {last}) n, LATERAL jsonb_populate_record(t, "
                    "jsonb_build_object('customer', 'customer-' || lpad(n::text, 5, '0'))) r "
                    "WHERE t.customer = 'customer-00000'"
                ).format(
                    table=sql.Identifier(table), names=names, copied=copied, last=CUSTOMERS - 1
                )
            )  # fmt: skip
        connection.execute("INSERT INTO cache_change (customer, at) VALUES (NULL, now())")


def fill(url: str, first: int, last: int) -> None:
    """Events number `first` up to `last`, with their usage by the hour."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for at in range(first, last, PORTION):
            upto = min(last, at + PORTION)
            given = {"first": at, "last": upto - 1, "size": last, "customers": CUSTOMERS}
            connection.execute(EVENTS, given)
            connection.execute(USAGE, given)
            print(f"    {upto:,} events are there", flush=True)
        connection.execute("VACUUM ANALYZE event, usage_bucket")


def rate(running: Running, admin_url: str, seed: int) -> tuple[float, float]:
    """Events a second through the server, with ids in no order, and its ratio to the database-only
    floor on tables that are empty, which tells how busy the machine is.
    """
    made = events(MEASURED, seed=seed, customers=CUSTOMERS)
    source = random.Random()
    for event in made:
        event["id"] = str(uuid.UUID(int=source.getrandbits(128)))
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    floor = floor_rate(running.database_url, made, 1000)
    took = running.load("/v1/events", batches(made, 1000), 16)
    found = MEASURED / took["wall_s"]
    return found, found / floor


def sizes(url: str) -> str:
    """What an event takes, in the table and in its indexes, and an identity in the archive."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """
            SELECT (SELECT count(*) FROM event), pg_table_size('event'), pg_indexes_size('event'),
                (SELECT sum(length(entries)) / 36 FROM event_identity),
                pg_table_size('event_identity'), pg_indexes_size('event_identity')
            """
        ).fetchone()
    assert row is not None
    count, table, indexes, archived, packed, packed_indexes = row
    text = (
        f"{int(count):,} events in the table: {table / count:,.0f} + {indexes / count:,.0f} B each "
        f"({(table + indexes) / 1e9:.2f} GB)"
    )
    if archived:
        text += (
            f"; {int(archived):,} archived: {packed / float(archived):,.0f} + "
            f"{packed_indexes / float(archived):,.1f} B each"
        )
    return text


def archive(url: str, folder: Path) -> str:
    """Move what is older than a month into files; what that came to."""
    command = [str(Path(sys.executable).with_name("taximeter")), "archive", "run",
               "--before", "2026-10-20", "--to", str(folder)]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "DATABASE_URL": url}, check=True, stdout=subprocess.PIPE
    )
    took = time.perf_counter() - begun
    events_moved = int(done.stdout.split()[0].replace(b",", b""))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE event")
        connection.execute("VACUUM ANALYZE event_identity")
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    return (
        f"{events_moved:,} events archived in {took:,.0f} s ({events_moved / took:,.0f}/s), "
        f"files of {size / max(1, events_moved):,.0f} B an event"
    )


PACK = """
INSERT INTO event_identity (customer, first, entries)
SELECT customer, CASE block WHEN 0 THEN ''::bytea ELSE (array_agg(key ORDER BY key))[1] END,
    string_agg(key || digest || int4send(1), ''::bytea ORDER BY key)
FROM (
    SELECT customer, key, digest,
        (row_number() OVER (PARTITION BY customer ORDER BY key) - 1) / 35 AS block
    FROM (
        SELECT customer, digest, substr(sha256(convert_to(source, 'UTF8') || '\\x00'::bytea
            || convert_to(id, 'UTF8')), 1, 16) AS key
        FROM event WHERE customer = ANY(%(customers)s) AND time < %(before)s
    ) e
) k GROUP BY customer, block
"""
EMPTY = """
INSERT INTO cache_change (customer, at) VALUES (NULL, now());
CREATE TABLE young AS SELECT * FROM event WHERE time >= '2026-10-20Z';
TRUNCATE event;
INSERT INTO event SELECT * FROM young;
DROP TABLE young;
UPDATE customer SET archived = true;
"""


def pack(url: str) -> str:
    """Leave the database as it is once everything older than a month has been archived."""
    begun = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for number in range(0, CUSTOMERS, 100):
            keys = [customer_key(each) for each in range(number, number + 100)]
            connection.execute(PACK, {"customers": keys, "before": "2026-10-20Z"})
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for statement in filter(str.strip, EMPTY.split(";")):
            cursor.execute(statement.encode())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE event")
        connection.execute("VACUUM ANALYZE event_identity")
    return f"packed by the database itself in {time.perf_counter() - begun:,.0f} s"


def run(data: Path, wanted: list[int]) -> None:
    """Print the curve."""
    print("growth: events a second through the server as the table of events grows", flush=True)
    with EmbeddedPostgres.start(data) as database, server(database.url) as running:
        with psycopg.connect(database.url) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM event WHERE source = 'filled'),"
                " (SELECT count(*) FROM event_identity)"
            ).fetchone()
        assert row is not None
        there = int(row[0])
        if row[1]:
            sys.exit(f"The events in {data} are archived already: name another directory.")
        if not there:
            set_up(running, customers=1)
            clone_customers(database.url)
        _warm(running, database)
        base = _print(running, database, there, None)
        for size in wanted:
            if size > there:
                fill(database.url, there, size)
                there = size
            _print(running, database, size, base)
        small = there <= ARCHIVED_MAX
        done = archive(database.url, data / "archive") if small else pack(database.url)
        print(f"    {done}", flush=True)
        _warm(running, database)
        _print(running, database, there, base)


def _warm(running: Running, database: EmbeddedPostgres) -> None:
    """Let the server know the terms of its customers: archiving has changed them, too."""
    for seed in range(WARMING):
        rate(running, database.superuser_url, seed)


def _print(running: Running, database: EmbeddedPostgres, size: int, base: float | None) -> float:
    """Measure, and print a line; the ratio to the floor."""
    found = [rate(running, database.superuser_url, seed) for seed in range(ROUNDS)]
    best, ratio = max(one for one, _ in found), sum(each for _, each in found) / len(found)
    against = "" if base is None else f", {ratio / base:.2f} of the empty table's"
    print(
        f"  {size:>12,} events: {best:8,.0f}/s (ratio to the floor {ratio:.3f}{against})   "
        f"{sizes(database.url)}",
        flush=True,
    )
    return ratio


def main() -> None:
    """Fill, measure, archive, measure again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default=SIZES_DEFAULT)
    parser.add_argument("--data", type=Path)
    asked, _ = parser.parse_known_args()
    wanted = sorted(int(size) for size in asked.sizes.split(","))
    if asked.data is not None:
        asked.data.mkdir(parents=True, exist_ok=True)
        asked.data.chmod(0o755)
        run(asked.data, wanted)
        return
    with tempfile.TemporaryDirectory(prefix="taximeter-growth-") as folder:
        Path(folder).chmod(0o755)
        run(Path(folder) / "data", wanted)


if __name__ == "__main__":
    main()
