"""What bends the amount of a price: its discount, and its maximum and minimum.

Owns the order discount, maximum a day, maximum, minimum, and the wording of these steps. A percent
discount shrinks a credit as it shrinks a charge; a discount amount takes an amount to 0, not below;
a maximum leaves credits alone; a minimum lifts them to itself.
"""

from decimal import Decimal

from taximeter.domain.catalog.plan import Discount, UsagePrice
from taximeter.domain.rating.step import Step, percent_of, sum_amounts
from taximeter.kernel.quantity import ZERO, format_decimal


def percent_off(discount: Discount, amount: Decimal) -> Decimal:
    """What a percent discount takes from an amount."""
    return ZERO if discount.percent is None else percent_of(discount.percent, amount)


def amount_off(discount: Discount, amount: Decimal) -> Decimal:
    """What a discount amount takes from an amount."""
    return ZERO if discount.amount is None else min(discount.amount, max(amount, ZERO))


def percent_steps(discount: Discount | None, amount: Decimal) -> tuple[Step, ...]:
    """The step of a percent discount, if there is one."""
    if discount is None or discount.percent is None:
        return ()
    text = f"discount of {format_decimal(discount.percent)}%"
    return (Step(text, None, None, -percent_off(discount, amount)),)


def amount_steps(discount: Discount | None, amount: Decimal) -> tuple[Step, ...]:
    """The step of a discount amount, if there is one."""
    if discount is None or discount.amount is None:
        return ()
    text = f"discount of {format_decimal(discount.amount)}"
    return (Step(text, None, None, -amount_off(discount, amount)),)


def discount_steps(discount: Discount | None, amount: Decimal) -> tuple[Step, ...]:
    """The step of a fee's discount, by percent or by amount."""
    return percent_steps(discount, amount) or amount_steps(discount, amount)


def bound_steps(price: UsagePrice, amount: Decimal, daily: tuple[Step, ...]) -> tuple[Step, ...]:
    """What bends the amount of a price as a whole, each step where it changes the amount; `daily`
    is the maximum a day's.
    """
    steps = tuple(step for step in amount_steps(price.discount, amount) if step.amount) + daily
    amount += sum_amounts(steps)
    if price.maximum is not None and amount > price.maximum:
        text = f"capped at the maximum of {format_decimal(price.maximum)}"
        steps += (Step(text, None, None, price.maximum - amount),)
        amount = price.maximum
    if price.minimum is not None and amount < price.minimum:
        text = f"raised to the minimum of {format_decimal(price.minimum)}"
        steps += (Step(text, None, None, price.minimum - amount),)
    return steps
