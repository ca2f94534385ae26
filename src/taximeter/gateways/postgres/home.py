"""The files of one embedded cluster, in `DATA/postgres`.

    data/                   the cluster itself; it belongs to the account that runs the server
    data/log/               the server's log, the newest ten files of 10 MB
    password                of the role `taximeter`, which owns the database
    superuser-password      of the role `postgres`
    lock                    held by the process that owns the server
    start.log               what the server says before it opens its log
    run/                    the socket, where the path is short enough for one
    port                    the TCP port of the last start, where there is no socket
    binaries-18.4/          a copy, where the account cannot reach the originals

Owns what stands where and reading it. Must not start or stop anything.
"""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from taximeter.gateways.postgres.processes import left_in, serves

_LOG_FILES_MAX = 10
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: a directory with its socket or a loopback address, and a port."""

    host: str
    port: int

    @property
    def socket(self) -> Path | None:
        """The socket's path; None on a TCP port."""
        name = f".s.PGSQL.{self.port}"
        return Path(self.host, name) if self.host.startswith("/") else None

    def url(self, role: str, password: str, database: str) -> str:
        """The URL for `psycopg.connect`; secret, as it carries the password."""
        if self.host.startswith("/"):
            place = f"?host={quote(self.host, safe='/')}&port={self.port}"
            return f"postgresql://{quote(role)}:{quote(password)}@/{quote(database)}{place}"
        # The wheel has no TLS, and on the loopback none is needed.
        return (
            f"postgresql://{quote(role)}:{quote(password)}@{self.host}:{self.port}"
            f"/{quote(database)}?sslmode=disable&gssencmode=disable"
        )

    def ping(self) -> bool | None:
        """True: it answers; None: it is there but takes nobody yet; False: nobody is there."""
        # Without a password the server asks for one and we hang up, which it does not log. Without
        # a role libpq would ask passwd for our name, and a container may have none.
        answer = psycopg.pq.PGconn.ping(self.url("postgres", "", "postgres").encode())
        if answer == psycopg.pq.Ping.REJECT:
            return None
        return bool(answer == psycopg.pq.Ping.OK)


@dataclass(frozen=True, slots=True)
class PidFile:
    """What `postmaster.pid` says: the server's process, where it listens once it does, and whether
    it takes connections (until then a ping would only fill its log)."""

    pid: int
    endpoint: Endpoint | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one cluster (see the module)."""

    path: Path

    @property
    def data(self) -> Path:
        """The cluster's own directory (PGDATA)."""
        return self.path / "data"

    @property
    def start_log(self) -> Path:
        """What the server says before it opens its log."""
        return self.path / "start.log"

    @property
    def pid_path(self) -> Path:
        """The server's own pid file."""
        return self.data / "postmaster.pid"

    def pid_file(self) -> PidFile | None:
        """What the pid file says; None where there is none, or none that can be read."""
        try:
            lines = self.pid_path.read_text(errors="replace").splitlines()
            pid = abs(int(lines[0]))
        except (FileNotFoundError, ValueError, IndexError):
            return None
        if len(lines) < 6 or not lines[3].isdigit():
            return PidFile(pid, None, ready=False)
        folder, address = lines[4].strip(), lines[5].strip()
        endpoint = Endpoint(folder or address or _HOST, int(lines[3]))
        return PidFile(pid, endpoint, ready=[line.strip() for line in lines[7:8]] == ["ready"])

    def postmaster(self) -> int | None:
        """The process id of the live server of this cluster, or None."""
        found = self.pid_file()
        return found.pid if found and serves(found.pid, self.data) else None

    def orphans(self) -> list[int]:
        """Server processes that outlived their server."""
        return [] if self.postmaster() else left_in(self.data)

    def secret(self, name: str) -> str | None:
        """The password in the file `name`, or None."""
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def log_files(self) -> list[Path]:
        """The server's log files, oldest first (their names tell their time)."""
        return sorted((self.data / "log").glob("*.log"))

    def prune_log(self) -> None:
        """Removes all but the newest log files."""
        for file in self.log_files()[:-_LOG_FILES_MAX]:
            file.unlink(missing_ok=True)

    def log_size(self) -> int:
        """Grows for as long as the server has something to say."""
        files = [self.start_log, *self.log_files()[-_LOG_FILES_MAX:]]
        return sum(file.stat().st_size for file in files if file.exists())

    def last_words(self) -> str:
        """The last messages of the server, without their prefixes; "" where there are none."""
        text = ""
        for file in [self.start_log, *self.log_files()[-1:]]:
            if file.exists():
                with file.open("rb") as stream:
                    stream.seek(max(0, file.stat().st_size - 8192))
                    text += stream.read().decode(errors="replace") + "\n"
        found = re.findall(r"(?:LOG|ERROR|FATAL|PANIC|HINT|could not): *(.*)", text)
        return "; ".join(line.strip() for line in found[-3:])


class DirectoryLock:
    """Held by one process at a time, and let go by the system when that process dies.

    Raises `OSError` where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        # A forked worker must not keep the lock of its dead parent.
        os.register_at_fork(after_in_child=self._forget)

    @property
    def held(self) -> bool:
        """Whether we hold it."""
        return self._file is not None

    def acquire(self) -> bool:
        """Takes the lock, where nobody holds it; never waits."""
        assert self._file is None, "the lock is held already"
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Lets go, if held."""
        self._forget()

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
