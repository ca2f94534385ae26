"""A `taximeter consume` as its own process, and the server that it consumes into."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.serving import KEY, PROGRAM, serving

WAIT_S_MAX = 40
JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "window": "total"}


@contextmanager
def billing(log: Path, database_url: str, port: int = 0) -> Iterator[httpx.Client]:
    """A server that counts `q` of `call` for acme; a client of its API."""
    options = ("--port", port, "--sandbox", "--now", "2026-01-20T00:00:00Z")
    with serving(log, *options, DATABASE_URL=database_url) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=20) as client:
            meter = {"event_type": "call", "aggregation": "sum", "value": "q"}
            client.put("/v1/meters/calls", json=meter).raise_for_status()
            client.put("/v1/customers/acme", json={"name": "Acme"}).raise_for_status()
            yield client


@contextmanager
def consuming(log: Path, url: str, *options: object) -> Iterator["subprocess.Popen[str]"]:
    """A consumer for as long as the context is open, unless it is killed before."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "consume", *map(str, options)],
            env={**kept, "TAXIMETER_URL": url, "TAXIMETER_API_KEY": KEY},
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def stopped(process: "subprocess.Popen[str]") -> str:
    """End it in order: what it says last."""
    process.send_signal(signal.SIGTERM)
    return ended(process)


def ended(process: "subprocess.Popen[str]") -> str:
    """Wait for it to end well: what it says last."""
    assert process.wait(timeout=WAIT_S_MAX) == 0
    assert process.stdout is not None
    return process.stdout.read().splitlines()[-1]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.02)


def counted(client: httpx.Client) -> int:
    """What acme used."""
    rows = client.get("/v1/meters/calls/usage", params={"customer": "acme", **JANUARY}).json()
    return int(rows["data"][0]["value"]) if rows["data"] else 0


def letters(client: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    """The first hundred dead letters."""
    found = client.get("/v1/dead_letters", params={"limit": "100", **wanted})
    rows: list[dict[str, Any]] = found.json()["data"]
    return rows


def call(number: int, q: int, **fields: Any) -> dict[str, Any]:
    """An event of acme's."""
    return {
        "id": str(number), "source": "gate", "type": "call", "subject": "acme",
        "time": "2026-01-05T10:00:00Z", "data": {"q": q}, **fields,
    }  # fmt: skip
