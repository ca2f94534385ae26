"""How pages write amounts, quantities and periods."""

from datetime import datetime
from decimal import Decimal

import pytest

from taximeter.kernel.times import Period
from taximeter.web import text
from tests.unit.subscription_values import NEW_YORK, utc

MINUS, DASH, FIXED = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("amount", "asset", "expected"),
    [
        ("1234.5", "USD", "$1,234.50"),
        ("-0.005", "USD", f"{MINUS}$0.01"),
        ("0.004", "USD", "$0.00"),
        ("-0.004", "USD", "$0.00"),
        ("1234567.5", "JPY", "¥1,234,568"),
        ("5", "EUR", "€5.00"),
        ("5", "CHF", f"CHF{FIXED}5.00"),
        ("1.0005", "BHD", f"BHD{FIXED}1.001"),
        ("1234.50", "credits", "1,234.5 credits"),
    ],
)
def test_money(amount: str, asset: str, expected: str) -> None:
    assert text.money(Decimal(amount), asset) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("95", "$95.00"), ("95.0325", "$95.0325"), ("95.100", "$95.10"), ("-0.001", f"{MINUS}$0.001")],
)
def test_a_balance_has_every_digit(amount: str, expected: str) -> None:
    assert text.exact_money(Decimal(amount), "USD") == expected


@pytest.mark.parametrize(
    ("amount", "asset", "expected"),
    [
        ("1234.56789", "USD", ("$1,234.56", "79")),
        ("0", "USD", ("$0.00", "00")),
        ("12.5", "JPY", ("¥12.50", "")),
        ("12.5", "credits", ("12.5", "")),
    ],
)
def test_a_running_amount(amount: str, asset: str, expected: tuple[str, str]) -> None:
    assert text.running(Decimal(amount), asset) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("0", "0"),
        ("1234567.50", "1,234,567.5"),
        ("-1234", f"{MINUS}1,234"),
        ("0.00000175", "0.00000175"),
    ],
)
def test_quantity(number: str, expected: str) -> None:
    assert text.quantity(Decimal(number)) == expected


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("0.00000175", "1.75 per million"), ("0.03", "0.03"), ("0", "0"), ("1234", "1,234")],
)
def test_unit_price(unit: str, expected: str) -> None:
    assert text.unit_price(Decimal(unit)) == expected


@pytest.mark.parametrize(
    ("start", "end", "timezone", "expected"),
    [
        ("2026-01-01", "2026-02-01", "UTC", f"1{DASH}31 Jan 2026"),
        ("2026-01-15", "2026-02-15", "UTC", f"15 Jan {DASH} 14 Feb 2026"),
        ("2025-12-15", "2026-01-15", "UTC", f"15 Dec 2025 {DASH} 14 Jan 2026"),
        ("2026-01-01", "2026-01-02", "UTC", "1 Jan 2026"),
        ("2026-01-01T05:00:00", "2026-02-01T05:00:00", NEW_YORK, f"1{DASH}31 Jan 2026"),
        ("2026-01-01T00:00:00", "2026-02-01T00:00:00", NEW_YORK,
         f"31 Dec 2025, 19:00 {DASH} 31 Jan 2026, 19:00"),
    ],
)  # fmt: skip
def test_period(start: str, end: str, timezone: str, expected: str) -> None:
    assert text.period(Period(utc(start), utc(end)), timezone) == expected


def test_instants_are_the_zones() -> None:
    at: datetime = utc("2026-01-01T03:04:05")
    assert text.instant(at, NEW_YORK) == "31 Dec 2025, 22:04:05"
    assert text.day(at, "UTC") == "1 Jan 2026"
