"""`/v1/holds`: the hot routes of authorization, and the reading of holds.

Authentication, limits and errors are the ones that every route shares. Owns their answers; what a
body may be is hold_bodies.py's.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Response

from taximeter.domain.credit.hold import Hold, LimitValue, Refused
from taximeter.http.fields import LIMIT, Cursor, CustomerKey, Limit
from taximeter.http.hold_bodies import (
    confine_step,
    read_batch,
    read_capture,
    read_extend,
    read_hold,
    read_release,
)
from taximeter.http.hot import Asked, HotRequest, HotRoute, answered_of
from taximeter.http.server import Reader, Server, idempotency_key, ok, page_json
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import format_instant
from taximeter.services import holds
from taximeter.services.command import Answer, Key
from taximeter.services.hold_commit import HoldResult
from taximeter.services.hold_requests import Allowed, HoldAnswer, Place, Resolved, Step
from taximeter.services.holds import Owners

router = APIRouter(prefix="/v1", tags=["Holds"])
PREFIX = "/v1/holds"
_PLACE, _BATCH = PREFIX, f"{PREFIX}/batch"
_STEP = re.compile(r"/v1/holds/([A-Za-z0-9_]{1,64})/(capture|release|extend)").fullmatch
_encode = msgspec.json.Encoder().encode


def place_holds(server: Server, asked: HotRequest) -> Asked:
    """Place one hold or several; raises for what is refused as an error."""
    key = _key(asked)
    now = server.context.clock.now()
    if asked.path == _BATCH:
        holds, together = read_batch(asked.body, asked.caller, now)
        place = Place(holds, together, partial(_render_many, server.owners), key)
    else:
        one = read_hold(asked.body, asked.caller, now)
        place = Place((one,), False, partial(_render_one, server.owners), key)  # noqa: FBT003
    return Asked(server.holds.enqueue(place), answered_of)


def step_hold(server: Server, asked: HotRequest) -> Asked:
    """Do something with one hold; raises for what is refused as an error."""
    return Asked(_step(server, asked, _key(asked)), answered_of)


def _key(asked: HotRequest) -> Key | None:
    """The request's idempotency key, if it has one."""
    if asked.query:
        raise Invalid([FieldError("", "unknown_field", "There are no parameters here.")])
    named = asked.headers.get(b"idempotency-key")
    if named is None:
        return None
    return idempotency_key(asked.caller, named.decode("latin-1"), asked.path, asked.body)


# A hold that is placed is for its client alone: nobody else knows its id.
ROUTES = {
    path: HotRoute(path, "authorize", place_holds, abandons=True) for path in (_PLACE, _BATCH)
}  # fmt: skip
_STEPS = {
    verb: HotRoute(f"{PREFIX}/{{id}}/{verb}", "authorize", step_hold)
    for verb in ("capture", "release", "extend")
}  # fmt: skip


def step_route(path: str) -> HotRoute | None:
    """The route of a step of a hold, if the path is one."""
    step = _STEP(path)
    return None if step is None else _STEPS[step[2]]


async def _step(server: Server, asked: HotRequest, key: Key | None) -> HoldResult:
    """Raises `NotFound` where the caller knows of no such hold."""
    step = _STEP(asked.path)
    assert step is not None, "step_route has said so"
    hold_id, verb = step[1], step[2]
    customer = await server.owners.find(server.context, hold_id)
    if customer is None or not asked.caller.may_see(customer):
        raise NotFound(kind="hold", key=hold_id)
    request: Step
    if verb == "capture":
        now = server.context.clock.now()
        request = read_capture(asked.body, customer, hold_id, _render_step, key, now)
    elif verb == "release":
        request = read_release(asked.body, customer, hold_id, _render_step, key)
    else:
        request = read_extend(asked.body, customer, hold_id, _render_step, key)
    if asked.caller.path is not None:
        request = confine_step(request, asked.caller)
    return await server.holds.submit(request)


def _render_one(owners: Owners, answers: Sequence[HoldAnswer]) -> Answer:
    _note(owners, answers)
    return Answer(200, _encode(answer_json(answers[0])))


def _render_many(owners: Owners, answers: Sequence[HoldAnswer]) -> Answer:
    _note(owners, answers)
    return Answer(200, _encode({"data": [answer_json(answer) for answer in answers]}))


