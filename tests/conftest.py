"""The tests' database: one real PostgreSQL for the whole run, one fresh database for each test.

All workers share an embedded server that a crash would ruin, started by the first that needs one
and stopped when the run ends. Its template has all migrations applied; `database_url` is a copy of
it. Logging in costs little there, and dropping a database waits for nobody. With
TAXIMETER_TEST_DATABASE_URL the databases are made on that server instead (its role needs CREATEDB).
With TAXIMETER_TEST_CITUS besides, each is distributed first, as a cluster of this one node (its
role must be a superuser); where the server has no Citus, what needs a database is skipped.
"""

import fcntl
import gc
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import pytest
import structlog
from hypothesis import settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from taximeter.gateways.postgres import EmbeddedPostgres
from taximeter.kernel.errors import Unavailable
from taximeter.storage.distribute import distribute
from taximeter.storage.migrate import migrate

# wal_level: a database is copied file by file, without writing it to the log again.
_FAST = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "wal_level": "minimal", "max_wal_senders": "0",
}  # fmt: skip
_PREFIX = "taximeter-pytest-"
_ON_CITUS = bool(os.environ.get("TAXIMETER_TEST_CITUS"))
_SHARDS = 4
_NUMBERS = count(1)
_RUN = pytest.StashKey[Path]()

