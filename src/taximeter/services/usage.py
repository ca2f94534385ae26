"""Usage of a meter over time: exact, and true at the instant of the answer.

Owns the way from a question to rows: which windows there are, what of them hourly buckets answer
and what only events can, and paging. Rows come by customer, then window, then group.

Hours that lie wholly in a window are read from `usage_bucket`, under whichever version of the
meter they were counted. Events are read one by one for windows of a minute, for the hours that a
boundary of a window cuts (zones with offsets of half an hour, a `from` within an hour), and for
distinct values and percentiles, which do not add up; they are folded by the newest version of the
meter. Events are fetched as they are folded, and only the groups that a page can still show are
kept, so memory does not grow with usage. Levels are read by services/usage_levels.py.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice

from taximeter.domain.catalog.meter import WHOLE, Aggregation, Meter
from taximeter.domain.metering.bucket import bucket_of
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import (
    Tally,
    Value,
    combine,
    folded_quantity,
    read_value,
)
from taximeter.domain.metering.trace import GROUP_NAMES, attribute_of
from taximeter.domain.metering.window import (
    floor_hour,
    hours_and_rest,
    window_at,
    windows_in,
)
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.paging import Page, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Duration, Period, format_instant
from taximeter.services import archive
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.services.kept_values import FoldedValues, folded_values
from taximeter.services.meters import get_meter, meter_of
from taximeter.services.usage_levels import LevelReader
from taximeter.services.usage_query import (
    CUSTOMERS_PER_READ,
    GROUPS_MAX,
    Position,
    Reader,
    UsageQuery,
    UsageRow,
    customers_of,
    position_of,
    too_many_groups,
)
from taximeter.storage import customers as customer_storage
from taximeter.storage import meters as meter_storage
from taximeter.storage import usage as storage
from taximeter.storage.usage import Group, Wanted

DAYS_DEFAULT = Duration(months=0, days=-30, seconds=0)
WINDOWS_PER_READ = 400
GROUPS_HELD_MAX = 10_000
DISTINCT_MAX = 500_000

Key = tuple[int, Group]
# What was folded apart of each bucket: quantities, with the order of the last value.
Parts = dict[str, list[tuple[Decimal, str | None]]]

_INSTANT = timedelta(microseconds=1)


async def get_usage(
    context: Context, query: UsageQuery, *, limit: int, cursor: str | None
) -> Page[UsageRow]:
    """The usage asked for. All of it is read at one instant.

    Raises `NotFound` for an unknown meter, `Invalid` for dimensions it does not have, an empty
    span, and distinct values or groups too many to hold, and `TooSlow`.
    """
    after = position_of(cursor, query)
    stored = await get_meter(context, query.meter)
    meter = meter_of(stored)
    _check_groups(meter, query.group_by)
    now = context.clock.now()
    span = _span(query, now)
    rows: list[UsageRow] = []

    async def read(connection: Connection) -> None:
        since = await meter_storage.first_counts_from(connection, meter.key)
        wanted = Wanted(query.customer or "", meter, since, query.group_by)
        reader: Reader = _Reader(connection, query, wanted, span)
        if meter.is_level:
            reader = LevelReader(connection, query, meter, span, now)
        async for customer in reader.customers(after):
            mine = after if after is not None and after.customer == customer else None
            rows.extend(await reader.rows_of(customer, mine, limit + 1 - len(rows)))
            if len(rows) > limit:
                break

    await look(context, read)
    return make_page(
        rows, limit, lambda row: (row.customer, format_instant(row.window.start), *row.group)
    )


async def total_of(
    connection: Connection, meter: Meter, customer: str, span: Period, now: datetime
) -> Decimal:
    """What a customer used of a meter within `span`, as the transaction of the connection sees it
    at the instant `now`.
    """
    query = UsageQuery(
        meter=meter.key, customer=customer, start=span.start, end=span.end, window="total",
        group_by=(), timezone="UTC", fill_zero=False,
    )  # fmt: skip
    since = await meter_storage.first_counts_from(connection, meter.key)
    reader: Reader = _Reader(connection, query, Wanted(customer, meter, since, ()), span)
    if meter.is_level:
        reader = LevelReader(connection, query, meter, span, now)
    rows = await reader.rows_of(customer, None, 1)
    return rows[0].value if rows else ZERO


def _check_groups(meter: Meter, group_by: Sequence[str]) -> None:
    """A dimension of the meter wins over what events say of themselves."""
    for name in group_by:
        if name in meter.dimensions:
            continue
        if attribute_of(name) is None:
            has = f"It has {', '.join(meter.dimensions)}." if meter.dimensions else "It has none."
            besides = f"Besides there are {', '.join(GROUP_NAMES)} and path.1 to path.16."
            detail = f"The meter {meter.key} has no such dimension. {has} {besides}"
            raise Invalid([FieldError("group_by", "unknown_dimension", detail)])
        if meter.is_level:
            detail = f"A level is of its dimension values, not of events. Leave out {name}."
            raise Invalid([FieldError("group_by", "unknown_dimension", detail)])


def _span(query: UsageQuery, now: datetime) -> Period:
    """From when to when. Left out, the end is that of the window that now lies in, so that what
    was just taken in is shown.
    """
    end = query.end or window_at(query.window, query.timezone, now).end
    start = query.start or DAYS_DEFAULT.after(end, query.timezone)
    if start >= end:
        detail = f"Say a time before {format_instant(end)}, where the answer would end."
        raise Invalid([FieldError("from", "out_of_range", detail)])
    return Period(start, end)


class _Reader:
    """Reads the rows of one query within one snapshot."""

    def __init__(
        self, connection: Connection, query: UsageQuery, wanted: Wanted, span: Period
    ) -> None:
        self._connection = connection
        self._query = query
        self._wanted = wanted
        self._span = span
        meter = wanted.meter
        of_meter = all(name in meter.dimensions for name in wanted.group_by)
        self._has_hours = of_meter and meter.aggregation not in WHOLE
        self._by_events = query.window == "minute" or not self._has_hours
        self._timezone = query.timezone  # the customer's, where days are its buckets
        self._groups_of = [self._group_of(meter, name) for name in wanted.group_by]
        self._folded = FoldedValues({})

    def customers(self, after: Position | None) -> AsyncIterator[str]:
        """The customers to show, from the cursor's on."""

        async def find(begin: str) -> list[str]:
            return await storage.customers_from(
                self._connection, self._wanted._replace(customer=begin), self._found_in(self._span),
                hours=self._has_hours, limit=CUSTOMERS_PER_READ,
            )  # fmt: skip

        return customers_of(self._query, after, find)

    def _found_in(self, span: Period) -> Period:
        """Where to look for usage in `span`: an hour is found at its beginning."""
        return Period(floor_hour(span.start), span.end) if self._has_hours else span

    async def rows_of(self, customer: str, after: Position | None, limit: int) -> list[UsageRow]:
        """Up to `limit` rows of one customer, after `after`."""
        wanted = self._wanted._replace(customer=customer)
        if wanted.meter.bucket is not None:
            found = await customer_storage.find(self._connection, customer)
            self._timezone = found.timezone if found else self._query.timezone
        groups = await self._groups(wanted) if self._query.fill_zero else []
        count = limit // len(groups) + 1 if groups else WINDOWS_PER_READ
        at, shown = self._span.start, None
        if after is not None and after.start >= at:
            at, shown = after.start, after.group
        rows: list[UsageRow] = []
        while at < self._span.end and len(rows) < limit:
            if not self._query.fill_zero:
                begin = await self._next_window(wanted, at)
                if begin is None:
                    break
                at, shown = begin, shown if begin == at else None
            windows = list(islice(self._windows(at), count))
            beyond = None if shown is None else (0, shown)
            values = await self._values(wanted, windows, beyond, limit - len(rows))
            keys = {*values, *((n, group) for n in range(len(windows)) for group in groups)}
            rows += [
                UsageRow(customer, windows[n], group, values.get((n, group), ZERO))
                for n, group in sorted(keys)
                if beyond is None or (n, group) > beyond
            ]
            at, shown = windows[-1].end, None
        return rows[:limit]

    def _windows(self, at: datetime) -> Iterator[Period]:
        span = Period(at, self._span.end)
        return windows_in(self._query.window, self._query.timezone, span)

    async def _next_window(self, wanted: Wanted, at: datetime) -> datetime | None:
        """The beginning of the first window from `at` on that may have usage."""
        span = self._found_in(Period(at, self._span.end))
        find = storage.next_hour if self._has_hours else archive.next_event
        found = await find(self._connection, wanted, span)
        if found is None or self._query.window == "total":
            return None if found is None else at
        return max(at, window_at(self._query.window, self._query.timezone, found).start)

    async def _groups(self, wanted: Wanted) -> list[Group]:
        """All groups with usage in the span."""
        if not wanted.group_by:
            return [()]
        groups: set[Group] = set()
        if self._has_hours:
            span = self._found_in(self._span)
            groups.update(
                await storage.hour_groups(self._connection, wanted, span, limit=GROUPS_MAX + 1)
            )
        else:
            async with aclosing(archive.events_in(self._connection, wanted, self._span)) as events:
                async for event in events:
                    read = self._read(event)
                    if read is not None:
                        groups.add(read[0])
                    if len(groups) > GROUPS_MAX:
                        break
        if len(groups) > GROUPS_MAX:
            raise too_many_groups()
        return sorted(groups)

    async def _values(
        self, wanted: Wanted, windows: Sequence[Period], beyond: Key | None, limit: int
    ) -> dict[Key, Decimal]:
        """The first `limit` values after `beyond`, by window and group."""
        hours: list[tuple[int, Period]] = []
        rest: list[Period] = []
        for n, window in enumerate(windows):
            whole, edges = (None, (window,)) if self._by_events else hours_and_rest(window)
            if whole is not None:
                hours.append((n, whole))
            rest += edges
        if rest and not self._by_events:
            cut = {floor_hour(edge.start) for edge in rest}
            used = await storage.used_hours(self._connection, wanted, cut)
            rest = [edge for edge in rest if floor_hour(edge.start) in used]
        parts: dict[Key, Parts] = defaultdict(lambda: defaultdict(list))
        if hours:
            for part, bucket in await self._hour_parts(wanted, hours, rest, beyond, limit):
                parts[part.window, part.group][bucket].append((part.quantity, part.latest))
        folds = _Folds(wanted.meter, beyond, limit)
        await self._fold_events(wanted, windows, rest, folds)
        for key, tallies in folds.tallies.items():
            for bucket, tally in tallies.items():
                parts[key][bucket].append((folded_quantity(wanted.meter, tally), tally.latest))
        aggregation = wanted.meter.aggregation
        return {key: _sum_of(aggregation, parts[key]) for key in sorted(parts)[:limit]}

    async def _hour_parts(
        self,
        wanted: Wanted,
        hours: Sequence[tuple[int, Period]],
        rest: Sequence[Period],
        beyond: Key | None,
        limit: int,
    ) -> list[tuple[storage.Part, str]]:
        """What whole hours come to; of a bucket that `rest` has a part of, apart."""
        if wanted.meter.bucket is None:
            found = await storage.hour_parts(
                self._connection, wanted, hours, after=beyond, limit=limit
            )
            return [(part, "") for part in found]
        cut = {self._bucket(at) for span in rest for at in (span.start, span.end - _INSTANT)}
        return await storage.bucket_parts(
            self._connection, wanted, hours, cut, after=beyond, limit=limit
        )

    def _bucket(self, at: datetime) -> str:
        """The bucket of an event at `at`; all are one where the meter has none."""
        bucket = self._wanted.meter.bucket
        return "" if bucket is None else bucket_of(bucket, self._timezone, at)

    async def _fold_events(
        self, wanted: Wanted, windows: Sequence[Period], rest: Sequence[Period], folds: "_Folds"
    ) -> None:
        n = 0
        if rest and self._wanted.meter.dimension_limit is not None and wanted.group_by:
            touched = Period(rest[0].start, rest[-1].end)
            self._folded = await folded_values(
                self._connection, wanted.customer, wanted.meter.key, touched
            )
        for span in _joined(rest):
            async with aclosing(archive.events_in(self._connection, wanted, span)) as events:
                async for event in events:
                    if event.time >= windows[n].end:
                        if folds.full:
                            return
                        while event.time >= windows[n].end:
                            n += 1
                    read = self._read(event)
                    if read is not None:
                        folds.add((n, read[0]), self._bucket(event.time), read[1], event)

    def _group_of(self, meter: Meter, name: str) -> Callable[[Event, tuple[str, ...]], str]:
        """How a group is told from an event and the values of its meter's dimensions."""
        if name in meter.dimensions:
            index = meter.dimensions.index(name)
            return lambda event, values: self._folded.shown(name, values[index], event.time)
        attribute = attribute_of(name)
        assert attribute is not None, "a group that is no dimension was checked"
        return lambda event, _: attribute(event)

    def _read(self, event: Event) -> tuple[Group, Value] | None:
        """The group and value of an event; None where the newest version does not count it."""
        read = read_value(self._wanted.meter, event.data)
        return read and (tuple([of(event, read[0]) for of in self._groups_of]), read[1])


