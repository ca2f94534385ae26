"""Reading events as they were stored. Taking them in is ingest.py, releasing them release.py."""

from datetime import datetime
from typing import TypeAlias

from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, invalid_cursor, make_page
from taximeter.kernel.times import format_instant, parse_instant
from taximeter.services.context import Context
from taximeter.services.release import position_of
from taximeter.storage import events as storage
from taximeter.storage.events import EventFilter

StoredEvent: TypeAlias = storage.StoredEvent


async def get_event(context: Context, *, customer: str, source: str, event_id: str) -> StoredEvent:
    """The event of this identity. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        stored = await storage.find(connection, customer=customer, source=source, event_id=event_id)
    if stored is None:
        raise NotFound(kind="event", key=event_id)
    return stored


async def list_events(
    context: Context,
    *,
    customer: str | None,
    event_type: str | None,
    status: str | None,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[StoredEvent]:
    """Events by customer, then their own time, of which `end` is excluded; None stands for any."""
    wanted = EventFilter(customer, event_type, status, start, end)
    parts = decode_cursor(cursor, 4)
    after = None
    if parts is not None:
        after = (parts[0], _cursor_time(parts[1]), parts[2], parts[3])
    async with context.pool.connection() as connection:
        rows = await storage.page(connection, wanted, after=after, limit=limit + 1)
    return make_page(rows, limit, _cursor_of)


def _cursor_of(stored: StoredEvent) -> tuple[str, str, str, str]:
    customer, time, source, event_id = position_of(stored.event)
    return customer, format_instant(time), source, event_id


def _cursor_time(text: str) -> datetime:
    at = parse_instant(text)
    if at is None:
        raise invalid_cursor()
    return at
