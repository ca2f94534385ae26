"""Rates: windows that follow one another, and counters that tell which is theirs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.entitlement import RatePer
from taximeter.domain.entitlement.rate import is_over, rate_counter, rate_window

INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
PERS = st.sampled_from(("second", "minute", "hour"))
TICK = timedelta(microseconds=1)


@given(INSTANTS, PERS)
def test_each_instant_is_in_one_window_with_one_counter(at: datetime, per: RatePer) -> None:
    window = rate_window(per, at)
    assert window.start <= at < window.end
    counter = rate_counter("a:b", per, at)
    assert rate_counter("a:b", per, window.start) == counter
    assert rate_counter("a:b", per, window.end - TICK) == counter
    assert rate_counter("a:b", per, window.end) != counter
    assert not is_over(counter, window.end - TICK)
    assert is_over(counter, window.end)


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [
        ("second", "2026-03-10T12:34:56", "2026-03-10T12:34:57"),
        ("minute", "2026-03-10T12:34:00", "2026-03-10T12:35:00"),
        ("hour", "2026-03-10T12:00:00", "2026-03-10T13:00:00"),
    ],
)
def test_windows_are_those_of_utc(per: RatePer, start: str, end: str) -> None:
    at = datetime(2026, 3, 10, 12, 34, 56, 789, tzinfo=UTC)
    window = rate_window(per, at)
    assert [one.replace(tzinfo=None).isoformat() for one in (window.start, window.end)] == [
        start, end,
    ]  # fmt: skip


def test_what_holds_reserve_is_no_counter_of_a_rate() -> None:
    at = datetime(2100, 1, 1, tzinfo=UTC)
    for name in ("g:grant_1", "b:r:calls:minute:1", "w:USD", "f:r", "q:r:x:second:1", "i:USD"):
        assert not is_over(name, at)
