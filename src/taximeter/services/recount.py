"""Counting usage again after a customer's terms changed.

Owns the rebuild of the totals that a change touches: usage recorded since the instant of the
change is routed by the new terms, and wallets are charged the difference. Runs inside the
transaction of the change, which holds ingestion off. Must not touch what is invoiced.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.outcome import outcome_id
from taximeter.domain.rating.event_price import UNMATCHED_DIMENSION
from taximeter.domain.rating.rate import price_amount
from taximeter.domain.rating.usage import drawn_with, with_group
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Reading
from taximeter.domain.subscription.subscription import segment_at
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import format_instant
from taximeter.services import archive
from taximeter.services.command import Transaction
from taximeter.services.context import Connection
from taximeter.services.cost import SegmentKey, of_usage
from taximeter.services.count import (
    Counted,
    Total,
    TotalKey,
    add_totals,
    fold_events,
    merge_total,
    outcome_totals,
    targets_of,
    totals_of,
)
from taximeter.services.dimensions import dimensions_of
from taximeter.services.epochs import Epoch, epochs_of, read_as_counted
from taximeter.services.kept_values import Folding, folding_of
from taximeter.services.level_usage import note_terms_changed
from taximeter.services.opening import BilledOf, billed_as_opened, open_outcomes
from taximeter.services.settle import Charge, settle_charges
from taximeter.services.spending import limited_among
from taximeter.storage import outcomes as outcome_storage
from taximeter.storage import recount as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.events import StoredEvent
from taximeter.storage.outcomes import EventKey, Opened
from taximeter.storage.recount import StoredTotal

EVENTS_PER_STEP = 5_000

_INSTANT = timedelta(microseconds=1)

Rows = list[tuple[str, Decimal]]
RowKey = tuple[str, str, datetime, str, int]
Opening = Callable[[Connection, Sequence[Counted]], Awaitable[Mapping[EventKey, Opened]]]


async def recount(
    transaction: Transaction, before: CustomerTerms, *, since: datetime, field: str = "at"
) -> None:
    """Bring the totals of a customer, whose terms were `before`, in line with the terms as they
    are now, from `since` on.

    Raises `Invalid` (`invoiced`, of `field`) where that would change what a finalized invoice
    counts.
    """
    connection, customer = transaction.connection, before.customer.key
    terms = (await term_storage.customer_terms(connection, [customer]))[customer]
    old = [
        total
        for total in await storage.totals_after(connection, customer, since - _INSTANT)
        if total.period_end > since or _goes_on(terms, total)
    ]
    if await archive.has_events(connection, customer, since):
        await _count_again(transaction, before, terms, old, since=since, field=field)
    await note_terms_changed(connection, terms, since)
    ending = await storage.totals_after(connection, customer, since - _INSTANT)
    await _cut(connection, terms, ending)


def _goes_on(terms: CustomerTerms, total: StoredTotal) -> bool:
    """Whether the segment of a total ends later by these terms than it did."""
    subscription = next(one for one in terms.subscriptions if one.id == total.subscription)
    segment = segment_at(subscription, total.price, total.period_start)
    return segment is not None and segment.span.end > total.period_end


async def _count_again(
    transaction: Transaction,
    before: CustomerTerms,
    terms: CustomerTerms,
    old: Sequence[StoredTotal],
    *,
    since: datetime,
    field: str,
) -> None:
    connection, customer = transaction.connection, terms.customer.key
    start = min([since, *(total.period_start for total in old)])
    cut = {(one.subscription, one.price, one.period_start) for one in old}
    folded = [
        total
        async for total in fold_usage(
            connection, before, terms, start, opening=open_outcomes, keeping=True
        )
        if total.target.segment.span.end > since or _place(total) in cut
    ]
    stood, stand = _by_row(old), _by_row([stored_total(total) for total in folded])
    changed = {key for key in stood | stand if stood.get(key) != stand.get(key)}
    if any(total.billed for total in old if row_key(total) in changed):
        raise invoiced(since, field)
    await storage.delete_segments(connection, customer, sorted(changed & stood.keys()))
    await add_totals(connection, [one for one in folded if row_key(stored_total(one)) in changed])
    after: dict[SegmentKey, Rows] = {}
    for total in folded:
        key = SegmentKey(customer, *_place(total))
        after.setdefault(key, []).append((total.dimensions, total.quantity))
    prices = {key: target.price for key, target in targets_of(folded).items()}
    charges = charges_between(before, old, prices, after, terms.counted_assets)
    await settle_charges(transaction.context, connection, charges, limited_among([terms]))


def invoiced(since: datetime, field: str) -> Invalid:
    """The refusal of terms that would change what a finalized invoice counts."""
    detail = f"Usage since {format_instant(since)} is invoiced already: choose a later time."
    return Invalid([FieldError(field, "invoiced", detail)])


def _place(total: Total) -> tuple[str, str, datetime]:
    target = total.target
    return target.subscription, target.price.key, target.segment.span.start


def stored_total(total: Total) -> StoredTotal:
    """The row that a folded total will be."""
    meter, tally = total.meter, total.tally
    return StoredTotal(
        *_place(total), total.target.segment.span.end, meter.key, meter.series,
        total.dimensions, total.quantity, tally.events, tally.latest, billed=False,
    )  # fmt: skip


def row_key(total: StoredTotal) -> RowKey:
    """The segment and the meter's version that a total is of, in all its dimensions."""
    return total.subscription, total.price, total.period_start, total.meter, total.version


