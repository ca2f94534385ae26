"""Instants, periods and the calendar arithmetic of billing.

Owns the computation of period boundaries: the n-th step from an anchor, in the customer's time
zone, clamped to the month's last day, at the anchor's local time of day; never chained, so that
an anchor day comes back after a short month. Must not read the clock.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

PeriodUnit = Literal["day", "week", "month", "quarter", "year"]
INSTANT_CHARS_MIN = len("2026-01-05T10:00:00Z")
PERIOD_UNITS: tuple[PeriodUnit, ...] = ("day", "week", "month", "quarter", "year")

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}
_YEAR_MIN, _YEAR_MAX = 1000, 8999  # room on both sides: no calendar step leaves datetime's range
_DURATION_DAYS_MAX = 36_600
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,12})?"
_RFC3339 = re.compile(rf"{_DATE}[Tt]{_TIME}([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])\Z").match
_CHARS_MAX = len("2026-01-05T10:00:00.123456789012Z")
_LOCAL = re.compile(rf"{_DATE}(T{_TIME})?\Z").match
_DURATION = re.compile(
    r"P(?:(?P<years>[0-9]{1,4})Y)?(?:(?P<months>[0-9]{1,4})M)?(?:(?P<weeks>[0-9]{1,4})W)?"
    r"(?:(?P<days>[0-9]{1,5})D)?(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,5})H)?(?:(?P<minutes>[0-9]{1,6})M)?"
    r"(?:(?P<seconds>[0-9]{1,8})S)?)?\Z"
).match


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The half-open span of instants [start, end), both aware UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        assert self.start.tzinfo is UTC and self.end.tzinfo is UTC, "a period is in UTC"
        assert self.start <= self.end, "a period does not end before it starts"

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end

    def overlap(self, other: "Period") -> "Period | None":
        """The part both share, or None where that is empty."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class Anchor:
    """From where periods are counted: a local date-time (naive) and the zone it is meant in."""

    local: datetime
    timezone: str

    def __post_init__(self) -> None:
        assert self.local.tzinfo is None, "an anchor's local time carries no zone"


def zone(name: str) -> ZoneInfo | None:
    """The IANA time zone `name`, or None where there is none.

    What some systems keep beside the IANA zones is refused: it means something else on another
    machine (`localtime`), or counts leap seconds (`right/...`).
    """
    if name in ("localtime", "posixrules", "Factory") or name.startswith(("posix/", "right/")):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def to_utc(local: datetime, timezone: str) -> datetime:
    """The instant of a naive local time. A time that a clock skips moves on by the gap; of a
    time that a clock shows twice, the first is meant.
    """
    return local.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def to_local(at: datetime, timezone: str) -> datetime:
    """The naive local time that clocks in `timezone` show at the instant `at`."""
    return at.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)


def anchor_at(at: datetime, timezone: str) -> Anchor:
    """The anchor whose local time is what `timezone` shows at the instant `at`."""
    return Anchor(to_local(at, timezone), timezone)


@lru_cache(maxsize=65536)
def boundary(anchor: Anchor, unit: PeriodUnit, step: int) -> datetime:
    """The instant at which the `step`-th period from the anchor begins (negative: before it)."""
    if unit in _DAYS:
        local = anchor.local + timedelta(days=_DAYS[unit] * step)
    else:
        local = _add_months(anchor.local, _MONTHS[unit] * step)
    return to_utc(local, anchor.timezone)


def _add_months(local: datetime, months: int) -> datetime:
    """`months` later on the calendar, clamped to the month's last day."""
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    day = min(local.day, monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day)


def period_step(anchor: Anchor, unit: PeriodUnit, at: datetime) -> int:
    """The ordinal of the period that contains `at`: 0 is the one that begins at the anchor."""
    local = to_local(at, anchor.timezone)
    if unit in _DAYS:
        step = (local - anchor.local).days // _DAYS[unit]
    else:
        months = (local.year - anchor.local.year) * 12 + local.month - anchor.local.month
        step = months // _MONTHS[unit]
    while boundary(anchor, unit, step) > at:
        step -= 1
    while boundary(anchor, unit, step + 1) <= at:
        step += 1
    return step


