"""Exact decimals: reading, bounds, printing, division, rounding."""

import threading
from decimal import Decimal, FloatOperation, InvalidOperation
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.quantity import (
    SMALLEST,
    ceil_div,
    divide,
    floor_at,
    format_decimal,
    parse_decimal,
    round_half_up,
    within_bounds,
)

NUMBERS = st.decimals("-999999999999999999", "999999999999999999", places=12)
WHOLE = st.integers(1, 10**18).map(Decimal)


@pytest.mark.parametrize(
    "text",
    [*("0", "-0", "007", "1.50", "-0.000000000001"), "9" * 18 + "." + "9" * 12],
)
def test_a_decimal_is_read_exactly(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " 1", "1 ", "1\n", "+1", ".5", "5.", "1e3", "1E400", "NaN", "Infinity", "-inf"),
        *("1_000", "1,5", "\uff11", "\u0663", "0x10", "--1", "true", "1.0000000000000", "9" * 19),
    ],
)
def test_what_is_no_decimal_is_refused(text: str) -> None:
    assert parse_decimal(text) is None


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("999999999999999999.999999999999", True),
        ("-999999999999999999.999999999999", True),
        ("1000000000000000000", False),
        ("0.000000000001", True),
        ("0.0000000000001", False),
        ("1.0000000000000000", True),  # its own zeros do not count
        ("1E+17", True),
        ("1E+18", False),
        ("1E-12", True),
        ("1E-13", False),
        ("1E+999999", False),
        ("1E-999999", False),
        ("NaN", False),
        ("sNaN", False),
        ("Infinity", False),
    ],
)
def test_bounds(text: str, within: bool) -> None:
    assert within_bounds(Decimal(text)) == within


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *(("100", "100"), ("100.00", "100"), ("0.050", "0.05"), ("1E+3", "1000")),
        *(("-0", "0"), ("-0.00", "0"), ("-0E+2", "0"), ("0E-15", "0")),
        *(("1E-12", "0.000000000001"), ("-1.50", "-1.5"), ("10", "10")),
    ],
)
def test_a_decimal_prints_in_its_shortest_plain_form(number: str, text: str) -> None:
    assert format_decimal(Decimal(number)) == text


@given(NUMBERS)
def test_a_decimal_survives_its_text(number: Decimal) -> None:
    assert parse_decimal(format_decimal(number)) == number


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [
        ("1", "3", "0.333333333333"),
        ("2", "3", "0.666666666667"),  # 80 sixes rounded up, times 3, would be 2 again
        ("-2", "3", "-0.666666666667"),
        ("100", "744", "0.134408602151"),
        ("1.75", "1000000", "0.00000175"),
        ("1", "1048576", "0.00000095367431640625"),  # exact: 20 digits are kept
        ("0", "7", "0"),
        ("7176", "744", "9.645161290323"),  # examples.md, case 22
    ],
)
def test_only_an_inexact_quotient_is_rounded(
    numerator: str, denominator: str, quotient: str
) -> None:
    assert divide(Decimal(numerator), Decimal(denominator)) == Decimal(quotient)


@given(NUMBERS, WHOLE)
def test_a_quotient_is_exact_or_the_nearest_twelve_digits(a: Decimal, b: Decimal) -> None:
    error = abs(Fraction(divide(a, b)) - Fraction(a) / Fraction(b))
    assert error <= Fraction(SMALLEST) / 2
    if error:
        assert divide(a, b) == divide(a, b).quantize(SMALLEST)


@pytest.mark.parametrize(
    ("number", "digits", "rounded"),
    [
        # examples.md, case 34
        *(("10.278798", 2, "10.28"), ("10.275", 2, "10.28"), ("999999.999", 2, "1000000.00")),
        *(("1023.45", 0, "1023"), ("1023.5", 0, "1024"), ("99.996", 2, "100.00")),
        *(("0.004", 2, "0.00"), ("0.005", 2, "0.01"), ("1.0005", 3, "1.001")),
        # halves go away from zero, and -0 never prints
        *(("-10.275", 2, "-10.28"), ("-0.005", 2, "-0.01"), ("-0.004", 2, "0.00")),
        *(("2.5", 0, "3"), ("-2.5", 0, "-3"), ("-0", 2, "0.00")),
    ],
)
def test_rounding_half_up(number: str, digits: int, rounded: str) -> None:
    assert str(round_half_up(Decimal(number), digits)) == rounded


@pytest.mark.parametrize(
    ("number", "digits", "floor"),
    [("0.005", 2, "0.00"), ("1.999", 2, "1.99"), ("7", 0, "7"), ("-0.001", 2, "-0.01")],
)
def test_floor_at_never_gives_more(number: str, digits: int, floor: str) -> None:
    assert str(floor_at(Decimal(number), digits)) == floor


@pytest.mark.parametrize(
    ("quantity", "size", "count"),
    [("0", "1000", "0"), ("1", "1000", "1"), ("1000", "1000", "1"), ("1000.1", "1000", "2")],
)
def test_ceil_div_counts_what_is_begun(quantity: str, size: str, count: str) -> None:
    assert ceil_div(Decimal(quantity), Decimal(size)) == Decimal(count)


def test_floats_and_lost_digits_are_trapped_in_every_thread() -> None:
    caught: list[type[Exception]] = []

    def compute() -> None:
        try:
            Decimal(float("0.1"))
        except FloatOperation as error:
            caught.append(type(error))
        try:
            Decimal("1E+90").quantize(SMALLEST)
        except InvalidOperation as error:
            caught.append(type(error))

    compute()
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert caught == [FloatOperation, InvalidOperation] * 2
