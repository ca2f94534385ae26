"""Reading the prices of a plan document: fees, seats and usage.

Owns the grammar of a price and what its fields allow each other; its model is model_document.py,
what prices ask of each other price_group.py.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.condition_document import read_conditions
from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.catalog.discount_document import read_discount
from taximeter.domain.catalog.fields import Fields, shown
from taximeter.domain.catalog.model_document import (
    MODEL_FIELDS,
    read_seat_model,
    read_usage_model,
)
from taximeter.domain.catalog.outcome_document import read_outcome
from taximeter.domain.catalog.plan import (
    CostPlus,
    Dimensional,
    Discount,
    Dynamic,
    FlatPrice,
    Multiplier,
    Percentage,
    PerUnit,
    Price,
    SeatPrice,
    Settle,
    ShareOf,
    Timing,
    UsageModel,
    UsagePrice,
)
from taximeter.domain.catalog.price_group import link_prices
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import PERIOD_UNITS, PeriodUnit

PRICES_MAX = 500
MULTIPLIERS_MAX = 10

_PRICE_TYPES: tuple[Literal["flat", "seat", "usage"], ...] = ("flat", "seat", "usage")
_TIMINGS: tuple[Timing, ...] = ("advance", "arrears")
_SETTLES: tuple[Settle, ...] = ("invoice", "wallet")
_PRICE_NOT_BUILT = ("tax_category",)
_PRICE_FIELDS = MODEL_FIELDS | {
    "timing": "flat and seat prices (usage is billed in arrears)",
    "meter": "usage prices",
    "settle": "usage prices",
    "included": "usage prices (free seats are a graduated tier at unit 0)",
    "multipliers": "usage prices",
    "pool": "usage prices",
    "maximum": "usage prices",
    "maximum_per_day": "usage prices",
    "minimum": "usage prices and to the plan",
    "outcome": "usage prices",
    "model": "seat and usage prices",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What a price needs to know of its plan; None where the plan itself is in error."""

    currency: str | None
    period: PeriodUnit | None


@dataclass(frozen=True, slots=True)
class _Common:
    """What every kind of price has."""

    key: str
    name: str
    asset: str
    period: PeriodUnit | None
    discount: Discount | None


def read_prices(fields: Fields, frame: Frame) -> tuple[Price, ...]:
    """The prices of a plan, in the order written; those in error are left out."""
    prices: dict[str, Price] = {}
    first_with: dict[str, str] = {}
    for at, price_fields in fields.nested_list("prices", count_max=PRICES_MAX):
        key = price_fields.key("key")
        if key is not None and key in first_with:
            detail = f"{first_with[key]} has this key already. Say another."
            fields.fail(f"{at}.key", "duplicate", detail)
        elif key is not None:
            first_with[key] = at
        price = _read_price(price_fields, key, frame)
        if price is not None:
            prices[at] = price
    return link_prices(fields, prices)


def _read_price(fields: Fields, key: str | None, frame: Frame) -> Price | None:
    kind = fields.choice("type", _PRICE_TYPES)
    settle: Settle | None = "invoice"
    if kind == "usage":
        settle = fields.choice("settle", _SETTLES, default="invoice")
    common = _read_common(fields, key, frame, settle)
    price: Price | None = None
    if kind == "flat":
        price = _read_flat(fields, common)
    elif kind == "seat":
        price = _read_seat(fields, common)
    elif kind == "usage":
        price = _read_usage(fields, common, settle)
    else:
        fields.ignore(_PRICE_FIELDS)
    fields.done(not_built=_PRICE_NOT_BUILT, belongs=_PRICE_FIELDS)
    return price


def _read_common(
    fields: Fields, key: str | None, frame: Frame, settle: Settle | None
) -> _Common | None:
    name = fields.text("name", default=key or "")
    asset = _read_asset(fields, frame.currency, settle)
    period = fields.choice("period", PERIOD_UNITS, default=frame.period or "month")
    discount = read_discount(fields)
    if key is None or name is None or asset is None:
        return None
    own_period = period if period != frame.period else None
    return _Common(key, name or key, asset, own_period, discount)


def _read_asset(fields: Fields, currency: str | None, settle: Settle | None) -> str | None:
    """What the price is counted in: the plan's currency, or a credit unit drawn from a wallet."""
    asset = fields.key("asset", default=currency or "")
    if not asset or currency is None or asset == currency:
        return asset
    if is_currency(asset):
        detail = f"An invoice has one currency. Say {currency}, or a credit unit of your own."
        fields.fail("asset", "other_currency", detail)
    elif asset.upper() == currency:
        fields.fail("asset", "unknown_currency", f"Currencies are in capitals. Say {currency}.")
    elif settle == "invoice":
        detail = (
            f"{shown(asset)} is a credit unit, which is drawn from a wallet. Say settle: wallet "
            f"(usage prices), or asset: {currency}."
        )
        fields.fail("asset", "credit_unit_on_invoice", detail)
    return asset


