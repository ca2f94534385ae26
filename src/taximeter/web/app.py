"""The pages as one ASGI application: which address is which page, and what an error looks like."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route

from taximeter.kernel.errors import Invalid, NotFound, TaximeterError, Unavailable
from taximeter.kernel.paging import decode_cursor
from taximeter.services.customers import get_customer
from taximeter.services.health import UNREACHABLE
from taximeter.web import access, pages
from taximeter.web.assets import Asset
from taximeter.web.figures import clock_figures
from taximeter.web.live import Read
from taximeter.web.site import PAGE_HEADERS, Site

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Page = Callable[[Site, Request], Awaitable[Response]]

ASSET_CACHE = "public, max-age=31536000, immutable"
RETRY_S = 30
PAGES: dict[str, Page] = {
    "/": pages.home,
    "/customers/{key}": pages.customer,
    "/invoices/{id}": pages.invoice,
    "/invoices/{id}/lines/{line}": pages.line,
}

log = structlog.get_logger("web")


async def _no_endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("routes are matched, not run")


ROUTES = [(Route(path, _no_endpoint, methods=["GET"]), page) for path, page in PAGES.items()]


class WebApplication:
    """The pages over this site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        if request.url.path == "/live" and request.method == "GET":
            response = await self._guarded(request, lambda request: self._live(request, send))
        else:
            response = await self._guarded(request, self._answer)
        if response is not None:
            await response(scope, receive, send)

    async def _guarded(
        self, request: Request, answer: Callable[[Request], Awaitable[Response | None]]
    ) -> Response | None:
        """The answer, or the page of an error: a sentence and never a trace."""
        try:
            return await answer(request)
        except (NotFound, Invalid, Unavailable) as error:
            status = 404 if isinstance(error, NotFound) else 400
            return self._error(503 if isinstance(error, Unavailable) else status, error)
        except UNREACHABLE as error:
            log.error("database_unavailable", error=str(error).strip())
            what, cure = "The database cannot be reached.", "Reload the page in a moment."
            return self._error(503, Unavailable(what=what, cure=cure))
        except Exception:
            request_id = self.site.context.new_id("req")
            log.exception("unexpected_error", request_id=request_id)
            detail = f"Something went wrong here. The log has it under {request_id}."
            return self.site.page("error.html", {"status": 500, "detail": detail}, status=500)

    def _error(self, status: int, error: TaximeterError) -> Response:
        return self.site.page("error.html", {"status": status, "detail": error.detail}, status=status)

    async def _answer(self, request: Request) -> Response:
        path, method = request.url.path, request.method
        if path.startswith("/static/") and method in ("GET", "HEAD"):
            return _static(self.site.assets.find(path.removeprefix("/static/")), request)
        if path == "/favicon.ico":
            return RedirectResponse(self.site.assets.url("logo.svg"), 303)
        if path == "/login" and method in ("GET", "HEAD"):
            return await access.show_sign_in(self.site, request)
        if path == "/login" and method == "POST":
            return await access.sign_in(self.site, request)
        if path == "/logout" and method == "POST":
            return await access.sign_out(self.site, request)
        if not await access.is_signed_in(self.site, request.cookies.get(access.COOKIE)):
            return access.to_sign_in(request) if method in ("GET", "HEAD") else _not_allowed()
        if method not in ("GET", "HEAD"):
            return _not_allowed()
        for route, page in ROUTES:
            match, found = route.matches(request.scope)
            if match is not Match.NONE:
                request.scope["path_params"] = found["path_params"]
                return await page(self.site, request)
        detail = "There is no such page."
        return self.site.page("error.html", {"status": 404, "detail": detail}, status=404)

    async def _live(self, request: Request, send: Send) -> Response | None:
        """GET /live: the figures of a page as they change; None where it was answered here."""
        site, token = self.site, request.cookies.get(access.COOKIE)
        if not await access.is_signed_in(site, token):
            return Response(status_code=401, headers=PAGE_HEADERS)
        if site.live.full:
            headers = {**PAGE_HEADERS, "retry-after": str(RETRY_S)}
            return Response(status_code=503, headers=headers)
        topic, read = await self._watched(request)

        async def figures() -> dict[str, str]:
            return {**clock_figures(site.context), **await read()}

        try:
            await site.live.stream(
                topic, figures, receive=request.receive, send=send,
                still_welcome=lambda: access.is_signed_in(site, token),
            )  # fmt: skip
        except Exception:
            log.exception("live_stream_failed")  # its answer has begun: there is no other
        return None

    async def _watched(self, request: Request) -> tuple[str, Read]:
        """What a stream is of. Raises `NotFound`, and `Invalid` for a cursor that is none."""
        site, key = self.site, request.query_params.get("customer")
        if key is not None:
            await get_customer(site.context, key)
            return f"customer {key}", lambda: pages.read_customer(site, key)
        cursor = request.query_params.get("cursor")
        decode_cursor(cursor, 1)
        return f"home {cursor}", lambda: pages.read_home(site, cursor)


def _static(asset: Asset | None, request: Request) -> Response:
    if asset is None:
        return Response("Not found", 404, PAGE_HEADERS, "text/plain")
    headers = {
        "cache-control": ASSET_CACHE, "vary": "accept-encoding", "x-content-type-options": "nosniff",
    }  # fmt: skip
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        content = asset.compressed
    return Response(content, 200, headers, asset.content_type)


def _not_allowed() -> Response:
    return Response("Method not allowed", 405, {**PAGE_HEADERS, "allow": "GET, HEAD"}, "text/plain")
