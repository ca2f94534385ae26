"""`POST /v1/events`: the hot route of ingestion.

Owns its parsing and its answer. Authentication, limits and errors are the ones that every route
shares.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import structs

from taximeter.domain.metering.event import Event, InvalidEvent
from taximeter.http.cloudevents import CONTENT_TYPES, read_events
from taximeter.http.hot import REPLAY, Answered, Asked, HotRequest, HotRoute, answered_of
from taximeter.http.problem import problem
from taximeter.http.server import Server, idempotency_key
from taximeter.kernel.errors import (
    FieldError,
    IdempotencyConflict,
    Invalid,
    Malformed,
)
from taximeter.services.command import Answer
from taximeter.services.hold_requests import Enforce
from taximeter.services.ingest import IngestAnswer, IngestRequest, Outcome
from taximeter.services.keys import Caller

PARAMETERS = {
    "atomic": ("true", "false"), "enforce": ("true", "false"), "results": ("all", "problems"),
}  # fmt: skip
NOT_YOURS = FieldError("subject", "not_found", "This API key is confined to another customer.")

_encode = msgspec.json.Encoder().encode
_ALL_ACCEPTED = b'{"accepted":%d,"duplicates":0,"quarantined":0,"rejected":0,"results":[]}'


def post_events(server: Server, asked: HotRequest) -> Asked:
    """Take in the events of a body; raises for what is refused as an error."""
    caller, query, headers, body = asked.caller, asked.query, asked.headers, asked.body
    parameters = _parameters(query) if query else {}
    content_type = headers.get(b"content-type", b"")
    shape = CONTENT_TYPES.get(content_type) or shape_of(content_type)
    events = read_events(body, shape, server.context.clock.now())
    if caller.customer is not None:
        events = [_confine(caller, event) for event in events]
    key = headers.get(b"idempotency-key")
    request = IngestRequest(
        events, atomic=parameters.get("atomic") == "true",
        idempotency=idempotency_key(
            caller, key.decode("latin-1"), f"/v1/events?{query.decode('latin-1')}", body
        ) if key is not None else None,
        body_bytes=len(body),
    )  # fmt: skip
    shown = events if parameters.get("results") == "all" else ()
    if parameters.get("enforce") == "true":
        return _enforced(server, request, shown)
    return Asked(server.ingest.enqueue(request), partial(_answered, server, request, shown))


def _answered(
    server: Server,
    request: IngestRequest,
    shown: Sequence[Event | InvalidEvent],
    answer: IngestAnswer,
) -> Answered:
    if answer.reused_key:
        assert request.idempotency is not None
        raise IdempotencyConflict(key=request.idempotency.key)
    replay = REPLAY if answer.replay else {}
    if answer.refused:
        return Answered(422, _refusal(server, answer, len(request.events)), replay)
    if not answer.replay:
        server.metrics.count_events(answer.accepted, [other.status for other in answer.others])
    return Answered(200, render(answer, shown), replay)


def _enforced(
    server: Server, request: IngestRequest, shown: Sequence[Event | InvalidEvent]
) -> Asked:
    """Take the events if they can be paid: as holds are decided."""

    def rendered(answer: IngestAnswer) -> Answer:
        if answer.refused:
            return Answer(422, _refusal(server, answer, len(request.events)))
        return Answer(200, render(answer, shown))

    enforce = Enforce(structs.replace(request, idempotency=None), rendered, request.idempotency)
    return Asked(server.holds.enqueue(enforce), answered_of)


ROUTES = {"/v1/events": HotRoute("/v1/events", "ingest", post_events)}


def _parameters(query: bytes) -> dict[str, str]:
    parameters = {}
    for name, values in parse_qs(query.decode("latin-1"), keep_blank_values=True).items():
        allowed = PARAMETERS.get(name)
        if allowed is None:
            raise Invalid([FieldError(name, "unknown_field", "There is no such parameter here.")])
        if values[-1] not in allowed:
            raise Invalid([FieldError(name, "invalid", f"Send one of {', '.join(allowed)}.")])
        parameters[name] = values[-1]
    return parameters


def shape_of(content_type: bytes) -> str:
    """What a body of this content type is: one event, a batch or either. Raises `Malformed`."""
    shape = CONTENT_TYPES.get(content_type.partition(b";")[0].strip().lower())
    if shape is None:
        known = ", ".join(kind.decode() for kind in CONTENT_TYPES)
        raise Malformed(reason=f"the Content-Type must be one of {known}.")
    return shape


def _confine(caller: Caller, event: Event | InvalidEvent) -> Event | InvalidEvent:
    if type(event) is not Event:
        return event
    if not caller.may_see(event.customer):
        return InvalidEvent(event.id, NOT_YOURS)
    if caller.path is None:
        return event
    outside = caller.outside(event.path)
    if outside is not None:
        return InvalidEvent(event.id, outside)
    return event if event.path is not None else structs.replace(event, path=caller.path)


def _refusal(server: Server, answer: IngestAnswer, count: int) -> bytes:
    fields = [
        FieldError(f"[{other.index}].{other.error.path}".rstrip("."), other.error.code,
                   other.error.detail)
        for other in answer.others
        if other.error is not None
    ]  # fmt: skip
    detail = f"{len(fields)} of {count} events cannot be taken, so none was."
    return problem(422, "atomic_refused", detail, server.context.new_id("req"), fields)


def render(answer: IngestAnswer, show: Sequence[Event | InvalidEvent]) -> bytes:
    """The answer's body: the counts, and each event that was not plainly accepted; those that
    were as well where `show` holds the request's events.
    """
    if not answer.others and not show:
        return _ALL_ACCEPTED % answer.accepted
    counts = {"duplicate": 0, "quarantined": 0, "conflict": 0, "invalid": 0, "refused": 0}
    for other in answer.others:
        counts[other.status] += 1
    results = {other.index: _result(other) for other in answer.others}
    for index, event in enumerate(show):
        results.setdefault(index, {"index": index, "id": event.id, "status": "accepted"})
    return _encode(
        {
            "accepted": answer.accepted,
            "duplicates": counts["duplicate"],
            "quarantined": counts["quarantined"],
            "rejected": counts["conflict"] + counts["invalid"] + counts["refused"],
            "results": [results[index] for index in sorted(results)],
        }
    )


def _result(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "index": outcome.index, "id": outcome.id, "status": outcome.status
    }  # fmt: skip
    if outcome.error is not None:
        path, code, detail = outcome.error.path, outcome.error.code, outcome.error.detail
        result["error"] = {"path": path, "code": code, "detail": detail}
    return result