def _read_flat(fields: Fields, common: _Common | None) -> FlatPrice | None:
    amount = fields.number("amount")
    timing = fields.choice("timing", _TIMINGS, default="advance")
    if common is None or amount is None or timing is None:
        return None
    return FlatPrice(
        key=common.key,
        name=common.name,
        asset=common.asset,
        amount=amount,
        timing=timing,
        period=common.period,
        discount=common.discount,
    )


def _read_seat(fields: Fields, common: _Common | None) -> SeatPrice | None:
    model = read_seat_model(fields)
    timing = fields.choice("timing", _TIMINGS, default="advance")
    if common is None or model is None or timing is None:
        return None
    return SeatPrice(
        key=common.key,
        name=common.name,
        asset=common.asset,
        model=model,
        timing=timing,
        period=common.period,
        discount=common.discount,
    )


def _read_usage(fields: Fields, common: _Common | None, settle: Settle | None) -> UsagePrice | None:
    meter = fields.key("meter", cure="the key of a meter")
    model = read_usage_model(fields)
    included = _read_included(fields, model)
    multipliers = _read_multipliers(fields, model)
    pool = fields.key("pool", default="")
    per_day = fields.number("maximum_per_day", optional=True)
    maximum = fields.number("maximum", optional=True)
    minimum = fields.number("minimum", optional=True)
    if per_day is not None and pool:
        detail = "A day of one price has no place in a pool's ladder. Leave one of them out."
        fields.fail("maximum_per_day", "conflicting_fields", detail)
    if per_day is not None and isinstance(model, Percentage) and model.in_order:
        detail = "What is free first is known for the period, not for its days. Leave one out."
        fields.fail("maximum_per_day", "conflicting_fields", detail)
    if maximum is not None and minimum is not None and maximum < minimum:
        fields.fail("maximum", "out_of_range", "This is below minimum. Say at least as much.")
    if fields.has("minimum") and settle == "wallet":
        detail = "A wallet is drawn as usage happens, so no period is topped up. Leave it out."
        fields.fail("minimum", "minimum_on_wallet", detail)
    if isinstance(model, Percentage) and model.in_order and settle == "wallet":
        detail = (
            "Which events are free is settled by their time at the period's end, and a wallet "
            "is drawn at once. Say settle: invoice, or only percent and free_amount."
        )
        fields.fail("settle", "free_on_wallet", detail)
    outcome = read_outcome(fields)
    if outcome is not None and isinstance(model, Percentage) and model.in_order:
        detail = (
            "Which events are free is settled by their time, and outcomes are confirmed in another "
            "order. Leave it out, or say only percent and free_amount."
        )
        fields.fail("outcome", "conflicting_fields", detail)
    if fields.take("timing") not in (None, "arrears"):
        fields.fail("timing", "invalid_choice", "Usage is billed in arrears. Leave it out.")
    if common is None or meter is None or model is None or settle is None or included is None:
        return None
    return UsagePrice(
        key=common.key,
        name=common.name,
        asset=common.asset,
        meter=meter,
        model=model,
        settle=settle,
        period=common.period,
        included=included,
        discount=common.discount,
        maximum=maximum,
        minimum=minimum,
        outcome=outcome,
        maximum_per_day=per_day,
        multipliers=multipliers,
        pool=pool or None,
    )


def _read_included(fields: Fields, model: UsageModel | None) -> Decimal | ShareOf | None:
    """Units that are free in each period: a number, or a share of what another price counts."""
    raw = fields.take("included")
    nested = fields.within("included", raw)
    if raw is not None and isinstance(model, Percentage | CostPlus | Dynamic):
        detail = "This model prices events, not units, so no unit of it is free. Leave it out."
        fields.fail("included", "included_without_units", detail)
    if nested is None:
        return fields.number("included", default=ZERO)
    percent, price = nested.number("percent"), nested.key("of", cure="the key of a usage price")
    nested.done()
    return None if percent is None or price is None else ShareOf(percent, price)


def _read_multipliers(fields: Fields, model: UsageModel | None) -> tuple[Multiplier, ...]:
    found = []
    if not fields.has("multipliers"):
        return ()
    for _, nested in fields.nested_list("multipliers", count_max=MULTIPLIERS_MAX):
        conditions = (condition for _, condition in read_conditions(nested, "when"))
        when = tuple(sorted(conditions, key=lambda one: one.name))  # their order means nothing
        factor = nested.number("factor")
        nested.done()
        if when and factor is not None:
            found.append(Multiplier(when, factor))
    if model is not None and not _takes_multipliers(model):
        detail = (
            "A multiplier needs a price at which each unit costs the same: per_unit, cost_plus, "
            "dynamic, or dimensional with only these."
        )
        fields.fail("multipliers", "multipliers_on_tiers", detail)
    return tuple(found)


def _takes_multipliers(model: UsageModel) -> bool:
    if isinstance(model, Dimensional):
        others = () if isinstance(model.otherwise, str) else (model.otherwise,)
        return all(_takes_multipliers(one) for one in (*(r.model for r in model.rates), *others))
    return isinstance(model, PerUnit | CostPlus | Dynamic)
