"""Correcting usage: what events counted is taken back, and what they count now is added.

Owns how totals, hours, distinct values and levels follow a correction, and that wallets and
budgets are charged the difference of the two. What adds up moves by the difference; a maximum, a
last value or a number of distinct values is counted again from raw events where one that decided
it is gone. Runs in a transaction that keeps ingestion out, after the events' rows were written. A
finalized invoice stays: what its totals come to now is compared with it by the next one.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from taximeter.domain.catalog.meter import ADDING, Meter
from taximeter.domain.metering.fold import Tally
from taximeter.domain.metering.outcome import outcome_id
from taximeter.domain.metering.window import HOUR
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Reading
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services import archive
from taximeter.services.allowance_alerts import tell_used
from taximeter.services.command import Transaction
from taximeter.services.context import Connection
from taximeter.services.cost import SegmentKey, Shares, SharesOf
from taximeter.services.count import (
    Counted,
    Part,
    Total,
    TotalKey,
    add_totals,
    bucket_rows,
    change_rows,
    fold_events,
    level_rows,
    member_rows,
    merge_total,
    shares_among,
    targets_of,
    totals_of,
)
from taximeter.services.epochs import Epoch, epochs_of, read_as_counted, read_when_counted
from taximeter.services.ingest import REASONS
from taximeter.services.kept_values import NO_FOLDING, Folding, folding_of
from taximeter.services.settle import Attribution, send_purses, settle_changes
from taximeter.services.spending import limited_among
from taximeter.storage import corrected_usage as storage
from taximeter.storage import ingestion
from taximeter.storage import levels as level_storage
from taximeter.storage import terms as term_storage
from taximeter.storage.corrected_usage import Folded, HourKey, TotalRowKey
from taximeter.storage.events import StoredEvent
from taximeter.storage.ingestion import BucketRow, ChangedTotal

EVENTS_PER_STEP = 5_000
EVENTS_READ_MAX = 1_000_000

_NOTHING = Folded(ZERO, 0, None)


class Change(NamedTuple):
    """An event as it counted before its correction, and as it counts after it."""

    before: StoredEvent
    after: StoredEvent


async def correct_usage(
    transaction: Transaction,
    terms: CustomerTerms,
    changes: Sequence[Change],
    charged_at: datetime | None = None,
) -> None:
    """Let all usage follow these changes of events of one customer. What it costs less or more
    counts in the window of budgets that `charged_at` (None: now) lies in.

    Raises `Invalid`: `outcome_event` where an outcome decides what an event is billed, the reason
    why a meter or a price cannot read what an event says now, `too_many_events` where over
    1,000,000 events would have to be counted again.
    """
    connection = transaction.connection
    versions = await term_storage.meter_versions(connection)
    reader = _Reader(connection, terms, epochs_of(terms, versions), versions)
    removed = reader.counted([one.before for one in changes])
    added = reader.counted([one.after for one in changes])
    leaving, coming = fold_events(reader.there(removed)), fold_events(reader.there(added))
    seen = fold_events([one.counted for one in (*removed, *added)])
    reader.folding = await folding_of(connection, [*leaving, *coming, *seen])
    await _correct_levels(connection, leaving, coming)
    await _correct_hours(reader, leaving, coming)
    new = [one.counted for one in added]
    await _correct_totals(transaction, reader, [one.counted for one in removed], new, charged_at)
    limited = limited_among([terms])
    if limited:
        await tell_used(transaction.context, connection, limited, new)


class _Seen(NamedTuple):
    """An event that counts, and what the meters read in it."""

    stored: StoredEvent
    readings: tuple[Reading, ...]

    @property
    def counted(self) -> Counted:
        """Without what became of it."""
        return self.stored.event, self.readings


@dataclass(slots=True)
class _Reader:
    """Reads events of one customer as they were counted."""

    connection: Connection
    terms: CustomerTerms
    epochs: Sequence[Epoch]
    versions: Sequence[tuple[datetime, Meter]]
    read: int = 0
    folding: Folding = NO_FOLDING

    @property
    def customer(self) -> str:
        """Whose events they are."""
        return self.terms.customer.key

    def counted(self, events: Sequence[StoredEvent]) -> list[_Seen]:
        """Those of these events that count."""
        found = []
        for stored in events:
            if stored.status == "accepted":
                readings = read_as_counted(self.epochs, self.terms, stored)
                if isinstance(readings, str):
                    raise Invalid([FieldError("data", readings, REASONS[readings])])
                if any(route.pending for route, _, _ in readings):
                    raise Invalid([_outcome_event(stored)])
                found.append(_Seen(stored, readings))
        return found

    def there(self, events: Sequence[_Seen]) -> list[Counted]:
        """These events, with what only those meters read that were there when they counted first:
        a price counts again what came before its meter, hours and levels do not.
        """
        since = {
            meter.key: counts_from for counts_from, meter in self.versions if meter.version == 1
        }
        return [
            (stored.event, read_when_counted(since, stored, readings))
            for stored, readings in events
        ]

    async def again(self, meter: str, span: Period) -> AsyncIterator[list[_Seen]]:
        """The accepted events that the meter may read within `span`, in steps, with what it reads.

        Raises `Invalid` where they and those read before are too many.
        """
        types = {one.event_type for _, one in self.versions if one.key == meter}
        async for events in archive.events_within(
            self.connection, self.customer, types, span, EVENTS_PER_STEP
        ):
            self.read += len(events)
            if self.read > EVENTS_READ_MAX:
                raise Invalid([_TOO_MANY])
            found = []
            for stored in events:
                readings = read_as_counted(self.epochs, self.terms, stored)
                if not isinstance(readings, str):
                    own = tuple(one for one in readings if one[0].meter.key == meter)
                    found.append(_Seen(stored, own))
            yield found


_TOO_MANY = FieldError(
    "id", "too_many_events",
    f"Over {EVENTS_READ_MAX:,} events would have to be counted again, because the meter's quantity "
    "is no sum. Correct fewer events at once, or let a shorter bucket or period hold them.",
)  # fmt: skip


def _outcome_event(stored: StoredEvent) -> FieldError:
    detail = (
        f"The event {stored.event.id} belongs to the outcome {outcome_id(stored.event.data)}, "
        "which decides what it is billed. Fail or reverse the outcome, or confirm a part of it; "
        "send what was right as a new event."
    )
    return FieldError("id", "outcome_event", detail)


async def _correct_levels(
    connection: Connection, leaving: Sequence[Part], coming: Sequence[Part]
) -> None:
    """Levels hold otherwise from the earlier of the two times on."""
    gone = [part for part in leaving if part.route.level is not None]
    new = [part for part in coming if part.route.level is not None]
    if gone:
        await storage.drop_levels(connection, level_rows(gone))
        await level_storage.note_changes(connection, change_rows(gone))
    if new:
        await level_storage.send_levels(connection, level_rows(new), change_rows(new))


def _decided(aggregation: str, stood: Folded, quantity: Decimal | int, latest: str | None) -> bool:
    """Whether what leaves a row may have decided what the row says: then it has to be counted
    again. What adds up, and values whose number is known, never has.
    """
    if aggregation in ADDING or aggregation == "percentile":
        return False
    if aggregation == "latest":
        return stood.latest == latest
    if aggregation in ("max", "min"):
        return stood.quantity == quantity
    return True


async def _correct_hours(reader: _Reader, leaving: Sequence[Part], coming: Sequence[Part]) -> None:
    gone, new = bucket_rows(leaving, reader.folding), bucket_rows(coming, reader.folding)
    if not (gone or new):
        return
    connection, customer = reader.connection, reader.customer
    stood = {}
    if gone:
        stood = await storage.hours_at(connection, customer, {_hour_key(one) for one in gone})
        # A meter made in the very instant in which the event came may not have counted it.
        gone = [one for one in gone if _hour_key(one) in stood]
        await ingestion.send_buckets(connection, [_less_hour(one) for one in gone])
    if new:
        await ingestion.send_buckets(connection, new)
    again: dict[tuple[str, datetime], set[HourKey]] = defaultdict(set)
    for one in gone:
        key = _hour_key(one)
        if _decided(one.aggregation, stood[key], one.quantity, one.latest):
            again[one.meter, one.bucket_start].add(key)
    for (meter, hour), keys in again.items():
        events = [one async for step in reader.again(meter, _hour(hour)) for one in step]
        found = {
            _hour_key(row): Folded(Decimal(row.quantity), row.events, row.latest)
            for row in bucket_rows(fold_events(reader.there(events)))
        }
        rows = {key: found.get(key, _NOTHING) for key in keys}
        await storage.set_hours(connection, customer, rows)
    if gone:
        await storage.drop_hours(connection, customer, {_hour_key(one) for one in gone})


def _hour(start: datetime) -> Period:
    return Period(start, start + HOUR)


def _hour_key(row: BucketRow) -> HourKey:
    return HourKey(row.meter, row.bucket_start, row.version, row.dimensions)


def _less_hour(row: BucketRow) -> BucketRow:
    """What takes a row's events out. A maximum that did not decide changes nothing again."""
    quantity = -row.quantity if row.aggregation in ADDING else row.quantity
    return msgspec.structs.replace(row, quantity=quantity, events=-row.events)


