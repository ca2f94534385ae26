"""Prices, rated usage, lines and grants for tests, in a few words."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from taximeter.domain.catalog.plan import (
    PerUnit,
    Plan,
    Price,
    UsagePrice,
)
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.invoicing.lines import (
    Line,
    numbered,
    usage_lines,
)
from taximeter.domain.invoicing.totals import AppliedCredits
from taximeter.domain.rating.step import Rated, Step
from taximeter.domain.subscription.charges import Minimum
from taximeter.domain.subscription.subscription import Segment
from taximeter.kernel.quantity import ONE, ZERO
from taximeter.kernel.times import Period

NO_CREDITS = AppliedCredits((), (), ZERO)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


APRIL = Period(utc("2026-04-01"), utc("2026-05-01"))
AT = utc("2026-05-01T01:00")


def plan(*prices: Price, currency: str = "USD", minimum: str | None = None) -> Plan:
    least = None if minimum is None else Decimal(minimum)
    return Plan("p", 3, "P", currency, "month", prices, least, 3600)


def usage_price(**changes: Any) -> UsagePrice:
    values: dict[str, Any] = {
        **{"key": "u", "name": "Use", "asset": "USD", "meter": "m", "settle": "invoice"},
        **{"model": PerUnit(ONE, ONE), "period": None, "included": ZERO, "discount": None},
        **{"maximum": None, "minimum": None},
    }
    return UsagePrice(**{**values, **changes})


def segment(price: UsagePrice) -> Segment:
    return Segment(price, plan(price, currency=price.asset), "month", APRIL, APRIL)


def rated(amount: str, rate: tuple[tuple[str, str], ...] | None = None) -> Rated:
    value = Decimal(amount)
    return Rated(rate, "Use", value, value, (Step("use", value, ONE, value),))


def lines_of(*amounts: str, asset: str = "USD", meter: str = "m") -> tuple[Line, ...]:
    """One usage line for each exact amount."""
    seg = segment(usage_price(asset=asset, meter=meter))
    return numbered(line for amount in amounts for line in usage_lines(seg, [rated(amount)]))


def least(amount: str, currency: str = "USD") -> Minimum:
    value = Decimal(amount)
    steps = (Step(f"minimum of {amount}", None, None, value),)
    return Minimum(plan(currency=currency, minimum=amount), APRIL, value, steps)


def grant(id: str, amount: str, **changes: Any) -> Grant:
    values: dict[str, Any] = {
        **{"id": id, "customer": "acme", "asset": "USD", "amount": Decimal(amount)},
        **{"remaining": Decimal(amount), "kind": "paid", "priority": 50, "effective_at": AT},
        **{"expires_at": None, "scope_meters": None, "created_at": AT},
    }
    return Grant(**{**values, **changes})
