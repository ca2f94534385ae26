"""Discounts on whole invoices: what they take, in which order, how long, and off which lines."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.invoicing.discounts import (
    AppliedDiscount,
    Moment,
    Span,
    Term,
    amount_off,
    apply_discounts,
    less_discounts,
    moment_of_charge,
    terms_of,
    total_off,
)
from taximeter.domain.invoicing.lines import Line
from taximeter.domain.subscription.charges import charges_at
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.kernel.quantity import ZERO, round_half_up
from tests.unit.invoice_values import lines_of
from tests.unit.subscription_values import ended, flat, plan, seat, short, subscription, to, utc

ALWAYS = Span(utc("2026-01-01"), None)
NOW = Moment(utc("2026-04-01"), ahead=False, corrects=False)
LATE = replace(NOW, corrects=True)


def percent(text: str, **fields: Any) -> InvoiceDiscount:
    return InvoiceDiscount(Decimal(text), None, **fields)


def amount(text: str, **fields: Any) -> InvoiceDiscount:
    return InvoiceDiscount(None, Decimal(text), **fields)


def term(discount: InvoiceDiscount, **changes: Any) -> Term:
    return replace(Term("coupon", "C", "red_1", discount, None, ALWAYS, ALWAYS), **changes)


def applied(
    *discounts: InvoiceDiscount, lines: tuple[Line, ...], digits: int = 2, moment: Moment = NOW
) -> tuple[AppliedDiscount, ...]:
    terms = [term(discount) for discount in discounts]
    return apply_discounts(terms, [(line, moment) for line in lines], digits)


@pytest.mark.parametrize(
    ("discount", "base", "digits", "off"),
    [
        (percent("10"), "1050", 2, "105.00"),
        (percent("33.333"), "10", 2, "3.33"),  # 3.3333
        (percent("50"), "0.01", 2, "0.01"),  # 0.005 rounds up
        (percent("50"), "0.25", 2, "0.13"),  # 0.125
        (percent("0"), "10", 2, "0.00"),
        (percent("100"), "7.77", 2, "7.77"),
        (percent("50"), "-0.25", 2, "-0.13"),  # away from zero, as any rounding
        (percent("33"), "1001", 0, "330"),  # JPY: 330.33
        (percent("15"), "10.005", 3, "1.501"),  # BHD: 1.50075
        (amount("30"), "100", 2, "30.00"),
        (amount("30"), "20", 2, "20.00"),
        (amount("30"), "0", 2, "0.00"),
        (amount("30"), "-20", 2, "0.00"),
        (amount("0.005"), "20", 2, "0.01"),
        (amount("0.5"), "20", 0, "1"),
    ],
)
def test_what_a_discount_takes(discount: InvoiceDiscount, base: str, digits: int, off: str) -> None:
    assert amount_off(discount, Decimal(base), digits) == Decimal(off)


def test_each_takes_what_those_before_it_left() -> None:
    lines = lines_of("60", "40")
    found = applied(percent("10"), amount("15"), percent("50"), lines=lines)
    # 100.00 - 10.00 = 90.00, - 15.00 = 75.00, - 37.50 = 37.50
    assert [(str(one.base), str(one.amount)) for one in found] == [
        ("100.00", "10.00"), ("90.00", "15.00"), ("75.00", "37.50"),
    ]  # fmt: skip
    assert [str(share) for _, share in found[0].shares] == ["6.00", "4.00"]
    left = [line.amount for line in less_discounts(lines, found)]
    assert left == [Decimal("22.50"), Decimal("15.00")]
    # the other way round: 100.00 - 15.00 = 85.00, - 8.50 = 76.50
    assert [one.amount for one in applied(amount("15"), percent("10"), lines=lines)] == [15, 8.5]


def test_the_parts_add_up_where_they_do_not_divide() -> None:
    [found] = applied(percent("50"), lines=lines_of("0.01", "0.01", "0.01"))
    # 0.015 is 0.02; upto each line: 0.0067, 0.0133, 0.02
    assert [str(share) for _, share in found.shares] == ["0.01", "0.00", "0.01"]
    assert applied(percent("0"), lines=lines_of("5")) == ()
    assert applied(percent("50"), lines=()) == ()
    assert applied(amount("5"), lines=lines_of("0")) == ()


def test_a_discount_of_named_prices_and_plans() -> None:
    first, second = lines_of("60", "40")
    second = replace(second, price="other")
    lines = [(first, NOW), (second, NOW)]
    only = term(percent("50", prices=("other",)))
    [found] = apply_discounts([only], lines, 2)
    assert [found.base, found.amount] == [40, 20]
    assert found.shares == ((second.id, Decimal(20)),)
    assert apply_discounts([term(percent("50", plans=("none",)))], lines, 2) == ()
    own = term(percent("50"), source="plan", key=first.plan, versions=(first.plan_version,))
    assert total_off(apply_discounts([own], lines, 2)) == 50
    assert apply_discounts([replace(own, versions=(99,))], lines, 2) == ()
    assert apply_discounts([replace(own, key="none")], lines, 2) == ()


def test_a_percent_shrinks_a_correction_and_an_amount_does_not_come_back() -> None:
    lines = lines_of("-50")
    assert [one.amount for one in applied(percent("20"), lines=lines, moment=LATE)] == [-10]
    assert applied(amount("20"), lines=lines, moment=LATE) == ()
    more = lines_of("50")
    assert applied(amount("20"), lines=more, moment=LATE) == ()  # it was given with its own invoice


def test_an_amount_is_given_on_the_invoice_of_the_newest_line() -> None:
    march = Span(utc("2026-03-01"), utc("2026-04-01"))
    fee, usage = lines_of("60", "40")
    ahead = Moment(utc("2026-04-01"), ahead=True, corrects=False)
    back = Moment(utc("2026-03-01"), ahead=False, corrects=False)
    lines = [(fee, ahead), (usage, back)]
    in_march = term(amount("30"), ahead=march, back=march)
    assert apply_discounts([in_march], lines, 2) == ()  # the invoice of March's fee had it
    assert total_off(apply_discounts([in_march], lines[1:], 2)) == 30
    open_end = term(amount("30"), ahead=Span(utc("2026-04-01"), None), back=ALWAYS)
    assert [one.base for one in apply_discounts([open_end], lines, 2)] == [100]


def test_a_broken_discount_cannot_be_made() -> None:
    [found] = applied(percent("10"), lines=lines_of("100"))
    with pytest.raises(AssertionError, match="sum up"):
        replace(found, amount=Decimal(9))
    for base, reason in (("-100", "the sign"), ("5", "below zero")):
        with pytest.raises(AssertionError, match=reason):
            replace(found, base=Decimal(base))
    with pytest.raises(AssertionError, match="percent or amount"):
        InvoiceDiscount(None, None)
    with pytest.raises(AssertionError, match="percent or amount"):
        InvoiceDiscount(Decimal(1), Decimal(1))


cents = st.integers(-20_000, 20_000).map(lambda n: Decimal(n).scaleb(-2))
percents = st.decimals(0, 100, places=3).map(lambda n: InvoiceDiscount(n, None))
amounts_off = st.decimals(0, 300, places=3).map(lambda n: InvoiceDiscount(None, n))


@given(st.lists(cents, max_size=8), st.lists(percents | amounts_off, max_size=5))
def test_nothing_is_taken_beyond_what_is_left(
    amounts: list[Decimal], discounts: list[InvoiceDiscount]
) -> None:
    lines = lines_of(*map(str, amounts))
    left = sum(amounts, ZERO)
    found = applied(*discounts, lines=lines)
    for one in found:
        assert one.base == left
        assert sum(share for _, share in one.shares) == one.amount
        assert round_half_up(one.amount, 2) == one.amount
        left -= one.amount
        assert left == 0 or (left > 0) == (one.base > 0)
    net = less_discounts(lines, found)
    assert sum(line.amount for line in net) == left
    for before, after in zip(amounts, net, strict=True):
        assert abs(after.amount) <= abs(before)
        assert after.amount * before >= 0


@given(st.lists(cents, min_size=1, max_size=8), percents)
def test_a_percent_is_rounded_once(amounts: list[Decimal], discount: InvoiceDiscount) -> None:
    assert discount.percent is not None
    exact = sum(amounts, ZERO) * discount.percent / 100
    found = total_off(applied(discount, lines=lines_of(*map(str, amounts))))
    assert abs(found - exact) <= Decimal("0.005")


# How long a discount lasts


def spans(it: Any, one: SubscriptionDiscount | None = None) -> tuple[str, ...]:
    """The one discount's times: due dates ahead, starts of periods that are billed after."""
    [found] = terms_of(it, [] if one is None else [one])
    return tuple(
        "open" if at is None else short(at)
        for span in (found.ahead, found.back)
        for at in (span.since, span.until)
    )


