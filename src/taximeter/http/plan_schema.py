"""What OpenAPI says of a plan document, and of the bodies that hold one."""

from typing import Any

from taximeter.domain.catalog.deployment import METERS_MAX, PLANS_MAX
from taximeter.domain.catalog.discount_document import NAMED_MAX
from taximeter.domain.catalog.meter_schema import METER_SCHEMA
from taximeter.domain.catalog.plan_schema import DECIMAL, INVOICE_DISCOUNT, KEY, PLAN, TEXT

Schema = dict[str, Any]

INVOICE_DISCOUNT_SCHEMA: Schema = INVOICE_DISCOUNT
# In a request the key may be left out, since the address says it.
PLAN_SCHEMA: Schema = {**PLAN, "required": [name for name in PLAN["required"] if name != "key"]}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_METER: Schema = {**METER_SCHEMA, "required": ["key", *METER_SCHEMA["required"]]}
_KEYS: Schema = {"type": "array", "minItems": 1, "maxItems": NAMED_MAX, "items": KEY}
_METERS: Schema = {"type": "array", "maxItems": METERS_MAX, "items": _METER}
DEPLOYMENT_SCHEMA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "meters": {**_METERS, "description": "Each with its key"},
        "plans": {"type": "array", "maxItems": PLANS_MAX, "items": PLAN},
    },
}
COUPON_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "key": {**KEY, "description": "As in the address, or left out"},
        "name": TEXT,
        "percent": DECIMAL,
        "amount": {**DECIMAL, "description": "In place of `percent`, with `currency`"},
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
PREVIEW_SCHEMA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "quantities": {
            "type": "object",
            "description": "Seats by price key",
            "additionalProperties": DECIMAL,
        },
        "usage": {
            "type": "object",
            "description": "Usage by price key: a quantity, or one for each set of dimensions",
            "additionalProperties": {
                "oneOf": [
                    DECIMAL,
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["quantity"],
                            "additionalProperties": False,
                            "properties": {"dimensions": {"type": "object"}, "quantity": DECIMAL},
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
                    "type": TEXT,
                    "data": {"type": "object"},
                    "count": {"type": "string", "pattern": "^[0-9]{1,12}$"},
                },
            },
        },
        "version": {"type": "integer", "minimum": 1, "description": "The newest if left out"},
        "document": {**PLAN_SCHEMA, "description": "A plan that is not published yet"},
        "meters": {**_METERS, "description": "As they would be, where they count `events`"},
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
