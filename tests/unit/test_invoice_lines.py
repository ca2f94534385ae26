"""Invoice lines: rounded once; minimums; late usage."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.plan import (
    Dimensional,
    FlatPrice,
    Graduated,
    PerUnit,
    Plan,
    Rate,
    SeatPrice,
    Tier,
    UsagePrice,
)
from taximeter.domain.invoicing.lines import (
    Line,
    adjustment_lines,
    fee_lines,
    minimum_line,
    sum_of,
    usage_lines,
)
from taximeter.domain.rating.rate import rate_price
from taximeter.domain.rating.step import Rated
from taximeter.domain.subscription.change import change
from taximeter.domain.subscription.charges import charges_at
from taximeter.domain.subscription.subscription import Phase, Segment, Subscription
from taximeter.kernel.quantity import ONE, ZERO
from taximeter.kernel.times import Anchor, Period
from tests.unit.invoice_values import (
    APRIL,
    least,
    lines_of,
    plan,
    rated,
    segment,
    usage_price,
    utc,
)

# Lines


@pytest.mark.parametrize(
    ("asset", "exact", "printed"),
    [
        # examples.md, case 34
        *(("USD", "10.278798", "10.28"), ("USD", "10.275", "10.28")),
        *(("USD", "999999.999", "1000000.00"), ("EUR", "99.996", "100.00")),
        *(("JPY", "1023.45", "1023"), ("JPY", "1023.5", "1024")),
        *(("GBP", "0.004", "0.00"), ("GBP", "0.005", "0.01"), ("BHD", "1.0005", "1.001")),
        # halves go away from zero; nothing prints as -0
        *(("USD", "-10.275", "-10.28"), ("USD", "-0.005", "-0.01"), ("USD", "-0.004", "0.00")),
        *(("JPY", "-0.5", "-1"), ("JPY", "-0.4", "0"), ("BHD", "-1.0005", "-1.001")),
    ],
)
def test_a_line_is_rounded_once_at_the_minor_unit(asset: str, exact: str, printed: str) -> None:
    (line,) = lines_of(exact, asset=asset)
    assert str(line.amount) == printed
    assert line.exact == Decimal(exact)
    assert line.amount + line.residue == line.exact


def test_a_usage_line_says_what_where_and_why() -> None:
    price = usage_price(model=PerUnit(Decimal("1.75"), Decimal(1_000_000)))
    (line,) = usage_lines(segment(price), rate_price(price, [({}, Decimal(22_360_870))]))
    # 22,360,870 x 1.75 / 1,000,000 = 39.1315225
    assert line == Line(
        id="",
        kind="usage",
        price="u",
        meter="m",
        plan="p",
        plan_version=3,
        description="Use",
        quantity=Decimal(22_360_870),
        unit_amount=Decimal("0.00000175"),
        amount=Decimal("39.13"),
        exact=Decimal("39.1315225"),
        asset="USD",
        period=APRIL,
        rate=None,
        steps=line.steps,
    )
    assert line.residue == Decimal("0.0015225")


TIERS = Graduated((Tier(None, ONE, ONE, Decimal(5)),))
BY_MODEL = Dimensional(
    ("model",),
    (
        Rate((("model", "a"),), PerUnit(Decimal("0.5"), ONE)),
        Rate((("model", "b"),), TIERS),
    ),
    PerUnit(Decimal(2), ONE),
)


@pytest.mark.parametrize(
    ("price", "quantity", "unit"),
    [
        (usage_price(), "7", "1"),
        (usage_price(), "0", "1"),
        (usage_price(model=PerUnit(ONE, Decimal(744))), "744", None),  # 1/744 has no finite form
        (usage_price(included=Decimal(5)), "7", None),
        (usage_price(minimum=Decimal(10)), "7", None),
        (usage_price(minimum=Decimal(7)), "7", "1"),
        (usage_price(model=TIERS), "7", None),
    ],
)
def test_a_unit_amount_stands_only_where_it_explains_the_line(
    price: UsagePrice, quantity: str, unit: str | None
) -> None:
    (line,) = usage_lines(segment(price), rate_price(price, [({}, Decimal(quantity))]))
    assert line.unit_amount == (None if unit is None else Decimal(unit))


def test_each_rate_of_a_dimensional_price_is_a_line() -> None:
    price = usage_price(model=BY_MODEL, minimum=Decimal(100))
    usage = [({"model": model}, Decimal(10)) for model in ("a", "b", "c")]
    lines = usage_lines(segment(price), rate_price(price, usage))
    # 10 x 0.5 = 5; 10 x 1 + 5 = 15; otherwise 10 x 2 = 20; raised by 60 to 100
    assert [(line.rate, line.unit_amount, str(line.amount)) for line in lines] == [
        ((("model", "a"),), Decimal("0.5"), "5.00"),
        ((("model", "b"),), None, "15.00"),
        ((), Decimal(2), "20.00"),
        (None, None, "60.00"),
    ]


def test_what_is_free_otherwise_has_no_unit_amount() -> None:
    price = usage_price(model=replace(BY_MODEL, otherwise="zero"))
    (line,) = usage_lines(segment(price), rate_price(price, [({"model": "z"}, ONE)]))
    assert (line.rate, line.unit_amount, line.amount) == ((), None, ZERO)


def test_usage_settled_from_a_wallet_keeps_full_precision() -> None:
    price = usage_price(asset="credits", settle="wallet")
    seg = Segment(price, plan(price), "month", APRIL, APRIL)
    (line,) = usage_lines(seg, [rated("0.0000015")])
    assert (line.amount, line.residue, line.asset) == (Decimal("0.0000015"), ZERO, "credits")


def test_a_fee_has_no_usage_line() -> None:
    flat = FlatPrice("base", "Base", "USD", ONE, "advance", None, None)
    with pytest.raises(AssertionError):
        usage_lines(Segment(flat, plan(flat), "month", APRIL, APRIL), [rated("1")])


def test_fee_lines_of_a_change() -> None:
    # examples.md, policy 4: 30.00 to 50.00 on 11 April: -20.00 + 33.33 = 13.33; 5 seats at 2
    def terms(amount: str) -> Plan:
        seat = SeatPrice("seats", "Seats", "USD", PerUnit(Decimal(2), ONE), "advance", None, None)
        return plan(FlatPrice("base", "Base", "USD", Decimal(amount), "advance", None, None), seat)

    start, counts = utc("2026-04-01"), {"seats": Decimal(5)}
    phase = Phase(start, None, terms("30.00"), counts, "by_day")
    anchor = Anchor(datetime(2026, 4, 1), "UTC")
    it = Subscription("s", None, "acme", anchor, start, None, 30, start, (phase,))
    it = change(it, at=utc("2026-04-11"), plan=terms("50.00"), proration="by_day")
    lines = fee_lines(charges_at(it, utc("2026-05-01")))
    assert [(str(line.amount), line.unit_amount) for line in lines] == [
        ("-20.00", None),
        ("33.33", None),
        ("50.00", Decimal(50)),
        ("10.00", Decimal(2)),
    ]
    assert sum_of(lines[:2]) == Decimal("13.33")
    assert lines[1].residue == Decimal("0.003333333333")
    assert lines[1].period == Period(utc("2026-04-11"), utc("2026-05-01"))
    assert [line.kind for line in lines] == ["fee"] * 4


def test_a_line_that_does_not_add_up_cannot_be_made() -> None:
    (line,) = lines_of("1.005")
    with pytest.raises(AssertionError, match="steps do not add up"):
        replace(line, exact=ONE)
    with pytest.raises(AssertionError, match="unit amount"):
        replace(line, unit_amount=Decimal(2))


# The plan's minimum


@pytest.mark.parametrize(
    ("currency", "minimum", "usage", "true_up"),
    [
        # examples.md, case 36: the printed lines count, 750.00, 8501 and 10.00
        ("USD", "1000", ["749.996"], "250.00"),
        ("JPY", "10000", ["8500.5"], "1499"),
        ("USD", "10", ["9.997"], None),
        # case 26: 10000 x 2 / 29 = 689.655...; 6.90 + 3 x 10.00; then 100.00 + 10.00
        ("USD", "689.655172413793", ["6.896551724138", "10", "10", "10"], "652.76"),
        ("USD", "10000", ["100", "10"], "9890.00"),
        ("USD", "100", ["150"], None),
        ("USD", "100", [], "100.00"),
        ("USD", "100", ["-20"], "120.00"),
    ],
)
def test_a_true_up_lifts_the_printed_lines_to_the_minimum(
    currency: str, minimum: str, usage: Sequence[str], true_up: str | None
) -> None:
    lines = lines_of(*usage, asset=currency)
    line = minimum_line(least(minimum, currency), lines)
    if true_up is None:
        assert line is None
        return
    assert line is not None
    assert (str(line.amount), line.kind, line.price) == (true_up, "minimum", None)
    expected = Decimal(minimum)
    assert sum_of((*lines, line)) == expected.quantize(line.amount, rounding="ROUND_HALF_UP")


def test_late_usage_takes_a_true_up_back() -> None:
    # 1000 - 750.00 = 250.00 billed; with 100 more 1000 - 850 = 150; then nothing is missing
    first = minimum_line(least("1000"), lines_of("750"))
    assert first is not None
    second = minimum_line(least("1000"), lines_of("750", "100"), [first])
    assert second is not None
    assert str(second.amount) == "-100.00"
    third = minimum_line(least("1000"), lines_of("750", "100", "500"), [first, second])
    assert third is not None
    assert str(third.amount) == "-150.00"
    assert minimum_line(least("1000"), lines_of("1350"), [first, second, third]) is None


def test_a_minimum_counts_lines_of_its_currency_other_than_itself() -> None:
    with pytest.raises(AssertionError, match="one currency"):
        minimum_line(least("10"), lines_of("1", asset="EUR"))
    line = minimum_line(least("10"), ())
    assert line is not None
    with pytest.raises(AssertionError, match="true-up"):
        minimum_line(least("10"), [line])


# Late usage


def test_late_usage_is_the_price_of_all_less_what_was_billed() -> None:
    # 10.275 was printed as 10.28; with 0.030 more f = 10.305, printed 10.31: 0.03 to charge
    seg = segment(usage_price())
    billed = usage_lines(seg, [rated("10.275")])
    (line,) = adjustment_lines(seg, [rated("10.305")], billed)
    assert (str(line.amount), line.kind) == ("0.03", "adjustment")
    assert line.quantity == line.exact == Decimal("0.030")
    assert line.description == "Adjustment: Use"
    assert [step.amount for step in line.steps] == [Decimal("10.305"), Decimal("-10.275")]
    assert adjustment_lines(seg, [rated("10.305")], [*billed, line]) == ()


def test_what_rounding_gave_is_not_taken_back() -> None:
    # the difference to the printed 10.28 is -0.005, which alone would round to -0.01
    seg = segment(usage_price())
    assert adjustment_lines(seg, [rated("10.275")], usage_lines(seg, [rated("10.275")])) == ()


def test_a_volume_tier_that_falls_is_credited() -> None:
    # 150 billed, 80 now (examples.md, case 8): -70
    seg = segment(usage_price())
    (line,) = adjustment_lines(seg, [rated("80")], usage_lines(seg, [rated("150")]))
    assert str(line.amount) == "-70.00"


def test_rates_that_came_or_went_are_adjusted_each() -> None:
    price = usage_price(model=BY_MODEL)
    seg = segment(price)

    def now(**usage: int) -> tuple[Rated, ...]:
        return rate_price(price, [({"model": m}, Decimal(n)) for m, n in usage.items()])

    billed = usage_lines(seg, now(a=10, c=3))
    lines = adjustment_lines(seg, now(a=12, b=1), billed)
    # a: 6 - 5; b: 1 + 5; otherwise: 0 - 6
    assert [(line.rate, str(line.amount)) for line in lines] == [
        ((("model", "a"),), "1.00"),
        ((("model", "b"),), "6.00"),
        ((), "-6.00"),
    ]
    back = adjustment_lines(seg, now(a=12, b=1, c=1), [*billed, *lines])
    assert [(line.description, str(line.amount)) for line in back] == [
        ("Adjustment: Use: other", "2.00"),
    ]
    again = adjustment_lines(seg, now(a=12, b=1), [*billed, *lines, *back])
    assert [line.description for line in again] == ["Adjustment: Use: other"]


CENTS = st.decimals("-1000", "1000", places=4)


@given(st.lists(CENTS, min_size=1, max_size=6))
def test_adjustments_add_up_to_what_one_invoice_would_print(amounts: list[Decimal]) -> None:
    seg = segment(usage_price())
    billed = list(usage_lines(seg, [rated(str(amounts[0]))]))
    for amount in amounts[1:]:
        billed += adjustment_lines(seg, [rated(str(amount))], billed)
        assert sum_of(billed) == usage_lines(seg, [rated(str(amount))])[0].amount
