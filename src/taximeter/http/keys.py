"""Routes of API keys."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from taximeter.domain.entitlement.key_rate import REQUESTS_MAX, KeyRate
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    Instant,
    Limit,
    Name,
    Text,
    instant,
)
from taximeter.http.server import Admin, ok, page_json
from taximeter.services import keys
from taximeter.services.keys import ApiKey

router = APIRouter(prefix="/v1", tags=["Administration"])
PathText = Annotated[Text, Field(min_length=1, max_length=256)]
KeyIdPath = Annotated[Name, Path(description="The key's id, not its secret")]


class RateBody(Body):
    """How fast a key may ask: at most `requests` at once, and as many again `per` second, minute or
    hour. Each begun 4 KiB of the body of an event or a hold count as a request.
    """

    requests: Annotated[int, Field(ge=1, le=REQUESTS_MAX, strict=True)]
    per: Literal["second", "minute", "hour"]

    def rate(self) -> KeyRate:
        """The rate that is asked for."""
        return KeyRate(self.requests, self.per)


class KeyBody(Body):
    """A new API key."""

    name: Name
    scopes: Annotated[
        list[Literal["admin", "ingest", "authorize", "limits", "read"]],
        Field(min_length=1, max_length=5),
    ]
    expires_at: Instant | None = None
    customer: Annotated[
        CustomerKey | None, Field(description="Confines the key to this customer")
    ] = None
    rate_limit: RateBody | None = None
    path: Annotated[
        PathText | None,
        Field(
            description="Confines the key to this path of the customer; of the scopes it may have "
            "`ingest` and `authorize`"
        ),
    ] = None


def key_json(key: ApiKey) -> dict[str, object]:
    """A key as answered; its secret is not known any more."""
    rate = key.rate
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "customer": key.customer,
        "created_at": instant(key.created_at),
        "expires_at": instant(key.expires_at),
        "revoked_at": instant(key.revoked_at),
        "path": key.path,
        "rate_limit": None if rate is None else {"requests": rate.requests, "per": rate.per},
    }


@router.post("/api_keys", status_code=201)
async def create_key(body: KeyBody, call: Admin) -> Response:
    """Make a key. Its `secret` is in this answer and nowhere else: an answer given again to the
    same Idempotency-Key leaves it out, because secrets are not stored.
    """
    return await call.write_secret(
        lambda transaction: keys.create_key(
            transaction, random_bytes=call.server.random_bytes(32), name=body.name,
            scopes=list(dict.fromkeys(body.scopes)), expires_at=body.expires_at,
            customer=body.customer, path=body.path,
            rate=body.rate_limit.rate() if body.rate_limit else None,
        ),
        key_json,
    )  # fmt: skip


@router.get("/api_keys")
async def list_keys(call: Admin, limit: Limit = LIMIT, cursor: Cursor = None) -> Response:
    """Keys by age, revoked and expired ones too; without their secrets."""
    page = await keys.list_keys(call.context, limit=limit, cursor=cursor)
    return ok(page_json(page, key_json))


@router.delete("/api_keys/{id}")
async def revoke_key(id: KeyIdPath, call: Admin) -> Response:
    """End a key. It stops working within 5 seconds; ending it again changes nothing."""
    return await call.write(lambda transaction: keys.revoke_key(transaction, id), key_json)


@router.put("/api_keys/{id}/rate_limit")
async def set_rate_limit(id: KeyIdPath, body: RateBody, call: Admin) -> Response:
    """Say how fast a key may ask; what comes faster is answered 429 `rate_limited`. Binds within 5
    seconds. Each server process counts for itself.
    """
    return await call.write(
        lambda transaction: keys.set_rate(transaction, id, body.rate()), key_json
    )


@router.delete("/api_keys/{id}/rate_limit")
async def delete_rate_limit(id: KeyIdPath, call: Admin) -> Response:
    """Let a key ask as fast as it likes."""
    return await call.write(lambda transaction: keys.set_rate(transaction, id, None), key_json)
