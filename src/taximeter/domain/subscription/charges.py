"""What a subscription owes for its fixed fees (flat and seat prices), and when it is billed.

Owns the billing boundaries of a subscription and the charges due at each. Pure: the same
subscription and boundary give the same charges, so the caller makes billing exactly-once by the
unique (subscription, boundary). Must not round; usage is rated elsewhere.

A fee falls due at the start of each of its periods (advance) or at the end (arrears); a change in
mid-period makes a credit for the unused rest of what was due in advance at the old terms, and a
charge for the rest at the new ones. What falls due between two boundaries is billed at the later.
A trial has no fees; its end is a boundary, since fees begin there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import merge
from typing import Literal

from taximeter.domain.catalog.plan import FlatPrice, Plan, SeatPrice
from taximeter.domain.rating.rate import rate_flat, rate_seats
from taximeter.domain.rating.step import Rated, Step
from taximeter.domain.subscription.subscription import Phase, Subscription
from taximeter.domain.subscription.terms import Part, Run, grid, part_of, runs
from taximeter.kernel.quantity import ONE, ZERO, format_decimal
from taximeter.kernel.times import Period, PeriodUnit, period_at

FeePrice = FlatPrice | SeatPrice

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Charge:
    """A fee, or part of one, or the credit for the unused part of one.

    `amount` is exact, negative for a credit; the amounts of `steps` sum to it. `part.period` is
    what it covers, `part.whole` the price's billing period around that, `plan` the version that
    stated the price at `due_at`. `fee_due_at` is when the fee fell due that it is or gives back.
    """

    kind: Literal["fee", "credit"]
    price: FeePrice
    plan: Plan
    due_at: datetime
    fee_due_at: datetime
    part: Part
    quantity: Decimal
    amount: Decimal
    description: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        assert sum((step.amount for step in self.steps), ZERO) == self.amount, "steps sum up"


@dataclass(frozen=True, slots=True)
class Minimum:
    """The plan minimum of the billing period `period`, or the commitment of the term `period`:
    exact, with the parts it is made of.
    """

    plan: Plan
    period: Period
    amount: Decimal
    steps: tuple[Step, ...]
    kind: Literal["minimum", "commitment"] = "minimum"


@dataclass(frozen=True, slots=True)
class _Fee:
    """A fee price in force: counted in periods of `unit`, for `quantity` seats (flat: one)."""

    price: FeePrice
    unit: PeriodUnit
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class _Cycle:
    """A plan's period and its minimum, or the term of its commitment and its amount."""

    unit: PeriodUnit
    minimum: Decimal | None


def charges_at(subscription: Subscription, boundary: datetime) -> tuple[Charge, ...]:
    """What falls due on the invoice closed at the billing boundary `boundary`: everything since
    the boundary before, in the order in which the prices are written, then by time.
    """
    around = boundaries(subscription, boundary - _INSTANT, boundary)
    if next(around, None) is None:
        assert boundary == subscription.starts_at, f"{boundary} is no boundary"
        return ()
    previous = previous_boundary(subscription, boundary)
    return tuple(_charges(subscription, previous, boundary))


def boundaries(
    subscription: Subscription, after: datetime | None, until: datetime
) -> Iterator[datetime]:
    """The billing instants in (after, until], by time: the start and the end of a trial where
    something is due then, the end of every plan period, a change to a plan with another period,
    and the subscription's end.
    """
    opened = [
        at
        for at in _openings(subscription)
        if at <= until and (after is None or at > after) and _is_due_at(subscription, at)
    ]
    start = subscription.starts_at
    ends = _period_ends(subscription, start if after is None else max(after, start), until)
    last = None
    for at in merge(opened, ends):
        if at != last:
            yield at
        last = at


def _period_ends(
    subscription: Subscription, after: datetime, until: datetime
) -> Iterator[datetime]:
    for cycle in _cycles(subscription):
        if cycle.end is not None and cycle.end <= after:
            continue
        within = until if cycle.end is None else min(until, cycle.end)
        last = None
        begin = max(after, cycle.start)
        for last in grid(subscription.anchor, cycle.terms, after=begin, until=within):
            yield last
        if cycle.end is not None and cycle.end <= until and cycle.end != last:
            yield cycle.end


def previous_boundary(subscription: Subscription, before: datetime) -> datetime | None:
    """The last billing boundary before the instant `before`, if there is one."""
    found = _previous_end(subscription, before)
    opened = [
        at
        for at in _openings(subscription)
        if at < before and (found is None or at > found) and _is_due_at(subscription, at)
    ]
    return max(opened, default=found)


def _previous_end(subscription: Subscription, before: datetime) -> datetime | None:
    for cycle in reversed(_cycles(subscription)):
        if cycle.end is not None and cycle.end < before:
            return cycle.end
        if cycle.start < before:
            last = period_at(subscription.anchor, cycle.terms, before - _INSTANT).start
            if last > cycle.start:
                return last
    return None


def closed_period(subscription: Subscription, boundary: datetime) -> Period:
    """The span that the invoice of `boundary` closes; empty for the one made at the start."""
    previous = previous_boundary(subscription, boundary)
    return Period(subscription.starts_at if previous is None else previous, boundary)


