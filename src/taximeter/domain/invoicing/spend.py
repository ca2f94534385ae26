"""What a subscription's billing period has cost so far, and what it will have at its end.

Owns what belongs to a period's spend and the forecast. Amounts are rounded as the invoice will
round them, line by line, so both say the same to the cent; what settles from a wallet is exact.

A period's spend is its fees as they fall due and the usage that its invoice will bill. The
forecast is a run rate: what has been used since a price began to count, times the whole span over
the time gone by, rated again, so that tiers and included units count as they will; a quantity that
does not grow with time (a maximum, distinct values) stays. Fees that fall due by the end are added
in full, and the plan's minimum is met. A level is taken to stay as it is, and the buckets of a
meter to go on as they were.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from taximeter.domain.catalog.meter import Bucket
from taximeter.domain.catalog.plan import Price, Settle, UsagePrice
from taximeter.domain.invoicing.lines import Line, fee_lines, minimum_line, sum_of, usage_lines
from taximeter.domain.metering.bucket import buckets_after
from taximeter.domain.metering.reserved import BUCKET, DAY, FEE, FREE
from taximeter.domain.rating.rate import rate_price
from taximeter.domain.rating.usage import Usage, is_drawn
from taximeter.domain.subscription.charges import (
    boundaries,
    closed_period,
    fees_belonging_to,
    minimum_at,
)
from taximeter.domain.subscription.subscription import Segment, Subscription, segments_in
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, ZERO, divide, round_half_up
from taximeter.kernel.times import Duration, Period

SegmentKey = tuple[str, datetime]
FORECAST_METHOD = "run_rate"

_INSTANT = timedelta(microseconds=1)
_LONGEST = Duration(months=13, days=0, seconds=0)


@dataclass(frozen=True, slots=True)
class PriceSpend:
    """One price's part of a period's spend: so far, and as forecast for the period's end."""

    price: str
    name: str
    asset: str
    settle: Settle
    quantity: Decimal
    amount: Decimal
    forecast: Decimal


@dataclass(frozen=True, slots=True)
class Spend:
    """A period's spend. `total` and `forecast` add up what is in the plan's currency, however it
    settles; credit units stand in `prices` alone.
    """

    period: Period
    currency: str
    prices: tuple[PriceSpend, ...]
    total: Decimal
    forecast: Decimal


def open_period(subscription: Subscription, at: datetime) -> Period | None:
    """The billing period that is open at `at`: from the last billing boundary to the next; None
    before the subscription's start and after its end.
    """
    if at < subscription.starts_at:
        return None
    until = _LONGEST.after(at, subscription.anchor.timezone)
    following = next(boundaries(subscription, at, until), None)
    if following is None:
        return None
    period = closed_period(subscription, following)
    return period if at in period else None


def usage_segments(subscription: Subscription, period: Period) -> tuple[Segment, ...]:
    """The segments of usage prices that the invoice of `period` bills: those that end with it or
    within it.
    """
    return tuple(
        segment
        for segment in segments_in(subscription, period)
        if isinstance(segment.price, UsagePrice) and period.start < segment.span.end <= period.end
    )


def segment_key(segment: Segment) -> SegmentKey:
    """By what a segment's usage is found: its price and its start."""
    return segment.price.key, segment.span.start


def spend_of(
    subscription: Subscription,
    period: Period,
    at: datetime,
    usage: Mapping[SegmentKey, Usage],
    growing: Set[str],
    levels: Mapping[SegmentKey, Usage] = MappingProxyType({}),
    buckets: Mapping[str, Bucket] = MappingProxyType({}),
) -> Spend:
    """The spend of the open `period` at `at`. `usage` has that of its segments; the meters in
    `growing` are those whose quantity adds up over time; `levels` has the usage at their ends of
    segments whose meters measure a level; `buckets` are those of meters that have them.
    """
    timezone = subscription.anchor.timezone
    segments = usage_segments(subscription, period)
    now = Period(period.start, min(at + _INSTANT, period.end))
    so_far = [*fee_lines(fees_belonging_to(subscription, now))]
    at_end = [*fee_lines(fees_belonging_to(subscription, period))]
    for segment in segments:
        used = usage.get(segment_key(segment), ())
        so_far += _lines(segment, used)
        assert isinstance(segment.price, UsagePrice)
        projected = levels.get(segment_key(segment))
        bucket, name = buckets.get(segment.price.meter), BUCKET
        if segment.price.maximum_per_day is not None:
            bucket, name = "day", DAY
        if projected is None and bucket is not None:
            projected = _with_coming(used, (bucket, name), timezone, segment.span, at)
        elif projected is None:
            projected = _projected(segment, used, at, growing)
        at_end += _lines(segment, projected)
    currency = subscription.phases[0].plan.currency
    prices = _by_price(subscription, so_far, at_end)
    return Spend(
        period, currency, prices, total=_in(currency, so_far),
        forecast=round_half_up(
            _in(currency, at_end) + _true_up(subscription, period, currency, at_end),
            DIGITS_FRACTION_MAX,
        ),
    )  # fmt: skip


