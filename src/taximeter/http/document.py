"""Bodies that are documents of the seller's: read exactly, checked by the domain.

Owns their JSON: numbers keep every digit of their text, and a key that stands twice in one object
is refused, because a reader that took the last one would price by it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from taximeter.domain.catalog.plan_schema import with_null
from taximeter.domain.metering.event import decode_number
from taximeter.kernel.errors import FieldError, Invalid, Malformed

Model = TypeVar("Model", bound=BaseModel)

_decode = msgspec.json.Decoder(float_hook=decode_number).decode


class _Twice(Exception):
    """`args[0]` is a key that stands twice in one object."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return value


def decode_document(body: bytes) -> Mapping[str, Any]:
    """The JSON object in `body`; its numbers are int or Decimal.

    Raises `Malformed` where it is no JSON object, `Invalid` for a key that stands twice.
    """
    try:
        value = _decode(body)
        json.loads(body, object_pairs_hook=_pairs, parse_float=str, parse_int=str)
    except (ValueError, RecursionError, msgspec.DecodeError):
        raise Malformed(reason="it is not valid JSON.") from None
    except _Twice as twice:
        key = str(twice.args[0])[:100]
        detail = f"{key} stands twice in one object. Say it once."
        raise Invalid([FieldError(key, "duplicate_key", detail)]) from None
    if not isinstance(value, dict):
        raise Malformed(reason="send a JSON object.")
    return value


async def read_document(request: Request) -> Mapping[str, Any]:
    """The document of a request."""
    return decode_document(await request.body())


Document = Annotated[Mapping[str, Any], Depends(read_document)]


def read_as(model: type[Model], document: Mapping[str, Any]) -> Model:
    """The document as a body of this model. Raises `RequestValidationError`."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def document_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a route that takes a `Document` of this schema."""
    content = {"application/json": {"schema": with_null(schema)}}
    return {"requestBody": {"required": True, "content": content}}
