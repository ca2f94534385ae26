"""The totals of an invoice, and how credit is applied to it.

Owns the order: lines, discount, promotional credits, tax, paid credits, payments. Must not round:
lines are rounded, and credit is applied in whole minor units. No tax is computed yet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.credit.burn import Parts, burn_order
from taximeter.domain.credit.wallet import Grant, GrantKind
from taximeter.domain.invoicing.lines import Line, sum_of
from taximeter.kernel.quantity import ZERO, floor_at
from taximeter.kernel.times import Period

_KINDS: tuple[GrantKind, ...] = ("promotional", "paid")


@dataclass(frozen=True, slots=True)
class Totals:
    """`credits` are promotional and reduce the total; `paid_credits` pay it. `paid_credits` is
    negative where the total is: that much goes to the customer's wallet as a paid grant.
    `discount` is negative where it shrinks credits by more than it takes off charges.
    """

    subtotal: Decimal
    discount: Decimal
    credits: Decimal
    tax: Decimal
    total: Decimal
    paid_credits: Decimal
    payments: Decimal
    amount_due: Decimal

    def __post_init__(self) -> None:
        assert self.total == self.subtotal - self.discount - self.credits + self.tax, "total"
        assert self.amount_due == self.total - self.paid_credits - self.payments, "amount due"
        assert self.credits >= ZERO, "what credits give is not negative"


def totals_of(
    subtotal: Decimal,
    *,
    discount: Decimal = ZERO,
    credits: Decimal = ZERO,
    tax: Decimal = ZERO,
    paid_credits: Decimal = ZERO,
    payments: Decimal = ZERO,
) -> Totals:
    """The totals that follow from their parts."""
    total = subtotal - discount - credits + tax
    due = total - paid_credits - payments
    return Totals(subtotal, discount, credits, tax, total, paid_credits, payments, due)


def total(lines: Iterable[Line], *, discount: Decimal = ZERO) -> Totals:
    """The totals of a draft: its lines, before any credit or payment."""
    return totals_of(sum_of(lines), discount=discount)


@dataclass(frozen=True, slots=True)
class AppliedCredits:
    """What each grant gives to an invoice, in burn order within each kind; the sums of both kinds
    as `Totals` shows them. `to_wallet` is what a negative invoice gives to the wallet instead.
    """

    promotional: Parts
    paid: Parts
    to_wallet: Decimal

    def onto(self, totals: Totals) -> Totals:
        """The totals with these credits applied."""
        return totals_of(
            totals.subtotal,
            discount=totals.discount,
            credits=totals.credits + _sum(self.promotional),
            tax=totals.tax,
            paid_credits=totals.paid_credits + _sum(self.paid) - self.to_wallet,
            payments=totals.payments,
        )


def apply_credits(
    lines: Sequence[Line],
    totals: Totals,
    grants: Iterable[Grant],
    at: datetime,
    *,
    currency: str,
    period: Period | None = None,
) -> AppliedCredits:
    """What the customer's grants in the invoice's currency give at finalization: promotional
    grants first, then paid ones, each kind in burn order, never beyond what is due.

    A grant that a plan made gives to the invoices of periods in which it is in force: to that of
    `period`, though it has expired by then. A grant for certain meters covers only usage lines of
    these, one for a path none: lines have no path. What grants cannot give in whole
    minor units stays in them: of 0.005 nothing is taken from a dollar invoice.
    """
    if totals.amount_due < ZERO:
        return AppliedCredits((), (), -totals.amount_due)
    due, digits = totals.amount_due, minor_digits(currency)
    of_meters: dict[str, Decimal] = {}
    for line in lines:
        if line.meter is not None:
            of_meters[line.meter] = of_meters.get(line.meter, ZERO) + line.amount
    usable = burn_order(
        grant for grant in grants if grant.asset == currency and _may_give(grant, at, period)
    )
    parts: dict[GrantKind, Parts] = {}
    for kind in _KINDS:
        of_kind = [grant for grant in usable if grant.kind == kind]
        whole = floor_at(_sum(_cover(of_kind, due, dict(of_meters))), digits)
        parts[kind] = _cover(of_kind, whole, of_meters)
        due -= whole
    return AppliedCredits(parts["promotional"], parts["paid"], ZERO)


def _may_give(grant: Grant, at: datetime, period: Period | None) -> bool:
    if grant.scope_path is not None:
        return False
    if grant.subscription is None or period is None:
        return grant.usable_at(at)
    return grant.in_force_within(period)


def _cover(grants: Sequence[Grant], due: Decimal, of_meters: dict[str, Decimal]) -> Parts:
    """What each grant gives towards `due`, in the order given. `of_meters` is what of each meter's
    usage no grant for certain meters covers yet; it is reduced.
    """
    parts = []
    for grant in grants:
        part = min(grant.remaining, due)
        if grant.scope_meters is not None:
            part = _reduce(of_meters, grant.scope_meters, part)
        if part > ZERO:
            parts.append((grant.id, part))
            due -= part
    return tuple(parts)


def _reduce(of_meters: dict[str, Decimal], meters: Iterable[str], amount: Decimal) -> Decimal:
    """Take up to `amount` from what is open of `meters`, the first first; returns how much."""
    left = amount
    for meter in meters:
        taken = min(max(of_meters.get(meter, ZERO), ZERO), left)
        of_meters[meter] = of_meters.get(meter, ZERO) - taken
        left -= taken
    return amount - left


def _sum(parts: Parts) -> Decimal:
    return sum((part for _, part in parts), ZERO)
