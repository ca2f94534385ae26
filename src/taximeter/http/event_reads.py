"""Routes of events but for taking them in, which is events.py."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from taximeter.http.fields import LIMIT, Body, Cursor, CustomerKey, Instant, Limit, Name, instant
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.quantity import format_decimal
from taximeter.services import events, release
from taximeter.services.events import Correction, ShownEvent
from taximeter.services.ingest import REASONS
from taximeter.services.release import RELEASED_MAX, Released

_encode_exactly = msgspec.json.Encoder(decimal_format="number").encode
router = APIRouter(prefix="/v1", tags=["Events"])
EventPath = Annotated[Name, Path(description="The event's id, as its sender gave it")]
Source = Annotated[str, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class EventParameters(Body):
    """Which events are asked for; what is left out stands for any."""

    customer: CustomerKey | None = None
    type: Name | None = None
    status: Literal["accepted", "quarantined", "void"] | None = None
    start: Annotated[Instant | None, Field(alias="from", description="Included")] = None
    end: Annotated[Instant | None, Field(alias="to", description="Not included")] = None
    limit: Limit = LIMIT
    cursor: Cursor = None


class ReleaseBody(Body):
    """Which quarantined events to look at; what is left out stands for any."""

    customer: CustomerKey | None = None
    type: Name | None = None
    limit: Annotated[int, Field(ge=1, le=RELEASED_MAX, strict=True)] = RELEASED_MAX


def _exact(value: object) -> msgspec.Raw:
    """The value as JSON in which a Decimal is a number of all its digits."""
    return msgspec.Raw(_encode_exactly(value))


def event_json(one: ShownEvent) -> dict[str, Any]:
    """An event as answered: what was sent, every number with all its digits, what became of it,
    and in quarantine the money at stake. Should an extension attribute be called like a field of
    ours, ours is shown.
    """
    stored, event = one.stored, one.stored.event
    shown: dict[str, Any] = {
        **{name: _exact(value) for name, value in (event.attributes or {}).items()},
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.customer,
        "time": instant(event.time),
        "path": event.path,
        "subscription": event.subscription,
        "data": _exact(event.data),
        "status": stored.status,
        "reason": None,
        "reason_detail": None,
        "at_stake": [
            {
                "price": stake.price,
                "asset": stake.asset,
                "amount": format_decimal(stake.amount),
                "amount_min": format_decimal(stake.least),
            }
            for stake in one.stakes
        ],
        "received_at": instant(event.received_at),
    }
    if stored.status == "quarantined" and stored.reason is not None:
        shown["reason"] = stored.reason
        shown["reason_detail"] = REASONS.get(stored.reason)
    if one.corrections is not None:
        shown["corrections"] = [_correction_json(each) for each in one.corrections]
    return shown


def _correction_json(one: Correction) -> dict[str, Any]:
    """A correction, and what the event was before it."""
    return {
        "number": one.number,
        "kind": one.kind,
        "at": instant(one.at),
        "actor": one.actor,
        "reason": one.reason,
        "backfill": one.backfill,
        "before": {
            "status": one.status,
            "reason": one.waited_for if one.status == "quarantined" else None,
            "time": instant(one.time),
            "path": one.path,
            "data": _exact(one.data),
        },
    }


@router.get("/events")
async def list_events(call: Reader, asked: Annotated[EventParameters, Query()]) -> Response:
    """Events by customer, then by their own time, which `from` and `to` are about."""
    customer = asked.customer
    if call.caller.customer is not None:
        customer = customer or call.caller.customer
        call.see(customer)
    page = await events.list_events(
        call.context, customer=customer, event_type=asked.type, status=asked.status,
        start=asked.start, end=asked.end, limit=asked.limit, cursor=asked.cursor,
    )  # fmt: skip
    return ok(page_json(page, event_json))


@router.get("/events/{id:path}")
async def get_event(
    id: EventPath, call: Reader, customer: Annotated[CustomerKey, Query()], source: Source = ""
) -> Response:
    """One event; its identity is its customer, source and id."""
    call.see(customer)
    stored = await events.get_event(call.context, customer=customer, source=source, event_id=id)
    return ok(event_json(stored))


def _released_json(released: Released) -> dict[str, object]:
    return {"released": released.released, "still_quarantined": released.still_quarantined}


@router.post("/events/release")
async def release_events(call: Admin, body: ReleaseBody | None = None) -> Response:
    """Try quarantined events again, oldest first for each customer, and count those that can be
    read now. Up to 50,000 are looked at; the answer says how many still wait.
    """
    asked = body or ReleaseBody()
    return await call.write(
        lambda transaction: release.release(
            transaction, customer=asked.customer, event_type=asked.type, limit=asked.limit
        ),
        _released_json,
    )
