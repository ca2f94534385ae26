"""Budgets: how much of an asset a customer, or a part of it, may spend in a window of time.

Owns the value, what it covers and when its window begins. What was spent is counted elsewhere.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from taximeter.domain.entitlement.setter import Setter
from taximeter.kernel.paths import lies_within
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Anchor, Period, PeriodUnit, period_at

BudgetWindow = Literal["day", "week", "month", "period", "total"]
BudgetEnforcement = Literal["hard", "soft"]

# It begins on the second day that there is: the first is before the year 1 further west.
ALWAYS = Period(datetime(1, 1, 2, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_MONDAY = datetime(2000, 1, 3)
_FIRST = datetime(2000, 1, 1)
_CALENDAR: dict[str, tuple[datetime, PeriodUnit]] = {
    "day": (_FIRST, "day"), "week": (_MONDAY, "week"), "month": (_FIRST, "month"),
}  # fmt: skip
# The window of each kind and zone that was asked for last: asked for by each decision, it changes
# once a day. Bounded by the zones there are.
_newest: dict[tuple[str, str], Period] = {}


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `limit` of `asset` in each `window`, for what lies within `path` (None: for all that
    the customer does). A `hard` one refuses what would pass it. `alerts` are the shares of the
    limit at which it is told, each once in a window. `set_by` says who may change it;
    `revision` tells one limit from another that it had before. A hold that needs more than
    `approve_above` (None: none does) has to be approved, whether the budget is hard or soft.
    """

    customer: str
    name: str
    path: str | None
    asset: str
    limit: Decimal
    window: BudgetWindow
    enforcement: BudgetEnforcement
    alerts: tuple[Decimal, ...]
    set_by: Setter = "seller"
    revision: int = 0
    approve_above: Decimal | None = None

    def __post_init__(self) -> None:
        assert self.limit >= ZERO, "a budget is not negative"
        assert self.approve_above is None or self.approve_above >= ZERO, "nor is its threshold"

    def covers(self, asset: str, path: str | None) -> bool:
        """Whether an amount of `asset` at `path` counts towards it."""
        return asset == self.asset and (self.path is None or lies_within(path, self.path))


def window_of(
    window: BudgetWindow, timezone: str, at: datetime, period: Period | None = None
) -> Period:
    """The window that contains the instant `at`: days, weeks (from Monday) and months of the
    customer's `timezone`; `period` is the billing period at that instant, without which
    the window `period` is the month.
    """
    if window == "total":
        return ALWAYS
    if window == "period":
        if period is not None:
            return period
        window = "month"
    known = _newest.get((window, timezone))
    if known is not None and known.start <= at < known.end:
        return known
    start, unit = _CALENDAR[window]
    found = _newest[window, timezone] = period_at(Anchor(start, timezone), unit, at)
    return found
