"""Counting events: into running totals, hourly buckets and sets of distinct values, and charging
what the change costs: wallets, where it settles from one, and budgets.

Owns the fold of a batch into rows. Every event it is given counts: whoever calls has made sure
that it is new.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import NamedTuple

import msgspec

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import Tally, folded_quantity, member_digest
from taximeter.domain.metering.level import event_digest
from taximeter.domain.metering.outcome import NOTHING
from taximeter.domain.metering.window import HOUR, floor_hour
from taximeter.domain.subscription.routing import MeterRoute, Reading, Target
from taximeter.kernel.paths import deepest_scope
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection, Context
from taximeter.services.cost import SegmentKey, Share, Shares, SharesOf, no_shares
from taximeter.services.dimensions import dimension_text
from taximeter.services.kept_values import NO_FOLDING, Folding, folding_of
from taximeter.services.opening import BilledOf, billed_as_opened, open_outcomes
from taximeter.services.settle import (
    NO_CAPTURES,
    Attribution,
    Captures,
    Charge,
    Purses,
    is_charged,
    send_purses,
    settle_changes,
)
from taximeter.services.spending import Limited, is_limited, is_watched
from taximeter.storage import alerts as alert_storage
from taximeter.storage import budgets as budget_storage
from taximeter.storage import ingestion as storage
from taximeter.storage import levels as level_storage
from taximeter.storage import values as value_storage
from taximeter.storage.ingestion import BucketRow, ChangedTotal, Cursor, MemberRow, TotalRow
from taximeter.storage.levels import ChangeRow, LevelRow
from taximeter.storage.values import ValuesRow

_NEVER = datetime.max.replace(tzinfo=UTC)

# An event that counts, and what each meter reads in it.
Counted = tuple[Event, Sequence[Reading]]


class Part(msgspec.Struct, frozen=True, gc=False):
    """What some events add to one meter of one customer, within one UTC hour."""

    customer: str
    route: MeterRoute
    values: tuple[str, ...]
    hour: datetime
    tally: Tally


class Total(msgspec.Struct, frozen=True, gc=False):
    """What some events add to one price's segment."""

    customer: str
    target: Target
    meter: Meter
    names: tuple[str, ...]
    values: tuple[str, ...]
    tally: Tally

    @property
    def dimensions(self) -> str:
        """The text that keys its row."""
        return dimension_text(self.names, self.values)

    @property
    def quantity(self) -> Decimal:
        """What these events alone come to."""
        return folded_quantity(self.meter, self.tally)


TotalKey = tuple[str, tuple[str, str, datetime], str, int, tuple[str, ...]]


async def count_usage(
    context: Context, connection: Connection, counted: Sequence[Counted], limited: Limited
) -> None:
    """Add these events to totals and buckets, draw what they cost from wallets where it settles
    from one, and count it towards the budgets of those who are `limited` (see `limited_among`).
    """
    counting = await send_usage(context, connection, counted, limited)
    await settle_usage(context, connection, counting)


class Counting(NamedTuple):
    """Usage that was sent to be counted, the wallets that it may draw from (None: none), those of
    its customers whose budgets it counts towards, and where it is asked for its paths.
    """

    totals: Sequence[Total]
    rows: Sequence[TotalRow]
    cursor: Cursor | None
    purses: Purses | None
    limited: Limited
    shares_of: SharesOf = no_shares
    captures: Captures = NO_CAPTURES
    ranks: Cursor | None = None

    async def changed(self, segments: Mapping[SegmentKey, Target]) -> Sequence[ChangedTotal]:
        """Each total of these segments that was changed, before and after."""
        if self.cursor is None:
            return ()
        tied = {key for key, target in segments.items() if not target.linear}
        changed = await storage.changed_totals(self.cursor, self.rows, segments, tied)
        return (
            changed if self.ranks is None else await value_storage.with_ranks(self.ranks, changed)
        )


