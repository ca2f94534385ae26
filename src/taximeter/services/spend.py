"""What customers have spent in their open billing periods, and the forecast for their ends.

Owns the reading of totals for many customers at once, in a fixed number of statements.
Spend is true at the instant of the answer: it is rated from the totals of that moment.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.invoicing.spend import (
    SegmentKey,
    Spend,
    open_period,
    segment_key,
    spend_of,
    usage_segments,
)
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.customer import Customer, CustomerTerms
from taximeter.domain.subscription.subscription import Segment, Subscription
from taximeter.kernel.errors import NotFound
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.alerts import Raised, raised_since
from taximeter.services.budgets import BudgetState, states_of
from taximeter.services.context import Connection, Context
from taximeter.services.level_usage import read_levels
from taximeter.services.segment_usage import read_usage
from taximeter.storage import terms as term_storage

CAPS_MAX = 100
ALERTS_MAX = 100
GROWING = ("count", "sum")


@dataclass(frozen=True, slots=True)
class OpenUsage:
    """The usage of the segments that a subscription's open period will bill; `levels`: of those
    that bill levels, what it will be at their ends if no level changes.
    """

    subscription: Subscription
    period: Period
    segments: tuple[Segment, ...]
    usage: Mapping[SegmentKey, Usage]
    levels: Mapping[SegmentKey, Usage]


@dataclass(frozen=True, slots=True)
class SubscriptionSpend:
    """The spend of one subscription's open period."""

    subscription: Subscription
    spend: Spend


@dataclass(frozen=True, slots=True)
class CustomerSpend:
    """A customer's spend at `at`: one part for each subscription with an open period. Where they
    were asked for, `caps` are the budgets, and `alerts` what was told since the periods began.
    """

    customer: Customer
    at: datetime
    parts: tuple[SubscriptionSpend, ...]
    caps: tuple[BudgetState, ...] = ()
    alerts: tuple[Raised, ...] = ()

    @property
    def period(self) -> Period | None:
        """From the first of the open periods' starts to the last of their ends; None: none."""
        if not self.parts:
            return None
        periods = [part.spend.period for part in self.parts]
        return Period(min(p.start for p in periods), max(p.end for p in periods))

    @property
    def total(self) -> Decimal:
        """What was spent so far, in the customer's currency."""
        return sum((part.spend.total for part in self.parts), ZERO)

    @property
    def forecast(self) -> Decimal:
        """What will have been spent at the periods' ends, in the customer's currency."""
        return sum((part.spend.forecast for part in self.parts), ZERO)


async def get_spend(context: Context, customer: str) -> CustomerSpend:
    """The customer's spend now, with their first 100 budgets, and the last 100 alerts of the open
    periods. Raises `NotFound`.
    """
    async with context.pool.connection() as connection:
        terms = await term_storage.customer_terms(connection, [customer])
        if customer not in terms:
            raise NotFound(kind="customer", key=customer)
        own, at = terms[customer], context.clock.now()
        (found,) = await read_spend(connection, [own], at)
        caps = await states_of(connection, own, own.budgets[:CAPS_MAX], at)
        since = found.period.start if found.period else at
        alerts = await raised_since(connection, customer, since, ALERTS_MAX)
    return replace(found, caps=tuple(caps), alerts=tuple(alerts))


async def read_spend(
    connection: Connection, terms: Sequence[CustomerTerms], at: datetime
) -> list[CustomerSpend]:
    """The spend at `at` of each of these customers, in their order."""
    meters = await term_storage.current_meters(connection)
    return spends_of(terms, await read_open_usage(connection, terms, at), at, meters)


def growing_meters(meters: Iterable[Meter]) -> Set[str]:
    """The keys of the meters whose quantity adds up over time."""
    return {meter.key for meter in meters if meter.aggregation in GROWING}


async def read_open_usage(
    connection: Connection, terms: Sequence[CustomerTerms], at: datetime
) -> list[OpenUsage]:
    """The usage of every subscription of these customers with a period open at `at`."""
    periods = [
        (subscription, period, usage_segments(subscription, period))
        for one in terms
        for subscription in one.subscriptions
        if (period := open_period(subscription, at)) is not None
    ]
    wanted = [(one, segment) for one, _, segments in periods for segment in segments]
    usage: dict[tuple[str, str], dict[SegmentKey, Usage]] = {}
    for (customer, subscription_id, price, start), used in (
        await read_usage(connection, wanted, at)
    ).items():
        usage.setdefault((customer, subscription_id), {})[price, start] = used
    levels: dict[tuple[str, str], dict[SegmentKey, Usage]] = {}
    for one, segment, held in await read_levels(connection, wanted, None):
        levels.setdefault((one.customer, one.id), {})[segment_key(segment)] = held
    return [
        OpenUsage(
            one, period, segments, usage.get((one.customer, one.id), {}),
            levels.get((one.customer, one.id), {}),
        )
        for one, period, segments in periods
    ]  # fmt: skip


def spends_of(
    terms: Sequence[CustomerTerms],
    found: Iterable[OpenUsage],
    at: datetime,
    meters: Sequence[Meter],
) -> list[CustomerSpend]:
    """The spend at `at` of each of these customers, of whom `found` is the open usage."""
    growing = growing_meters(meters)
    buckets = {meter.key: meter.bucket for meter in meters if meter.bucket is not None}
    parts: dict[str, list[SubscriptionSpend]] = {}
    for one in found:
        spend = spend_of(one.subscription, one.period, at, one.usage, growing, one.levels, buckets)
        part = SubscriptionSpend(one.subscription, spend)
        parts.setdefault(one.subscription.customer, []).append(part)
    return [
        CustomerSpend(one.customer, at, tuple(parts.get(one.customer.key, ()))) for one in terms
    ]
