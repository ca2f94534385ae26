"""Holds over HTTP against the same decision by direct SQL, in the same run on the same database.

The direct decision is one statement that updates a balance on condition and inserts a row, one
durable commit each, over 16 connections. The server does that and the rest: HTTP, JSON, grants in
burn order, two budgets for each customer, expiry, and an answer with what is left. The load
generator shares the cores.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import psycopg

from benchmarks.load import percentile
from benchmarks.redis_lua import redis_rate
from benchmarks.world import CUSTOMERS_OF_HOLDS, Running, database, seed_wallets, server

DIRECT_TABLES = """
CREATE TABLE direct_wallet (customer text COLLATE "C" PRIMARY KEY, available numeric NOT NULL);
CREATE TABLE direct_hold (
    customer text COLLATE "C", id text COLLATE "C", amount numeric, expires_at timestamptz,
    PRIMARY KEY (customer, id)
);
"""
DIRECT_HOLD = """
WITH taken AS (
    UPDATE direct_wallet SET available = available - 0.01
    WHERE customer = %s AND available >= 0.01 RETURNING customer
)
INSERT INTO direct_hold SELECT customer, %s, 0.01, now() + interval '300 s' FROM taken
"""
DIRECT_BATCH = """
WITH asked AS (
    SELECT customer, id FROM unnest(%s::text[], %s::text[]) AS a (customer, id)
), needed AS (
    SELECT customer, count(*) * 0.01 AS amount FROM asked GROUP BY customer
), taken AS (
    UPDATE direct_wallet w SET available = w.available - n.amount
    FROM needed n WHERE w.customer = n.customer AND w.available >= n.amount RETURNING w.customer
)
INSERT INTO direct_hold SELECT a.customer, a.id, 0.01, now() + interval '300 s'
FROM asked a JOIN taken USING (customer)
"""
CONNECTIONS_DIRECT = 16


def customers_of(kind: str, count: int, seed: int) -> list[str]:
    """Whose holds these are: `spread` over all customers, or all of one `hot` one."""
    if kind == "hot":
        return ["customer-00000"] * count
    source = random.Random(seed)
    return [f"customer-{source.randrange(CUSTOMERS_OF_HOLDS):05d}" for _ in range(count)]


async def _each(work: Callable[[int], Awaitable[None]], workers: int) -> float:
    begun = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(workers)))
    return time.perf_counter() - begun


class Direct(NamedTuple):
    """Holds a second by direct SQL, and the latency of one of a hundred."""

    rate: float
    p99_s: float


async def direct_rate(url: str, customers: list[str], rate: float | None = None) -> Direct:
    """Holds by direct SQL, one commit each, over 16 connections: as fast as they are answered, or
    at a `rate` a second, where waiting for a free connection counts as latency.
    """
    made = [
        await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=1)
        for _ in range(CONNECTIONS_DIRECT)
    ]
    seconds: list[float] = []
    begun = time.perf_counter()

    async def work(number: int) -> None:
        for index in range(number, len(customers), CONNECTIONS_DIRECT):
            due = time.perf_counter() if rate is None else begun + index / rate
            await asyncio.sleep(max(0, due - time.perf_counter()))
            await made[number].execute(DIRECT_HOLD, [customers[index], secrets.token_hex(16)])
            seconds.append(time.perf_counter() - due)

    took = await _each(work, CONNECTIONS_DIRECT)
    for connection in made:
        await connection.close()
    return Direct(len(customers) / took, percentile(seconds, 0.99))


async def direct_batch_rate(url: str, customers: list[str], size: int) -> float:
    """Holds a second by direct SQL in batches, one commit a batch, over one connection."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=1)
    ids = [secrets.token_hex(16) for _ in customers]
    begun = time.perf_counter()
    for at in range(0, len(customers), size):
        part = [customers[at : at + size], ids[at : at + size]]
        await connection.execute(DIRECT_BATCH, part)
    took = time.perf_counter() - begun
    await connection.close()
    return len(customers) / took


def bodies(customers: list[str]) -> list[bytes]:
    """Each hold as a request body."""
    return [
        msgspec.json.encode(
            {"customer": one, "asset": "USD", "amount": "0.01", "path": "team/user"}
        )
        for one in customers
    ]


def batch_bodies(customers: list[str], size: int) -> list[bytes]:
    """The holds as request bodies of `size` each."""
    holds = [{"customer": one, "asset": "USD", "amount": "0.01", "path": "team/user"}
             for one in customers]  # fmt: skip
    return [
        msgspec.json.encode({"mode": "independent", "holds": holds[at : at + size]})
        for at in range(0, len(holds), size)
    ]