async def send_usage(
    context: Context, connection: Connection, counted: Sequence[Counted], limited: Limited
) -> Counting:
    """Send the batch's part of totals and buckets, and lock what it will be charged to: in a
    pipeline that is one round trip, where there are no distinct values to look up first.
    `limited` are the terms of those of the customers who have budgets or alerts.
    """
    parts = fold_events(counted)
    folding = await folding_of(connection, parts)
    levels = [part for part in parts if part.route.level is not None]
    if levels:
        await level_storage.send_levels(connection, level_rows(levels), change_rows(levels))
    totals = totals_of(parts, folding)
    billed_of = None
    if any(part.route.pending for part in parts):
        billed_of = billed_as_opened(await open_outcomes(connection, counted))
        totals += outcome_totals(counted, billed_of, folding)
    buckets = bucket_rows(parts, folding)
    counting = await send_totals(context, connection, totals, limited, buckets)
    return counting._replace(shares_of=shares_among(counted, billed_of, folding))


async def send_totals(
    context: Context,
    connection: Connection,
    totals: Sequence[Total],
    limited: Limited,
    buckets: Sequence[BucketRow] = (),
) -> Counting:
    """Send these parts of totals and buckets, and lock what they will be charged to: the wallets
    that they draw from, and a budget or an alert of those whose price depends on more than what
    changes.
    """
    rows = await _total_rows(connection, totals)
    wallets = sorted(
        {
            (total.customer, total.target.price.asset)
            for total in totals
            if total.target.price.settle == "wallet"
        }
    )
    cursor = await storage.send_totals(connection, rows) if rows else None
    ranks = await _send_values(connection, totals)
    if buckets:
        await storage.send_buckets(connection, buckets)
    now = context.clock.now()
    purses = await send_purses(connection, wallets, now) if wallets else None
    if limited:
        limited = await _lock_limited(connection, totals, limited)
    return Counting(totals, rows, cursor, purses, limited, ranks=ranks)


async def _send_values(connection: Connection, totals: Sequence[Total]) -> Cursor | None:
    """Add the values of those of these totals that are one of theirs; comes after the totals."""
    rows = [
        _values_row(total, total.meter.percentile, total.tally.values)
        for total in totals
        if total.meter.percentile is not None and total.tally.values
    ]
    if not rows:
        return None
    return await value_storage.send_values(connection, sorted(rows, key=_row_order))


def _row_order(row: ValuesRow) -> tuple[str, str, str, datetime, str]:
    return row.customer, row.subscription, row.price, row.period_start, row.dimensions


def _values_row(
    total: Total, percentile: Decimal, counted: Mapping[Decimal | int, int]
) -> ValuesRow:
    values = sorted(counted)
    target, meter = total.target, total.meter
    return ValuesRow(
        total.customer, target.subscription, target.price.key, target.segment.span.start,
        meter.key, meter.series, total.dimensions, percentile, values,
        [counted[value] for value in values],
    )  # fmt: skip


async def _lock_limited(
    connection: Connection, totals: Sequence[Total], limited: Limited
) -> Limited:
    """Those who are limited in the asset of a price that one of their totals is of. Where it
    depends on more than what changes, and no wallet serializes who changes that, a budget does, or
    an alert where there is none.
    """
    found = [
        total for total in totals if is_limited(limited, total.customer, total.target.price.asset)
    ]
    serial = {
        total.customer
        for total in found
        if total.target.price.settle == "invoice" and not total.target.linear
    }
    budgeted = {customer for customer in serial if limited[customer].budgets}
    if budgeted:
        await budget_storage.send_lock(connection, budgeted)
    if serial - budgeted:
        await alert_storage.send_lock(connection, serial - budgeted, "spend")
    watched = [
        total
        for total in totals
        if total.target.price.settle == "wallet"
        and is_watched(limited, total.customer, total.target.price.asset)
    ]
    return {total.customer: limited[total.customer] for total in (*found, *watched)}


async def settle_usage(
    context: Context, connection: Connection, counting: Counting
) -> Sequence[Charge]:
    """Charge for what was counted: wallets, where a price settles from one, and budgets. Returns
    the charges: those, and all of customers whose holds are being captured.
    """
    limited, captures = counting.limited, counting.captures
    charged = targets_of(
        total
        for total in counting.totals
        if is_charged(total.customer, total.target.price, limited, captures)
    )
    if not charged:
        return ()
    return await settle_changes(
        context, connection, charged, await counting.changed(charged), counting.purses, limited,
        Attribution(counting.shares_of), captures,
    )  # fmt: skip