# A slow machine fails no test; CI draws the same examples each time.
settings.register_profile("taximeter", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("taximeter")

# With the local variables of every frame, as is the default, one error takes minutes to print.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)

Connection = psycopg.Connection[tuple[object, ...]]
NewDatabase = Callable[[], AbstractContextManager[str]]


@dataclass(frozen=True, slots=True)
class TestServer:
    """A server for tests: `url` of the role that owns the databases, `admin_url` to make them."""

    __test__ = False

    url: str
    admin_url: str
    template: str


def url_with_database(url: str, name: str) -> str:
    """`url` for another database of the same server."""
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    parts["dbname"] = name
    user, password = quote(parts.pop("user", ""), safe=""), parts.pop("password", None)
    login = f"{user}:{quote(password, safe='')}@" if password else f"{user}@" if user else ""
    return f"postgresql://{login}/{quote(parts.pop('dbname'))}?{urlencode(parts)}"


def pytest_configure(config: pytest.Config) -> None:
    """The controller names the directory of this run; the workers are told."""
    told = getattr(config, "workerinput", {}).get("taximeter_run")
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    config.stash[_RUN] = Path(told or Path(tempfile.gettempdir(), name))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tells a worker of xdist the directory of this run."""
    node.workerinput["taximeter_run"] = str(node.config.stash[_RUN])  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_report_header() -> str:
    """Says whether the lane of distributed databases is open."""
    if _ON_CITUS:
        return "citus: every database is distributed first (TAXIMETER_TEST_CITUS)"
    return "citus: skipped; set TAXIMETER_TEST_CITUS and TAXIMETER_TEST_DATABASE_URL to run on it"


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller, which ends last, stops the server of this run, and those of killed runs."""
    if hasattr(config, "workerinput"):
        return
    outside = os.environ.get("TAXIMETER_TEST_DATABASE_URL")
    if outside and config.stash[_RUN].exists():
        with psycopg.connect(outside, autocommit=True) as connection:
            _drop(connection, _template(config))
    for run in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = int(run.name.removeprefix(_PREFIX).partition("-")[0])
        if run == config.stash[_RUN] or not _exists(pid):
            if (run / "postgres").exists():
                with suppress(Unavailable):  # killed while it was made, or by two ends at once
                    EmbeddedPostgres.start(run, settings=_FAST).stop()
            shutil.rmtree(run, ignore_errors=True)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Where `async def` tests and fixtures of any scope run."""
    return "asyncio"


@pytest.fixture(scope="session")
def test_server(pytestconfig: pytest.Config) -> Iterator[TestServer]:
    """The server of this run with its template; started where this test is the first to ask."""
    run = pytestconfig.stash[_RUN]
    run.mkdir(exist_ok=True)
    template = _template(pytestconfig)
    outside = os.environ.get("TAXIMETER_TEST_DATABASE_URL")
    if outside:
        _make_template(outside, outside, template, embedded=False)
        yield TestServer(url=outside, admin_url=outside, template=template)
        return
    server = EmbeddedPostgres.start(run, settings=_FAST)
    try:
        _make_template(server.superuser_url, server.url, template, embedded=True)
        yield TestServer(url=server.url, admin_url=server.superuser_url, template=template)
    finally:
        server.leave()


@pytest.fixture(scope="session")
def put_cluster(pytestconfig: pytest.Config) -> Callable[[Path], None]:
    """Puts a cluster that was made before into an empty data directory, with all migrations
    applied: for tests that begin after the first start.
    """
    run = pytestconfig.stash[_RUN]
    run.mkdir(exist_ok=True)
    with (run / "made.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / "made" / "postgres").exists():
            with EmbeddedPostgres.start(run / "making", settings=_FAST) as server:
                migrate(server.url)
            (run / "making").rename(run / "made")

    def put(data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", run / "made" / "postgres", data], check=True)

    return put


@pytest.fixture(scope="session")
def _databases(test_server: TestServer) -> Iterator["_Databases"]:
    with psycopg.connect(test_server.admin_url, autocommit=True) as connection:
        found = _Databases(test_server, connection)
        yield found
        found.drop_used()


@pytest.fixture(scope="session")
def new_database(_databases: "_Databases", test_server: TestServer) -> NewDatabase:
    """Makes databases with all migrations applied, each for as long as its context is open."""
    return lambda: _databases.fresh(test_server.template)


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str]:
    """A fresh database with all migrations applied, dropped after the test."""
    with new_database() as url:
        if _ON_CITUS:
            _spread(url)
        yield url


@pytest.fixture
def empty_database_url(_databases: "_Databases") -> Iterator[str]:
    """A fresh database with nothing in it, dropped after the test."""
    with _databases.fresh("template0") as url:
        yield url


class _Databases:
    """The databases of this process. One that was used is dropped before the next is made: by then
    its connections are gone, for which dropping it at once would wait.
    """

    def __init__(self, server: TestServer, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._used: list[str] = []

    @contextmanager
    def fresh(self, template: str) -> Iterator[str]:
        """The URL of a new database; what is in it is lost when the context ends."""
        self.drop_used()
        name = f"test_{os.getpid()}_{next(_NUMBERS)}"
        owner = str(conninfo_to_dict(self._server.url)["user"])
        _create(self._connection, name, template, owner=owner)
        try:
            yield url_with_database(self._server.url, name)
        finally:
            self._used.append(name)

    def drop_used(self) -> None:
        while self._used:
            _drop(self._connection, self._used.pop())


def _spread(url: str) -> None:
    """Distributes a database over the one node it is on."""
    parts = conninfo_to_dict(url)
    place = [parts.get("host") or "localhost", int(parts.get("port") or 5432)]
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT FROM pg_available_extensions WHERE name = 'citus'"
        if not connection.execute(query).fetchone():
            pytest.skip("this server has no Citus")
        connection.execute("CREATE EXTENSION citus")
        connection.execute("SELECT citus_set_coordinator_host(%s, %s)", place)
        takes_shards = "SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', true)"
        connection.execute(takes_shards, place)
    distribute(url, shards=_SHARDS, told=lambda _step: None)


def _template(config: pytest.Config) -> str:
    return config.stash[_RUN].name.replace("-", "_")


def _make_template(admin_url: str, url: str, template: str, *, embedded: bool) -> None:
    """Makes the template once: the first worker does, the others wait for its lock."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [template])
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(query, [template]).fetchone():
            return
        if embedded:
            _make_logins_cheap(connection, admin_url, url)
        raw = f"{template}_raw"
        _drop(connection, raw)
        _create(connection, raw, "template0", owner=str(conninfo_to_dict(url)["user"]))
        migrate(url_with_database(url, raw))
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(raw), sql.Identifier(template)))


def _make_logins_cheap(connection: Connection, *urls: str) -> None:
    """Store the passwords anew, with one round of hashing in place of 4,096 at every login."""
    with connection.transaction():
        connection.execute("SET LOCAL scram_iterations = 1")
        for parts in map(conninfo_to_dict, urls):
            role, password = sql.Identifier(str(parts["user"])), sql.Literal(parts["password"])
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(change.format(role, password))


def _create(connection: Connection, name: str, template: str, owner: str) -> None:
    text = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY")
    names = (sql.Identifier(each) for each in (name, owner, template))
    connection.execute(text.format(*names))


def _drop(connection: Connection, name: str) -> None:
    text = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    connection.execute(text.format(sql.Identifier(name)))
