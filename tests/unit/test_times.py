"""Calendar arithmetic: period boundaries, time zones, durations, and the texts of instants."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taximeter.kernel.times import (
    PERIOD_UNITS,
    Anchor,
    Duration,
    Period,
    PeriodUnit,
    anchor_at,
    boundary,
    format_instant,
    local_days,
    parse_duration,
    parse_instant,
    parse_local,
    period_at,
    period_step,
    to_local,
    to_utc,
    zone,
)

NEW_YORK = "America/New_York"


def utc(text: str) -> datetime:
    """`2026-01-31`, `2026-01-31T05` or a full local form, read as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def anchor(local: str, timezone: str = "UTC") -> Anchor:
    return Anchor(datetime.fromisoformat(local), timezone)


@pytest.mark.parametrize(
    ("local", "timezone", "unit", "at", "start", "end"),
    [
        ("2024-12-31", "UTC", "month", "2025-06-15", "2025-05-31", "2025-06-30"),
        ("2024-02-29", "UTC", "year", "2024-02-29", "2024-02-29", "2025-02-28"),
        ("2024-02-29", "UTC", "year", "2028-03-01", "2028-02-29", "2029-02-28"),  # it comes back
        (
            *("2025-01-31T15:00", "UTC", "month", "2025-08-13T20"),
            *("2025-07-31T15", "2025-08-31T15"),
        ),
        ("2025-01-30", "UTC", "month", "2025-02-13", "2025-01-30", "2025-02-28"),
        ("2025-01-31", "UTC", "month", "2025-04-15", "2025-03-31", "2025-04-30"),
        ("2025-01-31", "UTC", "month", "2025-02-28", "2025-02-28", "2025-03-31"),
        ("2024-01-31", "UTC", "month", "2024-02-29", "2024-02-29", "2024-03-31"),  # leap year
        ("2026-03-08", NEW_YORK, "day", "2026-03-08T05", "2026-03-08T05", "2026-03-09T04"),
        (
            *("2026-10-01", "Europe/Paris", "month", "2026-10-15"),
            *("2026-09-30T22", "2026-10-31T23"),
        ),
        ("2025-11-30", "UTC", "quarter", "2026-03-01", "2026-02-28", "2026-05-30"),
        (
            *("2026-01-01", "Asia/Kolkata", "month", "2026-01-15"),
            *("2025-12-31T18:30", "2026-01-31T18:30"),
        ),
        ("2026-03-02", NEW_YORK, "week", "2026-03-05", "2026-03-02T05", "2026-03-09T04"),
        # before the anchor the same grid goes on
        ("2025-01-31", "UTC", "month", "2024-02-15", "2024-01-31", "2024-02-29"),
        ("2026-01-05", "UTC", "week", "2025-12-31", "2025-12-29", "2026-01-05"),
        # the instant of a boundary belongs to the period that begins there
        ("2026-01-01", "UTC", "month", "2026-02-01", "2026-02-01", "2026-03-01"),
    ],
)
def test_the_period_that_contains_an_instant(
    local: str, timezone: str, unit: PeriodUnit, at: str, start: str, end: str
) -> None:
    found = period_at(anchor(local, timezone), unit, utc(at))
    assert found == Period(utc(start), utc(end))


def test_monthly_boundaries_follow_the_local_clock_through_both_changes_of_it() -> None:
    # 00:00 in New York is 05:00 UTC in winter and 04:00 UTC from March 10 to November 3, 2024
    months = anchor("2024-01-31", NEW_YORK)
    assert [boundary(months, "month", step) for step in range(15)] == [
        utc(text)
        for text in (
            *("2024-01-31T05", "2024-02-29T05", "2024-03-31T04", "2024-04-30T04"),
            *("2024-05-31T04", "2024-06-30T04", "2024-07-31T04", "2024-08-31T04"),
            *("2024-09-30T04", "2024-10-31T04", "2024-11-30T05", "2024-12-31T05"),
            *("2025-01-31T05", "2025-02-28T05", "2025-03-31T04"),
        )
    ]


