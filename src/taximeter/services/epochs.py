"""Reading a stored event as it was read when it was counted.

Owns which versions of the meters that were: a meter changes by a new version, and what was counted
keeps its own. Whoever counts usage again, or explains it, reads events by this.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import (
    UNKNOWN_CUSTOMER,
    UNKNOWN_SUBSCRIPTION,
    Reading,
    read,
)
from taximeter.services.command import Transaction
from taximeter.services.terms import CachedTerms
from taximeter.storage.events import StoredEvent
from taximeter.storage.meters import changed_at


class Epoch(NamedTuple):
    """From when on which versions of the meters count, by event type, and the terms that route
    what they read. No two events, of which one was counted before a change of a meter and the other
    after it, say that they were counted at the same instant.
    """

    start: datetime
    meters: Mapping[str, tuple[Meter, ...]]
    terms: CachedTerms


async def counted_now(transaction: Transaction) -> datetime:
    """As of when the meters read what the transaction, which keeps their changes out, counts."""
    return max(transaction.at, await changed_at(transaction.connection))


def epochs_of(terms: CustomerTerms, versions: Sequence[tuple[datetime, Meter]]) -> list[Epoch]:
    """The epochs, the last one first. What came before a meter was made waited for it, and was
    counted by its first version.
    """
    starts = {counts_from for counts_from, meter in versions if meter.version > 1}
    epochs = []
    for start in [*sorted(starts, reverse=True), datetime.min.replace(tzinfo=UTC)]:
        current: dict[str, Meter] = {}
        for counts_from, meter in versions:
            if meter.version == 1 or counts_from <= start:
                current[meter.key] = meter
        meters: dict[str, tuple[Meter, ...]] = {}
        for meter in current.values():
            meters[meter.event_type] = (*meters.get(meter.event_type, ()), meter)
        epochs.append(Epoch(start, meters, CachedTerms(terms)))
    return epochs


def read_as_counted(
    epochs: Sequence[Epoch], terms: CustomerTerms, stored: StoredEvent
) -> tuple[Reading, ...] | str:
    """What the meters read in an event by the versions that were in force when it could first
    count; where these could not read it, by the next that can: it was released when they came.
    A reason where none can.
    """
    event, at = stored.event, _counted_from(terms, stored)
    readings: tuple[Reading, ...] | str = ()
    own = next(n for n, epoch in enumerate(epochs) if epoch.start <= at)
    for epoch in reversed(epochs[: own + 1]):
        meters = epoch.meters.get(event.type, ())
        routing = epoch.terms.routing(meters, event.type, event.subscription, event.time)
        readings = read(routing, event, counted=True)
        if not isinstance(readings, str):
            break
    return readings


def read_when_counted(
    since: Mapping[str, datetime], stored: StoredEvent, readings: Sequence[Reading]
) -> list[Reading]:
    """Of what meters read in an event, what those read that were there when it counted first;
    `since` says from when on each meter counts. A price counts again what came before its meter,
    hours and levels do not.
    """
    at = stored.counted_at or stored.event.received_at
    waited = (
        stored.reason is not None and stored.counted_at is None
    )  # released before that was kept
    return [reading for reading in readings if waited or since[reading[0].meter.key] <= at]


def _counted_from(terms: CustomerTerms, stored: StoredEvent) -> datetime:
    """Since when the event could count: when it was received, or what it waited for was made."""
    if stored.counted_at is not None:
        return stored.counted_at
    event, at = stored.event, stored.event.received_at
    if stored.reason == UNKNOWN_CUSTOMER:
        return max(at, terms.customer.created_at)
    if stored.reason == UNKNOWN_SUBSCRIPTION:
        named = [s for s in terms.subscriptions if event.subscription in (s.id, s.key)]
        return max(at, min((one.created_at for one in named), default=at))
    return at
