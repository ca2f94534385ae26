"""The usage that a change of a customer's terms would move, computed without writing it.

Owns the recount of a preview: what recount.py would leave in the totals and charge to wallets.
Reads only the events at or after the change, and where a quantity does not add up (a maximum,
distinct values) those of its segment; never more than 100,000. Must not write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.meter import ADDING, Meter
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.subscription import segment_at
from taximeter.kernel.quantity import ZERO
from taximeter.services import archive
from taximeter.services.context import Connection
from taximeter.services.cost import SegmentKey
from taximeter.services.count import Total
from taximeter.services.dimensions import dimensions_of
from taximeter.services.opening import foresee_outcomes
from taximeter.services.recount import (
    RowKey,
    charges_between,
    fold_usage,
    invoiced,
    row_key,
    stored_total,
)
from taximeter.services.segment_usage import UsageKey
from taximeter.services.settle import Charge
from taximeter.storage import recount as storage
from taximeter.storage.recount import StoredTotal

EVENTS_MAX = 100_000

_INSTANT = timedelta(microseconds=1)

Quantities = dict[str, Decimal]
Rows = Mapping[RowKey, Quantities]


@dataclass(frozen=True, slots=True)
class Moved:
    """The usage of every segment that a change touches as it would be after it, and what the
    change would charge to wallets.
    """

    usage: Mapping[UsageKey, Usage]
    charges: Sequence[Charge]


NOTHING_MOVED = Moved({}, ())


async def moved_usage(
    connection: Connection, before: CustomerTerms, after: CustomerTerms, since: datetime
) -> Moved:
    """What a change of the customer's terms, from `before` to `after` as of `since`, would move.

    Raises `Invalid`: what the recount would, and `too_many_events` of `at` where it would have to
    read over 100,000 events.
    """
    customer = before.customer.key
    if not await archive.has_events(connection, customer, since):
        return NOTHING_MOVED
    stored = await storage.totals_after(connection, customer, since - _INSTANT)
    was = await _fold(connection, before, before, since)
    becomes = await _fold(connection, before, after, since)
    standing, leaving, coming = _rows(stored), _folded(was), _folded(becomes)
    meters = {row_key(stored_total(one)): one.meter for one in (*was, *becomes)}
    changed = {key for key in meters if leaving.get(key) != coming.get(key)}
    if any(total.billed for total in stored if row_key(total) in changed):
        raise invoiced(since, "at")
    again = await _again(connection, before, after, meters, since)
    rows = dict(standing)
    for key, meter in meters.items():
        if meter.aggregation in ADDING:
            rows[key] = _shifted(standing.get(key, {}), leaving.get(key, {}), coming.get(key, {}))
        else:
            rows[key] = (again if key[2] < since else coming).get(key, {})
    # Prices of a group cost anew where one of them counts otherwise: all are compared.
    touched = {key[:3] for key in meters}
    touched |= {row_key(one)[:3] for one in stored if one.period_end > since}
    usage = _by_segment(customer, rows, touched)
    old = [one for one in stored if row_key(one)[:3] in touched]
    prices = _prices(after, usage)
    used = {key: [*usage[key].items()] for key in prices}
    return Moved(
        {key: _usage(quantities) for key, quantities in usage.items()},
        charges_between(before, old, prices, used),
    )


async def _again(
    connection: Connection,
    before: CustomerTerms,
    after: CustomerTerms,
    meters: Mapping[RowKey, Meter],
    since: datetime,
) -> Rows:
    """The rows of meters that do not add up, counted from the start of their segments."""
    starts = [
        key[2] for key, meter in meters.items()
        if meter.aggregation not in ADDING and key[2] < since
    ]  # fmt: skip
    return _folded(await _fold(connection, before, after, min(starts))) if starts else {}


async def _fold(
    connection: Connection, before: CustomerTerms, terms: CustomerTerms, start: datetime
) -> list[Total]:
    return [
        total
        async for total in fold_usage(
            connection, before, terms, start, opening=foresee_outcomes, events_max=EVENTS_MAX
        )
    ]


def _rows(totals: Iterable[StoredTotal]) -> dict[RowKey, Quantities]:
    rows: dict[RowKey, Quantities] = {}
    for total in totals:
        rows.setdefault(row_key(total), {})[total.dimensions] = total.quantity
    return rows


def _folded(totals: Iterable[Total]) -> Rows:
    return _rows(stored_total(total) for total in totals)


def _shifted(standing: Quantities, leaving: Quantities, coming: Quantities) -> Quantities:
    """What stands less what leaves plus what comes; what nothing is left of is gone."""
    found = {}
    for name in dict.fromkeys((*standing, *coming)):
        quantity = standing.get(name, ZERO) - leaving.get(name, ZERO) + coming.get(name, ZERO)
        if quantity or name in coming or name not in leaving:
            found[name] = quantity
    return found


def _by_segment(
    customer: str, rows: Rows, touched: Iterable[tuple[str, str, datetime]]
) -> dict[SegmentKey, Quantities]:
    """The quantities of the touched segments, the versions of a meter added up."""
    found: dict[SegmentKey, Quantities] = {SegmentKey(customer, *place): {} for place in touched}
    for key, quantities in rows.items():
        segment = found.get(SegmentKey(customer, *key[:3]))
        if segment is not None:
            for name, quantity in quantities.items():
                segment[name] = segment.get(name, ZERO) + quantity
    return found


def _usage(quantities: Quantities) -> Usage:
    return [(dimensions_of(text), quantity) for text, quantity in sorted(quantities.items())]


def _prices(
    terms: CustomerTerms, usage: Mapping[SegmentKey, Quantities]
) -> dict[SegmentKey, UsagePrice]:
    """The price of each segment that has usage after the change."""
    subscriptions = {one.id: one for one in terms.subscriptions}
    found = {}
    for key, quantities in usage.items():
        segment = segment_at(subscriptions[key.subscription], key.price, key.start)
        if segment is not None and isinstance(segment.price, UsagePrice) and quantities:
            found[key] = segment.price
    return found
