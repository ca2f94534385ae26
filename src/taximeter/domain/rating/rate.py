"""Rating: what a price costs, exactly and with the steps that explain it.

Order within a price: quantity, included units, model, discount, maximum, minimum. Amounts are
exact: no amount is rounded here but inexact divisions, half up at the 12th decimal. Rounding to
the minor unit is invoicing's, once per line.

Sign rules. A quantity below 0 (a meter that allows it) uses no included or free units, belongs
to the first tier, and is a credit at that price; fees and packages are never negative. A percent
discount shrinks a credit as it shrinks a charge; a discount amount takes an amount to 0, not
below; a maximum leaves credits alone; a minimum lifts them to itself.

A dimensional price has one line for each rate with usage. Included units are used up by its
rates in the order written, and a percent discount is taken on each line; what belongs to the
price as a whole (discount amount, maximum, minimum) is one further line, so that the lines'
amounts add up to the price's.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import assert_never

from taximeter.domain.catalog.plan import (
    Dimensional,
    Discount,
    FlatPrice,
    Graduated,
    Package,
    PerUnit,
    QuantityModel,
    SeatPrice,
    Stairstep,
    UsagePrice,
    Volume,
)
from taximeter.domain.rating import graduated, package, per_unit, stairstep, volume
from taximeter.domain.rating.dimensional import RateUsage, usage_by_rate
from taximeter.domain.rating.step import Rated, Step, free_step, free_units, sum_amounts
from taximeter.kernel.quantity import ONE, ZERO, format_decimal

Usage = Sequence[tuple[Mapping[str, str], Decimal]]


def amount_of(model: QuantityModel, quantity: Decimal) -> tuple[Decimal, tuple[Step, ...]]:
    """What `quantity` costs under `model`, and the steps that add up to it."""
    steps = _model_steps(model, quantity)
    return sum_amounts(steps), steps


def rate_price(price: UsagePrice, usage: Usage) -> tuple[Rated, ...]:
    """The lines of a usage price for one period's (or segment's) totals.

    `usage` holds the total of each combination of dimension values; without a dimensional model
    they are added up to one line, which is there at quantity 0 too. A dimensional price without
    usage has no line, unless a minimum makes one. Usage that no rate matches under
    `otherwise: quarantine` must not get here.
    """
    model = price.model
    if isinstance(model, Dimensional):
        lines = [_rate_line(price, part) for part in usage_by_rate(model, usage, price.included)]
        before = sum((line.amount for line in lines), ZERO)
        adjustment = _bound_steps(price, before)
        if adjustment:
            lines.append(_line(None, f"{price.name}: adjustment", ZERO, adjustment))
        return tuple(lines)
    quantity = _total(usage)
    used = free_units(quantity, price.included)
    steps = _included_steps(used, price.included) + _model_steps(model, quantity - used)
    steps += _percent_steps(price.discount, sum_amounts(steps))
    steps += _bound_steps(price, sum_amounts(steps))
    return (_line(None, price.name, quantity, steps),)


def rate_flat(price: FlatPrice) -> Rated:
    """The line of a flat fee for one full period."""
    fee = Step(f"fee {format_decimal(price.amount)}", ONE, price.amount, price.amount)
    steps = (fee, *_discount_steps(price.discount, price.amount))
    return _line(None, price.name, ONE, steps)


def rate_seats(price: SeatPrice, quantity: Decimal) -> Rated:
    """The line of `quantity` seats (0 or more) for one full period."""
    assert quantity >= ZERO, "seats are not negative"
    steps = _model_steps(price.model, quantity)
    steps += _discount_steps(price.discount, sum_amounts(steps))
    return _line(None, price.name, quantity, steps)


def price_amount(price: UsagePrice, usage: Usage) -> Decimal:
    """The sum of `rate_price`'s lines, without their steps: the fast way for ingestion."""
    model = price.model
    if isinstance(model, Dimensional):
        amount = ZERO
        for part in usage_by_rate(model, usage, price.included):
            if part.model is not None:
                amount += _model_amount(part.model, part.quantity - part.included)
    else:
        quantity = _total(usage)
        if price.included:
            quantity -= free_units(quantity, price.included)
        amount = _model_amount(model, quantity)
    if price.discount is not None:
        amount -= _percent_off(price.discount, amount)
        amount -= _amount_off(price.discount, amount)
    if price.maximum is not None:
        amount = min(amount, price.maximum)
    if price.minimum is not None:
        amount = max(amount, price.minimum)
    return amount