def _sum_of(aggregation: Aggregation, parts: Parts) -> Decimal:
    """What buckets come to together, each from its own parts."""
    return sum(
        (
            found[0][0] if len(found) == 1 else combine(aggregation, found)
            for found in parts.values()
        ),
        ZERO,
    )


def _joined(spans: Sequence[Period]) -> list[Period]:
    """Spans in order of time, with those that touch made one."""
    joined: list[Period] = []
    for span in spans:
        if joined and joined[-1].end == span.start:
            joined[-1] = Period(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _held(tally: Tally) -> int:
    """How many different values a tally has to remember."""
    return len(tally.members or tally.values or ())


class _Folds:
    """Tallies by key of events that come by window. Keeps the first `limit` keys after `beyond`
    at least, and never many more.
    """

    def __init__(self, meter: Meter, beyond: Key | None, limit: int) -> None:
        self.tallies: dict[Key, dict[str, Tally]] = {}
        self._meter = meter
        self._beyond = beyond
        self._limit = limit
        self._last: Key | None = None
        self._distinct = 0

    @property
    def full(self) -> bool:
        """Whether a later window can add nothing to the first `limit` keys."""
        return len(self.tallies) >= self._limit

    def add(self, key: Key, bucket: str, value: Value, event: Event) -> None:
        """Fold one event's value in. Raises `Invalid` for distinct values too many to hold."""
        if self._beyond is not None and key <= self._beyond:
            return
        if self._last is not None and key > self._last:
            return
        tally = self.tallies.setdefault(key, {}).setdefault(bucket, Tally())
        before = _held(tally)
        tally.add(self._meter.aggregation, value, event)
        self._distinct += _held(tally) - before
        if len(self.tallies) > GROUPS_HELD_MAX or self._distinct > DISTINCT_MAX:
            self._drop()

    def _drop(self) -> None:
        """Forget the keys that cannot be shown."""
        kept = sorted(self.tallies)[: self._limit]
        self._last = kept[-1]
        self.tallies = {key: self.tallies[key] for key in kept}
        self._distinct = sum(
            _held(tally) for tallies in self.tallies.values() for tally in tallies.values()
        )
        if self._distinct > DISTINCT_MAX:
            detail = (
                f"There are over {DISTINCT_MAX} distinct values in one answer. Ask for shorter "
                "windows, or for fewer rows by limit."
            )
            raise Invalid([FieldError("window", "too_many", detail)])
