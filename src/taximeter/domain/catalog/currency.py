"""Currencies: which codes ISO 4217 knows, and how many digits their minor unit has.

The data is babel's; only where its digits are those of daily custom and not of ISO 4217 does a
line here correct it. Must not know prices or format amounts.
"""

from functools import lru_cache

from babel.core import get_global

# CLDR, babel's source, gives these currencies 0 digits because their coins are out of use. The
# ISO 4217 list says otherwise, and invoices, banks and tax offices follow ISO.
_ISO_DIGITS = {
    "AFN": 2,
    "ALL": 2,
    "IQD": 3,
    "IRR": 2,
    "KPW": 2,
    "LAK": 2,
    "LBP": 2,
    "MGA": 2,
    "MMK": 2,
    "RSD": 2,
    "SOS": 2,
    "SYP": 2,
    "YER": 2,
}


def is_currency(code: str) -> bool:
    """Whether `code` (upper case) is or was an ISO 4217 code.

    Withdrawn codes stay known, so that a plan which was published once can always be read again.
    """
    return code in get_global("all_currencies")


@lru_cache(maxsize=512)
def minor_digits(currency: str) -> int:
    """The decimals of the currency's minor unit: USD 2, JPY 0, BHD 3.

    `currency` must be known to `is_currency`: a credit unit has no minor unit, and guessing one
    would round it.
    """
    assert is_currency(currency), f"{currency} is no ISO 4217 currency"
    if currency in _ISO_DIGITS:
        return _ISO_DIGITS[currency]
    fractions = get_global("currency_fractions")
    digits: int = fractions.get(currency, fractions["DEFAULT"])[0]
    return digits
