"""Which levels a subscription's price is billed for, and which of its segments a change touches.

Owns the rule for levels that no event ties to a subscription: at each instant they count for the
customer's oldest subscription that has a price on the meter then, as single events do.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.subscription.subscription import (
    Phase,
    Segment,
    Subscription,
    segments_in,
)
from taximeter.kernel.times import Period


def touched_by(
    subscriptions: Iterable[Subscription], meter: str, at: datetime
) -> tuple[Subscription, ...]:
    """The subscriptions whose bills a level that begins at `at` may change: those with a price on
    the meter from then on.
    """
    return tuple(
        one
        for one in subscriptions
        if any(
            _has_price(phase, meter) and (phase.ends_at is None or phase.ends_at > at)
            for phase in one.phases
        )
    )


def own_spans(
    subscriptions: Sequence[Subscription], subscription: Subscription, meter: str, span: Period
) -> tuple[Period, ...]:
    """The parts of `span` in which levels without a subscription of their own count for this one:
    those in which none of the customer's older `subscriptions` has a price on the meter.
    """
    spans: tuple[Period, ...] = (span,)
    for older in subscriptions:
        if older.id == subscription.id:
            break
        for phase in older.phases:
            if _has_price(phase, meter):
                spans = tuple(_without(spans, phase.starts_at, phase.ends_at))
    return spans


def _without(
    spans: Iterable[Period], start: datetime, end: datetime | None
) -> Iterator[Period]:  # fmt: skip
    for span in spans:
        if span.start < start:
            yield Period(span.start, min(span.end, start))
        if end is not None and end < span.end:
            yield Period(max(span.start, end), span.end)


def _has_price(phase: Phase, meter: str) -> bool:
    return any(
        isinstance(price, UsagePrice) and price.meter == meter for price in phase.plan.prices
    )


def segments_since(
    subscription: Subscription, meter: str, since: datetime, until: datetime
) -> Iterator[Segment]:
    """The segments of prices on the meter that a level change at `since` reaches, as far as they
    ended by `until`.
    """
    if since < until:
        for segment in segments_in(subscription, Period(since, until)):
            price = segment.price
            if isinstance(price, UsagePrice) and price.meter == meter:
                if segment.span.end <= until:
                    yield segment
