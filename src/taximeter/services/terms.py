"""What prices usage, cached: meters, plan versions, customers and their subscriptions.

Owns the cache and its one rule: `refresh` runs inside the transaction that prices, after it has
locked `cache_change` against writers, so what was committed before is seen and a stale entry can
delay but never misprice. Bounded: the customers used longest ago are dropped.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Routing, routing_at
from taximeter.storage import terms as storage
from taximeter.storage.ingestion import Connection

CUSTOMERS_MAX = 50_000
ROUTINGS_MAX = 64


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


class Terms:
    """The cache. Use it under the lock that `lock_changes` takes."""

    def __init__(self) -> None:
        self._seen = -1
        self._meters: dict[str, tuple[Meter, ...]] = {}
        self._customers: OrderedDict[str, CachedTerms] = OrderedDict()

    async def refresh(self, connection: Connection) -> None:
        """Lock the terms against writers until the transaction ends and drop what has changed."""
        changes = await storage.lock_changes(connection, self._seen)
        if not changes and self._seen >= 0:
            return
        if self._seen < 0 or any(customer is None for _, customer in changes):
            self._customers.clear()
            self._meters = {}
            for meter in await storage.current_meters(connection):
                self._meters[meter.event_type] = (*self._meters.get(meter.event_type, ()), meter)
        for _, customer in changes:
            if customer is not None:
                self._customers.pop(customer, None)
        self._seen = max((change for change, _ in changes), default=max(self._seen, 0))

    async def load(self, connection: Connection, customers: Iterable[str]) -> None:
        """Have the terms of all these customers at hand until the next `load`."""
        wanted = set(customers)
        missing = sorted(key for key in wanted if key not in self._customers)
        if missing:
            found = await storage.customer_terms(connection, missing)
            for key in missing:
                self._customers[key] = CachedTerms(found.get(key))
        for key in wanted:
            self._customers.move_to_end(key)
        while len(self._customers) > max(CUSTOMERS_MAX, len(wanted)):
            self._customers.popitem(last=False)

    def customer(self, key: str) -> CachedTerms:
        """The terms of a customer that was loaded."""
        return self._customers[key]

    def meters_of(self, event_type: str) -> tuple[Meter, ...]:
        """The current meters that read events of this type, by key."""
        return self._meters.get(event_type, ())
