"""Reading a price's model from the seller's document: per_unit to dimensional.

Owns the grammar and the checks of models and tiers. What they cost is domain/rating.
"""

from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.fields import Fields, scalar_text, shown, shown_name
from taximeter.domain.catalog.plan import (
    Dimensional,
    Graduated,
    Package,
    PerUnit,
    QuantityModel,
    Rate,
    Stairstep,
    Tier,
    Volume,
)
from taximeter.kernel.quantity import ONE, ZERO, format_decimal

ModelName = Literal["per_unit", "package", "graduated", "volume", "stairstep", "dimensional"]

TIERS_MAX = 1000
RATES_MAX = 1000
DIMENSIONS_MAX = 20
QUANTITY_MODELS: tuple[ModelName, ...] = (
    "per_unit",
    "package",
    "graduated",
    "volume",
    "stairstep",
)
USAGE_MODELS: tuple[ModelName, ...] = (*QUANTITY_MODELS, "dimensional")
MODELS_NOT_BUILT = ("percentage", "graduated_percentage", "cost_plus", "dynamic")
MODEL_FIELDS = {
    "unit": "the model per_unit, and to tiers",
    "per": "the model per_unit, and to tiers",
    "amount": "a flat price, and to the model package",
    "size": "the model package",
    "free": "the model package",
    "tiers": "the models graduated, volume and stairstep",
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


def read_usage_model(fields: Fields) -> QuantityModel | Dimensional | None:
    """The model of a usage price; None where an error was noted."""
    name = fields.choice("model", USAGE_MODELS, not_built=MODELS_NOT_BUILT)
    return _read_dimensional(fields) if name == "dimensional" else _read_named(fields, name)


def read_seat_model(fields: Fields) -> QuantityModel | None:
    """The model of a seat price; None where an error was noted."""
    name = fields.choice("model", QUANTITY_MODELS, not_built=MODELS_NOT_BUILT)
    return _read_named(fields, name)


def _read_rate_model(fields: Fields) -> QuantityModel | None:
    name = fields.choice("model", QUANTITY_MODELS, default="per_unit", not_built=MODELS_NOT_BUILT)
    return _read_named(fields, name)


def _read_named(fields: Fields, name: ModelName | None) -> QuantityModel | None:
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
        case _:
            fields.ignore(MODEL_FIELDS)
            return None


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
        tier = _read_tier(tier_fields, up_to, flat_only=flat_only)
        if tier is not None:
            tiers.append(tier)
    return tuple(tiers)


def _read_tier(fields: Fields, up_to: Decimal | None, *, flat_only: bool) -> Tier | None:
    unit: Decimal | None = ZERO
    per: Decimal | None = ONE
    if flat_only:
        flat = fields.number("flat")
        fields.done(belongs={"unit": "graduated and volume tiers", "per": "graduated tiers"})
    else:
        if not fields.has("unit") and not fields.has("flat"):
            detail = 'This tier has no price. Say unit, flat, or unit: "0" where it is free.'
            fields.fail("unit", "required", detail)
        unit = fields.number("unit", default=ZERO)
        per = fields.number("per", default=ONE, positive=True)
        flat = fields.number("flat", default=ZERO)
        fields.done()
    if unit is None or per is None or flat is None:
        return None
    return Tier(up_to, unit, per, flat)


def _read_dimensional(fields: Fields) -> Dimensional | None:
    dimensions = fields.event_properties("dimensions", count_max=DIMENSIONS_MAX, required=True)
    rates: list[Rate] = []
    first_with: dict[tuple[tuple[str, str], ...], str] = {}
    for at, rate_fields in fields.nested_list("rates", count_max=RATES_MAX):
        match = _read_match(rate_fields, dimensions)
        model = _read_rate_model(rate_fields)
        rate_fields.done(belongs=MODEL_FIELDS)
        if match and match in first_with:
            detail = f"It matches the same as {first_with[match]}. Say each combination once."
            fields.fail(f"{at}.match", "duplicate", detail)
        first_with.setdefault(match, at)
        if match and model is not None:
            rates.append(Rate(match, model))
    otherwise = _read_otherwise(fields)
    return None if otherwise is None else Dimensional(dimensions, tuple(rates), otherwise)


def _read_match(fields: Fields, dimensions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The dimension values that a rate asks for, sorted by name: their order means nothing."""
    members = fields.entries("match", required=True)
    found = []
    for name, value in members.items():
        at = f"match.{shown_name(name)}"
        if dimensions and name not in dimensions:
            detail = f"{shown(name)} is not among the price's dimensions. List it there."
            fields.fail(at, "unknown_dimension", detail)
        text = scalar_text(value)
        if text is None:
            detail = "Say one text, whole number, true or false; a number with a point in quotes."
            fields.fail(at, "invalid_text", detail)
        else:
            found.append((name, text))
    return tuple(sorted(found))


def _read_otherwise(
    fields: Fields,
) -> Literal["quarantine", "zero"] | QuantityModel | None:
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
