"""True-ups: what is missing to the minimum of a plan's period, or to a commitment's term.

Owns the reading of what belongs to a period or a term: fees, usage, overage, less discounts. For
a term of several billing periods it is gathered period by period, as the invoices were. What late
usage changes is billed as f(now) - billed before, negative where it made a true-up too large.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.catalog.plan import Settle, UsagePrice
from taximeter.domain.invoicing.discounts import (
    AppliedDiscount,
    Term,
    apply_discounts,
    moments_of,
    total_off,
)
from taximeter.domain.invoicing.lines import Line, fee_lines, minimum_line, usage_lines
from taximeter.domain.invoicing.spend import usage_segments
from taximeter.domain.rating.rate import rate_price
from taximeter.domain.rating.usage import Usage, is_drawn
from taximeter.domain.subscription.charges import (
    Charge,
    Minimum,
    boundaries,
    closed_period,
    commitment_of,
    commitment_term,
    commitments_at,
    fees_belonging_to,
    minimum_at,
)
from taximeter.domain.subscription.subscription import Segment, Subscription
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period, to_utc
from taximeter.services.context import Connection
from taximeter.services.overage import overage_of
from taximeter.services.segment_usage import Instead, UsageKey, read_usage, usage_key
from taximeter.storage import invoices as storage

FAR = to_utc(datetime(9000, 1, 1), "UTC")
_INSTANT = timedelta(microseconds=1)


class Books(NamedTuple):
    """What true-ups are computed from: a subscription with its discounts, usage as it is at the
    instant `at` (`instead` of what is stored in a preview), and the `overage` lines of the
    invoice at hand.
    """

    connection: Connection
    subscription: Subscription
    terms: Sequence[Term]
    at: datetime
    instead: Instead | None
    overage: Sequence[Line]


async def true_ups(books: Books, boundary: datetime, late: Sequence[datetime]) -> list[Line]:
    """The true-up lines of the invoice at `boundary`: of the period and the terms that close with
    it, and of those before whose usage, in segments that end at the instants `late`, has changed.
    """
    one = books.subscription
    closed = closed_period(one, boundary)
    closing = [minimum_at(one, boundary), *commitments_at(one, closed)]
    found = [(each, await _billed(books, each)) for each in _changed(one, closed, late)]
    lines = [
        await _true_up(books, each, billed)
        for each, billed in [*((each, []) for each in closing if each is not None), *found]
    ]
    return [line for line in lines if line is not None]


def _changed(
    subscription: Subscription, closed: Period, late: Sequence[datetime]
) -> Iterator[Minimum]:
    """The minimums and commitments, closed before the period `closed`, that hold usage of segments
    which end at these instants.
    """
    late = sorted(set(late))
    closing = [next(boundaries(subscription, end - _INSTANT, FAR)) for end in late]
    for boundary in dict.fromkeys(closing):
        minimum = minimum_at(subscription, boundary)
        if minimum is not None:
            yield minimum
    terms = [commitment_term(subscription, end) for end in late]
    for term in dict.fromkeys(terms):
        if term is not None and term.end <= closed.start:
            commitment = commitment_of(subscription, term)
            if commitment is not None:
                yield commitment


async def _billed(books: Books, minimum: Minimum) -> list[Line]:
    """The true-ups of the same period or term on finalized invoices."""
    lines = await storage.billed_lines(books.connection, books.subscription, minimum.period)
    return [one for one in lines if one.kind == minimum.kind and one.period == minimum.period]


async def _true_up(books: Books, minimum: Minimum, billed: Sequence[Line]) -> Line | None:
    """The true-up to a minimum or commitment: wallet usage in the plan's currency counts as well,
    a commitment also counts the minimums of its periods; what discounts take off does not count.
    """
    one = books.subscription
    segments = usage_segments(one, minimum.period)
    at = min(books.at, minimum.period.end)
    usage = await usage_of_segments(books.connection, one, segments, at, books.instead)
    taken = await overage_of(books.connection, one, minimum.period)
    standing = [line for line in books.overage if line not in taken]
    belonging: list[Line] = []
    off = ZERO
    for period in _periods(one, minimum):
        lines, less = _belonging(
            books, period, usage, [x for x in (*taken, *standing) if x.period.end == period.end]
        )
        if minimum.kind == "commitment":
            own = minimum_at(one, period.end) if _closes(one, period) else None
            line = minimum_line(own, lines, discount=less) if own is not None else None
            lines += [line] if line is not None else []
        belonging += lines
        off += less
    return minimum_line(minimum, belonging, billed, discount=off)


def _periods(subscription: Subscription, minimum: Minimum) -> Iterator[Period]:
    """The billing periods that a minimum is over, the last one cut where the term ends in it."""
    start = minimum.period.start
    for boundary in boundaries(subscription, start, minimum.period.end):
        yield Period(start, boundary)
        start = boundary
    if start < minimum.period.end:
        yield Period(start, minimum.period.end)


def _closes(subscription: Subscription, period: Period) -> bool:
    return closed_period(subscription, period.end).start == period.start


def _belonging(
    books: Books, period: Period, usage: Mapping[UsageKey, Usage], overage: Sequence[Line]
) -> tuple[list[Line], Decimal]:
    """The lines in the plan's currency that belong to a billing period, and what discounts take
    off them.
    """
    one = books.subscription
    segments = usage_segments(one, period)
    fees = fees_belonging_to(one, period)
    lines = [*fee_lines(fees), *lines_of_usage(one, segments, usage, "invoice"), *overage]
    off = total_off(discounts_of(one, books.terms, fees, lines))
    currency = _currency(one)
    settled = lines_of_usage(one, segments, usage, "wallet")
    return [*lines, *(line for line in settled if line.asset == currency)], off


def discounts_of(
    subscription: Subscription,
    terms: Sequence[Term],
    fees: Sequence[Charge],
    lines: Sequence[Line],
) -> tuple[AppliedDiscount, ...]:
    """What discounts take off `lines`: those of `fees`, then usage and adjustments."""
    if not terms:
        return ()
    moments = moments_of(subscription, fees, lines)
    digits = minor_digits(_currency(subscription))
    return apply_discounts(terms, list(zip(lines, moments, strict=True)), digits)


def _currency(subscription: Subscription) -> str:
    return subscription.phases[0].plan.currency


async def usage_of_segments(
    connection: Connection,
    subscription: Subscription,
    segments: Sequence[Segment],
    at: datetime,
    instead: Instead | None,
) -> dict[UsageKey, Usage]:
    """The usage of these segments of a subscription."""
    wanted = [(subscription, segment) for segment in segments]
    return await read_usage(connection, wanted, at, instead)


def lines_of_usage(
    subscription: Subscription,
    segments: Sequence[Segment],
    usage: Mapping[UsageKey, Usage],
    settle: Settle,
) -> list[Line]:
    """The lines of the segments whose prices settle that way."""
    lines: list[Line] = []
    for segment in segments:
        price = segment.price
        assert isinstance(price, UsagePrice)
        used = usage.get(usage_key(subscription, segment), ())
        if price.settle == settle and (settle == "invoice" or is_drawn(price, used)):
            lines += usage_lines(segment, rate_price(price, used))
    return lines
