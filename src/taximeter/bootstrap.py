"""The composition root: the only reader of the environment, of the real clock and of random bytes.

Builds the database, the context, the committer and the applications, and takes them down again;
`main` is the command line over them. What is built is imported when it is built, so that a command
that needs none of it (`--help`, `plan check`) starts at once.
"""

import asyncio
import gc
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from taximeter.kernel.errors import Unavailable

if TYPE_CHECKING:
    from taximeter.cli.runtime import (
        KafkaOptions,
        MessageStream,
        NatsOptions,
        Receive,
        Scope,
        Send,
        ServeOptions,
    )
    from taximeter.gateways.postgres import EmbeddedPostgres
    from taximeter.http.app import Application
    from taximeter.http.server import Server
    from taximeter.services.committer import Committer
    from taximeter.services.context import Connection, Context
    from taximeter.services.deliver import Deliverer
    from taximeter.services.hold_commit import HoldResult
    from taximeter.services.hold_requests import HoldRequest
    from taximeter.services.ingest import IngestAnswer, IngestRequest
    from taximeter.storage.connection import GroupConnection
    from taximeter.storage.distribute import Outlook, Sizes
    from taximeter.storage.distribution import Step
    from taximeter.web.app import WebApplication

POOL_MIN = 2
POOL_MAX = 16
EVENTS_PER_COMMIT = 5_000
EVENTS_WAITING_MAX = 100_000
EVENTS_FOR_SECOND_LANE = 1_000
HOLDS_PER_COMMIT = 1_000
HOLDS_WAITING_MAX = 20_000
HOLDS_FOR_SECOND_LANE = 50
DATABASE_CHECK_S = 1.0
API_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")


@dataclass(frozen=True, slots=True)
class Settings:
    """How an instance runs. Without `database_url` an embedded PostgreSQL in `data`."""

    data: Path = Path("taximeter-data")
    database_url: str | None = None
    root_key: str | None = None
    sandbox: bool = False
    now: datetime | None = None
    open_metrics: bool = False
    lanes: int = 2
    workers: bool = True
    allow_private_webhooks: bool = False
    keep_answers: timedelta = timedelta(days=30)
    read_s_max: float | None = 30


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

    __test__: ClassVar[bool] = False  # as its protocol says, whose name a test runner would collect

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """The instant it was set to."""
        return self._at

    def set(self, at: datetime) -> None:
        """Show `at` from now on."""
        self._at = at


