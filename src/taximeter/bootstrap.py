"""The composition root: the only reader of the environment, of the real clock and of random bytes.

Builds the database, the context, the committer and the applications, and takes them down again.
"""

import asyncio
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from taximeter.gateways.postgres import EmbeddedPostgres
from taximeter.http.app import Application
from taximeter.http.server import Server
from taximeter.kernel.ids import IdSource
from taximeter.services.committer import Committer
from taximeter.services.context import Clock, Connection, Context, TestClock
from taximeter.services.due import run_due
from taximeter.services.ingest import IngestAnswer, IngestRequest, commit_requests, weight_of
from taximeter.services.instance import first_start
from taximeter.services.keys import Callers
from taximeter.services.release import sweep
from taximeter.services.terms import Terms
from taximeter.storage.ingestion import prepare_connection
from taximeter.storage.migrate import migrate
from taximeter.worker.loop import run_for_ever

POOL_MIN = 2
POOL_MAX = 16
EVENTS_PER_COMMIT = 5_000
EVENTS_WAITING_MAX = 100_000
DATABASE_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How an instance runs. Without `database_url` an embedded PostgreSQL in `data`."""

    data: Path = Path("taximeter-data")
    database_url: str | None = None
    root_key: str | None = None
    sandbox: bool = False
    now: datetime | None = None
    open_metrics: bool = False
    lanes: int = 1
    workers: bool = True


def settings_from(environment: Mapping[str, str], **options: object) -> Settings:
    """Settings from the environment, with what the command line says on top."""
    return Settings(
        database_url=environment.get("DATABASE_URL") or None,
        root_key=environment.get("TAXIMETER_API_KEY") or None,
        **options,  # type: ignore[arg-type]
    )


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """This instant."""
        return datetime.now(UTC)


class StandingClock:
    """A sandbox's clock: stands still until it is set."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """The instant it was set to."""
        return self._at

    def set(self, at: datetime) -> None:
        """Show `at` from now on."""
        self._at = at


@dataclass(slots=True)
class Instance:
    """A running instance: its applications and what keeps them going."""

    app: Application
    context: Context
    server: Server
    database: EmbeddedPostgres | None
    database_url: str
    first_secret: str | None
    notices: list[str]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def close(self) -> None:
        """Commit what waits, stop the tasks, close the database (and end it if it is ours)."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.ingest.stop()
        await self.context.pool.close()
        if self.database is not None:
            await asyncio.to_thread(self.database.stop)


async def open_instance(settings: Settings) -> Instance:
    """Bring an instance up: database, migrations, first key, committer, worker.

    Raises `Unavailable` where the database cannot be had.
    """
    database = None
    url = settings.database_url
    if url is None:
        database = await asyncio.to_thread(EmbeddedPostgres.start, settings.data)
        url = database.url
    try:
        await asyncio.to_thread(migrate, url)
        return await _open(settings, url, database)
    except BaseException:
        if database is not None:
            await asyncio.to_thread(database.stop)
        raise


async def _open(settings: Settings, url: str, database: EmbeddedPostgres | None) -> Instance:
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        url, min_size=POOL_MIN, max_size=POOL_MAX, open=False, timeout=10,
        check=AsyncConnectionPool.check_connection, connection_class=AsyncConnection,
    )  # fmt: skip
    await pool.open()
    real = RealClock()
    ids = IdSource(secrets.randbits)
    started = await first_start(
        pool, ids, real.now(), sandbox=settings.sandbox, clock_at=settings.now,
        random_bytes=None if settings.root_key else secrets.token_bytes(32),
    )  # fmt: skip
    clock: Clock = real
    test_clock: TestClock | None = None
    if started.clock_at is not None:
        clock = test_clock = StandingClock(started.clock_at)
    context = Context(clock=clock, test_clock=test_clock, ids=ids, pool=pool, terms=Terms())

    async def connect() -> Connection:
        connection = await AsyncConnection.connect(url)
        await prepare_connection(connection)
        return connection

    async def commit(
        connection: Connection, requests: list[IngestRequest]
    ) -> list[IngestAnswer]:
        return await commit_requests(context, connection, requests)

    ingest: Committer[IngestRequest, IngestAnswer] = Committer(
        connect=connect, commit=commit, weight=weight_of,
        weight_per_commit=EVENTS_PER_COMMIT, weight_waiting_max=EVENTS_WAITING_MAX,
        lanes=settings.lanes,
    )  # fmt: skip
    server = Server(
        context=context, callers=Callers(settings.root_key), ingest=ingest,
        random_bytes=secrets.token_bytes, open_metrics=settings.open_metrics,
    )  # fmt: skip
    instance = Instance(
        app=Application(server), context=context, server=server, database=database,
        database_url=url, first_secret=started.secret, notices=started.notices,
    )  # fmt: skip
    ingest.start()
    if settings.workers:
        jobs = {"due": lambda: run_due(context), "release": lambda: sweep(context)}
        instance.tasks.append(asyncio.create_task(run_for_ever(jobs)))
    if database is not None:
        instance.tasks.append(asyncio.create_task(_keep_running(database, url)))
    return instance


async def _keep_running(database: EmbeddedPostgres, url: str) -> None:
    """Start our PostgreSQL again where it has died under us."""
    while True:
        await asyncio.sleep(DATABASE_CHECK_S)
        try:
            async with await AsyncConnection.connect(url, connect_timeout=5) as connection:
                await connection.execute("SELECT 1")
        except psycopg.OperationalError:
            await asyncio.to_thread(database.ensure_running)
