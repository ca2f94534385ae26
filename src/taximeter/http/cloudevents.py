"""CloudEvents in JSON, decoded: one object, or an array as a batch.

Owns what JSON may be: numbers keep every digit of their text, and a key that stands twice in one
object makes its event invalid, because a reader that took the last one would bill by it.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from taximeter.domain.metering.event import Event, InvalidEvent, decode_number, read_event
from taximeter.kernel.errors import FieldError, Malformed, TooLarge

EVENTS_MAX = 10_000
CONTENT_TYPES = {
    b"application/cloudevents+json": "one",
    b"application/cloudevents-batch+json": "batch",
    b"application/json": "either",
}
_BLANK_BEFORE_COLON = re.compile(rb'"\s+:').search
_decode = msgspec.json.Decoder(float_hook=decode_number).decode


def read_events(body: bytes, shape: str, received_at: datetime) -> list[Event | InvalidEvent]:
    """The events of a body; `shape` is what its content type says: one, batch or either.

    Raises `Malformed` where the body is no such JSON, `TooLarge` for over 10,000 events.
    """
    read = read_event
    try:
        value = _decode(body)
    except RecursionError as error:
        raise Malformed(reason=_reason(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        value, read = _decode_unusual(body, error), _read_unusual
    if shape == "batch" and type(value) is not list:
        raise Malformed(reason="a batch is a JSON array of events.")
    if shape == "one" and type(value) is list:
        raise Malformed(reason="one event is a JSON object. Send a batch as "
                               "application/cloudevents-batch+json.")  # fmt: skip
    raws = value if type(value) is list else [value]
    if len(raws) > EVENTS_MAX:
        raise TooLarge(
            what="The batch", limit=f"{EVENTS_MAX} events", cure="Send it in smaller batches."
        )
    events = [read(raw, received_at) for raw in raws]
    if not _no_doubt(body, raws):
        events = _with_duplicate_keys_refused(body, events)
    return events


def _decode_unusual(body: bytes, refusal: Exception) -> Any:
    """What the fast decoder refuses though it is JSON: numbers of thousands of digits and half
    characters make one event invalid, not the whole batch malformed.

    Raises `Malformed` with the reason of `refusal` for everything else.
    """
    try:
        return json.loads(
            body.decode(), parse_float=decode_number, parse_int=decode_number,
            parse_constant=_no_constant,
        )  # fmt: skip
    except (ValueError, RecursionError):
        raise Malformed(reason=_reason(refusal)) from None


def _read_unusual(raw: object, received_at: datetime) -> Event | InvalidEvent:
    """The event, where all of its texts are whole characters."""
    try:
        json.dumps(raw, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        detail = "It holds half of a surrogate pair. Send whole characters."
        return InvalidEvent(None, FieldError("", "invalid_text", detail))
    return read_event(raw, received_at)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply."
    return f"it is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}."


def _no_doubt(body: bytes, raws: Sequence[Any]) -> bool:
    """Whether the body surely holds no key twice, told without parsing it again.

    Without a backslash every quotation mark is structural, so `":` stands once for each key and
    nowhere else. As many of them as there are keys in what was decoded leaves none for a key that
    was lost. Nested objects and odd blanks are left to the thorough check.
    """
    if b"\\" in body or (_may_have_blank(body) and _BLANK_BEFORE_COLON(body)):
        return False
    keys = objects = 0
    for raw in raws:
        if type(raw) is not dict:
            return False
        keys += len(raw)
        objects += 1
        data = raw.get("data")
        if type(data) is dict:
            keys += len(data)
            objects += 1
    return body.count(b"{") == objects and body.count(b'":') == keys


def _may_have_blank(body: bytes) -> bool:
    """Whether a blank stands before any colon: hardly ever, and this is told sooner."""
    return (
        (b" " in body and b" :" in body)
        or (b"\n" in body and b"\n:" in body)
        or (b"\t" in body and b"\t:" in body)
        or (b"\r" in body and b"\r:" in body)
    )


class _Twice(dict[str, Any]):
    """An object in which a key stands twice, at any depth below it."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs) or any(_is_twice(item) for item in value.values()):
        return _Twice(value)
    return value


def _is_twice(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_twice(item) for item in value)
    return isinstance(value, _Twice)


def _with_duplicate_keys_refused(
    body: bytes, events: list[Event | InvalidEvent]
) -> list[Event | InvalidEvent]:
    try:
        again = json.loads(body, object_pairs_hook=_pairs, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise Malformed(reason="it is not valid JSON.") from None
    raws = again if isinstance(again, list) else [again]
    detail = "A key stands twice in one object. Send each key once."
    return [
        InvalidEvent(event.id, FieldError("", "duplicate_key", detail)) if _is_twice(raw) else event
        for event, raw in zip(events, raws, strict=True)
    ]
