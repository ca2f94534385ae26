"""Taking events in: stored, deduplicated, counted, priced and charged in one transaction.

Owns the order of the ingest transaction and the status of each event. Doors (HTTP and others)
hand in events that `read_event` made; routing, folding and rating are the domain's.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec
from psycopg.errors import SerializationFailure

from taximeter.domain.metering.event import Event, InvalidEvent
from taximeter.domain.subscription.routing import UNKNOWN_CUSTOMER, Reading, read
from taximeter.kernel.errors import FieldError
from taximeter.services.allowance_alerts import tell_used
from taximeter.services.context import Connection, Context
from taximeter.services.count import Counted, Counting, send_usage, settle_usage
from taximeter.services.once import fresh_of
from taximeter.services.settle import NO_CAPTURES, Captures, Charge
from taximeter.services.sources import count_repeats
from taximeter.services.spending import Limited, limited_among
from taximeter.services.terms import Held
from taximeter.storage import events as event_storage
from taximeter.storage import idempotency
from taximeter.storage import ingestion as storage
from taximeter.storage.connection import answered
from taximeter.storage.idempotency import Key, StoredAnswer
from taximeter.storage.ingestion import Cursor, EventRow, Identity
from taximeter.storage.sources import add_repeats

Status = Literal["accepted", "duplicate", "quarantined", "conflict", "invalid", "refused"]
EVENT_BYTES_USUAL = 1024
CONFLICT = FieldError(
    "id",
    "conflict",
    "An event with this subject, source and id exists with other content; the first stays. "
    "Give new usage a new id.",
)


class IngestRequest(msgspec.Struct, frozen=True, gc=False):
    """One request's events, in its order. With `atomic` all are taken or none. `body_bytes` is the
    size of what they were read from. `late`: they may be older than their meters take.
    """

    events: Sequence[Event | InvalidEvent]
    atomic: bool = False
    idempotency: Key | None = None
    body_bytes: int = 0
    late: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What became of the event at `index` of its request."""

    index: int
    id: str | None
    status: Status
    error: FieldError | None


class IngestAnswer(msgspec.Struct, frozen=True, gc=False):
    """How many of a request's `events` were plainly accepted, and what became of the others.

    `refused`: it was atomic, and nothing was taken; `replay`: it is the first answer to this
    idempotency key, given again; `reused_key`: the key belongs to another request, and nothing
    was taken.
    """

    accepted: int
    others: Sequence[Outcome]
    refused: bool = False
    replay: bool = False
    reused_key: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(IngestAnswer).decode


class _Staged(msgspec.Struct, frozen=True, gc=False):
    event: Event
    reason: str | None
    readings: tuple[Reading, ...]


