"""How long credit lasts, and for how much."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.credit.burn import burn_order
from taximeter.domain.credit.forecast import enough_for, free_for, runs_out_at
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.quantity import ZERO

NOW = datetime(2026, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def grant(name: str, left: str, days: int | None = None, **fields: object) -> Grant:
    """A grant with this much left, that ends in so many days."""
    return Grant(
        id=name, customer="acme", asset="USD", amount=Decimal(1000), remaining=Decimal(left),
        kind="paid", priority=fields.pop("priority", 50),  # type: ignore[arg-type]
        effective_at=NOW - DAY, expires_at=NOW + days * DAY if days is not None else None,
        scope_meters=fields.pop("meters", None),  # type: ignore[arg-type]
        created_at=NOW - DAY, scope_path=fields.pop("path", None),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("grants", "available", "per_day", "days"),
    [
        ([("a", "100", None)], "100", "10", 10),
        ([("a", "100", None)], "100", "0", None),
        ([("a", "100", None)], "100", "-5", None),  # more is given back than drawn
        ([("a", "100", None)], "100", "0.001", None),  # 100,000 days: beyond a century
        ([], "0", "10", 0),
        ([], "-5", "10", 0),
        ([], "50", "10", 5),  # a surplus
        ([("a", "100", None)], "150", "10", 15),  # a surplus of 50, then the grant
        ([("a", "100", None)], "70", "10", 7),  # 30 are held
        ([("a", "100", 4)], "100", "10", 4),  # 60 lapse
        ([("a", "100", 4), ("b", "50", None)], "150", "10", 9),  # 4 + 5, 60 lapse
        ([("a", "20", 4), ("b", "50", 6)], "70", "10", 6),  # 2 of a, 4 of b, 10 lapse
        ([("a", "30", 4), ("b", "50", 3)], "80", "10", 3),  # see below
        ([("a", "100", 4), ("b", "50", None)], "60", "10", 6),  # 90 owed: 10 of a, 50 of b
        ([("a", "100", 4), ("b", "50", None)], "150", "1000", None),
    ],
)
def test_when_it_runs_out(
    grants: list[tuple[str, str, int | None]], available: str, per_day: str, days: int | None
) -> None:
    found = burn_order(grant(*one) for one in grants)
    at = runs_out_at(found, Decimal(available), Decimal(per_day), NOW)
    if per_day == "1000":
        assert at == NOW + timedelta(seconds=12_960)  # 0.15 days
    elif (grants, days) == ([("a", "30", 4), ("b", "50", 3)], 3):
        # b ends first and burns first: 30 in three days, 20 lapse; then a for one day, 20 lapse.
        assert at == NOW + 4 * DAY
    else:
        assert at == (NOW + days * DAY if days is not None else None)


def test_priority_comes_before_expiry() -> None:
    # a burns first though it lasts: 5 days; b has ended on day 3 by then.
    found = burn_order([grant("a", "50", priority=1), grant("b", "100", 3)])
    assert runs_out_at(found, Decimal(150), Decimal(10), NOW) == NOW + 5 * DAY


amounts = st.integers(1, 1000).map(Decimal)


@given(
    st.lists(st.tuples(amounts, st.none() | st.integers(1, 60)), max_size=6),
    amounts,
)
def test_day_by_day_gives_the_same(parts: list[tuple[Decimal, int | None]], rate: Decimal) -> None:
    grants = burn_order(grant(f"g{n}", str(a), days) for n, (a, days) in enumerate(parts))
    left = [(one.expires_at, one.remaining) for one in grants]
    day = 0
    while sum((a for end, a in left if end is None or end > NOW + day * DAY), ZERO) >= rate:
        wanted, after = rate, []
        for end, amount in left:
            usable = end is None or end > NOW + day * DAY
            part = min(wanted, amount) if usable else ZERO
            wanted -= part
            after.append((end, amount - part))
        left, day = after, day + 1
    found = runs_out_at(grants, sum((one.remaining for one in grants), ZERO), rate, NOW)
    assert found is not None
    # The walk stops at the last whole day; grants that end within a day never split one here.
    assert NOW + day * DAY <= found <= NOW + (day + 1) * DAY


def prices(*documents: dict[str, object]) -> list[UsagePrice]:
    """Usage prices as a plan has them, that draw from the wallet."""
    body = {"key": "plan", "name": "Plan", "currency": "USD", "period": "month", "prices": [
        {"key": f"p{n}", "type": "usage", "meter": "calls", "settle": "wallet", **one}
        for n, one in enumerate(documents)
    ]}  # fmt: skip
    return [price for price in parse_plan(body).prices if isinstance(price, UsagePrice)]


@pytest.mark.parametrize(
    ("price", "free", "quantity"),
    [
        ({"model": "per_unit", "unit": "0.02"}, "10", "500"),
        ({"model": "per_unit", "unit": "3"}, "10", "3"),
        ({"model": "per_unit", "unit": "2.50", "per": "1000000"}, "1", "400000"),
        ({"model": "per_unit", "unit": "3"}, "-10", "0"),
        ({"model": "per_unit", "unit": "0"}, "10", None),
        ({"model": "package", "amount": "1", "size": "10"}, "10", None),
        ({"model": "per_unit", "unit": "1", "maximum": "50"}, "10", None),
        ({"model": "per_unit", "unit": "1", "discount": {"percent": "10"}}, "10", None),
    ],
)
def test_for_how_much_it_is_enough(
    price: dict[str, object], free: str, quantity: str | None
) -> None:
    (found,) = prices(price)
    expected = Decimal(quantity) if quantity is not None else None
    assert enough_for(found, Decimal(free)) == expected


def test_only_grants_that_cover_it_pay_for_a_meter() -> None:
    parts = [
        (grant("any", "10"), Decimal(10)),
        (grant("calls", "5", meters=("calls",)), Decimal(5)),
        (grant("path", "7", path="team"), Decimal(7)),
    ]
    assert free_for(parts, Decimal(-3), "calls") == Decimal(12)  # 10 + 5 - 3
    assert free_for(parts, Decimal(-3), "other") == Decimal(7)  # 10 - 3
