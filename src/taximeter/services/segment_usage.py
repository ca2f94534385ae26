"""The usage of segments: what invoices, spend and settlement rate.

Owns the one way to it: whatever a price is rated by besides its own running totals is added here,
so that every reader rates the same. Must not rate.
"""

from collections.abc import Iterable
from datetime import datetime

from taximeter.domain.rating.rate import Usage
from taximeter.domain.subscription.subscription import Segment, Subscription
from taximeter.services.context import Connection
from taximeter.services.dimensions import dimensions_of
from taximeter.storage import totals as storage

# Customer, subscription, price, and the start of its segment.
UsageKey = tuple[str, str, str, datetime]


def usage_key(subscription: Subscription, segment: Segment) -> UsageKey:
    """By what the usage of a subscription's segment is found."""
    return subscription.customer, subscription.id, segment.price.key, segment.span.start


async def read_usage(
    connection: Connection, wanted: Iterable[tuple[Subscription, Segment]]
) -> dict[UsageKey, Usage]:
    """The usage of these segments of usage prices, in one statement; those without any are left
    out.
    """
    keys = [usage_key(subscription, segment) for subscription, segment in wanted]
    found = await storage.segment_totals(connection, keys)
    return {
        key: [(dimensions_of(text), quantity) for text, quantity in rows]
        for key, rows in found.items()
    }
