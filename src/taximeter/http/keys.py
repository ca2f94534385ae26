"""Routes of API keys."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from taximeter.http.fields import LIMIT, Body, Cursor, CustomerKey, Instant, Limit, Name, instant
from taximeter.http.server import Admin, ok, page_json
from taximeter.services import keys
from taximeter.services.keys import ApiKey

router = APIRouter(prefix="/v1", tags=["Administration"])
KeyIdPath = Annotated[Name, Path(description="The key's id, not its secret")]


class KeyBody(Body):
    """A new API key."""

    name: Name
    scopes: Annotated[
        list[Literal["admin", "ingest", "authorize", "limits", "read"]],
        Field(min_length=1, max_length=5),
    ]
    expires_at: Instant | None = None
    customer: CustomerKey | None = None


def key_json(key: ApiKey) -> dict[str, object]:
    """A key as answered; its secret is not known any more."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "customer": key.customer,
        "created_at": instant(key.created_at),
        "expires_at": instant(key.expires_at),
        "revoked_at": instant(key.revoked_at),
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
            customer=body.customer,
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
