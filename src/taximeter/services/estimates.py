"""What work is expected to cost: an event that has not happened, priced by the customer's plan.

Owns the way from an estimate to the needs of a hold. What was counted until now decides about tiers
and allowances; what other holds expect does not. Writes nothing.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.meter import ADDING
from taximeter.domain.credit.hold import Need
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.routing import MeterRoute, Reading, Target, read
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, ONE, ZERO, floor_at
from taximeter.services.context import Connection
from taximeter.services.cost import SegmentKey, cost_of_more
from taximeter.services.dimensions import dimension_text
from taximeter.services.ingest import REASONS
from taximeter.services.terms import Held


async def needs_of(
    connection: Connection, held: Held, event: Event, at: datetime
) -> tuple[Need, ...] | Invalid:
    """What the event would cost at the instant `at`: a need for each asset, meter, and way in which
    it settles, rounded up at the 12th decimal. `Invalid` where it would be quarantined: what has no
    price is not authorized.
    """
    cached = held.customers[event.customer]
    meters = held.meters.get(event.type, ())
    routing = cached.routing(meters, event.type, event.subscription, at)
    readings = read(routing, event, counted=True)
    if isinstance(readings, str):
        return Invalid([FieldError("estimate", readings, REASONS[readings])])
    targets, more = _more(event.customer, readings)
    costs = await cost_of_more(connection, targets, more)
    amounts: dict[tuple[str, str, bool], Decimal] = defaultdict(lambda: ZERO)
    for cost in costs:
        price = cost.price
        amounts[price.asset, price.meter, price.settle == "invoice"] += cost.amount
    return tuple(
        Need(asset, _rounded_up(max(amount, ZERO)), meter, invoiced)
        for (asset, meter, invoiced), amount in sorted(amounts.items())
    )


def _more(
    customer: str, readings: tuple[Reading, ...]
) -> tuple[dict[SegmentKey, Target], Mapping[SegmentKey, Mapping[str, Decimal]]]:
    """What the readings would add to the totals of each price."""
    targets: dict[SegmentKey, Target] = {}
    more: dict[SegmentKey, dict[str, Decimal]] = {}
    for route, values, value in readings:
        quantity = _quantity(route, value)
        for target in (*route.targets, *route.pending) if quantity else ():
            key = SegmentKey(
                customer, target.subscription, target.price.key, target.segment.span.start
            )
            targets[key] = target
            own = more.setdefault(key, {})
            text = dimension_text(route.names, values)
            own[text] = own.get(text, ZERO) + quantity
    return targets, more


def _quantity(route: MeterRoute, value: Decimal | int | str) -> Decimal:
    """What a reading may add at most: of a meter that does not add up, its value (a distinct one
    counts once); of a level nothing, which costs as time passes.
    """
    if route.level is not None or route.meter.aggregation == "min":
        return ZERO
    if route.meter.aggregation in ADDING and not isinstance(value, str):
        return Decimal(value)
    return ONE if isinstance(value, str) else Decimal(value)


def _rounded_up(amount: Decimal) -> Decimal:
    return -floor_at(-amount, DIGITS_FRACTION_MAX)
