"""Corrections of events: void what should never have been sent, amend what was sent wrong.

Owns what may be corrected, and the trail: an event's row is the event as it counts now, and what
it was before stays readable. Usage, wallets, budgets and open invoices follow in the same
transaction; what is finalized is adjusted by the next invoice. The digest of the first content
stays, so that sending it again is a duplicate for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taximeter.domain.metering.correction import amended
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import UNKNOWN_CUSTOMER, read
from taximeter.kernel.errors import Invalid, InvalidState, NotFound
from taximeter.services import archive
from taximeter.services.command import Transaction
from taximeter.services.correct_usage import Change, correct_usage
from taximeter.services.epochs import counted_now, epochs_of
from taximeter.services.events import ShownEvent, shown_event
from taximeter.storage import corrections as storage
from taximeter.storage.corrections import CorrectionRow, Kind
from taximeter.storage.events import StoredEvent
from taximeter.storage.ingestion import Identity
from taximeter.storage.terms import customer_terms, keep_out, meter_versions


@dataclass(frozen=True, slots=True)
class Why:
    """Who corrects events, and why; by which backfill, if by one."""

    kind: Kind
    reason: str
    backfill: str | None = None


async def void_event(transaction: Transaction, identity: Identity, reason: str) -> ShownEvent:
    """Let an event count nowhere; its identity stays taken. Voiding it again changes nothing.

    Raises `NotFound`, and `Invalid` (see `correct_usage`).
    """
    terms, stored = await _open(transaction, identity)
    if stored.status != "void":
        after = stored._replace(status="void")
        await correct(transaction, terms, [Change(stored, after)], Why("void", reason))
        await _audit(transaction, "event.voided", identity, reason)
    return await shown_event(transaction.connection, identity)


async def amend_event(
    transaction: Transaction, identity: Identity, change: Mapping[str, object], reason: str
) -> ShownEvent:
    """Let an event count by what `change` says of its `time`, `path` and `data` (as decoded from
    JSON). What it says already changes nothing. A quarantined event that can be read now is
    accepted.

    Raises `NotFound`, `InvalidState` for a void event, and `Invalid` for what no event may say, or
    what could not be billed.
    """
    terms, stored = await _open(transaction, identity)
    if stored.status == "void":
        raise InvalidState(kind="event", state="void", step="amended")
    event = amended(stored.event, change, transaction.at)
    if not isinstance(event, Event):
        raise Invalid([event])
    if event != stored.event:
        after = stored._replace(event=event)
        if stored.status == "quarantined":
            after = await routed(transaction, terms, after)
        await correct(transaction, terms, [Change(stored, after)], Why("amend", reason))
        await _audit(transaction, "event.amended", identity, reason)
    return await shown_event(transaction.connection, identity)


async def _open(
    transaction: Transaction, identity: Identity
) -> tuple[CustomerTerms | None, StoredEvent]:
    """The customer's terms and the event, locked, with all else kept out."""
    customer, source, event_id = identity
    await keep_out(transaction.connection)
    terms = (await customer_terms(transaction.connection, [customer])).get(customer)
    await archive.recall(transaction.connection, [identity])
    found = await storage.lock(transaction.connection, customer, [(source, event_id)])
    if not found:
        raise NotFound(kind="event", key=event_id)
    return terms, found[0]


async def _audit(transaction: Transaction, action: str, identity: Identity, reason: str) -> None:
    customer, source, event_id = identity
    detail = {"customer": customer, "source": source, "reason": reason}
    await transaction.audit(action, event_id, detail)


async def routed(
    transaction: Transaction,
    terms: CustomerTerms | None,
    stored: StoredEvent,
    *,
    late: bool = False,
) -> StoredEvent:
    """What becomes of an event in quarantine by what it says now; `late`: however late it came."""
    if terms is None:
        return stored._replace(reason=UNKNOWN_CUSTOMER)
    now = epochs_of(terms, await meter_versions(transaction.connection))[0]
    event = stored.event
    meters = now.meters.get(event.type, ())
    routing = now.terms.routing(meters, event.type, event.subscription, event.time)
    found = read(routing, event, late=late)
    if isinstance(found, str):
        return stored._replace(reason=found)
    return stored._replace(status="accepted", counted_at=await counted_now(transaction))


async def correct(
    transaction: Transaction, terms: CustomerTerms | None, changes: Sequence[Change], why: Why
) -> None:
    """Write these changes of a customer's events, which are locked, with what stood before, and
    let all usage follow. The caller keeps ingestion out.

    Raises `Invalid` (see `correct_usage`).
    """
    connection = transaction.connection
    await storage.insert(connection, [_row(transaction, one.before, why) for one in changes])
    for step in _steps(changes):
        await storage.write(connection, [one.after for one in step])
        if any("accepted" in (one.before.status, one.after.status) for one in step):
            assert terms is not None, "an event of an unknown customer is never accepted"
            charged_at = None
            if len(step) == 1:
                before = step[0].before
                charged_at = before.counted_at or before.event.received_at
            await correct_usage(transaction, terms, step, charged_at)


def _steps(changes: Sequence[Change]) -> list[Sequence[Change]]:
    """The changes as steps. An amount that moves from one path to another is given back at the
    first before it is charged at the second: its total does not change.
    """
    moved = [one for one in changes if one.before.event.path != one.after.event.path]
    if not moved:
        return [changes]
    gone = {id(one): one.before._replace(status="void") for one in moved}
    first = [one if id(one) not in gone else Change(one.before, gone[id(one)]) for one in changes]
    return [first, [Change(gone[id(one)], one.after) for one in moved]]


def _row(transaction: Transaction, before: StoredEvent, why: Why) -> CorrectionRow:
    event = before.event
    return CorrectionRow(
        event.customer, event.source, event.id, why.kind, transaction.at, transaction.actor,
        why.reason, why.backfill, before.status, before.reason, event.time, event.path, event.data,
        before.counted_at,
    )  # fmt: skip
