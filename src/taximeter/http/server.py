"""What every route of the HTTP edge shares: the context, authentication, and answers.

Hot routes are plain ASGI functions and the documented API is FastAPI's; both authenticate and
report errors by the functions here.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Request, Response

from taximeter.domain.entitlement.setter import Setter
from taximeter.http.metrics import Metrics
from taximeter.kernel.errors import ConfinedToPath, FieldError, Invalid, NotFound, Unauthorized
from taximeter.kernel.paging import Page
from taximeter.services.books import BooksWatch
from taximeter.services.command import Answer, Key, Transaction, run_once
from taximeter.services.committer import Committer
from taximeter.services.context import Context
from taximeter.services.hold_commit import HoldResult
from taximeter.services.hold_requests import HoldRequest
from taximeter.services.holds import Owners
from taximeter.services.ingest import IngestAnswer, IngestRequest
from taximeter.services.keys import Caller, Callers, Scope
from taximeter.services.sources import SourcesWatch
from taximeter.services.webhooks import Webhooks

IDEMPOTENCY_KEY_CHARS_MAX = 255
Result = TypeVar("Result")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Server:
    """What the composition root gives to the edge."""

    context: Context
    callers: Callers
    ingest: Committer[IngestRequest, IngestAnswer]
    holds: Committer[HoldRequest, HoldResult]
    owners: Owners
    random_bytes: Callable[[int], bytes]
    open_metrics: bool
    webhooks: Webhooks
    books: BooksWatch
    sources: SourcesWatch
    metrics: Metrics = field(default_factory=Metrics)


def bearer_secret(authorization: str) -> str:
    """The secret in an Authorization header; empty where there is none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


async def authenticate(server: Server, authorization: str | None) -> Caller:
    """The caller of a request with this Authorization header. Raises `Unauthorized`."""
    secret = bearer_secret(authorization or "")
    if not secret:
        raise Unauthorized
    monotonic_s = asyncio.get_running_loop().time()
    return await server.callers.find(server.context, secret, monotonic_s)


def admit(server: Server, caller: Caller, body_bytes: int = 0) -> None:
    """Count a request of a caller with a rate. Raises `RateLimited` for one too many."""
    server.callers.admit(caller, asyncio.get_running_loop().time(), body_bytes)


def idempotency_key(caller: Caller, key: str | None, path: str, body: bytes) -> Key | None:
    """The key of a request, within the caller's scope. Raises `Invalid` for a malformed one."""
    if key is None:
        return None
    if not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not key.isprintable():
        detail = "Send 1 to 255 printable characters."
        raise Invalid([FieldError("Idempotency-Key", "invalid_text", detail)])
    digest = hashlib.sha256(path.encode() + b"\0" + body).digest()
    return Key(caller.key_id, key, digest)


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request of the documented API."""

    server: Server
    caller: Caller
    request: Request

    @property
    def context(self) -> Context:
        """The context of services."""
        return self.server.context

    @property
    def setter(self) -> Setter:
        """For whom the caller sets limits: a key that is confined to a customer is theirs."""
        return "seller" if self.caller.customer is None else "customer"

    def see(self, customer: str) -> None:
        """Raise `NotFound` where the caller is confined to another customer."""
        if not self.caller.may_see(customer):
            raise NotFound(kind="customer", key=customer)

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        render: Callable[[Result], object],
        status: int | Callable[[Result], int] = 200,
    ) -> Response:
        """Do `work` in one transaction, once for each Idempotency-Key (of a POST), and answer
        with what `render` makes of the result.
        """
        key = None
        if self.request.method == "POST":
            header = self.request.headers.get("idempotency-key")
            target = f"{self.request.url.path}?{self.request.url.query}"
            key = idempotency_key(self.caller, header, target, await self.request.body())

        def rendered(result: Result) -> Answer:
            code = status(result) if callable(status) else status
            return Answer(code, encode(render(result)))

        answer = await run_once(self.context, self.caller.key_id, key, work, rendered)
        headers = {"idempotent-replay": "true"} if answer.replay else {}
        return Response(answer.body, answer.status, headers, "application/json")

    async def write_secret(
        self,
        work: Callable[[Transaction], Awaitable[tuple[Result, str]]],
        render: Callable[[Result], Mapping[str, object]],
    ) -> Response:
        """As `write`, for what is made with a secret: `secret` is added to this answer, and is not
        stored, so that the answer given again to the same Idempotency-Key is without it.
        """
        secrets: list[str] = []  # one for each attempt at the transaction; the last one counts

        async def keeping(transaction: Transaction) -> Result:
            result, secret = await work(transaction)
            secrets.append(secret)
            return result

        answer = await self.write(keeping, render, 201)
        if "idempotent-replay" in answer.headers:
            return answer
        shown = {**msgspec.json.decode(answer.body), "secret": secrets[-1]}
        return Response(encode(shown), 201, media_type="application/json")


def needs(scope: Scope) -> Callable[[Request], Awaitable[Call]]:
    """A dependency that authenticates a request and requires `scope`."""

    async def dependency(request: Request) -> Call:
        server: Server = request.app.state.server
        caller = await authenticate(server, request.headers.get("authorization"))
        caller.require(scope)
        if caller.path is not None and scope != "authorize":
            raise ConfinedToPath(path=caller.path)
        if caller.rate is not None:
            admit(server, caller)
        return Call(server, caller, request)

    return dependency


Admin = Annotated[Call, Depends(needs("admin"))]
Reader = Annotated[Call, Depends(needs("read"))]
Limiter = Annotated[Call, Depends(needs("limits"))]
Ingester = Annotated[Call, Depends(needs("ingest"))]
Authorizer = Annotated[Call, Depends(needs("authorize"))]


def encode(value: object) -> bytes:
    """JSON of a value made of dicts, lists, text, whole numbers, booleans and None."""
    return msgspec.json.encode(value)


def ok(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(encode(value), status, media_type="application/json")


def page_json(page: Page[Row], render: Callable[[Row], Mapping[str, Any]]) -> dict[str, object]:
    """A list's answer."""
    return {"data": [render(row) for row in page.rows], "next_cursor": page.next_cursor}
