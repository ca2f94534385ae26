"""Rate caps: for how much of a feature holds may be placed in a second, a minute or an hour.

Owns the windows, which are those of UTC, and the names of the counters that count in them. A
counter stands among those of a customer's holds, but belongs to none of them: a hold that is
released was placed all the same.
"""

from datetime import UTC, datetime, timedelta

from taximeter.domain.catalog.entitlement import RatePer
from taximeter.kernel.times import Period

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
RATE_STEPS: dict[RatePer, timedelta] = {
    "second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1),
}  # fmt: skip
_PREFIX = "r:"


def rate_window(per: RatePer, at: datetime) -> Period:
    """The window that contains the instant `at`."""
    start = _FIRST + _number(per, at) * RATE_STEPS[per]
    return Period(start, start + RATE_STEPS[per])


def rate_counter(feature: str, per: RatePer, at: datetime) -> str:
    """What counts for the feature in the window that contains `at`: `r:<feature>:<per>:<number>`,
    where the number is that of the window since 1970.
    """
    return f"{_PREFIX}{feature}:{per}:{_number(per, at)}"


def is_over(counter: str, at: datetime) -> bool:
    """Whether this counter is of a rate, and its window has ended by `at`."""
    if not counter.startswith(_PREFIX):
        return False
    head, _, number = counter.rpartition(":")
    per = next(one for one in RATE_STEPS if head.endswith(f":{one}"))
    return int(number) < _number(per, at)


def _number(per: RatePer, at: datetime) -> int:
    return (at - _FIRST) // RATE_STEPS[per]
