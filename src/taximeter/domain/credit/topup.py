"""Auto top-up: when a wallet is topped up, and by how much.

Owns the decision. A wallet below its threshold is topped up to its target, within a day's and a
month's maximum of the customer's time zone. After a failure nothing is asked for in an hour, and
after the third of a day not until the next.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from taximeter.kernel.quantity import ZERO, floor_at
from taximeter.kernel.times import Period

Payment = Literal["gateway", "manual"]
TopupStatus = Literal["requested", "paid", "failed"]

FAILURES_PER_DAY = 3
PAUSE_AFTER_FAILURE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AutoTopup:
    """Below `threshold` the wallet is topped up to `target`, by `max_per_day` a day and
    `max_per_month` a month at most (None: as often as days allow). What is bought expires
    `expires_after` (an ISO 8601 duration; None: never). `payment`: whether the gateway is asked,
    where there is one, or somebody else collects.
    """

    customer: str
    asset: str
    threshold: Decimal
    target: Decimal
    max_per_day: Decimal
    max_per_month: Decimal | None
    expires_after: str | None
    payment: Payment

    def __post_init__(self) -> None:
        assert ZERO <= self.threshold < self.target, "the target lies above the threshold"
        assert self.max_per_day > ZERO, "a day's maximum allows something"


@dataclass(frozen=True, slots=True)
class History:
    """What was asked for before: amounts not failed of the `day` and the `month` that contain the
    instant of a decision, how many failed in the day, and when the last did, since auto top-up was
    set.
    """

    day: Period
    month: Period
    in_day: Decimal
    in_month: Decimal
    failures: int
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Due:
    """A top-up by this amount is to be asked for."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class Quiet:
    """The wallet is low, but nothing may be asked for before `until`."""

    until: datetime


def decide_topup(
    auto: AutoTopup, available: Decimal, history: History, at: datetime, digits: int
) -> Due | Quiet | None:
    """What is to be done about a wallet with this much available at the instant `at`; None:
    nothing, it has enough. Amounts are of whole units of `digits` decimals.
    """
    if available >= auto.threshold:
        return None
    if history.failures >= FAILURES_PER_DAY:
        return Quiet(history.day.end)
    if history.failed_at is not None and at < history.failed_at + PAUSE_AFTER_FAILURE:
        return Quiet(history.failed_at + PAUSE_AFTER_FAILURE)
    room = floor_at(auto.max_per_day - history.in_day, digits)
    if room <= ZERO:
        return Quiet(history.day.end)
    if auto.max_per_month is not None:
        left = floor_at(auto.max_per_month - history.in_month, digits)
        if left <= ZERO:
            return Quiet(history.month.end)
        room = min(room, left)
    wanted = -floor_at(available - auto.target, digits)  # the missing part, rounded up
    return Due(min(wanted, room))
