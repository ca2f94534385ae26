"""A period's spend and its forecast: what belongs to it, and what it will come to."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from taximeter.domain.catalog.plan import (
    Dimensional,
    Graduated,
    PerUnit,
    Rate,
    Tier,
    UsagePrice,
)
from taximeter.domain.invoicing.spend import Spend, open_period, run_rate, spend_of, usage_segments
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.quantity import ONE, ZERO, format_decimal
from taximeter.kernel.times import Period
from tests.unit.subscription_values import NEW_YORK, flat, plan, subscription, to, utc

APRIL = Period(utc("2026-04-01"), utc("2026-05-01"))


def usage_price(key: str = "out", meter: str = "tokens", **changes: object) -> UsagePrice:
    values: dict[str, object] = {
        **{"key": key, "name": key.title(), "asset": "USD", "meter": meter, "settle": "invoice"},
        **{"model": PerUnit(Decimal(2), ONE), "period": None, "included": ZERO, "discount": None},
        **{"maximum": None, "minimum": None},
    }
    return UsagePrice(**{**values, **changes})  # type: ignore[arg-type]


def spent(it: Subscription, at: str, used: Mapping[str, Usage], growing: str = "tokens") -> Spend:
    when = utc(at)
    period = open_period(it, when)
    assert period is not None
    keys = {segment.price.key: segment for segment in usage_segments(it, period)}
    usage = {(key, keys[key].span.start): rows for key, rows in used.items()}
    return spend_of(it, period, when, usage, {growing})


def total(quantity: str, **dimensions: str) -> Usage:
    return [(dimensions, Decimal(quantity))]


def rows(spend: Spend) -> list[tuple[str, str, str, str]]:
    return [
        (
            one.price, format_decimal(one.quantity), format_decimal(one.amount),
            format_decimal(one.forecast),
        )
        for one in spend.prices
    ]  # fmt: skip


def test_usage_is_extended_over_the_whole_period_and_fees_are_not() -> None:
    it = subscription(plan(flat("99"), usage_price()))
    found = spent(it, "2026-04-11", {"out": total("100")})
    # 10 of 30 days: 100 tokens x 2 = 200, at the end 300 x 2 = 600; the fee of 99 once
    assert rows(found) == [("base", "1", "99", "99"), ("out", "100", "200", "600")]
    assert (found.period, found.total, found.forecast) == (APRIL, Decimal(299), Decimal(699))


def test_a_fee_in_arrears_is_forecast_but_not_spent() -> None:
    it = subscription(plan(flat("30", "arrears")))
    found = spent(it, "2026-04-11", {})
    assert rows(found) == [("base", "0", "0", "30")]
    assert (found.total, found.forecast) == (ZERO, Decimal(30))


def test_the_fee_of_the_next_period_does_not_belong_to_this_one() -> None:
    it = subscription(plan(flat("30")))
    assert spent(it, "2026-04-30", {}).forecast == Decimal(30)
    assert spent(it, "2026-05-01", {}).total == Decimal(30)


def test_the_forecast_is_rated_again_with_tiers_and_included_units() -> None:
    tiers = (Tier(Decimal(100), ONE, ONE, ZERO), Tier(None, Decimal("0.5"), ONE, ZERO))
    it = subscription(plan(usage_price(model=Graduated(tiers), included=Decimal(20))))
    found = spent(it, "2026-04-16", {"out": total("100")})
    # so far 100 - 20 = 80 at 1; at the end 200 - 20 = 180: 100 at 1 + 80 at 0.5 = 140
    assert rows(found) == [("out", "100", "80", "140")]


def test_a_quantity_that_does_not_grow_with_time_stays() -> None:
    it = subscription(plan(usage_price(meter="peak")))
    assert rows(spent(it, "2026-04-16", {"out": total("7")})) == [("out", "7", "14", "14")]


def test_lines_are_rounded_as_the_invoice_rounds_them() -> None:
    rates = tuple(
        Rate((("model", name),), PerUnit(Decimal("0.001"), ONE)) for name in ("large", "small")
    )
    it = subscription(plan(usage_price(model=Dimensional(("model",), rates, "quarantine"))))
    used = [*total("1004", model="large"), *total("1004", model="small")]
    found = spent(it, "2026-04-16", {"out": used})
    # two lines of 1.004 are printed as 1.00 each; at the end 2.008 prints as 2.01 each
    assert rows(found) == [("out", "2008", "2", "4.02")]


def test_credit_units_are_exact_and_no_part_of_the_total() -> None:
    burn = PerUnit(Decimal("0.0001"), ONE)
    it = subscription(plan(flat("10"), usage_price(asset="credits", settle="wallet", model=burn)))
    found = spent(it, "2026-04-16", {"out": total("123")})
    assert rows(found) == [("base", "1", "10", "10"), ("out", "123", "0.0123", "0.0246")]
    assert (found.total, found.forecast) == (Decimal(10), Decimal(10))


@pytest.mark.parametrize(
    ("used", "forecast"),
    [
        ("0", "500"),  # fee 99, true-up 401
        ("50", "500"),  # 99 + 2 x 100 = 299, true-up 201
        ("150", "699"),  # 99 + 2 x 300 = 699: above
    ],
)
def test_the_forecast_meets_the_minimum_of_the_plan(used: str, forecast: str) -> None:
    it = subscription(plan(flat("99"), usage_price(), minimum=Decimal(500)))
    assert spent(it, "2026-04-16", {"out": total(used)}).forecast == Decimal(forecast)


def test_a_change_in_mid_period_makes_two_segments_of_one_price() -> None:
    first = plan(usage_price())
    second = plan(usage_price(model=PerUnit(Decimal(1), ONE)), version=2)
    it = to(subscription(first), "2026-04-11", second)
    before, after = usage_segments(it, APRIL)
    used = {
        ("out", before.span.start): total("100"),
        ("out", after.span.start): total("10"),
    }
    found = spend_of(it, APRIL, utc("2026-04-16"), used, {"tokens"})
    # the first segment is over: 100 x 2; the second: 10 in 5 of 20 days is 40 at the end
    assert rows(found) == [("out", "110", "210", "240")]


def test_no_period_is_open_before_the_start_and_after_the_end() -> None:
    it = subscription(plan(flat("30")), "2026-04-01", ends_at="2026-05-01")
    assert open_period(it, utc("2026-03-31")) is None
    assert open_period(it, utc("2026-04-01")) == APRIL
    assert open_period(it, utc("2026-05-01")) is None


def test_a_period_is_the_customers_not_that_of_utc() -> None:
    it = subscription(plan(usage_price()), "2026-04-01T04:00:00", timezone=NEW_YORK)
    period = open_period(it, utc("2026-04-20"))
    assert period == Period(utc("2026-04-01T04:00:00"), utc("2026-05-01T04:00:00"))


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-01", "10"),  # not begun
        ("2026-04-01", "10"),  # at its start: no time has gone by
        ("2026-04-07", "50"),  # 6 of 30 days
        ("2026-04-08", "42.857142857143"),  # 10 x 30 / 7, half up at the 12th decimal
        ("2026-05-01", "10"),  # over
    ],
)
def test_the_run_rate(at: str, expected: str) -> None:
    assert run_rate(Decimal(10), APRIL, utc(at)) == Decimal(expected)
