"""Figures that change while one watches, by Server-Sent Events.

Owns the streams and the one loop that reads for all of them: each topic is read once a round,
however many watch it, and a round begins a second after the last at the earliest, later where
reading took long. A stream sends only what changed, a comment every 15 s where nothing did, and
ends when the browser leaves, when its session ends, and when the server stops.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec
import structlog

from taximeter.web.figures import Figures

PAUSE_S = 1.0
PAUSE_FOR_EACH_S = 10  # of reading: it takes a tenth of the time at most
HEARTBEAT_S = 15.0
RETRY_MS = 3_000
STREAMS_MAX = 100

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Read = Callable[[], Awaitable[Figures]]
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]

log = structlog.get_logger("web")
_encode = msgspec.json.Encoder().encode


class _Topic:
    """What some streams watch: how it is read, and what was read last."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.figures: Figures | None = None
        self.changed = asyncio.Event()
        self.streams = 0

    def publish(self, figures: Figures) -> None:
        """Wake the streams where something is new."""
        if figures != self.figures:
            self.figures = figures
            self.changed.set()
            self.changed = asyncio.Event()


class Live:
    """The streams of one process: at most `streams_max`, each heard of every `heartbeat_s`."""

    def __init__(
        self,
        *,
        streams_max: int = STREAMS_MAX,
        heartbeat_s: float = HEARTBEAT_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._streams_max = streams_max
        self._heartbeat_s = heartbeat_s
        self._pause_s = pause_s
        self._topics: dict[str, _Topic] = {}
        self._reading: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._streams = 0

    @property
    def full(self) -> bool:
        """Whether there are as many streams as there may be."""
        return self._streams >= self._streams_max or self._closing.is_set()

    def close(self) -> None:
        """End all streams, and begin no other."""
        self._closing.set()
        if self._reading is not None:
            self._reading.cancel()

    async def stream(
        self,
        topic: str,
        read: Read,
        *,
        receive: Receive,
        send: Send,
        still_welcome: Callable[[], Awaitable[bool]],
    ) -> None:
        """Answer a request with the figures of `topic` until it ends. Check `full` first."""
        self._streams += 1
        watched = self._topics.setdefault(topic, _Topic(read))
        watched.streams += 1
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_for_all())
        leaving = asyncio.create_task(_left(receive))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await _send(send, f"retry: {RETRY_MS}\n\n".encode())
            with contextlib.suppress(OSError):
                await self._follow(watched, send, (leaving, closing), still_welcome)
            if not leaving.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            closing.cancel()
            self._streams -= 1
            watched.streams -= 1
            if not watched.streams:
                self._topics.pop(topic, None)

    async def _follow(
        self,
        topic: _Topic,
        send: Send,
        ends: tuple[asyncio.Task[Any], ...],
        still_welcome: Callable[[], Awaitable[bool]],
    ) -> None:
        loop = asyncio.get_running_loop()
        sent: Figures = {}
        number, checked_s = 0, loop.time()
        while not any(end.done() for end in ends):
            changed = topic.changed
            news = _news(sent, topic.figures or {})
            if news:
                number += 1
                sent = dict(topic.figures or {})
                await _send(send, b"id: %d\nevent: figures\ndata: %b\n\n" % (number, _encode(news)))
            waiting = asyncio.create_task(changed.wait())
            done, _ = await asyncio.wait(
                [waiting, *ends],
                timeout=self._heartbeat_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            waiting.cancel()
            if loop.time() - checked_s >= self._heartbeat_s:
                checked_s = loop.time()
                if not await still_welcome():
                    return
            if not done:
                await _send(send, b": still here\n\n")

    async def _read_for_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._topics:
            began_s = loop.time()
            for topic in list(self._topics.values()):
                try:
                    topic.publish(await topic.read())
                except Exception:
                    log.exception("live_read_failed")  # the next round may do better
            took_s = loop.time() - began_s
            await asyncio.sleep(max(self._pause_s, PAUSE_FOR_EACH_S * took_s))


def _news(before: Mapping[str, str], now: Mapping[str, str]) -> Figures:
    return {name: value for name, value in now.items() if before.get(name) != value}


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