def run_rate(quantity: Decimal, span: Period, at: datetime) -> Decimal:
    """What `quantity`, counted since the start of `span`, will be at its end if it goes on as it
    did: times the whole span over the time gone by at `at`. As it is before the start and after
    the end.
    """
    gone, whole = (at - span.start) // _INSTANT, (span.end - span.start) // _INSTANT
    if not 0 < gone < whole:
        return quantity
    return divide(quantity * whole, Decimal(gone))


def _projected(segment: Segment, used: Usage, at: datetime, growing: Set[str]) -> Usage:
    assert isinstance(segment.price, UsagePrice)
    if segment.price.meter not in growing:
        return used
    return [
        (
            dimensions,
            quantity if dimensions.get(FEE) == FREE else run_rate(quantity, segment.span, at),
        )
        for dimensions, quantity in used
    ]


def _with_coming(
    used: Usage, apart_by: tuple[Bucket, str], timezone: str, span: Period, at: datetime
) -> Usage:
    """The buckets so far, or the days of a price that is capped a day, and as many to come as they
    have been of those gone by: again what they were, from the first on.
    """
    bucket, name = apart_by
    apart: dict[str, list[tuple[Mapping[str, str], Decimal]]] = {}
    for dimensions, quantity in used:
        if name in dimensions:
            apart.setdefault(dimensions[name], []).append((dimensions, quantity))
    if not apart or not span.start < at < span.end:
        return used
    gone = 1 + buckets_after(bucket, timezone, span.start, at)
    rest = buckets_after(bucket, timezone, at - _INSTANT, span.end)
    more = round_half_up(divide(Decimal(rest * len(apart)), Decimal(gone)), 0)
    known = sorted(apart)
    return [
        *used,
        *(
            ({**dimensions, name: f"+{n}"}, quantity)
            for n in range(int(more))
            for dimensions, quantity in apart[known[n % len(known)]]
        ),
    ]


def _lines(segment: Segment, used: Usage) -> tuple[Line, ...]:
    assert isinstance(segment.price, UsagePrice)
    if segment.price.settle == "wallet" and not is_drawn(segment.price, used):
        return ()
    return usage_lines(segment, rate_price(segment.price, used))


def _by_price(
    subscription: Subscription, so_far: Sequence[Line], at_end: Sequence[Line]
) -> tuple[PriceSpend, ...]:
    """One entry a price that has a line, in the order in which the prices are written."""
    found = []
    prices: dict[str, Price] = {}
    for phase in subscription.phases:
        prices |= {price.key: price for price in phase.plan.prices}
    for key, price in prices.items():
        now = [line for line in so_far if line.price == key]
        end = [line for line in at_end if line.price == key]
        if not now and not end and not isinstance(price, UsagePrice):
            continue
        fees = [line.quantity for line in now if line.kind == "fee"]
        quantity = fees[-1] if fees else sum((line.quantity for line in now), ZERO)
        settle: Settle = price.settle if isinstance(price, UsagePrice) else "invoice"
        forecast = round_half_up(sum_of(end), DIGITS_FRACTION_MAX)
        found.append(
            PriceSpend(key, price.name, price.asset, settle, quantity, sum_of(now), forecast)
        )
    return tuple(found)


def _true_up(
    subscription: Subscription, period: Period, currency: str, at_end: Sequence[Line]
) -> Decimal:
    minimum = minimum_at(subscription, period.end)
    if minimum is None:
        return ZERO
    line = minimum_line(minimum, [line for line in at_end if line.asset == currency])
    return ZERO if line is None else line.amount


def _in(currency: str, lines: Sequence[Line]) -> Decimal:
    return sum_of(line for line in lines if line.asset == currency)
