"""The OpenAPI document: FastAPI's own, with what every route shares.

Owns what FastAPI cannot know: the problem documents that answer errors, the key that is needed,
the Idempotency-Key, and the hot routes that are no routes of FastAPI's.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from taximeter.http.fields import CUSTOMER_PATTERN
from taximeter.http.openapi_holds import hold_routes
from taximeter.http.problem import CONTENT_TYPE, TITLES

# POSTs that change nothing.
_READS = (
    "/preview", "/preview_change", "/preview_cancel", "/preview_migration", "/plans/check", "/diff",
    "/entitlements/check",
)  # fmt: skip
OPEN = ("/healthz", "/readyz", "/v1/schemas/plan.json")
_ANY: dict[str, Any] = {"application/json": {"schema": {}}}
_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 256}
_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "The same key and body get the first answer again, with the header "
    "`Idempotent-Replay: true`; another body gets 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}  # fmt: skip
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "errors", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; what a program decides by"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "code", "detail"],
                "properties": {
                    "path": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
        "request_id": {"type": "string"},
    },
}
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvents 1.0 event; extension attributes are kept",
    "required": ["id", "type", "subject"],
    "properties": {
        "specversion": {"const": "1.0", "default": "1.0"},
        "id": _NAME,
        "source": {"type": "string", "maxLength": 256, "default": ""},
        "type": _NAME,
        "subject": {
            "type": "string", "pattern": CUSTOMER_PATTERN, "description": "The customer's key",
        },
        "time": {
            "type": "string", "format": "date-time", "description": "That of receipt if left out",
        },
        "path": {**_NAME, "description": "Whose usage it is below the customer"},
        "subscription": {**_NAME, "description": "The id or key of what prices it"},
        "data": {"type": "object", "default": {}},
    },
    "additionalProperties": True,
    "examples": [
        {"id": "req-8f2", "type": "llm.completion", "subject": "acme",
         "time": "2026-01-05T10:00:00Z", "data": {"model": "gpt-5.2", "input_tokens": 374}},
    ],
}  # fmt: skip
_EVENT_REF = {"$ref": "#/components/schemas/Event"}
_BATCH = {"type": "array", "maxItems": 10_000, "items": _EVENT_REF}
_INGESTED: dict[str, Any] = {
    "type": "object",
    "required": ["accepted", "duplicates", "quarantined", "rejected", "results"],
    "properties": {
        "accepted": {"type": "integer"},
        "duplicates": {"type": "integer"},
        "quarantined": {"type": "integer"},
        "rejected": {"type": "integer"},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "id", "status"],
                "properties": {
                    "index": {"type": "integer"},
                    "id": {"type": ["string", "null"]},
                    "status": {
                        "enum": [
                            "accepted",
                            "duplicate",
                            "quarantined",
                            "conflict",
                            "invalid",
                            "refused",
                        ]
                    },
                    "error": {
                        "type": "object",
                        "required": ["path", "code", "detail"],
                        "properties": {
                            "path": {"type": "string"},
                            "code": {"type": "string"},
                            "detail": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}
_POST_EVENTS: dict[str, Any] = {
    "tags": ["Events"],
    "summary": "Post Events",
    "operationId": "post_events_v1_events_post",
    "description": "Take in one event or a batch. What is answered as accepted is committed to "
    "disk and visible to the next read. `Content-Encoding: gzip` is accepted.",
    "parameters": [
        {
            "name": "atomic", "in": "query", "required": False,
            "description": "All events are taken or none",
            "schema": {"enum": ["true", "false"], "default": "false"},
        },
        {
            "name": "enforce", "in": "query", "required": False,
            "description": "Take the events only if all of them can be paid, else refuse them all",
            "schema": {"enum": ["true", "false"], "default": "false"},
        },
        {
            "name": "results", "in": "query", "required": False,
            "description": "`all` lists plainly accepted events as well",
            "schema": {"enum": ["all", "problems"], "default": "problems"},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": _EVENT_REF},
            "application/cloudevents-batch+json": {"schema": _BATCH},
            "application/json": {"schema": {"oneOf": [_EVENT_REF, _BATCH]}},
        },
    },
    "responses": {
        "200": {
            "description": "What became of each event",
            "content": {"application/json": {"schema": _INGESTED}},
        },
    },
}  # fmt: skip


class DocumentedApi(FastAPI):
    """An API whose OpenAPI document says how it answers errors."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title, version=self.version, description=self.description,
                routes=self.routes,
            )  # fmt: skip
            self.openapi_schema = _completed(document)
        return self.openapi_schema


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = document["paths"]
    paths.setdefault("/v1/events", {})["post"] = _POST_EVENTS
    for path, operation in hold_routes().items():
        paths.setdefault(path, {})["post"] = operation
    for path, operations in paths.items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Event"] = _EVENT
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    return document


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    parameters = operation.setdefault("parameters", [])
    if method == "post" and not path.endswith(_READS):
        parameters.append(_IDEMPOTENCY_KEY)
    statuses = {503}
    if path in OPEN:
        operation["security"] = []
    else:
        statuses |= {401, 403, 429}
    if "requestBody" in operation:
        statuses |= {400, 413, 422}
    if parameters:
        statuses |= {400, 422}
    if "{" in path or any(one["name"] == "customer" for one in parameters):
        statuses |= {404}
    if path == "/v1/test_clock":
        statuses |= {404}
    if method != "get":
        statuses |= {404, 409}
    responses = operation["responses"]
    for answer in responses.values():
        answer.setdefault("content", _ANY)
    for status in sorted(statuses):
        responses[str(status)] = {
            "description": TITLES[status],
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
