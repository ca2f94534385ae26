"""The page of the HTTP API, from the application's own OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from docs.generator.markdown import code, page, table
from taximeter.http.app import make_api
from taximeter.http.fields import CUSTOMER_PATTERN, KEY_PATTERN
from taximeter.http.server import Server
from taximeter.kernel.quantity import DECIMAL_PATTERN

Schema = Mapping[str, Any]
DEPTH_MAX = 6
IDEMPOTENCY_KEY = "Idempotency-Key"
_PATTERNS = {DECIMAL_PATTERN: "decimal", KEY_PATTERN: "key", CUSTOMER_PATTERN: "customer key"}
_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)


def openapi() -> dict[str, Any]:
    """The document that `GET /openapi.json` answers."""
    return make_api(cast("Server", _NoServer())).openapi()


class _NoServer:
    """Stands for the server, which describing the API does not ask anything."""


def render(document: Schema | None = None) -> str:
    """The page."""
    described = document or openapi()
    intro = (
        "Every address of the API. Send an API key as `Authorization: Bearer KEY`. Money, prices "
        "and quantities are decimals in quotes, times are RFC 3339 with an offset. Errors are in "
        "[errors](errors.md). Every POST takes an `Idempotency-Key`: the same key and body get the "
        "first answer again, with `Idempotent-Replay: true`. `GET /openapi.json` answers "
        "this page as an OpenAPI document."
    )
    return page("HTTP API", intro, _sections(described))


def _sections(document: Schema) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["Server"])[0]
            by_tag.setdefault(tag, []).append(_operation(document, method, path, operation))
    for tag, parts in by_tag.items():
        yield f"## {tag}"
        yield from parts


def _operation(document: Schema, method: str, path: str, operation: Schema) -> str:
    parts = [f"### {method.upper()} {path}"]
    parts.append(operation.get("description") or f"{operation.get('summary', '')}.")
    rows = [
        [code(one["name"]), one["in"], *_cells(document, one, required=one.get("required"))]
        for one in operation.get("parameters", ())
        if one["name"] != IDEMPOTENCY_KEY
    ]
    if rows:
        parts.append(table(["parameter", "in", "needed", "value", "meaning"], rows))
    if body := operation.get("requestBody"):
        parts.append(_body(document, body))
    parts.append(_answers(operation["responses"]))
    return "\n\n".join(part for part in parts if part)


def _body(document: Schema, body: Schema) -> str:
    contents = body["content"]
    kinds = ", ".join(code(kind) for kind in contents)
    schema = _resolved(document, next(iter(contents.values()))["schema"])
    rows = list(_fields(document, schema, "", 0))
    listed = table(["field", "needed", "value", "meaning"], rows) if rows else ""
    return "\n\n".join(part for part in [f"Body: {kinds}.", listed] if part)


def _fields(document: Schema, schema: Schema, prefix: str, depth: int) -> Iterator[list[str]]:
    """A row for each field of an object, those of objects within it after their own."""
    needed = schema.get("required", ())
    for name, raw in schema.get("properties", {}).items():
        field = _resolved(document, raw)
        path = f"{prefix}{name}"
        yield [code(path), *_cells(document, {"schema": raw}, required=name in needed)]
        inner = _resolved(document, _one(document, field))
        is_list = inner.get("type") == "array"
        if is_list:
            inner = _resolved(document, inner.get("items", {}))
        if depth < DEPTH_MAX and inner.get("properties"):
            yield from _fields(document, inner, f"{path}[]." if is_list else f"{path}.", depth + 1)


def _cells(document: Schema, one: Schema, *, required: bool | None) -> list[str]:
    """Whether it is needed, what values it takes, and what it means."""
    schema = _resolved(document, one.get("schema", {}))
    meaning = one.get("description") or schema.get("description") or ""
    default = schema.get("default")
    if default not in (None, "", [], {}):
        shown = json.dumps(default) if isinstance(default, bool) else str(default)
        meaning = f"{meaning}{'. ' if meaning else ''}Default: {code(shown)}"
    return ["yes" if required else "", _value(document, schema), meaning]


def _one(document: Schema, schema: Schema) -> Schema:
    """A schema that may also be null, without the null."""
    choices = [_resolved(document, one) for one in schema.get("anyOf", ())]
    real = [one for one in choices if one.get("type") != "null"]
    return real[0] if len(real) == 1 else schema


def _value(document: Schema, raw: Schema) -> str:
    """The values of a schema in words."""
    schema = _resolved(document, raw)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            words = [_value(document, one) for one in schema[key] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(word for word in words if word))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(str(v)) for v in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "")
    if schema.get("pattern") in _PATTERNS:
        return _PATTERNS[schema["pattern"]]
    if kind == "array":
        word = f"list of {_value(document, schema.get('items', {})) or 'values'}"
    else:
        word = str(schema.get("format") or kind)
    limits = [
        _range(_whole(schema.get(low)), _whole(schema.get(high)), unit)
        for low, high, unit in _RANGES
    ]
    if "pattern" in schema:
        limits.append(code(schema["pattern"]))
    return ", ".join(text for text in [word, *limits] if text)


def _range(low: object, high: object, unit: str) -> str:
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if low is not None:
        return f"at least {low}{unit}"
    return f"at most {high}{unit}" if high is not None else ""


def _whole(number: object) -> object:
    """A bound as a reader writes it: pydantic says 1000.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _resolved(document: Schema, schema: Schema) -> Schema:
    """The schema that a reference stands for; what stands beside the reference is kept."""
    if "$ref" in schema:
        target: Schema = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if len(schema.get("allOf", ())) == 1:
        return {**_resolved(document, schema["allOf"][0]), **schema}
    return schema


def _answers(responses: Schema) -> str:
    good = [
        f"{code(status)} {answer.get('description', '')}".removesuffix(" Successful Response")
        for status, answer in responses.items()
        if status < "300"
    ]
    bad = [code(status) for status in sorted(responses) if status >= "300"]
    return f"Answers {'; '.join(good)}." + (f" Errors: {', '.join(bad)}." if bad else "")
