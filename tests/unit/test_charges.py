"""Fixed fees: what falls due at which billing boundary, and what a change costs."""

from decimal import Decimal
from fractions import Fraction

import pytest

from taximeter.domain.catalog.plan import (
    PerUnit,
    UsagePrice,
)
from taximeter.domain.subscription.charges import (
    charges_at,
    closed_period,
    previous_boundary,
)
from taximeter.kernel.quantity import ONE, ZERO
from taximeter.kernel.times import (
    Period,
)
from tests.unit.subscription_values import (
    NEW_YORK,
    bill,
    bounds,
    ended,
    flat,
    plan,
    seat,
    subscription,
    to,
    utc,
)

# Boundaries


def test_advance_fees_fall_due_at_the_start_and_at_each_period() -> None:
    it = subscription(plan(flat("30")))
    assert bounds(it, "2026-06-30") == ["2026-04-01", "2026-05-01", "2026-06-01"]
    assert bounds(it, "2026-06-01", after="2026-04-01") == ["2026-05-01", "2026-06-01"]
    assert bill(it, "2026-04-01") == [("30.00", "2026-04-01", "2026-05-01")]
    assert bill(it, "2026-05-01") == [("30.00", "2026-05-01", "2026-06-01")]


def test_arrears_fees_fall_due_at_the_end_so_the_start_is_no_boundary() -> None:
    it = subscription(plan(flat("30", "arrears")))
    assert bounds(it, "2026-05-31") == ["2026-05-01"]
    assert bill(it, "2026-04-01") == []
    assert bill(it, "2026-05-01") == [("30.00", "2026-04-01", "2026-05-01")]
    assert bill(it, "2026-06-01") == [("30.00", "2026-05-01", "2026-06-01")]


def test_a_fee_of_nothing_makes_no_invoice_but_shows_on_the_first() -> None:
    it = subscription(plan(flat("0")))
    assert bounds(it, "2026-05-31") == ["2026-05-01"]
    assert bill(it, "2026-05-01") == [
        ("0.00", "2026-04-01", "2026-05-01"),
        ("0.00", "2026-05-01", "2026-06-01"),
    ]


def test_only_a_boundary_can_be_billed() -> None:
    with pytest.raises(AssertionError):
        charges_at(subscription(plan(flat("30"))), utc("2026-04-15"))


def test_boundaries_keep_the_anchor_day_and_the_local_hour() -> None:
    it = subscription(plan(flat("1")), "2024-01-31T05:00", timezone=NEW_YORK)
    assert bounds(it, "2024-05-30") == [
        *("2024-01-31T05:00", "2024-02-29T05:00", "2024-03-31T04:00", "2024-04-30T04:00"),
    ]


def test_the_end_of_a_subscription_is_a_boundary_and_the_last() -> None:
    it = ended(subscription(plan(flat("30"))), "2026-05-20")
    assert bounds(it, "2027-01-01") == ["2026-04-01", "2026-05-01", "2026-05-20"]
    it = ended(subscription(plan(flat("30"))), "2026-05-01")
    assert bounds(it, "2027-01-01") == ["2026-04-01", "2026-05-01"]
    assert bounds(it, "2027-01-01", after="2026-05-01") == []
    assert bill(it, "2026-05-01") == []


def test_a_subscription_cancelled_from_its_start_owes_nothing() -> None:
    it = ended(subscription(plan(flat("30"))), "2026-04-01")
    assert bounds(it, "2027-01-01") == []
    assert charges_at(it, utc("2026-04-01")) == ()
    assert previous_boundary(it, utc("2026-05-01")) is None


def test_a_change_of_the_plans_period_closes_the_old_period_at_once() -> None:
    # Yearly 360 from 11 April on the anchor of 1 January: 265 of 365 days are left of 2026
    # (365 - 31 - 28 - 31 - 10); 360 x 265 / 365 = 261.3698...; 30 x 20 / 30 comes back
    yearly = plan(flat("360"), version=2, period="year")
    it = to(subscription(plan(flat("30")), "2026-01-01"), "2026-04-11", yearly)
    assert bounds(it, "2027-06-01", after="2026-03-15") == [
        *("2026-04-01", "2026-04-11", "2027-01-01"),
    ]
    assert bill(it, "2026-04-11") == [
        ("-20.00", "2026-04-11", "2026-05-01"),
        ("261.37", "2026-04-11", "2027-01-01"),
    ]
    assert closed_period(it, utc("2026-04-11")) == Period(utc("2026-04-01"), utc("2026-04-11"))


