"""The invoice and its states.

Owns the document's invariants and which step leads from which state to which. Must not touch
storage: a step is a pure function; the caller makes it conditional on the state it read. A draft
is rebuilt from its inputs at will; what is finalized never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.invoicing.discounts import AppliedDiscount, total_off
from taximeter.domain.invoicing.lines import Line, sum_of
from taximeter.domain.invoicing.totals import AppliedCredits, Totals
from taximeter.kernel.errors import InvalidState
from taximeter.kernel.quantity import ZERO, round_half_up
from taximeter.kernel.times import Duration, Period

Status = Literal["draft", "open", "paid", "void", "uncollectible"]
InvoiceStep = Literal["finalized", "paid", "voided", "marked uncollectible"]

TRANSITIONS: Mapping[tuple[Status, InvoiceStep], Status] = {
    ("draft", "finalized"): "open",
    ("open", "paid"): "paid",
    ("open", "voided"): "void",
    ("open", "marked uncollectible"): "uncollectible",
    ("uncollectible", "paid"): "paid",
    ("uncollectible", "voided"): "void",
}


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a customer owes for the `period` that it closes.

    `settled` lines were drawn from a wallet already: shown, not part of the totals. `number`,
    `finalized_at` and `due_at` are there once it is finalized. `input_digest` identifies what the
    lines were computed from. `discounts` are those of the whole invoice, in their order.
    """

    id: str
    number: str | None
    customer: str
    subscription: str | None
    status: Status
    currency: str
    period: Period
    lines: tuple[Line, ...]
    settled: tuple[Line, ...]
    totals: Totals
    created_at: datetime
    finalized_at: datetime | None
    due_at: datetime | None
    input_digest: str
    discounts: tuple[AppliedDiscount, ...] = ()

    def __post_init__(self) -> None:
        assert sum_of(self.lines) == self.totals.subtotal, "lines sum to the subtotal"
        assert total_off(self.discounts) == self.totals.discount, "discounts sum up"
        ids = [line.id for line in (*self.lines, *self.settled)]
        assert "" not in ids, "each line has an id"
        assert len(set(ids)) == len(ids), "each line has its own id"
        assert all(line.asset == self.currency for line in self.lines), "one currency"
        digits = minor_digits(self.currency)
        for amount in (*(line.amount for line in self.lines), *_amounts(self.totals)):
            assert round_half_up(amount, digits) == amount, f"{amount} is not in minor units"
        finalized = self.status != "draft"
        for value in (self.number, self.finalized_at, self.due_at):
            assert (value is not None) == finalized, "a draft has no number and no dates"
        if self.status == "paid":
            assert self.totals.amount_due == ZERO, "what is paid owes nothing"


def _amounts(totals: Totals) -> tuple[Decimal, ...]:
    parts = (totals.discount, totals.credits, totals.tax, totals.paid_credits, totals.payments)
    return (totals.subtotal, totals.total, totals.amount_due, *parts)


def next_status(status: Status, step: InvoiceStep) -> Status:
    """The state that `step` leads to. Raises `InvalidState` where the table has none."""
    found = TRANSITIONS.get((status, step))
    if found is None:
        raise InvalidState(kind="invoice", state=status, step=step)
    return found


def finalize(
    invoice: Invoice, *, number: str, at: datetime, due_at: datetime, credits: AppliedCredits
) -> Invoice:
    """The invoice numbered and frozen, with `credits` applied: open, or paid where nothing is due.

    One that is finalized (open or paid) stays as it is. Raises `InvalidState` for a void or
    uncollectible one.
    """
    if invoice.status in ("open", "paid"):
        return invoice
    status = next_status(invoice.status, "finalized")
    totals = credits.onto(invoice.totals)
    assert totals.amount_due >= ZERO, "what a negative invoice owes goes to the wallet"
    if totals.amount_due == ZERO:
        status = next_status(status, "paid")
    return replace(
        invoice, number=number, status=status, totals=totals, finalized_at=at, due_at=due_at
    )


def payment_due_at(at: datetime, *, net_terms_days: int, timezone: str) -> datetime:
    """When an invoice finalized at `at` is due: so many days later on the customer's calendar."""
    return Duration(months=0, days=net_terms_days, seconds=0).after(at, timezone)


def format_number(prefix: str, counter: int) -> str:
    """The printed number: `INV-000042`; more digits where six do not hold it."""
    assert counter > 0, "invoice numbers count from 1"
    return f"{prefix}-{counter:06d}"
