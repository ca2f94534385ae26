"""Releasing quarantined events: what could not be billed when it came is billed once it can.

Owns the order of a release: under the lock that keeps terms as they are, each event is routed
anew; those that can be read now are accepted and counted exactly as if they came now, the others
keep waiting. Work is bounded: a transaction releases at most 20,000 events, `sweep` the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.routing import TOO_LATE, UNKNOWN_CUSTOMER, Reading, read
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.count import Counted, count_usage
from taximeter.services.epochs import counted_now
from taximeter.services.spending import limited_among
from taximeter.services.terms import CachedTerms
from taximeter.storage import events as storage
from taximeter.storage.events import EventFilter, Position, StoredEvent
from taximeter.storage.terms import current_meters, customer_terms, lock_changes

PORTION = 1_000
RELEASED_MAX = 20_000
EXAMINED_MAX = 50_000
ACTOR = "system"
_SEEN_ALL = 2**62

Meters = dict[str, tuple[Meter, ...]]


@dataclass(frozen=True, slots=True)
class Released:
    """How many events a release accepted, and how many of those meant still wait."""

    released: int
    still_quarantined: int


async def release_customer(transaction: Transaction, customer: str) -> int:
    """Release what waited for this customer or one of its subscriptions; how many events.

    The caller has called `note_change` first in its transaction.
    """
    return await _release(transaction, EventFilter(customer=customer), RELEASED_MAX)


async def release_type(transaction: Transaction, event_type: str) -> int:
    """Release what waited for a meter of this type; how many events.

    The caller has called `note_change` first in its transaction.
    """
    return await _release(transaction, EventFilter(type=event_type), RELEASED_MAX)


async def release(
    transaction: Transaction,
    *,
    customer: str | None = None,
    event_type: str | None = None,
    limit: int = RELEASED_MAX,
) -> Released:
    """Route quarantined events of this customer and type (None: of any) again and release up to
    `limit` of them, also those that waited for a change of a meter or a plan.
    """
    await lock_changes(transaction.connection, _SEEN_ALL)
    wanted = EventFilter(customer=customer, type=event_type)
    released = await _release(transaction, wanted, limit, others=True)
    left = await storage.count_quarantined(transaction.connection, wanted)
    detail = {"customer": customer, "type": event_type, "released": released}
    await transaction.audit("event.released", customer or event_type or "", detail)
    return Released(released, left)


async def sweep(context: Context) -> int:
    """Release, in transactions of 1,000 events, whatever waited for a customer, a meter or a
    subscription that is there now; how many events. Harmless to run again, or twice at once.
    """
    total = 0
    while True:
        released = await run(context, ACTOR, _sweep_portion)
        total += released
        if released == 0:
            return total


async def _sweep_portion(transaction: Transaction) -> int:
    await lock_changes(transaction.connection, _SEEN_ALL)
    return await _release(transaction, EventFilter(), PORTION)


async def _release(
    transaction: Transaction, wanted: EventFilter, limit: int, *, others: bool = False
) -> int:
    """Release up to `limit` events. They are counted in one go, so that each total and each wallet
    is touched once.
    """
    connection = transaction.connection
    meters: Meters = {}
    for meter in await current_meters(connection):
        meters[meter.event_type] = (*meters.get(meter.event_type, ()), meter)
    terms: dict[str, CachedTerms] = {}
    counted: list[Counted] = []
    examined, after = 0, None
    while len(counted) < limit and examined < EXAMINED_MAX:
        size = min(PORTION, limit - len(counted))
        portion = await storage.releasable(
            connection, wanted, metered=meters, others=others, after=after, limit=size
        )
        await _load(transaction, terms, portion)
        counted += await _accept(transaction, portion, terms, meters, late=others)
        examined += len(portion)
        if len(portion) < size:
            break
        after = position_of(portion[-1].event)
    if counted:
        limited = limited_among(cached.terms for cached in terms.values())
        await count_usage(transaction.context, connection, counted, limited)
    return len(counted)


def position_of(event: Event) -> Position:
    """Where an event stands in lists."""
    return event.customer, event.time, event.source, event.id


async def _load(
    transaction: Transaction, terms: dict[str, CachedTerms], portion: Sequence[StoredEvent]
) -> None:
    """Have the terms of these events' customers at hand, read in this transaction: the shared
    cache must not learn what is not committed yet.
    """
    missing = sorted({stored.event.customer for stored in portion} - terms.keys())
    if missing:
        found = await customer_terms(transaction.connection, missing)
        terms.update((key, CachedTerms(found.get(key))) for key in missing)


async def _accept(
    transaction: Transaction,
    portion: Sequence[StoredEvent],
    terms: dict[str, CachedTerms],
    meters: Meters,
    *,
    late: bool,
) -> list[Counted]:
    readable: dict[tuple[str, str, str], Counted] = {}
    reasons = []
    for event, _, reason, _ in portion:
        found = _route(event, terms[event.customer], meters, late=late and reason == TOO_LATE)
        identity = (event.customer, event.source, event.id)
        if not isinstance(found, str):
            readable[identity] = (event, found)
        elif found != reason:
            reasons.append((*identity, found))
    await storage.set_reasons(transaction.connection, reasons)
    at = await counted_now(transaction)
    accepted = await storage.accept(transaction.connection, list(readable), at)
    return [counted for identity, counted in readable.items() if identity in accepted]


def _route(
    event: Event, cached: CachedTerms, meters: Meters, *, late: bool
) -> tuple[Reading, ...] | str:
    """What is read in the event; `late`: whoever asks for its release takes it as late as it is."""
    if cached.terms is None:
        return UNKNOWN_CUSTOMER
    of_type = meters.get(event.type, ())
    routing = cached.routing(of_type, event.type, event.subscription, event.time)
    return read(routing, event, late=late)
