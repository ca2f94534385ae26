"""What the commands are given by the composition root.

Owns the list of it. The commands know neither the environment, the clock, a random source nor the
database but by these; each method imports what it needs when it is called, so that `--help` is
quick.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from taximeter.services.context import Context

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How an instance is opened. `own_database`: the embedded one in `data`, whatever the
    environment says; `root_key`: an admin key for this run instead of the environment's;
    `allow_private_webhooks`: webhooks may go to private addresses; `keep_answers_days`: how long
    the first answer to an Idempotency-Key is kept; `read_s_max`: how long a read may take.
    """

    data: Path
    sandbox: bool
    now: datetime | None
    open_metrics: bool
    own_database: bool = False
    root_key: str | None = None
    allow_private_webhooks: bool = False
    keep_answers_days: int = 30
    read_s_max: float = 30


class RunningInstance(Protocol):
    """An instance that is up: an ASGI application, and what to tell the operator."""

    @property
    def app(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The application to serve."""
        ...

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """How a connection to it is served."""
        ...

    @property
    def first_secret(self) -> str | None:
        """The first admin key where this start made it, to be shown this once."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What the operator should know, in sentences."""
        ...

    def sign_in_path(self, secret: str) -> str:
        """Where a browser signs in with this API key, once and within ten minutes."""
        ...

    def end_streams(self) -> None:
        """End the answers that would never end by themselves, before the server stops."""
        ...

    async def close(self) -> None:
        """Commit what waits and let go of everything."""
        ...


class StreamMessage(Protocol):
    """A message of a stream: where it lies, when it was written, what it holds."""

    @property
    def stream(self) -> str:
        """The stream's name, such as `kafka:usage/3`."""
        ...

    @property
    def position(self) -> int:
        """Its place there."""
        ...

    @property
    def at(self) -> datetime:
        """When it was written."""
        ...

    @property
    def body(self) -> bytes:
        """Its content."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What it says beside its content."""
        ...


class MessageStream(Protocol):
    """A consumer's place in a stream: what is taken and not said to be done comes again."""

    def take(self, count_max: int, wait_s: float) -> Sequence[StreamMessage]:
        """The next messages; none where none came within `wait_s`. Raises `Unavailable`."""
        ...

    def done(self, messages: Sequence[Any]) -> None:
        """These, all that the last `take` gave, need not come again."""
        ...

    def keep(self) -> None:
        """Say that this consumer still works on what it took. To be called every few seconds."""
        ...

    def lag(self) -> Mapping[str, int]:
        """How many messages lie ahead, by stream, as far as it is known."""
        ...

    def close(self) -> None:
        """Leave, so that others need not wait to take over."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Which topics are consumed by which group, and the client's own settings."""

    brokers: str
    topics: Sequence[str]
    group: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """Which stream is consumed by which durable consumer; a new one of `subject` only, and with
    messages that come again where they are not acknowledged within `ack_wait_s`.
    """

    servers: Sequence[str]
    stream: str
    durable: str
    subject: str | None
    credentials: str | None
    ack_wait_s: int


class PlacedTable(Protocol):
    """A table: where it belongs in a cluster (`distributed`, `reference`, `local`), whether it
    stands there, and its bytes with indexes, on all nodes.
    """

    @property
    def name(self) -> str:
        """The table."""
        ...

    @property
    def kind(self) -> str:
        """Where it belongs."""
        ...

    @property
    def placed(self) -> bool:
        """Whether it stands there."""
        ...

    @property
    def bytes(self) -> int:
        """How large it is."""
        ...


class DistributionStep(Protocol):
    """What `distribute` does at once: all of it or nothing."""

    @property
    def sentence(self) -> str:
        """What is done, and what waits for it."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """The statements."""
        ...


class DistributionOutlook(Protocol):
    """What is still to be done, and the obstacle to it, if any: a sentence with the cure."""

    @property
    def tables(self) -> Sequence[PlacedTable]:
        """All tables, the largest first."""
        ...

    @property
    def steps(self) -> Sequence[DistributionStep]:
        """What is to be done, in order."""
        ...

    @property
    def obstacle(self) -> str | None:
        """What is in the way."""
        ...


class DatabaseNode(Protocol):
    """A node of the cluster."""

    @property
    def name(self) -> str:
        """Its address."""
        ...

    @property
    def shards(self) -> int:
        """How many shards it has."""
        ...

    @property
    def bytes(self) -> int:
        """How large they are."""
        ...


class DatabaseSizes(Protocol):
    """What stands where; without a cluster there are neither nodes nor largest customers."""

    @property
    def tables(self) -> Sequence[PlacedTable]:
        """All tables, the largest first."""
        ...

    @property
    def nodes(self) -> Sequence[DatabaseNode]:
        """The nodes that have shards."""
        ...

    @property
    def largest(self) -> Sequence[tuple[str, int]]:
        """The customers with the most events that meters counted, and how many."""
        ...


class Runtime(Protocol):
    """The outside world as the commands see it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Bytes nobody can guess."""
        ...

    async def open_instance(self, options: ServeOptions) -> RunningInstance:
        """Bring an instance up. Raises `Unavailable`."""
        ...

    def database(self, data: Path, *, create: bool) -> AbstractContextManager[str]:
        """The URL of the database, for as long as the context is open: the outside one, or the
        embedded one in `data`, which is adopted where it runs and started where it does not.

        Raises `Unavailable`, also where nothing is in `data` and `create` is false.
        """
        ...

    def migrate(self, url: str) -> list[str]:
        """Apply pending migrations; the names of those applied. Raises `Unavailable`."""
        ...

    def pending(self, url: str) -> list[str]:
        """The names of migrations not applied yet. Raises `Unavailable`."""
        ...

    def check(self, url: str) -> str | None:
        """The first difference from the declared schema, or None. Raises `Unavailable`."""
        ...

    def outlook(self, url: str, *, shards: int) -> DistributionOutlook:
        """What `distribute` would do; writes nothing. Raises `Unavailable`."""
        ...

    def distribute(
        self, url: str, *, shards: int, told: Callable[[DistributionStep], None]
    ) -> None:
        """Place the tables over the cluster's nodes; `told` hears of each step before it begins.
        Raises `Unavailable`.
        """
        ...

    def sizes(self, url: str) -> DatabaseSizes:
        """What stands where, and how large it is. Raises `Unavailable`."""
        ...

    def context(self, url: str) -> AbstractAsyncContextManager["Context"]:
        """What services are given, on the database at `url`. Raises `Unavailable`."""
        ...

    def open_stream(
        self, options: KafkaOptions | NatsOptions, notice: Callable[[str], None]
    ) -> MessageStream:
        """Join the consumers of a stream; `notice` is told in sentences what goes wrong and is
        tried again. Raises `Unavailable`.
        """
        ...