def weight_of(request: IngestRequest) -> int:
    """What a request weighs in the committer's queue: its events, of up to 1 KiB each. Large ones
    weigh more, so that the queue and a transaction are bounded in memory, too.
    """
    return max(1, len(request.events), request.body_bytes // EVENT_BYTES_USUAL)


async def commit_requests(
    context: Context, connection: Connection, requests: Sequence[IngestRequest]
) -> list[IngestAnswer]:
    """The body of one ingest transaction: one answer for each request, in order. A request whose
    idempotency key was used before (in this batch, too) gets the first answer.
    """
    if all(request.idempotency is None for request in requests):
        return await commit_events(context, connection, requests)
    keys = [request.idempotency for request in requests if request.idempotency is not None]
    stored = await idempotency.find_answers(connection, keys)
    fresh, firsts = fresh_of([request.idempotency for request in requests], stored)
    found = await commit_events(context, connection, [requests[number] for number in fresh])
    answers = dict(zip(fresh, found, strict=True))
    at = context.clock.now()
    for (scope, name), number in firsts.items():
        key = requests[number].idempotency
        assert key is not None
        body = _encode(answers[number])
        if not await idempotency.store_answer(connection, key, 200, body, at):
            raise SerializationFailure("the idempotency key was used meanwhile")
        stored[scope, name] = StoredAnswer(key.request_digest, 200, body)
    for number, request in enumerate(requests):
        if number not in answers:
            key = request.idempotency
            assert key is not None
            answers[number] = _again(key, stored[key.scope, key.key])
    return [answers[number] for number in range(len(requests))]


def _again(key: Key, first: StoredAnswer) -> IngestAnswer:
    if first.request_digest != key.request_digest:
        return IngestAnswer(0, (), reused_key=True)
    answer = _decode(first.body)
    return IngestAnswer(answer.accepted, answer.others, answer.refused, replay=True)


async def commit_events(
    context: Context, connection: Connection, requests: Sequence[IngestRequest]
) -> list[IngestAnswer]:
    """Take the events of these requests in: one answer for each request, in order."""
    return (await take_events(context, connection, requests, NO_CAPTURES))[0]


async def take_events(
    context: Context,
    connection: Connection,
    requests: Sequence[IngestRequest],
    captures: Captures,
) -> tuple[list[IngestAnswer], Sequence[Charge]]:
    """Take the events of these requests in, for holds that they capture: one answer for each
    request, in order, and what was charged.
    """
    events = [e for r in requests for e in r.events if type(e) is Event]
    asking = await context.terms.send_hold(connection, {event.customer for event in events})
    held, guessed = asking.guess, True
    if held is None or any(request.atomic for request in requests):
        (held, _), guessed = await context.terms.held(connection, asking), False
    archived = any(cached.archived for cached in held.customers.values())
    refused = await _refused_atomic(connection, requests, archived=archived)
    # As a rule the terms are as they were, and all events are new: they are priced and counted on
    # that hope in the same round trip, undone where it is in vain.
    sent = await _send(context, connection, requests, held, refused)
    if guessed and sent.staged:
        held, guessed = await context.terms.held(connection, asking)
        if not guessed:
            await storage.undo_events(connection)
            sent = await _send(context, connection, requests, held, refused)
    return await _settle(context, connection, requests, sent, captures)


class _Sent(NamedTuple):
    """Events as they were staged, and sent to be counted; `inserted` tells how many were new."""

    staged: Mapping[Identity, _Staged]
    rows: Sequence[EventRow]
    inserted: Cursor | None
    counted: Sequence[Counted]
    counting: Counting | None
    limited: Limited
    archived: bool
    refused: Mapping[int, dict[Identity, str]]
    meters_since: datetime


async def _send(
    context: Context,
    connection: Connection,
    requests: Sequence[IngestRequest],
    held: Held,
    refused: Mapping[int, dict[Identity, str]],
) -> _Sent:
    """Insert the events of the requests that are not refused, and count them as if all were new."""
    staged: dict[Identity, _Staged] = {}
    for number, request in enumerate(requests):
        if number in refused:
            continue
        for event in request.events:
            if type(event) is Event:
                identity = (event.customer, event.source, event.id)
                if identity not in staged:
                    staged[identity] = _stage(held, event, late=request.late)
    rows = [EventRow(staged[key].event, staged[key].reason) for key in sorted(staged)]
    counted = [(s.event, s.readings) for s in staged.values() if s.reason is None]
    limited = limited_among(cached.terms for cached in held.customers.values())
    archived = any(cached.archived for cached in held.customers.values())
    inserted = counting = None
    if rows:
        inserted = await storage.send_events(connection, rows, archived=archived)
        counting = await send_usage(context, connection, counted, limited)
        await answered(connection)
    return _Sent(
        staged, rows, inserted, counted, counting, limited, archived, refused, held.meters_since
    )


async def _settle(
    context: Context,
    connection: Connection,
    requests: Sequence[IngestRequest],
    sent: _Sent,
    captures: Captures,
) -> tuple[list[IngestAnswer], Sequence[Charge]]:
    """Charge for what was sent. Where not all of it was new, what was is counted once more."""
    staged, rows, counted, limited = sent.staged, sent.rows, sent.counted, sent.limited
    new: Collection[Identity] = staged.keys()
    digests: dict[Identity, str] = {}
    charges: Sequence[Charge] = ()
    if sent.inserted is not None and sent.counting is not None:
        counting = sent.counting
        if sent.inserted.rowcount < len(rows):
            new = await storage.insert_again(connection, rows, archived=sent.archived)
            digests = await storage.stored_digests(
                connection, staged.keys() - new, archived=sent.archived
            )
            counted = [
                (s.event, s.readings)
                for identity, s in staged.items()
                if s.reason is None and identity in new
            ]
            counting = await send_usage(context, connection, counted, limited)
        await _note_counted(connection, counted, sent.meters_since)
        counting = counting._replace(captures=captures)
        charges = await settle_usage(context, connection, counting)
        if limited:
            await tell_used(context, connection, limited, counted)
    if len(counted) == sum(len(request.events) for request in requests):
        return [IngestAnswer(len(request.events), ()) for request in requests], charges
    found = _answers(requests, staged, new, digests, sent.refused)
    if repeats := count_repeats(_repeated(requests, found)):
        await add_repeats(connection, repeats)
    return found, charges


async def _note_counted(
    connection: Connection, counted: Sequence[Counted], meters_since: datetime
) -> None:
    """Let new events that were received before the meters last changed, or in that very instant,
    say that they were read after it.
    """
    earlier = [event for event, _ in counted if event.received_at <= meters_since]
    if earlier:
        identities = [(event.customer, event.source, event.id) for event in earlier]
        await event_storage.set_counted_at(connection, identities, meters_since)


def _repeated(
    requests: Sequence[IngestRequest], answers: Sequence[IngestAnswer]
) -> Iterator[tuple[Event, Status]]:
    """The events that were there already, each with what became of it."""
    for request, answer in zip(requests, answers, strict=True):
        for other in answer.others:
            event = request.events[other.index]
            if type(event) is Event and other.status in ("duplicate", "conflict"):
                yield event, other.status


def _answers(
    requests: Sequence[IngestRequest],
    staged: Mapping[Identity, _Staged],
    new: Collection[Identity],
    digests: dict[Identity, str],
    refused: Mapping[int, dict[Identity, str]],
) -> list[IngestAnswer]:
    seen: set[Identity] = set()
    answers = []
    for number, request in enumerate(requests):
        if number in refused:
            answers.append(_refusal(request, refused[number]))
            continue
        others = [
            outcome
            for index, event in enumerate(request.events)
            if (outcome := _outcome(index, event, staged, new, digests, seen)) is not None
        ]
        if request.atomic and any(outcome.status == "conflict" for outcome in others):
            raise SerializationFailure("another process stored one of these events meanwhile")
        answers.append(IngestAnswer(len(request.events) - len(others), others))
    return answers


def _stage(held: Held, event: Event, *, late: bool) -> _Staged:
    cached = held.customers[event.customer]
    if cached.terms is None:
        return _Staged(event, UNKNOWN_CUSTOMER, ())
    meters = held.meters.get(event.type, ())
    routing = cached.routing(meters, event.type, event.subscription, event.time)
    readings = read(routing, event, late=late)
    if isinstance(readings, str):
        return _Staged(event, readings, ())
    return _Staged(event, None, readings)


def _outcome(
    index: int,
    event: Event | InvalidEvent,
    staged: Mapping[Identity, _Staged],
    new: Collection[Identity],
    digests: dict[Identity, str],
    seen: set[Identity],
) -> Outcome | None:
    """What became of an event; None where it was plainly accepted."""
    if type(event) is InvalidEvent:
        return Outcome(index, event.id, "invalid", event.error)
    assert type(event) is Event
    identity = (event.customer, event.source, event.id)
    first = staged[identity]
    if identity in new and identity not in seen:
        seen.add(identity)
        if first.reason is None:
            return None
        error = FieldError("", first.reason, REASONS[first.reason])
        return Outcome(index, event.id, "quarantined", error)
    digest = first.event.digest if identity in new else digests[identity]
    if digest == event.digest:
        return Outcome(index, event.id, "duplicate", None)
    return Outcome(index, event.id, "conflict", CONFLICT)


REASONS = {
    UNKNOWN_CUSTOMER: "There is no such customer yet; the event is released when it is created.",
    "no_meter": "No meter reads this type yet; the event is released when one does.",
    "unknown_subscription": "The customer has no such subscription; released when it exists.",
    "too_late": "It was older than its meter's late_limit when it came. Release it by "
    "POST /v1/events/release, or void it.",
    "missing_value": "The property that a meter of this type reads is missing.",
    "non_numeric_value": "The property that a meter of this type reads is not a number.",
    "negative_value": "The metered value is negative and the meter does not allow that.",
    "uncomputable_value": "The meter's expression divides by zero, or its result is too big.",
    "invalid_dimension": "A dimension is an object or an array, or is too long.",
    "unmatched_dimension": "No rate of a price matches the event's dimensions.",
    "missing_outcome": "A price bills confirmed outcomes only, and the event's data has no "
    "outcome_id (text of 1 to 256 characters): it could never be confirmed.",
    "missing_cost": "A price adds to what the event cost, and data.cost is missing.",
    "invalid_cost": "data.cost is not a number of 0 or more, nor an amount with its asset.",
    "other_asset_cost": "data.cost is in another asset than the price.",
}


async def _refused_atomic(
    connection: Connection, requests: Sequence[IngestRequest], *, archived: bool
) -> dict[int, dict[Identity, str]]:
    """Which atomic requests hold an event in conflict or an invalid one, with what is stored."""
    atomic = [e for r in requests if r.atomic for e in r.events if type(e) is Event]
    if not atomic and not any(request.atomic for request in requests):
        return {}
    stored = await storage.stored_digests(
        connection,
        {(event.customer, event.source, event.id) for event in atomic},
        archived=archived,
    )
    refused: dict[int, dict[Identity, str]] = {}
    known = dict(stored)
    for number, request in enumerate(requests):
        before = dict(known)
        bad = False
        for event in request.events:
            if type(event) is Event:
                identity = (event.customer, event.source, event.id)
                bad |= known.setdefault(identity, event.digest) != event.digest
            else:
                bad = True
        if request.atomic and bad:
            refused[number] = before
            known = before
    return refused


def _refusal(request: IngestRequest, known: dict[Identity, str]) -> IngestAnswer:
    """Why an atomic request was refused: its invalid events and those in conflict."""
    others = []
    mine = dict(known)
    for index, event in enumerate(request.events):
        if type(event) is InvalidEvent:
            others.append(Outcome(index, event.id, "invalid", event.error))
        elif type(event) is Event:
            identity = (event.customer, event.source, event.id)
            if mine.setdefault(identity, event.digest) != event.digest:
                others.append(Outcome(index, event.id, "conflict", CONFLICT))
    return IngestAnswer(0, others, refused=True)
