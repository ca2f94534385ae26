"""Subscriptions for tests, in a few words, and their charges as short texts."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from taximeter.domain.catalog.plan import (
    Discount,
    FlatPrice,
    PerUnit,
    Plan,
    Price,
    SeatPrice,
    Timing,
)
from taximeter.domain.subscription.change import cancel, change
from taximeter.domain.subscription.charges import (
    Charge,
    boundaries,
    charges_at,
)
from taximeter.domain.subscription.subscription import Phase, Proration, Subscription
from taximeter.kernel.quantity import ONE, round_half_up
from taximeter.kernel.times import (
    Anchor,
    PeriodUnit,
    anchor_at,
)

NEW_YORK = "America/New_York"
INSTANT = timedelta(microseconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def flat(
    amount: str,
    timing: Timing = "advance",
    *,
    key: str = "base",
    name: str = "Base",
    period: PeriodUnit | None = None,
    discount: str | None = None,
) -> FlatPrice:
    off = None if discount is None else Discount(Decimal(discount), None)
    return FlatPrice(key, name, "USD", Decimal(amount), timing, period, off)


def seat(unit: str, timing: Timing = "advance", *, key: str = "seats") -> SeatPrice:
    return SeatPrice(key, "Seats", "USD", PerUnit(Decimal(unit), ONE), timing, None, None)


def plan(*prices: Price, version: int = 1, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        **{"key": "p", "version": version, "name": "P", "currency": "USD", "period": "month"},
        **{"prices": prices, "minimum": None, "grace_s": 3600},
    }
    return Plan(**{**values, **changes})


def subscription(
    first: Plan,
    start: str = "2026-04-01",
    *,
    anchor: str | None = None,
    timezone: str = "UTC",
    seats: int | None = None,
    ends_at: str | None = None,
    proration: Proration = "by_day",
) -> Subscription:
    at, end = utc(start), None if ends_at is None else utc(ends_at)
    counts = {} if seats is None else {"seats": Decimal(seats)}
    grid = anchor_at(at, timezone)
    if anchor is not None:
        grid = Anchor(datetime.fromisoformat(anchor), timezone)
    phase = Phase(at, end, first, counts, proration)
    return Subscription("sub_1", None, "acme", grid, at, end, 30, at, (phase,))


def to(
    it: Subscription,
    at: str,
    new: Plan | None = None,
    proration: Proration = "by_day",
    seats: int | None = None,
) -> Subscription:
    counts: Mapping[str, Decimal] = {} if seats is None else {"seats": Decimal(seats)}
    return change(it, at=utc(at), plan=new, quantities=counts, proration=proration)


def ended(
    it: Subscription, at: str, *, made_at: str | None = None, credit_unused: bool = False
) -> Subscription:
    return cancel(it, utc(at), made_at=utc(made_at or at), credit_unused=credit_unused)


def short(at: datetime) -> str:
    text = at.replace(tzinfo=None).isoformat()
    return text.removesuffix(":00").removesuffix("T00:00")


def bill(it: Subscription, boundary: str) -> list[tuple[str, str, str]]:
    """What the invoice of a boundary charges: rounded to cents, from, to."""
    return [shown(charge) for charge in charges_at(it, utc(boundary))]


def shown(charge: Charge) -> tuple[str, str, str]:
    covered = charge.part.period
    return str(round_half_up(charge.amount, 2)), short(covered.start), short(covered.end)


def bounds(it: Subscription, until: str, after: str | None = None) -> list[str]:
    found = boundaries(it, None if after is None else utc(after), utc(until))
    return [short(at) for at in found]
