"""The usage of segments: what invoices, spend and settlement rate.

Owns the one way to it: whatever a price is rated by besides its own running totals is added here,
so that every reader rates the same. Must not rate.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.metering.reserved import FEE, FREE
from taximeter.domain.rating.usage import Usage, with_group
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.domain.subscription.subscription import Segment, Subscription
from taximeter.services.context import Connection
from taximeter.services.dimensions import dimensions_of
from taximeter.services.free_events import free_fees, has_free_fees
from taximeter.services.level_usage import read_levels
from taximeter.storage import totals as storage

# Customer, subscription, price, and the start of its segment.
UsageKey = tuple[str, str, str, datetime]


def usage_key(subscription: Subscription, segment: Segment) -> UsageKey:
    """By what the usage of a subscription's segment is found."""
    return subscription.customer, subscription.id, segment.price.key, segment.span.start


class Instead(NamedTuple):
    """What a preview reads in place of what is stored: the usage of some segments, the customer's
    terms, and the subscription's discounts (None: as they are stored).
    """

    usage: Mapping[UsageKey, Usage]
    terms: CustomerTerms
    discounts: Sequence[SubscriptionDiscount] | None = None


async def read_usage(
    connection: Connection,
    wanted: Sequence[tuple[Subscription, Segment]],
    at: datetime,
    instead: Instead | None = None,
) -> dict[UsageKey, Usage]:
    """The usage of these segments of usage prices at the instant `at`, which says how long the
    levels of segments under way have held; those without any are left out. A price that is rated
    with others has theirs beside its own; one whose first events are free has what that comes to.
    Totals are read in one statement, levels in one for each segment that is priced by them.
    """
    prices = {}
    keys = []
    in_order = []
    for subscription, segment in wanted:
        if has_free_fees(segment):
            in_order.append((subscription, segment))
        key = usage_key(subscription, segment)
        assert isinstance(segment.price, UsagePrice)
        prices[key] = segment.price
        keys += [key, *group_keys(key, segment.price)]
    found = await storage.segment_totals(connection, list(dict.fromkeys(keys)))
    usage: dict[UsageKey, Usage] = {
        key: [(dimensions_of(text), quantity) for text, quantity in rows]
        for key, rows in found.items()
    }
    if instead is not None:
        usage |= {key: instead.usage[key] for key in keys if key in instead.usage}
    terms = None if instead is None else instead.terms
    for subscription, segment in in_order:
        key = usage_key(subscription, segment)
        if usage.get(key):
            free = await free_fees(connection, subscription, segment, terms)
            usage[key] = [*usage[key], ({FEE: FREE}, free)]
    for subscription, segment, held in await read_levels(connection, wanted, at, terms):
        key = usage_key(subscription, segment)
        usage[key] = [*usage.get(key, ()), *held]
    return {
        key: rows for key, price in prices.items() if (rows := usage_with_group(key, price, usage))
    }


def group_keys(key: UsageKey, price: UsagePrice) -> list[UsageKey]:
    """The segments of the other prices of the group: they begin and end with this one."""
    customer, subscription, _, start = key
    return [(customer, subscription, one.key, start) for one in price.group if one.key != price.key]


def usage_with_group(key: UsageKey, price: UsagePrice, usage: Mapping[UsageKey, Usage]) -> Usage:
    """The price's usage and, marked, that of its group."""
    keys = [key, *group_keys(key, price)]
    return with_group(price, {one[2]: usage.get(one, ()) for one in keys})
