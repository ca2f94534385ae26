"""Backfills: opening one, loading its events, discarding it, and how far it is.

Owns what a backfill may be about. Nothing that is loaded counts before it is applied, which
backfill_apply.py does; what that would do is backfill_preview.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from taximeter.domain.metering.backfill import Backfill, BackfillKind, Step
from taximeter.domain.metering.event import Event, InvalidEvent
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.times import Period
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.ingest import CONFLICT, IngestAnswer, Outcome
from taximeter.services.turn import Turn
from taximeter.storage import backfills as storage
from taximeter.storage.terms import current_meters

Progress: TypeAlias = storage.Progress
Counts: TypeAlias = storage.Counts
Failure: TypeAlias = storage.Failure

TYPES_MAX = 100
FAILURES_SHOWN_MAX = 100

one_at_a_time = Turn().taken


@dataclass(frozen=True, slots=True)
class NewBackfill:
    """What a backfill is to be about: events of `types`, or those that `meter` reads; until now
    where `end` is None.
    """

    kind: BackfillKind
    customer: str | None
    types: Sequence[str] | None
    meter: str | None
    start: datetime
    end: datetime | None
    replaces: bool
    reason: str


@dataclass(frozen=True, slots=True)
class BackfillView:
    """A backfill, and how far it is."""

    backfill: Backfill
    progress: Progress


async def create(transaction: Transaction, new: NewBackfill) -> BackfillView:
    """Open a backfill. Raises `Invalid` for an unknown meter, an empty span, and what does not go
    together.
    """
    end = new.end or transaction.at
    if new.start >= end:
        detail = "Say a time after that of from."
        raise Invalid([FieldError("to", "out_of_range", detail)])
    types = await _types(transaction.connection, new)
    one = Backfill(
        id=transaction.new_id("bf"), kind=new.kind, customer=new.customer, types=types,
        meter=new.meter, span=Period(new.start, end), replaces=new.replaces, reason=new.reason,
        state="open", actor=transaction.actor, created_at=transaction.at, started_at=None,
        ended_at=None,
    )  # fmt: skip
    await storage.insert(transaction.connection, one)
    await transaction.audit("backfill.created", one.id, about(one))
    return await view(transaction.connection, one)


def about(one: Backfill) -> dict[str, object]:
    """What the audit log says of a backfill."""
    return {"customer": one.customer, "reason": one.reason}


async def _types(connection: Connection, new: NewBackfill) -> tuple[str, ...]:
    if (new.types is None) == (new.meter is None) or (new.kind == "meter" and new.meter is None):
        detail = "Say event_types, or the meter that reads them; of kind meter say the meter."
        raise Invalid([FieldError("meter", "conflicting_fields", detail)])
    if new.kind == "meter" and new.replaces:
        detail = "Of kind meter nothing is loaded that could replace anything. Leave it out."
        raise Invalid([FieldError("replace", "conflicting_fields", detail)])
    if new.types is not None:
        return tuple(dict.fromkeys(new.types))
    for meter in await current_meters(connection):
        if meter.key == new.meter:
            return (meter.event_type,)
    raise Invalid([FieldError("meter", "unknown_meter", "There is no such meter.")])


async def load(
    transaction: Transaction, backfill_id: str, events: Sequence[Event | InvalidEvent]
) -> IngestAnswer:
    """Load events; nothing is counted. The same event again is a duplicate, with other content a
    conflict; one that the backfill is not about is invalid.

    Raises `NotFound`, and `InvalidState` where it is not open.
    """
    connection = transaction.connection
    one = await storage.find(connection, backfill_id, share=True)
    if one is None:
        raise NotFound(kind="backfill", key=backfill_id)
    one.check("load")
    strangers = {
        index: error
        for index, event in enumerate(events)
        if (error := _error_of(one, event)) is not None
    }
    own = [event for event in events if isinstance(event, Event)]
    first: dict[tuple[str, str, str], Event] = {}
    for index, event in enumerate(events):
        if isinstance(event, Event) and index not in strangers:
            first.setdefault((event.customer, event.source, event.id), event)
    new = await storage.stage(connection, one.id, list(first.values()))
    digests = await storage.staged_digests(connection, one.id, own)
    others = []
    for index, event in enumerate(events):
        if (error := strangers.get(index)) is not None:
            others.append(Outcome(index, event.id, "invalid", error))
            continue
        assert isinstance(event, Event), "another one is invalid"
        identity = (event.customer, event.source, event.id)
        if identity in new and first[identity] is event:
            continue
        same = digests[identity] == event.digest
        others.append(
            Outcome(index, event.id, *(("duplicate", None) if same else ("conflict", CONFLICT)))
        )
    return IngestAnswer(len(events) - len(others), others)


def _error_of(one: Backfill, event: Event | InvalidEvent) -> FieldError | None:
    return event.error if isinstance(event, InvalidEvent) else one.stranger(event)


async def locked(transaction: Transaction, backfill_id: str, step: Step) -> Backfill:
    """The backfill, locked, with which this step is taken. Raises `NotFound`, `InvalidState`."""
    one = await storage.find(transaction.connection, backfill_id, lock=True)
    if one is None:
        raise NotFound(kind="backfill", key=backfill_id)
    one.check(step)
    return one


async def discard(transaction: Transaction, backfill_id: str) -> BackfillView:
    """Forget a backfill that was not applied; doing so again changes nothing.

    Raises `NotFound`, `InvalidState`.
    """
    connection = transaction.connection
    one = await locked(transaction, backfill_id, "discard")
    if one.state != "discarded":
        await storage.discard_events(connection, one.id)
        await storage.set_state(connection, one.id, "discarded", transaction.at)
        await transaction.audit("backfill.discarded", one.id, about(one))
        one = replace(one, state="discarded", ended_at=transaction.at)
    return await view(connection, one)


async def view(connection: Connection, one: Backfill) -> BackfillView:
    """The backfill, and how far it is."""
    return BackfillView(one, await storage.progress(connection, one.id, FAILURES_SHOWN_MAX))


async def get_backfill(context: Context, backfill_id: str) -> BackfillView:
    """The backfill of this id. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        one = await storage.find(connection, backfill_id)
        if one is None:
            raise NotFound(kind="backfill", key=backfill_id)
        return await view(connection, one)


async def list_backfills(
    context: Context, *, customer: str | None, limit: int, cursor: str | None
) -> Page[BackfillView]:
    """Backfills (that are about this customer alone), the newest first."""
    before = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, customer=customer, before=before[0] if before else None, limit=limit + 1
        )
        found = make_page(rows, limit, lambda one: (one.id,))
        return Page([await view(connection, one) for one in found.rows], found.next_cursor)