def shares_among(
    counted: Sequence[Counted], billed_of: BilledOf | None, folding: Folding
) -> SharesOf:
    """Tells of a customer what the events of each path add to each row of totals; `billed_of` says
    how much of those is billed whose price goes by outcome (None: there are none).
    """
    by_customer: dict[str, list[Counted]] = {}

    def shares_of(customer: str, scopes: Collection[str]) -> Shares:
        if not by_customer:
            for one in counted:
                by_customer.setdefault(one[0].customer, []).append(one)
        by_path: dict[str, list[Counted]] = {}
        for one in by_customer.get(customer, ()):
            by_path.setdefault(deepest_scope(one[0].path, scopes) or "", []).append(one)
        shares = {}
        for path, events in sorted(by_path.items()):
            totals = totals_of(fold_events(events), folding)
            if billed_of is not None:
                totals += outcome_totals(events, billed_of, folding)
            shares[path] = share_of(totals)
        return shares

    return shares_of


def share_of(totals: Iterable[Total]) -> Share:
    """What these totals add to each row."""
    found: dict[tuple[SegmentKey, str], Decimal] = {}
    for total in totals:
        row = (_segment_of(total), total.dimensions)
        found[row] = found.get(row, ZERO) + total.quantity
    return found


def targets_of(totals: Iterable[Total]) -> dict[SegmentKey, Target]:
    """The segment that each total belongs to."""
    return {_segment_of(total): total.target for total in totals}


def _segment_of(total: Total) -> SegmentKey:
    return SegmentKey(total.customer, *total.target.place)


def fold_events(counted: Sequence[Counted]) -> list[Part]:
    """The events folded once, as finely as totals and buckets need."""
    parts: dict[tuple[int, datetime, tuple[str, ...]], Part] = {}
    hour = next_hour = _NEVER
    for event, readings in counted:
        if not hour <= event.time < next_hour:
            hour = floor_hour(event.time)
            next_hour = hour + HOUR
        for route, values, value in readings:
            key = (id(route), hour, values)
            part = parts.get(key)
            if part is None:
                part = parts[key] = Part(event.customer, route, values, hour, Tally())
            tally = part.tally
            if route.adds:
                tally.events += 1
                tally.quantity += value  # type: ignore[operator]
            else:
                tally.add(route.meter.aggregation, value, event)
    return list(parts.values())


def totals_of(parts: Sequence[Part], folding: Folding = NO_FOLDING) -> list[Total]:
    """The batch's part of every total it touches, each once."""
    totals: dict[TotalKey, Total] = {}
    for part in parts:
        route = part.route
        for target in route.targets if route.level is None else ():
            _add_part(totals, part, target, folding)
    return list(totals.values())


def _add_part(totals: dict[TotalKey, Total], part: Part, target: Target, folding: Folding) -> None:
    values = part.values if folding is NO_FOLDING else folding.fold(part, target)
    _add(totals, part.customer, target, part.route.meter, part.route.names, values, part.tally)


def outcome_totals(
    counted: Sequence[Counted], billed_of: BilledOf, folding: Folding = NO_FOLDING
) -> list[Total]:
    """What these events add to the totals of prices by outcome, each total once; `billed_of` says
    how much of what a meter read in an event is billed.
    """
    totals: dict[TotalKey, Total] = {}
    for event, readings in counted:
        for route, values, value in readings:
            for target in route.pending:
                assert target.price.outcome is not None, "it is pending because of its outcome"
                assert route.adds and not isinstance(value, str), "outcomes are of adding meters"
                key = (event.customer, event.source, event.id, route.meter.key)
                billed = billed_of(key, target.price.outcome, value)
                if billed != NOTHING:
                    tally = Tally()
                    tally.events, tally.quantity = billed
                    part = Part(event.customer, route, values, floor_hour(event.time), tally)
                    _add_part(totals, part, target, folding)
    return list(totals.values())


def merge_total(totals: dict[TotalKey, Total], part: Total) -> None:
    """Add a part to the total it belongs to."""
    _add(totals, part.customer, part.target, part.meter, part.names, part.values, part.tally)


def _add(
    totals: dict[TotalKey, Total], customer: str, target: Target, meter: Meter,
    names: tuple[str, ...], values: tuple[str, ...], tally: Tally,
) -> None:  # fmt: skip
    """Two routings may lead to the same segment (an event may name its subscription or not), so
    totals are known by what their row is known by.
    """
    key = (customer, target.place, meter.key, meter.series, values)
    total = totals.get(key)
    if total is None:
        totals[key] = Total(customer, target, meter, names, values, tally.apart())
    else:
        total.tally.merge(meter.aggregation, tally)


