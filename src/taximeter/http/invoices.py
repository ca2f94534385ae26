"""Routes of invoices."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from taximeter.domain.catalog.currency import is_currency, minor_digits
from taximeter.domain.invoicing.discounts import AppliedDiscount
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.lines import Line
from taximeter.domain.rating.step import Step
from taximeter.http.customers import CustomerPath
from taximeter.http.fields import LIMIT, Cursor, CustomerKey, Limit, decimal, instant
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.money import format_minor
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services import invoices
from taximeter.services.invoices import Explanation

router = APIRouter(prefix="/v1", tags=["Invoices"])
Status = Literal["draft", "open", "paid", "void", "uncollectible"]


def step_json(step: Step) -> dict[str, str | None]:
    """One step of a calculation."""
    return {
        "text": step.text,
        "quantity": None if step.quantity is None else format_decimal(step.quantity),
        "unit": None if step.unit is None else format_decimal(step.unit),
        "amount": format_decimal(step.amount),
    }


def line_json(line: Line, *, settled: bool = False) -> dict[str, object]:
    """A line as answered. What settled from a wallet is exact; the rest has minor digits."""
    amount = line.amount
    return {
        "id": line.id,
        "kind": line.kind,
        "price": line.price,
        "meter": line.meter,
        "plan": line.plan,
        "version": line.plan_version,
        "description": line.description,
        "quantity": format_decimal(line.quantity),
        "unit_amount": None if line.unit_amount is None else format_decimal(line.unit_amount),
        "amount": format_decimal(amount) if settled else _minor(amount, line.asset),
        "exact": format_decimal(line.exact),
        "asset": line.asset,
        "rate": None if line.rate is None else dict(line.rate),
        "period": {"from": instant(line.period.start), "to": instant(line.period.end)},
        "tiers": [step_json(step) for step in line.steps],
    }


def _minor(amount: Decimal, asset: str) -> str:
    return format_minor(amount, minor_digits(asset)) if is_currency(asset) else str(amount)


def invoice_json(invoice: Invoice) -> dict[str, object]:
    """An invoice as answered."""
    totals, currency = invoice.totals, invoice.currency

    def money(amount: Decimal) -> str:
        return _minor(amount, currency)

    return {
        "id": invoice.id,
        "number": invoice.number,
        "customer": invoice.customer,
        "subscription": invoice.subscription,
        "status": invoice.status,
        "currency": currency,
        "period": {"from": instant(invoice.period.start), "to": instant(invoice.period.end)},
        "lines": [line_json(line) for line in invoice.lines],
        "settled": [line_json(line, settled=True) for line in invoice.settled],
        "subtotal": money(totals.subtotal),
        "discount": money(totals.discount),
        "discounts": [_discount_json(one, currency) for one in invoice.discounts],
        "credits": money(totals.credits),
        "tax": money(totals.tax),
        "total": money(totals.total),
        "paid_credits": money(totals.paid_credits),
        "amount_paid": money(totals.payments),
        "amount_due": money(totals.amount_due),
        "rounding_residue": format_decimal(sum((x.residue for x in invoice.lines), ZERO)),
        "created_at": instant(invoice.created_at),
        "finalized_at": instant(invoice.finalized_at),
        "due_at": instant(invoice.due_at),
        "input_digest": invoice.input_digest,
    }


def _discount_json(applied: AppliedDiscount, currency: str) -> dict[str, object]:
    """What a discount takes off the whole invoice, and how that falls on its lines."""
    return {
        "source": applied.source,
        "key": applied.key,
        "id": applied.id,
        "percent": decimal(applied.percent),
        "amount_off": decimal(applied.amount_off),
        "base": _minor(applied.base, currency),
        "amount": _minor(applied.amount, currency),
        "lines": [
            {"line": line_id, "amount": _minor(share, currency)}
            for line_id, share in applied.shares
        ],
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """A line, its calculation and the events behind it."""
    line = explanation.line
    return {
        "line": line.id,
        "amount": _minor(line.amount, line.asset) if line in explanation.invoice.lines
        else format_decimal(line.amount),
        "exact": format_decimal(line.exact),
        "asset": line.asset,
        "plan": line.plan,
        "version": line.plan_version,
        "price": line.price,
        "quantity": format_decimal(line.quantity),
        "period": {"from": instant(line.period.start), "to": instant(line.period.end)},
        "steps": [step_json(step) for step in line.steps],
        "usage": [
            {
                "meter": line.meter,
                "dimensions": dict(line.rate or ()),
                "quantity": format_decimal(line.quantity),
            }
        ] if line.meter else [],
        "events": {
            "data": [
                {
                    "id": one.event.id,
                    "source": one.event.source,
                    "time": instant(one.event.time),
                    "quantity": one.quantity,
                }
                for one in explanation.events
            ],
            "next_cursor": explanation.next_cursor,
        },
    }  # fmt: skip


@router.get("/customers/{key}/upcoming_invoice")
async def upcoming_invoice(
    key: CustomerPath, call: Reader, subscription: Annotated[str | None, Query()] = None
) -> Response:
    """What the next invoice says so far; it includes all usage that was answered."""
    call.see(key)
    return ok(invoice_json(await invoices.upcoming_invoice(call.context, key, subscription)))


@router.get("/invoices")
async def list_invoices(
    call: Reader,
    customer: Annotated[CustomerKey | None, Query()] = None,
    status: Annotated[Status | None, Query()] = None,
    subscription: Annotated[str | None, Query()] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Invoices, the newest first."""
    if customer is not None:
        call.see(customer)
    page = await invoices.list_invoices(
        call.context, customer=customer or call.caller.customer, status=status,
        subscription=subscription, limit=limit, cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, invoice_json))


@router.get("/invoices/{id}")
async def get_invoice(id: str, call: Reader) -> Response:
    """One invoice; a draft as of now."""
    return ok(invoice_json(await invoices.get_invoice(call.context, id, call.caller.customer)))


@router.post("/invoices/{id}/finalize")
async def finalize_invoice(id: str, call: Admin) -> Response:
    """Number and freeze a draft; again answers the same document."""
    return await call.write(
        lambda transaction: invoices.finalize_by_hand(transaction, id), invoice_json
    )


@router.get("/invoices/{id}/lines/{line}/explain")
async def explain_line(
    id: str, line: str, call: Reader, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """What a line is made of, down to its events."""
    explanation = await invoices.explain_line(
        call.context, id, line, customer=call.caller.customer, limit=limit, cursor=cursor
    )
    return ok(explanation_json(explanation))
