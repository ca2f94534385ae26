"""Money: an exact amount of one asset (an ISO 4217 currency or a credit unit).

Owns the only rounding of amounts, `round_to_minor`. Must not know how many digits a currency
has: that is catalog data, passed in.
"""

from dataclasses import dataclass
from decimal import Decimal

from taximeter.kernel.quantity import format_decimal, round_half_up


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` of `asset`. Adding or subtracting another asset raises `AssertionError`."""

    amount: Decimal
    asset: str

    def __post_init__(self) -> None:
        assert isinstance(self.amount, Decimal), "an amount is a Decimal"
        assert self.asset, "money names its asset"

    def __add__(self, other: "Money") -> "Money":
        assert self.asset == other.asset, f"cannot add {other.asset} to {self.asset}"
        return Money(self.amount + other.amount, self.asset)

    def __sub__(self, other: "Money") -> "Money":
        return self + -other

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.asset)

    def __str__(self) -> str:
        return f"{format_decimal(self.amount)} {self.asset}"


def round_to_minor(exact: Money, digits: int) -> tuple[Money, Money]:
    """Round half up (away from zero) to `digits` decimals.

    Returns (rounded, residue) with rounded + residue == exact; the residue must be posted.
    """
    rounded = Money(round_half_up(exact.amount, digits), exact.asset)
    return rounded, exact - rounded


def format_minor(amount: Decimal, digits: int) -> str:
    """`amount` with exactly `digits` decimals, as documents print it: `100.00`, `1023`.

    Raises `AssertionError` where that would lose a digit: amounts are rounded before, once.
    """
    rounded = round_half_up(amount, digits)
    assert rounded == amount, f"{amount} was not rounded to {digits} digits"
    return format(rounded, "f")
