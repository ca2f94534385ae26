"""The figures of the first page: what happened today, and where each customer stands.

Owns what "today" means, the UTC day, and its bounds: a page of customers, and sums over at most
CUSTOMERS_SUMMED of them. Today's money is what today's usage adds to the open periods, f(total) -
f(total without today), so that tiers and included units count as they do on the invoice; fees are
no part of it, nor are meters whose quantities do not add up, and prices of single events.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.entitlement.suspension import Suspension
from taximeter.domain.invoicing.spend import segment_key
from taximeter.domain.rating.rate import delta
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.customer import Customer, CustomerTerms
from taximeter.domain.subscription.subscription import Segment
from taximeter.kernel.money import Money
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.services.balance import WalletBalance, read_balance
from taximeter.services.budgets import states_of
from taximeter.services.context import Connection, Context
from taximeter.services.dimensions import dimension_text
from taximeter.services.spend import (
    CAPS_MAX,
    CustomerSpend,
    OpenUsage,
    growing_meters,
    read_open_usage,
    spends_of,
)
from taximeter.storage import customers
from taximeter.storage import overview as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.overview import Since, Used

CUSTOMERS_SUMMED = 1_000

UsedSince = Mapping[Since, Sequence[Used]]


@dataclass(frozen=True, slots=True)
class Today:
    """What came in since midnight, UTC: events that a meter counted, and the money they add, by
    asset. `complete` is false where there are more customers than are added up.
    """

    events: int
    money: tuple[Money, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class CustomerOverview:
    """Where one customer stands. Budgets (`spend.caps`) and suspensions are there where they were
    asked for.
    """

    spend: CustomerSpend
    today: Today
    wallets: tuple[WalletBalance, ...]
    suspensions: tuple[Suspension, ...]


async def list_overview(
    context: Context, *, limit: int, cursor: str | None
) -> Page[CustomerOverview]:
    """Customers by key, with their figures of this moment."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await customers.page(
            connection, after=after[0] if after else None, only=None, limit=limit + 1
        )
        page = make_page(rows, limit, lambda customer: (customer.key,))
        found = await _overviews(connection, page.rows, context.clock.now())
    return Page(found, page.next_cursor)


async def get_overview(context: Context, customer: Customer) -> CustomerOverview:
    """One customer's figures of this moment, with their first 100 budgets and suspensions."""
    async with context.pool.connection() as connection:
        (found,) = await _overviews(connection, [customer], context.clock.now(), CAPS_MAX)
    return found


async def read_today(context: Context) -> Today:
    """What came in today, over all customers up to CUSTOMERS_SUMMED."""
    async with context.pool.connection() as connection:
        rows = await customers.page(connection, after=None, only=None, limit=CUSTOMERS_SUMMED + 1)
        summed = rows[:CUSTOMERS_SUMMED]
        figures = await _Figures.read(connection, summed, context.clock.now())
    return _sum((figures.today(one.key) for one in summed), complete=len(rows) == len(summed))


async def _overviews(
    connection: Connection, rows: Sequence[Customer], at: datetime, caps_max: int = 0
) -> list[CustomerOverview]:
    figures = await _Figures.read(connection, rows, at)
    found = []
    for terms, spend in zip(figures.terms, figures.spends, strict=True):
        key = spend.customer.key
        caps = await states_of(connection, terms, terms.budgets[:caps_max], at)
        balances = tuple(await read_balance(connection, key, at))
        found.append(
            CustomerOverview(
                replace(spend, caps=tuple(caps)), figures.today(key), balances,
                terms.suspensions[:caps_max],
            )
        )  # fmt: skip
    return found


class _Figures:
    """Open usage and today's, of some customers at one instant."""

    def __init__(
        self, terms: Sequence[CustomerTerms], meters: Sequence[Meter], spends: list[CustomerSpend],
        found: Iterable[OpenUsage], used: UsedSince, midnight: datetime,
    ) -> None:  # fmt: skip
        self.terms = terms
        self.spends = spends
        self._meters = {meter.key: meter for meter in meters}
        self._growing = growing_meters(meters)
        self._used = used
        self._midnight = midnight
        self._open: dict[str, list[OpenUsage]] = defaultdict(list)
        for one in found:
            self._open[one.subscription.customer].append(one)

    @classmethod
    async def read(
        cls, connection: Connection, rows: Sequence[Customer], at: datetime
    ) -> "_Figures":
        """All that is needed for these customers, in a fixed number of statements."""
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        known = await term_storage.customer_terms(connection, [one.key for one in rows])
        terms = [known[one.key] for one in rows]
        meters = await term_storage.current_meters(connection)
        found = await read_open_usage(connection, terms, at)
        wanted = {Since(one.key, meter.key, midnight) for one in rows for meter in meters}
        for usage in found:
            for segment in usage.segments:
                wanted.add(_since(usage, segment, midnight))
        used = await storage.used_since(connection, wanted)
        spends = spends_of(terms, found, at, meters)
        return cls(terms, meters, spends, found, used, midnight)

    def today(self, customer: str) -> Today:
        """What the customer did today."""
        amounts: dict[str, Decimal] = {}
        for found in self._open[customer]:
            for segment in found.segments:
                price = segment.price
                assert isinstance(price, UsagePrice)
                meter = self._meters.get(price.meter)
                if meter is not None and meter.key in self._growing:
                    added = self._added(found, segment, price)
                    amounts[price.asset] = amounts.get(price.asset, ZERO) + added
        money = tuple(Money(amounts[asset], asset) for asset in sorted(amounts))
        return Today(self._events(customer), money)

    def _added(self, found: OpenUsage, segment: Segment, price: UsagePrice) -> Decimal:
        """What today's usage adds to a segment's amount."""
        today = {
            one.dimensions: one.quantity
            for one in self._used.get(_since(found, segment, self._midnight), ())
        }
        after = found.usage.get(segment_key(segment), ())
        if not today or not after:
            return ZERO
        before: Usage = [
            (values, max(ZERO, quantity - today.get(_text(values), ZERO)))
            for values, quantity in after
        ]
        return delta(price, before, after)

    def _events(self, customer: str) -> int:
        """How many events a meter counted: of each type those of the meter that counts most."""
        most: dict[str, int] = {}
        for meter in self._meters.values():
            used = self._used.get(Since(customer, meter.key, self._midnight), ())
            events = sum(one.events for one in used)
            most[meter.event_type] = max(most.get(meter.event_type, 0), events)
        return sum(most.values())


def _since(found: OpenUsage, segment: Segment, midnight: datetime) -> Since:
    """Today's part of a segment; a segment that began today is wholly of today."""
    price = segment.price
    assert isinstance(price, UsagePrice)
    return Since(found.subscription.customer, price.meter, max(midnight, segment.span.start))


def _text(values: Mapping[str, str]) -> str:
    return dimension_text(tuple(values), tuple(values.values()))


def _sum(parts: Iterable[Today], *, complete: bool) -> Today:
    events, amounts = 0, dict[str, Decimal]()
    for part in parts:
        events += part.events
        for one in part.money:
            amounts[one.asset] = amounts.get(one.asset, ZERO) + one.amount
    money = tuple(Money(amounts[asset], asset) for asset in sorted(amounts))
    return Today(events, money, complete)