async def _correct_totals(
    transaction: Transaction,
    reader: _Reader,
    removed: Sequence[Counted],
    added: Sequence[Counted],
    charged_at: datetime | None,
) -> None:
    """Bring totals in line, and charge what that costs."""
    context, connection = transaction.context, transaction.connection
    gone = totals_of(fold_events(removed), reader.folding)
    new = totals_of(fold_events(added), reader.folding)
    keys = {_row_key(total) for total in (*gone, *new)}
    stood = await storage.totals_at(connection, reader.customer, keys) if keys else {}
    # As of hours: a meter made in the very instant of an event may not have counted it.
    gone = [total for total in gone if _row_key(total) in stood]
    keys = {_row_key(total) for total in (*gone, *new)}
    if not keys:
        return
    await add_totals(connection, [_less(total) for total in gone])
    await add_totals(connection, new)
    await _count_again(reader, gone, stood)
    stands = await storage.totals_at(connection, reader.customer, keys)
    changed = [
        ChangedTotal(
            reader.customer, key.subscription, key.price, key.period_start, key.dimensions,
            stood.get(key, _NOTHING).quantity, stands[key].quantity,
            created=not stood.get(key, _NOTHING).events,
            gone=not stands[key].events,
        )
        for key in sorted(keys)
        if stood.get(key, _NOTHING)[:2] != stands[key][:2]
    ]  # fmt: skip
    wallets = sorted(
        {
            (reader.customer, total.target.price.asset)
            for total in (*gone, *new)
            if total.target.price.settle == "wallet"
        }
    )
    now = context.clock.now()
    await settle_changes(
        context, connection, targets_of([*gone, *new]), changed,
        await send_purses(connection, wallets, now, spent_too=True) if wallets else None,
        limited_among([reader.terms]),
        Attribution(_shares_between(reader.folding, removed, added), charged_at),
    )  # fmt: skip
    await storage.drop_totals(connection, reader.customer, keys)


