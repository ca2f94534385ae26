"""Signing in and out, and who may see the pages: whoever holds an API key that reads everything.

Owns the cookie and the check that a form was sent by a page of ours. The cookie is out of reach
of scripts and of other sites; it says nothing but the session's token.
"""

import asyncio
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from taximeter.kernel.errors import Forbidden, Unauthorized
from taximeter.web.sessions import SESSION_S
from taximeter.web.site import PAGE_HEADERS, Site

COOKIE = "taximeter_session"
FORM_BYTES_MAX = 4096
HOME = "/"


def now_s() -> float:
    """The running loop's monotonic clock: sessions do not follow a test clock."""
    return asyncio.get_running_loop().time()


async def is_signed_in(site: Site, token: str | None) -> bool:
    """Whether this is the token of a session whose key may still read everything."""
    secret = site.sessions.find(token or "", now_s())
    return secret is not None and await _refusal(site, secret) is None


async def _refusal(site: Site, secret: str) -> str | None:
    """Why an API key cannot sign in, if it cannot."""
    try:
        caller = await site.callers.find(site.context, secret, now_s())
        caller.require("read")
    except Unauthorized:
        return "This is no API key of this instance, or it was revoked."
    except Forbidden:
        return "This key may not read. Use one with the scope read."
    if caller.customer is not None:
        return "This key is for one customer alone. Use one for the whole instance."
    return None


def to_sign_in(request: Request) -> Response:
    """Send the browser to the sign-in page, and back here afterwards."""
    query = request.scope["query_string"].decode("latin-1")
    wanted = quote(request.scope["path"]) + (f"?{query}" if query else "")
    target = "/login" if wanted == HOME else f"/login?next={quote(wanted, safe='')}"
    return RedirectResponse(target, 303, PAGE_HEADERS)


async def show_sign_in(site: Site, request: Request) -> Response:
    """GET /login: the form; with a one-time token, the session itself."""
    token = request.query_params.get("token")
    if token is None:
        return _form(site, request.query_params.get("next", HOME))
    secret = site.sessions.take_link(token, now_s())
    refusal = "This link was used before, or is over ten minutes old."
    if secret is not None:
        refusal = await _refusal(site, secret) or ""
    if secret is None or refusal:
        return _form(site, HOME, error=refusal, status=401)
    # A page, not a redirect: what another site sent here would lose a strict cookie on the way.
    response = site.page("signed_in.html", {}, signed_in=False)
    _set_cookie(site, request, response, secret)
    return response


async def sign_in(site: Site, request: Request) -> Response:
    """POST /login: begin a session with the API key of the form."""
    if not is_ours(request):
        return _form(site, HOME, error="The form must be sent from this page.", status=403)
    fields = await _fields(request)
    secret, target = fields.get("key", "").strip(), _local(fields.get("next", HOME))
    refusal = await _refusal(site, secret) if secret else "Paste an API key."
    if refusal:
        return _form(site, target, error=refusal, status=401)
    response: Response = RedirectResponse(target, 303, PAGE_HEADERS)
    _set_cookie(site, request, response, secret)
    return response


async def sign_out(site: Site, request: Request) -> Response:
    """POST /logout: end the session."""
    if not is_ours(request):
        return _form(site, HOME, error="The form must be sent from this page.", status=403)
    site.sessions.end(request.cookies.get(COOKIE, ""))
    response: Response = RedirectResponse("/login", 303, PAGE_HEADERS)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def is_ours(request: Request) -> bool:
    """Whether a page of this very address sent the request, as the browser says."""
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == request.headers.get("host")


def _form(site: Site, target: str, *, error: str = "", status: int = 200) -> Response:
    values = {"error": error, "next": _local(target)}
    return site.page("sign_in.html", values, status=status, signed_in=False)


def _local(target: str) -> str:
    """The path if it is one of this site, else the first page."""
    local = target.startswith("/") and target.isprintable() and "\\" not in target
    return target if local and not target.startswith("//") else HOME


def _set_cookie(site: Site, request: Request, response: Response, secret: str) -> None:
    forwarded = request.headers.get("x-forwarded-proto", "")
    site.sessions.end(request.cookies.get(COOKIE, ""))
    response.set_cookie(
        COOKIE, site.sessions.begin(secret, now_s()), max_age=SESSION_S, path="/", httponly=True,
        samesite="strict", secure="https" in (request.url.scheme, forwarded),
    )  # fmt: skip


async def _fields(request: Request) -> dict[str, str]:
    """The form's fields; one too long has none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return {}
    found = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    return {name: values[-1] for name, values in found.items()}
