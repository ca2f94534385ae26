"""Fixed fees of short periods, of a subscription's end, of other periods; the plan's minimum."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from taximeter.domain.catalog.plan import (
    Timing,
)
from taximeter.domain.subscription.charges import (
    charges_at,
    closed_period,
    fees_belonging_to,
    minimum_at,
)
from taximeter.kernel.times import (
    Period,
)
from tests.unit.subscription_values import (
    bill,
    bounds,
    ended,
    flat,
    plan,
    shown,
    subscription,
    to,
    utc,
)

# Short periods and ends


def test_a_short_first_period_is_prorated() -> None:
    # 11 April on the anchor of the 1st: 20 of 30 days
    it = subscription(plan(flat("30")), "2026-04-11", anchor="2026-01-01")
    assert bill(it, "2026-04-11") == [("20.00", "2026-04-11", "2026-05-01")]
    assert bill(it, "2026-05-01") == [("30.00", "2026-05-01", "2026-06-01")]
    arrears = plan(flat("30", "arrears"))
    it = subscription(arrears, "2026-04-11", anchor="2026-01-01")
    assert bill(it, "2026-05-01") == [("20.00", "2026-04-11", "2026-05-01")]
    by_second = subscription(
        arrears, "2026-04-11T12:00", anchor="2026-01-01", proration="by_second"
    )
    assert bill(by_second, "2026-05-01") == [("19.50", "2026-04-11T12:00", "2026-05-01")]


def test_two_days_of_february_in_a_leap_year() -> None:
    # examples.md, case 26: 100 x 2 / 29 = 6.896...
    it = subscription(plan(flat("100", "arrears")), "2024-02-28", anchor="2024-01-01")
    assert bill(it, "2024-03-01") == [("6.90", "2024-02-28", "2024-03-01")]
    assert bill(it, "2024-04-01") == [("100.00", "2024-03-01", "2024-04-01")]


def test_an_agreed_end_makes_a_short_last_period() -> None:
    it = subscription(plan(flat("30")), ends_at="2026-05-11")
    assert bounds(it, "2027-01-01") == ["2026-04-01", "2026-05-01", "2026-05-11"]
    assert bill(it, "2026-05-01") == [("9.68", "2026-05-01", "2026-05-11")]  # 30 x 10 / 31
    assert bill(it, "2026-05-11") == []


@pytest.mark.parametrize(
    ("timing", "made_at", "credit_unused", "before", "last"),
    [
        # arrears: 30 x 10 / 30, whenever it was decided
        ("arrears", "2026-04-11", False, [], [("10.00", "2026-04-01", "2026-04-11")]),
        ("arrears", "2026-03-15", True, [], [("10.00", "2026-04-01", "2026-04-11")]),
        # advance: the month was paid for; the rest comes back only on request
        ("advance", "2026-04-11", False, [("30.00", "2026-04-01", "2026-05-01")], []),
        (
            *("advance", "2026-04-11", True),
            [("30.00", "2026-04-01", "2026-05-01")],
            [("-20.00", "2026-04-11", "2026-05-01")],
        ),
        # decided before the month began, or as it did: only ten days are charged for
        ("advance", "2026-04-01", True, [("10.00", "2026-04-01", "2026-04-11")], []),
        ("advance", "2026-03-15", False, [("10.00", "2026-04-01", "2026-04-11")], []),
        ("advance", "2026-03-15", True, [("10.00", "2026-04-01", "2026-04-11")], []),
    ],
)
def test_a_cancel_in_mid_period(
    timing: Timing,
    made_at: str,
    credit_unused: bool,
    before: Sequence[tuple[str, str, str]],
    last: Sequence[tuple[str, str, str]],
) -> None:
    it = subscription(plan(flat("30", timing)), "2026-03-01")
    it = ended(it, "2026-04-11", made_at=made_at, credit_unused=credit_unused)
    fees = bill(it, "2026-04-01")
    assert [fee for fee in fees if fee[1] >= "2026-04-01"] == before
    assert bill(it, "2026-04-11") == last


def test_a_week_cancelled_after_a_day() -> None:
    # examples.md, case 24, without tax: 29.99 x 6 / 7 = 25.7057...
    it = subscription(plan(flat("29.99"), period="week"), "2025-10-06")
    it = ended(it, "2025-10-07", credit_unused=True)
    assert bill(it, "2025-10-06") == [("29.99", "2025-10-06", "2025-10-13")]
    assert bill(it, "2025-10-07") == [("-25.71", "2025-10-07", "2025-10-13")]


def test_a_cancel_after_a_change_settles_both() -> None:
    # Billed 30; -30 x 20/30 and +60 x 20/30 for the change; the end on the 21st credits
    # 60 x 10/30: in all 30 x 10/30 + 60 x 10/30 = 30
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(flat("60"), version=2))
    it = ended(it, "2026-04-21", credit_unused=True)
    assert [amount for amount, _, _ in bill(it, "2026-04-21")] == ["-20.00", "40.00", "-20.00"]


def test_a_cancel_before_an_agreed_end_credits_what_was_charged_up_to_it() -> None:
    # May until the 11th was charged: 10 of 31 days; ended on the 6th: 5 of 31 come back
    it = subscription(plan(flat("31")), ends_at="2026-05-11")
    it = ended(it, "2026-05-06", credit_unused=True)
    assert bill(it, "2026-05-01") == [("10.00", "2026-05-01", "2026-05-11")]
    assert bill(it, "2026-05-06") == [("-5.00", "2026-05-06", "2026-05-11")]


def test_a_change_without_proration_that_the_end_overtakes() -> None:
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(flat("60"), version=2), "none")
    it = ended(it, "2026-04-21", credit_unused=True)
    assert bill(it, "2026-04-21") == [("-10.00", "2026-04-21", "2026-05-01")]
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(flat("60"), version=2), "none")
    assert bill(ended(it, "2026-05-01"), "2026-05-01") == []


# Prices with their own period


def test_a_yearly_fee_in_a_monthly_plan() -> None:
    it = subscription(plan(flat("10"), flat("120", key="support", period="year")), "2026-01-31")
    assert bill(it, "2026-01-31") == [
        ("10.00", "2026-01-31", "2026-02-28"),
        ("120.00", "2026-01-31", "2027-01-31"),
    ]
    assert bill(it, "2026-02-28") == [("10.00", "2026-02-28", "2026-03-31")]
    assert bill(it, "2027-01-31") == [
        ("10.00", "2027-01-31", "2027-02-28"),
        ("120.00", "2027-01-31", "2028-01-31"),
    ]


def test_a_yearly_fee_that_changes_is_prorated_over_its_year() -> None:
    # 1 April: 275 of 365 days are left (365 - 31 - 28 - 31)
    yearly = plan(flat("365", period="year"))
    it = subscription(yearly, "2026-01-01")
    it = to(it, "2026-04-01", plan(flat("730", period="year"), version=2))
    assert bill(it, "2026-04-01") == [
        ("-275.00", "2026-04-01", "2027-01-01"),
        ("550.00", "2026-04-01", "2027-01-01"),
    ]
    kept = to(subscription(yearly, "2026-01-01"), "2026-04-01", plan(version=2), "none")
    assert [at for at in bounds(kept, "2027-03-01") if bill(kept, at)] == ["2026-01-01"]


def test_a_yearly_fee_in_arrears_is_charged_up_to_a_cancel() -> None:
    # 1 January to 1 April: 90 of 365 days
    it = subscription(plan(flat("365", "arrears", period="year")), "2026-01-01")
    it = ended(it, "2026-04-01")
    assert [bill(it, at) for at in bounds(it, "2027-01-01")] == [
        *([], [], [("90.00", "2026-01-01", "2026-04-01")]),
    ]


def test_weekly_fees_in_a_monthly_plan_wait_for_the_next_boundary() -> None:
    it = subscription(plan(flat("7", period="week"), flat("1", "arrears", key="w", period="week")))
    assert bill(it, "2026-04-01") == [("7.00", "2026-04-01", "2026-04-08")]
    assert bill(it, "2026-05-01") == [
        ("7.00", "2026-04-08", "2026-04-15"),
        ("7.00", "2026-04-15", "2026-04-22"),
        ("7.00", "2026-04-22", "2026-04-29"),
        ("7.00", "2026-04-29", "2026-05-06"),
        ("1.00", "2026-04-01", "2026-04-08"),
        ("1.00", "2026-04-08", "2026-04-15"),
        ("1.00", "2026-04-15", "2026-04-22"),
        ("1.00", "2026-04-22", "2026-04-29"),
    ]


def test_a_discount_is_prorated_with_its_fee() -> None:
    # (30 - 50%) x 20 / 30 = 10
    it = subscription(plan(flat("30", discount="50")), "2026-04-11", anchor="2026-01-01")
    (charge,) = charges_at(it, utc("2026-04-11"))
    assert charge.amount == Decimal(10)
    assert [step.amount for step in charge.steps] == [30, -15, -5]


# The plan's minimum


def test_a_minimum_shrinks_with_a_short_period() -> None:
    # examples.md, case 26: 10000 x 2 / 29 = 689.655...
    first = plan(minimum=Decimal(10_000))
    it = subscription(first, "2024-02-28", anchor="2024-01-01")
    february = minimum_at(it, utc("2024-03-01"))
    march = minimum_at(it, utc("2024-04-01"))
    assert february is not None
    assert march is not None
    assert february.amount == Decimal("689.655172413793")
    assert [step.text for step in february.steps] == ["minimum of 10000 on P, 2 of 29 days"]
    assert february.period == Period(utc("2024-02-28"), utc("2024-03-01"))
    assert march.amount == 10_000
    assert [step.text for step in march.steps] == ["minimum of 10000 on P"]
    april = minimum_at(ended(it, "2024-04-04"), utc("2024-04-04"))
    assert april is not None
    assert april.amount == 1000


def test_a_minimum_that_changes_is_the_sum_of_its_parts() -> None:
    # 300 x 10 / 30 + 600 x 20 / 30 = 500; without proration 300, and 600 from May
    first, second = plan(minimum=Decimal(300)), plan(minimum=Decimal(600), version=2)
    it = to(subscription(first), "2026-04-11", second)
    april = minimum_at(it, utc("2026-05-01"))
    assert april is not None
    assert (april.amount, april.plan) == (Decimal(500), second)
    it = to(subscription(first), "2026-04-11", second, "none")
    april, may = minimum_at(it, utc("2026-05-01")), minimum_at(it, utc("2026-06-01"))
    assert april is not None
    assert april.amount == 300
    assert may is not None
    assert may.amount == 600


def test_a_plan_without_a_minimum_has_none() -> None:
    it = to(subscription(plan(flat("1"))), "2026-05-11", plan(minimum=Decimal(62), version=2))
    assert minimum_at(it, utc("2026-04-01")) is None
    assert minimum_at(it, utc("2026-05-01")) is None
    may = minimum_at(it, utc("2026-06-01"))
    assert may is not None
    assert may.amount == 42


def test_fees_count_towards_the_minimum_of_the_period_they_are_for() -> None:
    # April: the advance fee billed on the 1st, the change of the 11th and the arrears fee billed
    # on 1 May, but not May's advance fee, which stands on the same invoice
    first = plan(flat("30"), flat("7", "arrears", key="late"))
    it = to(subscription(first), "2026-04-11", plan(flat("60"), *first.prices[1:], version=2))
    april = fees_belonging_to(it, closed_period(it, utc("2026-05-01")))
    assert [shown(charge)[0] for charge in april] == ["30.00", "-20.00", "40.00", "7.00"]
    may = fees_belonging_to(it, closed_period(it, utc("2026-06-01")))
    assert [shown(charge)[0] for charge in may] == ["60.00", "7.00"]
    it = ended(it, "2026-05-11", credit_unused=True)  # 60 - 60 x 21/31, 7 x 10/31
    may = fees_belonging_to(it, closed_period(it, utc("2026-05-11")))
    assert [shown(charge)[0] for charge in may] == ["60.00", "-40.65", "2.26"]
