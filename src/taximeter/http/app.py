"""The HTTP application: hot routes first, then the documented API.

Hot routes are dispatched by an outer ASGI function before FastAPI's router and middleware, with
which they share authentication, limits and the error writer; protocol.py begins and ends most of
them by `ask` and `answer`, without ASGI.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from taximeter import __version__
from taximeter.http import (
    alerts,
    approvals,
    backfills,
    budgets,
    clock,
    corrections,
    coupons,
    credit_value,
    customers,
    dead_letters,
    entitlements,
    erasures,
    event_reads,
    events,
    grants,
    health,
    holds,
    invoices,
    keys,
    meters,
    migrations,
    outcomes,
    plan_review,
    plans,
    preview,
    quarantine,
    runs,
    sources,
    spend,
    subscriptions,
    suspensions,
    topups,
    transfers,
    usage,
    webhooks,
)
from taximeter.http.body import BODY_BYTES_MAX, limited
from taximeter.http.hot import (
    Answered,
    Asked,
    HotRequest,
    HotRoute,
    answer_hot,
    ask_route,
    error_answer,
)
from taximeter.http.openapi import DocumentedApi
from taximeter.http.problem import CONTENT_TYPE, problem
from taximeter.http.server import Server, authenticate
from taximeter.kernel.errors import FieldError, TaximeterError, Unauthorized
from taximeter.services.health import UNREACHABLE, UNSTORABLE

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ROUTERS: tuple[APIRouter, ...] = (
    event_reads.router,
    quarantine.router,
    dead_letters.router,
    corrections.router,
    sources.router,
    backfills.router,
    meters.router,
    usage.router,
    plans.router,
    plan_review.router,
    migrations.router,
    customers.router,
    erasures.router,
    spend.router,
    runs.router,
    budgets.router,
    suspensions.router,
    approvals.router,
    entitlements.router,
    subscriptions.router,
    preview.router,
    coupons.router,
    invoices.router,
    grants.router,
    topups.router,
    transfers.router,
    credit_value.router,
    alerts.router,
    holds.router,
    outcomes.router,
    webhooks.router,
    keys.router,
    clock.router,
    health.router,
)
_HOT = {**events.ROUTES, **holds.ROUTES}
STRANGER_BYTES_MAX = 64 * 1024  # of a body, before its caller is known
PYDANTIC_CODES = {
    "extra_forbidden": "unknown_field",
    "missing": "missing",
    "too_long": "too_many",
    "string_too_long": "too_long",
}


class Application:
    """The whole edge as one ASGI application."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.api = make_api(server)
        server.metrics.watch(
            lambda: server.ingest.weight_waiting, lambda: server.ingest.commits,
            lambda: server.books.differing, lambda: server.books.completed_at,
            lambda: server.sources.overdue,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        begin = perf_counter()
        route = hot_route(scope["path"]) if scope["method"] == "POST" else None
        if route is None:
            await self._documented(scope, receive, send, begin)
        else:
            status = await answer_hot(self.server, route, scope, receive, send)
            self.server.metrics.count_request("POST", route.name, status, perf_counter() - begin)

    def ask(self, route: HotRoute, request: HotRequest) -> Asked:
        """Begin to answer a hot request, in the running event loop; `answer` ends it."""
        try:
            request.caller.require(route.scope)
            return ask_route(self.server, route, request)
        except Exception as error:  # noqa: BLE001 - `answer` raises it
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return Asked(refused, _answered)

    def answer(
        self,
        route: HotRoute,
        answered: Callable[[Any], Answered],
        result: "asyncio.Future[Any]",
        begin: float,
    ) -> Answered:
        """How a hot request is answered whose `result` has come, or what was raised instead;
        counted as begun at this `perf_counter`.
        """
        try:
            answer = answered(result.result())
        except Exception as error:  # noqa: BLE001 - it is answered, and logged where not foreseen
            answer = error_answer(self.server, error)
        seconds = perf_counter() - begin
        self.server.metrics.count_request("POST", route.name, answer.status, seconds)
        return answer

    async def _documented(self, scope: Scope, receive: Receive, send: Send, begin: float) -> None:
        status, route = 500, None

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if scope["method"] in ("GET", "HEAD") or await self._is_known(scope):
            receive = limited(receive, BODY_BYTES_MAX)
        else:
            receive = limited(receive, STRANGER_BYTES_MAX, Unauthorized())
        try:
            await self.api(scope, receive, sending)
            route = getattr(scope.get("route"), "path", None)
        finally:
            seconds = perf_counter() - begin
            self.server.metrics.count_request(scope["method"], route, status, seconds)

    async def _is_known(self, scope: Scope) -> bool:
        """Whether a known caller asks: the framework reads a body before its route asks that."""
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        try:
            await authenticate(self.server, authorization)
        except (TaximeterError, *UNREACHABLE):
            return False
        return True


def _answered(result: Answered) -> Answered:
    return result


def hot_route(path: str) -> HotRoute | None:
    """The hot route of POSTs to this path, if there is one."""
    return _HOT.get(path) or holds.step_route(path)


def make_api(server: Server) -> FastAPI:
    """The documented API over these routers."""
    api = DocumentedApi(
        title="Taximeter", version=__version__, docs_url=None, redoc_url=None,
        description="Usage-based billing for AI products: the fare, as it runs.",
    )  # fmt: skip
    api.state.server = server
    api.add_exception_handler(RequestValidationError, _validation_error)
    api.add_exception_handler(HTTPException, _http_error)
    for failure in (TaximeterError, *UNREACHABLE, UNSTORABLE, Exception):
        api.add_exception_handler(failure, _failed)
    for router in ROUTERS:
        api.include_router(router)
    return api


def request_id_of(server: Server) -> str:
    """A fresh id by which a request is found in the log."""
    return server.context.new_id("req")


def _respond(status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, CONTENT_TYPE)


async def _failed(request: Request, error: Exception) -> Response:
    answer = error_answer(request.app.state.server, error)
    return _respond(answer.status, answer.body, dict(answer.headers))


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    request_id = request_id_of(request.app.state.server)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        detail = "The body is not valid JSON."
        return _respond(400, problem(400, "malformed", detail, request_id), {})
    fields = [_field_error(item) for item in found]
    codes = {field.code for field in fields}
    code = codes.pop() if len(codes) == 1 else "invalid"
    first = fields[0]
    detail = f"{first.path}: {first.detail}" if first.path else first.detail
    return _respond(422, problem(422, code, detail, request_id, fields), {})


def _field_error(item: Any) -> FieldError:
    where = list(item["loc"])
    if where and where[0] in ("body", "query", "path", "header"):
        where = where[1:]  # where it stands; a field may be called so, too
    path = ""
    for part in where:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    if item["type"] == "extra_forbidden":
        return FieldError(path, "unknown_field", "There is no such field here. Leave it out.")
    message = str(item["msg"]).removeprefix("Value error, ")
    return FieldError(path, PYDANTIC_CODES.get(item["type"], "invalid"), f"{message}.")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {
        401: "unauthorized",
        404: "not_found",
        405: "method_not_allowed",
        400: "malformed",
        413: "too_large",
    }
    request_id = request_id_of(request.app.state.server)
    code = codes.get(error.status_code, "error")
    details = {404: "There is nothing at this address."}
    detail = details.get(error.status_code, str(error.detail))
    body = problem(error.status_code, code, detail, request_id)
    return _respond(error.status_code, body, dict(error.headers or {}))
