"""Routes of transfers between a customer's assets."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator

from taximeter.http.fields import Body, CustomerKey, DecimalText, Text, instant
from taximeter.http.grants import Asset, positive
from taximeter.http.server import Admin
from taximeter.kernel.quantity import format_decimal
from taximeter.services import transfers
from taximeter.services.transfers import Transfer

router = APIRouter(prefix="/v1", tags=["Credits"])


class TransferBody(Body):
    """`amount` of one asset becomes `amount` times `rate` of another."""

    customer: CustomerKey
    from_asset: Asset
    to_asset: Asset
    amount: Annotated[DecimalText, AfterValidator(positive)]
    rate: Annotated[DecimalText, AfterValidator(positive)]
    reason: Text | None = None

    def new_transfer(self) -> transfers.NewTransfer:
        """The transfer that is asked for."""
        return transfers.NewTransfer(
            self.customer, self.from_asset, self.to_asset, self.amount, self.rate, self.reason
        )


def transfer_json(made: Transfer) -> dict[str, object]:
    """A transfer as answered."""
    asked = made.asked
    return {
        "id": made.id,
        "customer": asked.customer,
        "from_asset": asked.from_asset,
        "to_asset": asked.to_asset,
        "amount": format_decimal(asked.amount),
        "rate": format_decimal(asked.rate),
        "to_amount": format_decimal(made.to_amount),
        "reason": asked.reason,
        "at": instant(made.at),
        "grants": [
            {
                "from": part.moved.source.id,
                "to": part.to_grant,
                "kind": part.moved.source.kind,
                "amount": format_decimal(part.moved.amount),
                "to_amount": format_decimal(part.moved.to_amount),
            }
            for part in made.parts
        ],
    }


@router.post("/transfers", status_code=201)
async def create_transfer(body: TransferBody, call: Admin) -> Response:
    """Move available credit from one of the customer's wallets to another. Each grant that it takes
    from, in burn order, becomes one of the same kind, priority, expiry and share of the cost.
    """
    call.see(body.customer)
    new = body.new_transfer()
    return await call.write(
        lambda transaction: transfers.transfer(transaction, new), transfer_json, 201
    )
