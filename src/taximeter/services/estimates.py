"""What work is expected to cost: an event that has not happened, priced by the customer's plan.

Owns the way from an estimate to the needs of a hold, and to the margin that a plan's floor asks
for. What was counted until now decides about tiers and allowances; what other holds expect does
not. Writes nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.meter import ADDING
from taximeter.domain.credit.hold import Need
from taximeter.domain.entitlement.margin import CallMargin
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.event_cost import event_cost
from taximeter.domain.subscription.routing import MeterRoute, Reading, Target, read
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, ONE, ZERO, floor_at
from taximeter.services.context import Connection
from taximeter.services.cost import Cost, SegmentKey, cost_of_more
from taximeter.services.dimensions import dimension_text
from taximeter.services.ingest import REASONS
from taximeter.services.terms import Held


class Estimated(NamedTuple):
    """What work needs: for each asset, meter, and way in which it settles, rounded up at the 12th
    decimal; and its margin, where a plan has a floor.
    """

    needs: tuple[Need, ...]
    margin: CallMargin | None


async def estimate(
    connection: Connection, held: Held, event: Event, at: datetime, where: str = "estimate"
) -> Estimated | Invalid:
    """What the event would cost at the instant `at`. `Invalid` where it would be quarantined: what
    has no price is not authorized; `where` names the estimate in it.
    """
    cached = held.customers[event.customer]
    meters = held.meters.get(event.type, ())
    routing = cached.routing(meters, event.type, event.subscription, at)
    readings = read(routing, event, counted=True)
    if isinstance(readings, str):
        return Invalid([FieldError(where, readings, REASONS[readings])])
    targets, more = _more(event.customer, readings)
    costs = await cost_of_more(connection, targets, more)
    amounts: dict[tuple[str, str, bool], Decimal] = defaultdict(lambda: ZERO)
    for one in costs:
        billed = one.price
        amounts[billed.asset, billed.meter, billed.settle == "invoice"] += one.amount
    needs = tuple(
        Need(asset, _rounded_up(max(amount, ZERO)), meter, invoiced)
        for (asset, meter, invoiced), amount in sorted(amounts.items())
    )
    # Also where it adds nothing: a call may be free and cost something. A level costs in time.
    plans = [
        target.segment.plan
        for route, _, _ in readings
        for target in (*route.targets, *route.pending)
        if route.level is None
    ]
    floors = [plan.margin for plan in plans]
    floor = max(filter(None, floors), key=lambda one: (one.hard, one.percent), default=None)
    if floor is None:
        return Estimated(needs, None)
    currency = plans[0].currency
    own = _own_cost(event, currency, where)
    if isinstance(own, Invalid):
        return own
    price = _worth(targets, costs)
    if not all(target.linear for target in targets.values()):
        twice = {
            key: {text: quantity * 2 for text, quantity in added.items()}
            for key, added in more.items()
        }
        price = _worth(targets, await cost_of_more(connection, targets, twice)) - price
    return Estimated(needs, CallMargin(floor, currency, price, own))


def _own_cost(event: Event, currency: str, where: str) -> Decimal | Invalid | None:
    """What the event says that it costs, in `currency`; None where it says nothing."""
    said = event_cost(event.data)
    if said is None:
        return None
    wrong = "invalid_cost" if said.amount is None else "other_asset_cost"
    if said.amount is None or (said.asset or currency) != currency:
        return Invalid([FieldError(f"{where}.data.cost", wrong, REASONS[wrong])])
    return said.amount


def _worth(targets: Mapping[SegmentKey, Target], costs: Sequence[Cost]) -> Decimal:
    """What the costs come to in the plans' currency: credit units at their price."""
    plans = {key.subscription: target.segment.plan for key, target in targets.items()}
    worth = ZERO
    for cost in costs:
        plan, asset = plans[cost.key.subscription], cost.price.asset
        unit_price = ONE if asset == plan.currency else plan.unit_price(asset)
        worth += cost.amount * (unit_price or ZERO)
    return worth


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
