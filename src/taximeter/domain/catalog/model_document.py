"""Reading a price's model from the seller's document: per_unit to dimensional and dynamic.

Owns the grammar and the checks of models and tiers. What they cost is domain/rating.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.condition_document import read_conditions
from taximeter.domain.catalog.fields import Fields, shown
from taximeter.domain.catalog.meter import OTHER
from taximeter.domain.catalog.plan import (
    Condition,
    CostPlus,
    Dimensional,
    Dynamic,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentTier,
    PerUnit,
    QuantityModel,
    Rate,
    RateModel,
    Stairstep,
    Tier,
    UsageModel,
    Volume,
)
from taximeter.kernel.quantity import ONE, ZERO, format_decimal

ModelName = Literal[
    "per_unit",
    "package",
    "graduated",
    "volume",
    "stairstep",
    "percentage",
    "graduated_percentage",
    "cost_plus",
    "dynamic",
    "dimensional",
]

TIERS_MAX = 1000
RATES_MAX = 1000
DIMENSIONS_MAX = 20
FREE_EVENTS_MAX = 10_000
SEAT_MODELS: tuple[ModelName, ...] = (
    "per_unit",
    "package",
    "graduated",
    "volume",
    "stairstep",
)
RATE_MODELS: tuple[ModelName, ...] = (
    *SEAT_MODELS,
    "percentage",
    "graduated_percentage",
    "cost_plus",
    "dynamic",
)
USAGE_MODELS: tuple[ModelName, ...] = (*RATE_MODELS, "dimensional")
MODEL_FIELDS = {
    "unit": "the model per_unit, and to tiers",
    "per": "the model per_unit, and to tiers",
    "amount": "a flat price, and to the model package",
    "size": "the model package, and to tiers",
    "free": "the model package",
    "tiers": "the models graduated, volume, stairstep and graduated_percentage",
    "dimensions": "the model dimensional of a usage price",
    "rates": "the model dimensional of a usage price",
    "otherwise": "the model dimensional of a usage price",
    "percent": "the model percentage",
    "fixed": "the model percentage",
    "free_events": "the model percentage",
    "free_amount": "the model percentage",
    "min_per_event": "the model percentage",
    "max_per_event": "the model percentage",
    "markup_percent": "the model cost_plus",
    "markup_fixed": "the model cost_plus",
    "value": "the model dynamic",
    "factor": "the model dynamic",
}


def read_usage_model(fields: Fields) -> UsageModel | None:
    """The model of a usage price; None where an error was noted."""
    name = fields.choice("model", USAGE_MODELS)
    return _read_dimensional(fields) if name == "dimensional" else _read_named(fields, name)


def read_seat_model(fields: Fields) -> QuantityModel | None:
    """The model of a seat price; None where an error was noted."""
    model = _read_named(fields, fields.choice("model", SEAT_MODELS))
    assert not isinstance(model, CostPlus | Dynamic), "seats have no events"
    return model


def _read_rate_model(fields: Fields) -> RateModel | None:
    """The model of a rate. What is free first depends on all events of the price, so a rate's
    percentage has no such allowance.
    """
    model = _read_named(fields, fields.choice("model", RATE_MODELS, default="per_unit"))
    if isinstance(model, Percentage) and (model.free_events or model.free_amount):
        name = "free_events" if model.free_events else "free_amount"
        detail = "A rate cannot tell what came first. Leave it out, or use a price of its own."
        fields.fail(name, "free_in_rate", detail)
    return model


def _read_named(fields: Fields, name: ModelName | None) -> RateModel | None:
    match name:
        case "per_unit":
            return _read_per_unit(fields)
        case "package":
            return _read_package(fields)
        case "graduated":
            graduated = _read_tiers(fields)
            return Graduated(graduated) if graduated else None
        case "volume":
            volume = _read_tiers(fields)
            return Volume(volume) if volume else None
        case "stairstep":
            steps = _read_tiers(fields, flat_only=True)
            return Stairstep(steps) if steps else None
        case "percentage":
            return _read_percentage(fields)
        case "graduated_percentage":
            return _read_percent_tiers(fields)
        case "cost_plus":
            return _read_cost_plus(fields)
        case "dynamic":
            return _read_dynamic(fields)
        case _:
            fields.ignore(MODEL_FIELDS)
            return None


def _read_percentage(fields: Fields) -> Percentage | None:
    percent = fields.number("percent")
    fixed = fields.number("fixed", default=ZERO)
    free_events = fields.number("free_events", default=ZERO)
    free_amount = fields.number("free_amount", default=ZERO)
    least = fields.number("min_per_event", optional=True)
    most = fields.number("max_per_event", optional=True)
    if least is not None and most is not None and most < least:
        detail = "This is below min_per_event. Say at least as much."
        fields.fail("max_per_event", "out_of_range", detail)
    if free_events is not None and (free_events > FREE_EVENTS_MAX or free_events % 1 != ZERO):
        detail = f"Say a whole number of events of at most {FREE_EVENTS_MAX}."
        fields.fail("free_events", "out_of_range", detail)
        return None
    if percent is None or fixed is None or free_events is None or free_amount is None:
        return None
    return Percentage(percent, fixed, int(free_events), free_amount, least, most)


def _read_percent_tiers(fields: Fields) -> GraduatedPercentage | None:
    tiers = []
    for at, tier_fields, up_to in _read_bounds(fields):
        if not tier_fields.has("percent") and not tier_fields.has("flat"):
            detail = 'This tier has no price. Say percent, flat, or percent: "0" where it is free.'
            fields.fail(f"{at}.percent", "required", detail)
        percent = tier_fields.number("percent", default=ZERO)
        flat = tier_fields.number("flat", default=ZERO)
        tier_fields.done(belongs={"unit": "graduated and volume tiers"})
        if percent is not None and flat is not None:
            tiers.append(PercentTier(up_to, percent, flat))
    return GraduatedPercentage(tuple(tiers)) if tiers else None


def _read_cost_plus(fields: Fields) -> CostPlus | None:
    percent = fields.number("markup_percent", default=ZERO)
    fixed = fields.number("markup_fixed", default=ZERO)
    return None if percent is None or fixed is None else CostPlus(percent, fixed)


def _read_dynamic(fields: Fields) -> Dynamic | None:
    value = fields.event_property("value")
    factor = fields.number("factor", default=ONE)
    return None if value is None or factor is None else Dynamic(value, factor)


def _read_per_unit(fields: Fields) -> PerUnit | None:
    unit = fields.number("unit")
    per = fields.number("per", default=ONE, positive=True)
    return None if unit is None or per is None else PerUnit(unit, per)


def _read_package(fields: Fields) -> Package | None:
    amount = fields.number("amount")
    size = fields.number("size", positive=True)
    free = fields.number("free", default=ZERO)
    if amount is None or size is None or free is None:
        return None
    return Package(amount, size, free)


def _read_tiers(fields: Fields, *, flat_only: bool = False) -> tuple[Tier, ...]:
    """The tiers; empty where an error was noted.

    Bounds ascend strictly. The last tier may have a bound too: it then says up to where the
    seller publishes prices, and use beyond it goes on at the last tier's price (rating, policy 8:
    what was used is charged). A tier without `unit` and `flat` is refused: missing is not zero.
    """
    tiers: list[Tier] = []
    for _, tier_fields, up_to in _read_bounds(fields):
        tier = _read_tier(tier_fields, up_to, flat_only=flat_only)
        if tier is not None:
            tiers.append(tier)
    return tuple(tiers)


def _read_bounds(fields: Fields) -> Iterator[tuple[str, Fields, Decimal | None]]:
    """Each tier with its place, its fields, and its bound, which was checked."""
    bound = ZERO
    endless: str | None = None
    for at, tier_fields in fields.nested_list("tiers", count_max=TIERS_MAX):
        if endless is not None:
            detail = "Only the last tier is without end. Say up to which quantity this one goes."
            fields.fail(f"{endless}.up_to", "required", detail)
        up_to = tier_fields.number("up_to", optional=True, positive=True)
        if up_to is not None and up_to <= bound:
            detail = f"Bounds must ascend. Say more than {format_decimal(bound)}, the one before."
            fields.fail(f"{at}.up_to", "tier_order", detail)
        endless = None if tier_fields.has("up_to") else at
        bound = up_to or bound
        yield at, tier_fields, up_to


def _read_tier(fields: Fields, up_to: Decimal | None, *, flat_only: bool) -> Tier | None:
    unit: Decimal | None = ZERO
    per: Decimal | None = ONE
    if flat_only:
        flat = fields.number("flat")
        fields.done(
            belongs={
                "unit": "graduated and volume tiers",
                "per": "graduated tiers",
                "size": "graduated and volume tiers",
            }
        )
    else:
        if not fields.has("unit") and not fields.has("flat"):
            detail = 'This tier has no price. Say unit, flat, or unit: "0" where it is free.'
            fields.fail("unit", "required", detail)
        unit = fields.number("unit", default=ZERO)
        per = fields.number("per", default=ONE, positive=True)
        flat = fields.number("flat", default=ZERO)
        size = fields.number("size", optional=True, positive=True)
        if size is not None and fields.has("per"):
            detail = "The tier is sold in whole blocks of size, or by the unit. Say one of them."
            fields.fail("size", "conflicting_fields", detail)
        fields.done()
        if size is not None and unit is not None and flat is not None:
            return Tier(up_to, unit, size, flat, blocks=True)
    if unit is None or per is None or flat is None:
        return None
    return Tier(up_to, unit, per, flat)


def _read_dimensional(fields: Fields) -> Dimensional | None:
    dimensions = fields.event_properties("dimensions", count_max=DIMENSIONS_MAX, required=True)
    rates: list[Rate] = []
    first_with: dict[tuple[tuple[str, str], ...], str] = {}
    for at, rate_fields in fields.nested_list("rates", count_max=RATES_MAX):
        match, ranges = _read_match(rate_fields, dimensions)
        model = _read_rate_model(rate_fields)
        rate_fields.done(belongs=MODEL_FIELDS)
        if not match and not ranges:
            continue
        rate = Rate(match, model or _UNKNOWN, ranges)
        if rate.key in first_with:
            detail = f"It matches the same as {first_with[rate.key]}. Say each combination once."
            fields.fail(f"{at}.match", "duplicate", detail)
        first_with.setdefault(rate.key, at)
        if model is not None:
            rates.append(rate)
    otherwise = _read_otherwise(fields)
    return None if otherwise is None else Dimensional(dimensions, tuple(rates), otherwise)


_UNKNOWN = PerUnit(ZERO, ONE)


def _read_match(
    fields: Fields, dimensions: tuple[str, ...]
) -> tuple[tuple[tuple[str, str], ...], tuple[Condition, ...]]:
    """What a rate asks of dimensions: one value each, or a range of numbers. Sorted by name: their
    order means nothing.
    """
    match, ranges = [], []
    for at, condition in read_conditions(fields, "match"):
        if dimensions and condition.name not in dimensions:
            detail = f"{shown(condition.name)} is not among the price's dimensions. List it there."
            fields.fail(at, "unknown_dimension", detail)
        if len(condition.values) > 1:
            detail = "A rate asks for one value. Write a rate for each, or a range of numbers."
            fields.fail(at, "invalid_text", detail)
        elif condition.values == (OTHER,):
            detail = f"{OTHER} stands for values beyond a dimension's limit. Use otherwise."
            fields.fail(at, "invalid_text", detail)
        elif condition.values:
            match.append((condition.name, condition.values[0]))
        else:
            ranges.append(condition)
    ranges.sort(key=lambda one: one.name)
    return tuple(sorted(match)), tuple(ranges)


def _read_otherwise(fields: Fields) -> Literal["quarantine", "zero"] | RateModel | None:
    """What happens to usage that no rate matches; left out, it is set aside rather than free."""
    value = fields.take("otherwise")
    if value is None or value == "quarantine":
        return "quarantine"
    if value == "zero":
        return "zero"
    if isinstance(value, str):
        detail = f'{shown(value)} is unknown. Say quarantine, zero, or a model: {{unit: "0.70"}}.'
        fields.fail("otherwise", "invalid_choice", detail)
        return None
    nested = fields.nested("otherwise")
    if nested is None:
        return None
    model = _read_rate_model(nested)
    nested.done(belongs=MODEL_FIELDS)
    return model