def given_from(
    start: str, end: str | None = None, *, coupon: str | None = "C", **fields: Any
) -> SubscriptionDiscount:
    until: datetime | None = None if end is None else utc(end)
    return SubscriptionDiscount(
        "red_1", "acme", "sub_1", coupon, 1, percent("10", **fields), utc(start), until, utc(start)
    )


ADVANCE, ARREARS = plan(flat("30")), plan(flat("30", "arrears"))


@pytest.mark.parametrize(
    ("first", "one", "wanted"),
    [
        # from the start: the fee of then, and the first period
        (ADVANCE, given_from("2026-04-01"), ("2026-04-01", "open", "2026-04-01", "open")),
        (
            ADVANCE,
            given_from("2026-04-01", months=3),
            ("2026-04-01", "2026-07-01", "2026-04-01", "2026-07-01"),
        ),
        # without a fee at the start the first due date is the end of the first period
        (
            ARREARS,
            given_from("2026-04-01", months=3),
            ("2026-05-01", "2026-08-01", "2026-04-01", "2026-07-01"),
        ),
        # in mid-period: the fees after it, and the whole period
        (
            ADVANCE,
            given_from("2026-04-15", months=2),
            ("2026-05-01", "2026-07-01", "2026-04-01", "2026-06-01"),
        ),
        # on a boundary: that fee, and the period that begins
        (ADVANCE, given_from("2026-05-01"), ("2026-05-01", "open", "2026-05-01", "open")),
        # ended in mid-period: what was due before, and the periods before
        (
            ADVANCE,
            given_from("2026-04-15", "2026-06-20"),
            ("2026-05-01", "2026-06-20", "2026-04-01", "2026-06-01"),
        ),
        # a window opens later than it was redeemed, and closes before its months are over
        (
            ADVANCE,
            given_from("2026-04-15", starts_at=utc("2026-06-01"), months=1),
            ("2026-06-01", "2026-07-01", "2026-06-01", "2026-07-01"),
        ),
        (
            ADVANCE,
            given_from("2026-04-15", starts_at=utc("2026-06-10"), months=1),
            ("2026-07-01", "2026-08-01", "2026-07-01", "2026-08-01"),
        ),
        (
            ADVANCE,
            given_from("2026-04-15", ends_at=utc("2026-06-10"), months=9),
            ("2026-05-01", "2026-06-10", "2026-04-01", "2026-06-10"),
        ),
    ],
)
def test_how_long_a_discount_lasts(
    first: Any, one: SubscriptionDiscount, wanted: tuple[str, ...]
) -> None:
    assert spans(subscription(first), one) == wanted


