"""The plan document as a JSON Schema: for editors, generators and the API's own description.

Owns what can be said without judgment: fields, kinds of values, choices, sizes. It takes whatever
the reader takes; the checks that decide are document.py's, and a test holds the two together.
"""

from collections.abc import Mapping
from typing import Any

from taximeter.domain.catalog.condition_document import BOUNDS
from taximeter.domain.catalog.credit_document import (
    ASSETS_MAX,
    CREDITS_MAX,
    PRIORITY_MAX,
    SCOPE_METERS_MAX,
)
from taximeter.domain.catalog.discount_document import MONTHS_MAX
from taximeter.domain.catalog.document import TRIAL_DAYS_MAX
from taximeter.domain.catalog.entitlement_document import (
    CONCURRENCY_MAX,
    ENTITLEMENTS_MAX,
    OVERAGES,
    RATE_PERS,
    WINDOWS,
)
from taximeter.domain.catalog.fields import INTEGER_MAX, KEY_PATTERN, TEXT_LENGTH_MAX
from taximeter.domain.catalog.margin_document import ENFORCEMENTS
from taximeter.domain.catalog.meter_schema import METERS_SCHEMA
from taximeter.domain.catalog.model_document import (
    DIMENSIONS_MAX,
    RATE_MODELS,
    RATES_MAX,
    TIERS_MAX,
    USAGE_MODELS,
)
from taximeter.domain.catalog.outcome_document import HUMAN_REVIEWS, RETRIES
from taximeter.domain.catalog.price_document import MULTIPLIERS_MAX, PRICES_MAX
from taximeter.kernel.quantity import DECIMAL_PATTERN
from taximeter.kernel.times import PERIOD_UNITS

Schema = dict[str, Any]


def fields_of(
    properties: Mapping[str, Schema], *, required: tuple[str, ...] = (), description: str = ""
) -> Schema:
    """An object with these fields and no others."""
    described = {"description": description} if description else {}
    return {
        "type": "object",
        **described,
        "required": list(required),
        "properties": dict(properties),
        "additionalProperties": False,
    }


def described(schema: Schema, text: str) -> Schema:
    """The schema, with what it means."""
    return {**schema, "description": text}


