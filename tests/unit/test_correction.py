"""What a corrected event becomes, and which events a backfill is about."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from taximeter.domain.metering.backfill import Backfill, BackfillKind, BackfillState, Step
from taximeter.domain.metering.correction import amended
from taximeter.domain.metering.event import Event
from taximeter.kernel.errors import FieldError, InvalidState
from taximeter.kernel.times import Period

AT = datetime(2026, 2, 1, tzinfo=UTC)
EVENT = Event(
    "acme", "s", "a", "call", AT, AT, {"q": 1}, "digest", "team", "sub_1", {"traceparent": "00"}
)
BACKFILL = Backfill(
    id="bf_1", kind="events", customer="acme", types=("call", "text"), meter=None,
    span=Period(datetime(2026, 1, 1, tzinfo=UTC), AT), replaces=True, reason="r", state="open",
    actor="key_1", created_at=AT, started_at=None, ended_at=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, (AT, "team", {"q": 1})),
        ({"data": {"q": 2}}, (AT, "team", {"q": 2})),
        ({"path": None}, (AT, None, {"q": 1})),
        ({"time": "2026-01-31T12:00:00+01:00"},
         (datetime(2026, 1, 31, 11, tzinfo=UTC), "team", {"q": 1})),
    ],
)  # fmt: skip
def test_an_amended_event_keeps_what_is_not_said(
    change: Mapping[str, object], said: tuple[object, ...]
) -> None:
    found = amended(EVENT, change, AT)
    assert isinstance(found, Event)
    assert (found.time, found.path, found.data) == said
    assert found == Event(
        "acme", "s", "a", "call", found.time, AT, found.data, "digest", found.path, "sub_1",
        {"traceparent": "00"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        ({"time": "2026-02-02T00:00:01Z"}, "time", "in_the_future"),
        ({"path": ""}, "path", "invalid_text"),
        ({"data": {"a": [[[[[1]]]]]}}, "data.a[0][0][0][0]", "too_deep"),
    ],
)
def test_it_obeys_what_every_event_does(change: Mapping[str, object], path: str, code: str) -> None:
    found = amended(EVENT, change, AT)
    assert isinstance(found, FieldError)
    assert (found.path, found.code) == (path, code)


def test_a_backfill_is_about_its_customer_types_and_span() -> None:
    def problem(one: Backfill, customer: str, kind: str, time: datetime) -> str | None:
        event = Event(customer, "", "a", kind, time, AT, {}, "digest")
        found = one.stranger(event)
        return None if found is None else found.path

    inside = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    assert problem(BACKFILL, "acme", "text", inside) is None
    assert problem(BACKFILL, "other", "text", inside) == "subject"
    assert problem(replace(BACKFILL, customer=None), "other", "text", inside) is None
    assert problem(BACKFILL, "acme", "image", inside) == "type"
    assert problem(BACKFILL, "acme", "call", AT) == "time"


@pytest.mark.parametrize(
    ("state", "kind", "step", "allowed"),
    [
        ("open", "events", "load", True),
        ("open", "meter", "load", False),
        ("applied", "events", "load", False),
        ("applied", "events", "preview", False),
        ("applied", "events", "apply", True),
        ("applied", "events", "revert", True),
        ("open", "events", "revert", False),
        ("incomplete", "meter", "apply", True),
        ("discarded", "events", "apply", False),
        ("reverting", "events", "apply", False),
        ("reverted", "events", "revert", True),
    ],
)
def test_its_state_allows_steps(
    state: BackfillState, kind: BackfillKind, step: Step, allowed: bool
) -> None:
    one = replace(BACKFILL, state=state, kind=kind)
    if allowed:
        one.check(step)
    else:
        with pytest.raises(InvalidState):
            one.check(step)
