"""Routes of customers."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field, field_validator

from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.subscription.customer import Customer
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    DecimalText,
    Limit,
    Text,
    instant,
)
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import zone
from taximeter.services import customers

router = APIRouter(prefix="/v1", tags=["Customers"])
CustomerPath = Annotated[CustomerKey, Path(description="The customer's key")]


class TaxBody(Body):
    """Where and how a customer is taxed."""

    country: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None = None
    region: Text | None = None
    vat_id: Text | None = None
    exempt: bool = False


class CustomerBody(Body):
    """A customer's settings; a field left out takes its default."""

    name: Text | None = None
    currency: str = "USD"
    timezone: str = "UTC"
    email: Text | None = None
    tax: TaxBody | None = None
    enforcement: Literal["hard", "soft"] = "hard"
    credit_limit: DecimalText | None = None
    parent: CustomerKey | None = None
    metadata: Annotated[dict[Text, Text], Field(max_length=50)] = {}

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if not is_currency(value):
            raise ValueError("send an ISO 4217 code such as USD")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if zone(value) is None:
            raise ValueError("send an IANA time zone such as America/New_York")
        return value

    def document(self) -> dict[str, Any]:
        """The settings as they are stored and answered."""
        document = self.model_dump(mode="python")
        if self.credit_limit is not None:
            document["credit_limit"] = format_decimal(self.credit_limit)
        return document


def customer_json(customer: Customer) -> dict[str, object]:
    """A customer as answered."""
    return {
        "key": customer.key,
        **customer.document,
        "created_at": instant(customer.created_at),
        "updated_at": instant(customer.updated_at),
    }


@router.put("/customers/{key}", status_code=201, responses={200: {"description": "Replaced"}})
async def put_customer(key: CustomerPath, body: CustomerBody, call: Admin) -> Response:
    """Create or replace a customer. Events that waited for it are released."""
    return await call.write(
        lambda transaction: customers.put_customer(
            transaction, key, currency=body.currency, timezone=body.timezone,
            enforcement=body.enforcement, document=body.document(),
        ),
        lambda result: customer_json(result[0]),
        lambda result: 201 if result[1] else 200,
    )  # fmt: skip


@router.get("/customers/{key}")
async def get_customer(key: CustomerPath, call: Reader) -> Response:
    """One customer."""
    call.see(key)
    return ok(customer_json(await customers.get_customer(call.context, key)))


@router.get("/customers")
async def list_customers(call: Reader, limit: Limit = LIMIT, cursor: Cursor = None) -> Response:
    """Customers by key."""
    page = await customers.list_customers(
        call.context, only=call.caller.customer, limit=limit, cursor=cursor
    )
    return ok(page_json(page, customer_json))
