"""Money: assets do not mix, and rounding loses nothing."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.money import Money, format_minor, round_to_minor


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def test_money_adds_within_its_asset() -> None:
    assert usd("0.1") + usd("0.2") == usd("0.3")
    assert usd("0.1") - usd("0.2") == usd("-0.1")
    assert -usd("1.50") == usd("-1.5")
    assert str(usd("1.50")) == "1.5 USD"


@pytest.mark.parametrize("other", ["EUR", "usd", "credits"])
def test_assets_do_not_mix(other: str) -> None:
    with pytest.raises(AssertionError, match="cannot add"):
        usd("1") + Money(Decimal(1), other)
    with pytest.raises(AssertionError, match="cannot add"):
        usd("1") - Money(Decimal(1), other)


def test_money_is_a_decimal_of_something() -> None:
    with pytest.raises(AssertionError):
        Money(1, "USD")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        Money(Decimal(1), "")


@pytest.mark.parametrize(
    ("exact", "digits", "rounded", "residue"),
    [
        ("10.275", 2, "10.28", "-0.005"),
        ("-10.275", 2, "-10.28", "0.005"),
        ("1023.45", 0, "1023", "0.45"),
        ("1.0005", 3, "1.001", "-0.0005"),
        ("0.004", 2, "0", "0.004"),
        ("-0.004", 2, "0", "-0.004"),
    ],
)
def test_rounding_returns_what_it_took(exact: str, digits: int, rounded: str, residue: str) -> None:
    assert round_to_minor(usd(exact), digits) == (usd(rounded), usd(residue))


@given(st.decimals("-1e18", "1e18", places=12), st.integers(0, 4))
def test_rounded_and_residue_are_the_whole(amount: Decimal, digits: int) -> None:
    rounded, residue = round_to_minor(Money(amount, "USD"), digits)
    assert rounded + residue == Money(amount, "USD")
    assert abs(residue.amount) <= Decimal("0.5").scaleb(-digits)


@pytest.mark.parametrize(
    ("amount", "digits", "text"),
    [("100", 2, "100.00"), ("1023", 0, "1023"), ("1.5", 3, "1.500"), ("-0", 2, "0.00")],
)
def test_documents_print_minor_digits(amount: str, digits: int, text: str) -> None:
    assert format_minor(Decimal(amount), digits) == text


def test_printing_never_rounds() -> None:
    with pytest.raises(AssertionError, match="was not rounded"):
        format_minor(Decimal("0.005"), 2)
