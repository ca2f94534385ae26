"""Currencies: ISO 4217's codes and minor units."""

import pytest

from taximeter.domain.catalog.currency import is_currency, minor_digits


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("USD", 2),
        ("EUR", 2),
        ("HUF", 2),
        ("TWD", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("CLP", 0),
        ("ISK", 0),
        ("XOF", 0),
        ("BHD", 3),
        ("KWD", 3),
        ("TND", 3),
        ("CLF", 4),
        # By custom without decimals, by ISO 4217 with them.
        ("IQD", 3),
        ("RSD", 2),
        ("ALL", 2),
        ("MMK", 2),
    ],
)
def test_digits_of_the_minor_unit(currency: str, digits: int) -> None:
    assert minor_digits(currency) == digits


@pytest.mark.parametrize("code", ["credits", "usd", "US", "", "UUU", "USDT"])
def test_what_is_no_currency_has_no_minor_unit(code: str) -> None:
    assert not is_currency(code)
    with pytest.raises(AssertionError, match="is no ISO 4217 currency"):
        minor_digits(code)


def test_withdrawn_codes_stay_known() -> None:
    assert is_currency("DEM")
