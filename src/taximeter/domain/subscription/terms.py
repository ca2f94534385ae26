"""Which fixed terms hold from when to when, and what share of a period a part of it is.

Owns proration: when a change takes effect for a fee, and how its cut is measured. Must not know
what a fee amounts to.

A change prorated `by_day` or `by_second` takes effect at once; one with `none` waits for the end
of the period that the old terms are in. A subscription's end is measured by day. Shares of a
period are cumulative from its start, so the amounts of neighbouring parts, each the difference
of two cumulative amounts, sum to the whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Generic, Literal, TypeVar

from taximeter.domain.catalog.plan import Plan
from taximeter.domain.subscription.subscription import Phase, Subscription
from taximeter.kernel.quantity import divide
from taximeter.kernel.times import (
    Anchor,
    Period,
    PeriodUnit,
    boundary,
    local_days,
    period_at,
    period_step,
)

Terms = TypeVar("Terms")

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Run(Generic[Terms]):
    """`terms` hold unchanged from `start` until `end` (None: open). `plans` are the versions that
    state them, each with the instant from which it does.
    """

    start: datetime
    end: datetime | None
    terms: Terms
    plans: tuple[tuple[datetime, Plan], ...]

    def plan_at(self, at: datetime) -> Plan:
        """The plan version that states these terms at `at`."""
        return next(plan for since, plan in reversed(self.plans) if since <= at)


def runs(
    subscription: Subscription,
    terms_of: Callable[[Phase], Terms | None],
    unit_of: Callable[[Terms], PeriodUnit],
) -> tuple[Run[Terms], ...]:
    """The runs of terms that `terms_of` finds in each phase (None: none there), by time. Equal
    terms of neighbouring phases are one run; `unit_of` says in which periods terms are counted.
    """
    found: list[Run[Terms]] = []
    starts = _starts(subscription, terms_of, unit_of)
    for index, (start, terms, plan) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else subscription.ends_at
        if subscription.ends_at is not None:
            if start >= subscription.ends_at:
                break
            end = min(end, subscription.ends_at) if end is not None else None
        if terms is None:
            continue
        last = found[-1] if found else None
        if last is not None and last.end == start and last.terms == terms:
            found[-1] = Run(last.start, end, terms, (*last.plans, (start, plan)))
        else:
            found.append(Run(start, end, terms, ((start, plan),)))
    return tuple(found)


def _starts(
    subscription: Subscription,
    terms_of: Callable[[Phase], Terms | None],
    unit_of: Callable[[Terms], PeriodUnit],
) -> list[tuple[datetime, Terms | None, Plan]]:
    """When the terms of each phase take effect; terms replaced before they did are left out."""
    starts: list[tuple[datetime, Terms | None, Plan]] = []
    before: Phase | None = None
    for phase in subscription.phases:
        start = phase.starts_at
        if phase.proration == "none" and before is not None:
            kept = next(terms for since, terms, _ in reversed(starts) if since <= start)
            unit = unit_of(kept) if kept is not None else before.plan.period
            period = period_at(subscription.anchor, unit, start)
            start = start if period.start == start else period.end
        while starts and starts[-1][0] >= start:
            starts.pop()
        starts.append((start, terms_of(phase), phase.plan))
        before = phase
    return starts


def grid(
    anchor: Anchor, unit: PeriodUnit, *, after: datetime, until: datetime
) -> Iterator[datetime]:
    """The boundaries of the anchor's periods that lie in (after, until], by time."""
    step = period_step(anchor, unit, after) + 1
    while (at := boundary(anchor, unit, step)) <= until:
        yield at
        step += 1


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a period lies before an instant: `numerator` of `denominator` `unit`s."""

    numerator: int
    denominator: int
    unit: Literal["day", "second"]

    @property
    def fraction(self) -> Fraction:
        """The share as a number from 0 to 1."""
        return Fraction(self.numerator, self.denominator)


@dataclass(frozen=True, slots=True)
class Part:
    """`period` as a part of the billing period `whole`: the share of `whole` before its end less
    the share before its start.
    """

    whole: Period
    period: Period
    since: Share
    until: Share

    @property
    def fraction(self) -> Fraction:
        """How much of the whole this is, from 0 to 1."""
        return self.until.fraction - self.since.fraction

    def amount(self, fee: Decimal) -> Decimal:
        """This part's exact amount of a `fee` for the whole."""
        return _cumulative(fee, self.until) - _cumulative(fee, self.since)

    @property
    def text(self) -> str:
        """`20 of 30 days`; a plain fraction where its ends are measured in different units."""
        measure = self.since if self.since.numerator else self.until
        if self.since.numerator and self.until.fraction < 1 and self.since.unit != self.until.unit:
            return f"{self.fraction} of the period"
        count, plural = self.fraction * measure.denominator, "s" * (measure.denominator != 1)
        return f"{count} of {measure.denominator} {measure.unit}{plural}"


def _cumulative(fee: Decimal, share: Share) -> Decimal:
    return divide(fee * share.numerator, Decimal(share.denominator))


def part_of(subscription: Subscription, whole: Period, period: Period) -> Part:
    """`period` as a part of `whole`, cut as the changes of the subscription ask for."""
    since = _share_before(subscription, whole, period.start)
    return Part(whole, period, since, _share_before(subscription, whole, period.end))


def _share_before(subscription: Subscription, whole: Period, at: datetime) -> Share:
    """The share of `whole` before `at`, never less than the share before an earlier cut: a cut
    by day that follows one by second on the same day does not go back to midnight.
    """
    first = subscription.phases[0]
    cuts = [p for p in subscription.phases if p.proration != "none" or p is first]
    by_second = {p.starts_at for p in cuts if p.proration == "by_second"}
    earlier = (p.starts_at for p in cuts if whole.start < p.starts_at < at)
    shares = (
        _measure(subscription, whole, cut, by_second=cut in by_second) for cut in (at, *earlier)
    )
    return max(shares, key=lambda share: share.fraction)


def _measure(subscription: Subscription, whole: Period, at: datetime, *, by_second: bool) -> Share:
    if by_second and whole.start < at < whole.end:
        return Share((at - whole.start) // _SECOND, (whole.end - whole.start) // _SECOND, "second")
    timezone = subscription.anchor.timezone
    days = local_days(Period(whole.start, at), timezone)
    return Share(days, local_days(whole, timezone), "day")
