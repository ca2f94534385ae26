"""The subscription, its phases, and the segments in which a price stays the same.

Owns which price applies at an instant, and the span over which a price's quantity accumulates.
Must not rate or read storage.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.deal import NO_DEAL, Deal, Overrides
from taximeter.domain.catalog.plan import Plan, Price
from taximeter.kernel.times import Anchor, Duration, Period, PeriodUnit, period_at

Proration = Literal["by_day", "by_second", "none"]


@dataclass(frozen=True, slots=True)
class Said:
    """What a phase was told itself; what is None it takes from the phase before it. `plan` is a
    plan version as published. Later changes reach a phase only where it was told nothing.
    """

    plan: Plan | None = None
    quantities: Mapping[str, Decimal] | None = None
    overrides: Overrides | None = None
    adjust_percent: Decimal | None = None
    trial: bool | None = None
    paused: bool | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """From `starts_at` until `ends_at` (None: open) this plan version with these quantities.

    `plan` is what prices: the published version with the `deal` applied. `proration` says how the
    change that began this phase treats the period it falls into. Without `said` the phase was
    told everything itself.
    """

    starts_at: datetime
    ends_at: datetime | None
    plan: Plan
    quantities: Mapping[str, Decimal]
    proration: Proration
    deal: Deal = NO_DEAL
    said: Said | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        assert self.ends_at is None or self.starts_at <= self.ends_at, "a phase runs forward"

    def active_at(self, at: datetime) -> bool:
        """Whether this phase applies at the instant `at`."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True, slots=True)
class Subscription:
    """`phases` follow each other without overlap, the first at `starts_at`; the last one's
    `ends_at` is the subscription's.

    After a cancel, `cancelled_at` is when it was made, `term_ends_at` the end that stood before it
    (None: open), and `credit_unused` whether advance fees are credited for the time after the end.
    `term` is how long a contract runs that renews itself, counted from the start.
    """

    id: str
    key: str | None
    customer: str
    anchor: Anchor
    starts_at: datetime
    ends_at: datetime | None
    net_terms_days: int
    created_at: datetime
    phases: tuple[Phase, ...]
    cancelled_at: datetime | None = None
    term_ends_at: datetime | None = None
    credit_unused: bool = False
    term: Duration | None = None

    def __post_init__(self) -> None:
        assert self.phases, "a subscription has at least one phase"
        assert self.phases[0].starts_at == self.starts_at, "the first phase starts it"
        for earlier, later in zip(self.phases, self.phases[1:], strict=False):
            assert earlier.ends_at == later.starts_at, "phases follow each other without a gap"
        assert self.phases[-1].ends_at == self.ends_at, "the last phase ends it"

    def phase_at(self, at: datetime) -> Phase | None:
        """The phase that applies at `at`, None before the start or after the end."""
        return next((phase for phase in self.phases if phase.active_at(at)), None)

    def term_at(self, at: datetime) -> Period | None:
        """The term that runs at `at`, for ever renewed; None where the contract has none. Terms are
        counted from the start, so that a day of the month comes back after a short month.
        """
        if self.term is None:
            return None
        at = max(at, self.starts_at)
        step = (at - self.starts_at) // self.term.longest
        while (end := self._term_start(step + 1)) <= at:
            step += 1
        return Period(self._term_start(step), end)

    def _term_start(self, step: int) -> datetime:
        assert self.term is not None, "it has terms"
        return self.term.times(step).after(self.starts_at, self.anchor.timezone)


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of one billing period over which one price stays the same; its quantity
    accumulates from `span.start`. `period` is the whole billing period around it.
    """

    price: Price
    plan: Plan
    unit: PeriodUnit
    period: Period
    span: Period


def segment_at(subscription: Subscription, price_key: str, at: datetime) -> Segment | None:
    """The segment of the price `price_key` that contains the instant `at`.

    A phase that repeats the very same price continues its segment, so a change of seats never
    restarts a usage ladder.
    """
    phase = subscription.phase_at(at)
    price = phase.plan.price(price_key) if phase else None
    if phase is None or price is None:
        return None
    unit = price.period or phase.plan.period
    period = period_at(subscription.anchor, unit, at)
    start, end = period.start, period.end
    index = subscription.phases.index(phase)
    for n in range(index, 0, -1):
        if not _same_price(subscription.phases[n - 1].plan, price_key, price, unit):
            start = max(start, subscription.phases[n].starts_at)
            break
    for later in subscription.phases[index + 1 :]:
        if not _same_price(later.plan, price_key, price, unit):
            end = min(end, later.starts_at)
            break
    start = max(start, subscription.starts_at)
    end = min(end, subscription.ends_at) if subscription.ends_at else end
    return Segment(price, phase.plan, unit, period, Period(start, end))


def segments_in(subscription: Subscription, span: Period) -> Iterator[Segment]:
    """All segments that begin before `span.end` and end after `span.start`, of every price, in
    the order in which the prices are written, then by time.
    """
    keys = dict.fromkeys(price.key for phase in subscription.phases for price in phase.plan.prices)
    for key in keys:
        seen: set[tuple[datetime, datetime]] = set()
        for phase in subscription.phases:
            at = max(span.start, phase.starts_at)
            limit = span.end if phase.ends_at is None else min(span.end, phase.ends_at)
            while at < limit:
                segment = segment_at(subscription, key, at)
                if segment is None:
                    break
                if (segment.span.start, segment.span.end) not in seen:
                    seen.add((segment.span.start, segment.span.end))
                    yield segment
                at = segment.span.end


def _same_price(plan: Plan, key: str, price: Price, unit: PeriodUnit) -> bool:
    other = plan.price(key)
    return other == price and (price.period or plan.period) == unit
