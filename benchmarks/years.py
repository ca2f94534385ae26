"""Two years of events by SQL, in the place of the traffic that would have made them.

Owns the directory that growth.py measures on: filling it, and leaving it as it is once old events
are archived. Must not measure.

Events are written in portions over two connections. A key in no order that is larger than memory
takes hours to grow row by row, so the key of `event` and its index by time are dropped before and
built by a sort afterwards. A sort packs pages full, and what is inserted next would split nearly
each of them; so they are built as full as insertion leaves them. 4,000,000 events inserted
row by row took 112.7 bytes each in the key and 58.3 in the index by time; built with fillfactors
of 70 and 63, they take 112 and 58. The hourly buckets are inserted through their key. The schema
is the same afterwards, which is asserted.

Only here the server runs with a larger log, none for an index that is built, and more memory.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg import sql

from benchmarks.world import customer_key, server, set_up
from taximeter.gateways.postgres import EmbeddedPostgres

Portion = TypeVar("Portion")
CUSTOMERS = 10_000
MONTH = "2026-10-20Z"
SOURCE = "filled"
_STATE = "growth.json"
_PORTION = 1_000_000
_CONNECTIONS = 2
_FREE_BYTES_MIN = 8_000_000_000
# What an event takes with its indexes and its usage, and what it takes to sort the key.
_EVENT_BYTES = 460
_SORTED_BYTES = 90
_PACKED_CUSTOMERS = 100
_SETTINGS = {
    "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB", "shared_buffers": "1GB",
    "maintenance_work_mem": "1GB", "work_mem": "64MB", "autovacuum": "off",
    "synchronous_commit": "off",
}  # fmt: skip
_CLONED = ("customer", "subscription", "subscription_phase", "wallet", "credit_grant")
# 25 events of a customer come together: that many share an hour, and a row of usage by hour.
_EVENTS = """
INSERT INTO event (customer, source, id, type, time, received_at, status, digest, data)
SELECT customer, %(source)s, md5(n::text)::uuid::text, 'llm.completion', at, at, 'accepted',
    decode(md5('content' || n), 'hex'), jsonb_build_object(
        'model', 'gpt-5.2', 'input_tokens', n %% 4000, 'output_tokens', n %% 900)
FROM (
    SELECT n, 'customer-' || lpad((hashint8(n / 25) & 1048575) %% %(customers)s || '', 5, '0')
            AS customer,
        '2024-11-01Z'::timestamptz + (n::float8 / %(size)s) * interval '729 days' AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
) e
"""
_USAGE = """
INSERT INTO usage_bucket (customer, meter, version, bucket_start, dimensions, aggregation, quantity,
    events)
SELECT 'customer-' || lpad((hashint8(n) & 1048575) %% %(customers)s || '', 5, '0'), meter, 1,
    date_trunc('hour', '2024-11-01Z'::timestamptz
        + (n * 25::float8 / %(size)s) * interval '729 days'), '{}', 'sum', 50000, 25
FROM generate_series(%(first)s::bigint / 25, %(last)s::bigint / 25) n,
    unnest(ARRAY['input_tokens', 'output_tokens']) AS meter
ON CONFLICT DO NOTHING
"""
_DROP = "ALTER TABLE event DROP CONSTRAINT event_pkey; DROP INDEX event_time"
# The key last: it is what the measures need in memory.
FILLED = {
    "event_time": "CREATE INDEX event_time ON event (customer, time) WITH (fillfactor = 63)",
    "event_pkey": "ALTER TABLE event ADD PRIMARY KEY (customer, source, id) WITH (fillfactor = 70)",
}
_SCHEMA = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
UNION ALL SELECT relname, reloptions::text FROM pg_class WHERE reloptions IS NOT NULL
ORDER BY 1, 2
"""


def state(data: Path) -> tuple[int, bool]:
    """How many events there are in the directory, and whether the old ones are archived."""
    file = data / _STATE
    if not file.exists():
        return 0, False
    found = json.loads(file.read_text())
    if found["events"] is None:
        sys.exit(f"Filling {data} was stopped midway: remove it, or name another directory.")
    return int(found["events"]), bool(found["archived"])


