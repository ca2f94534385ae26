"""What prices usage, cached: meters, plan versions, customers and their subscriptions.

Owns the cache and its one rule: `hold` runs inside the transaction that prices, and locks
`cache_change` against writers, so what was committed before is seen and a stale entry can
delay but never misprice. Bounded: the customers used longest ago are dropped.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Routing, routing_at
from taximeter.storage import terms as storage
from taximeter.storage.ingestion import Connection

CUSTOMERS_MAX = 50_000
ROUTINGS_MAX = 64
NAMES_MAX = 1024


class CachedTerms:
    """One customer's terms (None: no such customer) and the routings computed from them."""

    __slots__ = ("routings", "terms")

    def __init__(self, terms: CustomerTerms | None) -> None:
        self.terms = terms
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
    """What prices a batch: the current meters by event type, and its customers' terms."""

    meters: Mapping[str, tuple[Meter, ...]]
    customers: Mapping[str, CachedTerms]


class Terms:
    """The cache. Several lanes may use it at once: what one holds is its own."""

    def __init__(self) -> None:
        self._seen = -1
        self._meters: Mapping[str, tuple[Meter, ...]] = {}
        self._customers: OrderedDict[str, CachedTerms] = OrderedDict()

    async def hold(self, connection: Connection, customers: Iterable[str]) -> Held:
        """The terms of these customers as they are until the transaction ends: they are locked
        against writers, and what has changed is read anew.
        """
        await self._refresh(connection)
        meters = self._meters
        held: dict[str, CachedTerms] = {}
        missing = []
        for key in set(customers):
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
        return Held(meters, held)

    async def _refresh(self, connection: Connection) -> None:
        """Lock the terms against writers and drop what has changed."""
        changes = await storage.lock_changes(connection, self._seen)
        if not changes and self._seen >= 0:
            return
        if self._seen < 0 or any(customer is None for _, customer in changes):
            meters: dict[str, tuple[Meter, ...]] = {}
            for meter in await storage.current_meters(connection):
                meters[meter.event_type] = (*meters.get(meter.event_type, ()), meter)
            self._meters = meters
            self._customers.clear()
        for _, customer in changes:
            if customer is not None:
                self._customers.pop(customer, None)
        self._seen = max(0, self._seen, *(change for change, _ in changes))
