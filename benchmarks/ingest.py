"""Ingestion over HTTP against the database-only floor, in the same run on the same database.

The floor is what PostgreSQL can do with the same events by set-based SQL alone: one connection,
COPY into a staging table, INSERT ... ON CONFLICT DO NOTHING, running totals of both meters by
upsert, the debit of the wallets by one UPDATE, one durable commit for each 1,000 events. The
server does that and the rest: HTTP, JSON, validation, digests, routing, hourly buckets, grants in
burn order and their entries.
"""

import json
from datetime import datetime
from typing import Any

import psycopg

from benchmarks.world import batches, customer_key, database, events, seconds_of, server, set_up

FLOOR_TABLES = """
CREATE TABLE floor_event (
    customer text COLLATE "C", source text COLLATE "C", id text COLLATE "C", type text,
    time timestamptz, received_at timestamptz, digest bytea, data jsonb,
    PRIMARY KEY (customer, source, id)
);
CREATE TABLE floor_total (
    customer text COLLATE "C", meter text COLLATE "C", period_start timestamptz,
    quantity numeric, events bigint, PRIMARY KEY (customer, meter, period_start)
);
CREATE TABLE floor_wallet (customer text COLLATE "C" PRIMARY KEY, posted numeric);
CREATE TEMP TABLE floor_staging (
    customer text, source text, id text, type text, time timestamptz, received_at timestamptz,
    digest bytea, data text, input bigint, output bigint
) ON COMMIT DELETE ROWS;
"""
FLOOR_STEPS = (
    """
    INSERT INTO floor_event
    SELECT customer, source, id, type, time, received_at, digest, data::jsonb FROM floor_staging
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO floor_total AS t
    SELECT customer, meter, '2026-11-01', sum(tokens), count(*)
    FROM floor_staging, LATERAL (VALUES ('input', input), ('output', output)) v (meter, tokens)
    GROUP BY customer, meter
    ON CONFLICT (customer, meter, period_start) DO UPDATE
    SET quantity = t.quantity + EXCLUDED.quantity, events = t.events + EXCLUDED.events
    """,
    """
    UPDATE floor_wallet w SET posted = posted - s.amount
    FROM (
        SELECT customer, sum(output) * 14 / 1000000 AS amount FROM floor_staging GROUP BY customer
    ) s WHERE w.customer = s.customer
    """,
)
FLOOR_TYPES = [
    "text", "text", "text", "text", "timestamptz", "timestamptz", "bytea", "text", "int8", "int8",
]  # fmt: skip


def floor_rate(url: str, made: list[dict[str, Any]], size: int) -> float:
    """Events a second of the floor, rows prepared beforehand."""
    rows = [
        (
            e["subject"], e["source"], e["id"], e["type"], "2026-11-20T10:00:00Z",
            "2026-11-20T10:00:00Z", b"0123456789abcdef",
            json.dumps(e["data"]),
            e["data"]["input_tokens"], e["data"]["output_tokens"],
        )
        for e in made
    ]  # fmt: skip
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS floor_event, floor_total, floor_wallet")
        connection.execute(FLOOR_TABLES)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO floor_wallet VALUES (%s, 1000000)",
                [(customer_key(number),) for number in range(1000)],
            )
        connection.commit()
        typed = _typed(rows)

        def run() -> None:
            for at in range(0, len(typed), size):
                with connection.cursor() as cursor:
                    with cursor.copy("COPY floor_staging FROM STDIN (FORMAT binary)") as copy:
                        copy.set_types(FLOOR_TYPES)
                        for row in typed[at : at + size]:
                            copy.write_row(row)
                    for step in FLOOR_STEPS:
                        cursor.execute(step)
                connection.commit()

        return len(made) / seconds_of(run)


def _typed(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    at = datetime.fromisoformat(rows[0][4])
    return [(*row[:4], at, at, *row[6:]) for row in rows]


def main() -> None:
    """Print rates and ratios."""
    with database() as url, server(url) as running:
        set_up(running)
        running.load("/v1/events", batches(events(20_000, seed=1), 1000), 4)
        print("ingest: events a second, and their ratio to the database-only floor")
        for round_number in range(1, 4):
            floor = floor_rate(url, events(60_000, seed=2), 1000)
            bulk = events(100_000, seed=3)
            took = running.load("/v1/events", batches(bulk, 1000), 16)
            rate = len(bulk) / took["wall_s"]
            single = events(12_000, seed=4)
            alone = running.load("/v1/events", batches(single, 1), 64)
            single_rate = len(single) / alone["wall_s"]
            print(
                f"  round {round_number}: floor {floor:8,.0f}/s   "
                f"batches of 1000, 16 connections {rate:8,.0f}/s (ratio {rate / floor:.2f})   "
                f"single, 64 connections {single_rate:7,.0f}/s (ratio {single_rate / floor:.3f}, "
                f"p50 {alone['p50_s'] * 1000:.1f} ms, p99 {alone['p99_s'] * 1000:.1f} ms)",
                flush=True,
            )
        print(f"  server memory: {running.memory_mb()} MB")


if __name__ == "__main__":
    main()
