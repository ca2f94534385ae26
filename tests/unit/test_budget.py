"""Budgets and suspensions as values: what they cover, their windows, and who may change whose."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.entitlement.budget import ALWAYS, Budget, BudgetWindow, window_of
from taximeter.domain.entitlement.setter import Setter, may_change
from taximeter.domain.entitlement.suspension import Suspension
from taximeter.kernel.paths import common_path, deepest_scope, lies_within
from taximeter.kernel.times import Period

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
PATHS = st.one_of(st.none(), st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join))


def budget(path: str | None = None, asset: str = "USD") -> Budget:
    return Budget("acme", "b", path, asset, Decimal(5), "day", "hard", ())


@pytest.mark.parametrize(
    ("scope", "path", "covered"),
    [
        (None, None, True),
        (None, "a", True),
        ("a", None, False),
        ("a", "a", True),
        ("a", "a/b", True),
        ("a/b", "a", False),
        ("a", "ab", False),
        ("a/b", "a/bc", False),
    ],
)
def test_a_path_covers_itself_and_what_lies_below(
    scope: str | None, path: str | None, *, covered: bool
) -> None:
    assert budget(scope).covers("USD", path) is covered
    assert not budget(scope).covers("EUR", path)
    assert Suspension("acme", scope, "why", AT).covers(path) is covered


@pytest.mark.parametrize(
    ("window", "timezone", "at", "start", "end"),
    [
        # New York is 5 hours behind, and from 8 March 2026, 02:00, on 4.
        ("day", "America/New_York", "2026-03-08T05:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        ("day", "America/New_York", "2026-03-08T04:59", "2026-03-07T05:00", "2026-03-08T05:00"),
        ("day", "America/New_York", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        # 8 March 2026 is a Sunday, 9 March a Monday.
        ("week", "UTC", "2026-03-08T23:59", "2026-03-02T00:00", "2026-03-09T00:00"),
        ("week", "UTC", "2026-03-09T00:00", "2026-03-09T00:00", "2026-03-16T00:00"),
        ("week", "Asia/Tokyo", "2026-03-08T15:00", "2026-03-08T15:00", "2026-03-15T15:00"),
        ("month", "UTC", "2026-02-28T23:59", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("month", "Asia/Tokyo", "2026-02-28T15:00", "2026-02-28T15:00", "2026-03-31T15:00"),
        # Beirut skips a midnight: its 29 March 2026 begins at 01:00.
        ("day", "Asia/Beirut", "2026-03-28T22:00", "2026-03-28T22:00", "2026-03-29T21:00"),
        ("period", "UTC", "2026-02-10T00:00", "2026-02-01T00:00", "2026-03-01T00:00"),
    ],
)
def test_windows_are_of_the_customers_calendar(
    window: BudgetWindow, timezone: str, at: str, start: str, end: str
) -> None:
    found = window_of(window, timezone, _utc(at))
    assert found == Period(_utc(start), _utc(end))


def test_a_window_may_be_the_billing_period_or_all_time() -> None:
    period = Period(AT - timedelta(days=3), AT + timedelta(days=3))
    assert window_of("period", "UTC", AT, period) == period
    assert window_of("total", "UTC", AT, period) is ALWAYS


@given(
    at=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    window=st.sampled_from(["day", "week", "month"]),
    timezone=st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_windows_follow_each_other(at: datetime, window: BudgetWindow, timezone: str) -> None:
    found = window_of(window, timezone, at)
    assert at in found
    assert window_of(window, timezone, found.end).start == found.end
    assert window_of(window, timezone, found.end - timedelta(microseconds=1)) == found


@pytest.mark.parametrize(
    ("setter", "set_by", "may"),
    [
        ("seller", "seller", True),
        ("seller", "customer", True),
        ("customer", "customer", True),
        ("customer", "seller", False),
    ],
)
def test_the_customer_lifts_nothing_of_the_sellers(
    setter: Setter, set_by: Setter, *, may: bool
) -> None:
    assert may_change(setter, set_by) is may


@pytest.mark.parametrize(
    ("paths", "common"),
    [
        ([], None),
        (["a/b"], "a/b"),
        (["a/b", "a/c"], "a"),
        (["a/b", "a"], "a"),
        (["a/b", "a/bc"], "a"),
        (["a", "b"], None),
        (["a", None], None),
    ],
)
def test_the_path_that_others_share(paths: list[str | None], common: str | None) -> None:
    assert common_path(paths) == common


@given(st.lists(PATHS, min_size=1, max_size=4), PATHS)
def test_a_scope_covers_paths_where_it_covers_what_they_share(
    paths: list[str | None], scope: str | None
) -> None:
    covers_all = all(lies_within(path, scope) for path in paths)
    assert lies_within(common_path(paths), scope) is covers_all


@given(PATHS, st.sets(PATHS.filter(bool), max_size=4))
def test_the_deepest_scope_stands_for_the_path(path: str | None, scopes: set[str]) -> None:
    deepest = deepest_scope(path, scopes)
    for scope in scopes:
        assert lies_within(deepest, scope) is lies_within(path, scope)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