def test_without_proration_the_old_period_runs_to_its_end_before_the_new_one() -> None:
    # From 1 May 245 of 365 days are left: 360 x 245 / 365 = 241.6438...
    yearly = plan(flat("360"), version=2, period="year")
    it = to(subscription(plan(flat("30")), "2026-01-01"), "2026-04-11", yearly, "none")
    assert bounds(it, "2027-06-01", after="2026-03-15") == [
        *("2026-04-01", "2026-05-01", "2027-01-01"),
    ]
    assert bill(it, "2026-05-01") == [("241.64", "2026-05-01", "2027-01-01")]


def test_the_previous_boundary_and_what_an_invoice_closes() -> None:
    it = ended(subscription(plan(flat("30")), "2026-04-11", anchor="2026-04-01"), "2026-06-10")
    assert previous_boundary(it, utc("2026-04-11")) is None
    assert previous_boundary(it, utc("2026-05-01")) == utc("2026-04-11")
    assert previous_boundary(it, utc("2026-05-15")) == utc("2026-05-01")
    assert previous_boundary(it, utc("2026-06-10")) == utc("2026-06-01")
    assert previous_boundary(it, utc("2026-08-01")) == utc("2026-06-10")
    assert closed_period(it, utc("2026-04-11")) == Period(utc("2026-04-11"), utc("2026-04-11"))
    assert closed_period(it, utc("2026-05-01")) == Period(utc("2026-04-11"), utc("2026-05-01"))
    arrears = subscription(plan(flat("30", "arrears")))
    assert closed_period(arrears, utc("2026-05-01")) == Period(utc("2026-04-01"), utc("2026-05-01"))


# Changes


def test_a_dearer_plan_on_11_april() -> None:
    # 30 days, 20 of them left: -30 x 20 / 30 = -20, 50 x 20 / 30 = 33.333...; then May
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(flat("50"), version=2))
    assert bill(it, "2026-04-01") == [("30.00", "2026-04-01", "2026-05-01")]
    assert bill(it, "2026-05-01") == [
        ("-20.00", "2026-04-11", "2026-05-01"),
        ("33.33", "2026-04-11", "2026-05-01"),
        ("50.00", "2026-05-01", "2026-06-01"),
    ]
    credit, fee, _ = charges_at(it, utc("2026-05-01"))
    assert (credit.kind, credit.plan.version, fee.kind, fee.plan.version) == ("credit", 1, "fee", 2)
    assert credit.description == "Base: unused time (20 of 30 days)"
    assert fee.description == "Base (20 of 30 days)"
    assert credit.part.fraction == Fraction(20, 30)
    assert fee.amount == Decimal("33.333333333333")  # exact to the 12th decimal, not to the cent
    assert [(step.text, step.amount) for step in fee.steps] == [
        ("fee 50", Decimal(50)),
        ("prorated: 20 of 30 days", Decimal("-16.666666666667")),
    ]
    assert [step.amount for step in credit.steps] == [Decimal(-30), Decimal(10)]


def test_proration_by_second() -> None:
    # 11 April 12:00: 19.5 of 30 days are left: -30 x 1684800 / 2592000 = -19.50; 50: 32.50
    new = plan(flat("50"), version=2)
    it = to(subscription(plan(flat("30"))), "2026-04-11T12:00", new, "by_second")
    assert bill(it, "2026-05-01")[:2] == [
        ("-19.50", "2026-04-11T12:00", "2026-05-01"),
        ("32.50", "2026-04-11T12:00", "2026-05-01"),
    ]
    assert charges_at(it, utc("2026-05-01"))[1].description == ("Base (1684800 of 2592000 seconds)")


def test_no_proration_starts_new_terms_with_the_next_period() -> None:
    new = plan(flat("50"), version=2)
    it = to(subscription(plan(flat("30"))), "2026-04-11", new, "none")
    assert bill(it, "2026-05-01") == [("50.00", "2026-05-01", "2026-06-01")]
    assert charges_at(it, utc("2026-05-01"))[0].plan == new
    arrears = plan(flat("30", "arrears"))
    it = to(subscription(arrears), "2026-04-11", plan(flat("50", "arrears"), version=2), "none")
    assert bill(it, "2026-05-01") == [("30.00", "2026-04-01", "2026-05-01")]
    assert bill(it, "2026-06-01") == [("50.00", "2026-05-01", "2026-06-01")]


def test_no_proration_at_a_boundary_starts_at_once() -> None:
    new = plan(flat("50"), version=2)
    it = to(subscription(plan(flat("30"))), "2026-05-01", new, "none")
    assert bill(it, "2026-05-01") == [("50.00", "2026-05-01", "2026-06-01")]


