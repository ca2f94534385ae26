"""Credit: burn order, drawing, giving back, debt."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from taximeter.domain.credit.burn import Draw, burn_order, draw
from taximeter.domain.credit.wallet import Grant, Wallet, apply_grant, posted
from taximeter.kernel.quantity import ZERO

NOW = datetime(2026, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def grant(id: str, amount: str = "100", remaining: str | None = None, **changes: Any) -> Grant:
    values: dict[str, Any] = {
        **{"id": id, "customer": "acme", "asset": "USD", "amount": Decimal(amount)},
        **{"remaining": Decimal(amount if remaining is None else remaining)},
        **{"kind": "paid", "priority": 50, "effective_at": NOW - DAY, "expires_at": None},
        **{"scope_meters": None, "created_at": NOW - DAY},
    }
    return Grant(**{**values, **changes})


def after(grants: Sequence[Grant], drawn: Draw) -> list[Grant]:
    """The grants with what the draw leaves in them."""
    parts = dict(drawn.parts)
    return [structs.replace(g, remaining=g.remaining - parts.get(g.id, ZERO)) for g in grants]


def left(grants: Sequence[Grant], amount: str) -> dict[str, str]:
    found = after(grants, draw(grants, Decimal(amount), NOW))
    return {one.id: str(one.remaining) for one in found}


# The order


def test_the_burn_order_is_total_and_each_rule_yields_to_the_ones_before() -> None:
    ordered = [
        grant("priority", priority=10, kind="paid"),
        grant("soon", expires_at=NOW + DAY, kind="paid", created_at=NOW),
        grant("later", expires_at=NOW + 2 * DAY, kind="promotional"),
        grant("promotional", kind="promotional", created_at=NOW),
        grant("old", created_at=NOW - 2 * DAY),
        grant("a"),
        grant("b"),
    ]
    for seed in range(20):
        shuffled = list(ordered)
        random.Random(seed).shuffle(shuffled)
        assert burn_order(shuffled) == ordered


@pytest.mark.parametrize("turned", [False, True])
def test_the_grant_that_expires_first_burns_first_whichever_came_first(turned: bool) -> None:
    # examples.md, C2: 100 and 100, usage 120
    grants = [
        grant("soon", expires_at=datetime(2026, 2, 1, tzinfo=UTC), created_at=NOW - DAY),
        grant("late", expires_at=datetime(2027, 1, 1, tzinfo=UTC), created_at=NOW - 2 * DAY),
    ]
    grants = grants[::-1] if turned else grants
    assert left(grants, "120") == {"soon": "0", "late": "80"}


def test_one_of_a_thousand_grants_that_expires_a_day_earlier_takes_it_all() -> None:
    # examples.md, C2: usage 99 of a thousand grants of 100
    expires_at = NOW + 30 * DAY
    grants = [grant(f"g{n:04}", expires_at=expires_at) for n in range(1000)]
    grants[617] = structs.replace(grants[617], expires_at=expires_at - DAY)
    remaining = left(grants, "99")
    assert remaining.pop("g0617") == "1"
    assert set(remaining.values()) == {"100"}


def test_promotional_credit_burns_before_paid_credit_of_the_same_expiry() -> None:
    # examples.md, T15 (b): 12000 paid, 3000 promotional, usage 15000
    grants = [grant("paid", "12000"), grant("promo", "3000", kind="promotional")]
    drawn = draw(grants, Decimal(15_000), NOW)
    assert drawn == Draw((("promo", Decimal(3000)), ("paid", Decimal(12_000))), ZERO)
    assert posted(after(grants, drawn), drawn.uncovered, NOW) == ZERO


# Drawing


def test_usage_past_the_grants_is_uncovered() -> None:
    # examples.md, C4: no grant, usage 50: available -50
    assert draw([], Decimal(50), NOW) == Draw((), Decimal(50))
    assert Wallet("acme", "USD", Decimal(50)).posted([], NOW) == -50
    assert draw([grant("g", "20")], Decimal(50), NOW) == Draw((("g", Decimal(20)),), Decimal(30))


def test_nothing_is_drawn_for_nothing() -> None:
    assert draw([grant("g"), grant("empty", "100", "0")], ZERO, NOW) == Draw((), ZERO)


def test_grants_count_only_while_in_force() -> None:
    grants = [
        grant("future", effective_at=NOW + DAY),
        grant("now", effective_at=NOW),
        grant("ending", expires_at=NOW),
        grant("last", expires_at=NOW + timedelta(microseconds=1), priority=1),
    ]
    drawn = draw(grants, Decimal(250), NOW)
    assert drawn.parts == (("last", Decimal(100)), ("now", Decimal(100)))
    assert drawn.uncovered == 50
    assert posted(grants, ZERO, NOW) == 200


def test_a_grant_for_certain_meters_is_drawn_for_these_alone() -> None:
    grants = [grant("tokens", scope_meters=("tokens",), priority=1), grant("any")]
    assert draw(grants, Decimal(10), NOW, "tokens").parts == (("tokens", Decimal(10)),)
    assert draw(grants, Decimal(10), NOW, "images").parts == (("any", Decimal(10)),)
    assert draw(grants, Decimal(10), NOW).parts == (("any", Decimal(10)),)


# Debt and the next grant


@pytest.mark.parametrize(
    ("debt", "amount", "remaining", "debt_after"),
    [
        ("20", "100", "80", "0"),  # examples.md, C6: -20, and 100 for the next day: 80
        ("150", "100", "0", "50"),
        ("100", "100", "0", "0"),
        ("0", "100", "100", "0"),
        ("-5", "100", "100", "-5"),  # a surplus stays
    ],
)
def test_a_grant_pays_the_debt_first(
    debt: str, amount: str, remaining: str, debt_after: str
) -> None:
    found = apply_grant(Decimal(debt), Decimal(amount))
    assert found == (Decimal(remaining), Decimal(debt_after))
    assert found[0] - found[1] == Decimal(amount) - Decimal(debt)  # the balance rises by all of it


def test_a_day_overdrawn_is_taken_off_the_next() -> None:
    # examples.md, C6: 100 a day that expires with it; usage 120 on day one
    day_one = grant("one", expires_at=NOW + DAY)
    drawn = draw([day_one], Decimal(120), NOW)
    wallet = Wallet("acme", "USD", drawn.uncovered)
    (spent,) = after([day_one], drawn)
    assert wallet.posted([spent], NOW) == -20
    remaining, debt = apply_grant(wallet.debt, Decimal(100))
    day_two = grant("two", "100", str(remaining), effective_at=NOW + DAY)
    assert posted([spent, day_two], debt, NOW + DAY) == 80


# Giving back


def test_what_is_given_back_repays_the_debt_then_the_grants_in_reverse() -> None:
    grants = [grant("first", "100", "0", priority=1), grant("last", "100", "40", priority=2)]
    drawn = draw(grants, Decimal(-25), NOW, debt=Decimal(10))
    assert drawn == Draw((("last", Decimal(-15)),), Decimal(-10))
    drawn = draw(grants, Decimal(-100), NOW, debt=Decimal(10))
    assert drawn == Draw((("last", Decimal(-60)), ("first", Decimal(-30))), Decimal(-10))


def test_what_no_grant_can_hold_becomes_a_surplus_and_is_drawn_first() -> None:
    # a volume tier fell after the grant that had paid for it expired: nothing is clamped
    expired = grant("gone", "100", "0", expires_at=NOW)
    full = grant("full")
    drawn = draw([expired, full], Decimal(-70), NOW)
    assert drawn == Draw((), Decimal(-70))
    assert posted([expired, full], drawn.uncovered, NOW) == 170
    assert draw([full], Decimal(100), NOW, debt=Decimal(-70)) == Draw(
        (("full", Decimal(30)),), Decimal(70)
    )
    assert draw([full], Decimal(50), NOW, debt=Decimal(-70)) == Draw((), Decimal(50))


def test_only_grants_for_the_meter_get_back_what_its_usage_took() -> None:
    grants = [grant("images", "100", "0", scope_meters=("images",)), grant("any", "100", "90")]
    drawn = draw(grants, Decimal(-30), NOW, "tokens")
    assert drawn == Draw((("any", Decimal(-10)),), Decimal(-20))


def test_a_grant_never_holds_more_than_it_granted() -> None:
    for remaining in ("101", "-1"):
        with pytest.raises(AssertionError):
            grant("g", "100", remaining)


AMOUNTS = st.decimals("-200", "200", places=6)
GRANTS = st.lists(
    st.builds(
        lambda n, size, share, days, **rest: grant(
            f"g{n}",
            str(size),
            str(size * share / 4),
            expires_at=None if days is None else NOW + days * DAY,
            **rest,
        ),
        st.integers(0, 999),
        st.integers(0, 100).map(Decimal),
        st.integers(0, 4),
        st.none() | st.integers(-1, 3),
        priority=st.integers(0, 2),
        kind=st.sampled_from(["paid", "promotional"]),
        scope_meters=st.sampled_from([None, ("m",), ("n", "m"), ("n",)]),
    ),
    max_size=6,
    unique_by=lambda one: one.id,
)


@given(GRANTS, st.lists(AMOUNTS, max_size=8), AMOUNTS)
def test_the_balance_moves_by_exactly_what_is_drawn(
    grants: list[Grant], amounts: list[Decimal], debt: Decimal
) -> None:
    for amount in amounts:
        before = posted(grants, debt, NOW)
        drawn = draw(grants, amount, NOW, "m", debt=debt)
        grants, debt = after(grants, drawn), debt + drawn.uncovered
        assert posted(grants, debt, NOW) == before - amount
        assert all(part != ZERO for _, part in drawn.parts)


@given(GRANTS, AMOUNTS.filter(bool), st.randoms(use_true_random=False))
def test_the_order_in_which_grants_are_given_does_not_matter(
    grants: list[Grant], amount: Decimal, chance: random.Random
) -> None:
    shuffled = list(grants)
    chance.shuffle(shuffled)
    assert draw(shuffled, amount, NOW, "m") == draw(grants, amount, NOW, "m")


@given(GRANTS, st.decimals("0", "200", places=6), st.decimals("0", "200", places=6))
def test_two_draws_take_what_one_would(grants: list[Grant], one: Decimal, two: Decimal) -> None:
    first = draw(grants, one, NOW, "m")
    halfway = after(grants, first)
    second = draw(halfway, two, NOW, "m", debt=first.uncovered)
    at_once = draw(grants, one + two, NOW, "m")
    assert after(halfway, second) == after(grants, at_once)
    assert first.uncovered + second.uncovered == at_once.uncovered


@given(GRANTS, st.decimals("0", "200", places=6))
def test_giving_back_at_once_restores_the_wallet(grants: list[Grant], amount: Decimal) -> None:
    fresh = [structs.replace(one, remaining=one.amount) for one in grants]
    drawn = draw(fresh, amount, NOW, "m")
    back = draw(after(fresh, drawn), -amount, NOW, "m", debt=drawn.uncovered)
    assert after(after(fresh, drawn), back) == fresh
    assert drawn.uncovered + back.uncovered == ZERO
