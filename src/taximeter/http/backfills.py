"""Routes of backfills: open, load, preview, apply or discard, revert."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from taximeter.domain.catalog.currency import minor_digits
from taximeter.http.body import BODY_BYTES_MAX, inflate
from taximeter.http.cloudevents import CONTENT_TYPES, read_events
from taximeter.http.events import render, shape_of
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    Instant,
    Key,
    Limit,
    Name,
    Text,
    instant,
)
from taximeter.http.invoices import line_json
from taximeter.http.server import Admin, Call, Reader, ok, page_json
from taximeter.kernel.errors import NotFound
from taximeter.kernel.money import format_minor
from taximeter.kernel.quantity import format_decimal
from taximeter.services import backfill_apply, backfill_preview, backfills
from taximeter.services.backfill_preview import CUSTOMERS_MAX, Effect, InvoiceEffect, Moved
from taximeter.services.backfills import TYPES_MAX, BackfillView, Counts, NewBackfill

router = APIRouter(prefix="/v1", tags=["Backfills"])
BackfillPath = Annotated[Name, Path(description="The backfill's id")]


class BackfillBody(Body):
    """What a backfill is about. Of kind `meter` nothing is loaded: the events that the meter reads
    are counted anew by its newest version.
    """

    kind: Literal["events", "meter"] = "events"
    customer: CustomerKey | None = None
    event_types: Annotated[list[Name], Field(min_length=1, max_length=TYPES_MAX)] | None = None
    meter: Key | None = None
    start: Annotated[Instant, Field(alias="from", description="Included")]
    end: Annotated[
        Instant | None, Field(alias="to", description="Not included; now, where left out")
    ] = None
    replace: Annotated[
        bool,
        Field(strict=True, description="Whether what is there gives way to what is loaded"),
    ] = False
    reason: Annotated[Text, Field(min_length=1)]


class PreviewBackfillBody(Body):
    """Which page of customers to look at."""

    limit: Annotated[int, Field(ge=1, le=CUSTOMERS_MAX, strict=True)] = CUSTOMERS_MAX
    cursor: Annotated[str, Field(max_length=4000)] | None = None


def backfill_json(view: BackfillView) -> dict[str, Any]:
    """A backfill as answered."""
    one, progress = view.backfill, view.progress
    customers = progress.customers
    return {
        "id": one.id,
        "kind": one.kind,
        "state": one.state,
        "customer": one.customer,
        "event_types": list(one.types),
        "meter": one.meter,
        "from": instant(one.span.start),
        "to": instant(one.span.end),
        "replace": one.replaces,
        "reason": one.reason,
        "actor": one.actor,
        "created_at": instant(one.created_at),
        "started_at": instant(one.started_at),
        "ended_at": instant(one.ended_at),
        "loaded": progress.loaded,
        "customers": {
            "total": sum(customers.values()),
            "pending": customers.get("pending", 0),
            "applied": customers.get("applied", 0),
            "failed": customers.get("failed", 0),
            "reverted": customers.get("reverted", 0),
        },
        "events": _counts_json(progress.counts),
        "failures": [
            {"customer": f.customer, "path": f.path, "code": f.code, "detail": f.detail}
            for f in progress.failures
        ],
    }


def _counts_json(counts: Counts) -> dict[str, int]:
    return counts._asdict()


def effect_json(effect: Effect) -> dict[str, Any]:
    """What a backfill would do to a customer, as answered."""
    problem = effect.problem
    return {
        "customer": effect.customer,
        "events": _counts_json(effect.counts),
        "usage": [{"meter": key, **_moved(moved)} for key, moved in effect.usage.items()],
        "wallets": [{"asset": key, **_moved(moved)} for key, moved in effect.wallets.items()],
        "invoices": [_invoice_json(one) for one in effect.invoices],
        "problem": problem
        and {"path": problem.path, "code": problem.code, "detail": problem.detail},
    }


def _moved(moved: Moved) -> dict[str, str]:
    return {"before": format_decimal(moved.before), "after": format_decimal(moved.after)}


def _invoice_json(one: InvoiceEffect) -> dict[str, Any]:
    digits = minor_digits(one.currency)
    return {
        "id": one.id,
        "subscription": one.subscription,
        "currency": one.currency,
        "total": {
            "before": format_minor(one.total.before, digits),
            "after": format_minor(one.total.after, digits),
        },
        "adjustments": [line_json(line) for line in one.adjustments],
    }


def _unconfined(call: Call, id: str) -> None:
    """A key of one customer sees no backfill: it may be about others."""
    if call.caller.customer is not None:
        raise NotFound(kind="backfill", key=id)


@router.post("/backfills", status_code=201)
async def create_backfill(body: BackfillBody, call: Admin) -> Response:
    """Open a backfill. Nothing changes before it is applied."""
    _unconfined(call, "")
    new = NewBackfill(
        kind=body.kind, customer=body.customer, types=body.event_types, meter=body.meter,
        start=body.start, end=body.end, replaces=body.replace, reason=body.reason,
    )  # fmt: skip
    return await call.write(
        lambda transaction: backfills.create(transaction, new), backfill_json, 201
    )


@router.get("/backfills")
async def list_backfills(
    call: Reader,
    customer: CustomerKey | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Backfills, the newest first."""
    _unconfined(call, "")
    page = await backfills.list_backfills(
        call.context, customer=customer, limit=limit, cursor=cursor
    )
    return ok(page_json(page, backfill_json))


