"""What prices usage, cached: meters, plan versions, customers and their subscriptions.

Owns the cache and its one rule: `hold` runs inside the transaction that prices, and locks
`cache_change` against writers, so what was committed before is seen and a stale entry can
delay but never misprice. Bounded: the customers used longest ago are dropped.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Routing, routing_at
from taximeter.storage import terms as storage
from taximeter.storage.ingestion import Connection, Cursor
from taximeter.storage.meters import changed_at

CUSTOMERS_MAX = 50_000
ROUTINGS_MAX = 64
NAMES_MAX = 1024


class CachedTerms:
    """One customer's terms (None: no such customer) and the routings computed from them."""

    __slots__ = ("archived", "routings", "terms")

    def __init__(self, terms: CustomerTerms | None) -> None:
        self.terms = terms
        self.archived = terms is not None and terms.customer.archived
        self.routings: dict[tuple[str, str | None], list[Routing]] = {}

    def routing(
        self, meters: tuple[Meter, ...], kind: str, subscription: str | None, at: datetime
    ) -> Routing:
        """Where an event of type `kind` at the instant `at` goes."""
        assert self.terms is not None, "only a known customer has a routing"
        known = self.routings.get((kind, subscription))
        if known is None:
            if len(self.routings) >= NAMES_MAX:  # events may name what does not exist
                self.routings.clear()
            known = self.routings[kind, subscription] = []
        for routing in known:
            valid = routing.valid
            if valid.start <= at < valid.end:
                return routing
        routing = routing_at(self.terms, meters, subscription, at)
        if len(known) >= ROUTINGS_MAX:
            known.pop()
        known.insert(0, routing)
        return routing


class Held(NamedTuple):
    """What prices a batch: the current meters by event type, the instant from which on the newest
    version of all counts, and its customers' terms.
    """

    meters: Mapping[str, tuple[Meter, ...]]
    meters_since: datetime
    customers: Mapping[str, CachedTerms]


class Holding(NamedTuple):
    """Terms that were asked for under their lock: of which customers; what they are unless
    something has changed (None: not all are known); and where the changes since `seen` are read.
    """

    customers: Collection[str]
    guess: Held | None
    seen: int
    changes: Cursor


class Terms:
    """The cache. Several lanes may use it at once: what one holds is its own."""

    def __init__(self) -> None:
        self._seen = -1
        self._meters: Mapping[str, tuple[Meter, ...]] = {}
        self._meters_since = datetime.min.replace(tzinfo=UTC)
        self._customers: OrderedDict[str, CachedTerms] = OrderedDict()

    async def hold(self, connection: Connection, customers: Iterable[str]) -> Held:
        """The terms of these customers as they are until the transaction ends: they are locked
        against writers, and what has changed is read anew.
        """
        asking = await self.send_hold(connection, customers)
        return (await self.held(connection, asking))[0]

    async def send_hold(self, connection: Connection, customers: Iterable[str]) -> "Holding":
        """As `hold`: `held` reads the answer. In a pipeline what is sent after this sees what the
        lock protects; what is guessed holds if `held` confirms it.
        """
        seen, wanted = self._seen, set(customers)
        known = {key: self._customers[key] for key in wanted if key in self._customers}
        guess = None
        if seen >= 0 and len(known) == len(wanted):
            guess = Held(self._meters, self._meters_since, known)
        return Holding(wanted, guess, seen, await storage.send_lock_changes(connection, seen))

    async def held(self, connection: Connection, asking: "Holding") -> tuple[Held, bool]:
        """The terms that `send_hold` asked for, and whether they are as guessed."""
        changes = await storage.found_changes(asking.changes)
        if not changes and asking.guess is not None:
            for key in asking.customers:
                if key in self._customers:
                    self._customers.move_to_end(key)
            return asking.guess, True
        await self._refresh(connection, asking.seen, changes)
        return await self._all(connection, asking.customers), False

    async def _all(self, connection: Connection, customers: Iterable[str]) -> Held:
        """The terms of these customers; those that are not cached are read."""
        meters, since = self._meters, self._meters_since
        held: dict[str, CachedTerms] = {}
        missing = []
        for key in customers:
            cached = self._customers.get(key)
            if cached is None:
                missing.append(key)
            else:
                self._customers.move_to_end(key)
                held[key] = cached
        if missing:
            found = await storage.customer_terms(connection, sorted(missing))
            for key in missing:
                held[key] = self._customers[key] = CachedTerms(found.get(key))
        while len(self._customers) > CUSTOMERS_MAX:
            self._customers.popitem(last=False)
        return Held(meters, since, held)

    async def _refresh(
        self, connection: Connection, seen: int, changes: Sequence[tuple[int, str | None]]
    ) -> None:
        """Drop what has changed since `seen`."""
        if not changes and seen >= 0:
            return
        if seen < 0 or any(customer is None for _, customer in changes):
            meters: dict[str, tuple[Meter, ...]] = {}
            for meter in await storage.current_meters(connection):
                meters[meter.event_type] = (*meters.get(meter.event_type, ()), meter)
            self._meters = meters
            self._meters_since = await changed_at(connection)
            self._customers.clear()
        for _, customer in changes:
            if customer is not None:
                self._customers.pop(customer, None)
        self._seen = max(0, self._seen, *(change for change, _ in changes))
