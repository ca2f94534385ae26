"""The integral of a level: to the microsecond, in any split, in order of time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.metering.level import Integral, quantity_of
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period

START = datetime(2026, 1, 1, tzinfo=UTC)
Changes = Sequence[tuple[int, Decimal]]


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def areas(spans: Sequence[tuple[int, int]], changes: Changes, *, signed: bool = False) -> list[str]:
    """The level-hours in spans of hours."""
    meter = parse_meter(
        "m", {"event_type": "e", "aggregation": "weighted_sum", "value": "q"}, version=1
    )
    integral = Integral([Period(at(a), at(b)) for a, b in spans], at(0), signed=signed)
    for hour, value in changes:
        integral.change(at(hour), Decimal(value))
    whole = Period(at(0), at(1))
    return [format(quantity_of(meter, area, whole).normalize(), "f") for area in integral.end()]


@pytest.mark.parametrize(
    ("spans", "changes", "expected"),
    [
        ([(0, 10)], [], ["0"]),
        ([(0, 10)], [(0, 3)], ["30"]),
        ([(0, 10)], [(4, 3)], ["18"]),
        ([(0, 10)], [(0, 5), (4, 3)], ["38"]),  # 5 x 4 + 3 x 6
        ([(0, 10)], [(0, 5), (4, 3), (4, 1)], ["26"]),  # the last of one instant
        ([(0, 10)], [(0, 5), (10, 3)], ["50"]),
        ([(0, 10)], [(0, 5), (12, 3)], ["50"]),
        ([(2, 4), (6, 7)], [(0, 5)], ["10", "5"]),  # 1 hour at 5
        ([(2, 4), (6, 9)], [(0, 5), (3, 1), (5, 2), (8, 0)], ["6", "4"]),
        ([(0, 2), (2, 2), (2, 4)], [(0, 1), (2, 3)], ["2", "0", "6"]),
        ([(0, 2)], [(0, "-1.5")], ["-3"]),
        ([], [(0, 5)], []),
    ],
)
def test_levels(spans: list[tuple[int, int]], changes: Changes, expected: list[str]) -> None:
    assert areas(spans, changes) == expected


def test_signed_changes_add_up() -> None:
    changes = [(0, Decimal(2)), (3, Decimal(3)), (3, Decimal(-1)), (8, Decimal(-4))]
    assert areas([(0, 10)], changes, signed=True) == ["26"]  # 2 x 3 + 4 x 5 + 0 x 2


def test_a_microsecond_counts() -> None:
    integral = Integral([Period(START, at(1))], START, signed=False)
    integral.change(at(1) - timedelta(microseconds=1), Decimal("0.000000000001"))
    assert integral.end() == [Decimal("0.000000000001")]


@pytest.mark.parametrize(
    ("over", "quantity"), [(None, "10000"), ("period", "13.440860215054")]
)  # fmt: skip
def test_level_hours_or_their_average(over: str | None, quantity: str) -> None:
    """10,000 level-hours; over the 744 hours of January 13.4408602150537..."""
    body = {"event_type": "e", "aggregation": "weighted_sum", "value": "q", "over": over}
    meter = parse_meter("m", body, version=1)
    area = Decimal(10_000) * 3_600_000_000
    assert quantity_of(meter, area, Period(at(0), at(744))) == Decimal(quantity)


changes = st.lists(
    st.tuples(st.integers(0, 60), st.decimals(-100, 100, places=3)), max_size=12
).map(lambda found: sorted(found, key=lambda change: change[0]))  # fmt: skip
cuts = st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True).map(sorted)


def naive(a: int, b: int, found: Changes, *, signed: bool) -> Fraction:
    """Hour by hour: what the level is at its beginning."""
    area = Fraction(0)
    for hour in range(a, b):
        level = Fraction(0)
        for when, value in found:
            if when <= hour:
                level = level + Fraction(value) if signed else Fraction(value)
        area += level
    return area


@given(changes, cuts, st.booleans())
def test_a_split_adds_up_and_agrees_with_counting_hours(
    found: Changes, bounds: list[int], signed: bool
) -> None:
    spans = list(pairwise(bounds))
    parts = [Fraction(one) for one in areas(spans, found, signed=signed)]
    assert parts == [naive(a, b, found, signed=signed) for a, b in spans]
    [whole] = areas([(bounds[0], bounds[-1])], found, signed=signed)
    assert sum(parts) == Fraction(whole)


@given(changes, st.integers(1, 59), st.booleans())
def test_a_level_carried_over_a_cut_is_the_same(found: Changes, cut: int, signed: bool) -> None:
    """Read from the cut on, with what held there as the first change, the rest is the same."""
    before = [value for hour, value in found if hour < cut]
    held = (sum(before, ZERO) if signed else before[-1]) if before else ZERO
    integral = Integral([Period(at(cut), at(60))], at(cut), signed=signed)
    integral.change(at(cut), held)
    for hour, value in found:
        if hour >= cut:
            integral.change(at(hour), value)
    [area] = integral.end()
    [expected] = areas([(cut, 60)], found, signed=signed)
    assert area == Decimal(expected) * 3_600_000_000
