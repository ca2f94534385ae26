"""Checking the books: balances, holds and usage computed again from what they are made of.

Owns what is compared, and the walk over customers. Each customer is looked at on one snapshot, so
that what is compared belongs to one instant while the server works; nothing is locked and nothing
is corrected. A difference is a fault, of the program or of somebody who wrote to the database.

Compared are the remaining amount of each grant and the debt of each wallet with their entries, the
counters of a hold account with its open holds, the state of each hold with how it was resolved,
how often each approval was used with the holds that did, and totals and hours of usage with the raw
events. Not compared are budgets' spend (no entry is kept of each charge), levels of `weighted_sum`
meters, and the usage of customers with too many events, or with one of which nothing says by which
version of a meter it was read.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import structlog

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Reading
from taximeter.kernel.errors import Invalid, NotFound
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.kernel.times import format_instant
from taximeter.services.command import look
from taximeter.services.context import Clock, Connection, Context
from taximeter.services.count import bucket_rows, fold_events
from taximeter.services.epochs import read_when_counted
from taximeter.services.kept_values import Folding
from taximeter.services.opening import foresee_outcomes
from taximeter.services.recount import fold_usage, stored_total
from taximeter.storage import books as storage
from taximeter.storage import recount as recount_storage
from taximeter.storage import terms as term_storage
from taximeter.storage.books import Bucket, BucketKey
from taximeter.storage.events import StoredEvent

CUSTOMERS_PER_PAGE = 100
CUSTOMERS_PER_ROUND = 2
EVENTS_BESIDE_WORK_MAX = 1_000
ROUND_EVERY = timedelta(hours=1)

_ALWAYS = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger("books")

# Subscription, price, start, meter, version, dimensions; quantity and events.
_TotalKey = tuple[str, str, datetime, str, int, str]
_TotalValue = tuple[Decimal, int]
_Versions = Sequence[tuple[datetime, Meter]]
_NO_TOTAL = (ZERO, 0)
_NO_BUCKET = Bucket(0, ZERO)


class Difference(NamedTuple):
    """Where a customer's books are wrong: `field` of `thing` is `stored`, and should be
    `recomputed`.
    """

    customer: str
    thing: str
    field: str
    stored: str
    recomputed: str

    def __str__(self) -> str:
        """As it is told to an operator."""
        return (
            f"{self.customer}: {self.thing}: {self.field} is {self.stored}, "
            f"recomputed it is {self.recomputed}"
        )


class Checked(NamedTuple):
    """A customer that was checked, and the first difference (None: the books are right).
    `usage`: its usage was counted again, too.
    """

    customer: str
    difference: Difference | None
    usage: bool


async def check_customer(context: Context, customer: str, *, events_max: int) -> Checked:
    """Compare one customer's books with what they are made of; its usage, where it has at most
    `events_max` events. Raises `NotFound`.
    """

    async def work(connection: Connection) -> Checked:
        for check in storage.CHECKS:
            unequal = await storage.first_unequal(connection, customer, check)
            if unequal is not None:
                thing = f"{check.kind} {unequal.name}"
                return Checked(
                    customer,
                    Difference(
                        customer, thing, check.field, told(unequal.stored),
                        told(unequal.recomputed),
                    ),
                    usage=False,
                )  # fmt: skip
        found = await term_storage.customer_terms(connection, [customer])
        if customer not in found:
            raise NotFound(kind="customer", key=customer)
        if await storage.has_more_events(connection, customer, events_max):
            return Checked(customer, None, usage=False)
        versions = await term_storage.meter_versions(connection)
        if await is_undecided(connection, found[customer], versions):
            return Checked(customer, None, usage=False)
        difference = await _check_usage(connection, found[customer], versions)
        return Checked(customer, difference, usage=True)

    return await look(context, work)


async def is_undecided(connection: Connection, terms: CustomerTerms, versions: _Versions) -> bool:
    """Whether an event could first count at the very instant at which a meter changed, and nothing
    says by which version it did. That is of a time before events said so.
    """
    changes = {counts_from for counts_from, meter in versions if meter.version > 1}
    if not changes:
        return False
    born = {terms.customer.created_at, *(one.created_at for one in terms.subscriptions)}
    return await storage.has_received_at(
        connection, terms.customer.key, changes, waited=not born.isdisjoint(changes)
    )


def told(value: Decimal | str | None) -> str:
    """A figure as a difference says it."""
    if value is None:
        return "nothing"
    return format_decimal(value) if isinstance(value, Decimal) else value


class _Hours:
    """Hours of usage, filled from events as the buckets were."""

    def __init__(self, since: dict[str, datetime]) -> None:
        self._since = since
        self.found: dict[BucketKey, Bucket] = {}

    def see(self, stored: StoredEvent, readings: Sequence[Reading], folding: Folding) -> None:
        """Add what meters read in an event when it counted first."""
        there = read_when_counted(self._since, stored, readings)
        for row in bucket_rows(fold_events([(stored.event, there)]), folding):
            key = (row.meter, row.bucket_start, row.dimensions)
            before = self.found.get(key, _NO_BUCKET)
            quantity = None
            if row.aggregation in ("sum", "count"):
                quantity = (before.quantity or ZERO) + row.quantity
            self.found[key] = Bucket(before.events + row.events, quantity)


async def _check_usage(
    connection: Connection, terms: CustomerTerms, versions: _Versions
) -> Difference | None:
    """Count all of a customer's events again and compare. They fit in memory."""
    customer = terms.customer.key
    hours = _Hours(
        {meter.key: counts_from for counts_from, meter in versions if meter.version == 1}
    )
    counted: dict[_TotalKey, _TotalValue] = {}
    try:
        async for total in fold_usage(
            connection, terms, terms, _ALWAYS, opening=foresee_outcomes, seen=hours.see
        ):
            row = stored_total(total)
            counted[_key(row)] = (row.quantity, row.events)
    except Invalid as error:
        return Difference(customer, "usage", "events", "counted", error.errors[0].detail)
    totals = await recount_storage.totals_after(connection, customer, _ALWAYS)
    stood = {_key(row): (row.quantity, row.events) for row in totals}
    for total_key in sorted(stood.keys() | counted.keys()):
        was, now = stood.get(total_key, _NO_TOTAL), counted.get(total_key, _NO_TOTAL)
        if was != now:
            return _total_difference(customer, total_key, was, now)
    buckets = await storage.buckets(connection, customer)
    for key in sorted(buckets.keys() | hours.found.keys()):
        hour, hour_again = buckets.get(key, _NO_BUCKET), hours.found.get(key, _NO_BUCKET)
        if hour != hour_again:
            return _hour_difference(customer, key, hour, hour_again)
    return None


