"""Reading events wherever they are: in the database, or in the files of the archive.

Owns the one way to old events. Whoever reads a customer's raw events of a span asks here, and gets
those in files among those in the database, in order; whoever changes one calls `recall` first,
which brings it back into the database. How events get into files is archive_run.py. Files are read
in steps, so that memory does not grow with them.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from taximeter.domain.metering.event import Event
from taximeter.domain.metering.identity import identity_key
from taximeter.gateways import parquet
from taximeter.kernel.times import Period
from taximeter.services.context import Connection
from taximeter.storage import archive as storage
from taximeter.storage import corrected_usage
from taximeter.storage import events as event_storage
from taximeter.storage import recount as recount_storage
from taximeter.storage import usage as usage_storage
from taximeter.storage.archive import Part, Row
from taximeter.storage.events import EventFilter, Identity, Position, StoredEvent, stored_of
from taximeter.storage.usage import Wanted

Order = tuple[datetime, str, str]


async def find_event(
    connection: Connection, *, customer: str, source: str, event_id: str
) -> StoredEvent | None:
    """The event of this identity, wherever it is."""
    found = await events_of(connection, [(customer, source, event_id)])
    return found[0] if found else None


async def events_of(connection: Connection, identities: Collection[Identity]) -> list[StoredEvent]:
    """Those of these events that are stored, wherever they are."""
    found = await event_storage.of_identities(connection, identities)
    there = {(one.event.customer, one.event.source, one.event.id) for one in found}
    missing = [identity for identity in identities if identity not in there]
    archived = await _archived_rows(connection, missing)
    return found + [stored_of(row) for rows in archived.values() for row in rows]


async def recall(connection: Connection, identities: Collection[Identity]) -> int:
    """Bring those of these events that are archived back into the database, so that they can be
    changed there; how many. Their transaction has called `note_change` or holds their terms.
    """
    archived = await _archived_rows(connection, identities)
    for rows in archived.values():
        await put_back(connection, rows)
    return sum(len(rows) for rows in archived.values())


async def recall_span(
    connection: Connection, customer: str, span: Period, *, rows_max: int
) -> bool:
    """As `recall`, all of a customer's events in a span; false where over `rows_max` are archived
    of it. What goes on is brought back in portions: see `bring_back` in archive_run.py.
    """
    recalled = 0
    for part in await storage.parts_of(connection, customer, span.start, span.end):
        async for rows in _rows_of(connection, customer, part, span.start, span.end):
            recalled += len(rows)
            if recalled > rows_max:
                return False
            await put_back(connection, rows)
    return True


async def put_back(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert rows of a file into the database again, where they are from now on."""
    await storage.put_back(connection, rows)
    await storage.change_identities(connection, (), [storage.name_of(row) for row in rows])


async def forget_rows(connection: Connection, archive: int, rows: Sequence[Row]) -> None:
    """Let no identity of these rows name the file any more."""
    found = await storage.identities_of(connection, [storage.name_of(row) for row in rows])
    named = [name for name, one in found.items() if one.archive == archive]
    await storage.change_identities(connection, (), named)


async def event_page(
    connection: Connection, wanted: EventFilter, *, after: Position | None, limit: int
) -> list[StoredEvent]:
    """Events by customer, then time, source and id, after `after`: those of one customer wherever
    they are; of all customers together those in the database.
    """
    page = await event_storage.page(connection, wanted, after=after, limit=limit)
    if wanted.customer is None or wanted.status == "quarantined":
        return page
    start = wanted.start
    if after is not None and (start is None or start < after[1]):
        start = after[1]
    beyond = after[1:] if after is not None else None
    last = order_of(page[-1].event) if len(page) == limit else None
    found: list[StoredEvent] = []
    async with aclosing(_archived(connection, wanted.customer, start, wanted.end)) as events:
        async for stored in events:
            order = order_of(stored.event)
            if len(found) == limit or (last is not None and order > last):
                break
            if (beyond is None or order > beyond) and _is_wanted(stored, wanted):
                found.append(stored)
    return sorted(page + found, key=lambda one: order_of(one.event))[:limit]


def _is_wanted(stored: StoredEvent, wanted: EventFilter) -> bool:
    return wanted.type in (None, stored.event.type) and wanted.status in (None, stored.status)


async def has_events(connection: Connection, customer: str, since: datetime) -> bool:
    """Whether the customer may have accepted events at or after `since`."""
    if await recount_storage.has_events(connection, customer, since):
        return True
    return bool(await storage.parts_of(connection, customer, since, None))


async def events_from(
    connection: Connection, customer: str, start: datetime, step: int
) -> AsyncIterator[list[StoredEvent]]:
    """The customer's accepted events from `start` on, by time, in steps of at most `step`."""
    parts = await storage.parts_of(connection, customer, start, None)
    portions = recount_storage.events_from(connection, customer, start, step)
    if not parts:
        async for events in portions:
            yield events
        return

    async for events in _in_steps(portions, _archived(connection, customer, start, None), step):
        yield events


async def events_within(
    connection: Connection, customer: str, types: Collection[str], span: Period, step: int
) -> AsyncIterator[list[StoredEvent]]:
    """The customer's accepted events of these types within `span`, in steps of at most `step`."""

    async def of_types() -> AsyncIterator[StoredEvent]:
        async for one in _archived(connection, customer, span.start, span.end):
            if one.event.type in types:
                yield one

    portions = corrected_usage.events_within(connection, customer, types, span, step)
    async for events in _in_steps(portions, of_types(), step):
        yield events


