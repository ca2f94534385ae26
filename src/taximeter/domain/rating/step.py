"""What rating answers: a line's amount and the steps that explain it.

Owns their shape, the wording of quantities and prices in them, and the one multiplication of a
quantity with a unit price. Must not round: what a division cannot hold is rounded by the kernel
at the 12th decimal, and amounts to the minor unit by invoicing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from taximeter.kernel.quantity import ONE, ZERO, divide, format_decimal


@dataclass(frozen=True, slots=True)
class Step:
    """One part of an amount, in the asset of its price.

    Where `quantity` and `unit` both are there, their product is `amount`; `unit` is left out
    where the price of one unit has no finite decimal form (1 per 744) or there is none (a fee).
    """

    text: str
    quantity: Decimal | None
    unit: Decimal | None
    amount: Decimal

    def __post_init__(self) -> None:
        assert (
            self.quantity is None or self.unit is None or self.quantity * self.unit == self.amount
        ), f"{self.text}: quantity x unit is not the amount"


@dataclass(frozen=True, slots=True)
class Rated:
    """One invoice line: `amount` is exact and the sum of its steps.

    `quantity` is what was metered, before free units. `rate` says which rate of a dimensional
    price the line is of, () being its `otherwise`; it is None for every other price, and for the
    line of a dimensional price that carries its discount amount, maximum and minimum.
    """

    rate: tuple[tuple[str, str], ...] | None
    description: str
    quantity: Decimal
    amount: Decimal
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        assert sum_amounts(self.steps) == self.amount, f"{self.description}: steps do not add up"


def sum_amounts(steps: Iterable[Step]) -> Decimal:
    """What the steps come to."""
    return sum((step.amount for step in steps), ZERO)


def priced(quantity: Decimal, unit: Decimal, per: Decimal) -> Decimal:
    """quantity / per x unit, multiplied first so that only an inexact result is rounded."""
    product = quantity * unit
    return product if per == ONE else divide(product, per)


def units_step(label: str, quantity: Decimal, unit: Decimal, per: Decimal) -> Step:
    """The step of `quantity` units at `unit` for each `per`; `label` names the tier, if any."""
    amount = priced(quantity, unit, per)
    each = unit if per == ONE else divide(unit, per)
    finite = each * per == unit and quantity * each == amount
    text = f"{label}{format_decimal(quantity)} at {format_decimal(unit)}"
    if per != ONE:
        text += f" per {format_decimal(per)}"
    return Step(text, quantity, each if finite else None, amount)


def percent_of(percent: Decimal, amount: Decimal) -> Decimal:
    """`percent` hundredths of `amount`, exactly."""
    return (amount * percent).scaleb(-2)


def percent_step(label: str, amount: Decimal, percent: Decimal) -> Step:
    """The step of `percent` of an amount."""
    text = f"{label}{format_decimal(percent)}% of {format_decimal(amount)}"
    return Step(text, amount, percent.scaleb(-2), percent_of(percent, amount))


def free_step(used: Decimal, allowance: Decimal, word: str) -> Step:
    """The step of units that cost nothing: `5000 of 5000 included`."""
    text = f"{format_decimal(used)} of {format_decimal(allowance)} {word}"
    return Step(text, used, ZERO, ZERO)


def free_units(quantity: Decimal, allowance: Decimal) -> Decimal:
    """How many of `quantity` an allowance covers; a negative quantity uses none of it."""
    return min(max(quantity, ZERO), allowance)
