"""What OpenAPI says of a plan document and of a preview's body.

For readers and generators; the checks that decide are domain/catalog/document.py's.
"""

from typing import Any

from taximeter.domain.catalog.credit_document import CREDITS_MAX, PRIORITY_MAX
from taximeter.domain.catalog.discount_document import MONTHS_MAX, NAMED_MAX
from taximeter.domain.catalog.model_document import USAGE_MODELS
from taximeter.domain.catalog.outcome_document import HUMAN_REVIEWS, RETRIES
from taximeter.domain.catalog.price_document import PRICES_MAX
from taximeter.http.fields import KEY_PATTERN
from taximeter.kernel.quantity import DECIMAL_PATTERN
from taximeter.kernel.times import PERIOD_UNITS

Schema = dict[str, Any]

_KEY: Schema = {"type": "string", "pattern": KEY_PATTERN}
_DECIMAL: Schema = {"type": "string", "pattern": DECIMAL_PATTERN, "examples": ["0.05"]}
_TEXT: Schema = {"type": "string", "maxLength": 500}
_PERIOD: Schema = {"enum": list(PERIOD_UNITS)}
_TIER: Schema = {
    "type": "object",
    "properties": {"up_to": _DECIMAL, "unit": _DECIMAL, "per": _DECIMAL, "flat": _DECIMAL},
}
_MODEL: Schema = {
    "unit": _DECIMAL,
    "per": _DECIMAL,
    "amount": _DECIMAL,
    "size": _DECIMAL,
    "free": _DECIMAL,
    "tiers": {"type": "array", "items": _TIER},
}
_RATE: Schema = {
    "type": "object",
    "required": ["match"],
    "properties": {
        "match": {"type": "object", "additionalProperties": {"type": "string"}},
        "model": {"enum": [model for model in USAGE_MODELS if model != "dimensional"]},
        **_MODEL,
    },
}
_DISCOUNT: Schema = {
    "type": "object",
    "properties": {"percent": _DECIMAL, "amount": _DECIMAL},
}
INVOICE_DISCOUNT_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "percent": _DECIMAL,
        "amount": _DECIMAL,
        "months": {"type": "integer", "minimum": 1, "maximum": MONTHS_MAX},
    },
    "examples": [{"percent": "20", "months": 3}],
}
_OUTCOME: Schema = {
    "type": "object",
    "properties": {
        "auto_confirm_after": {"type": "string", "examples": ["PT24H"]},
        "reversible_for": {"type": "string", "examples": ["P30D"]},
        "retries": {"enum": list(RETRIES)},
        "human_review": {"enum": list(HUMAN_REVIEWS)},
    },
}
_PRICE: Schema = {
    "type": "object",
    "required": ["key", "type"],
    "properties": {
        "key": _KEY,
        "type": {"enum": ["flat", "seat", "usage"]},
        "name": _TEXT,
        "meter": _KEY,
        "model": {"enum": list(USAGE_MODELS)},
        **_MODEL,
        "dimensions": {"type": "array", "items": {"type": "string"}},
        "rates": {"type": "array", "items": _RATE},
        "otherwise": {"description": "`quarantine`, `zero`, or a model"},
        "timing": {"enum": ["advance", "arrears"]},
        "settle": {"enum": ["invoice", "wallet"]},
        "asset": _KEY,
        "period": _PERIOD,
        "included": _DECIMAL,
        "discount": _DISCOUNT,
        "maximum": _DECIMAL,
        "minimum": _DECIMAL,
        "outcome": _OUTCOME,
    },
}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_KEYS: Schema = {"type": "array", "minItems": 1, "maxItems": NAMED_MAX, "items": _KEY}
COUPON_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "key": {**_KEY, "description": "As in the address, or left out"},
        "name": _TEXT,
        "percent": _DECIMAL,
        "amount": {**_DECIMAL, "description": "In place of `percent`, with `currency`"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "months": {**_COUNT, "description": "How long it lasts on a subscription"},
        "prices": {**_KEYS, "description": "Only lines of these prices"},
        "plans": {**_KEYS, "description": "Only subscriptions and lines of these plans"},
        "redeem_from": {**_INSTANT, "description": "When it may be redeemed first"},
        "redeem_by": {**_INSTANT, "description": "Before when it may be redeemed"},
        "starts_at": {**_INSTANT, "description": "It takes what begins from then on"},
        "ends_at": {**_INSTANT, "description": "It takes what begins before then"},
        "redemptions_max": {**_COUNT, "description": "By all customers together"},
        "per_customer_max": {**_COUNT, "default": 1},
        "first_time_only": {
            "type": "boolean",
            "description": "Only customers who were not invoiced yet",
        },
    },
    "examples": [{"percent": "20", "months": 3, "redeem_by": "2026-12-01T00:00:00Z"}],
}
_LOCAL: Schema = {"type": "string", "examples": ["2026-06-01"]}
_CREDIT: Schema = {
    "type": "object",
    "required": ["asset", "amount"],
    "properties": {
        "key": {**_KEY, "description": "The asset's name if left out"},
        "asset": _KEY,
        "amount": _DECIMAL,
        "kind": {"enum": ["promotional", "paid"]},
        "every": {"enum": ["period", *PERIOD_UNITS]},
        "expires": {"description": "`period_end`, `never`, or a duration such as `P1Y`"},
        "rollover_max": _DECIMAL,
        "priority": {"type": "integer", "minimum": 0, "maximum": PRIORITY_MAX},
        "per": {**_KEY, "description": "`seat`, or the key of a seat price"},
        "scope": {
            "type": "object",
            "properties": {"meters": {"type": "array", "items": _KEY}, "path": _TEXT},
        },
        "from": _LOCAL,
        "until": _LOCAL,
        "max_per_period": _DECIMAL,
    },
}
PLAN_SCHEMA: Schema = {
    "type": "object",
    "required": ["currency", "period", "prices"],
    "properties": {
        "key": {**_KEY, "description": "As in the address, or left out"},
        "name": _TEXT,
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "period": _PERIOD,
        "prices": {"type": "array", "minItems": 1, "maxItems": PRICES_MAX, "items": _PRICE},
        "credits": {"type": "array", "maxItems": CREDITS_MAX, "items": _CREDIT},
        "minimum": _DECIMAL,
        "discount": INVOICE_DISCOUNT_SCHEMA,
        "grace": {"type": "string", "examples": ["PT1H"]},
    },
    "examples": [
        {"name": "Scale", "currency": "USD", "period": "month", "prices": [
            {"key": "platform", "type": "flat", "amount": "499.00"}]},
    ],
}  # fmt: skip
PREVIEW_SCHEMA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "quantities": {
            "type": "object",
            "description": "Seats by price key",
            "additionalProperties": _DECIMAL,
        },
        "usage": {
            "type": "object",
            "description": "Usage by price key: a quantity, or one for each set of dimensions",
            "additionalProperties": {
                "oneOf": [
                    _DECIMAL,
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["quantity"],
                            "additionalProperties": False,
                            "properties": {"dimensions": {"type": "object"}, "quantity": _DECIMAL},
                        },
                    },
                ]
            },
        },
        "events": {
            "type": "array",
            "description": "Single events in place of usage",
            "maxItems": 1000,
            "items": {
                "type": "object",
                "required": ["type"],
                "additionalProperties": False,
                "properties": {
                    "type": _TEXT,
                    "data": {"type": "object"},
                    "count": {"type": "string", "pattern": "^[0-9]{1,12}$"},
                },
            },
        },
        "version": {"type": "integer", "minimum": 1, "description": "The newest if left out"},
        "document": {**PLAN_SCHEMA, "description": "A plan that is not published yet"},
    },
    "examples": [{"quantities": {"seats": "5"}, "usage": {"input": "1000000"}}],
}
DIFF_SCHEMA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "document": {**PLAN_SCHEMA, "description": "What is compared with `from`"},
        "from": {"type": "integer", "minimum": 1, "description": "In force if left out"},
        "to": {"type": "integer", "minimum": 1, "description": "In force if left out"},
    },
    "examples": [{"from": 1, "to": 2}],
}