def delta(price: UsagePrice, before: Usage, after: Usage) -> Decimal:
    """What the usage between two totals of one period costs: amount(after) - amount(before).

    Exact, so the deltas of any split add up to the whole. Negative where a volume tier makes all
    units cheaper, or where usage was taken back: that is a credit. Both sides hold all totals of
    the price, since a tier, an included unit or a bound ties them together. The minimum belongs
    to the period, not to any usage in it; prices that settle at once have none.
    """
    return price_amount(price, after) - price_amount(price, before)


def _total(usage: Usage) -> Decimal:
    if len(usage) == 1:
        return usage[0][1]
    return sum((quantity for _, quantity in usage), ZERO)


def _model_amount(model: QuantityModel, quantity: Decimal) -> Decimal:
    match model:
        case PerUnit():
            return per_unit.amount(model, quantity)
        case Package():
            return package.amount(model, quantity)
        case Graduated():
            return graduated.amount(model, quantity)
        case Volume():
            return volume.amount(model, quantity)
        case Stairstep():
            return stairstep.amount(model, quantity)
        case _:
            assert_never(model)


def _model_steps(model: QuantityModel, quantity: Decimal) -> tuple[Step, ...]:
    match model:
        case PerUnit():
            return per_unit.steps(model, quantity)
        case Package():
            return package.steps(model, quantity)
        case Graduated():
            return graduated.steps(model, quantity)
        case Volume():
            return volume.steps(model, quantity)
        case Stairstep():
            return stairstep.steps(model, quantity)
        case _:
            assert_never(model)


def _rate_line(price: UsagePrice, part: RateUsage) -> Rated:
    named = ", ".join(f"{name} {value}" for name, value in part.match)
    steps = _included_steps(part.included, price.included)
    billable = part.quantity - part.included
    if part.model is None:
        steps += (Step(f"{format_decimal(billable)} at 0", billable, ZERO, ZERO),)
    else:
        steps += _model_steps(part.model, billable)
    steps += _percent_steps(price.discount, sum_amounts(steps))
    return _line(part.match, f"{price.name}: {named or 'other'}", part.quantity, steps)


def _line(
    rate: tuple[tuple[str, str], ...] | None,
    description: str,
    quantity: Decimal,
    steps: tuple[Step, ...],
) -> Rated:
    return Rated(rate, description, quantity, sum_amounts(steps), steps)


def _included_steps(used: Decimal, included: Decimal) -> tuple[Step, ...]:
    return () if included == ZERO else (free_step(used, included, "included"),)


def _percent_off(discount: Discount, amount: Decimal) -> Decimal:
    if discount.percent is None:
        return ZERO
    return (amount * discount.percent).scaleb(-2)


def _amount_off(discount: Discount, amount: Decimal) -> Decimal:
    return ZERO if discount.amount is None else min(discount.amount, max(amount, ZERO))


def _discount_steps(discount: Discount | None, amount: Decimal) -> tuple[Step, ...]:
    return _percent_steps(discount, amount) or _amount_steps(discount, amount)


def _percent_steps(discount: Discount | None, amount: Decimal) -> tuple[Step, ...]:
    if discount is None or discount.percent is None:
        return ()
    text = f"discount of {format_decimal(discount.percent)}%"
    return (Step(text, None, None, -_percent_off(discount, amount)),)


def _amount_steps(discount: Discount | None, amount: Decimal) -> tuple[Step, ...]:
    if discount is None or discount.amount is None:
        return ()
    text = f"discount of {format_decimal(discount.amount)}"
    return (Step(text, None, None, -_amount_off(discount, amount)),)


def _bound_steps(price: UsagePrice, amount: Decimal) -> tuple[Step, ...]:
    """The discount amount, maximum and minimum of a price, each where it changes the amount."""
    steps = tuple(step for step in _amount_steps(price.discount, amount) if step.amount)
    amount += sum_amounts(steps)
    if price.maximum is not None and amount > price.maximum:
        text = f"capped at the maximum of {format_decimal(price.maximum)}"
        steps += (Step(text, None, None, price.maximum - amount),)
        amount = price.maximum
    if price.minimum is not None and amount < price.minimum:
        text = f"raised to the minimum of {format_decimal(price.minimum)}"
        steps += (Step(text, None, None, price.minimum - amount),)
    return steps