def _row_key(total: Total) -> TotalRowKey:
    target, meter = total.target, total.meter
    return TotalRowKey(
        target.subscription, target.price.key, target.segment.span.start, meter.key, meter.series,
        total.dimensions,
    )  # fmt: skip


def _less(total: Total) -> Total:
    """What takes a total's events out of its row. A quantity that is no sum is left to be counted
    again, where it has to be.
    """
    tally = Tally()
    tally.events, tally.latest, tally.members = (
        -total.tally.events, total.tally.latest, total.tally.members,
    )  # fmt: skip
    if total.tally.values is not None:
        tally.values = Counter({value: -events for value, events in total.tally.values.items()})
    adds = total.meter.aggregation in ADDING
    tally.quantity = -total.tally.quantity if adds else total.tally.quantity
    return msgspec.structs.replace(total, tally=tally)


async def _count_again(
    reader: _Reader, gone: Sequence[Total], stood: Mapping[TotalRowKey, Folded]
) -> None:
    """Set those totals to what their events come to that what has gone may have decided."""
    again: dict[tuple[str, Period], dict[TotalRowKey, Total]] = defaultdict(dict)
    for total in gone:
        key, tally = _row_key(total), total.tally
        if _decided(total.meter.aggregation, stood[key], tally.quantity, tally.latest):
            again[total.meter.key, total.target.segment.span][key] = total
    for (meter, span), totals in again.items():
        merged: dict[TotalKey, Total] = {}
        async for step in reader.again(meter, span):
            for one in totals_of(fold_events([seen.counted for seen in step])):
                if _row_key(one) in totals:
                    merge_total(merged, one)
        found = {_row_key(one): one for one in merged.values()}
        rows = {key: _folded(found.get(key)) for key in totals}
        await storage.set_totals(reader.connection, reader.customer, rows)
        kept = {row for one in found.values() for row in member_rows(one)}
        lost = {row for one in totals.values() for row in member_rows(one)} - kept
        await storage.drop_members(reader.connection, list(lost))


def _folded(total: Total | None) -> Folded:
    if total is None:
        return _NOTHING
    return Folded(total.quantity, total.tally.events, total.tally.latest)


def _shares_between(
    folding: Folding, removed: Sequence[Counted], added: Sequence[Counted]
) -> SharesOf:
    """Tells what a correction adds to each row of totals, less what it takes from it, by path."""
    coming, leaving = shares_among(added, None, folding), shares_among(removed, None, folding)

    def shares_of(customer: str, scopes: Collection[str]) -> Shares:
        found: dict[str, dict[tuple[SegmentKey, str], Decimal]] = {}
        for sign, shares in ((1, coming(customer, scopes)), (-1, leaving(customer, scopes))):
            for path, share in shares.items():
                own = found.setdefault(path, {})
                for row, quantity in share.items():
                    own[row] = own.get(row, ZERO) + sign * quantity
        return dict(sorted(found.items()))

    return shares_of