def note(data: Path, events: int | None, *, archived: bool = False) -> None:
    """Keep what `state` answers; None as long as it is neither here nor there."""
    (data / _STATE).write_text(json.dumps({"events": events, "archived": archived}))


def make_customers(url: str) -> None:
    """A seller with all customers, through a server of its own for as long as that takes."""
    with server(url) as running:
        set_up(running, customers=1)
    with psycopg.connect(url) as connection:
        for table in _CLONED:
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


def fill(data: Path, first: int, last: int) -> None:
    """Events number `first` up to `last`, with their usage by the hour. Ends the program where
    the disk has no room for them.
    """
    _check_room(data, (last - first) * _EVENT_BYTES + last * _SORTED_BYTES)
    note(data, None)
    with EmbeddedPostgres.start(data, settings=_SETTINGS) as database:
        if not first:
            make_customers(database.url)
        with psycopg.connect(database.url) as connection:
            before = connection.execute(_SCHEMA).fetchall()
            connection.execute(_DROP)
        given = {"size": last, "customers": CUSTOMERS, "source": SOURCE}
        portions = [
            given | {"first": at, "last": min(last, at + _PORTION) - 1}
            for at in range(first, last, _PORTION)
        ]

        def write(portion: dict[str, object]) -> None:
            _check_room(data, 0)
            _say(f"events up to {portion['last']:,}", database.url, _EVENTS, portion)
            _run(database.url, "VACUUM (SKIP_LOCKED) event")

        _together(write, portions)
        usage = given | {"first": first, "last": last - 1}
        _say("usage by the hour", database.url, _USAGE, usage)
        for index, statement in FILLED.items():
            _say(f"{index} is built", database.url, statement)
            _run(database.url, f"ALTER INDEX {index} RESET (fillfactor)")
        _say("vacuum", database.url, "VACUUM ANALYZE event, usage_bucket")
        with psycopg.connect(database.url) as connection:
            after = connection.execute(_SCHEMA).fetchall()
        assert after == before, set(after) ^ set(before)
    note(data, last)


_PACK = """
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
_EMPTY = f"""
INSERT INTO cache_change (customer, at) VALUES (NULL, now());
CREATE TABLE young AS SELECT e.* FROM customer c
    JOIN event e ON e.customer = c.customer AND e.time >= '{MONTH}';
TRUNCATE event;
INSERT INTO event SELECT * FROM young;
DROP TABLE young;
UPDATE customer SET archived = true;
"""


def pack(data: Path) -> None:
    """Leave the database as it is once everything older than a month has been archived, without
    the files.
    """
    events, archived = state(data)
    if archived:
        return
    _check_room(data, 0)
    note(data, None)
    with EmbeddedPostgres.start(data, settings=_SETTINGS) as database:

        def write(number: int) -> None:
            _check_room(data, 0)
            keys = [customer_key(each) for each in range(number, number + _PACKED_CUSTOMERS)]
            given = {"customers": keys, "before": MONTH}
            _say(f"identities up to {keys[-1]}", database.url, _PACK, given)

        _together(write, range(0, CUSTOMERS, _PACKED_CUSTOMERS))
        with psycopg.connect(database.url) as connection:
            connection.execute(_EMPTY.encode())
        _say("vacuum", database.url, "VACUUM ANALYZE event, event_identity, customer")
    note(data, events, archived=True)


def _together(work: Callable[[Portion], None], given: Sequence[Portion]) -> None:
    """Work on all of it over several connections; the first failure ends it."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(work, given):
            pass


def _say(what: str, url: str, statement: str, given: Mapping[str, object] | None = None) -> None:
    begun = time.perf_counter()
    _run(url, statement, given)
    print(f"    {what}: {time.perf_counter() - begun:,.0f} s", flush=True)


def _run(url: str, statement: str, given: Mapping[str, object] | None = None) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), given)


def _check_room(data: Path, needed_bytes: int) -> None:
    """The disk must not fill: others may use it."""
    free = shutil.disk_usage(data).free
    if free - needed_bytes < _FREE_BYTES_MIN:
        raise SystemExit(
            f"{free / 1e9:,.0f} GB are free where {data} is, and "
            f"{(needed_bytes + _FREE_BYTES_MIN) / 1e9:,.0f} GB are needed."
        )