def _note(owners: Owners, answers: Sequence[HoldAnswer]) -> None:
    """Note whose the holds are: the next request names them by id alone."""
    for answer in answers:
        if isinstance(answer, Allowed):
            owners.note(answer.hold.id, answer.hold.customer)


def _render_step(resolved: Resolved) -> Answer:
    return Answer(200, _encode(resolved_json(resolved)))


def answer_json(answer: HoldAnswer) -> dict[str, object]:
    """What became of a hold that was asked for."""
    if isinstance(answer, Refused):
        shown: dict[str, object] = {
            "allowed": False, "reason": answer.reason,
            "limit": {name: _limit_value(value) for name, value in answer.limit.items()},
        }  # fmt: skip
        if answer.shortfall is not None:
            shown["shortfall"] = format_decimal(answer.shortfall)
        return shown
    return _allowed_json(answer)


def _limit_value(value: LimitValue) -> object:
    if isinstance(value, Decimal):
        return format_decimal(value)
    return format_instant(value) if isinstance(value, datetime) else value


def _allowed_json(answer: Allowed) -> dict[str, object]:
    hold = answer.hold
    shown: dict[str, object] = {"allowed": True, "id": hold.id}
    if len(hold.amounts) > 1:
        shown["amounts"] = [
            {"amount": format_decimal(amount), "asset": asset,
             "available": _text(answer.available[asset])}
            for asset, amount in hold.amounts.items()
        ]  # fmt: skip
    else:
        for asset, amount in hold.amounts.items():
            shown |= {"amount": format_decimal(amount), "asset": asset,
                      "available": _text(answer.available[asset])}  # fmt: skip
    shown["expires_at"] = hold.expires_at  # written as format_instant does, and faster
    if answer.alternative is not None:
        shown["alternative"] = answer.alternative
    if answer.warnings:
        shown["warnings"] = list(answer.warnings)
    return shown


def _text(number: Decimal | None) -> str | None:
    return None if number is None else format_decimal(number)


def hold_json(hold: Hold, at: datetime) -> dict[str, object]:
    """A hold as answered."""
    return {
        "id": hold.id,
        "customer": hold.customer,
        "state": hold.state_at(at),
        "amounts": amounts_json(hold.amounts),
        "path": hold.path,
        "feature": hold.feature,
        "quantity": format_decimal(hold.quantity),
        "placed_at": format_instant(hold.placed_at),
        "expires_at": format_instant(hold.expires_at),
        "resolved_at": format_instant(hold.resolved_at) if hold.resolved_at else None,
        "captured": amounts_json(hold.captured) if hold.captured is not None else None,
        "late": hold.late,
    }


def amounts_json(amounts: Mapping[str, Decimal]) -> list[dict[str, str]]:
    """Amounts of several assets, each with its own."""
    return [{"amount": format_decimal(amounts[asset]), "asset": asset} for asset in sorted(amounts)]


def resolved_json(resolved: Resolved) -> dict[str, object]:
    """A hold after a step, and what was charged with it."""
    hold = resolved.hold
    shown = hold_json(hold, hold.resolved_at or hold.placed_at)
    if resolved.charged is not None:
        shown["charged"] = amounts_json(resolved.charged)
    if resolved.ingested is not None:
        shown["events"] = {"accepted": resolved.ingested.accepted}
    return shown


@router.get("/holds/{id}")
async def get_hold(
    id: Annotated[str, Path(max_length=64, description="The hold's id")], call: Reader
) -> Response:
    """One hold: what it reserves, until when, and what became of it."""
    hold = await holds.get_hold(call.context, id, call.caller.customer)
    return ok(hold_json(hold, call.context.clock.now()))


@router.get("/holds")
async def list_holds(
    call: Reader,
    customer: Annotated[CustomerKey, Query()],
    state: Literal["open", "expired", "captured", "released"] | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """A customer's holds, newest first."""
    call.see(customer)
    page = await holds.list_holds(call.context, customer, state=state, limit=limit, cursor=cursor)
    at = call.context.clock.now()
    return ok(page_json(page, lambda hold: hold_json(hold, at)))
