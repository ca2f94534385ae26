"""Routes of suspending a customer, or a part of it, and resuming."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from taximeter.domain.entitlement.suspension import Suspension
from taximeter.http.budgets import ScopePath
from taximeter.http.customers import CustomerPath
from taximeter.http.fields import LIMIT, Body, Cursor, Limit, Text, instant
from taximeter.http.server import Limiter, Reader, ok, page_json
from taximeter.services import suspensions

router = APIRouter(prefix="/v1", tags=["Budgets"])


class ResumeBody(Body):
    """What to resume: what was suspended by this very path, or without one the customer."""

    path: ScopePath | None = None


class SuspendBody(ResumeBody):
    """What to suspend: a path and what lies below it, or without one the customer; and why."""

    reason: Annotated[Text, Field(min_length=1)]


def suspension_json(suspension: Suspension) -> dict[str, object]:
    """A suspension as answered."""
    return {
        "customer": suspension.customer,
        "path": suspension.path,
        "reason": suspension.reason,
        "set_by": suspension.set_by,
        "at": instant(suspension.at),
    }


@router.post("/customers/{key}/suspend")
async def suspend(key: CustomerPath, body: SuspendBody, call: Limiter) -> Response:
    """Authorize nothing more for a path, or for the customer, from the next request on. Again
    replaces the reason. Usage that happens all the same is recorded and charged.
    """
    call.see(key)
    return await call.write(
        lambda transaction: suspensions.suspend(
            transaction, key, body.path, reason=body.reason, setter=call.setter
        ),
        suspension_json,
    )


@router.post("/customers/{key}/resume")
async def resume(key: CustomerPath, body: ResumeBody, call: Limiter) -> Response:
    """Lift a suspension; where there is none, nothing changes. `suspended` says whether the path
    stays suspended by what it lies within. A key of the customer may not lift the seller's.
    """
    call.see(key)
    return await call.write(
        lambda transaction: suspensions.resume(transaction, key, body.path, setter=call.setter),
        lambda suspended: {"customer": key, "path": body.path, "suspended": suspended},
    )


@router.get("/customers/{key}/suspensions")
async def list_suspensions(
    key: CustomerPath, call: Reader, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """What of the customer is suspended, by path."""
    call.see(key)
    page = await suspensions.list_suspensions(call.context, key, limit=limit, cursor=cursor)
    return ok(page_json(page, suspension_json))
