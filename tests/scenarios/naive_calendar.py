"""Billing periods, counted naively: step by step from the anchor, on the local calendar."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = {"month": 1, "quarter": 3, "year": 12}


def instant(text: str) -> datetime:
    """The instant of an RFC 3339 text."""
    return datetime.fromisoformat(text).astimezone(UTC)


def bound(anchor: datetime, timezone: str, unit: str, step: int) -> datetime:
    """When the `step`-th period from the anchor begins; the anchor's day comes back."""
    if unit in ("day", "week"):
        local = anchor + timedelta(days=step * (7 if unit == "week" else 1))
    else:
        months = anchor.year * 12 + anchor.month - 1 + step * MONTHS[unit]
        year, month = months // 12, months % 12 + 1
        local = anchor.replace(
            year=year, month=month, day=min(anchor.day, monthrange(year, month)[1])
        )
    return local.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def period_around(
    anchor: datetime, timezone: str, unit: str, at: datetime
) -> tuple[datetime, datetime]:
    """The period that holds the instant."""
    step = 0
    while bound(anchor, timezone, unit, step) > at:
        step -= 1
    while bound(anchor, timezone, unit, step + 1) <= at:
        step += 1
    return bound(anchor, timezone, unit, step), bound(anchor, timezone, unit, step + 1)


def days(timezone: str, span: tuple[datetime, datetime]) -> int:
    """The days between the local dates of both ends."""
    first, last = (local_date(timezone, at) for at in span)
    return (last - first).days


def local_date(timezone: str, at: datetime) -> date:
    """The date that a wall calendar shows there."""
    return at.astimezone(ZoneInfo(timezone)).date()