def test_terms_that_are_replaced_before_they_begin_are_never_charged() -> None:
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(flat("99"), version=2), "none")
    # then by day on 21 April: -30 x 10 / 30 and 60 x 10 / 30
    by_day = to(it, "2026-04-21", plan(flat("60"), version=3))
    assert bill(by_day, "2026-05-01") == [
        ("-10.00", "2026-04-21", "2026-05-01"),
        ("20.00", "2026-04-21", "2026-05-01"),
        ("60.00", "2026-05-01", "2026-06-01"),
    ]
    later = to(it, "2026-04-21", plan(flat("60"), version=3), "none")
    assert bill(later, "2026-05-01") == [("60.00", "2026-05-01", "2026-06-01")]


def test_a_change_at_a_boundary_needs_no_proration() -> None:
    it = to(subscription(plan(flat("30"))), "2026-05-01", plan(flat("50"), version=2))
    assert bill(it, "2026-05-01") == [("50.00", "2026-05-01", "2026-06-01")]
    assert bill(it, "2026-06-01") == [("50.00", "2026-06-01", "2026-07-01")]


def test_several_changes_in_one_period_are_lines_each() -> None:
    # -30 x 20/30 + 60 x 20/30 - 60 x 10/30 + 90 x 10/30
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(flat("60"), version=2))
    it = to(it, "2026-04-21", plan(flat("90"), version=3))
    assert [amount for amount, _, _ in bill(it, "2026-05-01")] == [
        *("-20.00", "40.00", "-20.00", "30.00", "90.00"),
    ]


def test_arrears_are_charged_in_parts_each_at_its_terms() -> None:
    # 30 x 10 / 30 = 10 and 50 x 20 / 30 = 33.33
    it = subscription(plan(flat("30", "arrears")))
    it = to(it, "2026-04-11", plan(flat("50", "arrears"), version=2))
    assert bill(it, "2026-05-01") == [
        ("10.00", "2026-04-01", "2026-04-11"),
        ("33.33", "2026-04-11", "2026-05-01"),
    ]


def test_seats_added_in_mid_period() -> None:
    # -5 x 20 x 20 / 30 = -66.67 and 8 x 20 x 20 / 30 = 106.67; then 8 x 20
    it = to(subscription(plan(seat("20")), seats=5), "2026-04-11", seats=8)
    assert bill(it, "2026-04-01") == [("100.00", "2026-04-01", "2026-05-01")]
    assert bill(it, "2026-05-01") == [
        ("-66.67", "2026-04-11", "2026-05-01"),
        ("106.67", "2026-04-11", "2026-05-01"),
        ("160.00", "2026-05-01", "2026-06-01"),
    ]
    assert [charge.quantity for charge in charges_at(it, utc("2026-05-01"))] == [5, 8, 8]


def test_a_fee_that_stays_the_same_makes_no_lines_but_names_the_new_version() -> None:
    it = to(subscription(plan(flat("30"), seat("20")), seats=5), "2026-04-11", seats=6)
    it = to(it, "2026-04-16", plan(flat("30"), seat("20"), version=2))
    assert [c.price.key for c in charges_at(it, utc("2026-05-01"))] == [
        *("base", "seats", "seats", "seats"),
    ]
    assert [c.plan.version for c in charges_at(it, utc("2026-05-01"))] == [2, 1, 1, 2]


def test_a_price_that_goes_and_one_that_comes() -> None:
    old, new = flat("30", key="old"), flat("60", key="new")
    it = to(subscription(plan(old)), "2026-04-11", plan(new, version=2))
    assert bill(it, "2026-05-01") == [
        ("-20.00", "2026-04-11", "2026-05-01"),
        ("40.00", "2026-04-11", "2026-05-01"),
        ("60.00", "2026-05-01", "2026-06-01"),
    ]
    later = to(subscription(plan(old)), "2026-04-11", plan(new, version=2), "none")
    assert bill(later, "2026-05-01") == [("60.00", "2026-05-01", "2026-06-01")]
    assert bill(to(later, "2026-06-01", plan(old, version=3)), "2026-06-01") == [
        ("30.00", "2026-06-01", "2026-07-01"),
    ]


def test_from_advance_to_arrears_and_back() -> None:
    arrears = plan(flat("60", "arrears"), version=2)
    it = to(subscription(plan(flat("30"))), "2026-04-11", arrears)
    assert bill(it, "2026-05-01") == [
        ("-20.00", "2026-04-11", "2026-05-01"),
        ("40.00", "2026-04-11", "2026-05-01"),
    ]
    it = to(it, "2026-05-11", plan(flat("31"), version=3))  # 21 of 31 days left
    assert bill(it, "2026-06-01") == [
        ("19.35", "2026-05-01", "2026-05-11"),  # 60 x 10 / 31 = 19.3548...
        ("21.00", "2026-05-11", "2026-06-01"),
        ("31.00", "2026-06-01", "2026-07-01"),
    ]