@pytest.mark.parametrize(
    ("start", "timezone", "unit", "hours"),
    [
        ("2026-03-08", NEW_YORK, "day", 23),
        ("2026-11-01", NEW_YORK, "day", 25),
        ("2026-10-01", "Europe/Paris", "month", 745),
        ("2026-03-02", NEW_YORK, "week", 167),
    ],
)
def test_a_period_in_which_the_clock_changes_is_an_hour_off(
    start: str, timezone: str, unit: PeriodUnit, hours: int
) -> None:
    begins = to_utc(datetime.fromisoformat(start), timezone)
    period = period_at(anchor(start, timezone), unit, begins)
    assert period.end - period.start == timedelta(hours=hours)


def test_a_boundary_that_the_clock_skips_moves_on_by_the_gap_and_then_comes_back() -> None:
    # 02:30 does not exist on 8 March 2026 in New York: 01:59 EST is followed by 03:00 EDT
    days = anchor("2026-03-07T02:30", NEW_YORK)
    assert [boundary(days, "day", step) for step in range(3)] == [
        utc("2026-03-07T07:30"),
        utc("2026-03-08T07:30"),  # 03:30 EDT
        utc("2026-03-09T06:30"),  # 02:30 EDT again
    ]


def test_a_boundary_that_the_clock_shows_twice_is_the_first() -> None:
    # 01:30 comes twice on 1 November 2026 in New York: 05:30Z and 06:30Z
    days = anchor("2026-10-31T01:30", NEW_YORK)
    assert boundary(days, "day", 1) == utc("2026-11-01T05:30")
    # 06:15Z shows 01:15, a time of day before 01:30, and yet the period has begun
    assert period_step(days, "day", utc("2026-11-01T06:15")) == 1
    assert period_step(days, "day", utc("2026-11-01T05:29:59")) == 0


def test_a_day_that_a_zone_left_out_is_no_period() -> None:
    # Samoa went from 29 to 31 December 2011; 30 December does not exist
    days = anchor("2011-12-28", "Pacific/Apia")
    assert boundary(days, "day", 2) == boundary(days, "day", 3)
    assert period_at(days, "day", boundary(days, "day", 3)) == Period(
        utc("2011-12-30T10"), utc("2011-12-31T10")
    )


def test_zones_with_odd_old_offsets_have_exact_periods() -> None:
    # Amsterdam was 00:19:32 ahead of Greenwich until 1937
    months = anchor("1930-01-31", "Europe/Amsterdam")
    period = period_at(months, "month", utc("1930-02-10"))
    assert period.start == boundary(months, "month", 0)
    assert period.end == boundary(months, "month", 1)
    assert to_local(period.end, "Europe/Amsterdam") == datetime(1930, 2, 28)


