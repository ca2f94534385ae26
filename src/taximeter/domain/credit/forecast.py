"""How long a wallet's credit lasts, and for how much of what it pays.

Owns both forecasts. They assume that usage goes on as it did, take grants in burn order, and count
no credit that is yet to come. Must not know where the rate comes from.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.plan import Dimensional, PerUnit, UsageModel, UsagePrice
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.quantity import ZERO, divide, round_half_up

DAYS_MAX = 36_600
_DAY_S = 86_400
Match = tuple[tuple[str, str], ...]


def runs_out_at(
    grants: Sequence[Grant], available: Decimal, per_day: Decimal, at: datetime
) -> datetime | None:
    """When nothing will be available any more, in whole seconds, if `per_day` is drawn from now on
    from these usable grants, in burn order. `available` is less than their sum by what debts and
    holds take first, or more by a surplus, which is drawn before them. None: not at this rate, or
    not within a century.

    A grant that ends before it is drawn up takes what it has left with it.
    """
    if per_day <= ZERO:
        return None
    if available <= ZERO:
        return at
    owed = sum((grant.remaining for grant in grants), ZERO) - available
    day = max(ZERO, divide(-owed, per_day))
    owed = max(ZERO, owed)
    for grant in grants:
        taken = min(owed, grant.remaining)
        owed -= taken
        ends = _days_until(grant.expires_at, at)
        if ends is None or day < ends:
            empty = day + divide(grant.remaining - taken, per_day)
            day = empty if ends is None else min(empty, ends)
    if day > DAYS_MAX:
        return None
    return at + timedelta(seconds=int(round_half_up(day * _DAY_S, 0)))


def _days_until(end: datetime | None, at: datetime) -> Decimal | None:
    if end is None:
        return None
    return divide(Decimal((end - at) // timedelta(microseconds=1)), Decimal(_DAY_S * 1_000_000))


def enough_for(price: UsagePrice, free: Decimal) -> Decimal | None:
    """How many whole units `free` pays at this price; None where its units do not all cost the
    same from the first on, or cost nothing.
    """
    return _units(price.model, free) if _is_plain(price) else None


def enough_by_rate(price: UsagePrice, free: Decimal) -> Sequence[tuple[Match, Decimal]]:
    """How many whole units of each rate of a dimensional price `free` pays, if all of it goes to
    that rate; in the order written. Rates that ask for a range of numbers, whose units do not all
    cost the same, or cost nothing, are left out.
    """
    model = price.model
    if not isinstance(model, Dimensional) or not _is_plain(price):
        return ()
    plain = [(rate.match, _units(rate.model, free)) for rate in model.rates if not rate.ranges]
    return [(match, units) for match, units in plain if units is not None]


def _is_plain(price: UsagePrice) -> bool:
    """Whether nothing but the model decides what a unit costs."""
    return not (
        price.included or price.group or price.multipliers or price.discount is not None
        or price.maximum is not None or price.maximum_per_day is not None
    )  # fmt: skip


def _units(model: UsageModel, free: Decimal) -> Decimal | None:
    if not isinstance(model, PerUnit) or model.unit <= ZERO:
        return None
    return max(ZERO, free) * model.per // model.unit


def free_for(grants: Iterable[tuple[Grant, Decimal]], beside: Decimal, meter: str) -> Decimal:
    """What is free for usage of `meter` at no path: what the grants that cover it have free, and
    what the wallet has beside its grants (negative: what it owes).
    """
    return sum((free for grant, free in grants if grant.covers(meter)), beside)
