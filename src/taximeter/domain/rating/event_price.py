"""What a price needs to know of single events: which multipliers hold for each, which rate takes
it, on which day it fell, and what it costs by itself.

Owns the measuring of one event for one price. The quantities that it gives are kept apart by
reserved dimensions; how they are rated is rate.py. A price that needs none of this is read by its
meter alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from taximeter.domain.catalog.plan import (
    CostPlus,
    Dimensional,
    Dynamic,
    Percentage,
    RateModel,
    UsagePrice,
)
from taximeter.domain.metering.event_cost import event_cost, number_of
from taximeter.domain.metering.fold import (
    MISSING_VALUE,
    NEGATIVE_VALUE,
    NON_NUMERIC_VALUE,
    Unreadable,
    Value,
    property_at,
    text_of,
)
from taximeter.domain.metering.reserved import DAY, FEE, OTHERWISE, RATE, WHEN
from taximeter.domain.rating.condition import holds
from taximeter.domain.rating.dimensional import match_rate, rate_model
from taximeter.domain.rating.percentage import event_fee
from taximeter.domain.rating.step import percent_of
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import to_local

UNMATCHED_DIMENSION = "unmatched_dimension"
MISSING_COST = "missing_cost"
INVALID_COST = "invalid_cost"
OTHER_ASSET_COST = "other_asset_cost"

# Values of dimensions, in the order of `EventPrice.names`, and the quantity that stands there.
Measured = tuple[tuple[str, ...], Decimal | int]


@dataclass(frozen=True, slots=True)
class EventPrice:
    """How the events of one meter are measured for one price. `dimensions` are the meter's;
    `names` those of what is measured: the meter's, then the reserved ones that the price needs.
    """

    price: UsagePrice
    dimensions: tuple[str, ...]
    timezone: str
    names: tuple[str, ...]

    def read(
        self, data: Mapping[str, Any], at: datetime, values: tuple[str, ...], value: Value
    ) -> tuple[Measured, ...]:
        """What an event at `at` adds, of whose `data` the meter has read `values` and `value`:
        its units, and its fee where it has one.

        Raises `Unreadable` where no rate takes it, or what it costs cannot be read in it.
        """
        assert not isinstance(value, str), "distinct values are not measured one by one"
        price, model = self.price, self.price.model
        apart: dict[str, str] = {}
        if isinstance(model, Dimensional):
            known = dict(zip(self.dimensions, values, strict=True))
            index, of_rate = _rate_of(model, data if model.by_event else known)
            if model.by_event:
                apart[RATE] = index
        else:
            of_rate = model
        if price.multipliers:
            named = {
                one.name: text_of(property_at(data, one.name))
                for multiplier in price.multipliers
                for one in multiplier.when
            }
            apart[WHEN] = when_of(price, named)
        if price.maximum_per_day is not None:
            apart[DAY] = to_local(at, self.timezone).date().isoformat()
        extra = self.names[len(self.dimensions) :]
        units = (values + tuple(apart.get(name, "") for name in extra), value)
        fee = fee_of(of_rate, data, Decimal(value), price.asset)
        if fee is None:
            return (units,)
        apart[FEE] = "1"
        return units, (values + tuple(apart.get(name, "") for name in extra), fee)


def event_price(price: UsagePrice, dimensions: tuple[str, ...], timezone: str) -> EventPrice | None:
    """How events are measured for `price`; None where the meter's own totals are enough."""
    model = price.model
    extra = []
    if isinstance(model, Dimensional) and model.by_event:
        extra.append(RATE)
    if price.multipliers:
        extra.append(WHEN)
    if price.maximum_per_day is not None:
        extra.append(DAY)
    if price.with_fees:
        extra.append(FEE)
    if not extra:
        return None
    return EventPrice(price, dimensions, timezone, (*dimensions, *extra))


def needs_adding(price: UsagePrice) -> bool:
    """Whether the price's meter has to sum or count: it bills outcomes or single events, or is
    rated together with others.
    """
    measured = event_price(price, (), "UTC") is not None
    return measured or bool(price.group) or price.outcome is not None


def _rate_of(model: Dimensional, data: Mapping[str, Any]) -> tuple[str, RateModel | None]:
    """The rate that takes the event, as the total's dimension names it, and its model."""
    texts = {name: text_of(property_at(data, name)) or "" for name in model.dimensions}
    found = match_rate(model, texts)
    if found is None:
        raise Unreadable(UNMATCHED_DIMENSION)
    return (OTHERWISE if found == OTHERWISE else str(found)), rate_model(model, found)


def when_of(price: UsagePrice, properties: Mapping[str, str | None]) -> str:
    """Which of the price's multipliers hold for these properties, as the dimension says it."""
    return ",".join(
        str(index)
        for index, multiplier in enumerate(price.multipliers)
        if all(holds(one, properties.get(one.name)) for one in multiplier.when)
    )


def fee_of(
    model: RateModel | None, data: Mapping[str, Any], value: Decimal, asset: str
) -> Decimal | None:
    """The fee of one event under a model of single events; None under any other.

    Raises `Unreadable` where the event does not carry what the model asks for.
    """
    if isinstance(model, Percentage) and model.by_event:
        return event_fee(model, value)
    if isinstance(model, CostPlus):
        cost = _cost_of(data, asset)
        return cost + percent_of(model.markup_percent, cost) + model.markup_fixed
    if isinstance(model, Dynamic):
        carried = number_of(property_at(data, model.value))
        if carried is None:
            missing = property_at(data, model.value) is None
            raise Unreadable(MISSING_VALUE if missing else NON_NUMERIC_VALUE)
        if carried < ZERO:
            raise Unreadable(NEGATIVE_VALUE)
        return carried * model.factor
    return None


def _cost_of(data: Mapping[str, Any], asset: str) -> Decimal:
    """The event's own cost: a number in the price's asset, or an amount that names its asset."""
    cost = event_cost(data)
    if cost is None:
        raise Unreadable(MISSING_COST)
    if cost.asset not in (None, asset):
        raise Unreadable(OTHER_ASSET_COST)
    if cost.amount is None:
        raise Unreadable(INVALID_COST)
    return cost.amount
