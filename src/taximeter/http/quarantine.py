"""Routes of quarantine: what waits, why, and the money at stake."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from taximeter.http.fields import LIMIT, Cursor, CustomerKey, Limit, instant
from taximeter.http.server import Call, Reader, ok, page_json
from taximeter.kernel.quantity import format_decimal
from taximeter.services import quarantine
from taximeter.services.ingest import REASONS
from taximeter.services.quarantine import Waiting

router = APIRouter(prefix="/v1", tags=["Events"])
Customer = Annotated[CustomerKey | None, Query()]


def _reason_json(one: Waiting) -> dict[str, object]:
    return {
        "reason": one.reason,
        "reason_detail": REASONS.get(one.reason),
        "events": one.events,
        "at_stake": [
            {
                "asset": asset,
                "amount": format_decimal(sums.amount),
                "amount_min": format_decimal(sums.least),
            }
            for asset, sums in sorted(one.amounts.items())
        ],
        "oldest": instant(one.oldest),
        "unpriced": one.unpriced,
    }


def _group_json(one: Waiting) -> dict[str, object]:
    return {
        **_reason_json(one),
        "customer": one.customer,
        "type": one.type,
        "unpriced_because": one.unpriced_because,
    }


def _visible(call: Call, customer: str | None) -> str | None:
    """Whose events are meant. Raises `NotFound` where the caller may not see them."""
    if call.caller.customer is not None:
        customer = customer or call.caller.customer
        call.see(customer)
    return customer


@router.get("/quarantine")
async def read_quarantine(call: Reader, customer: Customer = None) -> Response:
    """How many events wait, why, and the money at stake: each at the rate that takes it, or where
    none does from the cheapest (`amount_min`) to the dearest of its price. Of more than 10,000
    those of the first customers are counted.
    """
    found = await quarantine.read_quarantine(call.context, _visible(call, customer))
    return ok({"data": [_reason_json(one) for one in found.waiting], "complete": found.complete})


@router.get("/reports/quarantine")
async def list_quarantine(
    call: Reader, customer: Customer = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """As `GET /v1/quarantine`, apart by customer and type as well. `unpriced` events have no
    amount; `unpriced_because` says why.
    """
    page, complete = await quarantine.list_quarantine(
        call.context, _visible(call, customer), limit=limit, cursor=cursor
    )
    return ok({**page_json(page, _group_json), "complete": complete})
