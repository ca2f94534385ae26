"""Usage of a level over time: level-hours, or the average level, of each window.

Owns the way from a query to rows for meters of levels, whose usage does not stand in hours but goes
on while nothing happens: up to now, and no further. Windows are read in portions, so memory grows
with the groups of a meter, not with time.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from itertools import islice

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.metering.level import quantity_of
from taximeter.domain.metering.window import window_at, windows_in
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.context import Connection
from taximeter.services.dimensions import dimensions_of
from taximeter.services.level_usage import read_areas
from taximeter.services.usage_query import (
    CUSTOMERS_PER_READ,
    GROUPS_MAX,
    Position,
    UsageQuery,
    UsageRow,
    customers_of,
    too_many_groups,
)
from taximeter.storage import levels as storage
from taximeter.storage.usage import Group

WINDOWS_PER_READ = 400


class LevelReader:
    """Reads the rows of one query of a level within one snapshot."""

    def __init__(
        self, connection: Connection, query: UsageQuery, meter: Meter, span: Period, now: datetime
    ) -> None:
        self._connection = connection
        self._query = query
        self._meter = meter
        self._span = span
        self._now = now

    def customers(self, after: Position | None) -> AsyncIterator[str]:
        """The customers to show, from the cursor's on."""
        before = min(self._span.end, self._now)

        async def find(begin: str) -> list[str]:
            return await storage.customers_from(
                self._connection, begin, self._meter.key, before, CUSTOMERS_PER_READ
            )

        return customers_of(self._query, after, find)

    async def rows_of(self, customer: str, after: Position | None, limit: int) -> list[UsageRow]:
        """Up to `limit` rows of one customer, after `after`."""
        at, shown = self._span.start, None
        if after is not None and after.start >= at:
            at, shown = after.start, after.group
        fills = self._query.fill_zero
        groups = await self._groups(customer) if fills else []
        count = limit // len(groups) + 1 if groups else WINDOWS_PER_READ
        end = self._span.end if fills else min(self._span.end, self._now)
        rows: list[UsageRow] = []
        while at < end and len(rows) < limit:
            span = Period(at, self._span.end)
            every = windows_in(self._query.window, self._query.timezone, span)
            windows = list(islice(every, min(count, WINDOWS_PER_READ)))
            values = await self._values(customer, windows)
            values |= {
                (n, group): values.get((n, group), ZERO)
                for n in range(len(windows))
                for group in groups
            }
            rows += [
                UsageRow(customer, windows[n], group, value)
                for (n, group), value in sorted(values.items())
                if (value or fills) and (n > 0 or shown is None or group > shown)
            ]
            at, shown = windows[-1].end, None
            if not fills and not any(values.values()):
                at = await self._next_window(customer, at)
        return rows[:limit]

    async def _next_window(self, customer: str, at: datetime) -> datetime:
        """From where on a level may hold again, where none did before `at`."""
        found = await storage.next_level(self._connection, customer, self._meter.key, at)
        if found is None or found >= self._span.end:
            return self._span.end
        return max(at, window_at(self._query.window, self._query.timezone, found).start)

    async def _groups(self, customer: str) -> list[Group]:
        """All groups of which a level was set before the span's end."""
        if not self._query.group_by:
            return [()]
        groups: set[Group] = set()
        past = self._past(self._span)
        series = read_areas(self._connection, customer, self._meter, past, lambda _: ())
        async with aclosing(series) as every:
            async for dimensions, _ in every:
                groups.add(self._group(dimensions))
        if len(groups) > GROUPS_MAX:
            raise too_many_groups()
        return sorted(groups)

    def _group(self, dimensions: str) -> Group:
        values = dimensions_of(dimensions)
        return tuple([values[name] for name in self._query.group_by])

    async def _values(
        self, customer: str, windows: Sequence[Period]
    ) -> dict[tuple[int, Group], Decimal]:
        """The quantity of each window and group."""
        held = [self._past(window) for window in windows]
        span = Period(held[0].start, max(held[0].start, held[-1].end))
        found: dict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
        series = read_areas(self._connection, customer, self._meter, span, lambda _: held)
        async with aclosing(series) as every:
            async for dimensions, areas in every:
                group = self._group(dimensions)
                for n, area in enumerate(areas):
                    found[n, group] += area
        return {key: quantity_of(self._meter, area, windows[key[0]]) for key, area in found.items()}

    def _past(self, window: Period) -> Period:
        """What of a window lies in the past."""
        return Period(min(window.start, self._now), min(window.end, self._now))
