"""What a draw is worth, and when it was sold too cheap or too dear."""

from decimal import Decimal

import pytest

from taximeter.domain.catalog.margin import MarginFloor
from taximeter.domain.credit.value import Corridor, DrawnFrom, worth
from taximeter.domain.credit.wallet import GrantKind
from taximeter.domain.entitlement.margin import CallMargin
from taximeter.kernel.money import Money


@pytest.mark.parametrize(
    ("kind", "basis", "unit_price", "expected"),
    [
        ("promotional", None, "0.02", "0"),
        ("promotional", ("5", "USD"), "0.02", "0"),
        ("paid", ("5", "USD"), "0.02", "0.15"),  # 5 x 3/100
        ("paid", ("5", "EUR"), "0.02", None),
        ("paid", None, "0.02", "0.06"),
        ("paid", None, None, None),
        (None, None, "0.02", "0.06"),
        (None, None, None, None),
    ],
)
def test_what_three_of_a_hundred_are_worth(
    kind: GrantKind | None,
    basis: tuple[str, str] | None,
    unit_price: str | None,
    expected: str | None,
) -> None:
    source = None
    if kind is not None:
        money = None if basis is None else Money(Decimal(basis[0]), basis[1])
        source = DrawnFrom(kind, Decimal(100), money)
    price = None if unit_price is None else Decimal(unit_price)
    found = worth(Decimal(3), source, price, "USD")
    assert found == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("value", "cost", "most", "flag"),
    [
        ("1", "0.8", None, None),  # 20 %, the least
        ("1", "0.81", None, "too_cheap"),
        ("1", "0.1", "90", None),
        ("1", "0.09", "90", "too_dear"),
        ("1", "0.09", None, None),
        ("0", "0.01", None, "too_cheap"),
        ("0", "0", "90", None),
    ],
)
def test_what_is_flagged(value: str, cost: str, most: str | None, flag: str | None) -> None:
    corridor = Corridor(Decimal(20), None if most is None else Decimal(most))
    assert corridor.flag(value=Decimal(value), cost=Decimal(cost)) == flag


@pytest.mark.parametrize(
    ("price", "cost", "doubt", "percent", "excess"),
    [
        ("1", "0.7", None, "30", "0"),
        ("1", "0.71", "margin_floor", "29", "0.01"),
        ("0", "0.05", None, None, "0"),
        ("0", "0.06", "margin_floor", None, "0.01"),
        ("-1", "0.06", "margin_floor", None, "0.01"),  # a volume tier fell
        ("1", None, "cost_unknown", None, None),
    ],
)
def test_a_call_against_a_floor_of_thirty_percent(
    price: str, cost: str | None, doubt: str | None, percent: str | None, excess: str | None
) -> None:
    floor = MarginFloor(Decimal(30), hard=True, free_cost_max=Decimal("0.05"))
    call = CallMargin(floor, "USD", Decimal(price), None if cost is None else Decimal(cost))
    assert call.doubt == doubt
    assert call.percent == (None if percent is None else Decimal(percent))
    if excess is not None:
        assert call.excess == Decimal(excess)


def test_a_floor_without_a_limit_lets_free_calls_cost_what_they_do() -> None:
    floor = MarginFloor(Decimal(30), hard=True, free_cost_max=None)
    assert not floor.is_broken(price=Decimal(0), cost=Decimal(1000))
