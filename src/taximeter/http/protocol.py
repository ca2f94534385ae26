"""The server's HTTP protocol, with a short way for hot requests.

A plain hot request (a POST to a hot route whose length is known, by a caller who is remembered) is
read, answered and written within the event loop, without ASGI's scope and messages, which cost a
small request as much as all else that is done for it (decision 27). Anything that is not plain goes
uvicorn's way to the ASGI application, which knows the same routes. Owns what is plain, and the
bounds on what comes slowly or never ends; parsing HTTP is httptools', connections are uvicorn's.
"""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Protocol, cast

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


class HasApi(Protocol):
    """The ASGI application that is served, of which `api` is the part with the hot routes."""

    @property
    def api(self) -> Application:
        """The API."""
        ...


class _Exchange(RequestResponseCycle):
    """A hot request under way, in the place of uvicorn's cycle: it tells uvicorn whether another
    request of this connection has to wait, and is told whether the connection is kept.
    """

    message_event = _NOBODY

    def __init__(
        self, route: HotRoute, caller: Caller, path: str, query: bytes,
        headers: Mapping[bytes, bytes], *, keep_alive: bool,
    ) -> None:  # fmt: skip
        self.route = route
        self.caller = caller
        self.path = path
        self.query = query
        self.headers = headers
        self.keep_alive = keep_alive
        self.begin = perf_counter()
        self.parts: list[bytes] = []
        self.response_complete = False
        self.disconnected = False
        self.task: asyncio.Task[None] | None = None


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
        self._authorization: bytes | None = None
        self._digest = b""
        self._heads = 0  # begun on this connection
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
        head = self._heads if self._in_head else 0
        if not self._feed(data):
            self.send_400_response("Invalid HTTP request received.")
        elif self._in_head or self._in_body:
            self._wait_for_rest(len(data) if self._in_head and head == self._heads else 0)
        elif not self._is_answering:
            self._wait_idle()

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
        if isinstance(exchange, _Exchange) and exchange.route.abandons and exchange.task:
            exchange.task.cancel()

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
        exchange = self._plain()
        if exchange is not None:
            self.cycle = exchange
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

    def _plain(self) -> _Exchange | None:
        """The exchange of a request that is hot and plain, and alone on its connection."""
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
        caller = self._caller(headers.get(b"authorization", b""))
        if caller is None:
            return None
        keep_alive = self.parser.should_keep_alive()
        return _Exchange(route, caller, path, query, headers, keep_alive=keep_alive)

    def _caller(self, authorization: bytes) -> Caller | None:
        """Who asks, where that is remembered. A connection's client says the same each time."""
        if authorization != self._authorization:
            self._authorization = authorization
            self._digest = secret_digest(bearer_secret(authorization.decode("latin-1")))
        server = self._api.server
        return server.callers.cached(self._digest, self.loop.time(), server.context.clock)

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
        parts = exchange.parts
        request = HotRequest(
            exchange.caller, exchange.path, exchange.query, exchange.headers,
            parts[0] if len(parts) == 1 else b"".join(parts),
        )  # fmt: skip
        exchange.parts = []
        task = exchange.task = self.loop.create_task(self._answer(exchange, request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, exchange: _Exchange, request: HotRequest) -> None:
        answered = await self._api.answer(exchange.route, request, exchange.begin)
        if self.flow.write_paused:
            await self.flow.drain()
        exchange.response_complete = True
        if not self.transport.is_closing():
            self.transport.write(self._head(answered, keep_alive=exchange.keep_alive))
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
        parts = [STATUS_LINE[answered.status]]
        parts += [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        parts.append(_LENGTH % (answered.content_type.encode(), len(answered.body)))
        if answered.headers:
            parts.append(_lines(answered.headers))
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        parts.append(answered.body)
        return b"".join(parts)


_LENGTH = b"content-type: %s\r\ncontent-length: %d\r\n"


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