@dataclass(frozen=True, slots=True)
class Front:
    """The whole instance as one ASGI application: the API at its paths, the pages at theirs. What
    is nowhere is answered by the pages to a browser, by the API to a program.
    """

    api: "Application"
    web: "WebApplication"

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Hand the request to whom it is for."""
        await (self.web if self._is_for_pages(scope) else self.api)(scope, receive, send)

    @staticmethod
    def _is_for_pages(scope: "Scope") -> bool:
        if scope["type"] != "http" or scope["path"].startswith(API_PATHS):
            return False
        from taximeter.web.app import is_page

        return is_page(scope["path"]) or b"text/html" in dict(scope["headers"]).get(b"accept", b"")


@dataclass(slots=True)
class Instance:
    """A running instance: its applications and what keeps them going."""

    app: Front
    context: "Context"
    server: "Server"
    deliverer: "Deliverer"
    database: "EmbeddedPostgres | None"
    database_url: str
    first_secret: str | None
    notices: list[str]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """How a connection to the application is served."""
        from taximeter.http.protocol import HotProtocol

        return HotProtocol

    def sign_in_path(self, secret: str) -> str:
        """Where a browser signs in with this API key, once and within ten minutes."""
        token = self.app.web.site.sessions.make_link(secret, asyncio.get_running_loop().time())
        return f"/login?token={token}"

    def end_streams(self) -> None:
        """End the answers that would never end by themselves."""
        self.app.web.site.live.close()

    async def close(self) -> None:
        """Commit what waits, stop the tasks, close the database (and end it if it is ours)."""
        self.end_streams()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.deliverer.close()
        await self.server.ingest.stop()
        await self.server.holds.stop()
        await self.context.pool.close()
        if self.database is not None:
            await asyncio.to_thread(self.database.stop)


async def open_instance(settings: Settings) -> Instance:
    """Bring an instance up: database, migrations, first key, committer, worker.

    Raises `Unavailable` where the database cannot be had.
    """
    from taximeter.gateways.postgres import EmbeddedPostgres
    from taximeter.storage.migrate import migrate

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


async def _open(settings: Settings, url: str, database: "EmbeddedPostgres | None") -> Instance:
    from taximeter.gateways.payments import FakePayments
    from taximeter.gateways.webhooks import HttpWebhooks
    from taximeter.http.app import Application
    from taximeter.http.server import Server
    from taximeter.services.books import BooksWatch
    from taximeter.services.deliver import Deliverer
    from taximeter.services.due import run_due
    from taximeter.services.erase import run_erasures
    from taximeter.services.holds import Owners
    from taximeter.services.instance import first_start
    from taximeter.services.keys import Callers
    from taximeter.services.once import forget_answers
    from taximeter.services.release import sweep
    from taximeter.services.sources import SourcesWatch
    from taximeter.worker.loop import run_for_ever

    context = _context(url, connections_min=POOL_MIN, connections_max=POOL_MAX)
    context = replace(context, read_s_max=settings.read_s_max)
    await context.pool.open()
    started = await first_start(
        context.pool, context.ids, context.clock.now(), sandbox=settings.sandbox,
        clock_at=settings.now, random_bytes=None if settings.root_key else secrets.token_bytes(32),
    )  # fmt: skip
    if started.clock_at is not None:
        clock = StandingClock(started.clock_at)
        context = replace(context, clock=clock, test_clock=clock, payments=FakePayments())
    ingest = _ingest_committer(context, url, settings.lanes)
    holds = _hold_committer(context, url)
    webhooks = HttpWebhooks(allow_private=settings.allow_private_webhooks)
    server = Server(
        context=context, callers=Callers(settings.root_key), ingest=ingest, holds=holds,
        owners=Owners(), random_bytes=secrets.token_bytes, open_metrics=settings.open_metrics,
        webhooks=webhooks, books=BooksWatch(context, RealClock()), sources=SourcesWatch(context),
    )  # fmt: skip
    instance = Instance(
        app=Front(Application(server), _pages(server)), context=context, server=server,
        deliverer=Deliverer(context, webhooks, RealClock()), database=database,
        database_url=url, first_secret=started.secret, notices=started.notices,
    )  # fmt: skip
    ingest.start()
    holds.start()
    if settings.workers:
        jobs: dict[str, Callable[[], Awaitable[int]]] = {
            "due": lambda: run_due(context),
            "release": lambda: sweep(context),
            "erase": lambda: run_erasures(context),
            "answers": lambda: forget_answers(context, settings.keep_answers),
        }
        instance.tasks.append(asyncio.create_task(run_for_ever(jobs)))
        # By themselves: no job waits for a receiver, nor for a customer with many entries.
        for name, job in (
            ("webhooks", instance.deliverer.run_round), ("books", server.books.run_round),
            ("sources", server.sources.run_round),
        ):  # fmt: skip
            instance.tasks.append(asyncio.create_task(run_for_ever({name: job})))
    if database is not None:
        instance.tasks.append(asyncio.create_task(_keep_running(database)))
    return instance


def _pages(server: "Server") -> "WebApplication":
    from taximeter.web.app import WebApplication
    from taximeter.web.assets import Assets
    from taximeter.web.live import Live
    from taximeter.web.sessions import Sessions
    from taximeter.web.site import Site

    site = Site(
        context=server.context, callers=server.callers, sessions=Sessions(server.random_bytes),
        assets=Assets(cache_directory(environment())), live=Live(),
    )  # fmt: skip
    return WebApplication(site)


def cache_directory(environment: Mapping[str, str]) -> Path | None:
    """Where files may be kept that can be made again; None where there is no home for them."""
    chosen, home = environment.get("XDG_CACHE_HOME"), environment.get("HOME")
    if chosen and Path(chosen).is_absolute():
        return Path(chosen) / "taximeter"
    return Path(home) / ".cache" / "taximeter" if home else None


def _relax_garbage_collection() -> None:
    """A batch makes tens of thousands of objects that are no garbage yet: look less often, and not
    at what was there before. For a process that is the instance's own, once.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _context(url: str, *, connections_min: int, connections_max: int) -> "Context":
    """A context on real time over the database at `url`; its pool is not open yet."""
    from psycopg_pool import AsyncConnectionPool

    from taximeter.kernel.ids import IdSource
    from taximeter.services.context import Context
    from taximeter.services.terms import Terms

    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        url, min_size=connections_min, max_size=connections_max, open=False, timeout=10,
        check=AsyncConnectionPool.check_connection,
    )  # fmt: skip
    ids = IdSource(secrets.randbits)
    return Context(
        clock=RealClock(), test_clock=None, ids=ids, pool=pool, terms=Terms(),
        payments=None,
    )  # fmt: skip


def _ingest_committer(
    context: "Context", url: str, lanes: int
) -> "Committer[IngestRequest, IngestAnswer]":
    from taximeter.services.committer import Bounds, Committer
    from taximeter.services.ingest import commit_requests, weight_of
    from taximeter.storage.connection import GroupConnection

    async def connect() -> "GroupConnection":
        return await GroupConnection.opened(url)

    async def commit(
        connection: "Connection", requests: "Sequence[IngestRequest]"
    ) -> "list[IngestAnswer]":
        return await commit_requests(context, connection, requests)

    return Committer(
        connect=connect, commit=commit, weight=weight_of,
        bounds=Bounds(
            EVENTS_PER_COMMIT, EVENTS_WAITING_MAX, lanes=lanes, second_lane=EVENTS_FOR_SECOND_LANE
        ),
    )  # fmt: skip


