"""Applying and reverting backfills: customer by customer, in transactions of bounded size.

Owns the order of the steps and how they are resumed. A customer with up to 2,000 events to change
is changed in one transaction, another in several; what is archived is brought back before, while
ingestion goes on; what was done is known by the rows themselves,
so a process that dies in between loses nothing and nothing is done twice. A customer with whom it
cannot be done stops none of the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from taximeter.domain.metering.backfill import Backfill, BackfillState
from taximeter.domain.metering.event import Event
from taximeter.kernel.errors import FieldError, Invalid, Unavailable
from taximeter.kernel.times import Period
from taximeter.services.archive import recall
from taximeter.services.archive_run import Files, bring_back, files_of
from taximeter.services.backfills import BackfillView, about, get_backfill, locked
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.correct_usage import Change
from taximeter.services.corrections import Why, correct, routed
from taximeter.services.epochs import counted_now
from taximeter.services.ingest import IngestRequest, take_events
from taximeter.services.settle import NO_CAPTURES
from taximeter.storage import backfills as storage
from taximeter.storage import corrections as correction_storage
from taximeter.storage.backfills import Counts, Failure
from taximeter.storage.erasure import goes_on
from taximeter.storage.events import StoredEvent
from taximeter.storage.terms import customer_terms, keep_out

PORTION = 2_000
PORTIONS_PER_CALL = 20
BROUGHT_BACK_MAX = 3

# Customers with whom it failed are passed over until there is nobody else left.
APPLIED_FROM = ("pending",)
REVERTED_FROM = ("pending", "applied")

# What was loaded, or stood before, would come back to where the erasure has been already.
_BEING_ERASED = FieldError(
    "customer", "being_erased",
    "An erasure of this customer goes on. Ask for the backfill again when it has finished.",
)  # fmt: skip

# Does up to a portion for one customer: what it did, and whether that was all.
Work = Callable[[Transaction, Backfill, str], Awaitable[tuple[Counts, bool]]]


class _Way(NamedTuple):
    """How customers get from one of the states `before` to the state `after`, while the backfill is
    in the state `ongoing`. Where `recalling` says so all their archived events of the span are
    brought back first.
    """

    work: Work
    ongoing: str
    before: Sequence[str]
    after: str
    recalling: Callable[[Backfill], bool]


class _Away(NamedTuple):
    """A customer whose events of the span may be archived."""

    customer: str
    span: Period


def recalls(one: Backfill) -> bool:
    """Whether applying it changes events that may be archived."""
    return one.replaces or one.kind == "meter"


async def apply(
    context: Context, actor: str, backfill_id: str, portions: int = PORTIONS_PER_CALL
) -> BackfillView:
    """Apply a backfill, up to so many portions of it: asked for again it goes on, until it is
    `applied`, or `incomplete` where it could not be with some customers, which `failures` explain;
    those are tried again the next time.

    Raises `NotFound`, `InvalidState`.
    """

    async def begin(transaction: Transaction) -> bool:
        one = await locked(transaction, backfill_id, "apply")
        if one.state == "applied":
            return False
        if one.state == "open":
            await storage.begin(transaction.connection, one)
            await transaction.audit("backfill.applied", one.id, about(one))
        if one.state != "applying":
            await storage.try_again(transaction.connection, one.id)
            await storage.set_state(transaction.connection, one.id, "applying", transaction.at)
        return True

    if await run(context, actor, begin):
        way = _Way(apply_portion, "applying", APPLIED_FROM, "applied", recalls)
        await _work_through(context, actor, backfill_id, portions, way)
    return await get_backfill(context, backfill_id)


async def revert(
    context: Context, actor: str, backfill_id: str, portions: int = PORTIONS_PER_CALL
) -> BackfillView:
    """Void what a backfill has added, and let what it has changed count as before; up to so many
    portions, as `apply`. What somebody corrected since is left alone.

    Raises `NotFound`, `InvalidState`.
    """

    async def begin(transaction: Transaction) -> bool:
        one = await locked(transaction, backfill_id, "revert")
        if one.state == "reverted":
            return False
        connection = transaction.connection
        if one.state != "reverting":
            await storage.try_again(connection, one.id)
            await storage.set_state(connection, one.id, "reverting", transaction.at)
            await transaction.audit("backfill.reverted", one.id, about(one))
        elif await storage.next_customer(connection, one.id, REVERTED_FROM) is None:
            await storage.try_again(connection, one.id)
        return True

    if await run(context, actor, begin):
        way = _Way(_revert_portion, "reverting", REVERTED_FROM, "reverted", lambda _: True)
        await _work_through(context, actor, backfill_id, portions, way)
    return await get_backfill(context, backfill_id)


async def _work_through(
    context: Context, actor: str, backfill_id: str, portions: int, way: _Way
) -> None:
    """Take customers along a way, or to the state `failed`."""
    customer: str | None = None
    back: dict[str, Files] = {}

    async def portion(transaction: Transaction) -> bool | _Away:
        nonlocal customer
        connection = transaction.connection
        await keep_out(connection)
        one = await storage.find(connection, backfill_id, lock=True)
        assert one is not None, "a backfill is never deleted"
        if one.state != way.ongoing:
            return False
        customer = await storage.next_customer(connection, one.id, way.before)
        if customer is None:
            await _end(transaction, one)
            return False
        if await goes_on(connection, customer):
            raise Invalid([_BEING_ERASED])
        if way.recalling(one) and not (
            await files_of(connection, customer, one.span) <= back.get(customer, frozenset())
        ):
            return _Away(customer, one.span)
        counts, done = await way.work(transaction, one, customer)
        state = way.after if done else "pending"
        await storage.note(connection, one.id, customer, state, counts)
        return True

    async def brought_portion() -> bool:
        for _ in range(BROUGHT_BACK_MAX):
            done = await run(context, actor, portion)
            if not isinstance(done, _Away):
                return done
            back.clear()
            back[done.customer] = await bring_back(context, actor, done.customer, done.span)
        return True

    for _ in range(portions):
        try:
            if not await brought_portion():
                return
        except (Invalid, Unavailable) as refused:
            assert customer is not None, "a customer's events were at fault"
            await _note_failure(context, actor, backfill_id, customer, fault_of(refused))


def fault_of(error: Invalid | Unavailable) -> FieldError:
    """Why it cannot be done with a customer: an event is at fault, or a file of the archive."""
    if isinstance(error, Invalid):
        return error.errors[0]
    return FieldError("customer", error.code, str(error))


async def _note_failure(
    context: Context, actor: str, backfill_id: str, customer: str, error: FieldError
) -> None:
    failure = Failure(customer, error.path, error.code, error.detail)

    async def note(transaction: Transaction) -> None:
        await storage.note(
            transaction.connection, backfill_id, customer, "failed", Counts(), failure
        )

    await run(context, actor, note)


async def _end(transaction: Transaction, one: Backfill) -> None:
    """Nothing is left to be tried."""
    failed = await storage.next_customer(transaction.connection, one.id, ["failed"])
    if one.state == "applying":
        state: BackfillState = "applied" if failed is None else "incomplete"
        await storage.set_state(transaction.connection, one.id, state, transaction.at)
    elif failed is None:
        await storage.set_state(transaction.connection, one.id, "reverted", transaction.at)


async def apply_portion(
    transaction: Transaction, one: Backfill, customer: str, size: int = PORTION
) -> tuple[Counts, bool]:
    """Apply a portion of a backfill to one customer: what is in the way first, then what was
    loaded. Ingestion is kept out, and none of that is archived.

    Raises `Invalid` where an event cannot be corrected.
    """
    until = one.started_at or transaction.at
    counts = Counts()
    left = size
    if recalls(one):
        found = await storage.in_the_way(transaction.connection, one, customer, until, left)
        counts = counts.plus(await _clear(transaction, one, customer, found))
        left -= len(found)
    if left > 0 and one.kind == "events":
        waiting = await storage.waiting_events(
            transaction.connection, one, customer, transaction.at, left
        )
        counts = counts.plus(await _bring(transaction, one, customer, waiting))
        left -= len(waiting)
    return counts, left > 0


async def _clear(
    transaction: Transaction, one: Backfill, customer: str, found: Sequence[StoredEvent]
) -> Counts:
    """Void events, or let them count by the newest version of the meters."""
    if not found:
        return Counts()
    if one.kind == "meter":
        at = await counted_now(transaction)
        changes = [Change(each, each._replace(counted_at=at)) for each in found]
        await _correct(transaction, customer, changes, Why("amend", one.reason, one.id))
        return Counts(amended=len(found))
    changes = [Change(each, each._replace(status="void")) for each in found]
    await _correct(transaction, customer, changes, Why("void", one.reason, one.id))
    return Counts(voided=len(found))


async def _correct(
    transaction: Transaction, customer: str, changes: Sequence[Change], why: Why
) -> None:
    terms = (await customer_terms(transaction.connection, [customer])).get(customer)
    await correct(transaction, terms, changes, why)


async def _bring(
    transaction: Transaction, one: Backfill, customer: str, waiting: Sequence[Event]
) -> Counts:
    """Take in what was loaded. With `replaces`, an event that is there already says from now on
    what was loaded; without, it stays.
    """
    connection = transaction.connection
    if not waiting:
        return Counts()
    terms = (await customer_terms(connection, [customer])).get(customer)
    names = [(event.source, event.id) for event in waiting]
    await recall(connection, [(customer, *name) for name in names])
    stored = {
        (each.event.source, each.event.id): each
        for each in await correction_storage.lock(connection, customer, names)
    }
    changes, outcomes, new = [], [], []
    for event in waiting:
        there = stored.get((event.source, event.id))
        if there is None:
            new.append(event)
            continue
        after = _amended(there, event) if one.replaces else None
        if after is not None and after != there:
            if there.status != "accepted":
                after = await routed(transaction, terms, after, late=True)
            changes.append(Change(there, after))
        same = there.event.digest == event.digest if after is None else after == there
        outcome = "amended" if after not in (None, there) else "duplicate" if same else "conflict"
        outcomes.append((event, outcome))
    if changes:
        await correct(transaction, terms, changes, Why("amend", one.reason, one.id))
    outcomes += await _take(transaction, new)
    await storage.set_outcomes(connection, one, customer, outcomes)
    told = [outcome for _, outcome in outcomes]
    return Counts(
        amended=len(changes), added=told.count("accepted"), quarantined=told.count("quarantined"),
        refused=told.count("conflict"),
    )  # fmt: skip


def _amended(there: StoredEvent, event: Event) -> StoredEvent | None:
    """The event that is there as it was loaded, one that does not count as if it waited for it;
    None where it is of another kind.
    """
    own = there.event
    if (own.type, own.subscription) != (event.type, event.subscription):
        return None
    said = replace_content(own, event)
    if said == own and there.status != "void":
        return there
    status = there.status if there.status == "accepted" else "quarantined"
    return there._replace(event=said, status=status)


def replace_content(own: Event, event: Event) -> Event:
    """`own` with the time, path and data of `event`."""
    return Event(
        own.customer, own.source, own.id, own.type, event.time, own.received_at, event.data,
        own.digest, event.path, own.subscription, own.attributes,
    )  # fmt: skip


async def _take(transaction: Transaction, events: Sequence[Event]) -> list[tuple[Event, str]]:
    """Take new events in, however late they are; with what became of each."""
    if not events:
        return []
    request = IngestRequest(events, late=True)
    (answer,), _ = await take_events(
        transaction.context, transaction.connection, [request], NO_CAPTURES
    )
    others = {other.index: other.status for other in answer.others}
    return [(event, others.get(index, "accepted")) for index, event in enumerate(events)]


async def _revert_portion(
    transaction: Transaction, one: Backfill, customer: str
) -> tuple[Counts, bool]:
    """Undo a portion of what was done to one customer. The counts stay those of what was done."""
    connection = transaction.connection
    brought = await storage.brought(connection, one, customer, PORTION)
    changes = [Change(each, each._replace(status="void")) for each in brought]
    corrected = await storage.corrected(connection, one, customer, PORTION - len(brought))
    changes += [Change(each.now, each.before) for each in corrected]
    if changes:
        await _correct(transaction, customer, changes, Why("restore", one.reason, one.id))
    return Counts(), len(changes) < PORTION
