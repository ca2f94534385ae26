"""A server and its database that are killed, as a crash would, and start again."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.serving import KEY, Serving, start

NOW = "2026-01-15T00:00:00Z"
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


@dataclass(slots=True)
class Plant:
    """A server and its database in a directory, to be killed and started again."""

    folder: Path
    server: Serving
    dead: set[int] = field(default_factory=set)

    @classmethod
    def build(cls, folder: Path) -> "Plant":
        options = ("--data", folder / "data", "--port", 0, "--sandbox", "--now", NOW)
        return cls(folder, start(folder / "log", *options))

    @property
    def url(self) -> str:
        return self.server.url

    def kill_server(self) -> None:
        """The server dies; its database goes on without it. Then another takes over."""
        self._kill_process()
        self._start()

    def kill_database(self) -> None:
        """The database dies with all its processes; the server starts it again."""
        self.kill_postgres()

    def kill_both(self) -> None:
        """As a power cut would."""
        self._kill_process()
        self.kill_postgres()
        self._start()

    def _kill_process(self) -> None:
        self.dead.add(self.server.process.pid)
        self.server.kill()

    def kill_postgres(self) -> None:
        pid = self.postmaster()
        if pid is None:
            return
        self.dead.add(pid)
        for one in [pid, *children(pid)]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)

    def postmaster(self) -> int | None:
        pid_file = self.folder / "data" / "postgres" / "data" / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            return int(pid_file.read_text().split()[0])
        return None

    def _start(self) -> None:
        assert self.server.process.stdout is not None
        self.server.process.stdout.close()
        options = ("--data", self.folder / "data", "--port", self.server.port, "--sandbox")
        self.server = start(self.folder / "log", *options)


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


@contextmanager
def planted(put_cluster: Callable[[Path], None]) -> Iterator[Plant]:
    """A new plant in a directory that every user can enter, for as long as the context is open."""
    with tempfile.TemporaryDirectory(prefix="tx-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        put_cluster(folder / "data")
        built = Plant.build(folder)
        try:
            yield built
        finally:
            built.server.stop()
            assert built.server.process.stdout is not None
            built.server.process.stdout.close()
            built.kill_postgres()
