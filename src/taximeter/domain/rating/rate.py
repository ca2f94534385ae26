"""Rating: what a price costs, exactly and with the steps that explain it.

Order within a price: quantity, included units, model (over the pool), multipliers, discount,
maximum a day, maximum, minimum. Amounts are exact: no amount is rounded here but inexact
divisions, half up at the 12th decimal. Rounding to the minor unit is invoicing's, once per line.

Sign rules. A quantity below 0 (a meter that allows it) uses no included or free units, belongs
to the first tier, and is a credit at that price; fees and packages are never negative.

A dimensional price has one line for each rate with usage. Included units are used up by its
rates in the order written, but for those that price single events, and a percent discount is
taken on each line; what belongs to the price as a whole (discount amount, maxima, minimum) is one
further line, so that the lines' amounts add up to the price's.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from taximeter.domain.catalog.plan import (
    Dimensional,
    FeeModel,
    FlatPrice,
    QuantityModel,
    RateModel,
    SeatPrice,
    ShareOf,
    UsagePrice,
    has_fees,
)
from taximeter.domain.metering.reserved import BUCKET, DAY, OTHERWISE, PRICE
from taximeter.domain.rating.bounds import (
    amount_off,
    bound_steps,
    discount_steps,
    percent_off,
    percent_steps,
)
from taximeter.domain.rating.dimensional import match_rate, rate_model
from taximeter.domain.rating.fee import fee_steps
from taximeter.domain.rating.model import model_amount, model_steps
from taximeter.domain.rating.place import Place
from taximeter.domain.rating.step import (
    Rated,
    Step,
    free_step,
    free_units,
    percent_of,
    sum_amounts,
)
from taximeter.domain.rating.usage import Part, Units, Usage, counted_by, parts_of
from taximeter.kernel.quantity import ONE, ZERO, format_decimal


def amount_of(model: QuantityModel, quantity: Decimal) -> tuple[Decimal, tuple[Step, ...]]:
    """What `quantity` costs under `model`, and the steps that add up to it."""
    steps = model_steps(model, quantity)
    return sum_amounts(steps), steps


def rate_price(price: UsagePrice, usage: Usage) -> tuple[Rated, ...]:
    """The lines of a usage price for one period's (or segment's) totals.

    `usage` holds the total of each combination of dimension values, and what the other prices of
    the group have counted; without a dimensional model it makes one line, which is there at
    quantity 0 too. A dimensional price without usage has no line, unless a minimum makes one.
    """
    lines = _lines(price, usage)
    amount = sum((line.amount for line in lines), ZERO)
    bounds = bound_steps(price, amount, _daily_steps(price, usage))
    if not isinstance(price.model, Dimensional):
        (line,) = lines
        steps = (*line.steps, *bounds)
        return (replace(line, amount=sum_amounts(steps), steps=steps),)
    if bounds:
        lines.append(_line(None, f"{price.name}: adjustment", ZERO, bounds))
    return tuple(lines)


def rate_flat(price: FlatPrice) -> Rated:
    """The line of a flat fee for one full period."""
    fee = Step(f"fee {format_decimal(price.amount)}", ONE, price.amount, price.amount)
    steps = (fee, *discount_steps(price.discount, price.amount))
    return _line(None, price.name, ONE, steps)


def rate_seats(price: SeatPrice, quantity: Decimal) -> Rated:
    """The line of `quantity` seats (0 or more) for one full period."""
    assert quantity >= ZERO, "seats are not negative"
    steps = model_steps(price.model, quantity)
    steps += discount_steps(price.discount, sum_amounts(steps))
    return _line(None, price.name, quantity, steps)


def price_amount(price: UsagePrice, usage: Usage) -> Decimal:
    """The sum of `rate_price`'s lines; of most prices without their steps, which is the fast way
    for ingestion.
    """
    if not _is_plain(price, usage):
        return sum((line.amount for line in rate_price(price, usage)), ZERO)
    assert not isinstance(price.included, ShareOf), "a share makes a group"
    model = price.model
    if isinstance(model, Dimensional):
        amount = _dimensional_amount(model, usage, price.included)
    else:
        assert not isinstance(model, FeeModel), "single events are not plain"
        quantity = usage[0][1] if len(usage) == 1 else sum((total for _, total in usage), ZERO)
        if price.included:
            quantity -= free_units(quantity, price.included)
        amount = model_amount(model, quantity)
    if price.discount is not None:
        amount -= percent_off(price.discount, amount)
        amount -= amount_off(price.discount, amount)
    if price.maximum is not None:
        amount = min(amount, price.maximum)
    if price.minimum is not None:
        amount = max(amount, price.minimum)
    return amount


def _is_plain(price: UsagePrice, usage: Usage) -> bool:
    """Whether the amount depends on the quantities by dimension, and on nothing else."""
    return price.alone and not any(BUCKET in dimensions for dimensions, _ in usage)


def _dimensional_amount(model: Dimensional, usage: Usage, included: Decimal) -> Decimal:
    last = len(model.rates)
    quantities: dict[int, Decimal] = {}
    for dimensions, quantity in usage:
        match = match_rate(model, dimensions)
        assert match is not None, "usage that no rate matches is quarantined before it is rated"
        index = last if match == OTHERWISE else match
        quantities[index] = quantities.get(index, ZERO) + quantity
    amount, left = ZERO, included
    for index in sorted(quantities):
        quantity = quantities[index]
        if quantity == ZERO:
            continue
        if left:
            free = free_units(quantity, left)
            left -= free
            quantity -= free
        of_rate = rate_model(model, index if index < last else OTHERWISE)
        if of_rate is not None:
            assert not isinstance(of_rate, FeeModel), "single events are not plain"
            amount += model_amount(of_rate, quantity)
    return amount


def delta(price: UsagePrice, before: Usage, after: Usage) -> Decimal:
    """What the usage between two totals of one period costs: amount(after) - amount(before).

    Exact, so the deltas of any split add up to the whole. Negative where a volume tier makes all
    units cheaper, or where usage was taken back: that is a credit. Both sides hold all totals of
    the price, since a tier, an included unit or a bound ties them together. The minimum belongs
    to the period, not to any usage in it; prices that settle at once have none.
    """
    return price_amount(price, after) - price_amount(price, before)


def _lines(price: UsagePrice, usage: Usage) -> list[Rated]:
    """The lines before what bends the price as a whole."""
    counted = counted_by(price, usage)
    allowance = left = _allowance(price, counted)
    place = _place(price, counted) if price.pool is not None else None
    lines = []
    for part in parts_of(price, usage):
        line, left = _part_line(price, part, place, allowance, left)
        lines.append(line)
    return lines


def _allowance(price: UsagePrice, counted: dict[str, Decimal]) -> Decimal:
    """The units that are free: a number, or a share of what another price has counted."""
    if isinstance(price.included, ShareOf):
        return percent_of(price.included.percent, max(counted[price.included.price], ZERO))
    return price.included


def _place(price: UsagePrice, counted: dict[str, Decimal]) -> Place:
    """Where the price's units stand in the ladder of its pool."""
    before = total = ZERO
    first = None
    for one in price.group:
        if one.pool != price.pool:
            continue
        first = first or one.key
        quantity = max(counted[one.key], ZERO)
        quantity -= free_units(quantity, _allowance(one, counted))
        if one.key == price.key:
            before = total
        total += quantity
    return Place(before, total, first == price.key)


