"""How values are written for a person: amounts, quantities, instants, periods.

Owns the wording only. Every figure is exact, but for `money`, which rounds to the minor unit what
an invoice would round as well, and `running`, which shows two digits more.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from babel.numbers import get_currency_symbol

from taximeter.domain.catalog.currency import is_currency, minor_digits
from taximeter.kernel.quantity import format_decimal, round_half_up
from taximeter.kernel.times import Period, to_local

LOCALE = "en"
RUNNING_DIGITS = 2
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TINY = Decimal("0.001")
MILLION = Decimal(1_000_000)
_MINUS = "\N{MINUS SIGN}"
_FIXED_BLANK = "\N{NO-BREAK SPACE}"
_DAY = timedelta(days=1)


def quantity(number: Decimal) -> str:
    """Every digit, in groups of three: `1,234,567.5`."""
    whole, point, fraction = format_decimal(abs(number)).partition(".")
    sign = _MINUS if number < 0 else ""
    return f"{sign}{int(whole):,}{point}{fraction}"


def unit_price(amount: Decimal) -> str:
    """What one unit costs; a tiny price for a million units: `1.75 per million`."""
    if not amount or abs(amount) >= TINY:
        return quantity(amount)
    return f"{quantity(amount * MILLION)} per million"


def money(amount: Decimal, asset: str) -> str:
    """An amount at the currency's minor unit: `$1,234.50`; credit units in every digit."""
    if not is_currency(asset):
        return f"{quantity(amount)} {asset}"
    return _currency(round_half_up(amount, minor_digits(asset)), asset)


def about(amount: Decimal, asset: str) -> str:
    """An amount that is an estimate: two decimals of a credit unit are enough."""
    return money(amount if is_currency(asset) else round_half_up(amount, RUNNING_DIGITS), asset)


def exact_money(amount: Decimal, asset: str) -> str:
    """An amount in every digit, at least those of the minor unit: `$95.0325`."""
    if not is_currency(asset):
        return money(amount, asset)
    digits = minor_digits(asset)
    rounded = round_half_up(amount, digits)
    return _currency(rounded if rounded == amount else amount.normalize(), asset)


def running(amount: Decimal, asset: str) -> tuple[str, str]:
    """An amount that runs, in two parts: at the minor unit, cut off, and two digits more."""
    if not is_currency(asset):
        return quantity(amount), ""
    digits = minor_digits(asset)
    text = _currency(round_half_up(amount, digits + RUNNING_DIGITS), asset)
    if digits == 0:
        return text, ""
    return text[:-RUNNING_DIGITS], text[-RUNNING_DIGITS:]


def _currency(amount: Decimal, asset: str) -> str:
    symbol = get_currency_symbol(asset, locale=LOCALE)
    space = _FIXED_BLANK if symbol[-1].isalpha() else ""
    sign = _MINUS if amount < 0 else ""
    return f"{sign}{symbol}{space}{abs(amount):,f}"


def day(at: datetime, timezone: str) -> str:
    """The date that the zone's calendar shows: `5 Feb 2026`."""
    return _day(to_local(at, timezone))


def _day(local: datetime) -> str:
    return f"{local.day} {MONTHS[local.month - 1]} {local.year}"


def instant(at: datetime, timezone: str) -> str:
    """Date and time to the second, as the zone's clocks show them."""
    local = to_local(at, timezone)
    return f"{_day(local)}, {local:%H:%M:%S}"


def period(span: Period, timezone: str) -> str:
    """A span by its first and last day (`1-31 Jan 2026`), with times where it is not of days."""
    start, end = to_local(span.start, timezone), to_local(span.end, timezone)
    midnight = (0, 0, 0, 0)
    if any((t.hour, t.minute, t.second, t.microsecond) != midnight for t in (start, end)):
        return f"{_day(start)}, {start:%H:%M} \N{EN DASH} {_day(end)}, {end:%H:%M}"
    last = max(start, end - _DAY)
    if start.date() == last.date():
        return _day(start)
    if (start.year, start.month) == (last.year, last.month):
        return f"{start.day}\N{EN DASH}{_day(last)}"
    first = f"{start.day} {MONTHS[start.month - 1]}"
    if start.year != last.year:
        first = _day(start)
    return f"{first} \N{EN DASH} {_day(last)}"
