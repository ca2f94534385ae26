"""What is free of a price whose first events, or first amounts, are free.

Owns the reading of these events in the order of their time, which decides; it ends as soon as the
allowance does. All events' fees stand in the totals; what is found here is taken off them.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Percentage, UsagePrice
from taximeter.domain.metering.reserved import FEE
from taximeter.domain.rating.percentage import FreePart
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Reading
from taximeter.domain.subscription.subscription import Segment, Subscription
from taximeter.services.context import Connection
from taximeter.services.epochs import epochs_of, read_as_counted
from taximeter.storage import terms as term_storage
from taximeter.storage.events import EventFilter, Position
from taximeter.storage.events import page as event_page

EVENTS_PER_STEP = 1_000


async def free_fees(
    connection: Connection,
    subscription: Subscription,
    segment: Segment,
    terms: CustomerTerms | None = None,
) -> Decimal:
    """What of the fees of a segment's events is free, in the asset of its price; by the customer's
    terms as they are stored, or by other `terms`.
    """
    price = segment.price
    assert isinstance(price, UsagePrice) and isinstance(price.model, Percentage), "it has fees"
    versions = await term_storage.meter_versions(connection)
    meters = {meter.event_type for _, meter in versions if meter.key == price.meter}
    if terms is None:
        customer = subscription.customer
        terms = (await term_storage.customer_terms(connection, [customer]))[customer]
    epochs = epochs_of(terms, versions)
    part = FreePart(price.model)
    wanted = EventFilter(
        customer=subscription.customer, type=next(iter(meters), None), status="accepted",
        start=segment.span.start, end=segment.span.end,
    )  # fmt: skip
    after: Position | None = None
    while True:
        rows = await event_page(connection, wanted, after=after, limit=EVENTS_PER_STEP)
        for stored in rows:
            event = stored.event
            after = (event.customer, event.time, event.source, event.id)
            readings = read_as_counted(epochs, terms, stored)
            if not isinstance(readings, str):
                _show(part, readings, subscription, segment)
            if part.done:
                return part.fees
        if len(rows) < EVENTS_PER_STEP:
            return part.fees


def _show(
    part: FreePart, readings: tuple[Reading, ...], subscription: Subscription, segment: Segment
) -> None:
    for route, values, value in readings:
        if route.measure is None or dict(zip(route.names, values, strict=True)).get(FEE):
            continue
        for target in route.targets:
            if (target.subscription, target.price.key) == (subscription.id, segment.price.key):
                part.add(Decimal(value))


def has_free_fees(segment: Segment) -> bool:
    """Whether some of the segment's fees may be free, depending on which events came first."""
    price = segment.price
    if not isinstance(price, UsagePrice) or not isinstance(price.model, Percentage):
        return False
    return price.model.in_order