def _key(row: recount_storage.StoredTotal) -> _TotalKey:
    return (
        row.subscription, row.price, row.period_start, row.meter, row.version, row.dimensions,
    )  # fmt: skip


def _total_difference(
    customer: str, key: _TotalKey, was: _TotalValue, now: _TotalValue
) -> Difference:
    subscription, price, start, meter, version, dimensions = key
    thing = (
        f"usage total {subscription}/{price} from {format_instant(start)}, meter {meter} version "
        f"{version}{_of(dimensions)}"
    )
    if was[0] != now[0]:
        return Difference(customer, thing, "quantity", told(was[0]), told(now[0]))
    return Difference(customer, thing, "events", str(was[1]), str(now[1]))


def _of(dimensions: str) -> str:
    return "" if dimensions == "{}" else f" {dimensions}"


def _hour_difference(customer: str, key: BucketKey, was: Bucket, now: Bucket) -> Difference:
    meter, start, dimensions = key
    thing = f"usage of meter {meter} in the hour of {format_instant(start)}{_of(dimensions)}"
    if was.events != now.events:
        return Difference(customer, thing, "events", str(was.events), str(now.events))
    return Difference(customer, thing, "quantity", told(was.quantity), told(now.quantity))


async def count_customers(context: Context, start: str | None) -> int:
    """How many customers `walk` would check."""
    async with context.pool.connection() as connection:
        return await storage.count_customers(connection, start)


async def walk(context: Context, *, start: str | None, events_max: int) -> AsyncIterator[Checked]:
    """Check customer by customer, in the order of their keys, from `start` on."""
    after: str | None = None
    while True:
        async with context.pool.connection() as connection:
            keys = await storage.customers_from(
                connection, start=start, after=after, limit=CUSTOMERS_PER_PAGE
            )
        for key in keys:
            yield await check_customer(context, key, events_max=events_max)
        if len(keys) < CUSTOMERS_PER_PAGE:
            return
        after = keys[-1]


class BooksWatch:
    """Checks all customers round after round beside the work of an instance: two a second at most,
    then nothing until an hour since the round began. Counts the usage of customers with up to 1,000
    events again. Keeps in memory where it is; `clock` shows real time.
    """

    def __init__(self, context: Context, clock: Clock) -> None:
        self._context = context
        self._clock = clock
        self._after: str | None = None
        self._began_at: datetime | None = None
        self._checked = 0
        self._differing = 0
        self._differing_before = 0
        self.completed_at: datetime | None = None

    @property
    def differing(self) -> int:
        """Customers whose books differ: of the round under way or the last whole one, the more."""
        return max(self._differing, self._differing_before)

    async def run_round(self) -> int:
        """Check the next customers; how many the round has checked, where this ends it, else 0."""
        now = self._clock.now()
        if self._began_at is None or (self._after is None and now >= self._began_at + ROUND_EVERY):
            self._began_at = now
            self._checked = self._differing = 0
        elif self._after is None:
            return 0
        async with self._context.pool.connection() as connection:
            keys = await storage.customers_from(
                connection, start=None, after=self._after, limit=CUSTOMERS_PER_ROUND
            )
        for key in keys:
            self._after = key  # first: one that cannot be checked is no reason to stay at it
            await self._check(key)
        if len(keys) == CUSTOMERS_PER_ROUND:
            return 0
        self._after = None
        self.completed_at = self._clock.now()
        self._differing_before = self._differing
        return self._checked

    async def _check(self, key: str) -> None:
        found = await check_customer(self._context, key, events_max=EVENTS_BESIDE_WORK_MAX)
        self._checked += 1
        if found.difference is not None:
            self._differing += 1
            log.error("books_differ", **found.difference._asdict())
