"""Transfers and costs: what is taken becomes, to the last digit, what is given."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import structs

from taximeter.domain.credit.burn import draw
from taximeter.domain.credit.cost import cost_between, cost_of
from taximeter.domain.credit.transfer import moved_parts
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.quantity import SMALLEST, ZERO, within_bounds

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def grant(name: str, amount: str, remaining: str | None = None) -> Grant:
    return Grant(
        id=name, customer="acme", asset="USD", amount=Decimal(amount),
        remaining=Decimal(remaining or amount), kind="paid", priority=50,
        effective_at=NOW - timedelta(days=1), expires_at=None, scope_meters=None,
        created_at=NOW - timedelta(days=1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("basis", "amount", "gone", "cost"),
    [
        ("90", "100", "0", "0"),
        ("90", "100", "50", "45"),
        ("90", "100", "100", "90"),
        ("10", "3", "1", "3.333333333333"),
        ("10", "3", "2", "6.666666666667"),
        ("10", "3", "3", "10"),
        ("0", "3", "1", "0"),
    ],
)
def test_cost_goes_in_proportion(basis: str, amount: str, gone: str, cost: str) -> None:
    assert cost_of(Decimal(basis), Decimal(amount), Decimal(gone)) == Decimal(cost)


cents = st.integers(1, 10**6).map(lambda number: Decimal(number) / 100)


@given(basis=cents, parts=st.lists(cents, min_size=1, max_size=20))
def test_the_costs_of_parts_sum_to_the_whole(basis: Decimal, parts: list[Decimal]) -> None:
    amount = sum(parts, ZERO)
    gone, total = ZERO, ZERO
    for part in parts:
        total += cost_between(basis, amount, gone, gone + part)
        gone += part
    assert total == basis


def test_a_transfer_takes_in_burn_order_and_carries_the_cost() -> None:
    # 30 left of 40 that cost 20, then 100: 50 at 0.5. 30 x 0.5 = 15, 20 x 0.5 = 10.
    # Of the first, 10 had gone with 20 x 10/40 = 5; the other 30 take 15.
    grants = {one.id: one for one in (grant("a", "40", "30"), grant("b", "100"))}
    drawn = draw(grants.values(), Decimal(50), NOW)
    first, second = moved_parts(drawn, grants, {"a": Decimal(20)}, Decimal("0.5"))
    assert (first.source.id, first.amount, first.to_amount) == ("a", Decimal(30), Decimal(15))
    assert first.cost == Decimal(15)
    assert (second.source.id, second.amount, second.to_amount) == ("b", Decimal(20), Decimal(10))
    assert second.cost is None


def test_what_is_too_small_goes_to_the_part_that_lost_most() -> None:
    # 1.000000000001 + 0.999999999999 = 2, at 0.5 = 1. Cut at 12 decimals the halves are 0.5 and
    # 0.499999999999, each having lost 0.0000000000005: the first gets the unit that is missing.
    grants = {one.id: one for one in (grant("a", "1.000000000001"), grant("b", "0.999999999999"))}
    drawn = draw(grants.values(), Decimal(2), NOW)
    moved = moved_parts(drawn, grants, {}, Decimal("0.5"))
    assert [part.to_amount for part in moved] == [Decimal("0.500000000001"),
                                                  Decimal("0.499999999999")]  # fmt: skip


remainders = st.integers(1, 10**15).map(lambda units: units * SMALLEST)
rates = st.integers(1, 10**7).map(lambda number: Decimal(number) / 10**4)


@given(st.lists(remainders, min_size=1, max_size=8), rates, st.data())
def test_a_transfer_neither_makes_nor_loses_money(
    left: list[Decimal], rate: Decimal, data: st.DataObject
) -> None:
    grants = {
        f"g{n}": structs.replace(grant(f"g{n}", str(amount)), priority=n)
        for n, amount in enumerate(left)
    }
    amount = data.draw(st.integers(1, int(sum(left, ZERO) / SMALLEST))) * SMALLEST
    amount = amount.quantize(Decimal("0.00000001"))
    assume(ZERO < amount <= sum(left, ZERO) and within_bounds(amount * rate))
    drawn = draw(grants.values(), amount, NOW)
    moved = moved_parts(drawn, grants, {}, rate)
    assert sum((part.amount for part in moved), ZERO) == amount
    assert sum((part.to_amount for part in moved), ZERO) == amount * rate
    for part in moved:
        assert within_bounds(part.to_amount)
        assert abs(part.to_amount - part.amount * rate) < SMALLEST
