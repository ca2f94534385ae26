"""The usage of prices on meters of levels: what held over each segment.

Owns the way from the levels of a customer to the quantities of a price, and which segments that
were billed a later level touches. The integral is the domain's.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import Dimensional, UsagePrice
from taximeter.domain.metering.level import Integral, quantity_of
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.levels import own_spans, segments_since, touched_by
from taximeter.domain.subscription.subscription import Segment, Subscription
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.context import Connection
from taximeter.services.dimensions import dimensions_of
from taximeter.storage import levels as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.levels import ChangeRow
from taximeter.storage.totals import LateTotal


async def read_levels(
    connection: Connection,
    wanted: Sequence[tuple[Subscription, Segment]],
    at: datetime | None,
    instead: CustomerTerms | None = None,
) -> list[tuple[Subscription, Segment, Usage]]:
    """The usage, up to `at` (None: to their ends, as if all levels stayed), of those of these
    segments whose meter measures a level; by the customers' terms as stored, or `instead` of one's.

    A level that came before its price and that no rate of it matches is set aside.
    """
    keys = {segment.price.meter for _, segment in wanted if isinstance(segment.price, UsagePrice)}
    meters = await storage.level_meters(connection, sorted(keys)) if keys else {}
    if not meters:
        return []
    customers = sorted({subscription.customer for subscription, _ in wanted})
    terms = await term_storage.customer_terms(connection, customers)
    if instead is not None:
        terms[instead.customer.key] = instead
    found = []
    for subscription, segment in wanted:
        assert isinstance(segment.price, UsagePrice), "only usage has a meter"
        meter = meters.get(segment.price.meter)
        if meter is not None:
            others = terms[subscription.customer].subscriptions
            usage = await _usage(connection, others, subscription, segment, meter, at)
            found.append((subscription, segment, usage))
    return found


async def _usage(
    connection: Connection,
    others: Sequence[Subscription],
    subscription: Subscription,
    segment: Segment,
    meter: Meter,
    at: datetime | None,
) -> Usage:
    span = segment.span
    if at is not None:
        span = Period(span.start, max(span.start, min(span.end, at)))
    own = own_spans(others, subscription, meter.key, span)
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    series = read_areas(
        connection, subscription.customer, meter, span,
        lambda named: (span,) if named else own, subscription=subscription.id,
    )  # fmt: skip
    async with aclosing(series) as every:
        async for dimensions, areas in every:
            found[dimensions] += sum(areas, ZERO)
    usage = []
    for text, area in sorted(found.items()):
        values = dimensions_of(text)
        if area and _has_rate(segment, values):
            usage.append((values, quantity_of(meter, area, segment.period)))
    return usage


def _has_rate(segment: Segment, values: Mapping[str, str]) -> bool:
    assert isinstance(segment.price, UsagePrice), "only usage is rated"
    model = segment.price.model
    return not isinstance(model, Dimensional) or match_rate(model, values) is not None


async def read_areas(
    connection: Connection,
    customer: str,
    meter: Meter,
    span: Period,
    spans_of: Callable[[str], Sequence[Period]],
    *,
    subscription: str | None = None,
) -> AsyncGenerator[tuple[str, list[Decimal]], None]:
    """Level times microseconds in each of some spans within `span`, one series of levels after
    the other, with its dimensions. `spans_of` says of the subscription that a series' events named
    (empty: none) which spans count; series of other subscriptions than `subscription` (None: any)
    are left out.
    """
    series: tuple[str, str] | None = None
    integral = Integral((), span.start, signed=meter.signed)
    levels = storage.levels_in(connection, customer, meter, subscription, span)
    async with aclosing(levels) as rows:
        async for held in rows:
            if series != held[:2]:
                if series is not None:
                    yield series[1], integral.end()
                series = held[:2]
                integral = Integral(spans_of(series[0]), span.start, signed=meter.signed)
            integral.change(held.time or span.start, held.value)
    if series is not None:
        yield series[1], integral.end()


async def changed_segments(
    connection: Connection, subscription: Subscription, until: datetime, *, forget: bool = False
) -> list[LateTotal]:
    """The segments, ended by `until`, that levels reach which came since the last final invoice:
    what was billed for them may have changed. `forget`: the invoice being finalized counts them.
    """
    read = storage.take_changes if forget else storage.changed_levels
    changes = await read(connection, subscription.customer, subscription.id)
    return [
        LateTotal(segment.price.key, segment.span.start, segment.span.end)
        for meter, since in changes
        for segment in segments_since(subscription, meter, since, until)
    ]


async def note_terms_changed(
    connection: Connection, terms: CustomerTerms, since: datetime
) -> None:  # fmt: skip
    """Have all bills of the customer that rest on levels looked at again from `since` on: another
    subscription may price them now.
    """
    keys = {
        price.meter
        for one in terms.subscriptions
        for phase in one.phases
        for price in phase.plan.prices
        if isinstance(price, UsagePrice)
    }
    meters = await storage.level_meters(connection, sorted(keys)) if keys else {}
    rows = sorted(
        (terms.customer.key, one.id, meter)
        for meter in meters
        for one in touched_by(terms.subscriptions, meter, since)
    )
    if rows:
        await storage.note_changes(connection, [ChangeRow(*key, since) for key in rows])
