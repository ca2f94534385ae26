"""What credit was sold for against what it cost to serve, customer by customer and price by price.

Owns which costs belong to which credit. What was drawn is counted when it was drawn, what events
cost by their own time; an event that several prices read has its cost in equal parts with each.
Writes nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.margin import margin_percent
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.credit.value import Corridor, ValueFlag, worth
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Routing, routing_at
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO, divide
from taximeter.kernel.times import Period
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.storage import credit_value as storage
from taximeter.storage import terms as term_storage

Meters = Mapping[str, Mapping[str, Meter]]  # by event type and key
SPAN_DEFAULT = timedelta(days=30)
SPAN_MAX = timedelta(days=92)


@dataclass(slots=True)
class Figures:
    """What was `drawn` of a credit, how much of it nobody knows a price of (`unvalued`), what was
    paid for the rest (`value`), and what it cost (None: no event said).
    """

    drawn: Decimal = ZERO
    unvalued: Decimal = ZERO
    value: Decimal = ZERO
    cost: Decimal | None = None
    flag: ValueFlag | None = None

    @property
    def margin_percent(self) -> Decimal | None:
        """What is left of the value, in percent; None where that cannot be told."""
        known = self.cost is not None and not self.unvalued
        return margin_percent(price=self.value, cost=self.cost or ZERO) if known else None

    def per_unit(self, amount: Decimal | None) -> Decimal | None:
        """The amount for one unit of what was drawn."""
        return None if amount is None or self.drawn <= ZERO else divide(amount, self.drawn)


@dataclass(slots=True)
class CreditValue:
    """A customer's credit of one asset in the span, in all and by price ("": of no certain one).
    `events` are those of prices that draw it, `without_cost` those that say no cost in `currency`.
    Not `complete`: the content of some events is in files, which are not read.
    """

    customer: str
    asset: str
    currency: str
    complete: bool
    figures: Figures = field(default_factory=Figures)
    prices: dict[str, Figures] = field(default_factory=lambda: defaultdict(Figures))
    events: int = 0
    without_cost: int = 0


async def list_values(
    context: Context,
    asset: str,
    corridor: Corridor,
    *,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[CreditValue]:
    """The customers with a wallet of `asset`, by key, each with what its credit was sold for and
    cost from `start` (30 days before) until `end` (now). Raises `Invalid` for a span of over 92
    days, and `TooSlow`.
    """
    end = end or context.clock.now() + timedelta(microseconds=1)
    start = start or end - SPAN_DEFAULT
    if not timedelta(0) < end - start <= SPAN_MAX:
        detail = f"Ask for a span of up to {SPAN_MAX.days} days that ends after it begins."
        raise Invalid([FieldError("from", "invalid_span", detail)])
    span = Period(start, end)
    parts = decode_cursor(cursor, 1)

    async def read(connection: Connection) -> list[CreditValue]:
        after = parts[0] if parts else None
        customers = await storage.customers_of(connection, asset, after=after, limit=limit + 1)
        terms = await term_storage.customer_terms(connection, customers)
        meters: dict[str, dict[str, Meter]] = defaultdict(dict)
        for _, meter in await term_storage.meter_versions(connection):
            meters[meter.event_type][meter.key] = meter
        return [
            await _read(connection, terms[customer], asset, span, meters, corridor)
            for customer in customers
        ]

    return make_page(await look(context, read), limit, lambda one: (one.customer,))


async def _read(
    connection: Connection, terms: CustomerTerms, asset: str, span: Period,
    meters: Meters, corridor: Corridor,
) -> CreditValue:  # fmt: skip
    customer = terms.customer
    found = CreditValue(
        customer.key, asset, customer.currency, complete=not customer.archived
    )  # fmt: skip
    unit_price = Decimal(1) if asset == customer.currency else _unit_price(terms, asset, span)
    for price_key, drawn, source in await storage.draws(connection, customer.key, asset, span):
        value = worth(drawn, source, unit_price, customer.currency)
        for figures in (found.figures, found.prices[price_key]):
            figures.drawn += drawn
            figures.value += value or ZERO
            figures.unvalued += drawn if value is None else ZERO
    starts = _starts(terms, span)
    for one in await storage.costs(
        connection, customer.key, customer.currency, starts, span.end
    ):  # fmt: skip
        readers = [*meters.get(one.type, {}).values()]
        prices = _prices(routing_at(terms, readers, one.subscription, starts[one.part - 1]))
        own = [price for price in prices if price.asset == asset and price.settle == "wallet"]
        if not own:
            continue
        found.events += one.events
        found.without_cost += one.events - one.with_cost
        if one.amount is None:
            continue
        for price in own:
            part = divide(one.amount, Decimal(len(prices)))
            for figures in (found.figures, found.prices[price.key]):
                figures.cost = (figures.cost or ZERO) + part
    for figures in (found.figures, *found.prices.values()):
        if figures.cost is not None and not figures.unvalued:
            figures.flag = corridor.flag(value=figures.value, cost=figures.cost)
    return found


def _unit_price(terms: CustomerTerms, asset: str, span: Period) -> Decimal | None:
    """The last list price of the unit in the span, by the customer's plans."""
    prices = [
        phase.plan.unit_price(asset)
        for subscription in terms.subscriptions
        for phase in subscription.phases
        if phase.starts_at < span.end
    ]
    return next((price for price in reversed(prices) if price is not None), None)


def _starts(terms: CustomerTerms, span: Period) -> Sequence[datetime]:
    """When parts of the span begin within which the same prices apply."""
    changes = {
        at
        for subscription in terms.subscriptions
        for phase in subscription.phases
        for at in (phase.starts_at, phase.ends_at)
        if at is not None and span.start < at < span.end
    }
    return [span.start, *sorted(changes)]


def _prices(routing: Routing) -> Sequence[UsagePrice]:
    """The prices that read an event which goes this way."""
    routes = [one for route in routing.meters for one in (route, *route.measured)]
    return [target.price for route in routes for target in (*route.targets, *route.pending)]