def test_months_follow_the_calendar_of_the_customer() -> None:
    it = subscription(ADVANCE, "2026-01-31T05:00", timezone="America/New_York")
    wanted = ("2026-01-31T05:00", "2026-03-31T04:00")  # summer time: midnight all the same
    assert spans(it, given_from("2026-01-31T05:00", months=2)) == (*wanted, *wanted)


def test_after_the_end_a_discount_takes_nothing() -> None:
    it = subscription(ADVANCE, ends_at="2026-06-01")
    assert spans(it, given_from("2026-07-01")) == ("2026-07-01", "open", "2026-07-01", "open")
    late = given_from("2026-04-01", "2026-08-01")
    assert spans(it, late) == ("2026-04-01", "2026-08-01", "2026-04-01", "2026-08-01")


def test_the_order_is_plan_subscription_coupons() -> None:
    ten = plan(flat("30"), discount=percent("10"))
    same, other = replace(ten, version=2), replace(ten, version=3, discount=percent("20"))
    it = to(to(to(subscription(ten), "2026-05-01", same), "2026-06-01", other), "2026-07-01", ten)
    first, own = given_from("2026-04-01"), given_from("2026-04-02", coupon=None)
    terms = terms_of(it, [first, own])
    assert [(one.source, one.key, one.versions) for one in terms] == [
        ("plan", "p", (1, 2, 1)), ("plan", "p", (3,)), ("subscription", None, None),
        ("coupon", "C", None),
    ]  # fmt: skip
    assert {short(one.ahead.since) for one in terms[:2]} == {"2026-04-01"}


def test_a_credit_is_judged_by_the_fee_that_it_gives_back() -> None:
    it = to(subscription(plan(seat("10"), flat("30")), seats=1), "2026-04-16", seats=2)
    it = ended(it, "2026-05-10", credit_unused=True)
    found = {
        (charge.kind, charge.price.key, str(charge.quantity), short(charge.due_at)): (
            short(moment.at), moment.ahead, moment.corrects,
        )
        for boundary in ("2026-04-01", "2026-05-01", "2026-05-10")
        for charge in charges_at(it, utc(boundary))
        for moment in [moment_of_charge(it, charge)]
    }  # fmt: skip
    assert found == {
        ("fee", "base", "1", "2026-04-01"): ("2026-04-01", True, False),
        ("fee", "seats", "1", "2026-04-01"): ("2026-04-01", True, False),
        # one seat more in mid-April is billed on 1 May with what it gives back of 1 April
        ("credit", "seats", "1", "2026-04-16"): ("2026-04-01", True, True),
        ("fee", "seats", "2", "2026-04-16"): ("2026-04-01", False, False),
        ("fee", "base", "1", "2026-05-01"): ("2026-05-01", True, False),
        ("fee", "seats", "2", "2026-05-01"): ("2026-05-01", True, False),
        ("credit", "base", "1", "2026-05-10"): ("2026-05-01", True, True),
        ("credit", "seats", "2", "2026-05-10"): ("2026-05-01", True, True),
    }
