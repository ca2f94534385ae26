"""What an invoice says: its lines, from fees, totals of usage, overage and true-ups.

Owns the reading of what an invoice is computed from. Amounts are the domain's. Must not write: the
same totals give the same statement, for a draft that is read and for one that is finalized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.invoicing.digest import input_digest
from taximeter.domain.invoicing.discounts import AppliedDiscount, terms_of
from taximeter.domain.invoicing.lines import Line, adjustment_lines, fee_lines, numbered
from taximeter.domain.invoicing.spend import usage_segments
from taximeter.domain.rating.rate import rate_price
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.charges import charges_at, closed_period
from taximeter.domain.subscription.subscription import Segment, Subscription, segment_at
from taximeter.kernel.times import Period
from taximeter.services.context import Connection
from taximeter.services.overage import overage_lines
from taximeter.services.segment_usage import Instead, UsageKey, usage_key
from taximeter.services.true_up import (
    Books,
    discounts_of,
    lines_of_usage,
    true_ups,
    usage_of_segments,
)
from taximeter.storage import discounts as discount_storage
from taximeter.storage import invoices as storage
from taximeter.storage.totals import LateTotal


def has_ended(subscription: Subscription, boundary: datetime) -> bool:
    """Whether nothing but late usage is billed at the boundary."""
    return subscription.ends_at is not None and boundary > subscription.ends_at


@dataclass(frozen=True, slots=True)
class Statement:
    """What an invoice at a boundary says: its lines, what settled from wallets, the discounts,
    and the digest of what they were computed from.
    """

    period: Period
    lines: tuple[Line, ...]
    settled: tuple[Line, ...]
    discounts: tuple[AppliedDiscount, ...]
    input_digest: str


async def state(
    connection: Connection,
    subscription: Subscription,
    boundary: datetime,
    late: Sequence[LateTotal],
    at: datetime,
    instead: Instead | None = None,
) -> Statement:
    """Compute the statement of a boundary from the usage as it is at the instant `at`. `late` are
    segments whose usage may have changed since they were billed; `instead` is what a preview
    reads in place of what is stored.
    """
    closed = closed_period(subscription, boundary)
    segments = [*usage_segments(subscription, closed)]
    earlier = _late_segments(subscription, late, closed)
    usage = await usage_of_segments(connection, subscription, [*segments, *earlier], at, instead)
    settled = lines_of_usage(subscription, segments, usage, "wallet")
    fees = () if has_ended(subscription, boundary) else charges_at(subscription, boundary)
    overage = await overage_lines(connection, subscription, boundary)
    lines = [*fee_lines(fees), *lines_of_usage(subscription, segments, usage, "invoice"), *overage]
    lines += await _adjustments(connection, subscription, earlier, usage)
    discounted = len(lines)
    given = None if instead is None else instead.discounts
    if given is None:
        given = await discount_storage.of_subscription(connection, subscription)
    terms = terms_of(subscription, given)
    books = Books(connection, subscription, terms, at, instead, overage)
    ends = [one.period_end for one in late if one.period_end <= closed.start]
    lines += await true_ups(books, boundary, ends)
    every = numbered([*lines, *settled])
    inputs = [[values, quantity] for key in sorted(usage) for values, quantity in usage[key]]
    inputs += [[line.description, line.quantity] for line in overage]
    return Statement(
        closed, every[: len(lines)], every[len(lines) :],
        discounts_of(subscription, terms, fees, every[:discounted]),
        input_digest(subscription, boundary, inputs, terms),
    )  # fmt: skip


def _late_segments(
    subscription: Subscription, late: Sequence[LateTotal], closed: Period
) -> list[Segment]:
    found: dict[tuple[str, datetime], Segment] = {}
    for one in late:
        if one.period_end > closed.start:
            continue
        segment = segment_at(subscription, one.price, one.period_start)
        assert segment is not None, "a total belongs to a segment"
        price = segment.price
        if not isinstance(price, UsagePrice) or price.settle != "invoice":
            continue
        for key in (price.key, *(other.key for other in price.group)):
            of_group = segment_at(subscription, key, one.period_start)
            assert of_group is not None, "prices of a group have their segments in common"
            found[key, one.period_start] = of_group
    return list(found.values())


async def _adjustments(
    connection: Connection,
    subscription: Subscription,
    segments: Sequence[Segment],
    usage: Mapping[UsageKey, Usage],
) -> list[Line]:
    lines: list[Line] = []
    for segment in segments:
        price = segment.price
        assert isinstance(price, UsagePrice)
        billed = [
            line
            for line in await storage.billed_lines(connection, subscription, segment.span)
            if line.price == price.key and line.period == segment.span
        ]
        used = usage.get(usage_key(subscription, segment), ())
        lines += adjustment_lines(segment, rate_price(price, used), billed)
    return lines
