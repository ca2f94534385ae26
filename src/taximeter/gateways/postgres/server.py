"""The running embedded server: start or adopt it, watch it, stop it.

Owns the life of one server process and who is in charge of it: the process that holds the lock of
the directory owns the server, every other adopts it. Must not know what is in the database.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from taximeter.gateways.postgres.account import as_account
from taximeter.gateways.postgres.cluster import (
    PASSWORD,
    SUPERUSER,
    SUPERUSER_PASSWORD,
    Cluster,
    clear_leftovers,
    end,
    prepare,
)
from taximeter.gateways.postgres.home import DirectoryLock, Endpoint, Home
from taximeter.gateways.postgres.processes import is_alive
from taximeter.kernel.errors import Unavailable

ROLE = "taximeter"
DATABASE = "taximeter"

_POLL_S = 0.02
_SILENCE_S_MAX = 60  # a long recovery writes a line every ten seconds
_RETRY_S_MAX = 10
_STOP_S_MAX = 60
_RETRIED = (
    "lock file",
    "shared memory block",
    "already in use",
    "could not bind",
    "could not create",
)
_LOGGER = logging.getLogger("taximeter.postgres")


class EmbeddedPostgres:
    """A PostgreSQL server in `DATA/postgres`, with the database `taximeter` in it.

    Safe to call from several threads. As a context manager it stops at the end.
    """

    def __init__(
        self, home: Home, binaries: Path | None, settings: Mapping[str, str], *, tcp: bool
    ) -> None:
        """Use `start`."""
        self._home = home
        self._explicit = binaries
        self._settings = settings
        self._tcp = tcp
        self._lock = DirectoryLock(home.path / "lock")
        self._mutex = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._fresh = False
        self._endpoint: Endpoint | None = None
        self._version = ""
        self._closed = False

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        tcp: bool = False,
    ) -> Self:
        """Starts the server of `data_dir` (made where it is missing), or adopts the one that runs.

        Returns when the database answers. `binaries`: a directory of PostgreSQL programs, in place
        of the search. `settings` go before ours. `tcp`: listen on a port of 127.0.0.1 even where
        a socket would do. Raises `Unavailable` with its cure.
        """
        home = Home(Path(data_dir).resolve() / "postgres")
        try:
            home.path.parent.mkdir(parents=True, exist_ok=True)
            if not home.path.exists():
                home.path.mkdir(exist_ok=True)
                home.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            server = cls(home, binaries, settings or {}, tcp=tcp)
            server._bring_up()
        except OSError as error:
            raise Unavailable(
                what=f"The data directory {data_dir} cannot be used: {error}.",
                cure="Name another with --data, on a local disk and with room, that you may "
                "write to.",
            ) from error
        return server

    @property
    def url(self) -> str:
        """The URL of the database `taximeter`, for its owner's role. Secret."""
        return self._url(ROLE, PASSWORD, DATABASE)

    @property
    def superuser_url(self) -> str:
        """The URL of the database `postgres`, for the superuser. Secret; for maintenance."""
        return self._url(SUPERUSER, SUPERUSER_PASSWORD, "postgres")

    @property
    def version(self) -> str:
        """The version of the running server: `18.4`."""
        return self._version

    @property
    def owned(self) -> bool:
        """Whether we hold the server and stop it at the end; False: another process does."""
        return self._lock.held

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None while it is down."""
        return self._home.postmaster()

    def ensure_running(self) -> bool:
        """Starts the server again should it have died; whether it had to.

        Costs about a millisecond while all is well, so a supervising task may call it every second.
        When the owner is gone, the first to notice becomes the owner. Raises `Unavailable`.
        """
        with self._mutex:
            if self._closed:
                return False
            self._home.prune_log()
            child_ended = self._process is not None and self._process.poll() is not None
            answers = self._endpoint is not None and self._endpoint.ping() is not False
            if (answers and not child_ended) or self._still_there():
                return False
            _LOGGER.warning("The database server is gone; starting it again.")
            try:
                self._bring_up()
            except OSError as error:
                raise Unavailable(
                    what=f"The database server is gone and cannot be started again: {error}.",
                    cure=f"Look at the disk of {self._home.path}.",
                ) from error
            return True

    def stop(self) -> None:
        """Stops the server if it is ours (open transactions are rolled back); else leaves it."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            if not self._lock.held:
                return
            try:
                self._end_server()
            finally:
                self._lock.release()
            with contextlib.suppress(OSError):  # not empty, or not there
                if self._endpoint and self._endpoint.socket:
                    self._endpoint.socket.parent.rmdir()

    def leave(self) -> None:
        """Lets go of the server but leaves it running, for the next `start` to adopt."""
        with self._mutex:
            self._closed = True
            self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _url(self, role: str, secret: str, database: str) -> str:
        assert self._endpoint, "start() has returned"
        password = self._home.secret(secret)
        if password is None:
            raise Unavailable(
                what=f"The password file {self._home.path / secret} is missing.",
                cure="Put it back from your backup of the data directory.",
            )
        return self._endpoint.url(role, password, database)

    def _bring_up(self) -> None:
        """Owns and starts the server, or waits until another process has done so."""
        patience = _Patience(self._home)
        refusals = 0
        try:
            while not (self._lock.held or self._lock.acquire()):
                if self._find() and self._greet():
                    return
                refusals += self._endpoint is not None
                if refusals * _POLL_S > _RETRY_S_MAX:
                    raise self._refused("")
                patience.spend("Another process holds the data directory, but no server came up.")
            self._own()
        except Unavailable:
            self._abandon()  # a server that is slow to start is left alone
            raise
        except BaseException:
            if self._lock.held:
                self._end_server()
            self._abandon()
            raise

    def _find(self) -> bool:
        """Whether the server that another process owns takes connections."""
        found = self._home.pid_file()
        self._endpoint = found.endpoint if found and found.ready else None
        return bool(self._endpoint and self._endpoint.ping())

    def _own(self) -> None:
        """Starts the server, or adopts one whose owner died; retries while a dead one clears."""
        deadline = 0.0
        while True:
            if not self._someone_lives() or self._end_unreachable():
                self._launch()
            words = self._await_ready()
            if not words:
                break
            deadline = deadline or time.monotonic() + _RETRY_S_MAX
            if time.monotonic() > deadline or not any(reason in words for reason in _RETRIED):
                raise Unavailable(
                    what=f"The database server does not start: {words}",
                    cure=f"Look at {self._home.start_log} and {self._home.data / 'log'}.",
                )
            time.sleep(_POLL_S * 10)
        if self._fresh or not self._greet():
            self._make_database()

    def _someone_lives(self) -> bool:
        """Whether a server of this cluster lives, starting up or up.

        On our socket its answer counts for more than its process, which may be in another
        container. On a port of a dead server a stranger may listen.
        """
        found = self._home.pid_file()
        on_socket = found and found.endpoint and found.endpoint.socket
        if found and found.endpoint and on_socket and found.endpoint.ping() is not False:
            return True
        return self._home.postmaster() is not None

    def _end_unreachable(self) -> bool:
        """Stops a server of ours that lives but can never answer, as its socket was deleted."""
        found = self._home.pid_file()
        name = found.endpoint.socket if found and found.ready and found.endpoint else None
        if name is None or name.exists() or not self._lock.held:
            return False
        _LOGGER.warning("The database server's socket %s was deleted; restarting it.", name)
        self._end_server()
        return True

    def _launch(self) -> None:
        if self._process is not None:
            self._process.wait(_RETRY_S_MAX)  # it is ending: its directory is let go of already
            self._process = None
        home = self._home
        cluster = prepare(home, self._explicit, self._settings, tcp=self._tcp)
        self._fresh = cluster.fresh
        clear_leftovers(home, cluster.runtime)
        home.prune_log()
        with home.start_log.open("wb") as log:
            # Directly and not through pg_ctl: as its parent we can reap it when it is killed. Its
            # own session keeps the terminal's Ctrl-C from it.
            self._process = subprocess.Popen(
                [cluster.binaries.postgres, "-D", cluster.data, *_listening(cluster)],
                cwd=home.data,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_account(cluster.account),
            )

    def _await_ready(self) -> str:
        """Waits until the server takes connections; what it said last, should it end instead."""
        patience = _Patience(self._home)
        while True:
            if self._process is not None and self._process.poll() is not None:
                self._process = None
                return self._home.last_words() or "It ended without a word."
            found = self._home.pid_file()
            stale = self._process is not None and found and found.pid != self._process.pid
            ready = found and found.ready and not stale
            if found and found.endpoint and ready and found.endpoint.ping():
                self._endpoint = found.endpoint
                return ""
            if self._process is None and not self._someone_lives():
                return "lock file: the server that ran ended meanwhile."
            patience.spend("The database server is starting, but does not get ready.")

    def _greet(self) -> bool:
        """Whether the database answers us (the only proof of life); notes the version."""
        try:
            with psycopg.connect(self.url, connect_timeout=10, autocommit=True) as connection:
                connection.execute("SELECT 1")
                shown = connection.info.parameter_status("server_version") or ""
        except (psycopg.OperationalError, Unavailable):
            return False
        self._version = shown.split()[0]
        return True

    def _make_database(self) -> None:
        """The role and the database, where a first start was cut off before it made them."""
        role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
        password = sql.Literal(self._home.secret(PASSWORD))
        try:
            with psycopg.connect(self.superuser_url, autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE])
                verb = sql.SQL("ALTER" if found.fetchone() else "CREATE")
                text = sql.SQL("{} ROLE {} LOGIN PASSWORD {}")
                connection.execute(text.format(verb, role, password))
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                )
                if not found.fetchone():
                    text = sql.SQL("CREATE DATABASE {} OWNER {}")
                    connection.execute(text.format(database, role))
            with psycopg.connect(self.url):
                pass
        except psycopg.Error as error:
            raise self._refused(str(error)) from error
        assert self._greet(), "it has just answered"

    def _refused(self, reason: str) -> Unavailable:
        return Unavailable(
            what=f"The database server runs, but refuses us. {reason}".strip(),
            cure=f"Look at {self._home.data / 'log'}; the passwords are in {self._home.path}.",
        )

    def _still_there(self) -> bool:
        """Whether a server that did not answer the ping lives and answers after all: under load
        the queue of its socket may be full for a moment."""
        deadline = time.monotonic() + _RETRY_S_MAX
        self._reap()
        while pid := self._home.postmaster():
            if self._endpoint and self._endpoint.ping() is not False:
                return True
            if self._end_unreachable():
                return False
            if time.monotonic() > deadline:
                raise Unavailable(
                    what=f"The database server lives (process {pid}) but does not answer.",
                    cure="Look at the load of the machine; it is not restarted by force.",
                )
            time.sleep(_POLL_S)
        return False

    def _end_server(self) -> None:
        """Stops the server fast, and immediately (the next start recovers) should that hang."""
        child = self._process is not None and self._process.poll() is None
        pid = self._process.pid if child and self._process else self._home.postmaster()
        if pid is not None and not end(pid, signal.SIGINT, _STOP_S_MAX):
            _LOGGER.warning("The database server did not stop in %s s; forcing it.", _STOP_S_MAX)
            end(pid, signal.SIGQUIT, _STOP_S_MAX)
        self._reap()

    def _abandon(self) -> None:
        """Lets go of everything without stopping the server."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # it goes on without us: no ResourceWarning for that
        self._process = None
        self._lock.release()

    def _reap(self) -> None:
        if self._process is not None and not is_alive(self._process.pid):
            self._process.wait()
            self._process = None


class _Patience:
    """Ends when the server has said nothing for a minute: a recovery may be long, but talks."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._size = -1
        self._since = time.monotonic()

    def spend(self, what: str) -> None:
        """Sleeps a moment. Raises `Unavailable` when patience is at its end."""
        size = self._home.log_size()
        if size != self._size:
            self._size, self._since = size, time.monotonic()
        if time.monotonic() > self._since + _SILENCE_S_MAX:
            words = self._home.last_words()
            raise Unavailable(
                what=f"{what} {words}".strip(),
                cure=f"It was left alone. Look at {self._home.data / 'log'}, and start again when "
                "it is ready.",
            )
        time.sleep(_POLL_S)


def _listening(cluster: Cluster) -> list[str]:
    """Where to listen: on the socket alone, else on a port that was ours or is free."""
    if cluster.runtime:
        place = [f"unix_socket_directories={cluster.runtime}", "listen_addresses=", "port=5432"]
        private = ["unix_socket_permissions=0700"]
    else:
        port = _free_port(cluster.home.path / "port")
        place = ["unix_socket_directories=", "listen_addresses=127.0.0.1", f"port={port}"]
        private = []
    return [word for setting in place + private for word in ("-c", setting)]


def _free_port(memory: Path) -> int:
    """The port of the last start if it is free, so that the URL stays; else a free one."""
    last = memory.read_text().strip() if memory.exists() else ""
    for port in [int(last), 0] if last.isdigit() else [0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        memory.write_text(f"{found}\n")
        return found
    raise OSError("no port of 127.0.0.1 is free")
