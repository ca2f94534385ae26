"""The server's HTTP protocol, with a short way for hot requests.

A plain hot request (a POST to a hot route whose length is known, by a caller who is remembered) is
read, answered and written within the event loop, without ASGI's scope and messages, which cost a
small request as much as all else that is done for it (decision 27). Anything that is not plain goes
uvicorn's way to the ASGI application, which knows the same routes. Owns what is plain, and the
bounds on what comes slowly or never ends; parsing HTTP is httptools', connections are uvicorn's.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, Protocol, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from taximeter.http.app import Application, hot_route
from taximeter.http.body import BODY_BYTES_MAX
from taximeter.http.hot import Answered, HotRequest, HotRoute
from taximeter.http.server import bearer_secret
from taximeter.services.keys import Caller, secret_digest

HEAD_BYTES_MAX = 64 * 1024
HEAD_S_MAX = 30
BODY_S_MAX = 600
_NOT_PLAIN = frozenset((b"content-encoding", b"expect", b"transfer-encoding"))
_NOBODY = asyncio.Event()
_HEAD_END = b"\r\n\r\n"
HEADS_KNOWN_MAX = 64  # of a connection: they differ by the length of the body
HEAD_KNOWN_BYTES_MAX = 2 * 1024  # more than clients say each time


class HasApi(Protocol):
    """The ASGI application that is served, of which `api` is the part with the hot routes."""

    @property
    def api(self) -> Application:
        """The API."""
        ...


class _Head(NamedTuple):
    """What a plain request's head says: to whom it goes, who asks (the digest of a secret), and how
    long the body is.
    """

    route: HotRoute
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    digest: bytes
    length: int


class _Exchange(RequestResponseCycle):
    """A hot request under way, in the place of uvicorn's cycle: it tells uvicorn whether another
    request of this connection has to wait, and is told whether the connection is kept.
    """

    message_event = _NOBODY
    disconnected = False

    def __init__(self, head: _Head, caller: Caller, *, keep_alive: bool) -> None:
        self.head = head
        self.caller = caller
        self.keep_alive = keep_alive
        self.begin = perf_counter()
        self.parts: list[bytes] = []
        self.response_complete = False
        self.result: asyncio.Future[Any] | None = None


class HotProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._api = cast("HasApi", config.app).api
        self._heads = 0  # begun on this connection, of those that were parsed
        self._pending = cast("set[asyncio.Future[Any]]", self.tasks)
        self._known: dict[bytes, _Head] = {}
        self._said: Any = None  # what every answer's head says this second, and that as bytes
        self._first_lines = b""
        self._in_head = self._in_body = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._declined = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, which is closed where nobody uses it."""
        super().connection_made(transport)
        self._wait_idle()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent. A head that is too big, and a request that is too slow, end
        the connection.
        """
        self._unset_keepalive_if_required()
        self._idle_since = None
        is_first = not (self._in_head or self._in_body)
        if is_first and self._recall(data):
            return
        heads = self._heads
        head = heads if self._in_head else 0
        if not self._feed(data):
            self.send_400_response("Invalid HTTP request received.")
        elif self._in_head or self._in_body:
            self._wait_for_rest(len(data) if self._in_head and head == self._heads else 0)
        else:
            if is_first and self._heads == heads + 1:
                self._remember(data)
            if not self._is_answering:
                self._wait_idle()

    def _recall(self, data: bytes) -> bool:
        """Answer a whole request whose head is, byte by byte, one that was parsed before. A client
        says the same each time, and parsing costs more than to look it up.
        """
        end = data.find(_HEAD_END) + len(_HEAD_END)
        head = self._known.get(data[:end])
        if head is None or len(data) != end + head.length or self._is_answering:
            return False
        caller = self._caller(head)
        if caller is None:
            return False
        exchange = self.cycle = _Exchange(head, caller, keep_alive=True)
        self._ask(exchange, data[end:])
        return True

    def _remember(self, data: bytes) -> None:
        """Remember the head of the one request that was read just now, if it was plain. One with an
        idempotency key or the id of a hold comes but once; a large one would cost more memory than
        it saves time.
        """
        exchange = self.cycle
        if not isinstance(exchange, _Exchange) or not exchange.keep_alive:
            return
        head = exchange.head
        end = len(data) - head.length
        comes_once = head.path != head.route.name or b"idempotency-key" in head.headers
        if comes_once or end > HEAD_KNOWN_BYTES_MAX:
            return
        if data.find(_HEAD_END) + len(_HEAD_END) == end:
            if len(self._known) >= HEADS_KNOWN_MAX:
                self._known.clear()
            self._known[data[:end]] = head

    def _feed(self, data: bytes) -> bool:
        """Have it parsed; whether it is HTTP. A wish to speak another protocol is declined: the
        parser, which takes what follows for that one's, reads the head again without the wish. No
        client that means it wishes so twice in one read.
        """
        for _ in range(2):
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as wish:
                head, self._declined = self._declined, b""
                if not head:
                    return False
                data = head + data[wish.args[0] :]
            except httptools.HttpParserError:
                return False
            else:
                return True
        return False

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait_idle(self) -> None:
        """Close the connection after a while, unless a request comes. One timer looks after all
        that is answered while it runs: to set one for each costs more than to parse a request.
        """
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._end_idle)

    def _end_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_later(left_s, self._end_idle)

    def _wait_for_rest(self, more_bytes: int) -> None:
        """Bound a request that did not come in one piece."""
        self._head_bytes += more_bytes
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            if not self._is_answering:
                self.transport.write(STATUS_LINE[431] + b"connection: close\r\n\r\n")
            self.transport.close()
        elif self._deadline is None:
            seconds = HEAD_S_MAX if self._in_head else BODY_S_MAX
            self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _end_wait(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client has left; what only it would have needed is not done."""
        self._end_wait()
        self._idle_since = None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        exchange = self.cycle
        super().connection_lost(exc)
        if isinstance(exchange, _Exchange) and exchange.head.route.abandons and exchange.result:
            exchange.result.cancel()

    def on_message_begin(self) -> None:
        """Begin to read a request's head. ASGI's scope is made of it where that is needed."""
        self._in_head = True
        self._heads += 1
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what trails a body is left out."""
        if self._in_head:
            name = name.lower()
            if name == b"expect":
                self.expect_100_continue = value.lower() == b"100-continue"
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin a request, the short way where it is plain."""
        self._in_head, self._in_body = False, True
        self._end_wait()
        if self.parser.should_upgrade():
            self._decline()
            return
        head = self._plain()
        caller = None if head is None else self._caller(head)
        if head is not None and caller is not None:
            keep_alive = self.parser.should_keep_alive()
            self.cycle = _Exchange(head, caller, keep_alive=keep_alive)
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers += headers  # the scope's own list
        super().on_headers_complete()

    def _decline(self) -> None:
        """Keep the head without the wish to speak another protocol. A tunnel is no wish: there is
        nothing else to be read.
        """
        method = self.parser.get_method()
        if method != b"CONNECT":
            kept = [b"%s: %s\r\n" % one for one in self.headers if one[0] != b"upgrade"]
            version = self.parser.get_http_version().encode()
            first = b"%s %s HTTP/%s\r\n" % (method, self.url, version)
            self._declined = b"".join((first, *kept, b"\r\n"))

    def _plain(self) -> _Head | None:
        """The head of a request that is hot and plain, and alone on its connection."""
        if self._is_answering:
            return None
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return None
        before_query, _, query = self.url.partition(b"?")
        path = before_query.decode("latin-1")
        if b"#" in query:
            return None
        route = hot_route(path)
        if route is None:
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            return None
        if not _NOT_PLAIN.isdisjoint(headers):
            return None
        secret = bearer_secret(headers.get(b"authorization", b"").decode("latin-1"))
        return _Head(route, path, query, headers, secret_digest(secret), int(length))

    def _caller(self, head: _Head) -> Caller | None:
        """Who asks, where that is remembered."""
        server = self._api.server
        return server.callers.cached(head.digest, self.loop.time(), server.context.clock)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if isinstance(self.cycle, _Exchange):
            self.cycle.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request: a hot one can be answered now."""
        self._in_body = False
        self._end_wait()
        if self.parser.should_upgrade():
            return
        exchange = self.cycle
        if not isinstance(exchange, _Exchange):
            super().on_message_complete()
            return
        parts, exchange.parts = exchange.parts, []
        self._ask(exchange, parts[0] if len(parts) == 1 else b"".join(parts))

    def _ask(self, exchange: _Exchange, body: bytes) -> None:
        """Begin to answer a request, which was read to its end."""
        route, path, query, headers, _, _ = exchange.head
        asked = self._api.ask(route, HotRequest(exchange.caller, path, query, headers, body))
        result = asked.result
        if not isinstance(result, asyncio.Future):
            result = self.loop.create_task(result)
        exchange.result = result
        self._pending.add(result)
        result.add_done_callback(partial(self._answer, exchange, asked.answered))

    def _answer(
        self,
        exchange: _Exchange,
        answered: Callable[[Any], Answered],
        result: "asyncio.Future[Any]",
    ) -> None:
        """Answer a request whose result has come; a client that has left gets none."""
        self._pending.discard(result)
        exchange.result = None
        if result.cancelled():
            return
        answer = self._api.answer(exchange.head.route, answered, result, exchange.begin)
        if not self.flow.write_paused:
            self._write(exchange, answer)
            return
        drained = self.loop.create_task(self.flow.drain())
        self._pending.add(drained)
        drained.add_done_callback(lambda _: self._write(exchange, answer))
        drained.add_done_callback(self._pending.discard)

    def _write(self, exchange: _Exchange, answer: Answered) -> None:
        exchange.response_complete = True
        if not self.transport.is_closing():
            self.transport.write(self._head(answer, keep_alive=exchange.keep_alive))
            if not exchange.keep_alive:
                self.transport.close()
        self._end_exchange()

    def _end_exchange(self) -> None:
        """As uvicorn ends a cycle: the connection's next request can be answered."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._wait_idle()

    def _head(self, answered: Answered, *, keep_alive: bool) -> bytes:
        """An answer as it goes over the wire."""
        said = self.server_state.default_headers  # another list each second
        if said is not self._said:
            self._said = said
            self._first_lines = b"".join(b"%s: %s\r\n" % header for header in said)
        return b"".join((
            STATUS_LINE[answered.status],
            self._first_lines,
            _LENGTH % (answered.content_type.encode(), len(answered.body)),
            _lines(answered.headers) if answered.headers else b"",
            b"\r\n" if keep_alive else b"connection: close\r\n\r\n",
            answered.body,
        ))  # fmt: skip


_LENGTH = b"content-type: %s\r\ncontent-length: %d\r\n"


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