KEY: Schema = {"type": "string", "pattern": f"^{KEY_PATTERN}$"}
# A whole number may stand without quotes, where it is exact everywhere.
DECIMAL: Schema = {
    "type": ["string", "integer"],
    "pattern": DECIMAL_PATTERN,
    "minimum": 0,
    "maximum": INTEGER_MAX,
    "examples": ["0.05"],
}
TEXT: Schema = {"type": "string", "maxLength": TEXT_LENGTH_MAX}
PERIOD: Schema = {"enum": list(PERIOD_UNITS)}
DURATION: Schema = {"type": "string", "examples": ["PT1H", "P30D"]}
_SCALAR: Schema = {"type": ["string", "integer", "boolean"]}
_LOCAL: Schema = {"type": "string", "examples": ["2026-06-01"]}
_RANGE: Schema = fields_of(dict.fromkeys(BOUNDS, DECIMAL))
_CONDITIONS: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "anyOf": [_SCALAR, {"type": "array", "minItems": 1, "items": _SCALAR}, _RANGE]
    },
}
_TIER: Schema = fields_of(
    {
        "up_to": described(DECIMAL, "The tier's last unit; left out: without end"),
        "unit": described(DECIMAL, "The price of `per` units"),
        "per": described(DECIMAL, "So many units are what `unit` prices; 1 unless said"),
        "size": described(DECIMAL, "In place of `per`: sold in whole blocks of so many units"),
        "percent": described(DECIMAL, "Of the amount, in the model graduated_percentage"),
        "flat": described(DECIMAL, "A fee, once when the tier is entered"),
    }
)
_MODEL: Schema = {
    "unit": described(DECIMAL, "The price of `per` units"),
    "per": described(DECIMAL, "So many units are what `unit` prices; 1 unless said"),
    "amount": described(DECIMAL, "The fee of a flat price; the price of each package begun"),
    "size": described(DECIMAL, "Units in a package"),
    "free": described(DECIMAL, "Units free of charge, before packages"),
    "tiers": {
        "type": "array", "minItems": 1, "maxItems": TIERS_MAX, "items": _TIER,
        "description": "In ascending order; the last may be without end",
    },
    "percent": described(DECIMAL, "Percent of the amount that an event carries"),
    "fixed": described(DECIMAL, "For each event"),
    "free_events": described(DECIMAL, "So many events of the period are free"),
    "free_amount": described(DECIMAL, "So much of the amounts of the period is free"),
    "min_per_event": described(DECIMAL, "At least this for an event"),
    "max_per_event": described(DECIMAL, "At most this for an event"),
    "markup_percent": described(DECIMAL, "Percent on top of an event's cost"),
    "markup_fixed": described(DECIMAL, "On top of an event's cost"),
    "value": {"type": "string", "description": "The property that carries an event's price"},
    "factor": described(DECIMAL, "What that price is multiplied by"),
}  # fmt: skip
_RATE_MODEL: Schema = {"model": {"enum": list(RATE_MODELS)}, **_MODEL}
_RATE: Schema = fields_of(
    {"match": described(_CONDITIONS, "The dimension values that it asks for"), **_RATE_MODEL},
    required=("match",),
)
_DISCOUNT: Schema = fields_of(
    {"percent": DECIMAL, "amount": DECIMAL}, description="Off the price: `percent` or `amount`"
)
INVOICE_DISCOUNT: Schema = {
    **fields_of(
        {
            "percent": DECIMAL,
            "amount": DECIMAL,
            "months": {"type": ["integer", "string"], "minimum": 1, "maximum": MONTHS_MAX},
        }
    ),
    "examples": [{"percent": "20", "months": 3}],
}
_OUTCOME: Schema = fields_of(
    {
        "auto_confirm_after": DURATION,
        "reversible_for": DURATION,
        "retries": {"enum": list(RETRIES)},
        "human_review": {"enum": list(HUMAN_REVIEWS)},
    },
    description="Billed only once its outcome is confirmed",
)
_SHARE: Schema = fields_of({"percent": DECIMAL, "of": KEY}, required=("percent", "of"))
_PRICE: Schema = fields_of(
    {
        "key": described(KEY, "Its name in the API"),
        "type": {"enum": ["flat", "seat", "usage"]},
        "name": described(TEXT, "What invoices print"),
        "meter": described(KEY, "The meter whose quantity is priced"),
        "model": {"enum": list(USAGE_MODELS), "description": "How a quantity becomes an amount"},
        **_MODEL,
        "dimensions": {
            "type": "array", "minItems": 1, "maxItems": DIMENSIONS_MAX,
            "items": {"type": "string"},
            "description": "The properties of the event that tell usage apart",
        },
        "rates": {"type": "array", "minItems": 1, "maxItems": RATES_MAX, "items": _RATE},
        "otherwise": {
            "anyOf": [{"enum": ["quarantine", "zero"]}, fields_of(_RATE_MODEL)],
            "description": "What becomes of usage that no rate matches",
        },
        "timing": {
            "enum": ["advance", "arrears"], "description": "Billed before or after the period",
        },
        "settle": {
            "enum": ["invoice", "wallet"], "description": "Where it is paid",
        },
        "asset": described(KEY, "What it is counted in: the plan's currency unless said"),
        "period": described(PERIOD, "The price's own, where it differs from the plan's"),
        "included": {
            "anyOf": [DECIMAL, _SHARE],
            "description": "Units free in each period, before the model: a number, or a share of "
            "what another price counts",
        },
        "multipliers": {
            "type": "array", "minItems": 1, "maxItems": MULTIPLIERS_MAX,
            "items": fields_of(
                {"when": _CONDITIONS, "factor": DECIMAL}, required=("when", "factor")
            ),
            "description": "On the amount of the events that match, in the order written",
        },
        "pool": described(KEY, "Prices of one pool fill one ladder of tiers"),
        "discount": _DISCOUNT,
        "maximum": described(DECIMAL, "At most this for a period"),
        "maximum_per_day": described(DECIMAL, "At most this for a day"),
        "minimum": described(DECIMAL, "At least this for a period"),
        "outcome": _OUTCOME,
    },
    required=("key", "type"),
)  # fmt: skip
_CREDIT: Schema = fields_of(
    {
        "key": described(KEY, "The asset's name if left out"),
        "asset": described(KEY, "What it is counted in"),
        "amount": described(DECIMAL, "How much is granted at each step"),
        "kind": {"enum": ["promotional", "paid"]},
        "every": {"enum": ["period", *PERIOD_UNITS]},
        "expires": {
            "type": "string", "examples": ["P1Y"],
            "description": "`period_end`, `never`, or a duration",
        },
        "rollover_max": described(DECIMAL, "So much of what is unused stays for the next step"),
        "priority": {"type": ["integer", "string"], "minimum": 0, "maximum": PRIORITY_MAX},
        "per": described(KEY, "`seat`, or the key of a seat price"),
        "scope": fields_of(
            {
                "meters": {"type": "array", "maxItems": SCOPE_METERS_MAX, "items": KEY},
                "path": TEXT,
            }
        ),
        "from": _LOCAL,
        "until": _LOCAL,
        "max_per_period": DECIMAL,
    },
    required=("asset", "amount"),
)  # fmt: skip
_ENTRY: dict[str, Schema] = {
    "value": {
        "type": ["boolean", "string", "integer"],
        "description": "Switches the feature on or off, or to a setting",
    },
    "concurrency": {
        "type": ["integer", "string"], "minimum": 0, "maximum": CONCURRENCY_MAX,
        "description": "So many holds that name the feature may be open at once",
    },
    "rate": fields_of(
        {"limit": DECIMAL, "per": {"enum": list(RATE_PERS)}}, required=("limit", "per"),
        description="Holds that name the feature are placed for at most so much in each second, "
        "minute or hour",
    ),
    "meter": described(KEY, "The meter whose quantity a quota limits"),
    "limit": described(DECIMAL, "At most this in each window"),
    "window": {
        "enum": list(WINDOWS),
        "description": "In the customer's time zone; weeks begin on Monday, `period` is the "
        "billing period",
    },
    "overage": {
        "enum": list(OVERAGES), "description": "Whether more is refused: `block` unless said",
    },
}  # fmt: skip
_ENTITLEMENT: Schema = fields_of(
    {"feature": described(KEY, "Its name in the API; several entries on one all apply"), **_ENTRY},
    required=("feature",),
)
AGREED: Schema = {
    **fields_of(
        {
            "entitlements": {
                "type": "array", "minItems": 1, "maxItems": ENTITLEMENTS_MAX,
                "items": fields_of(_ENTRY),
            },
        },
        required=("entitlements",),
    ),
    "examples": [{"entitlements": [{"meter": "queries", "limit": "5000", "window": "day"}]}],
}  # fmt: skip
PLAN: Schema = {
    **fields_of(
        {
            "key": described(KEY, "Its name in the API"),
            "name": described(TEXT, "What people read"),
            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "period": described(PERIOD, "How long a period is"),
            "prices": {"type": "array", "minItems": 1, "maxItems": PRICES_MAX, "items": _PRICE},
            "credits": {
                "type": "array", "maxItems": CREDITS_MAX, "items": _CREDIT,
                "description": "What is granted while a subscription runs",
            },
            "assets": {
                "type": "array", "maxItems": ASSETS_MAX,
                "items": fields_of(
                    {
                        "asset": described(KEY, "A credit unit"),
                        "unit_price": described(DECIMAL, "What one past the grants costs"),
                    },
                    required=("asset",),
                ),
                "description": "Credit units with a price",
            },
            "commitment": fields_of(
                {
                    "amount": described(DECIMAL, "What fees and usage must come to in each term"),
                    "period": described(PERIOD, "How long a term is"),
                    "rollover_max": described(DECIMAL, "So much of a true-up becomes credit"),
                },
                required=("amount", "period"),
                description="A spend agreed for a term that may be longer than the period",
            ),
            "entitlements": {
                "type": "array", "maxItems": ENTITLEMENTS_MAX, "items": _ENTITLEMENT,
                "description": "What customers may use, and how much of it",
            },
            "minimum": described(DECIMAL, "At least this for a period over all prices"),
            "discount": INVOICE_DISCOUNT,
            "enforcement": {
                "enum": list(ENFORCEMENTS),
                "description": "`soft`: credit and budgets only tell, also of customers who are "
                "hard",
            },
            "margin": fields_of(
                {
                    "floor": described(DECIMAL, "Percent of a call's price that must be left"),
                    "enforcement": {
                        "enum": list(ENFORCEMENTS),
                        "description": "`hard` refuses a call that breaks it, `soft` tells",
                    },
                    "free_cost_max": described(DECIMAL, "What a call that is free may cost"),
                },
                required=("floor",),
                description="What each call must leave over when its cost is paid",
            ),
            "grace": described(DURATION, "How long a draft waits for late usage"),
            "trial_days": {
                "type": ["integer", "string"], "minimum": 0, "maximum": TRIAL_DAYS_MAX,
                "description": "How many days a new subscription is free of fees",
            },
            "family": described(KEY, "The plans it belongs to"),
            "segment": fields_of(
                {"region": TEXT, "cohort": TEXT}, description="Whom it is for in its family"
            ),
        },
        required=("key", "currency", "period", "prices"),
    ),
    "examples": [
        {"key": "scale", "name": "Scale", "currency": "USD", "period": "month", "prices": [
            {"key": "platform", "type": "flat", "amount": "499.00"}]},
    ],
}  # fmt: skip


def with_null(schema: Any) -> Any:
    """The schema with null allowed wherever a field may be left out, which is what it means."""
    if isinstance(schema, list):
        return [with_null(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {
        name: value if name == "examples" else with_null(value) for name, value in schema.items()
    }
    if isinstance(found.get("properties"), dict):
        required = found.get("required", ())
        found["properties"] = {
            name: field if name in required else {"anyOf": [field, {"type": "null"}]}
            for name, field in found["properties"].items()
        }
    return found


PLAN_SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A document of a plan file of Taximeter",
    "if": {"type": "object", "required": ["meters"]},
    "then": METERS_SCHEMA,
    "else": with_null(PLAN),
}
