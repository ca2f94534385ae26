"""What a plan would charge for one full period: its lines, rounded as an invoice rounds them.

Owns the reading of sample events into usage and the sums of a preview. Must not prorate: every
price is shown for one full period of its own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import Dimensional, Percentage, Plan, Price, UsagePrice
from taximeter.domain.invoicing.cover import Cover, covers
from taximeter.domain.invoicing.discounts import amount_off
from taximeter.domain.invoicing.lines import overage_line
from taximeter.domain.metering.fold import (
    Unreadable,
    Value,
    counts,
    dimension_values,
    metered_value,
    nearest_rank,
)
from taximeter.domain.metering.reserved import FEE, FREE
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.rating.event_price import UNMATCHED_DIMENSION, event_price
from taximeter.domain.rating.percentage import FreePart
from taximeter.domain.rating.plan import rate_plan
from taximeter.domain.rating.step import Rated, Step
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.routing import NO_METER
from taximeter.kernel.money import Money, round_to_minor
from taximeter.kernel.quantity import ONE, ZERO, format_decimal
from taximeter.kernel.times import Period, PeriodUnit

# The hours of a period that has no dates: a year has 8,760, and a month a twelfth of them.
HOURS: Mapping[PeriodUnit, Decimal] = {
    "day": Decimal(24), "week": Decimal(168), "month": Decimal(730), "quarter": Decimal(2190),
    "year": Decimal(8760),
}  # fmt: skip


_NO_PERIOD = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """`count` equal events of this type and data."""

    type: str
    data: Mapping[str, Any]
    count: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the sample event at `index` would be quarantined."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One line; `price` is None for the plan's minimum. `amount` is rounded to the minor unit, but
    exact where it is drawn from a wallet (`settled`); `exact` is the sum of its steps.
    """

    price: str | None
    description: str
    asset: str
    settled: bool
    rate: Mapping[str, str] | None
    quantity: Decimal
    amount: Decimal
    exact: Decimal
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """`subtotal` is what is invoiced, in the plan's currency, and `total` that less the plan's
    `discount`; `credits` is what is drawn from wallets, by asset, and `covers` how much of it the
    plan's own credits cover.
    """

    currency: str
    lines: tuple[PreviewLine, ...]
    credits: tuple[Money, ...]
    subtotal: Decimal
    discount: Decimal
    total: Decimal
    covers: tuple[Cover, ...] = ()

    def __post_init__(self) -> None:
        invoiced = sum((line.amount for line in self.lines if not line.settled), ZERO)
        assert invoiced == self.subtotal, "lines sum to the subtotal"
        assert self.total == self.subtotal - self.discount, "total"


def preview(
    plan: Plan,
    quantities: Mapping[str, Decimal],
    usage: Mapping[str, Usage],
    on: datetime | None = None,
) -> Preview:
    """What one full period costs with these seats and this usage, both by price key; what they
    leave out is 0. Credit units that the plan's credits do not cover are billed where they have a
    price; `on` is the local time by which credits with dates count (None: they do not). Raises
    `Invalid` as `rate_plan` does.
    """
    priced = rate_plan(plan, quantities, usage)
    lines = [_line(price, rated) for price, rated in priced]
    credits: dict[str, Money] = {}
    for line in lines:
        if line.settled:
            drawn = Money(line.amount, line.asset)
            credits[line.asset] = credits.get(line.asset, Money(ZERO, line.asset)) + drawn
    drawn_by = [
        (price.asset, price.meter, rated.amount)
        for price, rated in priced
        if isinstance(price, UsagePrice) and price.settle == "wallet"
    ]
    covered = covers(plan, quantities, drawn_by, on)
    over = [_overage_line(plan, cover) for cover in covered]
    lines += [one for one in over if one is not None]
    subtotal = sum((line.amount for line in lines if not line.settled), ZERO)
    discount = ZERO
    if plan.discount is not None:
        discount = amount_off(plan.discount, subtotal, minor_digits(plan.currency))
    true_up = _minimum_line(plan, subtotal - discount)
    if true_up is not None:
        lines.append(true_up)
        subtotal += true_up.amount
    return Preview(
        plan.currency, tuple(lines), tuple(credits.values()), subtotal, discount,
        subtotal - discount, covered,
    )  # fmt: skip


def _line(price: Price, rated: Rated) -> PreviewLine:
    settled = isinstance(price, UsagePrice) and price.settle == "wallet"
    amount = rated.amount
    if not settled:
        amount = round_to_minor(Money(amount, price.asset), minor_digits(price.asset))[0].amount
    rate = dict(rated.rate) if rated.rate is not None else None
    return PreviewLine(
        price.key, rated.description, price.asset, settled, rate, rated.quantity, amount,
        rated.amount, rated.steps,
    )  # fmt: skip


def _overage_line(plan: Plan, cover: Cover) -> PreviewLine | None:
    """What the units past the plan's credits cost; None where they have no price."""
    unit_price = plan.unit_price(cover.asset)
    if unit_price is None or cover.overage == ZERO:
        return None
    line = overage_line(plan, cover.asset, cover.overage, unit_price, _NO_PERIOD)
    return PreviewLine(
        price=None, description=line.description, asset=line.asset, settled=False, rate=None,
        quantity=line.quantity, amount=line.amount, exact=line.exact, steps=line.steps,
    )  # fmt: skip


