"""Bodies of requests to `/v1/holds`: decoded, checked, and made into what services are asked.

Owns what a body may be and how what is wrong with it is named.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

import msgspec

from taximeter.domain.credit.hold import Ask, Need
from taximeter.domain.metering.event import Event, InvalidEvent
from taximeter.http.cloudevents import read_events
from taximeter.kernel.errors import FieldError, Invalid, Malformed, NotFound
from taximeter.kernel.quantity import ONE, ZERO, format_decimal, parse_decimal
from taximeter.services.command import Key
from taximeter.services.hold_requests import (
    ALTERNATIVES_MAX,
    APPROVALS_PER_HOLD_MAX,
    HOLDS_PER_REQUEST_MAX,
    TTL_S_DEFAULT,
    TTL_S_MAX,
    Capture,
    Extend,
    NewHold,
    Release,
    RenderStep,
    Step,
)
from taximeter.services.ingest import IngestRequest
from taximeter.services.keys import Caller

NAME_CHARS_MAX = 256
SAFE_INTEGER = 2**53
_AT = re.compile(r" - at `\$\.?(.*)`$")
_encode = msgspec.json.Encoder().encode
_Number = str | int | None
Body = TypeVar("Body")


class _Estimate(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    subscription: str | None = None


class _Alternative(msgspec.Struct, forbid_unknown_fields=True):
    data: msgspec.Raw
    type: str | None = None


class _Hold(msgspec.Struct, forbid_unknown_fields=True):
    customer: str
    amount: _Number = None
    asset: str | None = None
    estimate: _Estimate | None = None
    alternatives: list[_Alternative] | None = None
    path: str | None = None
    feature: str | None = None
    quantity: _Number = None
    ttl_s: int = TTL_S_DEFAULT
    approval: str | list[str] | None = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    holds: list[_Hold]
    mode: str = "independent"


class _Amount(msgspec.Struct, forbid_unknown_fields=True):
    amount: _Number
    asset: str


class _Capture(msgspec.Struct, forbid_unknown_fields=True):
    amount: _Number = None
    amounts: list[_Amount] | None = None
    events: list[dict[str, msgspec.Raw]] | None = None
    keep_open: bool = False


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Extend(msgspec.Struct, forbid_unknown_fields=True):
    ttl_s: int = TTL_S_DEFAULT


_hold_of = msgspec.json.Decoder(_Hold).decode
_batch_of = msgspec.json.Decoder(_Batch).decode
_capture_of = msgspec.json.Decoder(_Capture).decode
_nothing_of = msgspec.json.Decoder(_Nothing).decode
_extend_of = msgspec.json.Decoder(_Extend).decode


def read_hold(body: bytes, caller: Caller, now: datetime) -> NewHold:
    """The hold that a body asks for. Raises `Malformed`, `Invalid`, `NotFound`."""
    return _new_hold(_decode(_hold_of, body), caller, now, "")


def read_batch(body: bytes, caller: Caller, now: datetime) -> tuple[tuple[NewHold, ...], bool]:
    """The holds that a body asks for, and whether all are to be placed or none. Raises
    `Malformed`, `Invalid`, `NotFound`.
    """
    batch = _decode(_batch_of, body)
    if batch.mode not in ("all_or_nothing", "independent"):
        detail = "Send all_or_nothing or independent."
        raise Invalid([FieldError("mode", "invalid", detail)])
    if not 0 < len(batch.holds) <= HOLDS_PER_REQUEST_MAX:
        code = "too_many" if batch.holds else "missing"
        raise Invalid([FieldError("holds", code, f"Send 1 to {HOLDS_PER_REQUEST_MAX} holds.")])
    if len(batch.holds) + sum(len(one.alternatives or ()) for one in batch.holds) > (
        HOLDS_PER_REQUEST_MAX
    ):
        detail = f"Send at most {HOLDS_PER_REQUEST_MAX} holds and alternatives in all."
        raise Invalid([FieldError("holds", "too_many", detail)])
    holds = [
        _new_hold(one, caller, now, f"holds[{index}].") for index, one in enumerate(batch.holds)
    ]
    return tuple(holds), batch.mode == "all_or_nothing"


def read_release(
    body: bytes, customer: str, hold_id: str, render: RenderStep, key: Key | None
) -> Release:
    """What releases a hold. Raises `Malformed`, `Invalid`."""
    _decode(_nothing_of, body or b"{}")
    return Release(customer, hold_id, _digest("release"), render, key)


def read_extend(
    body: bytes, customer: str, hold_id: str, render: RenderStep, key: Key | None
) -> Extend:
    """What extends a hold. Raises `Malformed`, `Invalid`."""
    ttl_s = _ttl(_decode(_extend_of, body or b"{}").ttl_s, "ttl_s")
    return Extend(customer, hold_id, _digest("extend"), render, key, ttl_s=ttl_s)


def confine_step(step: Step, caller: Caller) -> Step:
    """The step, of a hold within the caller's path alone. Raises `Invalid` for a capture by events
    that lie elsewhere.
    """
    events = step.events if isinstance(step, Capture) else None
    for index, event in enumerate(events.events if events is not None else ()):
        if type(event) is Event:
            _confine(caller, event.path, f"events[{index}].path")
    return replace(step, within=caller.path)


def read_capture(
    raw: bytes, customer: str, hold_id: str, render: RenderStep, key: Key | None, now: datetime
) -> Capture:
    """What captures a hold. Raises `Malformed`, `Invalid`."""
    body = _decode(_capture_of, raw)
    given = [name for name in ("amount", "amounts", "events") if getattr(body, name) is not None]
    if len(given) != 1:
        detail = "Send one of amount, amounts and events."
        raise Invalid([FieldError(given[1] if given else "amount", "invalid", detail)])
    if body.keep_open and key is None:
        detail = "A part is charged each time it is sent: send an Idempotency-Key with each."
        raise Invalid([FieldError("keep_open", "needs_idempotency_key", detail)])
    amount = amounts = events = None
    if body.amount is not None:
        amount = _number(body.amount, "amount")
    if body.amounts is not None:
        amounts = _amounts(body.amounts)
    if body.events is not None:
        events = _events(body.events, customer, now)
    said: list[object] = ["capture", body.keep_open]
    said += [format_decimal(amount)] if amount is not None else []
    if amounts is not None:
        said += [[asset, format_decimal(amounts[asset])] for asset in sorted(amounts)]
    if events is not None:
        said += [[e.source, e.id, e.digest] for e in events.events if type(e) is Event]
    return Capture(
        customer, hold_id, _digest(said), render, key, amount=amount, amounts=amounts,
        events=events, keep_open=body.keep_open,
    )  # fmt: skip


def _decode(read: Callable[[bytes], Body], body: bytes) -> Body:
    try:
        return read(body)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        path, reason = (found[1], text[: found.start()]) if found else ("", text)
        raise Invalid([_field_error(path, reason)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise Malformed(reason=f"it is not valid JSON: {reason}.") from None


def _field_error(path: str, reason: str) -> FieldError:
    named = re.search(r"(unknown|required) field `(.*)`$", reason)
    if named is None:
        return FieldError(path, "invalid", f"{reason}.")
    where = f"{path}.{named[2]}".lstrip(".")
    if named[1] == "unknown":
        return FieldError(where, "unknown_field", "There is no such field here. Leave it out.")
    return FieldError(where, "missing", "This field is needed.")


def _check_name(text: str, path: str) -> None:
    if not 0 < len(text) <= NAME_CHARS_MAX or not text.isprintable():
        detail = f"Send 1 to {NAME_CHARS_MAX} printable characters."
        raise Invalid([FieldError(path, "invalid_text", detail)])


def _amounts(body: Sequence[_Amount]) -> dict[str, Decimal]:
    """The amount of each asset, each named once."""
    amounts: dict[str, Decimal] = {}
    for index, one in enumerate(body):
        at = f"amounts[{index}]"
        _check_name(one.asset, f"{at}.asset")
        if one.asset in amounts:
            detail = "This asset stands in the list twice. Send its amounts as one."
            raise Invalid([FieldError(f"{at}.asset", "duplicate", detail)])
        amounts[one.asset] = _number(one.amount, f"{at}.amount")
    return amounts


def _new_hold(body: _Hold, caller: Caller, now: datetime, at: str) -> NewHold:
    if not body.customer.isprintable() or not caller.may_see(body.customer):
        raise NotFound(kind="customer", key=body.customer)
    if caller.path is not None:
        _confine(caller, body.path, f"{at}path")
        body.path = body.path or caller.path
    for name, text in (("path", body.path), ("feature", body.feature), ("asset", body.asset)):
        if text is not None:
            _check_name(text, f"{at}{name}")
    quantity = ONE if body.quantity is None else _number(body.quantity, f"{at}quantity")
    ttl_s = _ttl(body.ttl_s, f"{at}ttl_s")
    needs: tuple[Need, ...] = ()
    estimate = None
    if body.estimate is not None:
        if body.amount is not None:
            detail = "Send an amount or an estimate, not both."
            raise Invalid([FieldError(f"{at}estimate", "conflicting_fields", detail)])
        estimate = _estimate(body.estimate, body, now, f"{at}estimate")
    elif body.amount is not None:
        if body.asset is None:
            raise Invalid([FieldError(f"{at}asset", "missing", "Say what the amount is of.")])
        needs = (Need(body.asset, _number(body.amount, f"{at}amount")),)
    elif body.feature is None:
        detail = "Send an amount, an estimate, or the feature that a slot is taken of."
        raise Invalid([FieldError(f"{at}amount", "missing", detail)])
    alternatives = () if body.alternatives is None else _alternatives(body, now, at)
    approvals = () if body.approval is None else _approvals(body.approval, f"{at}approval")
    ask = Ask(needs, body.path, body.feature, quantity, approvals)
    return NewHold(body.customer, ask, ttl_s, estimate, alternatives)


def _alternatives(body: _Hold, now: datetime, at: str) -> tuple[Event, ...]:
    """What the estimate may give way to, each of its type and contract unless it says another."""
    wanted = body.alternatives or ()
    first = body.estimate
    if first is None:
        detail = "Send an estimate, which these are tried in place of."
        raise Invalid([FieldError(f"{at}alternatives", "conflicting_fields", detail)])
    if len(wanted) > ALTERNATIVES_MAX:
        detail = f"Send at most {ALTERNATIVES_MAX} alternatives."
        raise Invalid([FieldError(f"{at}alternatives", "too_many", detail)])
    return tuple(
        _estimate(
            _Estimate(one.type or first.type, one.data, first.subscription), body, now,
            f"{at}alternatives[{index}]",
        )
        for index, one in enumerate(wanted)
    )  # fmt: skip


def _confine(caller: Caller, path: str | None, at: str) -> None:
    outside = caller.outside(path)
    if outside is not None:
        raise Invalid([replace(outside, path=at)])


def _approvals(value: str | list[str], path: str) -> tuple[str, ...]:
    """The ids of approvals, each once."""
    ids = [value] if isinstance(value, str) else value
    if len(ids) > APPROVALS_PER_HOLD_MAX:
        detail = f"Name at most {APPROVALS_PER_HOLD_MAX} approvals."
        raise Invalid([FieldError(path, "too_many", detail)])
    for one in ids:
        _check_name(one, path)
    return tuple(dict.fromkeys(ids))


def _number(value: _Number, path: str) -> Decimal:
    number = None
    if isinstance(value, str):
        number = parse_decimal(value)
    elif value is not None and abs(value) <= SAFE_INTEGER:
        number = Decimal(value)
    if number is None:
        detail = (
            'Send a decimal in quotes, such as "0.05" (at most 18 digits before the point and 12 '
            "after)."
        )
        raise Invalid([FieldError(path, "invalid", detail)])
    if number < ZERO:
        raise Invalid([FieldError(path, "negative", "Send 0 or more.")])
    return number


def _ttl(ttl_s: int, path: str) -> int:
    if not 1 <= ttl_s <= TTL_S_MAX:
        raise Invalid([FieldError(path, "invalid", f"Send 1 to {TTL_S_MAX} seconds.")])
    return ttl_s


def _estimate(body: _Estimate, hold: _Hold, now: datetime, at: str) -> Event:
    raw = {"id": "estimate", "subject": hold.customer, "type": body.type, "data": body.data,
           "path": hold.path, "subscription": body.subscription}  # fmt: skip
    (event,) = read_events(_encode(raw), "one", now)
    if isinstance(event, InvalidEvent):
        error = event.error
        raise Invalid([FieldError(f"{at}.{error.path}", error.code, error.detail)])
    return event


def _events(
    raws: Sequence[Mapping[str, msgspec.Raw]], customer: str, now: datetime
) -> IngestRequest:
    """The events of a capture; one that names no subject is the hold's customer's."""
    subject = msgspec.Raw(_encode(customer))
    body = _encode([{"subject": subject, **raw} for raw in raws])
    events = read_events(body, "batch", now)
    errors = [
        FieldError(f"events[{index}].{event.error.path}", event.error.code, event.error.detail)
        for index, event in enumerate(events)
        if isinstance(event, InvalidEvent)
    ]
    errors += [
        FieldError(f"events[{index}].subject", "invalid", "The hold is another customer's.")
        for index, event in enumerate(events)
        if isinstance(event, Event) and event.customer != customer
    ]
    if errors or not events:
        raise Invalid(errors or [FieldError("events", "missing", "Send the events of the work.")])
    return IngestRequest(events, atomic=True, body_bytes=len(body))


def _digest(said: object) -> bytes:
    return hashlib.sha256(_encode(said)).digest()
