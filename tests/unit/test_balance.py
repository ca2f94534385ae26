"""What a wallet's parts come to at an instant."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.credit.wallet import Grant, posted
from taximeter.kernel.quantity import ZERO
from taximeter.services.balance import balances_of
from taximeter.storage.wallets import Part

NOW = datetime(2026, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def part(id: str, left: str, *, asset: str = "USD", **changes: Any) -> Part:
    values: dict[str, Any] = {
        **{"id": id, "customer": "acme", "asset": asset, "amount": Decimal(100)},
        **{"remaining": Decimal(100), "kind": "paid", "priority": 50, "effective_at": NOW - DAY},
        **{"expires_at": None, "scope_meters": None, "created_at": NOW - DAY},
    }
    return Part(asset, Grant(**{**values, **changes}), Decimal(left))


def test_the_grants_in_force_count_and_the_debt_is_taken_off() -> None:
    parts = [
        part("now", "40"),
        part("starts", "30", effective_at=NOW),
        part("ended", "20", expires_at=NOW),
        part("future", "10", effective_at=NOW + DAY),
        part("used", "0"),
        Part("USD", None, Decimal(-25)),
    ]
    (wallet,) = balances_of(parts, NOW)
    assert wallet.posted == 45  # 40 + 30 - 25
    assert (wallet.held, wallet.available) == (ZERO, Decimal(45))
    shown = {one.grant.id: (int(one.remaining), one.usable) for one in wallet.grants}
    assert shown == {"now": (40, True), "starts": (30, True), "future": (10, False)}


def test_grants_are_listed_in_the_order_in_which_they_burn() -> None:
    parts = [
        part("paid", "1"),
        part("promotional", "1", kind="promotional"),
        part("soon", "1", expires_at=NOW + DAY),
        part("first", "1", priority=1, effective_at=NOW + DAY),
    ]
    (wallet,) = balances_of(parts, NOW)
    assert [one.grant.id for one in wallet.grants] == ["first", "soon", "promotional", "paid"]


def test_each_asset_is_a_wallet_of_its_own() -> None:
    parts = [
        part("b", "3", asset="credits"),
        Part("USD", None, Decimal(-5)),
        Part("credits", None, Decimal(1)),
    ]
    found = {wallet.asset: wallet.posted for wallet in balances_of(parts, NOW)}
    assert list(found.items()) == [("USD", Decimal(-5)), ("credits", Decimal(4))]  # 3 + 1
    assert balances_of([], NOW) == []


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(-3, 3), st.integers(1, 4)), max_size=8),
    st.integers(-100, 100),
)
def test_a_balance_is_what_the_domain_posts(grants: list[tuple[int, int, int]], debt: int) -> None:
    parts = [
        part(
            f"g{n}",
            str(left),
            remaining=Decimal(left),
            effective_at=NOW + start * DAY,
            expires_at=NOW + (start + days) * DAY,
        )
        for n, (left, start, days) in enumerate(grants)
    ]
    (wallet,) = balances_of([*parts, Part("USD", None, Decimal(-debt))], NOW)
    assert wallet.posted == posted([one.grant for one in parts if one.grant], Decimal(debt), NOW)
