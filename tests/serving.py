"""A `taximeter serve` as its own process, for tests that need real connections or a real death."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

PROGRAM = "from taximeter.bootstrap import main; main()"
KEY = "tx_the-admin-key-of-tests"
START_S_MAX = 90
_OURS = ("DATABASE_URL", "TAXIMETER_API_KEY", "TAXIMETER_URL")


@dataclass(slots=True)
class Serving:
    """A process that has said that it is ready at `url`."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)


def start(log: Path, *options: object, **variables: str) -> Serving:
    """Start a server with these options and environment variables; what it logs goes to `log`."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "serve", *map(str, options)],
            env={**kept, "TAXIMETER_API_KEY": KEY, **variables},
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    watch = threading.Timer(START_S_MAX, process.kill)
    watch.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready "):
            watch.cancel()
            return Serving(process, line.split()[1])
    watch.cancel()
    process.wait()
    raise AssertionError(f"taximeter serve did not become ready:\n{log.read_text()[-2000:]}")


@contextmanager
def serving(log: Path, *options: object, **variables: str) -> Iterator[Serving]:
    """A server for as long as the context is open."""
    found = start(log, *options, **variables)
    try:
        yield found
    finally:
        found.stop()
        assert found.process.stdout is not None
        found.process.stdout.close()


def wait_for_waiting(database_url: str) -> None:
    """Wait until somebody waits in this database for a row that another transaction has locked."""
    waiting = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE NOT l.granted AND l.locktype IN ('transactionid', 'tuple')
        AND a.datname = current_database()
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(START_S_MAX * 50):
            [count] = connection.execute(waiting).fetchone() or (0,)
            if count:
                return
            time.sleep(0.02)
    raise AssertionError("nobody waits")