def period_at(anchor: Anchor, unit: PeriodUnit, at: datetime) -> Period:
    """The period of the anchor's grid that contains `at`."""
    step = period_step(anchor, unit, at)
    return Period(boundary(anchor, unit, step), boundary(anchor, unit, step + 1))


def local_days(period: Period, timezone: str) -> int:
    """How many local midnights-to-midnights lie between the local dates of both ends."""
    return (to_local(period.end, timezone).date() - to_local(period.start, timezone).date()).days


def parse_instant(text: str) -> datetime | None:
    """The instant of an RFC 3339 date-time with an offset, or None where `text` is not one or lies
    outside the years 1000 to 8999.

    Digits beyond the microsecond are cut, not rounded: time order is kept. A leap second (`:60`)
    is refused: no instant of ours stands for it.
    """
    if not _is_laid_out(text):
        if not _RFC3339(text):
            return None
        text = text.upper()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _YEAR_MIN <= at.year <= _YEAR_MAX:
        return None
    return at if at.tzinfo is UTC else at.astimezone(UTC)


def _is_laid_out(text: str) -> bool:
    """Whether `text` is as most write an instant, `2026-01-05T10:00:00.123Z`: told sooner than by
    the pattern. Whether digits stand where else they should is left to who reads them.
    """
    return (
        len(text) >= INSTANT_CHARS_MIN
        and text[4] == text[7] == "-"
        and text[10] == "T"
        and text[11:13] < "24"
        and text[13] == text[16] == ":"
        and (text[14:16] + text[17:19]).isdigit()
        and text[-1] == "Z"
        and (
            len(text) == INSTANT_CHARS_MIN
            or (text[19] == "." and len(text) <= _CHARS_MAX and text[20:-1].isdigit())
        )
        and text.isascii()
    )


def format_instant(at: datetime) -> str:
    """RFC 3339 in UTC with `Z`; a fraction only where there is one."""
    assert at.tzinfo is not None, "an instant is aware"
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat()[:-6] + "Z"


def parse_local(text: str) -> datetime | None:
    """A naive local date or date-time (`2026-01-31`, `2026-01-31T15:00:00`), or None; the years
    are bounded as those of `parse_instant`.
    """
    if not _LOCAL(text):
        return None
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return None
    return local if _YEAR_MIN <= local.year <= _YEAR_MAX else None


@dataclass(frozen=True, slots=True)
class Duration:
    """An ISO 8601 duration: calendar months and exact seconds are kept apart."""

    months: int
    days: int
    seconds: int

    def after(self, start: datetime, timezone: str) -> datetime:
        """The instant this long after `start`: months and days on the local calendar, as one step
        (an hour that the clocks skip in between moves nothing), then exact seconds.
        """
        end = start
        if self.months or self.days:
            local = _add_months(to_local(start, timezone), self.months)
            end = to_utc(local + timedelta(days=self.days), timezone)
        return end + timedelta(seconds=self.seconds)

    def times(self, count: int) -> "Duration":
        """`count` of these, one after the other."""
        return Duration(self.months * count, self.days * count, self.seconds * count)

    @property
    def longest(self) -> timedelta:
        """No shorter than it is anywhere on the calendar, summer time included."""
        return timedelta(days=self.months * 31 + self.days + 1, seconds=self.seconds)

    @property
    def text(self) -> str:
        """As ISO 8601 writes it: `P1Y`, `P3M`, `P14D`, `PT90S`."""
        years, months = divmod(self.months, 12)
        parts = [(years, "Y"), (months, "M"), (self.days, "D")]
        date = "".join(f"{count}{unit}" for count, unit in parts if count)
        return f"P{date}" + (f"T{self.seconds}S" if self.seconds else "")


def parse_duration(text: str) -> Duration | None:
    """The ISO 8601 duration `text` (`P3M`, `PT24H`), or None where it is not one, is empty, or is
    longer than about a century.
    """
    match = _DURATION(text)
    if not match:
        return None
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    duration = Duration(
        months=part["years"] * 12 + part["months"],
        days=part["weeks"] * 7 + part["days"],
        seconds=part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"],
    )
    days = duration.months * 30 + duration.days + duration.seconds // 86_400
    empty = duration == Duration(0, 0, 0)
    return None if empty or days > _DURATION_DAYS_MAX else duration
