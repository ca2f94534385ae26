"""NATS JetStream: a durable pull consumer, which several processes may share.

Owns the consumer's settings: every message is acknowledged by itself, after `done`; one that is
neither acknowledged nor worked on for a while (`ack_wait_s`) comes again. The client lives in an
event loop in a thread of its own, so that it answers the server while nobody takes.
"""

import asyncio
import importlib
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC
from typing import Any, TypeVar

from taximeter.gateways.streams import Message
from taximeter.kernel.errors import Unavailable

UNACKNOWLEDGED_MAX = 20_000
CONNECT_S_MAX = 5
ANSWER_S_MAX = 30
Result = TypeVar("Result")


class NatsStream:
    """The durable consumer `durable` of the JetStream stream `stream`, made where it is not there.
    `subject` confines a new one to a part of the stream, `ack_wait_s` is how long its messages are
    waited for; `credentials` is a file of the server's.

    Raises `Unavailable` where the client is not installed, or the server or the stream not there.
    """

    def __init__(
        self,
        *,
        servers: Sequence[str],
        stream: str,
        durable: str,
        subject: str | None,
        credentials: str | None,
        ack_wait_s: int,
        notice: Callable[[str], None],
    ) -> None:
        self._nats = _client()
        self._errors = importlib.import_module("nats.js.errors")
        self._stream = stream
        self._durable = durable
        self._ack_wait_s = ack_wait_s
        self._notice = notice
        self._said = ""
        self._open: list[Any] = []
        self._kept_at = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        try:
            self._run(self._connect(servers, subject, credentials))
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            self._end_loop()
            raise Unavailable(
                what=f"The stream {stream} of NATS cannot be consumed: {_text(error)}.",
                cure="Look at --server, --stream and --subject; the stream must be there.",
            ) from None

    def take(self, count_max: int, wait_s: float) -> Sequence[Message]:
        """The next messages of the durable consumer."""
        try:
            found = self._run(self._pull.fetch(count_max, timeout=wait_s))
        except TimeoutError:
            return []
        except self._nats.errors.Error as error:
            self._note(error)
            self._run(asyncio.sleep(wait_s))
            return []
        self._said = ""
        self._open += found
        self._kept_at = self._loop.time()
        return [self._read(one) for one in found]

    def done(self, messages: Sequence[Message]) -> None:
        """Acknowledge these messages."""
        positions = {one.position for one in messages}
        finished = [one for one in self._open if _position(one) in positions]
        self._open = [one for one in self._open if _position(one) not in positions]
        self._tell(finished, lambda one: one.ack())

    def keep(self) -> None:
        """Have the server wait on for what is open."""
        if self._loop.time() - self._kept_at >= self._ack_wait_s / 4:
            self._kept_at = self._loop.time()
            self._tell(self._open, lambda one: one.in_progress())

    def lag(self) -> Mapping[str, int]:
        """What the server has not delivered yet to this durable consumer, whoever shares it."""
        try:
            info = self._run(self._pull.consumer_info())
        except (self._nats.errors.Error, TimeoutError) as error:
            self._note(error)
            return {}
        return {f"nats:{self._stream}": info.num_pending or 0}

    def close(self) -> None:
        """Leave; what is open comes again once its time is over."""
        try:
            self._run(self._connection.close())
        finally:
            self._end_loop()

    async def _connect(
        self, servers: Sequence[str], subject: str | None, credentials: str | None
    ) -> None:
        api = importlib.import_module("nats.js.api")
        self._connection = await self._nats.connect(
            list(servers), name="taximeter", connect_timeout=CONNECT_S_MAX,
            user_credentials=credentials, allow_reconnect=True, max_reconnect_attempts=-1,
            error_cb=self._noted,
        )  # fmt: skip
        try:
            streams = self._connection.jetstream()
            try:
                await streams.consumer_info(self._stream, self._durable)
            except self._errors.NotFoundError:
                await streams.add_consumer(
                    self._stream,
                    api.ConsumerConfig(
                        durable_name=self._durable, ack_policy=api.AckPolicy.EXPLICIT,
                        deliver_policy=api.DeliverPolicy.ALL, ack_wait=self._ack_wait_s,
                        max_ack_pending=UNACKNOWLEDGED_MAX, filter_subject=subject,
                    ),
                )  # fmt: skip
            self._pull = await streams.pull_subscribe_bind(
                consumer=self._durable, stream=self._stream
            )
        except BaseException:
            await self._connection.close()
            raise

    async def _noted(self, error: Exception) -> None:
        self._note(error)

    def _tell(
        self, messages: Sequence[Any], say: Callable[[Any], Coroutine[Any, Any, None]]
    ) -> None:
        """Say something to the server of each message. What does not arrive comes again."""

        async def telling() -> None:
            for one in messages:
                await say(one)
            await self._connection.flush(timeout=ANSWER_S_MAX)

        try:
            self._run(telling())
        except (self._nats.errors.Error, TimeoutError) as error:
            self._note(error)

    def _read(self, one: Any) -> Message:
        return Message(
            f"nats:{self._stream}", _position(one), one.metadata.timestamp.astimezone(UTC),
            one.data, dict(one.headers or {}),
        )  # fmt: skip

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _note(self, error: Exception) -> None:
        """Tell of an error that the client gets over by itself, once in a row."""
        if _text(error) != self._said:
            self._said = _text(error)
            self._notice(f"NATS: {_text(error)}; trying again.")


def _position(one: Any) -> int:
    return int(one.metadata.sequence.stream)


def _text(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _client() -> Any:
    try:
        return importlib.import_module("nats")
    except ImportError:
        raise Unavailable(
            what="The NATS client is not installed.",
            cure="Install it: pip install 'taximeter[nats]'.",
        ) from None
