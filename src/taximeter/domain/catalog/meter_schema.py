"""The meter document as a JSON Schema: for the API's own description, and for meters in plan files.

Owns what can be said without judgment; the checks that decide are meter_document.py's.
"""

from typing import Any

from taximeter.domain.catalog.meter import AGGREGATIONS, BUCKETS

_TEXT = {"type": "string", "maxLength": 500}
_VALUES = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1000,
    "items": {"type": ["string", "integer", "boolean"]},
}
METER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["event_type", "aggregation"],
    "additionalProperties": False,
    "properties": {
        "key": {"type": "string", "description": "As in the address, or left out"},
        "event_type": {**_TEXT, "minLength": 1, "description": "Cannot change later"},
        "aggregation": {"enum": list(AGGREGATIONS)},
        "value": {
            "type": "string",
            "description": "The property of `data` that is metered, or an expression over several, "
            "such as `max(60, seconds) * gpus`; left out for `count`",
        },
        "dimensions": {"type": "array", "maxItems": 20, "items": {"type": "string"}},
        "filter": {
            "type": "object",
            "description": "Which events count: for each property the values that do, or do not",
            "additionalProperties": {"oneOf": [_VALUES, {
                "type": "object", "required": ["not"], "additionalProperties": False,
                "properties": {"not": _VALUES},
            }]},
        },
        "unit": _TEXT,
        "name": _TEXT,
        "description": _TEXT,
        "bucket": {
            "enum": list(BUCKETS),
            "description": "`max`, `min` and `latest` of each hour (UTC), day or month (in the "
            "customer's zone) are added up",
        },
        "dimension_limit": {
            "type": ["integer", "string"],
            "default": 1000,
            "description": "How many values of each dimension are kept apart for a customer and "
            "month; the others are counted as `@other` (`count`, `sum`)",
        },
        "percentile": {
            "type": "string",
            "description": "The share of the values that are not above the one taken, such as "
            "`0.95` (`percentile`)",
        },
        "signed": {
            "type": "boolean", "default": False,
            "description": "The value is the change of the level (`weighted_sum`)",
        },
        "over": {
            "enum": ["period"],
            "description": "The average level instead of level-hours (`weighted_sum`)",
        },
        "allow_negative": {"type": "boolean", "default": False},
        "late_limit": {
            "type": "string",
            "description": "An ISO 8601 duration such as `P35D`: an event that is older when it is "
            "received is set aside (`too_late`), to be released or voided",
        },
    },
    "examples": [
        {"event_type": "llm.completion", "aggregation": "sum", "value": "input_tokens",
         "dimensions": ["model"], "unit": "token"},
    ],
}  # fmt: skip

# A document of a plan file that is one list of meters, each with its key.
METERS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["meters"],
    "additionalProperties": False,
    "properties": {
        "meters": {
            "type": "array",
            "minItems": 1,
            "items": {**METER_SCHEMA, "required": ["key", *METER_SCHEMA["required"]]},
        },
    },
}
