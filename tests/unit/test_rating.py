"""Rating by table: quantities in, exact amounts and readable steps out."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import FlatPrice, Plan, SeatPrice, UsagePrice
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.rating.plan import rate_plan
from taximeter.domain.rating.rate import (
    amount_of,
    delta,
    price_amount,
    rate_flat,
    rate_price,
    rate_seats,
)
from taximeter.domain.rating.step import Rated, Step
from taximeter.kernel.errors import Invalid
from taximeter.kernel.money import Money, format_minor, round_to_minor
from taximeter.kernel.quantity import format_decimal

# Falling and rising tiers that several tables share.
STEPS_UP = [
    {"up_to": "5", "flat": "100"},
    {"up_to": "10", "flat": "50"},
    {"up_to": "15", "unit": "5"},
    {"unit": "1"},
]
BANDS = [
    {"up_to": "50", "unit": "100"},
    {"up_to": "200", "unit": "85"},
    {"up_to": "500", "unit": "75"},
]
VIDEO = {
    "model": "dimensional",
    "dimensions": ["speed"],
    "rates": [
        {"match": {"speed": "fast"}, "unit": "1.00"},
        {"match": {"speed": "standard"}, "unit": "0.40"},
    ],
}


def plan_of(*prices: Mapping[str, Any], currency: str = "USD") -> Plan:
    return parse_plan(
        {"key": "x", "name": "x", "currency": currency, "period": "month", "prices": list(prices)}
    )


def usage_price(**fields: Any) -> UsagePrice:
    price = plan_of({"key": "u", "type": "usage", "meter": "u", **fields}).prices[0]
    assert isinstance(price, UsagePrice)
    return price


def seat_price(**fields: Any) -> SeatPrice:
    price = plan_of({"key": "seats", "type": "seat", **fields}).prices[0]
    assert isinstance(price, SeatPrice)
    return price


def flat_price(**fields: Any) -> FlatPrice:
    price = plan_of({"key": "fee", "type": "flat", **fields}).prices[0]
    assert isinstance(price, FlatPrice)
    return price


def total(quantity: str) -> list[tuple[Mapping[str, str], Decimal]]:
    return [({}, Decimal(quantity))]


def printed(amount: Decimal, currency: str = "USD") -> str:
    digits = minor_digits(currency)
    return format_minor(round_to_minor(Money(amount, currency), digits)[0].amount, digits)


def invoice_total(lines: Sequence[Rated]) -> str:
    return printed(sum((Decimal(printed(line.amount)) for line in lines), Decimal(0)))


def texts(line: Rated) -> list[tuple[str, str]]:
    return [(step.text, format_decimal(step.amount)) for step in line.steps]


@pytest.mark.parametrize(
    ("fields", "quantity", "expected"),
    [
        # 100 + 50 + 5 x 5 + 7 x 1
        ({"model": "graduated", "tiers": STEPS_UP}, "22", "182.00"),
        # 12: 100 + 50 + 2 x 5; 22: 182 capped
        ({"model": "graduated", "tiers": STEPS_UP, "maximum": "170"}, "12", "160.00"),
        ({"model": "graduated", "tiers": STEPS_UP, "maximum": "170"}, "22", "170.00"),
        # the first 1,000 at 0.10 = 100, the next 9,000 at 0.08 = 720, then 2,000 at 0.05 = 100
        *[
            (
                {
                    "model": "graduated",
                    "tiers": [
                        {"up_to": "1000", "unit": "0.10"},
                        {"up_to": "10000", "unit": "0.08"},
                        {"unit": "0.05"},
                    ],
                },
                quantity,
                expected,
            )
            for quantity, expected in (("10000", "820.00"), ("12000", "920.00"))
        ],
        # flats 2, 3 and 3 enter with the first unit above 0 (at 0), 10 and 20
        *[
            (
                {
                    "model": "graduated",
                    "tiers": [
                        {"up_to": "10", "unit": "10", "flat": "2"},
                        {"up_to": "20", "unit": "5", "flat": "3"},
                        {"unit": "5", "flat": "3"},
                    ],
                },
                quantity,
                expected,
            )
            for quantity, expected in (
                ("0", "2.00"),
                ("1", "12.00"),
                ("10", "102.00"),
                ("11", "110.00"),
                ("12", "115.00"),
                ("21", "163.00"),
            )
        ],
        # 1,024 x 0.140 + 50,176 x 0.125 + 1,700 x 0.110 = 143.36 + 6,272.00 + 187.00
        (
            {
                "model": "graduated",
                "tiers": [
                    {"up_to": "1024", "unit": "0.140"},
                    {"up_to": "51200", "unit": "0.125"},
                    {"up_to": "460800", "unit": "0.110"},
                ],
            },
            "52900",
            "6602.36",
        ),
        *[
            (
                {
                    "model": "volume",
                    "tiers": [
                        {"up_to": "5", "flat": "100"},
                        {"up_to": "10", "flat": "150"},
                        {"up_to": "15", "unit": "10"},
                        {"unit": "5"},
                    ],
                },
                quantity,
                expected,
            )
            for quantity, expected in (
                ("0", "100.00"),
                ("3", "100.00"),
                ("5", "100.00"),
                ("14", "140.00"),
                ("15", "150.00"),
                ("16", "80.00"),
                ("100", "500.00"),
            )
        ],
        *[
            (
                {
                    "model": "volume",
                    "tiers": [
                        {"up_to": "100", "unit": "2", "flat": "10"},
                        {"up_to": "200", "unit": "1"},
                        {"unit": "0.5", "flat": "50"},
                    ],
                },
                quantity,
                expected,
            )
            for quantity, expected in (
                ("0", "10.00"),
                ("1", "12.00"),
                ("100", "210.00"),
                ("100.5", "100.50"),
                ("101", "101.00"),
                ("200", "200.00"),
                ("300", "200.00"),
            )
        ],
        # 70 - 35; 270 - 135 = 135, then 35 over the cap
        *[
            (
                {
                    "model": "per_unit",
                    "unit": "10",
                    "discount": {"percent": "50"},
                    "maximum": "100",
                },
                quantity,
                expected,
            )
            for quantity, expected in (("7", "35.00"), ("27", "100.00"))
        ],
        # 6 packages; 11 packages = 165, capped
        *[
            ({"model": "package", "amount": "15", "size": "10", "maximum": "100"}, quantity, due)
            for quantity, due in (("60", "90.00"), ("110", "100.00"))
        ],
        # a started thousand after the first million; an exact one
        *[
            ({"model": "package", "amount": "0.10", "size": "1000", "free": "1000000"}, *case)
            for case in (("1000000", "0.00"), ("1000001", "0.10"), ("1234567", "23.50"))
        ],
        *[
            ({"model": "per_unit", "unit": "0.10", "per": "1000", "included": "1000000"}, *case)
            for case in (("1000000", "0.00"), ("1000001", "0.00"), ("1234567", "23.46"))
        ],
        # five classic shapes
        ({"model": "per_unit", "unit": "0.10"}, "150", "15.00"),
        ({"model": "package", "amount": "5", "size": "1000"}, "2500", "15.00"),
        *[
            ({"model": model, "tiers": tiers}, "150", due)
            for model, tiers, due in (
                ("graduated", [{"up_to": "100", "unit": "1"}, {"unit": "0.50"}], "125.00"),
                ("volume", [{"up_to": "100", "unit": "1"}, {"unit": "0.50"}], "75.00"),
                ("stairstep", [{"up_to": "100", "flat": "10"}, {"flat": "25"}], "25.00"),
            )
        ],
        # a bound belongs to the step below it
        (
            {"model": "stairstep", "tiers": [{"up_to": "1", "flat": "7"}, {"flat": "9"}]},
            "1",
            "7.00",
        ),
        # 1,000,000 x 0.0000015 is not 0: unit prices are never rounded
        ({"model": "per_unit", "unit": "0.0000015"}, "1000000", "1.50"),
        ({"model": "per_unit", "unit": "0.004"}, "1000", "4.00"),
        # 7,176 level-hours over the 744 hours of May = 9.645161…
        ({"model": "per_unit", "unit": "1", "per": "744"}, "7176", "9.65"),
        # tiers with a `per` of their own: 100 / 10 x 1 + 50 / 100 x 3
        (
            {
                "model": "graduated",
                "tiers": [
                    {"up_to": "100", "unit": "1", "per": "10"},
                    {"unit": "3", "per": "100"},
                ],
            },
            "150",
            "11.50",
        ),
        # included units come before the tiers: 12 - 2 = 10 stays in the first tier
        (
            {
                "model": "graduated",
                "included": "2",
                "tiers": [{"up_to": "10", "unit": "1"}, {"unit": "9"}],
            },
            "12",
            "10.00",
        ),
        # 20 - 5 off; 3 - 3 (an amount off takes it to 0, not below); 0 lifted to the minimum
        ({"model": "per_unit", "unit": "1", "discount": {"amount": "5"}}, "20", "15.00"),
        ({"model": "per_unit", "unit": "1", "discount": {"amount": "5"}}, "3", "0.00"),
        ({"model": "per_unit", "unit": "1", "minimum": "10"}, "0", "10.00"),
        ({"model": "per_unit", "unit": "1", "minimum": "10"}, "11", "11.00"),
        # 7,250 resolutions: 2,250 x 0.30 = 675, less 10 percent
        (
            {
                "model": "graduated",
                "tiers": [{"up_to": "5000", "unit": "0"}, {"unit": "0.30"}],
                "discount": {"percent": "10"},
                "minimum": "10.00",
                "maximum": "5000.00",
            },
            "7250",
            "607.50",
        ),
    ],
)
def test_usage_amounts(fields: dict[str, Any], quantity: str, expected: str) -> None:
    price = usage_price(**fields)
    (line,) = rate_price(price, total(quantity))
    assert printed(line.amount) == expected
    assert line.quantity == Decimal(quantity)
    assert line.amount == price_amount(price, total(quantity))


@pytest.mark.parametrize(
    ("currency", "quantity", "expected"),
    [
        ("USD", "10.278798", "10.28"),
        ("USD", "10.275", "10.28"),
        ("USD", "999999.999", "1000000.00"),
        ("JPY", "1023.45", "1023"),
        ("JPY", "1023.5", "1024"),
        ("EUR", "99.996", "100.00"),
        ("GBP", "0.004", "0.00"),
        ("GBP", "0.005", "0.01"),
        ("BHD", "1.0005", "1.001"),
    ],
)
def test_amounts_stay_exact_and_round_once_at_the_minor_unit(
    currency: str, quantity: str, expected: str
) -> None:
    price = {"key": "u", "type": "usage", "meter": "u", "model": "per_unit", "unit": "1"}
    plan = plan_of(price, currency=currency)
    ((_, line),) = rate_plan(plan, {}, {"u": total(quantity)})
    assert line.amount == Decimal(quantity)
    assert printed(line.amount, currency) == expected


@pytest.mark.parametrize(
    ("unit", "fee", "included", "quantity", "expected"),
    [
        ("0.30", "499.00", "5000", "4999", "499.00"),
        ("0.30", "499.00", "5000", "5000", "499.00"),
        ("0.30", "499.00", "5000", "5001", "499.30"),
        ("0.30", "499.00", "5000", "5250", "574.00"),
        ("0.99", "499.00", "5000", "4999", "499.00"),
        ("0.99", "499.00", "5000", "5000", "499.00"),
        ("0.99", "499.00", "5000", "5001", "499.99"),
        ("0.99", "499.00", "5000", "5250", "746.50"),
        ("0.50", "79", "200", "350", "154.00"),  # 79 + 150 x 0.50
        ("0.40", "199", "1000", "1600", "439.00"),  # 199 + 600 x 0.40
    ],
)
def test_a_fee_with_units_included(
    unit: str, fee: str, included: str, quantity: str, expected: str
) -> None:
    plan = plan_of(
        {"key": "platform", "type": "flat", "amount": fee, "timing": "advance"},
        {
            "key": "resolutions",
            "type": "usage",
            "meter": "resolutions",
            "model": "graduated",
            "tiers": [{"up_to": included, "unit": "0"}, {"unit": unit}],
        },
    )
    lines = rate_plan(plan, {}, {"resolutions": total(quantity)})
    assert [price.key for price, _ in lines] == ["platform", "resolutions"]
    assert invoice_total([line for _, line in lines]) == expected


@pytest.mark.parametrize(
    ("fields", "first", "then", "expected"),
    [
        # 170 - 160: gross 22, 12 of it over the cap
        ({"model": "graduated", "tiers": STEPS_UP, "maximum": "170"}, "12", "22", "10"),
        # 16 x 5 - 15 x 10: the whole quantity became cheaper
        (
            {"model": "volume", "tiers": [{"up_to": "15", "unit": "10"}, {"unit": "5"}]},
            "15",
            "16",
            "-70",
        ),
        (
            {"model": "per_unit", "unit": "10", "discount": {"percent": "50"}, "maximum": "100"},
            "7",
            "27",
            "65",
        ),
        ({"model": "package", "amount": "15", "size": "10", "maximum": "100"}, "60", "110", "10"),
        # 2/3 - 1/3, each rounded half up at the 12th decimal
        ({"model": "per_unit", "unit": "1", "per": "3"}, "1", "2", "0.333333333334"),
    ],
)
def test_delta_is_the_difference_of_totals(
    fields: dict[str, Any], first: str, then: str, expected: str
) -> None:
    price = usage_price(**fields)
    assert delta(price, total(first), total(then)) == Decimal(expected)
    assert delta(price, total(then), total(first)) == -Decimal(expected)


def test_the_first_delta_counts_from_no_usage_at_all() -> None:
    price = usage_price(model="graduated", tiers=[{"unit": "1", "flat": "5"}])
    # The first tier's fee is owed at 0 already: what one unit adds is its own price.
    assert delta(price, [], total("1")) == 1


@pytest.mark.parametrize(
    ("fields", "quantity", "expected"),
    [
        ({"model": "per_unit", "unit": "2"}, "-3", "-6"),
        # no package is needed, and none comes back
        ({"model": "package", "amount": "5", "size": "10"}, "-30", "0"),
        ({"model": "package", "amount": "5", "size": "10", "free": "10"}, "-30", "0"),
        # all in the first tier: fee 2, credit 3 x 10; never a tier above, never a positive unit
        (
            {
                "model": "graduated",
                "tiers": [{"up_to": "10", "unit": "10", "flat": "2"}, {"unit": "500"}],
            },
            "-3",
            "-28",
        ),
        (
            {
                "model": "volume",
                "tiers": [{"up_to": "10", "unit": "10", "flat": "2"}, {"unit": "500"}],
            },
            "-3",
            "-28",
        ),
        ({"model": "stairstep", "tiers": [{"up_to": "1", "flat": "7"}, {"flat": "9"}]}, "-3", "7"),
        # included units are for use, not for what was taken back
        ({"model": "per_unit", "unit": "2", "included": "10"}, "-3", "-6"),
        # -6 less half of it; an amount off does not make a credit bigger; a maximum leaves it
        ({"model": "per_unit", "unit": "2", "discount": {"percent": "50"}}, "-3", "-3"),
        ({"model": "per_unit", "unit": "2", "discount": {"amount": "1"}}, "-3", "-6"),
        ({"model": "per_unit", "unit": "2", "maximum": "1"}, "-3", "-6"),
        ({"model": "per_unit", "unit": "2", "minimum": "4"}, "-3", "4"),
    ],
)
def test_negative_quantities_are_credits_of_the_first_tier(
    fields: dict[str, Any], quantity: str, expected: str
) -> None:
    price = usage_price(**fields)
    (line,) = rate_price(price, total(quantity))
    assert line.amount == Decimal(expected)
    assert price_amount(price, total(quantity)) == Decimal(expected)


@pytest.mark.parametrize(
    ("fields", "within", "beyond"),
    [
        # 10 at 1; then 5 more at the last price
        ({"model": "graduated", "tiers": [{"up_to": "10", "unit": "1"}]}, "10", "15"),
        ({"model": "volume", "tiers": [{"up_to": "10", "unit": "1"}]}, "10", "15"),
        ({"model": "stairstep", "tiers": [{"up_to": "10", "flat": "3"}]}, "3", "3"),
    ],
)
def test_a_last_tier_with_a_bound_goes_on_beyond_it(
    fields: dict[str, Any], within: str, beyond: str
) -> None:
    price = usage_price(**fields)
    assert price_amount(price, total("10")) == Decimal(within)
    assert price_amount(price, total("15")) == Decimal(beyond)
    (line,) = rate_price(price, total("15"))
    assert line.steps[0].text.startswith("tier 1 (to 10 and beyond): ")


def test_steps_tell_the_whole_story_of_an_amount() -> None:
    price = usage_price(
        name="Resolutions",
        model="graduated",
        included="3",
        tiers=[
            {"up_to": "5", "flat": "100"},
            {"up_to": "10", "unit": "2", "flat": "1"},
            {"unit": "0.3", "per": "10"},
        ],
        discount={"percent": "10"},
        maximum="120",
    )
    (line,) = rate_price(price, total("1013"))
    assert line.description == "Resolutions"
    assert line.rate is None
    # 1,013 - 3 = 1,010: 100, then 5 x 2 + 1, then 1,000 / 10 x 0.3 = 30: 141; less 14.1: 126.9
    assert texts(line) == [
        ("3 of 3 included", "0"),
        ("tier 1 (to 5): flat fee 100 for 5", "100"),
        ("tier 2 (above 5 to 10): 5 at 2", "10"),
        ("tier 2 (above 5 to 10): flat fee 1", "1"),
        ("tier 3 (above 10): 1000 at 0.3 per 10", "30"),
        ("discount of 10%", "-14.1"),
        ("capped at the maximum of 120", "-6.9"),
    ]
    assert line.amount == 120


@pytest.mark.parametrize(
    ("fields", "quantity", "expected"),
    [
        (
            {"model": "package", "amount": "15", "size": "10", "free": "5"},
            "12",
            [("5 of 5 free", "0"), ("1 package of 10 at 15", "15")],
        ),
        (
            {"model": "package", "amount": "15", "size": "10", "free": "5"},
            "2",
            [("2 of 5 free", "0"), ("0 packages of 10 at 15", "0")],
        ),
        (
            {"model": "volume", "tiers": [{"unit": "2", "flat": "1"}]},
            "3",
            [("tier 1 (any quantity): 3 at 2", "6"), ("tier 1 (any quantity): flat fee 1", "1")],
        ),
        (
            {"model": "stairstep", "tiers": [{"up_to": "1", "flat": "7"}, {"flat": "9"}]},
            "2.5",
            [("tier 2 (above 1): 9 for 2.5", "9")],
        ),
        (
            {"model": "per_unit", "unit": "1", "discount": {"amount": "2"}, "minimum": "10"},
            "3",
            [("3 at 1", "3"), ("discount of 2", "-2"), ("raised to the minimum of 10", "9")],
        ),
    ],
)
def test_steps_of_each_model(
    fields: dict[str, Any], quantity: str, expected: list[tuple[str, str]]
) -> None:
    (line,) = rate_price(usage_price(**fields), total(quantity))
    assert texts(line) == expected


def test_a_step_shows_the_price_of_one_unit_only_where_it_is_exact() -> None:
    (per_million,) = rate_price(usage_price(model="per_unit", unit="75", per="1000000"), total("8"))
    assert per_million.steps == (
        Step("8 at 75 per 1000000", Decimal(8), Decimal("0.000075"), Decimal("0.0006")),
    )
    (per_three,) = rate_price(usage_price(model="per_unit", unit="1", per="3"), total("6"))
    assert per_three.steps == (Step("6 at 1 per 3", Decimal(6), None, Decimal(2)),)
    (one_third,) = rate_price(usage_price(model="per_unit", unit="1", per="3"), total("1"))
    assert one_third.steps == (Step("1 at 1 per 3", Decimal(1), None, Decimal("0.333333333333")),)


def test_a_bound_that_is_just_reached_changes_nothing() -> None:
    price = usage_price(model="per_unit", unit="1", minimum="7", maximum="7")
    (line,) = rate_price(price, total("7"))
    assert texts(line) == [("7 at 1", "7")]


def test_amount_of_a_model_and_its_steps() -> None:
    model = seat_price(model="graduated", tiers=[{"up_to": "1", "unit": "4"}, {"unit": "3"}]).model
    amount, steps = amount_of(model, Decimal(3))
    assert amount == 10  # 4 + 2 x 3
    assert [step.amount for step in steps] == [4, 6]


@pytest.mark.parametrize(
    ("fields", "seats", "expected"),
    [
        ({"model": "volume", "tiers": BANDS}, "120", "10200.00"),  # 120 x 85
        ({"model": "graduated", "tiers": BANDS}, "120", "10950.00"),  # 50 x 100 + 70 x 85
        ({"model": "volume", "tiers": BANDS}, "50", "5000.00"),
        ({"model": "volume", "tiers": BANDS}, "51", "4335.00"),  # falls: 51 x 85
        ({"model": "per_unit", "unit": "20.00"}, "5", "100.00"),
        ({"model": "per_unit", "unit": "20.00"}, "0", "0.00"),
        ({"model": "per_unit", "unit": "20", "discount": {"percent": "25"}}, "5", "75.00"),
        ({"model": "per_unit", "unit": "20", "discount": {"amount": "7"}}, "5", "93.00"),
        ({"model": "per_unit", "unit": "20", "discount": {"amount": "70"}}, "2", "0.00"),
    ],
)
def test_seats(fields: dict[str, Any], seats: str, expected: str) -> None:
    line = rate_seats(seat_price(**fields), Decimal(seats))
    assert printed(line.amount) == expected
    assert line.quantity == Decimal(seats)


def test_negative_seats_are_no_seats_of_ours() -> None:
    with pytest.raises(AssertionError, match="seats are not negative"):
        rate_seats(seat_price(model="per_unit", unit="1"), Decimal(-1))


def test_a_flat_fee_and_its_discount() -> None:
    fee = rate_flat(flat_price(name="Platform", amount="499.00"))
    assert (fee.description, fee.quantity, fee.amount) == ("Platform", Decimal(1), Decimal(499))
    assert texts(rate_flat(flat_price(amount="10", discount={"percent": "12.5"}))) == [
        ("fee 10", "10"),
        ("discount of 12.5%", "-1.25"),
    ]
    assert rate_flat(flat_price(amount="10", discount={"amount": "40"})).amount == 0


# -- dimensional prices --------------------------------------------------------------------------


def speeds(**quantities: str) -> list[tuple[Mapping[str, str], Decimal]]:
    return [({"speed": speed}, Decimal(quantity)) for speed, quantity in quantities.items()]


def test_each_rate_with_usage_is_one_line() -> None:
    price = usage_price(name="Video", **VIDEO)
    lines = rate_price(price, speeds(standard="25", fast="10"))
    assert [(line.rate, line.description, line.amount) for line in lines] == [
        ((("speed", "fast"),), "Video: speed fast", Decimal(10)),
        ((("speed", "standard"),), "Video: speed standard", Decimal(10)),
    ]
    assert invoice_total(lines) == "20.00"
    assert rate_price(price, []) == ()
    assert [line.quantity for line in rate_price(price, speeds(standard="1", fast="0"))] == [1]


@pytest.mark.parametrize(
    ("otherwise", "expected"),
    [
        ("zero", "0.00"),
        ({"unit": "0.70"}, "7.00"),
        ({"model": "package", "amount": "3", "size": "6"}, "6.00"),
    ],
)
def test_usage_that_no_rate_matches_follows_otherwise(otherwise: object, expected: str) -> None:
    price = usage_price(name="Video", **VIDEO, otherwise=otherwise)
    (line,) = rate_price(price, speeds(turbo="10"))
    assert (line.rate, line.description, line.quantity) == ((), "Video: other", Decimal(10))
    assert printed(line.amount) == expected


def test_usage_to_be_quarantined_is_not_rated() -> None:
    price = usage_price(**VIDEO, otherwise="quarantine")
    with pytest.raises(AssertionError, match="quarantined before it is rated"):
        rate_price(price, speeds(turbo="10"))


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ({"model": "a", "class": "input"}, 3),  # two matches beat one
        ({"model": "a", "class": "output"}, 0),
        ({"model": "b", "class": "input"}, 1),
        ({"model": "b", "class": "input", "region": "eu"}, 1),  # of one match each, first written
        ({"model": "b", "class": "output", "region": "eu"}, 2),
        ({"model": "a", "class": "input", "region": "us", "more": "x"}, 3),
        ({"model": "b"}, "otherwise"),
        ({}, "otherwise"),
    ],
)
def test_most_matched_dimensions_win_then_the_order_written(
    dimensions: dict[str, str], expected: object
) -> None:
    rates: list[dict[str, object]] = [
        {"match": {"model": "a"}, "unit": "1"},
        {"match": {"class": "input"}, "unit": "2"},
        {"match": {"region": "eu"}, "unit": "3"},
        {"match": {"class": "input", "model": "a"}, "unit": "4"},
    ]
    fields = {"model": "dimensional", "dimensions": ["model", "class", "region"], "rates": rates}
    model = usage_price(**fields, otherwise="zero").model
    assert model.__class__.__name__ == "Dimensional"
    assert match_rate(model, dimensions) == expected  # type: ignore[arg-type]
    strict = usage_price(**fields).model
    quarantined = None if expected == "otherwise" else expected
    assert match_rate(strict, dimensions) == quarantined  # type: ignore[arg-type]


def test_the_first_written_of_two_equally_long_matches_wins_whatever_its_names() -> None:
    fields = {"model": "dimensional", "dimensions": ["a", "b"]}
    for first, second in (("a", "b"), ("b", "a")):
        rates = [{"match": {first: "x"}, "unit": "1"}, {"match": {second: "x"}, "unit": "2"}]
        price = usage_price(**fields, rates=rates)
        assert price_amount(price, [({"a": "x", "b": "x"}, Decimal(1))]) == 1
    # {b: x} stands before {a: y}, although a rate on `a` stands before both.
    matches = ({"a": "x"}, {"b": "x"}, {"a": "y"})
    rates = [{"match": match, "unit": str(n)} for n, match in enumerate(matches)]
    price = usage_price(**fields, rates=rates)
    assert price_amount(price, [({"a": "y", "b": "x"}, Decimal(1))]) == 1


def test_included_units_go_to_the_rates_in_the_order_written() -> None:
    price = usage_price(**VIDEO, otherwise={"unit": "5"}, included="12")
    lines = rate_price(price, speeds(turbo="2", standard="25", fast="10"))
    # 10 fast and 2 standard minutes are free: 0, 23 x 0.40 and 2 x 5
    assert [line.amount for line in lines] == [0, Decimal("9.2"), 10]
    assert texts(lines[1]) == [("2 of 12 included", "0"), ("23 at 0.4", "9.2")]
    assert price_amount(price, speeds(turbo="2", standard="25", fast="10")) == Decimal("19.2")


def test_a_percent_is_taken_on_each_line_and_the_rest_on_a_line_of_its_own() -> None:
    price = usage_price(name="Video", **VIDEO, discount={"percent": "10"}, maximum="15")
    lines = rate_price(price, speeds(fast="10", standard="25"))
    # 10 - 1 and 10 - 1 are 18: 3 over the maximum
    assert [(line.description, line.amount) for line in lines] == [
        ("Video: speed fast", Decimal(9)),
        ("Video: speed standard", Decimal(9)),
        ("Video: adjustment", Decimal(-3)),
    ]
    assert (lines[2].rate, lines[2].quantity) == (None, Decimal(0))
    assert texts(lines[2]) == [("capped at the maximum of 15", "-3")]


def test_an_amount_off_and_a_minimum_of_a_dimensional_price() -> None:
    price = usage_price(**VIDEO, discount={"amount": "15"}, minimum="8")
    lines = rate_price(price, speeds(fast="10", standard="25"))
    # 20 - 15 = 5, raised by 3
    assert [line.amount for line in lines] == [10, 10, -12]
    assert texts(lines[2]) == [("discount of 15", "-15"), ("raised to the minimum of 8", "3")]
    # Without usage the minimum is all there is.
    (alone,) = rate_price(price, [])
    assert (alone.amount, alone.quantity) == (Decimal(8), Decimal(0))


def test_a_rate_may_have_any_model_of_quantities() -> None:
    rates: list[dict[str, object]] = [
        {
            "match": {"model": "a"},
            "model": "graduated",
            "tiers": [{"up_to": "5", "unit": "2"}, {"unit": "1"}],
        },
        {"match": {"model": "b"}, "model": "stairstep", "tiers": [{"flat": "4"}]},
    ]
    price = usage_price(model="dimensional", dimensions=["model"], rates=rates)
    usage = [
        ({"model": "b"}, Decimal(1)),
        ({"model": "a"}, Decimal(4)),
        ({"model": "a"}, Decimal(3)),
    ]
    assert [line.amount for line in rate_price(price, usage)] == [12, 4]  # 5 x 2 + 2 x 1; 4
    # A fee is owed only by rates that were used.
    assert delta(price, usage[1:], usage) == 4


# -- a whole plan --------------------------------------------------------------------------------


def test_a_plan_is_rated_in_the_order_written() -> None:
    plan = plan_of(
        {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20.00"},
        {"key": "video", "type": "usage", "meter": "minutes", **VIDEO},
        {"key": "platform", "type": "flat", "amount": "499.00"},
        {"key": "calls", "type": "usage", "meter": "calls", "model": "per_unit", "unit": "1"},
    )
    lines = rate_plan(plan, {"seats": Decimal(5)}, {"video": speeds(fast="1", standard="1")})
    assert [(price.key, line.amount) for price, line in lines] == [
        ("seats", Decimal(100)),
        ("video", Decimal(1)),
        ("video", Decimal("0.40")),
        ("platform", Decimal(499)),
        ("calls", Decimal(0)),
    ]
    nothing = rate_plan(plan, {"seats": Decimal(0)}, {})
    assert [line.amount for _, line in nothing] == [0, 499, 0]


def test_a_plan_says_what_of_its_input_is_wrong() -> None:
    plan = plan_of(
        {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20.00"},
        {"key": "video", "type": "usage", "meter": "minutes", **VIDEO},
    )
    with pytest.raises(Invalid) as caught:
        rate_plan(
            plan,
            {"seats": Decimal(-1), "video": Decimal(1)},
            {"video": speeds(fast="1", turbo="1"), "other": total("1")},
        )
    assert [(error.path, error.code) for error in caught.value.errors] == [
        ("quantities.seats", "out_of_range"),
        ("quantities.video", "unknown_price"),
        ("usage.video[1].dimensions", "no_rate"),
        ("usage.other", "unknown_price"),
    ]
    assert "no seat price" in caught.value.errors[1].detail
    assert "Say one of seats." in caught.value.errors[1].detail
    assert "no usage price" in caught.value.errors[3].detail
    assert "Say one of video." in caught.value.errors[3].detail
    with pytest.raises(Invalid, match="the plan has none"):
        rate_plan(plan_of({"key": "fee", "type": "flat", "amount": "1"}), {}, {"fee": []})