def fees_belonging_to(subscription: Subscription, period: Period) -> tuple[Charge, ...]:
    """The charges that count towards the minimum of the closed `period`, whenever they are billed:
    advance fees that fall due from its start on, arrears and credits until its end.
    """
    return tuple(
        charge
        for charge in _charges(subscription, period.start - _INSTANT, period.end)
        if (
            charge.due_at < period.end
            if charge.kind == "fee" and charge.price.timing == "advance"
            else charge.due_at > period.start
        )
    )


def minimum_at(subscription: Subscription, boundary: datetime) -> Minimum | None:
    """The plan minimum of the period that closes at `boundary`, prorated as fees are where the
    period is cut short or the plan changed within it; None where no plan has one.
    """
    return _over(subscription, closed_period(subscription, boundary), _cycle_of, "minimum")


def commitments_at(subscription: Subscription, closed: Period) -> tuple[Minimum, ...]:
    """The commitments of the terms that end within the billing period `closed`, its end included,
    prorated as minimums are. A term ends with its period, counted from the anchor, where the plan
    changes to one with another term or none, and with the subscription.
    """
    found = (
        commitment_of(subscription, term)
        for run in _term_runs(subscription)
        for term in _terms(subscription, run, closed)
    )
    return tuple(commitment for commitment in found if commitment is not None)


def commitment_of(subscription: Subscription, term: Period) -> Minimum | None:
    """The commitment of a term; None where no plan has one."""
    return _over(subscription, term, _commitment_cycle, "commitment")


def commitment_term(subscription: Subscription, at: datetime) -> Period | None:
    """The term to whose commitment usage counts that is billed as of `at`, if there is one."""
    for run in _term_runs(subscription):
        if run.start < at and (run.end is None or at <= run.end):
            whole = period_at(subscription.anchor, run.terms, at - _INSTANT)
            end = whole.end if run.end is None else min(whole.end, run.end)
            return Period(max(whole.start, run.start), end)
    return None


def _term_runs(subscription: Subscription) -> tuple[Run[PeriodUnit], ...]:
    """By which terms the subscription's commitments are counted."""
    return runs(
        subscription,
        lambda phase: phase.plan.commitment.period if phase.plan.commitment else None,
        lambda unit: unit,
    )


def _terms(subscription: Subscription, run: Run[PeriodUnit], closed: Period) -> Iterator[Period]:
    after = max(closed.start, run.start)
    until = closed.end if run.end is None else min(closed.end, run.end)
    ends = [*grid(subscription.anchor, run.terms, after=after, until=until)]
    if run.end == until and until > after and until not in ends:
        ends.append(until)
    for end in ends:
        start = period_at(subscription.anchor, run.terms, end - _INSTANT).start
        yield Period(max(start, run.start), end)


def _over(
    subscription: Subscription,
    period: Period,
    cycle_of: Callable[[Phase], _Cycle | None],
    kind: Literal["minimum", "commitment"],
) -> Minimum | None:
    found: list[tuple[Plan, Part, Decimal]] = []
    for run in runs(subscription, cycle_of, lambda cycle: cycle.unit):
        start = max(run.start, period.start)
        end = period.end if run.end is None else min(run.end, period.end)
        if start >= end or run.terms.minimum is None:
            continue
        span = Period(start, end)
        part = part_of(
            subscription, period_at(subscription.anchor, run.terms.unit, span.start), span
        )
        found.append((run.plan_at(span.start), part, run.terms.minimum))
    if not found:
        return None
    steps = tuple(
        Step(_minimum_text(kind, plan, minimum, part), None, None, part.amount(minimum))
        for plan, part, minimum in found
    )
    return Minimum(found[-1][0], period, sum((step.amount for step in steps), ZERO), steps, kind)


def _minimum_text(kind: str, plan: Plan, minimum: Decimal, part: Part) -> str:
    cut = "" if part.fraction == 1 else f", {part.text}"
    return f"{kind} of {format_decimal(minimum)} on {plan.name}{cut}"


def _commitment_cycle(phase: Phase) -> _Cycle | None:
    commitment = phase.plan.commitment
    return None if commitment is None else _Cycle(commitment.period, commitment.amount)


def _openings(subscription: Subscription) -> list[datetime]:
    """When fees first fall due: the start, and the end of a trial."""
    phases = subscription.phases
    found = [subscription.starts_at]
    if phases[0].deal.trial:
        found += [phase.starts_at for phase in phases if not phase.deal.trial][:1]
    return found


def _is_due_at(subscription: Subscription, at: datetime) -> bool:
    return any(charge.amount for charge in _charges(subscription, at - _INSTANT, at))


def _cycle_of(phase: Phase) -> _Cycle:
    return _Cycle(phase.plan.period, phase.plan.minimum)


def _cycles(subscription: Subscription) -> tuple[Run[PeriodUnit], ...]:
    """The plan periods by which the subscription is billed."""
    return runs(subscription, lambda phase: phase.plan.period, lambda unit: unit)