ZONES = st.sampled_from(
    [
        *("UTC", NEW_YORK, "Europe/Paris", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"),
        *("America/Sao_Paulo", "Africa/Monrovia", "Asia/Kathmandu", "Europe/Amsterdam"),
        *("America/St_Johns", "Pacific/Chatham", "Africa/Casablanca", "Asia/Manila"),
    ]
)
LOCALS = st.datetimes(datetime(1850, 1, 1), datetime(2100, 1, 1))
ANCHORS = st.builds(Anchor, LOCALS, ZONES)
UNITS = st.sampled_from(PERIOD_UNITS)
INSTANTS = st.datetimes(datetime(1850, 1, 1), datetime(2100, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)


@given(ANCHORS, UNITS, INSTANTS)
def test_periods_tile_time(anchor: Anchor, unit: PeriodUnit, at: datetime) -> None:
    step = period_step(anchor, unit, at)
    period = period_at(anchor, unit, at)
    assert at in period
    assert period == Period(boundary(anchor, unit, step), boundary(anchor, unit, step + 1))
    assert period_at(anchor, unit, period.end).start == period.end  # no gap, no overlap
    assert period_at(anchor, unit, period.end - timedelta(microseconds=1)) == period


@given(ANCHORS, UNITS, st.integers(-500, 500))
def test_boundaries_never_drift(anchor: Anchor, unit: PeriodUnit, step: int) -> None:
    local = to_local(boundary(anchor, unit, step), anchor.timezone)
    meant = anchor.local
    assume(local.time() == meant.time())  # else the clock skips that time of day
    if unit == "month":
        months = local.year * 12 + local.month - meant.year * 12 - meant.month
        assert months == step
    if unit in ("month", "quarter", "year"):
        assert local.day == meant.day or (local + timedelta(days=1)).month != local.month
    elif unit == "week":
        assert (local - meant).days - 7 * step in (0, 1)  # 1: a zone left that very day out


@given(ANCHORS, UNITS, st.integers(-500, 500))
def test_boundaries_are_ordered(anchor: Anchor, unit: PeriodUnit, step: int) -> None:
    assert boundary(anchor, unit, step) <= boundary(anchor, unit, step + 1)
    assert boundary(anchor, unit, step) < boundary(anchor, unit, step + 2)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-05T10:00:00Z", "2026-01-05T10:00:00"),
        ("2026-01-05t10:00:00z", "2026-01-05T10:00:00"),
        ("2026-01-05T10:00:00+02:00", "2026-01-05T08:00:00"),
        ("2026-01-05T00:00:00+14:00", "2026-01-04T10:00:00"),
        ("2026-01-05T10:00:00-00:00", "2026-01-05T10:00:00"),
        ("2026-01-05T10:00:00.5Z", "2026-01-05T10:00:00.500000"),
        ("2026-01-05T10:00:00.123456999999Z", "2026-01-05T10:00:00.123456"),  # cut, not rounded
        ("2026-12-31T23:59:59.999999999999Z", "2026-12-31T23:59:59.999999"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00"),
        ("1000-01-01T00:00:00Z", "1000-01-01T00:00:00"),
        ("8999-12-31T23:59:59Z", "8999-12-31T23:59:59"),
    ],
)
def test_an_instant_is_read(text: str, at: str) -> None:
    assert parse_instant(text) == utc(at)
    found = parse_instant(text)
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-01-05", "2026-01-05T10:00:00", "2026-01-05T10:00Z"),
        *("2026-01-05 10:00:00Z", " 2026-01-05T10:00:00Z", "2026-01-05T10:00:00Z\n"),
        *("20260105T100000Z", "2026-W02-1T10:00:00Z", "2026-1-5T10:00:00Z"),
        *("2026-02-30T10:00:00Z", "2023-02-29T10:00:00Z", "2026-13-01T10:00:00Z"),
        *("2026-00-01T10:00:00Z", "2026-01-00T10:00:00Z", "2026-01-05T24:00:00Z"),
        *("2026-01-05T10:Z\0:00Z", "2026-01-05T10:00:Z\0Z"),
        *("2026-01-05T10:60:00Z", "2026-01-05T23:59:60Z", "2026-01-05T10:00:00.Z"),
        *("2026-01-05T10:00:00.1234567890123Z", "2026-01-05T10:00:00,5Z"),
        *("2026-01-05T10:00:00+0200", "2026-01-05T10:00:00+24:00", "2026-01-05T10:00:00+05:60"),
        *("2026-01-05T10:00:00+02:00:30", "\uff12026-01-05T10:00:00Z", "0000-01-01T00:00:00Z"),
        *("0999-12-31T23:59:59Z", "9000-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"),
        *("0001-01-01T00:00:00+14:00", "12026-01-05T10:00:00Z", "+2026-01-05T10:00:00Z"),
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    assert parse_instant(text) is None


@given(INSTANTS)
def test_an_instant_survives_its_text(at: datetime) -> None:
    assert parse_instant(format_instant(at)) == at


def test_an_instant_is_written_in_utc_with_a_fraction_only_where_there_is_one() -> None:
    assert format_instant(utc("2026-01-05T10:00:00")) == "2026-01-05T10:00:00Z"
    assert format_instant(utc("2026-01-05T10:00:00.5")) == "2026-01-05T10:00:00.500000Z"


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("2026-01-31", datetime(2026, 1, 31)),
        ("2026-01-31T15:00:00", datetime(2026, 1, 31, 15)),
        ("2026-01-31T15:00:00.25", datetime(2026, 1, 31, 15, 0, 0, 250_000)),
        ("2026-02-29", None),
        ("2026-W05-6", None),  # ten characters as a date has, and a date to Python
        ("20260131", None),
        ("2026-01-31 15:00:00", None),
        ("2026-01-31T15", None),
        ("2026-01-31T15:00:00Z", None),
        ("2026-01-31T15:00:00+02:00", None),
        ("2026-01-31T24:00:00", None),
        ("0999-01-31", None),
        ("9000-01-31", None),
        ("", None),
    ],
)
def test_a_local_time_carries_no_zone(text: str, local: datetime | None) -> None:
    assert parse_local(text) == local


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("P3M", Duration(3, 0, 0)),
        ("P1Y2M", Duration(14, 0, 0)),
        ("P2W1D", Duration(0, 15, 0)),
        ("PT24H", Duration(0, 0, 86_400)),
        ("P1DT1H1M1S", Duration(0, 1, 3_661)),
        ("P100Y", Duration(1200, 0, 0)),
        *((text, None) for text in ("", "P", "PT", "P0D", "PT0S", "P1DT", "1D", "P-1D", "-P1D")),
        *((text, None) for text in ("P1.5D", "P1S", "P1M1Y", "p1d", "P1D ", "P1D\n", "P\uff11D")),
        *((text, None) for text in ("P1000Y", "P99999D", "P12345Y")),
    ],
)
def test_a_duration_is_read(text: str, duration: Duration | None) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "start", "timezone", "end"),
    [
        ("P1M", "2026-01-31", "UTC", "2026-02-28"),
        ("P1M1D", "2026-01-31", "UTC", "2026-03-01"),  # 28 February, and a day
        ("P1Y", "2024-02-29", "UTC", "2025-02-28"),
        ("P1D", "2026-03-07T17", NEW_YORK, "2026-03-08T16"),  # noon to noon: 23 hours
        ("PT24H", "2026-03-07T17", NEW_YORK, "2026-03-08T17"),  # noon to 13:00
        ("P1DT1H", "2026-03-07T17", NEW_YORK, "2026-03-08T17"),
        # 02:30 is skipped on 8 March, a month after the start; a day later it is there
        ("P1M", "2026-02-08T07:30", NEW_YORK, "2026-03-08T07:30"),
        ("P1M1D", "2026-02-08T07:30", NEW_YORK, "2026-03-09T06:30"),
        # the second 01:30 of 1 November stays what it is where no day is added
        ("PT1S", "2026-11-01T06:30", NEW_YORK, "2026-11-01T06:30:01"),
    ],
)
def test_a_duration_ends_on_the_local_calendar(
    text: str, start: str, timezone: str, end: str
) -> None:
    duration = parse_duration(text)
    assert duration is not None
    assert duration.after(utc(start), timezone) == utc(end)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((name, True) for name in ("UTC", NEW_YORK, "Europe/Paris", "Etc/GMT+5")),
        *((name, False) for name in ("", "Mars/Base", "America", "../etc/passwd", "a\0b")),
        *((name, False) for name in ("localtime", "posixrules", "Factory")),
        *((name, False) for name in ("right/UTC", "posix/UTC", "/etc/localtime", "x" * 300)),
    ],
)
def test_a_zone_is_an_iana_name(name: str, known: bool) -> None:
    assert (zone(name) is not None) == known


