"""Invoice lines: fees, usage, minimums and adjustments, each rounded once.

Owns the step from an exact amount to a printed one. Must not rate or prorate: exact amounts come
in with the steps that explain them.

A line's amount is rounded half up (away from zero) at the currency's minor unit; what rounding
took is the line's residue. Usage settled from a wallet is shown at its exact amount, unrounded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.catalog.plan import (
    Dimensional,
    FlatPrice,
    PerUnit,
    Plan,
    SeatPrice,
    UsagePrice,
)
from taximeter.domain.rating.step import Rated, Step
from taximeter.domain.subscription.charges import Charge, Minimum
from taximeter.domain.subscription.subscription import Segment
from taximeter.kernel.quantity import ONE, ZERO, divide, format_decimal, round_half_up
from taximeter.kernel.times import Period

LineKind = Literal["fee", "usage", "overage", "minimum", "commitment", "adjustment"]
RateKey = tuple[tuple[str, str], ...] | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `amount` is what is printed, `exact` the unrounded sum of its `steps`.

    `price` is the price's key (None: the plan's minimum) on `plan`, version `plan_version`; `rate`
    the rate of a dimensional price. `unit_amount` is there where quantity x unit_amount is exact.
    `period` is what the line covers. `id` is set by `numbered`; until then it is empty.
    """

    id: str
    kind: LineKind
    price: str | None
    meter: str | None
    plan: str
    plan_version: int
    description: str
    quantity: Decimal
    unit_amount: Decimal | None
    amount: Decimal
    exact: Decimal
    asset: str
    period: Period
    rate: RateKey
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        steps = sum((step.amount for step in self.steps), ZERO)
        assert steps == self.exact, f"{self.description}: steps do not add up"
        assert self.unit_amount is None or self.unit_amount * self.quantity == self.exact, (
            f"{self.description}: quantity x unit amount is not the amount"
        )

    @property
    def residue(self) -> Decimal:
        """What rounding took (negative: added); it is posted, so that nothing is lost."""
        return self.exact - self.amount


