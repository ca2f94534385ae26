"""Routes of approvals: what somebody is asked for, and what they decide."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from taximeter.domain.entitlement.approval import Approval, ApprovalState
from taximeter.http.fields import LIMIT, Body, Cursor, CustomerKey, DecimalText, Limit
from taximeter.http.server import Call, Limiter, Reader, ok, page_json
from taximeter.services import approvals
from taximeter.services.approvals import Permit, approval_document

router = APIRouter(prefix="/v1", tags=["Approvals"])

ApprovalPath = Annotated[str, Path(max_length=64, description="The approval's id")]


class ApproveBody(Body):
    """How many holds may pass and for how long (seconds), and what each of them may need: at least
    what was asked for, which is what holds without it.
    """

    amount: DecimalText | None = None
    uses: Annotated[int, Field(ge=1, le=approvals.USES_MAX)] = 1
    ttl_s: Annotated[int, Field(ge=1, le=approvals.TTL_S_MAX)] = approvals.TTL_S_DEFAULT


def _now_json(call: Call, approval: Approval) -> dict[str, object]:
    return approval_document(approval, call.context.clock.now())


@router.get("/approvals")
async def list_approvals(
    call: Reader,
    customer: CustomerKey | None = None,
    state: Annotated[ApprovalState | None, Query()] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """What was asked for, newest first: `pending` until somebody decides, at most 7 days."""
    if customer is not None:
        call.see(customer)
    page = await approvals.list_approvals(
        call.context, customer=customer or call.caller.customer, state=state, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, lambda approval: _now_json(call, approval)))


@router.get("/approvals/{id}")
async def get_approval(id: ApprovalPath, call: Reader) -> Response:
    """One approval, and the `holds` that were placed by it (the first 100)."""
    approval, holds = await approvals.get_approval(call.context, id, call.caller.customer)
    return ok({**_now_json(call, approval), "holds": holds})


@router.post("/approvals/{id}/approve")
async def approve(id: ApprovalPath, call: Limiter, body: ApproveBody | None = None) -> Response:
    """Let holds pass the threshold that name this approval: work at its path, or below, that needs
    no more than `amount`. All other limits still bind. The same again changes nothing. A key of the
    customer decides what passes thresholds that the customer set.
    """
    body = body or ApproveBody()
    permit = Permit(body.amount, body.uses, body.ttl_s)
    return await call.write(
        lambda transaction: approvals.approve(
            transaction, id, permit, setter=call.setter, customer=call.caller.customer
        ),
        lambda approval: _now_json(call, approval),
    )


@router.post("/approvals/{id}/decline")
async def decline(id: ApprovalPath, call: Limiter) -> Response:
    """Let nothing pass; of what was approved, nothing more. Whoever asks for the same is told so
    for the rest of the 7 days, and nobody is asked again.
    """
    return await call.write(
        lambda transaction: approvals.decline(
            transaction, id, setter=call.setter, customer=call.caller.customer
        ),
        lambda approval: _now_json(call, approval),
    )