def test_a_price_that_becomes_usage_is_credited() -> None:
    metered = UsagePrice(
        *("base", "Base", "USD", "m", PerUnit(ONE, ONE), "invoice", None, ZERO),
        discount=None,
        maximum=None,
        minimum=None,
    )
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(metered, version=2))
    assert bill(it, "2026-05-01") == [("-20.00", "2026-04-11", "2026-05-01")]


def test_days_are_those_of_the_customers_zone() -> None:
    # 11 April 03:00Z is still the 10th in New York: 21 of 30 days are left
    it = subscription(plan(flat("30")), "2026-04-01T04:00", timezone=NEW_YORK)
    it = to(it, "2026-04-11T03:00", plan(flat("60"), version=2))
    assert [amount for amount, _, _ in bill(it, "2026-05-01T04:00")] == [
        *("-21.00", "42.00", "60.00"),
    ]


def test_a_month_with_a_clock_change_has_whole_days() -> None:
    # March 2026 in New York: 743 hours, 31 days; from the 11th 21 are left
    it = subscription(plan(flat("31")), "2026-03-01T05:00", timezone=NEW_YORK)
    it = to(it, "2026-03-11T04:00", plan(flat("62"), version=2))
    assert [amount for amount, _, _ in bill(it, "2026-04-01T04:00")] == [
        *("-21.00", "42.00", "62.00"),
    ]


def test_a_cut_by_day_never_goes_back_before_one_by_second() -> None:
    # By second on 11 April 12:00 (19.5 days left), by day at 18:00 of the same day: 20 days would
    # be left, more than was charged for the terms between; so 19.5 of them are credited.
    it = to(subscription(plan(flat("30"))), "2026-04-11T12:00", plan(flat("60")), "by_second")
    it = to(it, "2026-04-11T18:00", plan(flat("90"), version=3), "by_day")
    assert [amount for amount, _, _ in bill(it, "2026-05-01")] == [
        *("-19.50", "39.00", "-39.00", "58.50", "90.00"),
    ]


def test_a_part_between_cuts_of_two_kinds_is_a_plain_fraction() -> None:
    # Arrears: 10 of 30 days by day, then until 16 April 12:00 by second: 5.5 of 30 days = 11/60
    it = subscription(plan(flat("60", "arrears")))
    it = to(it, "2026-04-11", plan(flat("90", "arrears"), version=2))
    it = to(it, "2026-04-16T12:00", plan(flat("120", "arrears"), version=3), "by_second")
    assert [
        (amount.description, amount.amount) for amount in charges_at(it, utc("2026-05-01"))
    ] == [
        ("Base (10 of 30 days)", Decimal(20)),
        ("Base (11/60 of the period)", Decimal("16.5")),
        ("Base (1252800 of 2592000 seconds)", Decimal(58)),  # 14.5 x 86400
    ]


def test_two_changes_on_one_day_leave_no_time_between_them() -> None:
    it = subscription(plan(flat("30", "arrears")))
    it = to(it, "2026-04-11T08:00", plan(flat("60", "arrears"), version=2))
    it = to(it, "2026-04-11T20:00", plan(flat("90", "arrears"), version=3))
    assert [amount for amount, _, _ in bill(it, "2026-05-01")] == ["10.00", "60.00"]


def test_a_change_that_waits_is_no_cut() -> None:
    # The month is 31 January 15:00 to 28 February 15:00, 2419200 seconds. A change without
    # proration at 00:30 of 1 February cuts nothing, though a day has begun by then; one by second
    # at 01:00 leaves all but ten hours.
    it = subscription(plan(flat("30")), "2026-01-31T15:00")
    it = to(it, "2026-02-01T00:30", plan(flat("40"), version=2), "none")
    it = to(it, "2026-02-01T01:00", plan(flat("50"), version=3), "by_second")
    credit = charges_at(it, utc("2026-02-28T15:00"))[0]
    assert credit.description == "Base: unused time (2383200 of 2419200 seconds)"


def test_a_price_that_comes_back_is_charged_from_then_on() -> None:
    # 30: days 1 to 10, and again the last 10 of 30 days
    it = to(subscription(plan(flat("30"))), "2026-04-11", plan(version=2))
    it = to(it, "2026-04-21", plan(flat("30"), version=3))
    assert bill(it, "2026-05-01") == [
        ("-20.00", "2026-04-11", "2026-05-01"),
        ("10.00", "2026-04-21", "2026-05-01"),
        ("30.00", "2026-05-01", "2026-06-01"),
    ]
