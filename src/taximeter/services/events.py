"""Reading events as they were stored, and what each in quarantine may be worth. Taking them in is
ingest.py, releasing them release.py, adding up what waits quarantine.py.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.at_stake import Stake, at_stake
from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, invalid_cursor, make_page
from taximeter.kernel.times import format_instant, parse_instant
from taximeter.services import archive
from taximeter.services.context import Connection, Context
from taximeter.services.release import position_of
from taximeter.services.terms import CachedTerms
from taximeter.storage import corrections
from taximeter.storage import events as storage
from taximeter.storage.events import EventFilter, Identity
from taximeter.storage.terms import current_meters, customer_terms

StoredEvent: TypeAlias = storage.StoredEvent
Correction: TypeAlias = corrections.Correction


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event, where it is quarantined what it may be worth, price by price, and where it is read
    alone its corrections.
    """

    stored: StoredEvent
    stakes: Sequence[Stake] = ()
    corrections: Sequence[Correction] | None = None


async def get_event(context: Context, *, customer: str, source: str, event_id: str) -> ShownEvent:
    """The event of this identity. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        return await shown_event(connection, (customer, source, event_id))


async def shown_event(connection: Connection, identity: Identity) -> ShownEvent:
    """The event of this identity, with its corrections. Raises `NotFound`."""
    customer, source, event_id = identity
    stored = await archive.find_event(
        connection, customer=customer, source=source, event_id=event_id
    )
    if stored is None:
        raise NotFound(kind="event", key=event_id)
    shown = (await with_stakes(connection, [stored]))[0]
    return replace(shown, corrections=await corrections.of_event(connection, identity))


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
) -> Page[ShownEvent]:
    """Events by customer, then their own time, of which `end` is excluded; None stands for any."""
    wanted = EventFilter(customer, event_type, status, start, end)
    parts = decode_cursor(cursor, 4)
    after = None
    if parts is not None:
        after = (parts[0], _cursor_time(parts[1]), parts[2], parts[3])
    async with context.pool.connection() as connection:
        rows = await archive.event_page(connection, wanted, after=after, limit=limit + 1)
        shown = await with_stakes(connection, rows)
    return make_page(shown, limit, _cursor_of)


async def with_stakes(connection: Connection, rows: Sequence[StoredEvent]) -> list[ShownEvent]:
    """The events, with what is at stake."""
    return await Stakes(connection).shown(rows)


class Stakes:
    """What is at stake in pages of events, which come by customer: meters are read once, the terms
    of a customer as long as its events go on. Belongs to a transaction that sees one snapshot.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._meters: dict[str, tuple[Meter, ...]] | None = None
        self._terms: dict[str, CachedTerms | None] = {}

    async def shown(self, rows: Sequence[StoredEvent]) -> list[ShownEvent]:
        """These events, with what is at stake in each that is quarantined."""
        waiting = {one.event.customer for one in rows if one.status == "quarantined"}
        await self.load(waiting)
        return [
            ShownEvent(one, self._of_event(one.event))
            if one.status == "quarantined"
            else ShownEvent(one)
            for one in rows
        ]

    def _of_event(self, event: Event) -> Sequence[Stake]:
        return self.of(event.customer, event.type, event.subscription, event.time, event.data)

    async def load(self, customers: Set[str]) -> None:
        """Have the terms of these customers at hand, and of no others."""
        if not customers:
            return
        if self._meters is None:
            self._meters = {}
            for meter in await current_meters(self._connection):
                of_type = self._meters.get(meter.event_type, ())
                self._meters[meter.event_type] = (*of_type, meter)
        terms = {key: self._terms[key] for key in customers if key in self._terms}
        missing = sorted(customers - terms.keys())
        if missing:
            known = await customer_terms(self._connection, missing)
            terms |= {key: CachedTerms(known[key]) if key in known else None for key in missing}
        self._terms = terms

    def of(
        self, customer: str, kind: str, subscription: str | None, at: datetime,
        data: Mapping[str, Any],
    ) -> Sequence[Stake]:  # fmt: skip
        """What is at stake in an event of a customer whose terms are at hand."""
        terms = self._terms[customer]
        if terms is None:
            return ()
        assert self._meters is not None, "they are read with the first terms"
        return at_stake(terms.routing(self._meters.get(kind, ()), kind, subscription, at), data)


def _cursor_of(shown: ShownEvent) -> tuple[str, str, str, str]:
    customer, time, source, event_id = position_of(shown.stored.event)
    return customer, format_instant(time), source, event_id


def _cursor_time(text: str) -> datetime:
    at = parse_instant(text)
    if at is None:
        raise invalid_cursor()
    return at