@router.get("/backfills/{id}")
async def get_backfill(id: BackfillPath, call: Reader) -> Response:
    """One backfill, and how far it is."""
    _unconfined(call, id)
    return ok(backfill_json(await backfills.get_backfill(call.context, id)))


_EVENTS_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind.decode(): {"schema": {"type": "object"}} for kind in CONTENT_TYPES},
    }
}


@router.post("/backfills/{id}/events", openapi_extra=_EVENTS_BODY)
async def load_backfill(
    id: BackfillPath,
    request: Request,
    call: Admin,
    results: Annotated[Literal["all", "problems"], Query()] = "problems",
) -> Response:
    """Load events, as POST /v1/events takes them; they are kept beside, and count nowhere yet."""
    _unconfined(call, id)
    body = await request.body()
    if request.headers.get("content-encoding", "identity").lower() == "gzip":
        body = inflate(body, BODY_BYTES_MAX)
    shape = shape_of(request.headers.get("content-type", "").encode("latin-1"))
    events = read_events(body, shape, call.context.clock.now())
    shown = events if results == "all" else ()
    return await call.write(
        lambda transaction: backfills.load(transaction, id, events),
        lambda answer: msgspec.Raw(render(answer, shown)),
    )


@router.post("/backfills/{id}/preview")
async def preview_backfill(
    id: BackfillPath, call: Admin, body: PreviewBackfillBody | None = None
) -> Response:
    """What applying it would do to each customer: usage, wallets, and invoices that are not final,
    with the adjustments of those that are. Changes nothing.
    """
    _unconfined(call, id)
    asked = body or PreviewBackfillBody()
    page = await backfill_preview.preview(
        call.context, call.caller.key_id, id, limit=asked.limit, cursor=asked.cursor
    )
    return ok(page_json(page, effect_json))


@router.post("/backfills/{id}/apply")
async def apply_backfill(id: BackfillPath, call: Admin) -> Response:
    """Apply it, customer by customer. What is left in the state `applying` goes on with the next
    call; `incomplete`: `failures` say with whom it could not be applied.
    """
    _unconfined(call, id)
    async with backfills.one_at_a_time():
        return await call.write(
            lambda transaction: backfill_apply.apply(transaction.context, transaction.actor, id),
            backfill_json,
        )


@router.post("/backfills/{id}/discard")
async def discard_backfill(id: BackfillPath, call: Admin) -> Response:
    """Forget what was loaded; it can no longer be applied."""
    _unconfined(call, id)
    return await call.write(lambda transaction: backfills.discard(transaction, id), backfill_json)


@router.post("/backfills/{id}/revert")
async def revert_backfill(id: BackfillPath, call: Admin) -> Response:
    """Void what it added, and let what it changed count as before. What is left in the state
    `reverting` goes on with the next call.
    """
    _unconfined(call, id)
    async with backfills.one_at_a_time():
        return await call.write(
            lambda transaction: backfill_apply.revert(transaction.context, transaction.actor, id),
            backfill_json,
        )
