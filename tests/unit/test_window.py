"""Windows of usage: each instant is in one, days follow the zone, hours count from its midnight."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.metering.window import (
    HOUR,
    Window,
    floor_hour,
    hours_and_rest,
    window_at,
    windows_in,
)
from taximeter.kernel.times import Period, parse_instant

WINDOWS: tuple[Window, ...] = get_args(Window)
ZONES = ("UTC", "Europe/Paris", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
INSTANTS = st.datetimes(datetime(2011, 1, 1), datetime(2027, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)


def at(text: str) -> datetime:
    found = parse_instant(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("window", "timezone", "instant", "start", "end"),
    [
        ("minute", "UTC", "2026-03-10T11:59:59.9Z", "2026-03-10T11:59:00Z", "2026-03-10T12:00:00Z"),
        ("hour", "UTC", "2026-03-10T12:00:00Z", "2026-03-10T12:00:00Z", "2026-03-10T13:00:00Z"),
        # India is 5:30 ahead: its hours begin at the half of ours, its day at 18:30.
        ("hour", "Asia/Kolkata", "2026-03-10T12:00:00Z", "2026-03-10T11:30:00Z",
         "2026-03-10T12:30:00Z"),
        ("day", "Asia/Kolkata", "2026-03-10T18:30:00Z", "2026-03-10T18:30:00Z",
         "2026-03-11T18:30:00Z"),
        # 29 March 2026 has 23 hours in Paris, 25 October 25.
        ("day", "Europe/Paris", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z",
         "2026-03-29T22:00:00Z"),
        ("day", "Europe/Paris", "2026-10-25T00:00:00Z", "2026-10-24T22:00:00Z",
         "2026-10-25T23:00:00Z"),
        ("month", "America/New_York", "2026-03-31T23:00:00Z", "2026-03-01T05:00:00Z",
         "2026-04-01T04:00:00Z"),
        # Lord Howe goes back by half an hour on 5 April 2026: its day, 24.5 hours long, ends with
        # half an hour.
        ("hour", "Australia/Lord_Howe", "2026-04-05T13:10:00Z", "2026-04-05T13:00:00Z",
         "2026-04-05T13:30:00Z"),
        ("total", "Europe/Paris", "2026-03-10T12:00:00Z", "2026-03-09T23:00:00Z",
         "2026-03-10T23:00:00Z"),
    ],
)  # fmt: skip
def test_a_window_contains_its_instant(
    window: Window, timezone: str, instant: str, start: str, end: str
) -> None:
    assert window_at(window, timezone, at(instant)) == Period(at(start), at(end))


@given(st.sampled_from(WINDOWS), st.sampled_from(ZONES), INSTANTS, st.integers(1, 200_000))
def test_windows_part_their_span(
    window: Window, timezone: str, start: datetime, seconds: int
) -> None:
    span = Period(
        start, start + timedelta(seconds=seconds if window != "minute" else seconds % 999)
    )
    found = list(windows_in(window, timezone, span))
    assert [one.end for one in found[:-1]] == [one.start for one in found[1:]]
    assert all(one.start < one.end for one in found)
    if span.start < span.end:
        assert (found[0].start, found[-1].end) == (span.start, span.end)
    if window != "total":
        assert all(one.end == window_at(window, timezone, one.start).end for one in found[:-1])


@given(INSTANTS, st.integers(1, 5 * 3600))
def test_hours_and_the_rest_are_the_whole(start: datetime, seconds: int) -> None:
    period = Period(start, start + timedelta(seconds=seconds))
    whole, rest = hours_and_rest(period)
    parts = sorted([*rest, *([whole] if whole else [])])
    assert (parts[0].start, parts[-1].end) == (period.start, period.end)
    assert [one.end for one in parts[:-1]] == [one.start for one in parts[1:]]
    for one in rest:
        assert one.end <= floor_hour(one.start) + HOUR
        assert (one.start, one.end) != (floor_hour(one.start), floor_hour(one.start) + HOUR)
    if whole is not None:
        assert (floor_hour(whole.start), floor_hour(whole.end)) == (whole.start, whole.end)