async def add_totals(connection: Connection, totals: Sequence[Total]) -> None:
    """Write folded totals."""
    rows = await _total_rows(connection, totals)
    if rows:
        await storage.send_totals(connection, rows)
        await _send_values(connection, totals)


async def _total_rows(connection: Connection, totals: Sequence[Total]) -> list[TotalRow]:
    members = [row for total in totals if total.tally.members for row in member_rows(total)]
    members.sort(key=attrgetter("customer", "subscription", "price", "member"))
    fresh = await storage.add_members(connection, members) if members else set()
    rows = [_total_row(total, fresh) for total in totals]
    rows.sort(key=attrgetter("customer", "subscription", "price", "period_start", "dimensions"))
    return rows


def member_rows(total: Total) -> list[MemberRow]:
    """The distinct values of a total of a `unique` meter."""
    meter, dimensions = total.meter, total.dimensions
    return [
        MemberRow(
            total.customer, total.target.subscription, total.target.price.key,
            total.target.segment.span.start, meter.key, meter.series,
            "\\x" + member_digest(dimensions, value).hex(),
        )
        for value in total.tally.members or ()
    ]  # fmt: skip


def _total_row(total: Total, fresh: set[MemberRow]) -> TotalRow:
    meter, tally = total.meter, total.tally
    subscription, price, start = total.target.place
    quantity = tally.quantity
    if tally.members is not None:
        quantity = sum(row in fresh for row in member_rows(total))
    return TotalRow(
        total.customer, subscription, price, start, total.target.end, meter.key, meter.series,
        total.dimensions, meter.aggregation, quantity, tally.events, tally.latest,
    )  # fmt: skip


def bucket_rows(parts: Sequence[Part], folding: Folding = NO_FOLDING) -> list[BucketRow]:
    """The batch's part of the hourly buckets. Distinct values and percentiles do not add up over
    hours, so such a meter has none, nor has a level, which is nothing that happened in an hour;
    what is measured for a price alone is not the meter's.
    """
    buckets: dict[tuple[str, str, datetime, str, int], tuple[Meter, Tally]] = {}
    for part in parts:
        if not part.route.hourly:
            continue
        meter, tally = part.route.meter, part.tally
        values = part.values if folding is NO_FOLDING else folding.fold(part)
        text = dimension_text(part.route.names, values)
        key = (part.customer, meter.key, part.hour, text, meter.version)
        bucket = buckets.get(key)
        if bucket is None:
            buckets[key] = (meter, tally)
        else:
            merged = bucket[1].apart()
            merged.merge(meter.aggregation, tally)
            buckets[key] = (meter, merged)
    return [
        BucketRow(
            customer, key, version, hour, text, meter.aggregation, tally.quantity, tally.events,
            tally.latest,
        )
        for (customer, key, hour, text, version), (meter, tally) in sorted(
            buckets.items(), key=itemgetter(0)
        )
    ]  # fmt: skip


def level_rows(parts: Sequence[Part]) -> list[LevelRow]:
    """What the batch's events of levels set, each a row."""
    rows = [
        LevelRow(
            part.customer, part.route.meter.key, part.route.level.subscription,
            dimension_text(part.route.meter.dimensions, part.values), event.time,
            event.received_at, event_digest(event.source, event.id), event.source, event.id, value,
        )
        for part in parts
        if part.route.level is not None
        for event, value in part.tally.levels or ()
    ]  # fmt: skip
    rows.sort(key=lambda row: (row.customer, row.meter, row.subscription, row.dimensions, row.time))
    return rows


def change_rows(parts: Sequence[Part]) -> list[ChangeRow]:
    """Whose bills the batch's levels may touch, each from the earliest of them on."""
    since: dict[tuple[str, str, str], datetime] = {}
    for part in parts:
        if part.route.level is None:
            continue
        first = min(event.time for event, _ in part.tally.levels or ())
        for subscription in part.route.level.touches:
            key = (part.customer, subscription, part.route.meter.key)
            since[key] = min(first, since.get(key, first))
    return [ChangeRow(*key, at) for key, at in sorted(since.items())]