def _minimum_line(plan: Plan, covered: Decimal) -> PreviewLine | None:
    """The true-up to the plan's minimum; None where nothing is missing."""
    if plan.minimum is None or covered >= plan.minimum:
        return None
    exact = plan.minimum - covered
    amount = round_to_minor(Money(exact, plan.currency), minor_digits(plan.currency))[0].amount
    if amount == ZERO:
        return None
    steps = (
        Step(f"minimum of {format_decimal(plan.minimum)}", None, None, plan.minimum),
        Step("fees and usage of the period", None, None, -covered),
    )
    return PreviewLine(
        price=None, description=f"{plan.name}: minimum", asset=plan.currency, settled=False,
        rate=None, quantity=ONE, amount=amount, exact=exact, steps=steps,
    )  # fmt: skip


def usage_of(
    plan: Plan, meters: Sequence[Meter], events: Sequence[SampleEvent], timezone: str = "UTC"
) -> tuple[dict[str, Usage], list[Fault]]:
    """What the plan's usage prices are given by these events, by price key, and which events
    would be quarantined instead. Their order is that of their time: of a `latest` meter the last
    event in the list counts. They all fall on one day. A level is held for the whole period: also
    the last one, or all changes of a signed meter together.
    """
    prices = [price for price in plan.prices if isinstance(price, UsagePrice)]
    folds = {
        price.key: _PriceFold(price, price.period or plan.period, meters, timezone)
        for price in prices
    }
    faults = []
    for index, event in enumerate(events):
        of_type = [meter for meter in meters if meter.event_type == event.type]
        try:
            readings = _read(of_type, folds.values(), event)
        except Unreadable as unreadable:
            faults.append(Fault(index, str(unreadable)))
            continue
        for fold, values, value in readings:
            fold.add(values, value, event.count)
    return {key: fold.usage() for key, fold in folds.items()}, faults


_Reading = tuple["_PriceFold", tuple[str, ...], Value]


def _read(
    meters: Sequence[Meter], folds: Iterable["_PriceFold"], event: SampleEvent
) -> list[_Reading]:
    """What the event adds to each price. Raises `Unreadable` where it would be quarantined."""
    if not meters:
        raise Unreadable(NO_METER)
    readings: list[_Reading] = []
    for meter in meters:
        if not counts(meter, event.data):
            continue
        values = dimension_values(meter, event.data)
        value = metered_value(meter, event.data)
        for fold in folds:
            if fold.meter is meter:
                readings += [(fold, *one) for one in fold.read(event.data, values, value)]
    return readings


class _PriceFold:
    """What sample events come to for one price."""

    def __init__(
        self, price: UsagePrice, period: PeriodUnit, meters: Sequence[Meter], timezone: str
    ) -> None:  # fmt: skip
        self.meter = next((meter for meter in meters if meter.key == price.meter), None)
        dimensions = self.meter.dimensions if self.meter else ()
        self._price = price
        is_held = self.meter is not None and self.meter.is_level and self.meter.over is None
        self._hours = HOURS[period] if is_held else ONE
        self._measure = event_price(price, dimensions, timezone)
        self._names = dimensions if self._measure is None else self._measure.names
        self._folds: dict[tuple[str, ...], _Fold] = {}
        self._free = FreePart(price.model) if isinstance(price.model, Percentage) else None

    def read(
        self, data: Mapping[str, Any], values: tuple[str, ...], value: Value
    ) -> Sequence[tuple[tuple[str, ...], Value]]:
        """What one event adds, by the dimensions of the price."""
        if self._measure is not None:
            return self._measure.read(data, _ONE_DAY, values, value)
        model = self._price.model
        if isinstance(model, Dimensional):
            if match_rate(model, dict(zip(self._names, values, strict=True))) is None:
                raise Unreadable(UNMATCHED_DIMENSION)
        return ((values, value),)

    def add(self, values: tuple[str, ...], value: Value, count: int) -> None:
        """Fold `count` equal readings in."""
        assert self.meter is not None, "only a meter reads"
        self._folds.setdefault(values, _Fold()).add(self.meter, value, count)
        if self._free is not None and not dict(zip(self._names, values, strict=True)).get(FEE):
            for _ in range(count):
                if self._free.done:
                    break
                self._free.add(Decimal(value))

    def usage(self) -> Usage:
        """The totals, and what is free of fees."""
        found: list[tuple[Mapping[str, str], Decimal]] = [
            (dict(zip(self._names, values, strict=True)), fold.quantity * self._hours)
            for values, fold in self._folds.items()
        ]
        if self._free is not None and self._free.fees:
            found.append(({FEE: FREE}, self._free.fees))
        return found


_ONE_DAY = datetime(2000, 1, 1, 12, tzinfo=UTC)


class _Fold:
    """The quantity of sample events, as `Tally` folds single ones."""

    __slots__ = ("_members", "_seen", "_values", "quantity")

    def __init__(self) -> None:
        self.quantity = ZERO
        self._seen = False
        self._members: set[str] = set()
        self._values: Counter[Decimal | int] = Counter()

    def add(self, meter: Meter, value: Value, count: int) -> None:
        """Fold `count` equal values in."""
        if meter.aggregation == "unique":
            self._members.add(str(value))
            self.quantity = Decimal(len(self._members))
            return
        assert not isinstance(value, str)
        number = Decimal(value)
        if meter.percentile is not None:
            self._values[number] += count
            self.quantity = nearest_rank(self._values, meter.percentile)
            return
        match meter.aggregation:
            case "count" | "sum":
                self.quantity += number * count
            case "weighted_sum" if meter.signed:
                self.quantity += number * count
            case "max" if self._seen:
                self.quantity = max(self.quantity, number)
            case "min" if self._seen:
                self.quantity = min(self.quantity, number)
            case _:
                self.quantity = number
        self._seen = True
