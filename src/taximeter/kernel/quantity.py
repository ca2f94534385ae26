"""Exact decimal numbers: how they are read, bounded, printed and divided.

Owns the decimal context of the process. Importing this module installs it, for the current
thread and for every later one: 80 digits (a product of two contract numbers needs 60), and a
trap for everything that would lose information without a word. Nothing is rounded but by the
functions here that say so: `divide`, `round_half_up` and `floor_at`.
"""

import decimal
import re
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

DECIMAL_PATTERN = r"^-?[0-9]{1,18}(\.[0-9]{1,12})?$"
DIGITS_INTEGER_MAX = 18
DIGITS_FRACTION_MAX = 12
ZERO = Decimal(0)
ONE = Decimal(1)
SMALLEST = Decimal(1).scaleb(-DIGITS_FRACTION_MAX)
BOUND = Decimal(10) ** DIGITS_INTEGER_MAX

_MATCH = re.compile(DECIMAL_PATTERN[:-1] + r"\Z").match


def install_decimal_context() -> None:
    """Make the exact context the default of this thread and of all threads started later."""
    for context in (decimal.DefaultContext, decimal.getcontext()):
        context.prec = 80
        context.rounding = ROUND_HALF_UP
        for signal in (
            decimal.InvalidOperation,
            decimal.DivisionByZero,
            decimal.Overflow,
            decimal.FloatOperation,
        ):
            context.traps[signal] = True


install_decimal_context()


def parse_decimal(text: str) -> Decimal | None:
    """The number written in `text`, or None where it does not match `DECIMAL_PATTERN`.

    The pattern is matched on the string before a Decimal is made: Decimal itself would accept
    blanks, full-width digits, NaN and exponents.
    """
    return Decimal(text) if _MATCH(text) else None


def within_bounds(number: Decimal) -> bool:
    """Whether `number` has at most 18 integer and 12 fraction digits, its own zeros not counted."""
    if not number.is_finite() or not -BOUND < number < BOUND:
        return False
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent >= -DIGITS_FRACTION_MAX or number == number.quantize(SMALLEST)


def format_decimal(number: Decimal) -> str:
    """Shortest plain form: `100`, `0.05`; never an exponent, never `-0`."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def divide(numerator: Decimal, denominator: Decimal) -> Decimal:
    """`numerator / denominator`; an inexact quotient is rounded half up at the 12th decimal."""
    context = decimal.getcontext()
    context.clear_flags()  # multiplying back would call 2/3 exact: its 80 digits round up to 2
    quotient = numerator / denominator
    if not context.flags[decimal.Inexact]:
        return quotient
    return quotient.quantize(SMALLEST, rounding=ROUND_HALF_UP)


def round_half_up(number: Decimal, digits: int) -> Decimal:
    """`number` at `digits` decimals, halves away from zero, never `-0`."""
    rounded = number.quantize(ONE.scaleb(-digits), rounding=ROUND_HALF_UP)
    return abs(rounded) if rounded.is_zero() else rounded


def floor_at(number: Decimal, digits: int) -> Decimal:
    """The greatest number of `digits` decimals that is not above `number`."""
    return number.quantize(ONE.scaleb(-digits), rounding=ROUND_FLOOR)


def ceil_div(numerator: Decimal, denominator: Decimal) -> Decimal:
    """How many whole `denominator`s cover `numerator`, rounded up (neither is negative)."""
    whole, rest = divmod(numerator, denominator)
    return whole + ONE if rest > ZERO else whole
