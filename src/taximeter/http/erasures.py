"""Routes of erasing what is personal of a customer."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from taximeter.http.customers import CustomerPath
from taximeter.http.fields import Body, Text, instant
from taximeter.http.server import Admin, ok
from taximeter.services import erase
from taximeter.services.erase import Erasure

router = APIRouter(prefix="/v1", tags=["Customers"])


class EraseBody(Body):
    """Why; the reason is kept, so it should name nobody."""

    reason: Annotated[Text, Field(min_length=1)]


def erasure_json(erasure: Erasure) -> dict[str, object]:
    """An erasure as answered."""
    finished = erasure.finished_at
    return {
        "customer": erasure.customer,
        "state": "running" if finished is None else "finished",
        "reason": erasure.reason,
        "events": erasure.events,
        "requested_at": instant(erasure.requested_at),
        "finished_at": None if finished is None else instant(finished),
    }


@router.post("/customers/{key}/erase")
async def erase_customer(key: CustomerPath, body: EraseBody, call: Admin) -> Response:
    """Erase what is personal: name, email, tax number and metadata at once; then, within minutes,
    what the customer's events say beside what meters and prices read, their attributes, and free
    texts. Amounts, totals, invoices, paths and the key stay. There is no way back.
    """
    return await call.write(
        lambda transaction: erase.request_erasure(transaction, key, body.reason), erasure_json
    )


@router.get("/customers/{key}/erasure")
async def get_erasure(key: CustomerPath, call: Admin) -> Response:
    """How far the customer's erasure is; `events` counts those that something was taken from."""
    return ok(erasure_json(await erase.get_erasure(call.context, key)))
