"""A `taximeter serve` as its own process, for tests that need real connections or a real death."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