def print_rates(url: str, running: Running) -> None:
    """Single holds, spread and hot, as ratios to direct SQL."""
    for kind in ("spread", "hot"):
        direct = asyncio.run(direct_rate(url, customers_of(kind, 8_000, 1))).rate
        best = 0.0
        for connections in (16, 64, 256):
            took = running.load("/v1/holds", bodies(customers_of(kind, 20_000, 2)), connections)
            rate = 20_000 / took["wall_s"]
            best = max(best, rate)
            print(
                f"  {kind:6} direct SQL, 16 connections {direct:8,.0f}/s   "
                f"HTTP, {connections:3} connections {rate:8,.0f}/s (ratio {rate / direct:.2f}, "
                f"p50 {took['p50_s'] * 1000:.1f} ms, p99 {took['p99_s'] * 1000:.1f} ms)",
                flush=True,
            )
        made = bodies(customers_of(kind, int(best * 5), 7))
        paced = running.load("/v1/holds", made, 64, best / 2)
        of_direct = customers_of(kind, int(min(best, direct) * 2.5), 8)
        beside = asyncio.run(direct_rate(url, of_direct, min(best, direct) / 2))
        print(
            f"  {kind:6} at half of that rate, {best / 2:,.0f}/s: "
            f"p50 {paced['p50_s'] * 1000:.1f} ms, p99 {paced['p99_s'] * 1000:.1f} ms "
            f"(direct SQL at {min(best, direct) / 2:,.0f}/s: p99 {beside.p99_s * 1000:.1f} ms)",
            flush=True,
        )
        for durable in (False, True):
            redis = redis_rate(customers_of(kind, 20_000, 8), durable=durable)
            name = "Redis Lua, " + ("appendfsync always" if durable else "default")
            print(
                f"  {kind:6} {name}: "
                + ("there is no redis-server here" if redis is None
                   else f"{redis:,.0f}/s (holds: {best / redis:.2f} of it)"),
                flush=True,
            )  # fmt: skip


def print_batches(url: str, running: Running) -> None:
    """Batches of 200, as ratios to direct SQL in batches of 200."""
    for kind in ("spread", "hot"):
        direct = asyncio.run(direct_batch_rate(url, customers_of(kind, 40_000, 3), 200))
        made = batch_bodies(customers_of(kind, 40_000, 4), 200)
        took = running.load("/v1/holds/batch", made, 8)
        rate = 40_000 / took["wall_s"]
        print(
            f"  {kind:6} batches of 200: direct SQL {direct:8,.0f}/s   HTTP {rate:8,.0f}/s "
            f"(ratio {rate / direct:.2f})",
            flush=True,
        )


PAST = """
INSERT INTO hold (customer, id, state, amounts, quantity, placed_at, expires_at, counters,
    resolved_at, late, captured)
SELECT %(customer)s, 'hold_past' || n, CASE n %% 2 WHEN 0 THEN 'captured' ELSE 'open' END,
    '{"USD": "0.01"}', 1, now() - interval '2 days', now() - interval '1 day', '{}',
    CASE n %% 2 WHEN 0 THEN now() - interval '1 day' END, false, '{"USD": "0.01"}'
FROM generate_series(1, %(count)s) n;
INSERT INTO credit_grant (customer, id, asset, kind, amount, remaining, priority, effective_at,
    expires_at, created_at)
SELECT %(customer)s, 'grant_past' || n, 'USD', 'paid', 1, CASE n %% 2 WHEN 0 THEN 0 ELSE 1 END, 50,
    now() - interval '2 days', now() - interval '1 day', now()
FROM generate_series(1, %(count)s) n;
INSERT INTO event (customer, source, id, type, time, received_at, status, digest, data)
SELECT %(customer)s, '', 'past' || n, 'call', now(), now(), 'accepted', '\\x00', '{}'
FROM generate_series(1, %(count)s) n;
"""


def print_growth(url: str, running: Running) -> None:
    """The cost of a hold of a customer with many past holds, grants and events."""
    first = 0.0
    for number, count in enumerate((1_000, 100_000, 1_000_000), 1):
        customer = f"customer-{number:05d}"
        with psycopg.ClientCursor(psycopg.connect(url, autocommit=True)) as cursor:
            cursor.execute(PAST, {"customer": customer, "count": count})
            cursor.execute("ANALYZE hold, credit_grant, event")
            cursor.connection.close()
        took = running.load("/v1/holds", bodies([customer] * 3_000), 16)
        first = first or took["p50_s"]
        print(
            f"  {count:9,} past holds, grants and events each: p50 {took['p50_s'] * 1000:.2f} ms "
            f"({took['p50_s'] / first:.2f} of the first)",
            flush=True,
        )


def main() -> None:
    """Print rates and ratios."""
    with database(log_used_bytes=2 * 1024**3) as url, server(url) as running:
        seed_wallets(running)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(DIRECT_TABLES)
            connection.execute("INSERT INTO direct_wallet SELECT customer, 1000000 FROM customer")
        every = [f"customer-{number:05d}" for number in range(CUSTOMERS_OF_HOLDS)]
        running.load("/v1/holds", bodies(every), 64)  # their terms are known, their accounts made
        print("holds: a second, and their ratio to direct SQL, one commit each")
        print_rates(url, running)
        print_batches(url, running)
        print_growth(url, running)
        print(f"  server memory: {running.memory_mb()} MB")


if __name__ == "__main__":
    main()
