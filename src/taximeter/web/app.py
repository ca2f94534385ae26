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

ASSET_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}
RETRY_S = 30
PAGES: dict[str, Page] = {
    "/": pages.home,
    "/customers/{key}": pages.customer,
    "/invoices/{id}": pages.invoice,
    "/invoices/{id}/lines/{line}": pages.line,
}

log = structlog.get_logger("web")


OTHERS = ("/login", "/logout", "/live", "/favicon.ico")
STATIC = "/static/"


def _not_run(request: Request) -> Response:
    raise AssertionError(f"routes are matched here, not run: {request.url.path}")


ROUTES = [(Route(path, _not_run, methods=["GET"]), page) for path, page in PAGES.items()]


def is_page(path: str) -> bool:
    """Whether something of the pages is at this path."""
    return path in OTHERS or path.startswith(STATIC) or _page_at(path) is not None


def _page_at(path: str) -> tuple[Page, dict[str, Any]] | None:
    """The page at a path, and the parts of the path that it is asked for."""
    scope = {"type": "http", "path": path, "method": "GET", "root_path": ""}
    for route, page in ROUTES:
        match, found = route.matches(scope)
        if match is not Match.NONE:
            return page, found["path_params"]
    return None


class WebApplication:
    """The pages over this site."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send)
        if scope["path"] == "/live" and request.method == "GET":
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
        return self.site.page(
            "error.html", {"status": status, "detail": error.detail}, status=status
        )

    async def _answer(self, request: Request) -> Response:
        path, method = request.scope["path"], request.method
        reading = method in ("GET", "HEAD")
        if path.startswith(STATIC) and reading:
            return _static(self.site.assets.find(path.removeprefix(STATIC)), request)
        if path == "/favicon.ico":
            return RedirectResponse(self.site.assets.url("logo.svg"), 303)
        if path == "/login" and reading:
            return await access.show_sign_in(self.site, request)
        if path == "/login" and method == "POST":
            return await access.sign_in(self.site, request)
        if path == "/logout" and method == "POST":
            return await access.sign_out(self.site, request)
        found = _page_at(path)
        signed_in = await access.is_signed_in(self.site, request.cookies.get(access.COOKIE))
        if found is None and path not in OTHERS:
            values = {"status": 404, "detail": "There is no such page."}
            return self.site.page("error.html", values, status=404, signed_in=signed_in)
        if found is None or not reading:
            return _not_allowed()
        if not signed_in:
            return access.to_sign_in(request)
        page, request.scope["path_params"] = found
        return await page(self.site, request)

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
    headers = {**ASSET_HEADERS}
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        content = asset.compressed
    return Response(content, 200, headers, asset.content_type)


def _not_allowed() -> Response:
    return Response("Method not allowed", 405, {**PAGE_HEADERS, "allow": "GET, HEAD"}, "text/plain")
