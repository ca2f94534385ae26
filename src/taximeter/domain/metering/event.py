"""What an event is, within which limits, and when two events are the same.

Owns the reading of a CloudEvents 1.0 object that a door decoded from JSON, its identity and its
digest. Must not decide what an event counts for: that is subscription/routing.

Numbers arrive as int or Decimal, never float: a door decodes JSON numbers from their text
(`decode_number`). The identity is (customer, source, id). The digest covers all that the sender
gave and nothing that was left to a default, so a retry without a time is still a duplicate.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from taximeter.kernel.errors import FieldError
from taximeter.kernel.quantity import within_bounds
from taximeter.kernel.times import INSTANT_CHARS_MIN, format_instant, parse_instant

EVENT_BYTES_MAX = 64 * 1024
PROPERTIES_MAX = 64
DEPTH_MAX = 5
CUSTOMER_CHARS_MAX = 128
NAME_CHARS_MAX = 256
FUTURE_MAX = timedelta(hours=24)

_KNOWN = frozenset(
    ("specversion", "id", "source", "type", "subject", "time", "path", "subscription", "data")
)
_INT_BOUND = 10**18
_INT_LEAST = -_INT_BOUND
# Names that passed their check: the same few customers, sources and types come again and again.
_checked: set[tuple[object, object, object]] = set()
_CHECKED_MAX = 20_000
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One usage event. `attributes` are the CloudEvents extension attributes, `digest` is in
    hexadecimal. A struct, because a batch makes thousands and writes them out as JSON.
    """

    customer: str
    source: str
    id: str
    type: str
    time: datetime
    received_at: datetime
    data: Mapping[str, Any]
    digest: str
    path: str | None = None
    subscription: str | None = None
    attributes: Mapping[str, Any] | None = None


class InvalidEvent(NamedTuple):
    """Why an object is no event: what it said of its id (if text), and the field that is wrong."""

    id: str | None
    error: FieldError


