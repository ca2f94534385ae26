"""Reading an event: its digest is what it always was, and what is read sooner is read the same."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.metering.event import Event, InvalidEvent, check_data, read_event
from taximeter.kernel.times import parse_instant

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
VALUES = st.one_of(
    st.text(max_size=3), st.booleans(), st.none(), st.decimals(-2, 2, places=1),
    st.sampled_from([0, -1, 10**18 - 1, 1 - 10**18, 10**18, -(10**18), Decimal("0.0000000000001")]),
    st.sampled_from([[], [10**18], {}, {"a": {"b": {"c": {"d": {}}}}}]),
)  # fmt: skip
DATA = st.one_of(
    st.dictionaries(st.text("abc", max_size=2), VALUES, max_size=5),
    st.integers(63, 66).map(lambda count: {str(n): n for n in range(count)}),
)
# Texts of an instant, one character of which may be another.
INSTANT = st.sampled_from(
    ["2026-01-05T10:00:00Z", "2026-01-05t10:00:00z", "2026-01-05T10:00:00.123Z",
     "2026-01-05T10:00:00.123456789Z", "2026-01-05T10:00:00.1234567890123Z",
     "2026-01-05T11:00:00+01:00", "2026-12-31T23:59:59Z"]
)  # fmt: skip
PATTERN = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,12})?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])\Z"
)


def read(**fields: Any) -> Event | InvalidEvent:
    return read_event({"id": "1", "subject": "acme", "source": "app", "type": "call"} | fields, NOW)


@pytest.mark.parametrize(
    ("fields", "digest"),
    [
        (
            {"time": "2026-01-05T10:00:00Z", "data": {"tokens": 12, "model": "a"}},
            "585498c2bc5bd4b449bcd65c5cba2c6e",
        ),
        (  # the same instant and data in other words
            {"time": "2026-01-05T11:00:00.000+01:00", "data": {"model": "a", "tokens": 12}},
            "585498c2bc5bd4b449bcd65c5cba2c6e",
        ),
        (
            {"time": "2026-01-05t10:00:00z", "data": {"tokens": 12, "model": "a"}},
            "585498c2bc5bd4b449bcd65c5cba2c6e",
        ),
        (
            {"path": "team/ann", "subscription": "sub_1", "traceparent": "00-1",
             "data": {"text": 'é"\\'}},
            "b92944f07d8401dfa215d3f530930096",
        ),
    ],
)  # fmt: skip
def test_a_digest_stays_what_is_stored(fields: Mapping[str, Any], digest: str) -> None:
    event = read(**fields)
    assert isinstance(event, Event)
    assert event.digest == digest


@given(DATA)
def test_data_is_refused_for_what_breaks_a_limit_alone(data: dict[str, Any]) -> None:
    found = read(data=data)
    problem = check_data(data)
    assert (found.error if isinstance(found, InvalidEvent) else None) == problem


@given(st.sampled_from(["id", "subject", "source", "type"]), st.one_of(VALUES, st.just("x" * 257)))
def test_a_name_is_refused_however_often_others_were_read(field: str, value: Any) -> None:
    assert isinstance(read(), Event)
    named = type(value) is str and 0 < len(value) <= 256 and value.isprintable()
    named = named and not (field == "subject" and "/" in value)
    left_out = field == "source" and value in (None, "")
    assert isinstance(read(**{field: value}), Event if named or left_out else InvalidEvent)


@given(INSTANT, st.integers(0, 40), st.text("0123459TtZz:.-+ W\uff11", max_size=2))
def test_an_instant_is_what_the_pattern_says(text: str, at: int, other: str) -> None:
    changed = text[:at] + other + text[at + 1 :]
    expected = None
    if PATTERN.match(changed):
        try:
            expected = datetime.fromisoformat(changed.upper()).astimezone(UTC)
        except ValueError:
            expected = None
    if expected is not None and not 1000 <= expected.year <= 8999:
        expected = None
    assert parse_instant(changed) == expected