async def _in_steps(
    portions: AsyncIterator[list[StoredEvent]], archived: AsyncIterator[StoredEvent], step: int
) -> AsyncIterator[list[StoredEvent]]:
    """Events of the database and accepted ones of the archive, by time where both are."""

    async def stored() -> AsyncIterator[StoredEvent]:
        async for events in portions:
            for one in events:
                yield one

    waiting: list[StoredEvent] = []
    async for one in _merged(stored(), archived):
        if one.status == "accepted":
            waiting.append(one)
        if len(waiting) == step:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


async def events_in(
    connection: Connection, wanted: Wanted, span: Period
) -> AsyncGenerator[Event, None]:
    """The accepted events that the meter may have counted in `span`, by time."""
    stored = usage_storage.events_in(connection, wanted, span)
    if not await storage.parts_of(connection, wanted.customer, span.start, span.end):
        async for event in stored:
            yield event
        return

    async def there() -> AsyncGenerator[StoredEvent, None]:
        async for event in stored:
            yield StoredEvent(event, "accepted", None)

    archived = _counted(connection, wanted, span)
    async for one in _merged(there(), archived):
        yield one.event


async def next_event(connection: Connection, wanted: Wanted, span: Period) -> datetime | None:
    """The time of the first event in `span` that the meter may have counted."""
    found = await usage_storage.next_event(connection, wanted, span)
    before = span if found is None else Period(span.start, found)
    if before.start < before.end:
        async with aclosing(_counted(connection, wanted, before)) as events:
            async for one in events:
                return one.event.time
    return found


async def _counted(
    connection: Connection, wanted: Wanted, span: Period
) -> AsyncGenerator[StoredEvent, None]:
    """Of the archived events in `span` those that the meter may have counted, by time."""
    async for one in _archived(connection, wanted.customer, span.start, span.end):
        counted = max(one.event.received_at, one.counted_at or one.event.received_at)
        there = one.reason is not None or counted >= wanted.since
        if one.status == "accepted" and one.event.type == wanted.meter.event_type and there:
            yield one


def order_of(event: Event) -> Order:
    """The order of one customer's events."""
    return event.time, event.source, event.id


async def _merged(
    stored: AsyncIterator[StoredEvent], archived: AsyncIterator[StoredEvent]
) -> AsyncIterator[StoredEvent]:
    """Two streams of events by time as one."""
    ahead = await anext(archived, None)
    async for one in stored:
        while ahead is not None and ahead.event.time < one.event.time:
            yield ahead
            ahead = await anext(archived, None)
        yield one
    while ahead is not None:
        yield ahead
        ahead = await anext(archived, None)


async def _archived(
    connection: Connection, customer: str, start: datetime | None, end: datetime | None
) -> AsyncGenerator[StoredEvent, None]:
    """A customer's archived events from `start` on and before `end`, by time, source and id. A file
    is opened when its first event may be the next.
    """
    waiting = await storage.parts_of(connection, customer, start, end)
    opened: list[tuple[Order, int, StoredEvent, AsyncIterator[StoredEvent]]] = []
    while waiting or opened:
        while waiting and (not opened or waiting[0].time_first <= opened[0][0][0]):
            part = waiting.pop(0)
            events = _events_of(connection, customer, part, start, end)
            if (one := await anext(events, None)) is not None:
                heapq.heappush(opened, (order_of(one.event), part.archive, one, events))
        if opened:
            _, archive, one, events = opened[0]
            yield one
            following = await anext(events, None)
            if following is None:
                heapq.heappop(opened)
            else:
                heapq.heapreplace(opened, (order_of(following.event), archive, following, events))


async def _events_of(
    connection: Connection, customer: str, part: Part, start: datetime | None, end: datetime | None
) -> AsyncIterator[StoredEvent]:
    async for rows in _rows_of(connection, customer, part, start, end):
        for row in rows:
            yield stored_of(row)


async def _rows_of(
    connection: Connection, customer: str, part: Part, start: datetime | None, end: datetime | None
) -> AsyncIterator[list[Row]]:
    """Those rows of a customer in a file that count as they stand there, in steps."""
    groups = parquet.read(Path(part.path), customer=customer, start=start, end=end)
    while (rows := await asyncio.to_thread(_next, groups)) is not None:
        current = await current_rows(connection, part.archive, rows)
        if current:
            yield current


def _next(groups: Iterator[list[Row]]) -> list[Row] | None:
    return next(groups, None)


async def current_rows(connection: Connection, archive: int, rows: Sequence[Row]) -> list[Row]:
    """Those rows of a file that count as they stand there: their identities name the file, and they
    are not in the database.
    """
    found = await storage.identities_of(connection, [storage.name_of(row) for row in rows])
    named = [
        row
        for row in rows
        if (one := found.get(storage.name_of(row))) is not None and one.archive == archive
    ]
    there = await storage.still_there(connection, named) if named else set()
    return [row for row in named if (row[0], row[1], row[2]) not in there]


async def _archived_rows(
    connection: Connection, identities: Collection[Identity]
) -> dict[int, list[Row]]:
    """The rows of those of these events that are archived, by file."""
    names = {(customer, identity_key(source, name)) for customer, source, name in identities}
    found = await storage.identities_of(connection, names)
    wanted: dict[int, set[storage.Key]] = {}
    for name, one in found.items():
        wanted.setdefault(one.archive, set()).add(name)
    archived: dict[int, list[Row]] = {}
    for archive, of_file in wanted.items():
        for customer in sorted({customer for customer, _ in of_file}):
            for part in await storage.parts_of(connection, customer, None, None):
                if part.archive != archive:
                    continue
                async for rows in _rows_of(connection, customer, part, None, None):
                    mine = [row for row in rows if storage.name_of(row) in of_file]
                    archived.setdefault(archive, []).extend(mine)
    return archived
