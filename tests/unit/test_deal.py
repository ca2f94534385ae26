"""What one customer agreed beside the plan: overrides, adjustments, trial and pause as values."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.deal import NO_DEAL, Deal, agreed_plan
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import (
    Dimensional,
    Discount,
    FlatPrice,
    Graduated,
    Package,
    PerUnit,
    Plan,
    UsagePrice,
)
from taximeter.domain.rating.rate import price_amount
from taximeter.kernel.errors import Invalid
from taximeter.kernel.quantity import ONE, ZERO

DOCUMENT: dict[str, Any] = {
    "key": "p",
    "currency": "USD",
    "period": "month",
    "minimum": "50",
    "trial_days": 14,
    "prices": [
        {"key": "fee", "type": "flat", "amount": "100.00", "discount": {"amount": "5"}},
        {
            "key": "calls",
            "type": "usage",
            "meter": "calls",
            "model": "graduated",
            "tiers": [{"up_to": "10", "unit": "0"}, {"unit": "0.30", "flat": "2"}],
            "minimum": "1",
            "maximum": "500",
        },
        {
            "key": "tokens",
            "type": "usage",
            "meter": "tokens",
            "model": "dimensional",
            "dimensions": ["model"],
            "rates": [
                {"match": {"model": "a"}, "unit": "3", "per": "1000"},
                {"match": {"model": "b"}, "model": "package", "amount": "4", "size": "100"},
            ],
            "otherwise": {"unit": "9"},
        },
        {
            "key": "burn",
            "type": "usage",
            "meter": "calls",
            "model": "per_unit",
            "unit": "2",
            "settle": "wallet",
        },
    ],
}
PLAN = parse_plan(DOCUMENT, version=3)


def usage(plan: Plan, key: str) -> UsagePrice:
    price = plan.price(key)
    assert isinstance(price, UsagePrice)
    return price


def errors(overrides: Mapping[str, Mapping[str, object]]) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        agreed_plan(PLAN, Deal(overrides=overrides))
    return [(error.path, error.code) for error in caught.value.errors]


def test_without_a_deal_the_published_plan_prices() -> None:
    assert agreed_plan(PLAN, NO_DEAL) is PLAN
    assert PLAN.trial_days == 14


def test_an_override_replaces_the_named_fields_and_no_others() -> None:
    own = {"calls": {"tiers": [{"unit": "0.25"}], "included": "40", "maximum": None}}
    plan = agreed_plan(PLAN, Deal(overrides=own))
    price = usage(plan, "calls")
    assert isinstance(price.model, Graduated)
    assert [tier.unit for tier in price.model.tiers] == [Decimal("0.25")]
    assert (price.included, price.minimum, price.maximum) == (Decimal(40), ONE, None)
    assert (plan.key, plan.version, plan.price("fee")) == ("p", 3, PLAN.price("fee"))
    assert plan.document == PLAN.document


def test_an_override_may_change_the_model() -> None:
    own = {"calls": {"model": "per_unit", "unit": "7", "tiers": None}}
    assert usage(agreed_plan(PLAN, Deal(overrides=own)), "calls").model == PerUnit(Decimal(7), ONE)


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"nope": {"unit": "1"}}, [("overrides.nope", "unknown_price")]),
        (
            {"calls": {"meter": "other", "settle": "wallet"}},
            [
                ("overrides.calls.meter", "not_overridable"),
                ("overrides.calls.settle", "not_overridable"),
            ],
        ),
        ({"fee": {"key": "f"}}, [("overrides.fee.key", "not_overridable")]),
        ({"fee": {"amount": -1}}, [("overrides.fee.amount", "out_of_range")]),
        ({"fee": {"amount": None}}, [("overrides.fee.amount", "required")]),
        ({"fee": {"unit": "1"}}, [("overrides.fee.unit", "unknown_field")]),
        ({"fee": {"amuont": "1"}}, [("overrides.fee.amuont", "unknown_field")]),
        (
            {"calls": {"tiers": [{"unit": 0.3}]}},
            [("overrides.calls.tiers[0].unit", "invalid_number")],
        ),
        (
            {"calls": {"model": "per_unit", "unit": "1"}},
            [("overrides.calls.tiers", "unknown_field")],
        ),
    ],
)
def test_what_does_not_fit_is_named_by_its_price(
    overrides: dict[str, dict[str, object]], found: list[tuple[str, str]]
) -> None:
    assert errors(overrides) == found


def test_an_adjustment_multiplies_amounts_and_nothing_else() -> None:
    plan = agreed_plan(PLAN, NO_DEAL.adjusted(Decimal(10)))
    fee, calls, tokens = plan.price("fee"), usage(plan, "calls"), usage(plan, "tokens")
    assert isinstance(fee, FlatPrice)
    assert (fee.amount, fee.discount) == (Decimal(110), Discount(None, Decimal(5)))
    assert isinstance(calls.model, Graduated)
    assert [(tier.up_to, tier.unit, tier.flat) for tier in calls.model.tiers] == [
        (Decimal(10), ZERO, ZERO), (None, Decimal("0.33"), Decimal("2.2")),
    ]  # fmt: skip
    assert (calls.minimum, calls.maximum, plan.minimum) == (ONE, Decimal(500), Decimal(50))
    assert isinstance(tokens.model, Dimensional)
    assert [rate.model for rate in tokens.model.rates] == [
        PerUnit(Decimal("3.3"), Decimal(1000)), Package(Decimal("4.4"), Decimal(100), ZERO),
    ]  # fmt: skip
    assert tokens.model.otherwise == PerUnit(Decimal("9.9"), ONE)
    assert usage(plan, "burn").model == PerUnit(Decimal("2.2"), ONE)


def test_adjustments_compound_exactly_and_round_once() -> None:
    deal = NO_DEAL
    for _ in range(7):
        deal = deal.adjusted(Decimal(5))
    assert deal.factor == Fraction(21, 20) ** 7
    fee = agreed_plan(PLAN, deal).price("fee")
    assert isinstance(fee, FlatPrice)
    # 100 x 1.05^7 = 140.710042265625 exactly
    assert fee.amount == Decimal("140.710042265625")


def test_an_override_is_adjusted_from_when_it_was_stated() -> None:
    deal = NO_DEAL.adjusted(Decimal(50)).overridden({"fee": {"amount": "80"}})
    later = deal.adjusted(Decimal(10))
    plans = agreed_plan(PLAN, deal), agreed_plan(PLAN, later)
    fees = [plan.price("fee") for plan in plans]
    # 80 as stated, then 88; the rest is 1.5 and 1.65 times what was published
    assert [fee.amount for fee in fees if isinstance(fee, FlatPrice)] == [80, 88]
    assert [usage(plan, "burn").model for plan in plans] == [
        PerUnit(Decimal(3), ONE), PerUnit(Decimal("3.3"), ONE),
    ]  # fmt: skip
    # What an override does not name goes on with the others.
    named = NO_DEAL.adjusted(Decimal(50)).overridden({"burn": {"included": "5"}})
    assert usage(agreed_plan(PLAN, named), "burn").model == PerUnit(Decimal(3), ONE)


def test_a_price_may_not_grow_out_of_bounds() -> None:
    document = {**DOCUMENT, "prices": [{"key": "fee", "type": "flat", "amount": "9" * 18}]}
    with pytest.raises(Invalid) as caught:
        agreed_plan(parse_plan(document), NO_DEAL.adjusted(Decimal(1000)))
    assert caught.value.errors[0].path == "adjust_percent"


def test_another_version_keeps_adjustments_and_another_plan_does_not() -> None:
    deal = NO_DEAL.overridden({"fee": {"amount": "80"}, "burn": {"unit": "1"}}).adjusted(ONE)
    only_fee = parse_plan({**DOCUMENT, "prices": DOCUMENT["prices"][:1]}, version=4)
    same = deal.kept_on(only_fee, moved=False)
    other = deal.kept_on(only_fee, moved=True)
    assert (same.overrides, same.factor) == ({"fee": {"amount": "80"}}, Fraction(101, 100))
    assert (other.overrides, other.factor) == ({"fee": {"amount": "80"}}, Fraction(1))
    assert same.rises == other.rises == {"fee": Fraction(101, 100)}


def test_on_trial_invoiced_usage_is_free_and_wallets_are_as_always() -> None:
    plan = agreed_plan(PLAN, Deal(trial=True))
    assert plan.minimum is None
    assert usage(plan, "burn") == usage(PLAN, "burn")
    calls = usage(plan, "calls")
    assert price_amount(calls, [({}, Decimal(1000))]) == ZERO
    assert calls.minimum is None


def test_paused_nothing_is_priced() -> None:
    plan = agreed_plan(PLAN, Deal(trial=True, paused=True))
    assert (plan.prices, plan.minimum, plan.credits) == ((), None, ())
    assert (plan.key, plan.version, plan.period) == ("p", 3, "month")


@given(st.lists(st.decimals(-99, 300, places=2), max_size=12))
def test_steps_of_adjustments_are_one_product(percents: list[Decimal]) -> None:
    deal = NO_DEAL
    product = Fraction(1)
    for percent in percents:
        deal = deal.adjusted(percent)
        product *= 1 + Fraction(percent) / 100
    fee = agreed_plan(PLAN, deal).price("fee")
    assert isinstance(fee, FlatPrice)
    assert abs(Fraction(fee.amount) - 100 * product) <= Fraction(1, 2 * 10**12)