def _by_row(totals: Sequence[StoredTotal]) -> dict[RowKey, set[StoredTotal]]:
    """The totals of each segment, whether billed or not."""
    rows: dict[RowKey, set[StoredTotal]] = {}
    for total in totals:
        rows.setdefault(row_key(total), set()).add(replace(total, billed=False))
    return rows


async def _cut(connection: Connection, terms: CustomerTerms, totals: Sequence[StoredTotal]) -> None:
    """Where no usage moves, a segment that ends earlier or later only takes its new end."""
    subscriptions = {one.id: one for one in terms.subscriptions}
    for total in totals:
        segment = segment_at(subscriptions[total.subscription], total.price, total.period_start)
        if segment is not None and segment.span.end != total.period_end:
            await storage.set_period_end(connection, terms.customer.key, total, segment.span.end)


class Step(NamedTuple):
    """Some events of a customer in a row: what was read in each, what they add to totals, and how
    their dimensions are folded.
    """

    events: Sequence[StoredEvent]
    counted: Sequence[Counted]
    totals: Sequence[Total]
    folding: Folding


async def fold_usage(
    connection: Connection,
    before: CustomerTerms,
    terms: CustomerTerms,
    start: datetime,
    *,
    opening: Opening,
    keeping: bool = False,
    events_max: int | None = None,
    seen: Callable[[StoredEvent, Sequence[Reading], Folding], None] | None = None,
) -> AsyncIterator[Total]:
    """All that the steps of `usage_steps` add to totals, each total once. `seen` is told each
    event, what was read in it and how that is folded.

    Raises `Invalid`: as `usage_steps`, and `too_many_events` of `at` past `events_max`.
    """
    read = 0
    merged: dict[TotalKey, Total] = {}
    steps = usage_steps(connection, before, terms, start, opening=opening, keeping=keeping)
    async for step in steps:
        read += len(step.events)
        if events_max is not None and read > events_max:
            raise Invalid([_too_many(events_max)])
        if seen is not None:
            for stored, (_, readings) in zip(step.events, step.counted, strict=True):
                seen(stored, readings, step.folding)
        for total in step.totals:
            merge_total(merged, total)
    for total in merged.values():
        yield total


async def usage_steps(
    connection: Connection,
    before: CustomerTerms,
    terms: CustomerTerms,
    start: datetime,
    *,
    opening: Opening,
    keeping: bool = False,
) -> AsyncIterator[Step]:
    """Fold the customer's events from `start` on as `terms` route them, each read by the versions
    of the meters that counted it, in steps of bounded size. `opening` opens the outcomes of what
    no price of the terms `before` measured, `keeping` keeps new values of dimensions.

    Raises `Invalid`: `unmatched_usage`, `unreadable_usage` and `missing_outcome` where the terms
    could not bill what was taken in.
    """
    versions = await term_storage.meter_versions(connection)
    epochs = epochs_of(terms, versions)
    async for events in archive.events_from(connection, terms.customer.key, start, EVENTS_PER_STEP):
        counted: list[Counted] = []
        pending = []
        for stored in events:
            event = stored.event
            readings = read_as_counted(epochs, terms, stored)
            if isinstance(readings, str):
                raise Invalid([_unreadable(event, readings)])
            counted.append((event, readings))
            if any(route.pending for route, _, _ in readings):
                pending.append((stored, readings))
        parts = fold_events(counted)
        folding = await folding_of(connection, parts, keeping=keeping)
        totals = totals_of(parts, folding)
        if pending:
            billed_of = await _billed_of(connection, before, versions, pending, opening)
            totals += outcome_totals(
                [(stored.event, readings) for stored, readings in pending], billed_of, folding
            )
        yield Step(events, counted, totals, folding)


