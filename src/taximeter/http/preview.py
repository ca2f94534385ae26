"""Routes that show what a change would bill before it is made."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.lines import numbered
from taximeter.http.invoices import invoice_json, line_json
from taximeter.http.server import Reader, ok
from taximeter.http.subscriptions import CancelBody, ChangeBody
from taximeter.kernel.money import format_minor
from taximeter.kernel.quantity import ZERO
from taximeter.services import preview_change as service
from taximeter.services.preview_change import ChangePreview

router = APIRouter(prefix="/v1", tags=["Subscriptions"])


def change_preview_json(preview: ChangePreview) -> dict[str, object]:
    """Both outlooks: the invoices after the change, the next one without it, and the difference
    of all that is billed.
    """
    after, before = preview.after.next_invoice, preview.before.next_invoice
    digits = minor_digits(preview.currency)
    return {
        "currency": preview.currency,
        "now": _due_json(preview.after.now, digits),
        "next_invoice": None if after is None else invoice_json(after),
        "without_change": None if before is None else invoice_json(before),
        "difference": format_minor(preview.difference, digits),
    }


def _due_json(invoices: Sequence[Invoice], digits: int) -> dict[str, object]:
    """What falls due at once: the lines of the invoices closed by now, and their sums."""
    subtotal = sum((one.totals.subtotal for one in invoices), ZERO)
    total = sum((one.totals.total for one in invoices), ZERO)
    lines = numbered(line for one in invoices for line in one.lines)
    return {
        "lines": [line_json(line) for line in lines],
        "subtotal": format_minor(subtotal, digits),
        "total": format_minor(total, digits),
    }


@router.post("/subscriptions/{id}/preview_change")
async def preview_change(id: str, body: ChangeBody, call: Reader) -> Response:
    """What a change would bill at once and on the next invoice, beside the next invoice without
    it. Changes nothing.
    """
    shown = await service.preview_change(
        call.context, id, customer=call.caller.customer, request=body.request()
    )
    return ok(change_preview_json(shown))


@router.post("/subscriptions/{id}/preview_cancel")
async def preview_cancel(id: str, body: CancelBody, call: Reader) -> Response:
    """What a cancel would bill at once and on the next invoice, beside the next invoice without
    it. Changes nothing.
    """
    shown = await service.preview_cancel(
        call.context, id, customer=call.caller.customer, request=body.request()
    )
    return ok(change_preview_json(shown))
