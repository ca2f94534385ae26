"""The hot routes of holds as the OpenAPI document describes them."""

from typing import Any

from taximeter.http.fields import CUSTOMER_PATTERN
from taximeter.kernel.quantity import DECIMAL_PATTERN
from taximeter.services.hold_requests import (
    ALTERNATIVES_MAX,
    APPROVALS_PER_HOLD_MAX,
    HOLDS_PER_REQUEST_MAX,
    TTL_S_DEFAULT,
    TTL_S_MAX,
)

_DECIMAL: dict[str, Any] = {"type": "string", "pattern": DECIMAL_PATTERN}
_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256}
_TTL: dict[str, Any] = {
    "type": "integer", "minimum": 1, "maximum": TTL_S_MAX, "default": TTL_S_DEFAULT,
    "description": "Seconds until it expires by itself",
}  # fmt: skip
_HOLD: dict[str, Any] = {
    "type": "object",
    "required": ["customer"],
    "properties": {
        "customer": {
            "type": "string", "pattern": CUSTOMER_PATTERN, "description": "The customer's key",
        },
        "amount": {**_DECIMAL, "description": "What the work may cost; needs `asset`"},
        "asset": {**_NAME, "description": "A currency or a credit unit"},
        "estimate": {
            "type": "object",
            "description": "Instead of an amount: an event that is priced by the customer's plan",
            "required": ["type"],
            "properties": {
                "type": _NAME,
                "data": {"type": "object", "default": {}},
                "subscription": _NAME,
            },
            "additionalProperties": False,
        },
        "alternatives": {
            "type": "array", "maxItems": ALTERNATIVES_MAX,
            "description": "Where the estimate is refused, the first of these that is not",
            "items": {
                "type": "object", "required": ["data"], "additionalProperties": False,
                "properties": {
                    "data": {"type": "object"},
                    "type": {**_NAME, "description": "The estimate's, if left out"},
                },
            },
        },
        "path": {**_NAME, "description": "Whose work it is below the customer"},
        "feature": {**_NAME, "description": "Takes a slot, and `quantity` of its quotas"},
        "quantity": {**_DECIMAL, "default": "1"},
        "ttl_s": _TTL,
        "approval": {
            "description": "The id of an approval, or several, by which it may pass thresholds",
            "oneOf": [
                _NAME, {"type": "array", "items": _NAME, "maxItems": APPROVALS_PER_HOLD_MAX},
            ],
        },
    },
    "additionalProperties": False,
    "examples": [{"customer": "acme", "asset": "USD", "amount": "0.05", "path": "support/agent-7"}],
}  # fmt: skip
_ANSWER: dict[str, Any] = {
    "type": "object",
    "description": "A refusal is an answer, not an error",
    "required": ["allowed"],
    "properties": {
        "allowed": {"type": "boolean"},
        "id": {"type": "string"},
        "amount": _DECIMAL,
        "asset": {"type": "string"},
        "available": {
            "type": ["string", "null"], "description": "After the hold; null: nothing limits it",
        },
        "amounts": {"type": "array", "items": {"type": "object"}},
        "expires_at": {"type": "string", "format": "date-time"},
        "warnings": {
            "type": "array",
            "items": {
                "enum": [
                    "budget_exceeded", "insufficient_credits", "margin_floor", "cost_unknown",
                ],
            },
        },
        "alternative": {
            "type": "integer", "minimum": 0,
            "description": "The number of the alternative that it was placed for; left out: for "
            "what was asked",
        },
        "reason": {
            "enum": [
                "suspended", "entitlement", "concurrency", "margin_floor", "budget_exceeded",
                "insufficient_credits", "approval_required",
            ],
        },
        "limit": {
            "type": "object",
            "description": "What forbids it; where an approval is required, `approvals` are the "
            "ids to name once they are approved",
        },
        "shortfall": {**_DECIMAL, "description": "How much is missing"},
    },
}  # fmt: skip
_AMOUNTS: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object", "required": ["amount", "asset"],
        "properties": {"amount": _DECIMAL, "asset": _NAME}, "additionalProperties": False,
    },
}  # fmt: skip
_CAPTURE: dict[str, Any] = {
    "type": "object",
    "description": "One of `amount`, `amounts` and `events`",
    "properties": {
        "amount": {**_DECIMAL, "description": "Of the hold's one asset"},
        "amounts": _AMOUNTS,
        "events": {
            "type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 10_000,
            "description": "Recorded, priced and charged; `subject` may be left out",
        },
        "keep_open": {
            "type": "boolean", "default": False,
            "description": "A part: the rest stays held. Needs an Idempotency-Key",
        },
    },
    "additionalProperties": False,
}  # fmt: skip
_ID: dict[str, Any] = {
    "name": "id", "in": "path", "required": True, "description": "The hold's id",
    "schema": {"type": "string", "maxLength": 64},
}  # fmt: skip


def _post(
    name: str,
    summary: str,
    text: str,
    body: dict[str, Any],
    answer: dict[str, Any],
    *,
    of_one: bool,
) -> dict[str, Any]:
    return {
        "tags": ["Holds"],
        "summary": summary,
        "operationId": f"{name}_v1_holds_post",
        "description": text,
        "parameters": [_ID] if of_one else [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": summary, "content": {"application/json": {"schema": answer}}},
        },
    }


def hold_routes() -> dict[str, dict[str, Any]]:
    """The POSTs of holds by path."""
    resolved = {"type": "object", "required": ["id", "state"]}
    empty = {"type": "object", "additionalProperties": False}
    many = {
        "type": "object",
        "required": ["holds"],
        "properties": {
            "mode": {"enum": ["independent", "all_or_nothing"], "default": "independent"},
            "holds": {
                "type": "array", "items": _HOLD, "minItems": 1, "maxItems": HOLDS_PER_REQUEST_MAX,
            },
        },
        "additionalProperties": False,
    }  # fmt: skip
    answers = {
        "type": "object", "required": ["data"],
        "properties": {"data": {"type": "array", "items": _ANSWER}},
    }  # fmt: skip
    extended = {"type": "object", "properties": {"ttl_s": _TTL}, "additionalProperties": False}
    return {
        "/v1/holds": _post(
            "place", "Place Hold",
            "Reserve what work may cost before it runs, in one atomic decision against wallets, "
            "budgets, features and suspensions.", _HOLD, _ANSWER, of_one=False,
        ),
        "/v1/holds/batch": _post(
            "place_batch", "Place Holds",
            "Place many holds in one decision: each for itself, in order, or all or none.",
            many, answers, of_one=False,
        ),
        "/v1/holds/{id}/capture": _post(
            "capture", "Capture Hold",
            "Charge for the work that was done. Less than was held frees the rest, more is charged "
            "all the same; after the hold has expired it is charged and flagged `late`.",
            _CAPTURE, resolved, of_one=True,
        ),
        "/v1/holds/{id}/release": _post(
            "release", "Release Hold", "Free what is held: nothing was used.", empty, resolved,
            of_one=True,
        ),
        "/v1/holds/{id}/extend": _post(
            "extend", "Extend Hold", "Let it expire `ttl_s` seconds from now, not earlier than "
            "before: the heartbeat of a session.", extended, resolved, of_one=True,
        ),
    }  # fmt: skip
