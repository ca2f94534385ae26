"""What quarantined usage may be worth: the money at stake while no rate takes it.

Owns the estimate. It prices the one event by itself, without allowances and multipliers, at the
rate that takes it, or where none does from the cheapest to the dearest of its price. Whoever wants
one figure takes the dearest: it errs on the side that somebody looks.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from taximeter.domain.catalog.plan import CostPlus, Dimensional, Dynamic, RateModel, UsagePrice
from taximeter.domain.metering.fold import (
    Unreadable,
    counts,
    metered_value,
    property_at,
    text_of,
)
from taximeter.domain.rating.dimensional import match_rate, rate_model
from taximeter.domain.rating.event_price import fee_of
from taximeter.domain.rating.model import model_amount
from taximeter.domain.subscription.routing import Routing
from taximeter.kernel.quantity import ZERO

Data: TypeAlias = Mapping[str, Any]


class Stake(NamedTuple):
    """What an event would cost under one price, in the price's asset: at most `amount`, and no less
    than `least`.
    """

    price: str
    asset: str
    amount: Decimal
    least: Decimal


def at_stake(routing: Routing, data: Data) -> tuple[Stake, ...]:
    """The stakes of an event that carries `data` under every price that it is routed to; a price
    that cannot read it has none, nor does usage that costs nothing.
    """
    return tuple(stake for stake in _stakes(routing, data) if stake.amount != ZERO)


def _stakes(routing: Routing, data: Data) -> Iterator[Stake]:
    for route in routing.meters:
        if route.meter.is_level or not counts(route.meter, data):
            continue
        try:
            value = metered_value(route.meter, data)
        except Unreadable:
            continue
        quantity = Decimal(1) if isinstance(value, str) else Decimal(value)
        for one in (route, *route.measured):
            for target in (*one.targets, *one.pending):
                yield _stake(target.price, data, quantity)


def _stake(price: UsagePrice, data: Data, quantity: Decimal) -> Stake:
    amounts = [_amount(model, price, data, quantity) for model in _models(price, data)]
    dearest, cheapest = max(amounts, default=ZERO), min(amounts, default=ZERO)
    return Stake(price.key, price.asset, dearest, cheapest)


def _models(price: UsagePrice, data: Data) -> list[RateModel]:
    """The model that takes the event, or of all that might the cheapest and the dearest."""
    model = price.model
    if not isinstance(model, Dimensional):
        return [model]
    texts = {name: text_of(property_at(data, name)) or "" for name in model.dimensions}
    match = match_rate(model, texts)
    if match is None:
        return list(model.extremes)
    found = rate_model(model, match)
    return [] if found is None else [found]


def _amount(model: RateModel, price: UsagePrice, data: Data, quantity: Decimal) -> Decimal:
    try:
        fee = fee_of(model, data, quantity, price.asset)
    except Unreadable:
        return ZERO
    if fee is not None:
        return fee
    assert not isinstance(model, CostPlus | Dynamic), "they have a fee"
    return model_amount(model, quantity)
