"""Counting usage again after a customer's terms changed.

Owns the rebuild of the totals that a change touches: usage recorded since the instant of the
change is routed by the new terms, and wallets are charged the difference. Runs inside the
transaction of the change, which holds ingestion off. Must not touch what is invoiced.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.rate import price_amount
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import read
from taximeter.domain.subscription.subscription import segment_at
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import format_instant
from taximeter.services.command import Transaction
from taximeter.services.context import Connection
from taximeter.services.count import (
    Counted,
    Total,
    TotalKey,
    add_totals,
    fold_events,
    merge_total,
    targets_of,
    totals_of,
)
from taximeter.services.dimensions import dimensions_of
from taximeter.services.settle import Charge, SegmentKey, charge_wallets
from taximeter.services.terms import CachedTerms
from taximeter.storage import recount as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.recount import StoredTotal

EVENTS_PER_STEP = 5_000

Rows = list[tuple[str, Decimal]]


async def recount(
    transaction: Transaction, before: CustomerTerms, *, since: datetime
) -> None:
    """Bring the totals of a customer, whose terms were `before`, in line with the terms as they
    are now, for segments that reach past `since`.

    Raises `Invalid` (`invoiced`) where such a segment is on a finalized invoice.
    """
    connection, customer = transaction.connection, before.customer.key
    terms = (await term_storage.customer_terms(connection, [customer]))[customer]
    old = await storage.totals_after(connection, customer, since)
    if not await storage.has_events(connection, customer, since):
        await _cut(connection, terms, old)
        return
    if any(total.billed for total in old):
        detail = f"Usage since {format_instant(since)} is invoiced already: choose a later time."
        raise Invalid([FieldError("at", "invoiced", detail)])
    start = min([since, *(total.period_start for total in old)])
    await storage.delete_totals(connection, customer, since)
    folded = await _fold(connection, terms, start=start, since=since)
    after: dict[SegmentKey, Rows] = {}
    for row in await add_totals(connection, folded):
        key = SegmentKey(customer, row.subscription, row.price, row.period_start)
        after.setdefault(key, []).append((row.dimensions, row.quantity))
    targets = targets_of(folded)
    new_prices = {key: targets[key].price for key in after}
    charges = _charges(before, old, new_prices, after)
    await charge_wallets(transaction.context, connection, charges)


async def _cut(
    connection: Connection, terms: CustomerTerms, old: Sequence[StoredTotal]
) -> None:
    """Where no usage moves, a segment that ends earlier (or later) only takes its new end."""
    subscriptions = {one.id: one for one in terms.subscriptions}
    for total in old:
        segment = segment_at(subscriptions[total.subscription], total.price, total.period_start)
        if segment is not None and segment.span.end != total.period_end:
            await storage.set_period_end(connection, terms.customer.key, total, segment.span.end)


async def _fold(
    connection: Connection, terms: CustomerTerms, *, start: datetime, since: datetime
) -> list[Total]:
    """Fold the customer's events from `start` on, as the terms route them now, for the segments
    that reach past `since`. Reads in steps of bounded size.
    """
    meters: dict[str, tuple[Meter, ...]] = {}
    for meter in await term_storage.current_meters(connection):
        meters[meter.event_type] = (*meters.get(meter.event_type, ()), meter)
    cached = CachedTerms(terms)
    merged: dict[TotalKey, Total] = {}
    async for events in storage.events_from(
        connection, terms.customer.key, start, EVENTS_PER_STEP
    ):
        counted = []
        for event in events:
            of_type = meters.get(event.type, ())
            routing = cached.routing(of_type, event.type, event.subscription, event.time)
            readings = read(routing, event)
            if not isinstance(readings, str):
                counted.append((event, readings))
        for total in totals_of(fold_events(counted)):
            if total.target.segment.span.end > since:
                merge_total(merged, total)
    return list(merged.values())


def _charges(
    before: CustomerTerms,
    old: Sequence[StoredTotal],
    new_prices: Mapping[SegmentKey, UsagePrice],
    after: Mapping[SegmentKey, Rows],
) -> list[Charge]:
    """What the new totals cost wallets less what the old ones did, for each price."""
    customer = before.customer.key
    subscriptions = {one.id: one for one in before.subscriptions}
    rows: dict[SegmentKey, Rows] = {}
    for total in old:
        key = SegmentKey(customer, total.subscription, total.price, total.period_start)
        rows.setdefault(key, []).append((total.dimensions, total.quantity))
    costs: dict[tuple[str, str, str], Decimal] = {}
    for key, group in rows.items():
        segment = segment_at(subscriptions[key.subscription], key.price, key.start)
        assert segment is not None, "a total belongs to a segment"
        assert isinstance(segment.price, UsagePrice)
        _add_cost(costs, key, segment.price, group, sign=-1)
    for key, group in after.items():
        _add_cost(costs, key, new_prices[key], group, sign=1)
    return [
        Charge(customer, asset, amount, meter, ref)
        for (asset, meter, ref), amount in costs.items()
        if amount != ZERO
    ]


def _add_cost(
    costs: dict[tuple[str, str, str], Decimal],
    key: SegmentKey,
    price: UsagePrice,
    rows: Rows,
    *,
    sign: int,
) -> None:
    if price.settle == "wallet":
        amount = price_amount(price, [(dimensions_of(text), value) for text, value in rows])
        name = (price.asset, price.meter, f"{key.subscription}/{key.price}")
        costs[name] = costs.get(name, ZERO) + sign * amount
