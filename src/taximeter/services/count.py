"""Counting events: into running totals, hourly buckets and sets of distinct values, and charging
what the change costs where it settles from a wallet.

Owns the fold of a batch into rows. Every event it is given counts: whoever calls has made sure
that it is new.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import Tally, member_digest
from taximeter.domain.subscription.routing import MeterRoute, Reading, Target
from taximeter.services.context import Connection, Context
from taximeter.services.dimensions import dimension_text
from taximeter.services.settle import SegmentKey, settle_changes
from taximeter.storage import ingestion as storage
from taximeter.storage.ingestion import BucketRow, ChangedTotal, MemberRow, TotalRow


class Counted(NamedTuple):
    """An event that counts, and what each meter reads in it."""

    event: Event
    readings: Sequence[Reading]


class Part(NamedTuple):
    """What some events add to one meter of one customer, within one UTC hour."""

    customer: str
    route: MeterRoute
    values: tuple[str, ...]
    hour: datetime
    tally: Tally


class Total(NamedTuple):
    """What some events add to one price's segment."""

    customer: str
    target: Target
    meter: Meter
    values: tuple[str, ...]
    tally: Tally


TotalKey = tuple[str, str, str, datetime, str, int, tuple[str, ...]]


async def count_usage(
    context: Context, connection: Connection, counted: Sequence[Counted]
) -> None:
    """Add these events to totals and buckets, and settle what draws from wallets."""
    parts = fold_events(counted)
    totals = totals_of(parts)
    changed = await add_totals(connection, totals)
    await storage.add_buckets(connection, bucket_rows(parts))
    await settle_changes(context, connection, targets_of(totals), changed)


def targets_of(totals: Sequence[Total]) -> dict[SegmentKey, Target]:
    """The segment that each total belongs to."""
    return {
        SegmentKey(
            total.customer, total.target.subscription, total.target.price.key,
            total.target.segment.span.start,
        ): total.target
        for total in totals
    }  # fmt: skip


def fold_events(counted: Sequence[Counted]) -> list[Part]:
    """The events folded once, as finely as totals and buckets need."""
    parts: dict[tuple[int, datetime, tuple[str, ...]], Part] = {}
    for event, readings in counted:
        hour = event.time.replace(minute=0, second=0, microsecond=0)
        for route, values, value in readings:
            key = (id(route), hour, values)
            part = parts.get(key)
            if part is None:
                part = parts[key] = Part(event.customer, route, values, hour, Tally())
            part.tally.add(route.meter.aggregation, value, event)
    return list(parts.values())


def totals_of(parts: Sequence[Part]) -> list[Total]:
    """The batch's part of every total it touches, each once."""
    totals: dict[TotalKey, Total] = {}
    for customer, route, values, _, tally in parts:
        for target in route.targets:
            merge_total(totals, Total(customer, target, route.meter, values, tally))
    return list(totals.values())


def merge_total(totals: dict[TotalKey, Total], part: Total) -> None:
    """Add a part to the total it belongs to. Two routings may lead to the same segment (an event
    may name its subscription or not), so totals are known by what their row is known by.
    """
    target, meter = part.target, part.meter
    key = (
        part.customer, target.subscription, target.price.key, target.segment.span.start,
        meter.key, meter.version, part.values,
    )  # fmt: skip
    total = totals.get(key)
    if total is None:
        total = totals[key] = part._replace(tally=Tally())
    total.tally.merge(meter.aggregation, part.tally)


async def add_totals(connection: Connection, totals: Sequence[Total]) -> list[ChangedTotal]:
    """Write folded totals; returns each row touched, before and after."""
    members = [row for total in totals for row in _member_rows(total)]
    fresh = await storage.add_members(connection, members) if members else set()
    return await storage.add_totals(connection, [_total_row(total, fresh) for total in totals])


def _member_rows(total: Total) -> list[MemberRow]:
    meter = total.meter
    dimensions = dimension_text(meter.dimensions, total.values)
    return [
        MemberRow(
            total.customer, total.target.subscription, total.target.price.key,
            total.target.segment.span.start, meter.key, meter.version,
            member_digest(dimensions, value),
        )
        for value in total.tally.members or ()
    ]  # fmt: skip


def _total_row(total: Total, fresh: set[MemberRow]) -> TotalRow:
    meter, span, tally = total.meter, total.target.segment.span, total.tally
    quantity = tally.quantity
    if tally.members is not None:
        quantity = sum(row in fresh for row in _member_rows(total))
    return TotalRow(
        total.customer, total.target.subscription, total.target.price.key, span.start, span.end,
        meter.key, meter.version, dimension_text(meter.dimensions, total.values),
        meter.aggregation, Decimal(quantity), tally.events, tally.latest,
    )  # fmt: skip


def bucket_rows(parts: Sequence[Part]) -> list[BucketRow]:
    """The batch's part of the hourly buckets. Distinct values do not add up over hours, so a
    `unique` meter has none.
    """
    buckets: dict[tuple[str, str, datetime, tuple[str, ...]], tuple[Meter, Tally]] = {}
    for customer, route, values, hour, tally in parts:
        meter = route.meter
        if meter.aggregation == "unique":
            continue
        key = (customer, meter.key, hour, values)
        bucket = buckets.get(key)
        if bucket is None:
            buckets[key] = (meter, tally)
        else:
            merged = Tally()
            merged.merge(meter.aggregation, bucket[1])
            merged.merge(meter.aggregation, tally)
            buckets[key] = (meter, merged)
    return [
        BucketRow(
            customer, meter.key, meter.version, hour, dimension_text(meter.dimensions, values),
            meter.aggregation, Decimal(tally.quantity), tally.events, tally.latest,
        )
        for (customer, _, hour, values), (meter, tally) in buckets.items()
    ]  # fmt: skip