def _fee_runs(subscription: Subscription) -> Iterator[Run[_Fee]]:
    """The runs of each fee price, in the order in which the prices are written."""
    keys = dict.fromkeys(price.key for phase in subscription.phases for price in phase.plan.prices)
    for key in keys:

        def fee_of(phase: Phase, key: str = key) -> _Fee | None:
            price = phase.plan.price(key)
            if phase.deal.trial or not isinstance(price, FlatPrice | SeatPrice):
                return None
            quantity = phase.quantities[key] if isinstance(price, SeatPrice) else ONE
            return _Fee(price, price.period or phase.plan.period, quantity)

        yield from runs(subscription, fee_of, lambda fee: fee.unit)


def _charges(
    subscription: Subscription, after: datetime | None, until: datetime
) -> Iterator[Charge]:
    """Everything that falls due in (after, until] (None: from the start on)."""
    after = subscription.starts_at - _INSTANT if after is None else after
    for run in _fee_runs(subscription):
        if run.terms.price.timing == "advance":
            yield from _advance(subscription, run, after, until)
        else:
            yield from _arrears(subscription, run, after, until)


def _advance(
    subscription: Subscription, run: Run[_Fee], after: datetime, until: datetime
) -> Iterator[Charge]:
    """A fee at the run's start and at each of its period starts; a credit where a change ends it
    within a period, or the end of the subscription does and unused time is to be credited.
    """
    if after < run.start <= until:
        yield from _advance_fee(subscription, run, run.start)
    for due_at in _grid(subscription, run, after, until):
        if run.end is None or due_at < run.end:
            yield from _advance_fee(subscription, run, due_at)
    if run.end is None or not after < run.end <= until:
        return
    if run.end == subscription.ends_at and not subscription.credit_unused:
        return
    whole = period_at(subscription.anchor, run.terms.unit, run.end)
    if whole.start < run.end:
        paid_until = _paid_until(subscription, whole, max(run.start, whole.start))
        if run.end < paid_until:
            yield from _charge(subscription, run, run.end, Period(run.end, paid_until), "credit")


def _advance_fee(subscription: Subscription, run: Run[_Fee], due_at: datetime) -> Iterator[Charge]:
    whole = period_at(subscription.anchor, run.terms.unit, due_at)
    paid_until = _paid_until(subscription, whole, due_at)
    yield from _charge(subscription, run, due_at, Period(due_at, paid_until), "fee")


def _paid_until(subscription: Subscription, whole: Period, due_at: datetime) -> datetime:
    """Until when a fee covers that fell due in advance at `due_at`: the end of its period, or the
    subscription's end, as far as that was known then.
    """
    end = subscription.ends_at
    if subscription.cancelled_at is not None and subscription.cancelled_at > due_at:
        end = subscription.term_ends_at
    return whole.end if end is None else min(whole.end, end)


def _arrears(
    subscription: Subscription, run: Run[_Fee], after: datetime, until: datetime
) -> Iterator[Charge]:
    """A fee at each period end within the run, and at the run's end for the part until then."""
    ends = list(_grid(subscription, run, after, until))
    if run.end is not None and after < run.end <= until and run.end not in ends[-1:]:
        ends.append(run.end)
    for due_at in ends:
        whole = period_at(subscription.anchor, run.terms.unit, due_at - _INSTANT)
        covered = Period(max(run.start, whole.start), due_at)
        yield from _charge(subscription, run, due_at, covered, "fee")


def _grid(
    subscription: Subscription, run: Run[_Fee], after: datetime, until: datetime
) -> Iterator[datetime]:
    """The boundaries of the fee's own periods that lie in (after, until] and within the run."""
    return grid(
        subscription.anchor,
        run.terms.unit,
        after=max(after, run.start),
        until=until if run.end is None else min(until, run.end),
    )


def _charge(
    subscription: Subscription,
    run: Run[_Fee],
    due_at: datetime,
    covered: Period,
    kind: Literal["fee", "credit"],
) -> Iterator[Charge]:
    """The charge for the `covered` part of its period; none where that is no part at all."""
    fee = run.terms
    whole = period_at(subscription.anchor, fee.unit, covered.start)
    part = part_of(subscription, whole, covered)
    if part.fraction == 0:
        return
    rated = _rated(fee)
    amount, description, steps = part.amount(rated.amount), rated.description, rated.steps
    if kind == "credit":
        amount, description = -amount, f"{description}: unused time"
        steps = (Step("fee for the whole period", None, None, -rated.amount),)
    if part.fraction != 1:
        rest = amount - sum((step.amount for step in steps), ZERO)
        description = f"{description} ({part.text})"
        steps = (*steps, Step(f"prorated: {part.text}", None, None, rest))
    fee_due_at = due_at if kind == "fee" else max(run.start, whole.start)
    yield Charge(
        kind, fee.price, run.plan_at(due_at), due_at, fee_due_at, part, fee.quantity, amount,
        description, steps,
    )  # fmt: skip


def _rated(fee: _Fee) -> Rated:
    """The fee of one whole period."""
    if isinstance(fee.price, SeatPrice):
        return rate_seats(fee.price, fee.quantity)
    return rate_flat(fee.price)