def test_a_period_is_half_open() -> None:
    period = Period(utc("2026-01-01"), utc("2026-02-01"))
    assert period.start in period
    assert period.end not in period
    assert period.overlap(Period(period.end, utc("2026-03-01"))) is None
    shared = period.overlap(Period(utc("2026-01-15"), utc("2026-03-01")))
    assert shared == Period(utc("2026-01-15"), utc("2026-02-01"))


def test_a_period_in_another_zone_or_backwards_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError):
        Period(utc("2026-01-02"), utc("2026-01-01"))
    with pytest.raises(AssertionError):
        Period(datetime(2026, 1, 1), datetime(2026, 1, 2))
    with pytest.raises(AssertionError):
        Anchor(utc("2026-01-01"), "UTC")


def test_an_anchor_at_an_instant_is_what_the_local_clock_shows() -> None:
    assert anchor_at(utc("2026-01-31T05"), NEW_YORK) == anchor("2026-01-31", NEW_YORK)


@pytest.mark.parametrize(
    ("start", "end", "timezone", "days"),
    [
        ("2026-04-01", "2026-05-01", "UTC", 30),
        ("2026-03-08T05", "2026-03-09T04", NEW_YORK, 1),  # 23 hours
        ("2026-04-10T23:59", "2026-04-11T00:00", "UTC", 1),
        ("2026-04-11T03:59", "2026-04-11T04:00", NEW_YORK, 1),  # midnight is at 04:00Z
        ("2026-04-11T00:00", "2026-04-11T23:59", "UTC", 0),
    ],
)
def test_days_are_counted_by_local_dates(start: str, end: str, timezone: str, days: int) -> None:
    assert local_days(Period(utc(start), utc(end)), timezone) == days