async def _billed_of(
    connection: Connection,
    before: CustomerTerms,
    versions: Sequence[tuple[datetime, Meter]],
    pending: Sequence[tuple[StoredEvent, Sequence[Reading]]],
    opening: Opening,
) -> BilledOf:
    """How much of events is billed by outcome, as their outcomes stand. What an event was measured
    for `before` without an outcome stays counted; what no price measured opens its outcome now.
    """
    events = [stored.event for stored, _ in pending]
    opened = dict(
        await outcome_storage.of_events(connection, [(e.customer, e.source, e.id) for e in events])
    )
    epochs = epochs_of(before, versions)
    fresh: list[Counted] = []
    for stored, readings in pending:
        event, priced = stored.event, _priced_meters(epochs, before, stored)
        new = [
            reading
            for reading in readings
            if reading[0].pending
            and (key := reading[0].meter.key) not in priced
            and (event.customer, event.source, event.id, key) not in opened
        ]
        adds = all(route.adds for route, _, _ in readings if route.pending)
        if not adds or (new and outcome_id(event.data) is None):
            raise Invalid([_unbillable(event)])
        if new:
            fresh.append((event, new))
    if fresh:
        opened |= await opening(connection, fresh)
    return billed_as_opened(opened)


def _priced_meters(epochs: Sequence[Epoch], terms: CustomerTerms, stored: StoredEvent) -> Set[str]:
    """The meters that measured the event for a price of these terms."""
    readings = read_as_counted(epochs, terms, stored)
    if isinstance(readings, str):
        return set()
    return {route.meter.key for route, _, _ in readings if route.targets or route.pending}


def _unbillable(event: Event) -> FieldError:
    """Usage that was taken in is never set aside again: the terms have to be able to bill it."""
    detail = (
        f"Event {event.id} of {format_instant(event.time)} names no outcome_id, or was read by a "
        "meter that did not add up then: the price by outcome could never bill it. Choose a later "
        "time, or another plan."
    )
    return FieldError("plan", "missing_outcome", detail)


def _too_many(events_max: int) -> FieldError:
    detail = f"Over {events_max:,} events would be counted again. Choose a later time."
    return FieldError("at", "too_many_events", detail)


def _unreadable(event: Event, reason: str) -> FieldError:
    """Usage that was counted is never set aside again: the terms have to be able to price it."""
    if reason != UNMATCHED_DIMENSION:
        detail = (
            f"Event {event.id} of {format_instant(event.time)} could not be priced by the plan "
            f"({reason}). Choose a later time, or another plan."
        )
        return FieldError("plan", "unreadable_usage", detail)
    detail = (
        f"Event {event.id} of {format_instant(event.time)} has dimensions that no rate of the plan "
        "matches. Add a rate, or an otherwise."
    )
    return FieldError("plan", "unmatched_usage", detail)


def charges_between(
    before: CustomerTerms,
    old: Sequence[StoredTotal],
    new_prices: Mapping[SegmentKey, UsagePrice],
    after: Mapping[SegmentKey, Rows],
    limits: Set[str] = frozenset(),
) -> list[Charge]:
    """What the new totals cost less what the old ones did, for each price that settles from a
    wallet, and for each that an invoice bills in an asset of a budget (`limits`).
    """
    customer = before.customer.key
    subscriptions = {one.id: one for one in before.subscriptions}
    rows: dict[SegmentKey, Rows] = {}
    for total in old:
        key = SegmentKey(customer, total.subscription, total.price, total.period_start)
        rows.setdefault(key, []).append((total.dimensions, total.quantity))
    old_prices = {}
    for key in rows:
        segment = segment_at(subscriptions[key.subscription], key.price, key.start)
        assert segment is not None, "a total belongs to a segment"
        assert isinstance(segment.price, UsagePrice)
        old_prices[key] = segment.price
    costs: dict[Charge, Decimal] = {}
    _add_costs(costs, old_prices, rows, limits, sign=-1)
    _add_costs(costs, new_prices, after, limits, sign=1)
    return [
        structs.replace(charge, amount=amount) for charge, amount in costs.items() if amount != ZERO
    ]


def _add_costs(
    costs: dict[Charge, Decimal],
    prices: Mapping[SegmentKey, UsagePrice],
    rows: Mapping[SegmentKey, Rows],
    limits: Set[str],
    *,
    sign: int,
) -> None:
    """Add what these totals cost to the amounts of their charges, which are known by themselves
    with no amount.
    """
    drawn = {
        key._replace(price=one.key): of_usage(one)
        for key in rows
        if prices[key].settle == "wallet" or prices[key].asset in limits
        for one in drawn_with(prices[key])
    }
    for key, price in drawn.items():
        usage = {
            other.price: [(dimensions_of(text), value) for text, value in group]
            for other, group in rows.items()
            if other == key or (price.group and other._replace(price=key.price) == key)
        }
        amount = price_amount(price, with_group(price, usage))
        charge = Charge(
            key.customer, price.asset, ZERO, price.meter, f"{key.subscription}/{key.price}",
            drawn=price.settle == "wallet",
        )  # fmt: skip
        costs[charge] = costs.get(charge, ZERO) + sign * amount
