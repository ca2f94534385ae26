"""Hot routes: functions of a whole request, and the errors that every one of them answers.

Two ways lead to a hot route: protocol.py, which takes what is plain as it comes from the
connection, and the ASGI application, which takes everything. Owns what a route is asked and how an
error goes out; parsing and meaning are the route's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import structlog

from taximeter.http.body import BODY_BYTES_MAX, ClientGone, Receive, read_body
from taximeter.http.problem import CONTENT_TYPE, problem, problem_of
from taximeter.http.server import Server, admit, authenticate
from taximeter.kernel.errors import TaximeterError, Unavailable
from taximeter.services import keys
from taximeter.services.health import UNREACHABLE, UNSTORABLE
from taximeter.services.hold_commit import HoldResult
from taximeter.services.keys import Caller

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

REPLAY: Mapping[str, str] = {"idempotent-replay": "true"}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ONCE_REACHED = (
    "Whether this request changed anything is not known. Send it again unchanged, a POST with the "
    "same Idempotency-Key."
)

log = structlog.get_logger("http")


class Answered(msgspec.Struct, frozen=True, gc=False):
    """An answer: status, body and further headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = _NO_HEADERS

    @property
    def content_type(self) -> str:
        """What the body is: JSON, or a problem document."""
        return "application/json" if self.status < 400 else CONTENT_TYPE


class HotRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read to its end, by a known caller. Names of headers are lower case."""

    caller: Caller
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


class Asked(msgspec.Struct, frozen=True):
    """A request under way: what it waits for, and how what comes is answered (or raises)."""

    result: Coroutine[Any, Any, Any] | asyncio.Future[Any]
    answered: Callable[[Any], Answered]


class HotRoute(NamedTuple):
    """Answers the POSTs to some path, or raises; for callers with this `scope`; counted under this
    `name`. `abandons`: what is asked is for the client alone, so that it need not be done once the
    client has left. A route that has nothing to wait for but one commit needs no task: its result
    is a future.
    """

    name: str
    scope: keys.Scope
    ask: Callable[[Server, HotRequest], Asked]
    abandons: bool = False


def answered_of(result: HoldResult) -> Answered:
    """How a decision about holds is answered. Raises what it was refused for."""
    if isinstance(result, TaximeterError):
        raise result
    return Answered(result.status, result.body, REPLAY if result.replay else _NO_HEADERS)


def error_answer(server: Server, error: Exception) -> Answered:
    """What a request that failed is answered, on every route; what was not foreseen goes to the
    log.
    """
    request_id = server.context.new_id("req")
    if isinstance(error, UNREACHABLE):
        log.error("database_unavailable", error=str(error).strip())
        error = Unavailable(what="The database cannot be reached.", cure=_ONCE_REACHED)
    if isinstance(error, TaximeterError):
        return Answered(*problem_of(error, request_id))
    if isinstance(error, UNSTORABLE):  # a value that no check has caught
        log.error("unchecked_value", request_id=request_id, exc_info=error)
        detail = "A value cannot be stored: it is too large, or holds a character that text cannot."
        return Answered(422, problem(422, "invalid", detail, request_id))
    log.error("unexpected_error", request_id=request_id, exc_info=error)
    detail = "Something went wrong on the server; the request id finds it in the log."
    return Answered(500, problem(500, "internal", detail, request_id))


def ask_route(server: Server, route: HotRoute, request: HotRequest) -> Asked:
    """Begin to answer a request of a caller with the route's scope, or raise what forbids it."""
    caller = request.caller
    if caller.rate is not None:
        admit(server, caller, len(request.body))
    return route.ask(server, request)


async def answer_hot(
    server: Server, route: HotRoute, scope: Scope, receive: Receive, send: Send
) -> int:
    """Answer one ASGI request by `route`; returns the status (499: the client left before). Who
    asks is known before the body is read.
    """
    try:
        headers = dict(scope["headers"])
        caller = await authenticate(server, headers.get(b"authorization", b"").decode("latin-1"))
        caller.require(route.scope)
        body = await read_body(receive, headers, bytes_max=BODY_BYTES_MAX)
        request = HotRequest(
            caller, scope["path"], scope.get("query_string", b""), headers, body
        )  # fmt: skip
        asked = ask_route(server, route, request)
        answered = asked.answered(await asked.result)
    except ClientGone:
        return 499
    except Exception as error:  # noqa: BLE001 - it is answered, and logged where it is not ours
        answered = error_answer(server, error)
    head = [
        (b"content-type", answered.content_type.encode()),
        (b"content-length", b"%d" % len(answered.body)),
        *((name.encode(), value.encode()) for name, value in answered.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answered.status, "headers": head})
    await send({"type": "http.response.body", "body": answered.body})
    return answered.status