def _hold_committer(context: "Context", url: str) -> "Committer[HoldRequest, HoldResult]":
    from taximeter.services.committer import Bounds, Committer
    from taximeter.services.hold_commit import commit_holds, key_of, weight_of
    from taximeter.storage.connection import GroupConnection

    async def connect() -> "GroupConnection":
        return await GroupConnection.opened(url)

    async def commit(
        connection: "Connection", requests: "Sequence[HoldRequest]"
    ) -> "list[HoldResult]":
        return await commit_holds(context, connection, requests)

    return Committer(
        connect=connect, commit=commit, weight=weight_of, key=key_of,
        bounds=Bounds(
            HOLDS_PER_COMMIT, HOLDS_WAITING_MAX, HOLDS_WAITING_MAX // 4, lanes=2,
            second_lane=HOLDS_FOR_SECOND_LANE,
        ),
    )  # fmt: skip


async def _keep_running(database: "EmbeddedPostgres") -> None:
    """Start our PostgreSQL again where it has died under us."""
    import structlog

    while True:
        await asyncio.sleep(DATABASE_CHECK_S)
        try:
            await asyncio.to_thread(database.ensure_running)
        except Unavailable as error:
            structlog.get_logger("database").error("restart_failed", error=error.detail)


class ProcessRuntime:
    """The outside world of the command line: this process's environment and database."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables."""
        return environment()

    def random_bytes(self, count: int) -> bytes:
        """Bytes nobody can guess."""
        return secrets.token_bytes(count)

    async def open_instance(self, options: "ServeOptions") -> Instance:
        """Bring an instance up. Raises `Unavailable`."""
        settings = settings_from(
            environment(), data=options.data, sandbox=options.sandbox, now=options.now,
            open_metrics=options.open_metrics,
            allow_private_webhooks=options.allow_private_webhooks,
            keep_answers=timedelta(days=options.keep_answers_days), read_s_max=options.read_s_max,
        )  # fmt: skip
        if options.own_database:
            settings = replace(settings, database_url=None)
        instance = await open_instance(
            replace(settings, root_key=options.root_key or settings.root_key)
        )
        _relax_garbage_collection()
        return instance

    @contextmanager
    def database(self, data: Path, *, create: bool) -> Iterator[str]:
        """The URL of the outside database, or of the embedded one in `data` while it is held.

        Raises `Unavailable`, also where nothing is in `data` and `create` is false.
        """
        url = settings_from(environment()).database_url
        if url is not None:
            yield url
            return
        from taximeter.gateways.postgres import EmbeddedPostgres

        if not create and not (data / "postgres").is_dir():
            raise Unavailable(
                what=f"There is no database in {data}.",
                cure="Name its directory with --data, or set DATABASE_URL; `taximeter serve` makes "
                "one.",
            )
        with EmbeddedPostgres.start(data) as server:
            yield server.url

    def migrate(self, url: str) -> list[str]:
        """Apply pending migrations; the names of those applied. Raises `Unavailable`."""
        from taximeter.storage.migrate import migrate

        return migrate(url)

    def pending(self, url: str) -> list[str]:
        """The names of migrations not applied yet. Raises `Unavailable`."""
        from taximeter.storage.migrate import pending

        return pending(url)

    def check(self, url: str) -> str | None:
        """The first difference from the declared schema, or None. Raises `Unavailable`."""
        from taximeter.storage.migrate import check

        return check(url)

    def outlook(self, url: str, *, shards: int) -> "Outlook":
        """What `distribute` would do; writes nothing. Raises `Unavailable`."""
        from taximeter.storage.distribute import outlook

        return outlook(url, shards=shards)

    def distribute(self, url: str, *, shards: int, told: "Callable[[Step], None]") -> None:
        """Place the tables over the cluster's nodes. Raises `Unavailable`."""
        from taximeter.storage.distribute import distribute

        distribute(url, shards=shards, told=told)

    def sizes(self, url: str) -> "Sizes":
        """What stands where, and how large it is. Raises `Unavailable`."""
        from taximeter.storage.distribute import sizes

        return sizes(url)

    @asynccontextmanager
    async def context(self, url: str) -> "AsyncIterator[Context]":
        """What services are given, without a server around it."""
        context = _context(url, connections_min=1, connections_max=1)
        async with context.pool:
            yield context

    def open_stream(
        self, options: "KafkaOptions | NatsOptions", notice: Callable[[str], None]
    ) -> "MessageStream":
        """Join the consumers of a stream. Raises `Unavailable`."""
        from taximeter.cli.runtime import KafkaOptions
        from taximeter.gateways.streams.kafka import KafkaStream
        from taximeter.gateways.streams.nats import NatsStream

        if isinstance(options, KafkaOptions):
            return KafkaStream(
                brokers=options.brokers, topics=options.topics, group=options.group,
                settings=options.settings, notice=notice,
            )  # fmt: skip
        return NatsStream(
            servers=options.servers, stream=options.stream, durable=options.durable,
            subject=options.subject, credentials=options.credentials,
            ack_wait_s=options.ack_wait_s, notice=notice,
        )  # fmt: skip


def main() -> None:
    """The `taximeter` command."""
    from taximeter.cli.main import make_cli

    make_cli(ProcessRuntime())(prog_name="taximeter")
