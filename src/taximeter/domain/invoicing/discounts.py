"""Discounts on a whole invoice: which lines each takes, and how much off them.

Owns the order (the plan's discount, the subscription's own, coupons in order of redemption, each
on what those before it left) and the time over which each lasts. Takes fees, usage, overage and
adjustments; never a true-up, nor what settles from a wallet. Each is rounded once, half up at the
minor unit, and parted over its lines in whole minor units.

A percent shrinks a credit as it shrank the charge that is given back or corrected: a line is
judged by the moment at which that charge was billed. An amount is given once an invoice, never
beyond what its lines come to, and neither carried over nor taken back.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.invoicing.lines import Line
from taximeter.domain.subscription.charges import Charge, boundaries, closed_period
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.quantity import ZERO, divide, round_half_up
from taximeter.kernel.times import Duration

DiscountSource = Literal["plan", "subscription", "coupon"]

_INSTANT = timedelta(microseconds=1)
_FAR = datetime(9000, 1, 1, tzinfo=UTC)
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` until before `until` (None: open)."""

    since: datetime
    until: datetime | None

    def __contains__(self, at: datetime) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Term:
    """A discount in the time in which it lasts: `ahead` holds the due dates of the fees billed in
    advance that it takes, `back` the starts of the closed periods whose lines it takes.

    A plan's own takes the lines of its `versions` only. `key` is the plan's or the coupon's, `id`
    the redemption's.
    """

    source: DiscountSource
    key: str | None
    id: str | None
    discount: InvoiceDiscount
    versions: tuple[int, ...] | None
    ahead: Span
    back: Span

    def names(self, line: Line) -> bool:
        """Whether it takes such lines at all, whenever they are billed."""
        if self.versions is not None:
            return line.plan == self.key and line.plan_version in self.versions
        return self.discount.names(price=line.price, plan=line.plan)

    def lasts(self, moment: "Moment") -> bool:
        """Whether it lasts at the moment at which a line is judged."""
        return moment.at in (self.ahead if moment.ahead else self.back)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a line was billed first: with `ahead` the due date of a fee that is billed in advance,
    else the start of the period that its invoice closes. `corrects`: the line gives back or
    corrects what an earlier one billed.
    """

    at: datetime
    ahead: bool
    corrects: bool


@dataclass(frozen=True, slots=True)
class AppliedDiscount:
    """What one discount takes off an invoice: `amount` off lines that came to `base`, of which
    `shares` says what falls on which line. Negative where it shrinks credits.
    """

    source: DiscountSource
    key: str | None
    id: str | None
    percent: Decimal | None
    amount_off: Decimal | None
    base: Decimal
    amount: Decimal
    shares: tuple[tuple[str, Decimal], ...]

    def __post_init__(self) -> None:
        assert sum((share for _, share in self.shares), ZERO) == self.amount, "shares sum up"
        assert self.amount * self.base >= ZERO, "a discount has the sign of what it takes"
        assert abs(self.amount) <= abs(self.base), "a discount leaves nothing below zero"


def terms_of(subscription: Subscription, given: Iterable[SubscriptionDiscount]) -> tuple[Term, ...]:
    """The discounts of a subscription in the order in which they apply. `given` are those that it
    was given itself, ended ones too, in order of time.
    """
    versions: dict[tuple[str, InvoiceDiscount], list[int]] = {}
    for phase in subscription.phases:
        if phase.plan.discount is not None:
            found = versions.setdefault((phase.plan.key, phase.plan.discount), [])
            found.append(phase.plan.version)
    start = subscription.starts_at
    terms = [
        Term(
            "plan", key, None, discount, tuple(found), *_spans(subscription, discount, start, None)
        )
        for (key, discount), found in versions.items()
    ]
    coupons: list[Term] = []
    for one in given:
        spans = _spans(subscription, one.discount, one.starts_at, one.ended_at)
        if one.coupon is None:
            terms.append(Term("subscription", None, None, one.discount, None, *spans))
        else:
            coupons.append(Term("coupon", one.coupon, one.id, one.discount, None, *spans))
    return (*terms, *coupons)


def _spans(
    subscription: Subscription, discount: InvoiceDiscount, start: datetime, end: datetime | None
) -> tuple[Span, Span]:
    """Over which a discount that begins at `start` and is ended at `end` lasts. It takes the fees
    that fall due from its start on, and the whole period that it starts in; months count from the
    first fee's due date and from that period's start.
    """
    if discount.starts_at is not None:
        start = max(start, discount.starts_at)
    ahead = next(boundaries(subscription, start - _INSTANT, _FAR), start)
    back = _period_start(subscription, start)
    if discount.starts_at is not None and back < discount.starts_at:
        back = ahead
    ended = None if end is None else _period_start(subscription, end)
    return (
        Span(ahead, _until(subscription, discount, ahead, end)),
        Span(back, _until(subscription, discount, back, ended)),
    )


def _until(
    subscription: Subscription, discount: InvoiceDiscount, since: datetime, end: datetime | None
) -> datetime | None:
    ends = [at for at in (end, discount.ends_at) if at is not None]
    if discount.months is not None:
        lasting = Duration(months=discount.months, days=0, seconds=0)
        ends.append(lasting.after(since, subscription.anchor.timezone))
    return min(ends, default=None)


def _period_start(subscription: Subscription, at: datetime) -> datetime:
    """The start of the billing period around `at`; after the last one, `at` itself."""
    following = next(boundaries(subscription, at, _FAR), None)
    return at if following is None else closed_period(subscription, following).start


def moment_of_charge(subscription: Subscription, charge: Charge) -> Moment:
    """When a fee is billed, or the fee was that a credit gives back."""
    ahead = charge.price.timing == "advance"
    return _moment(subscription, charge.fee_due_at, ahead=ahead, corrects=charge.kind == "credit")


def moment_of_usage(subscription: Subscription, line: Line) -> Moment:
    """When usage is billed, or was that an adjustment corrects."""
    corrects = line.kind == "adjustment"
    return _moment(subscription, line.period.end, ahead=False, corrects=corrects)


def _moment(subscription: Subscription, due_at: datetime, *, ahead: bool, corrects: bool) -> Moment:
    """A fee that falls due within a period is billed when that closes, as usage is."""
    boundary = next(boundaries(subscription, due_at - _INSTANT, _FAR))
    if ahead and boundary == due_at:
        return Moment(boundary, ahead=True, corrects=corrects)
    return Moment(closed_period(subscription, boundary).start, ahead=False, corrects=corrects)


def moments_of(
    subscription: Subscription, charges: Sequence[Charge], lines: Sequence[Line]
) -> Iterator[Moment]:
    """The moment of each line: `lines` are those of `charges`, then usage and adjustments."""
    for charge in charges:
        yield moment_of_charge(subscription, charge)
    for line in lines[len(charges) :]:
        yield moment_of_usage(subscription, line)


def apply_discounts(
    terms: Iterable[Term], lines: Sequence[tuple[Line, Moment]], digits: int
) -> tuple[AppliedDiscount, ...]:
    """What each of the discounts takes off these lines; those that take nothing are left out."""
    left = [line.amount for line, _ in lines]
    found = []
    for term in terms:
        taken = _taken(term, lines)
        base = sum((left[n] for n in taken), ZERO)
        amount = amount_off(term.discount, base, digits)
        if amount == ZERO:
            continue
        shares = _parted(amount, [left[n] for n in taken], digits)
        for n, share in zip(taken, shares, strict=True):
            left[n] -= share
        parts = tuple((lines[n][0].id, share) for n, share in zip(taken, shares, strict=True))
        discount = term.discount
        found.append(
            AppliedDiscount(
                term.source, term.key, term.id, discount.percent, discount.amount, base, amount,
                parts,
            )
        )  # fmt: skip
    return tuple(found)


def _taken(term: Term, lines: Sequence[tuple[Line, Moment]]) -> list[int]:
    """Which lines a discount takes. An amount is given on the invoice on which the newest of them
    is within its time: once for a period, though its fee and its usage stand on two invoices.
    """
    named = [n for n, (line, _) in enumerate(lines) if term.names(line)]
    if term.discount.amount is not None:
        new = [lines[n][1] for n in named if not lines[n][1].corrects]
        if not new or not term.lasts(max(new, key=lambda moment: (moment.at, moment.ahead))):
            return []
    return [n for n in named if term.lasts(lines[n][1])]


def amount_off(discount: InvoiceDiscount, base: Decimal, digits: int) -> Decimal:
    """What a discount takes off lines that come to `base` in whole minor units: a percent of it
    with its sign, or its amount as far as there is something to take it off.
    """
    if discount.percent is not None:
        return round_half_up(divide(base * discount.percent, _HUNDRED), digits)
    assert discount.amount is not None
    return min(round_half_up(discount.amount, digits), max(base, ZERO))


def _parted(amount: Decimal, bases: Sequence[Decimal], digits: int) -> list[Decimal]:
    """The amount over the lines in proportion, in whole minor units that add up to it."""
    whole = sum(bases, ZERO)
    shares, upto, given = [], ZERO, ZERO
    for base in bases:
        upto += base
        share = round_half_up(divide(amount * upto, whole), digits) - given
        given += share
        shares.append(share)
    return shares


def total_off(discounts: Iterable[AppliedDiscount]) -> Decimal:
    """What discounts take together."""
    return sum((discount.amount for discount in discounts), ZERO)


def less_discounts(lines: Iterable[Line], discounts: Iterable[AppliedDiscount]) -> tuple[Line, ...]:
    """The lines with what is left of their amounts."""
    off: dict[str, Decimal] = {}
    for discount in discounts:
        for line_id, share in discount.shares:
            off[line_id] = off.get(line_id, ZERO) + share
    return tuple(replace(line, amount=line.amount - off.get(line.id, ZERO)) for line in lines)