def _part_line(
    price: UsagePrice, part: Part, place: Place | None, allowance: Decimal, left: Decimal
) -> tuple[Rated, Decimal]:
    """The line of one rate (or of a price without rates), and what is left of the allowance."""
    rate, description, model = _of_part(price, part)
    steps: tuple[Step, ...] = ()
    free = ZERO
    with_fees = model is not None and has_fees(model)
    for units in part.units:
        used = ZERO if with_fees else free_units(units.quantity, left - free)
        free += used
        steps += _units_steps(price, model, units, units.quantity - used, place)
    if allowance != ZERO:
        steps = (free_step(free, allowance, "included"), *steps)
    elif isinstance(price.included, ShareOf):
        steps = (free_step(ZERO, ZERO, "included"), *steps)
    steps += percent_steps(price.discount, sum_amounts(steps))
    return _line(rate, description, part.quantity, steps), left - free


def _of_part(
    price: UsagePrice, part: Part
) -> tuple[tuple[tuple[str, str], ...] | None, str, RateModel | None]:
    """What a part's line is known by and called, and the model that prices it (None: free)."""
    model = price.model
    if not isinstance(model, Dimensional):
        return None, price.name, model
    assert part.match is not None, "a dimensional price has parts by rate"
    rate = () if part.match == OTHERWISE else model.rates[part.match].key
    named = ", ".join(f"{name} {value}" for name, value in rate)
    return rate, f"{price.name}: {named or 'other'}", rate_model(model, part.match)


def _units_steps(
    price: UsagePrice,
    model: RateModel | None,
    units: Units,
    billable: Decimal,
    place: Place | None,
) -> tuple[Step, ...]:
    if model is None:
        steps: tuple[Step, ...] = (Step(f"{format_decimal(billable)} at 0", billable, ZERO, ZERO),)
    elif has_fees(model) or isinstance(model, FeeModel):
        steps = fee_steps(model, units)
    else:
        steps = model_steps(model, billable, place)
    for index in units.when:
        multiplier = price.multipliers[index]
        when = " and ".join(condition.text for condition in multiplier.when)
        text = f"times {format_decimal(multiplier.factor)} for {when}"
        change = sum_amounts(steps) * (multiplier.factor - ONE)
        steps = (*steps, Step(text, None, None, change))
    if units.bucket:
        steps = tuple(replace(step, text=f"{units.bucket}: {step.text}") for step in steps)
    return steps


def _daily_steps(price: UsagePrice, usage: Usage) -> tuple[Step, ...]:
    """What the maximum a day takes off: of each day what its usage adds to the amount, less a
    discount amount, day by day, beyond the maximum.
    """
    most = price.maximum_per_day
    if most is None:
        return ()
    days = sorted({dimensions[DAY] for dimensions, _ in usage if DAY in dimensions})
    before = over = ZERO
    capped = 0
    for day in days:
        amount = sum((line.amount for line in _lines(price, _until(day, usage))), ZERO)
        if price.discount is not None:
            amount -= amount_off(price.discount, amount)
        if amount - before > most:
            over += amount - before - most
            capped += 1
        before = amount
    if not capped:
        return ()
    plural = "day" if capped == 1 else "days"
    text = f"capped at {format_decimal(most)} a day on {capped} {plural}"
    return (Step(text, None, None, -over),)


def _until(day: str, usage: Usage) -> Sequence[tuple[dict[str, str], Decimal]]:
    return [
        (dict(dimensions), quantity)
        for dimensions, quantity in usage
        if PRICE in dimensions or dimensions.get(DAY, "") <= day
    ]


def _line(
    rate: tuple[tuple[str, str], ...] | None,
    description: str,
    quantity: Decimal,
    steps: tuple[Step, ...],
) -> Rated:
    return Rated(rate, description, quantity, sum_amounts(steps), steps)
