"""What it means to cross a threshold, upwards and downwards."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.entitlement.alert import Round, SpendAlert, reached

MARKS = [Decimal(40), Decimal(25), Decimal(50)]
amounts = st.decimals(min_value=-100, max_value=100, places=2)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0", "24.99", []),
        ("0", "25", ["25"]),  # at the mark is reached
        ("25", "39", []),
        ("24", "50", ["25", "40", "50"]),  # a jump over several, the lowest first
        ("49.99", "50.01", ["50"]),
        ("50", "60", []),
        ("60", "20", []),  # a fall reaches nothing
        ("30", "30", []),
    ],
)
def test_what_a_rise_reaches(before: str, after: str, expected: list[str]) -> None:
    found = reached(Decimal(before), Decimal(after), MARKS)
    assert found == [Decimal(mark) for mark in expected]


def test_a_mark_of_zero_is_reached_by_the_first_rise() -> None:
    zero = [Decimal(0)]
    assert reached(Decimal(0), Decimal(1), zero) == zero
    assert reached(Decimal(0), Decimal(0), zero) == []
    assert reached(Decimal(1), Decimal(2), zero) == []


@given(st.lists(amounts, min_size=2), st.lists(amounts, unique=True))
def test_steps_reach_what_the_whole_rise_does(path: list[Decimal], marks: list[Decimal]) -> None:
    path.sort()
    by_steps = [mark for before, after in pairwise(path) for mark in reached(before, after, marks)]
    assert by_steps == reached(path[0], path[-1], marks)


@given(st.lists(amounts), amounts)
def test_a_balance_is_told_once_for_each_time_it_is_low(
    path: list[Decimal], threshold: Decimal
) -> None:
    """Of a path of balances: as many rounds as there are stretches at or below the threshold."""
    state, balance = Round(), threshold + 1
    for after in path:
        state, balance = state.after(balance, after, threshold), after
    lows = [each <= threshold for each in [threshold + 1, *path]]
    stretches = sum(low and not was for was, low in pairwise(lows))
    assert state == Round(stretches, armed=not lows[-1])


def test_a_rise_that_nobody_saw_arms_again() -> None:
    """It was told at 5, rose to 20 with a grant, and is drawn to 3: that is another time."""
    told = Round().after(Decimal(11), Decimal(5), Decimal(10))
    assert told == Round(1, armed=False)
    assert told.after(Decimal(20), Decimal(3), Decimal(10)) == Round(2, armed=False)
    assert told.after(Decimal(5), Decimal(4), Decimal(10)) == told


def test_a_counter_covers_all_paths_and_limits_nothing() -> None:
    counter = SpendAlert("acme", "spent", "USD", "month", (Decimal(5),)).counter
    assert (counter.name, counter.enforcement, counter.alerts) == ("@alert:spent", "soft", ())
    assert counter.covers("USD", "support/one")
    assert not counter.covers("EUR", None)