def numbered(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines with ids by position: the same lines get the same ids each time."""
    return tuple(replace(line, id=f"line_{n}") for n, line in enumerate(lines, start=1))


def sum_of(lines: Iterable[Line]) -> Decimal:
    """The sum of the printed amounts."""
    return sum((line.amount for line in lines), ZERO)


def usage_lines(segment: Segment, rated: Sequence[Rated]) -> tuple[Line, ...]:
    """The lines of a usage price over its segment: one for each rate."""
    return tuple(_usage_line(segment, one) for one in rated)


def _usage_line(segment: Segment, rated: Rated) -> Line:
    price = segment.price
    assert isinstance(price, UsagePrice), "only usage has a segment to bill"
    return Line(
        id="",
        kind="usage",
        price=price.key,
        meter=price.meter,
        plan=segment.plan.key,
        plan_version=segment.plan.version,
        description=rated.description,
        quantity=rated.quantity,
        unit_amount=_linear(_unit_of(price, rated.rate), rated.quantity, rated.amount),
        amount=_printed(price, rated.amount),
        exact=rated.amount,
        asset=price.asset,
        period=segment.span,
        rate=rated.rate,
        steps=rated.steps,
    )


def fee_lines(charges: Iterable[Charge]) -> tuple[Line, ...]:
    """One line for each charge: fees, parts of fees, and credits for unused time."""
    return tuple(
        Line(
            id="",
            kind="fee",
            price=charge.price.key,
            meter=None,
            plan=charge.plan.key,
            plan_version=charge.plan.version,
            description=charge.description,
            quantity=charge.quantity,
            unit_amount=_linear(_unit_of(charge.price, None), charge.quantity, charge.amount),
            amount=round_half_up(charge.amount, minor_digits(charge.price.asset)),
            exact=charge.amount,
            asset=charge.price.asset,
            period=charge.part.period,
            rate=None,
            steps=charge.steps,
        )
        for charge in charges
    )


def overage_line(
    plan: Plan, asset: str, quantity: Decimal, unit_price: Decimal, period: Period
) -> Line:
    """The line of credit units that were used past their grants in a period, at the price that
    the plan gives a unit.
    """
    exact = quantity * unit_price
    text = f"{format_decimal(quantity)} {asset} at {format_decimal(unit_price)}"
    return Line(
        id="",
        kind="overage",
        price=None,
        meter=None,
        plan=plan.key,
        plan_version=plan.version,
        description=f"Overage: {text}",
        quantity=quantity,
        unit_amount=unit_price,
        amount=round_half_up(exact, minor_digits(plan.currency)),
        exact=exact,
        asset=plan.currency,
        period=period,
        rate=None,
        steps=(Step(text, quantity, unit_price, exact),),
    )


def minimum_line(
    minimum: Minimum,
    lines: Sequence[Line],
    billed: Sequence[Line] = (),
    *,
    discount: Decimal = ZERO,
) -> Line | None:
    """The true-up to a plan's minimum or commitment over `lines`: all fees, usage and adjustments
    that belong to its period, on whichever invoice they stand, less the `discount` on them. None
    where nothing is missing.

    `billed` are true-ups of the same period billed before; where late usage made them too large
    the line is negative.
    """
    plan, covered = minimum.plan, sum_of(lines) - discount
    assert all(line.asset == plan.currency for line in (*lines, *billed)), "one currency"
    assert all(line.kind != minimum.kind for line in lines), "a true-up does not cover itself"
    steps: tuple[Step, ...] = ()
    if minimum.amount > covered:
        span = "period" if minimum.kind == "minimum" else "term"
        text = f"fees and usage of the {span}" + (", less discounts" if discount else "")
        steps = (*minimum.steps, Step(text, None, None, -covered))
    exact = sum((step.amount for step in steps), ZERO)
    amount = round_half_up(exact, minor_digits(plan.currency)) - sum_of(billed)
    if amount == ZERO:
        return None
    if billed:
        steps = (*steps, _billed_step(billed))
    return Line(
        id="",
        kind=minimum.kind,
        price=None,
        meter=None,
        plan=plan.key,
        plan_version=plan.version,
        description=f"{plan.name}: {minimum.kind}",
        quantity=ONE,
        unit_amount=None,
        amount=amount,
        exact=sum((step.amount for step in steps), ZERO),
        asset=plan.currency,
        period=minimum.period,
        rate=None,
        steps=steps,
    )


def adjustment_lines(
    segment: Segment, rated_now: Sequence[Rated], billed: Sequence[Line]
) -> tuple[Line, ...]:
    """What usage that came (or went) after its invoice was finalized changes: for each rate, the
    price of all usage of the segment less what was billed for it, which may be negative.

    `billed` are the usage and adjustment lines of the segment on finalized invoices. The printed
    total is what one invoice would have printed: round(f(total)) - sum(printed), not a sum of
    rounded differences. Differences below the minor unit make no line; they stay open.
    """
    now = {one.rate: one for one in rated_now}
    assert len(now) == len(rated_now), "one Rated for each rate"
    lines = []
    for rate in dict.fromkeys((*now, *(line.rate for line in billed))):
        before = [line for line in billed if line.rate == rate]
        one = now.get(rate) or Rated(rate, before[-1].description, ZERO, ZERO, ())
        line = _usage_line(segment, one)
        amount = line.amount - sum_of(before)
        if amount == ZERO:
            continue
        prefix = "" if one.description.startswith(_ADJUSTMENT) else _ADJUSTMENT
        lines.append(
            replace(
                line,
                kind="adjustment",
                description=prefix + one.description,
                quantity=line.quantity - sum((b.quantity for b in before), ZERO),
                unit_amount=None,
                amount=amount,
                exact=line.exact - sum((b.exact for b in before), ZERO),
                steps=(*line.steps, _billed_step(before)) if before else line.steps,
            )
        )
    return tuple(lines)


_ADJUSTMENT = "Adjustment: "


def _billed_step(billed: Sequence[Line]) -> Step:
    return Step("billed before", None, None, -sum((line.exact for line in billed), ZERO))


def _printed(price: UsagePrice, exact: Decimal) -> Decimal:
    """What settles from a wallet keeps full precision; what is invoiced is rounded, once."""
    return exact if price.settle == "wallet" else round_half_up(exact, minor_digits(price.asset))


def _unit_of(price: FlatPrice | SeatPrice | UsagePrice, rate: RateKey) -> Decimal | None:
    """The price of one unit, where it is the same for each."""
    if isinstance(price, FlatPrice):
        return price.amount
    model = price.model
    if isinstance(model, Dimensional):
        models = {one.key: one.model for one in model.rates}
        found = None if rate is None else models.get(rate, model.otherwise)
        return divide(found.unit, found.per) if isinstance(found, PerUnit) else None
    return divide(model.unit, model.per) if isinstance(model, PerUnit) else None


def _linear(unit: Decimal | None, quantity: Decimal, amount: Decimal) -> Decimal | None:
    """`unit` where it explains the whole amount: nothing included, discounted or prorated."""
    return unit if unit is not None and unit * quantity == amount else None
