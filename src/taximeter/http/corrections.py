"""Routes that correct events which were taken in."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from taximeter.http.document import Document, document_body, read_as
from taximeter.http.event_reads import EventPath, event_json
from taximeter.http.fields import Body, CustomerKey, Text
from taximeter.http.server import Admin
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.services import corrections

router = APIRouter(prefix="/v1", tags=["Events"])
CHANGES = ("data", "time", "path")
Reason = Annotated[Text, Field(min_length=1)]
SourceText = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class VoidBody(Body):
    """Whose event, of which source, and why it is voided."""

    customer: CustomerKey
    source: SourceText = ""
    reason: Reason


class AmendBody(VoidBody):
    """What an event should have said; what is left out stays. `data` is replaced as a whole; a
    `path` of null is none.
    """

    data: dict[str, Any] | None = None
    time: str | None = None
    path: str | None = None


@router.post("/events/{id:path}/void")
async def void_event(id: EventPath, body: VoidBody, call: Admin) -> Response:
    """Let an event count nowhere, as if it had never been sent: usage, balances and open periods
    follow at once, finalized invoices are adjusted by the next one. Its identity stays taken.
    Voiding it again gives the same answer.
    """
    call.see(body.customer)
    identity = (body.customer, body.source, id)
    return await call.write(
        lambda transaction: corrections.void_event(transaction, identity, body.reason), event_json
    )


@router.post("/events/{id:path}/amend", openapi_extra=document_body(AmendBody.model_json_schema()))
async def amend_event(id: EventPath, document: Document, call: Admin) -> Response:
    """Let an event count by what it should have said, as if it had been sent so: at the prices of
    its time, in the period of its time. What stood before stays readable with the event.
    """
    body = read_as(AmendBody, document)
    call.see(body.customer)
    change = {name: getattr(body, name) for name in CHANGES if name in body.model_fields_set}
    change = {name: said for name, said in change.items() if said is not None or name == "path"}
    if not change:
        detail = "Say what the event should have said: data, time or path."
        raise Invalid([FieldError("data", "missing", detail)])
    identity = (body.customer, body.source, id)
    return await call.write(
        lambda transaction: corrections.amend_event(transaction, identity, change, body.reason),
        event_json,
    )
