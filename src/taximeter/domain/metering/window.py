"""The windows that usage is shown in: minutes, hours, days and months of a time zone.

Owns where a window begins and ends. Days and months are the zone's own, so a day may have 23 or 25
hours; hours and minutes are counted from the day's beginning, so they follow the zone's offset.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

from taximeter.kernel.times import Anchor, Period, PeriodUnit, period_at

Window = Literal["minute", "hour", "day", "month", "total"]

HOUR = timedelta(hours=1)
_STEPS = {"minute": timedelta(minutes=1), "hour": HOUR}
_UNITS: dict[str, PeriodUnit] = {"day": "day", "month": "month"}
_MIDNIGHT = datetime(2000, 1, 1)


def window_at(window: Window, timezone: str, at: datetime) -> Period:
    """The window of `timezone` that contains the instant `at`; of `total`, its day."""
    anchor = Anchor(_MIDNIGHT, timezone)
    whole = period_at(anchor, _UNITS.get(window, "day"), at)
    step = _STEPS.get(window)
    if step is None:
        return whole
    start = whole.start + (at - whole.start) // step * step
    return Period(start, min(start + step, whole.end))


def windows_in(window: Window, timezone: str, span: Period) -> Iterator[Period]:
    """The windows that `span` touches, by time, each cut to it; together they are the span."""
    at = span.start
    while at < span.end:
        end = span.end
        if window != "total":
            end = min(end, window_at(window, timezone, at).end)
        yield Period(at, end)
        at = end


def hours_and_rest(period: Period) -> tuple[Period | None, tuple[Period, ...]]:
    """The whole UTC hours of `period`, and what is left of it, each part within one hour."""
    start = floor_hour(period.start)
    start = start if start == period.start else start + HOUR
    end = floor_hour(period.end)
    if start > end:
        return None, (period,)
    edges = (Period(period.start, start), Period(end, period.end))
    whole = Period(start, end) if start < end else None
    return whole, tuple(edge for edge in edges if edge.start < edge.end)


def floor_hour(at: datetime) -> datetime:
    """The beginning of the UTC hour that contains `at`."""
    return at.replace(minute=0, second=0, microsecond=0)
