"""Routes of auto top-up, and of the top-ups that it asks for."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, ValidationInfo, field_validator

from taximeter.domain.credit.topup import AutoTopup, Payment, TopupStatus
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    DecimalText,
    Limit,
    Name,
    Text,
    instant,
)
from taximeter.http.grants import Asset, CustomerPath, not_negative, positive
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.kernel.times import parse_duration
from taximeter.services import topups
from taximeter.services.topups import StoredAutoTopup, topup_document

router = APIRouter(prefix="/v1", tags=["Credits"])
TopupPath = Annotated[Name, Path(description="The top-up's id")]
Amount = Annotated[DecimalText, AfterValidator(positive)]


def _duration(value: str) -> str:
    duration = parse_duration(value)
    if duration is None:
        raise ValueError("send an ISO 8601 duration such as P1Y")
    return duration.text


class AutoTopupBody(Body):
    """Below `threshold` the wallet is topped up to `target`; the maxima are amounts."""

    asset: Asset
    threshold: Annotated[DecimalText, AfterValidator(not_negative)]
    target: Amount
    max_per_day: Amount
    max_per_month: Amount | None = None
    kind: Literal["paid"] = "paid"
    expires_after: Annotated[Text, AfterValidator(_duration)] | None = None
    payment: Payment = "gateway"

    @field_validator("target")
    @classmethod
    def _above(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        if value <= info.data.get("threshold", ZERO):
            raise ValueError("send a target above the threshold")
        return value

    def auto_topup(self, customer: str) -> AutoTopup:
        """The settings that are asked for."""
        return AutoTopup(
            customer, self.asset, self.threshold, self.target, self.max_per_day,
            self.max_per_month, self.expires_after, self.payment,
        )  # fmt: skip


class PayBody(Body):
    """How the payment is found again."""

    reference: Text | None = None


class FailBody(Body):
    """Why nothing was paid."""

    reason: Text


def auto_topup_json(stored: StoredAutoTopup) -> dict[str, object]:
    """Settings as answered."""
    auto = stored.auto
    month = auto.max_per_month
    return {
        "customer": auto.customer,
        "asset": auto.asset,
        "threshold": format_decimal(auto.threshold),
        "target": format_decimal(auto.target),
        "max_per_day": format_decimal(auto.max_per_day),
        "max_per_month": format_decimal(month) if month is not None else None,
        "kind": "paid",
        "expires_after": auto.expires_after,
        "payment": auto.payment,
        "quiet_until": instant(stored.quiet_until),
        "updated_at": instant(stored.updated_at),
    }


@router.put(
    "/customers/{key}/auto_topup", status_code=201, responses={200: {"description": "Replaced"}}
)
async def put_auto_topup(key: CustomerPath, body: AutoTopupBody, call: Admin) -> Response:
    """Have a wallet topped up whenever less than the threshold is available, or change how. It is
    looked at at once; what failed before is forgotten.
    """
    call.see(key)
    auto = body.auto_topup(key)
    return await call.write(
        lambda transaction: topups.put_auto_topup(transaction, auto),
        lambda result: auto_topup_json(result[0]),
        lambda result: 201 if result[1] else 200,
    )


@router.get("/customers/{key}/auto_topup")
async def list_auto_topups(key: CustomerPath, call: Reader) -> Response:
    """Which of the customer's wallets are topped up, by asset. `quiet_until`: the wallet is low,
    but its maximum was reached or a payment failed, so nothing is asked for before.
    """
    call.see(key)
    found = await topups.list_auto_topups(call.context, key)
    return ok({"data": [auto_topup_json(stored) for stored in found], "next_cursor": None})


@router.delete("/customers/{key}/auto_topup")
async def delete_auto_topup(
    key: CustomerPath, asset: Annotated[Asset, Query()], call: Admin
) -> Response:
    """Top a wallet up no more. A top-up that was asked for stays to be settled."""
    call.see(key)
    return await call.write(
        lambda transaction: topups.delete_auto_topup(transaction, key, asset), auto_topup_json
    )


@router.get("/topups")
async def list_topups(
    call: Reader,
    customer: CustomerKey | None = None,
    state: TopupStatus | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Top-ups by customer and age. Those `requested` and collected by you wait to be paid."""
    if customer is not None:
        call.see(customer)
    page = await topups.list_topups(
        call.context, customer=customer or call.caller.customer, state=state, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, topup_document))


@router.get("/topups/{id}")
async def get_topup(id: TopupPath, call: Reader) -> Response:
    """One top-up."""
    return ok(topup_document(await topups.get_topup(call.context, id, call.caller.customer)))


@router.post("/topups/{id}/pay")
async def pay_topup(id: TopupPath, body: PayBody, call: Admin) -> Response:
    """Say that a top-up was paid: the customer gets the credit with it, once. Again changes
    nothing; another reference is refused.
    """
    return await call.write(
        lambda transaction: topups.pay_topup(
            transaction, id, reference=body.reference, customer=call.caller.customer
        ),
        topup_document,
    )


@router.post("/topups/{id}/fail")
async def fail_topup(id: TopupPath, body: FailBody, call: Admin) -> Response:
    """Say that a top-up was not paid. No other is asked for in the next hour, and after the third
    of a day not until the next.
    """
    return await call.write(
        lambda transaction: topups.fail_topup(
            transaction, id, reason=body.reason, customer=call.caller.customer
        ),
        topup_document,
    )