def decode_number(text: str) -> Decimal | int:
    """The exact value of a JSON number's text; whole numbers become int, so 1 and 1.0 are the
    same content. Numbers beyond the contract's digits are left as they are, for `read_event` to
    name.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")
    if within_bounds(number):
        return int(number) if number == number.to_integral_value() else number.normalize()
    return number


def read_event(raw: object, received_at: datetime) -> Event | InvalidEvent:
    """The event that `raw` (a decoded JSON value) describes, or what is wrong with it and how to
    mend it. Never raises for bad input.
    """
    if type(raw) is not dict:
        return _invalid(None, "", "not_an_object", "An event is a JSON object.")
    get: Callable[[str], Any] = raw.get
    event_id, customer, source, kind = get("id"), get("subject"), get("source"), get("type")
    if source is None:
        source = ""
    if problem := _check_names(event_id, customer, source, kind):
        return InvalidEvent(event_id if type(event_id) is str else None, problem)
    path, subscription = get("path"), get("subscription")
    if path is not None and not _is_name(path, NAME_CHARS_MAX):
        return _invalid(event_id, "path", "invalid_text", _text_cure(NAME_CHARS_MAX))
    if subscription is not None and not _is_name(subscription, NAME_CHARS_MAX):
        return _invalid(event_id, "subscription", "invalid_text", _text_cure(NAME_CHARS_MAX))
    if get("specversion") not in (None, "1.0"):
        detail = 'Send "1.0" or leave it out.'
        return _invalid(event_id, "specversion", "unsupported_version", detail)

    time, given = received_at, ""
    if (time_text := get("time")) is not None:
        read = _read_time(time_text, received_at)
        if isinstance(read, FieldError):
            return InvalidEvent(event_id, read)
        time, given = read, _given(time_text, read)

    data = get("data")
    if data is None:
        data = {}
    elif type(data) is not dict:
        return _invalid(event_id, "data", "not_an_object", "Send data as a JSON object.")
    if not _is_plain(data) and (problem := check_data(data)):
        return InvalidEvent(event_id, problem)
    content = _encode(data)
    attributes, extra = b"", None
    if not _KNOWN.issuperset(raw):
        extra = {name: raw[name] for name in raw if name not in _KNOWN}
        if problem := check_data(extra, "attribute"):
            return InvalidEvent(event_id, problem)
        attributes = _encode(extra)
    if len(content) + len(attributes) > EVENT_BYTES_MAX:
        return _invalid(event_id, "data", "too_large", "Keep an event within 64 KiB.")
    if b"\\u0000" in content + attributes and _has_nul(content + attributes):
        detail = "Leave out the character U+0000: text cannot hold it."
        return _invalid(event_id, "data", "invalid_text", detail)
    head = f"{kind}\0{given}\0{path or ''}\0{subscription or ''}\0".encode()
    digest = blake2b(head + content + b"\0" + attributes, digest_size=16).hexdigest()
    return Event(
        customer, source, event_id, kind, time, received_at, data, digest, path, subscription,
        extra,
    )  # fmt: skip


def _read_time(text: object, received_at: datetime) -> datetime | FieldError:
    at = parse_instant(text) if type(text) is str else None
    if at is None:
        detail = "Send an RFC 3339 date-time with an offset, such as 2026-01-05T10:00:00Z."
        return FieldError("time", "invalid_time", detail)
    if at > received_at and at - received_at > FUTURE_MAX:
        detail = f"The time is over 24 h ahead of the server's {format_instant(received_at)}."
        return FieldError("time", "in_the_future", detail)
    return at


def _has_nul(text: bytes) -> bool:
    """Whether a string of this JSON holds U+0000; a backslash before a `u0000` is none."""
    return b"\\u0000" in text.replace(b"\\\\", b"")


def _given(text: str, time: datetime) -> str:
    """A time as the digest has it: `time.isoformat()`, which is slow and, of the shortest text that
    an instant has, hardly another text.
    """
    if len(text) == INSTANT_CHARS_MIN:
        return f"{text[:-1].upper()}+00:00"
    return time.isoformat()


def _invalid(event_id: str | None, path: str, code: str, detail: str) -> InvalidEvent:
    return InvalidEvent(event_id, FieldError(path, code, detail))


def _is_name(value: object, chars_max: int) -> bool:
    return type(value) is str and 0 < len(value) <= chars_max and value.isprintable()


def _text_cure(chars_max: int) -> str:
    return f"Send text of 1 to {chars_max} printable characters."


def _check_names(
    event_id: object, customer: object, source: object, kind: object
) -> FieldError | None:
    names = (customer, source, kind)
    try:
        known = names in _checked
    except TypeError:  # a list or an object is no name
        known = False
    if known and _is_name(event_id, NAME_CHARS_MAX):
        return None
    if problem := _check_each_name(event_id, customer, source, kind):
        return problem
    if len(_checked) >= _CHECKED_MAX:
        _checked.clear()
    _checked.add(names)
    return None


def _check_each_name(
    event_id: object, customer: object, source: object, kind: object
) -> FieldError | None:
    if not _is_name(event_id, NAME_CHARS_MAX):
        return FieldError("id", "missing" if event_id is None else "invalid_text",
                          _text_cure(NAME_CHARS_MAX))  # fmt: skip
    if not _is_name(customer, CUSTOMER_CHARS_MAX) or "/" in customer:  # type: ignore[operator]
        detail = "Send the customer's key: 1 to 128 printable characters without /."
        return FieldError("subject", "missing" if customer is None else "invalid_text", detail)
    if not _is_name(kind, NAME_CHARS_MAX):
        return FieldError("type", "missing" if kind is None else "invalid_text",
                          _text_cure(NAME_CHARS_MAX))  # fmt: skip
    if source != "" and not _is_name(source, NAME_CHARS_MAX):
        return FieldError("source", "invalid_text", _text_cure(NAME_CHARS_MAX))
    return None


def _is_plain(data: Mapping[str, Any]) -> bool:
    """Whether `data` is as most is: flat, of texts and whole numbers within all limits."""
    for item in data.values():
        kind = type(item)
        if kind is not str and (kind is not int or not _INT_LEAST < item < _INT_BOUND):
            return False
    return len(data) <= PROPERTIES_MAX


def check_data(data: Mapping[str, Any], root: str = "data") -> FieldError | None:
    """What breaks a limit in `data`: 64 properties in all, 5 levels deep, numbers of at most 18
    integer and 12 fraction digits. None where all is well.
    """
    count = 0
    waiting: list[tuple[Any, str, int]] = [(data, root, 1)]
    while waiting:
        value, path, depth = waiting.pop()
        if depth > DEPTH_MAX:
            return FieldError(path, "too_deep", f"Nest at most {DEPTH_MAX} levels.")
        is_object = type(value) is dict
        count += len(value) if is_object else 0
        if count > PROPERTIES_MAX:
            return FieldError(root, "too_many_properties", f"Send at most {PROPERTIES_MAX} in all.")
        for key, item in value.items() if is_object else enumerate(value):
            kind = type(item)
            if kind is str:
                continue
            if kind is dict or kind is list:
                waiting.append(
                    (item, f"{path}.{key}" if is_object else f"{path}[{key}]", depth + 1)
                )
            elif (kind is int and not -_INT_BOUND < item < _INT_BOUND) or (
                kind is Decimal and not within_bounds(item)
            ):
                detail = "Keep numbers within 18 digits before and 12 after the point."
                where = f"{path}.{key}" if is_object else f"{path}[{key}]"
                return FieldError(where, "number_out_of_bounds", detail)
    return None
