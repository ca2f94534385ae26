"""The skeleton of a hot route: a plain ASGI function with the errors that every route answers.

Owns how an answer and an error go out; parsing and meaning are the route's.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from taximeter.http.body import ClientGone, Receive
from taximeter.http.problem import CONTENT_TYPE, problem, problem_of
from taximeter.http.server import Server
from taximeter.kernel.errors import TaximeterError

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answered = tuple[int, bytes, dict[str, str]]

log = structlog.get_logger("http")


async def answer_hot(
    server: Server,
    scope: Scope,
    receive: Receive,
    send: Send,
    route: Callable[[Server, Scope, Receive], Awaitable[Answered]],
) -> int:
    """Answer one request by `route`, which gives status, body and further headers, or raises;
    returns the status (499: the client left before).
    """
    try:
        status, body, headers = await route(server, scope, receive)
    except ClientGone:
        return 499
    except TaximeterError as error:
        status, body, headers = problem_of(error, server.context.new_id("req"))
    except Exception:
        request_id = server.context.new_id("req")
        log.exception("unexpected_error", request_id=request_id)
        detail = "Something went wrong on the server; the request id finds it in the log."
        status, body, headers = 500, problem(500, "internal", detail, request_id), {}
    content_type = "application/json" if status < 400 else CONTENT_TYPE
    head = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    head += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
    return status
