"""What the benchmarks share: a database, a server on it, and a seller with customers.

The workload: 1,000 customers whose volume spreads over two orders of magnitude, LLM completions
read by two meters, the input tokens billed by invoice, the output tokens drawn from a wallet.
"""

import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg

from taximeter.gateways.postgres import EmbeddedPostgres

KEY = "benchmark-key"
CUSTOMERS = 1_000
LOG_FILE_BYTES = 16 * 1024**2
CUSTOMERS_OF_HOLDS = 10_000
EVENT_TIME = "2026-11-20T10:{minute:02d}:00Z"
PLAN = {
    "key": "bench", "name": "Bench", "currency": "USD", "period": "month",
    "prices": [
        {"key": "input", "type": "usage", "meter": "input_tokens", "model": "per_unit",
         "unit": "1.75", "per": "1000000"},
        {"key": "output", "type": "usage", "meter": "output_tokens", "model": "per_unit",
         "unit": "14", "per": "1000000", "settle": "wallet"},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A server process that answers, and the database it stands on."""

    port: int
    process: subprocess.Popen[bytes]
    database_url: str

    def call(self, method: str, path: str, body: object = None) -> object:
        """One JSON request with the admin key; raises for anything but success."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        sent = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, headers, method=method
        )
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return json.load(answer)

    def load(
        self, path: str, bodies: list[bytes], connections: int, rate: float | None = None
    ) -> dict[str, float]:
        """Drive these bodies from another process, at a `rate` a second or as fast as they are
        answered; returns wall_s, p50_s and p99_s.
        """
        with tempfile.NamedTemporaryFile(suffix=".ndjson") as file:
            file.write(b"\n".join(bodies))
            file.flush()
            command = [sys.executable, "-m", "benchmarks.load", file.name, str(self.port), path,
                       KEY, str(connections), *([] if rate is None else [str(rate)])]  # fmt: skip
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        result: dict[str, float] = json.loads(output)
        return result

    def memory_mb(self) -> int:
        """Resident memory of the server's process, PostgreSQL not counted."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
        raise AssertionError("a running process has a resident size")


@contextmanager
def database(*, log_used_bytes: int = 0) -> Iterator[str]:
    """A PostgreSQL of our own with the settings that ship, in a directory that goes away. So many
    bytes of its log are there already, to be used again, as in a server that has run for a while:
    where a file of the log must be made, a commit waits some 30 ms for it.
    """
    with tempfile.TemporaryDirectory(prefix="taximeter-bench-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres.start(Path(folder) / "data") as running:
            if log_used_bytes:
                _use_log(running.superuser_url, log_used_bytes)
            yield running.url


def _use_log(superuser_url: str, bytes_used: int) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET min_wal_size = '2GB'")
        connection.execute("SELECT pg_reload_conf()")
        for _ in range(bytes_used // LOG_FILE_BYTES):
            connection.execute("SELECT pg_logical_emit_message(false, 'benchmark', 'used')")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")


@contextmanager
def server(database_url: str) -> Iterator[Running]:
    """`taximeter serve` on this database."""
    environment = {**os.environ, "DATABASE_URL": database_url, "TAXIMETER_API_KEY": KEY}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("taximeter")), "serve", "--port", "0"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if line.startswith(b"ready "))
        yield Running(int(ready.rsplit(b":", 1)[1]), process, database_url)
    finally:
        process.terminate()
        process.wait(30)


def set_up(running: Running, *, customers: int = CUSTOMERS) -> None:
    """Meters, a plan, and customers with a subscription and 1,000,000 USD of credit each."""
    for meter in ("input_tokens", "output_tokens"):
        body = {"event_type": "llm.completion", "aggregation": "sum", "value": meter}
        running.call("PUT", f"/v1/meters/{meter}", body)
    running.call("PUT", "/v1/plans/bench", PLAN)
    for number in range(customers):
        customer = customer_key(number)
        running.call("PUT", f"/v1/customers/{customer}", {"enforcement": "soft"})
        subscription = {"customer": customer, "plan": "bench", "starts_at": "2026-11-01T00:00:00Z"}
        running.call("POST", "/v1/subscriptions", subscription)
        grant = {"customer": customer, "asset": "USD", "amount": "1000000", "kind": "paid"}
        running.call("POST", "/v1/grants", grant)


# Three grants and two nested budgets for each customer, more than any run will use.
_WALLETS = """
INSERT INTO customer (customer, document, currency, timezone, enforcement, created_at, updated_at)
SELECT key, '{}', 'USD', 'UTC', 'hard', now(), now() FROM keys;
INSERT INTO wallet (customer, asset, debt) SELECT key, 'USD', 0 FROM keys;
INSERT INTO credit_grant (customer, id, asset, kind, amount, remaining, priority, effective_at,
    expires_at, created_at)
SELECT key, 'grant_' || key || n, 'USD', CASE n WHEN 1 THEN 'promotional' ELSE 'paid' END, 1000000,
    1000000, n * 10, now(), CASE n WHEN 3 THEN NULL ELSE now() + n * interval '1 year' END, now()
FROM keys, generate_series(1, 3) n;
INSERT INTO budget (customer, name, path, asset, limit_amount, "window", enforcement, alerts,
    created_at, updated_at)
SELECT key, 'team', 'team', 'USD', 1000000, 'month', 'hard', '{}', now(), now() FROM keys;
INSERT INTO budget (customer, name, path, asset, limit_amount, "window", enforcement, alerts,
    created_at, updated_at)
SELECT key, 'user', 'team/user', 'USD', 1000000, 'day', 'hard', '{}', now(), now() FROM keys;
INSERT INTO cache_change (customer, at) SELECT key, now() FROM keys;
"""


def seed_wallets(running: Running, *, customers: int = CUSTOMERS_OF_HOLDS) -> None:
    """Customers with hard limits, each with three grants and two budgets, by SQL: so many would
    take minutes over HTTP.
    """
    with psycopg.connect(running.database_url) as connection:
        connection.execute("CREATE TEMP TABLE keys (key text)")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO keys VALUES (%s)", [(customer_key(n),) for n in range(customers)]
            )
        connection.execute(_WALLETS)
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute("ANALYZE")


def customer_key(number: int) -> str:
    """The key of the n-th customer."""
    return f"customer-{number:05d}"


def events(count: int, *, seed: int, customers: int = CUSTOMERS) -> list[dict[str, object]]:
    """So many events of random customers, with fresh ids."""
    source = random.Random(seed)
    run = secrets.token_hex(4)
    weights = [source.lognormvariate(0, 1.3) for _ in range(customers)]
    return [
        {
            "specversion": "1.0", "id": f"{run}-{number}", "source": "bench",
            "type": "llm.completion", "subject": customer_key(customer),
            "time": EVENT_TIME.format(minute=number % 60),
            "data": {
                "model": "gpt-5.2", "input_tokens": source.randint(10, 4000),
                "output_tokens": source.randint(10, 900),
            },
        }
        for number, customer in enumerate(source.choices(range(customers), weights, k=count))
    ]  # fmt: skip


def batches(made: list[dict[str, object]], size: int) -> list[bytes]:
    """The events as request bodies of `size` each (1: a single object)."""
    if size == 1:
        return [msgspec.json.encode(event) for event in made]
    return [msgspec.json.encode(made[at : at + size]) for at in range(0, len(made), size)]


def seconds_of(work: object) -> float:
    """How long calling `work` takes."""
    assert callable(work)
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
