"""Which credits a subscription's plan grants, and when.

Owns the steps in which a credit is granted, and what a change within a step does. Pure: what is
earned follows from the phases alone, so granting is made exactly-once by comparing what is earned
in a step with what was granted for it. Must not know what is left of a grant.

A credit is earned at the start of each of its steps while a phase has it; within a step, where the
subscription starts there, where seats are added, or where a change brings the first credit of an
asset: in full, not prorated. A change between plans that both grant the asset waits for the next
step. A pause earns nothing; where a step begins within one, it is earned when that ends. What is
earned is never taken back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.credit import PlanCredit
from taximeter.domain.subscription.subscription import Phase, Subscription
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period, period_at, to_local


@dataclass(frozen=True, slots=True)
class Allotment:
    """What a credit grants for one step: its amount, `units` times. `since` is when the step was
    first earned; `billing` the plan's period in which it starts.
    """

    credit: PlanCredit
    step: Period
    since: datetime
    units: Decimal
    billing: Period


def allotments_at(subscription: Subscription, at: datetime) -> tuple[Allotment, ...]:
    """What the plan that applies at `at` has granted by then for the steps that are running."""
    phase = subscription.phase_at(at)
    if phase is None or phase.deal.paused:
        return ()
    found = []
    for credit in phase.plan.credits:
        step = period_at(subscription.anchor, credit.every, at)
        earned = _earned(subscription, credit, step, at)
        if earned is None or not credit.starts_at(
            to_local(earned[0], subscription.anchor.timezone)
        ):
            continue
        billing = period_at(subscription.anchor, phase.plan.period, step.start)
        found.append(Allotment(credit, step, *earned, billing))
    return tuple(found)


def _earned(
    subscription: Subscription, credit: PlanCredit, step: Period, at: datetime
) -> tuple[datetime, Decimal] | None:
    """Since when, and for how many units, the credit is earned in the step by `at`."""
    since: datetime | None = None
    units = ZERO
    before: Phase | None = None
    for phase in subscription.phases:
        if phase.starts_at > at:
            break
        own = None if phase.deal.paused else phase.plan.credit(credit.key)
        gone = phase.ends_at is not None and phase.ends_at <= max(step.start, phase.starts_at)
        if not gone and own is not None and own.asset == credit.asset:
            if _counts(phase, before, own, step, begun=since is not None):
                since = since or max(step.start, phase.starts_at)
                units = max(units, own.units(phase.quantities))
        before = phase
    return None if since is None else (since, units)


def _counts(
    phase: Phase, before: Phase | None, credit: PlanCredit, step: Period, *, begun: bool
) -> bool:
    """Whether a phase that has the credit earns it in the step."""
    if phase.starts_at <= step.start or before is None or before.deal.paused:
        return True
    own = before.plan.credit(credit.key)
    if own is not None and own.asset == credit.asset:
        return begun
    return all(one.asset != credit.asset for one in before.plan.credits)


def next_allotment(subscription: Subscription, after: datetime) -> datetime | None:
    """The first instant past `after` at which something may be earned."""
    return min(_instants(subscription, after), default=None)


def _instants(subscription: Subscription, after: datetime) -> Iterator[datetime]:
    """Of each phase with credits: its start, and the next start of a step of each credit."""
    for phase in subscription.phases:
        if not phase.plan.credits or phase.deal.paused:
            continue
        if phase.ends_at is not None and phase.ends_at <= after:
            continue
        if phase.starts_at > after:
            yield phase.starts_at
        begin = max(after, phase.starts_at)
        for credit in phase.plan.credits:
            step = period_at(subscription.anchor, credit.every, begin)
            if phase.ends_at is None or step.end < phase.ends_at:
                yield step.end
