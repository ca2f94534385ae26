"""`POST /v1/events`: what is taken, what is refused by name, and the limits."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.http.app import Application
from taximeter.http.metrics import Metrics
from taximeter.services.committer import Bounds, Committer
from taximeter.services.context import Connection
from taximeter.services.ingest import IngestAnswer, IngestRequest, commit_requests, weight_of
from taximeter.storage.connection import GroupConnection
from tests.http.api import client_for, event, get, problem, put_customer, put_meter, send

BATCH = "application/cloudevents-batch+json"
ONE = "application/cloudevents+json"


@pytest.fixture
async def ready(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of an instance with a customer and a meter that sums `n` of calls."""
    await put_customer(client)
    await put_meter(client)
    return client


async def post(
    client: httpx.AsyncClient, body: bytes | str, content_type: str = "application/json",
    **headers: str,
) -> httpx.Response:  # fmt: skip
    """Send a body as it is."""
    fields = {"content-type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await client.post("/v1/events", content=body, headers=fields)


async def outcome(client: httpx.AsyncClient, body: bytes | str) -> dict[str, Any]:
    """The one result of a body of one event that is not plainly accepted."""
    answer = await post(client, body)
    assert answer.status_code == 200, answer.text
    [result] = answer.json()["results"]
    found: dict[str, Any] = result
    return found


async def used(client: httpx.AsyncClient, customer: str = "acme") -> str:
    """What the meter counts in all."""
    rows = (await get(client, "/v1/meters/tokens/usage", customer=customer, window="total"))["data"]
    return str(rows[0]["value"]) if rows else "0"


CONTENT_TYPES = [
    ("application/json", 200, 200), (ONE, 200, 400), (BATCH, 400, 200),
    ("application/json; charset=utf-8", 200, 200), ("Application/JSON;charset=UTF-8", 200, 200),
    (BATCH + "; charset=UTF-8", 400, 200), ("text/plain", 400, 400), ("", 400, 400),
    ("application/x-www-form-urlencoded", 400, 400), ("application/cloudevents", 400, 400),
]  # fmt: skip


async def test_content_types(ready: httpx.AsyncClient) -> None:
    for number, (content_type, *statuses) in enumerate(CONTENT_TYPES):
        one, other = (json.dumps(event(f"{form}{number}", n=1)) for form in ("one", "batch"))
        for body, status in zip([one, f"[{other}]"], statuses, strict=True):
            answer = await post(ready, body, content_type)
            assert answer.status_code == status, (content_type, body)
            if status == 400:
                problem(answer, 400, "malformed")
    taken = sum(statuses.count(200) for _, *statuses in CONTENT_TYPES)
    assert await used(ready) == str(taken)


async def test_the_answer_counts_and_lists_what_was_not_accepted(ready: httpx.AsyncClient) -> None:
    events = [
        event("a", n=1), event("a", n=1), event("a", n=2), event("b", n="x"), {"id": "c"},
        event("d", n=5), "text", event("e", customer="nobody", n=1), event("f", kind="unknown"),
    ]  # fmt: skip
    answer = await ready.post("/v1/events", json=events)
    assert answer.status_code == 200
    body = answer.json()
    assert {name: body[name] for name in ("accepted", "duplicates", "quarantined", "rejected")} == {
        "accepted": 2, "duplicates": 1, "quarantined": 3, "rejected": 3,
    }  # fmt: skip
    found = [
        (one["index"], one["id"], one["status"], one.get("error", {}).get("code"))
        for one in body["results"]
    ]
    assert found == [
        (1, "a", "duplicate", None), (2, "a", "conflict", "conflict"),
        (3, "b", "quarantined", "non_numeric_value"), (4, "c", "invalid", "missing"),
        (6, None, "invalid", "not_an_object"), (7, "e", "quarantined", "unknown_customer"),
        (8, "f", "quarantined", "no_meter"),
    ]  # fmt: skip
    for one in body["results"]:
        error = one.get("error")
        assert error is None or len(error["detail"]) > 20, "a cure is a sentence"
    assert await used(ready) == "6"

    every = (await ready.post("/v1/events?results=all", json=events)).json()
    assert [one["index"] for one in every["results"]] == list(range(9))
    assert (every["accepted"], every["duplicates"]) == (0, 6)
    fresh = (await ready.post("/v1/events?results=all", json=event("new", n=1))).json()
    assert fresh["results"] == [{"index": 0, "id": "new", "status": "accepted"}]


async def test_an_empty_batch_is_taken(ready: httpx.AsyncClient) -> None:
    expected = {"accepted": 0, "duplicates": 0, "quarantined": 0, "rejected": 0, "results": []}
    for parameters in ("", "?atomic=true", "?results=all"):
        answer = await ready.post(f"/v1/events{parameters}", json=[])
        assert (answer.status_code, answer.json()) == (200, expected)


NO_JSON = [
    b"", b" ", b"null x", b"{", b"[", b'[{"id":1},]', b"{'id':1}", b"\xff\xfe", b"NaN x",
    b'{"id":"\xff"}', b'{"data":{"n":NaN}}', b'{"data":{"n":Infinity}}', b"\xef\xbb\xbf{}",
    b'{"data":{"n":-Infinity}}', b'{"data":{"n":01}}', b'{"data":{"n":1.}}', b'{"a":"\x01"}',
    b'{"data":{"n":+1}}', b'{"data":{"n":.5}}', b"[" * 100_000, b'{"a":' * 100_000,
    '{"id":"x"}'.encode("utf-16"), b'{"id":"\\u12"}', b'[{"id":"a"}] [{"id":"b"}]',
]  # fmt: skip


async def test_a_body_that_is_no_json_is_refused(ready: httpx.AsyncClient) -> None:
    for body in NO_JSON:
        found = problem(await post(ready, body), 400, "malformed")
        assert "JSON" in found["detail"] or "nested" in found["detail"], body[:40]
    assert (await get(ready, "/v1/events"))["data"] == []


async def test_what_is_no_object_is_an_invalid_event(ready: httpx.AsyncClient) -> None:
    for body in (b"1", b'"text"', b"true", b"null", b"1.5", b"[1]", b"[null]"):
        result = await outcome(ready, body)
        assert (result["status"], result["error"]["code"]) == ("invalid", "not_an_object"), body


NAMES = [None, "", " \t", "a\nb", "a\x00b", "\u200b", 7, True, ["a"], {"a": 1}, "x" * 257]


async def test_names_are_text(ready: httpx.AsyncClient) -> None:
    for field in ("id", "type", "subject", "source", "path", "subscription"):
        optional = field in ("source", "path", "subscription")
        for number, value in enumerate(NAMES):
            fine = optional and (value is None or (field == "source" and value == ""))
            one = {**event(f"{field}{number}", n=1), field: value}
            body = await send(ready, [one])
            assert (body["accepted"], body["rejected"]) == ((1, 0) if fine else (0, 1)), (
                field,
                value,
            )
            if not fine:
                error = body["results"][0]["error"]
                code = "missing" if value is None else "invalid_text"
                assert (error["path"], error["code"]) == (field, code), (field, value)


async def test_the_longest_names_are_kept(ready: httpx.AsyncClient) -> None:
    await put_customer(ready, "ü" * 128)
    long = {
        "id": "é" * 256, "source": "s" * 256, "type": "call", "subject": "ü" * 128,
        "path": "team/ä " + "p" * 249, "data": {"n": 3},
    }  # fmt: skip
    assert (await send(ready, [long]))["accepted"] == 1
    assert (await send(ready, [{**long, "subject": "ü" * 129}]))["rejected"] == 1
    assert (await send(ready, [{**long, "subject": "a/b"}]))["rejected"] == 1
    found = await get(ready, f"/v1/events/{'é' * 256}", customer="ü" * 128, source="s" * 256)
    assert (found["path"], found["data"]) == (long["path"], {"n": 3})
    assert await used(ready, "ü" * 128) == "3"


TIMES: list[tuple[object, str | None]] = [
    ("2026-03-10T12:00:00Z", None), ("2026-03-10t12:00:00z", None),
    ("2026-03-10T14:00:00.123456789+02:00", None), ("2026-03-11T12:00:00Z", None),
    ("2026-03-11T12:00:00.000001Z", "in_the_future"), ("2026-03-10 12:00:00Z", "invalid_time"),
    ("2026-03-10T12:00:00", "invalid_time"), ("2026-03-10", "invalid_time"),
    ("2026-02-29T12:00:00Z", "invalid_time"), ("2026-03-10T24:00:00Z", "invalid_time"),
    ("2026-03-10T12:00:60Z", "invalid_time"), ("10000-01-01T00:00:00Z", "invalid_time"),
    ("0000-01-01T00:00:00Z", "invalid_time"), ("٢٠٢٦-03-10T12:00:00Z", "invalid_time"),
    ("1773144000", "invalid_time"), (1773144000, "invalid_time"), (True, "invalid_time"),
    ([], "invalid_time"), ("2026-03-10T12:00:00+99:00", "invalid_time"), (None, None),
    ("1000-01-01T00:00:00Z", None),
]  # fmt: skip


async def test_times(ready: httpx.AsyncClient) -> None:
    for number, (time, code) in enumerate(TIMES):
        body = await send(ready, [{**event(f"e{number}", n=1), "time": time}])
        if code is None:
            assert body["accepted"] == 1, (time, body)
        else:
            error = body["results"][0]["error"]
            assert (error["path"], error["code"]) == ("time", code), time


NUMBERS: list[tuple[str, str | None]] = [
    ("1", "1"), ("0", "0"), ("-0", "0"), ("1.0", "1"), ("1e3", "1000"), ("1E-3", "0.001"),
    ("15e-1", "1.5"), ('"0.000000000001"', "0.000000000001"), ("0.1", "0.1"),
    ("999999999999999999", "999999999999999999"), ("1e17", "100000000000000000"),
    ("0.30000000000000004e0", None), ("1e18", None), ("1e400", None), ("1e-400", None),
    ("1e999999999999999999999", None), ("123456789012345678901234567890", None),
    ("9007199254740993", "9007199254740993"), ("1" * 5000, None), ("0." + "0" * 5000, "0"),
    ("1e-12", "0.000000000001"), ("1e-13", None), ("18446744073709551616", None),
]  # fmt: skip


async def test_numbers_keep_every_digit_or_are_refused(ready: httpx.AsyncClient) -> None:
    for number, (value, counted) in enumerate(NUMBERS):
        customer = f"c{number}"
        await put_customer(ready, customer)
        one = f'{{"id":"a","type":"call","subject":"{customer}","data":{{"n":{value}}}}}'
        other = json.dumps(event("b", n=0, customer=customer))
        body = (await post(ready, f"[{one},{other}]")).json()
        if counted is None:
            assert (body["accepted"], body["rejected"]) == (1, 1), (value[:30], body)
            [result] = body["results"]
            assert (result["index"], result["error"]["path"]) == (0, "data.n")
            assert result["error"]["code"] == "number_out_of_bounds"
        else:
            assert body["accepted"] == 2, (value[:30], body)
            assert await used(ready, customer) == counted


NO_NUMBERS: list[tuple[object, str]] = [
    (True, "non_numeric_value"), ("", "non_numeric_value"), (" 1", "non_numeric_value"),
    ("1 ", "non_numeric_value"), ("１", "non_numeric_value"), ("١", "non_numeric_value"),
    ("1e3", "non_numeric_value"), ("NaN", "non_numeric_value"), ("+1", "non_numeric_value"),
    ("1_000", "non_numeric_value"), ([1], "non_numeric_value"), ({}, "non_numeric_value"),
    (None, "missing_value"), (-1, "negative_value"), ("-0.5", "negative_value"),
    ("1.1234567890123", "non_numeric_value"), ("1" * 19, "non_numeric_value"),
]  # fmt: skip


async def test_a_value_that_is_no_number_waits(ready: httpx.AsyncClient) -> None:
    for number, (value, reason) in enumerate(NO_NUMBERS):
        result = await outcome(ready, json.dumps(event(f"e{number}", n=value)))
        assert (result["status"], result["error"]["code"]) == ("quarantined", reason), value
    assert await used(ready) == "0"


TWICE = [
    '{"id":"a","id":"b","type":"call","subject":"acme","data":{"n":1}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1,"n":2}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1,"o":{"x":1,"x":1}}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1,"o":[{"x":1,"x":1}]}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1},"data":{"n":9}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1,"\\u006e":9}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n" :1, "n":9}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1},"x":{"y":1,"y":2}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1,"n":1}}',
    '{"id":"a","type":"call","subject":"acme","data":{"n":1,"t":"{\\":","n":1}}',
]  # fmt: skip


async def test_a_key_that_stands_twice_makes_its_event_invalid(ready: httpx.AsyncClient) -> None:
    for number, body in enumerate(TWICE):
        good = json.dumps(event(f"ok{number}", n=1))
        answer = (await post(ready, f"[{good},{body}]")).json()
        assert (answer["accepted"], answer["rejected"]) == (1, 1), body
        assert answer["results"][0]["error"]["code"] == "duplicate_key"
    assert await used(ready) == str(len(TWICE))


def with_key(made: dict[str, Any], key: str) -> dict[str, Any]:
    """The event with one more property in its data."""
    return {**made, "data": {**made["data"], key: 1}}


async def test_texts_that_look_like_keys_are_texts(ready: httpx.AsyncClient) -> None:
    texts = ['":', '{"n":1}', '"n" :', "\\", '\\":', "{", "}", "\\u0000", "\\\\u0000"]
    events = [with_key(event(f"e{n}", n=1, text=text), text) for n, text in enumerate(texts)]
    assert (await send(ready, events))["accepted"] == len(texts)
    assert (await post(ready, json.dumps(events, indent=2))).json()["duplicates"] == len(texts)
    found = await get(ready, "/v1/events/e8", customer="acme")
    assert found["data"]["text"] == "\\\\u0000"


ODD_TEXTS = ['"', "\\", "\\n", "{}", "NULL", "null", "a,b", "😀", "'; --", "%s", 'é\\"{', "\u202f!"]


async def test_texts_come_back_as_they_were_sent(ready: httpx.AsyncClient) -> None:
    await put_meter(ready, "by_text", dimensions=["text"])
    texts = [text for text in ODD_TEXTS if text.isprintable()]
    events = [
        {
            **event(text, n=1, text=f"{text}\n\r\t\x01\x7f"),
            "source": text,
            "path": text,
            "more": text,
        }
        for text in texts
    ]
    assert (await send(ready, events))["accepted"] == len(texts)
    assert (await send(ready, events))["duplicates"] == len(texts)
    found = (await get(ready, "/v1/events", customer="acme", limit=100))["data"]
    assert [
        {name: one[name] for name in events[0]}
        for one in sorted(found, key=lambda one: texts.index(one["id"]))
    ] == events
    usage = await get(ready, "/v1/meters/by_text/usage", customer="acme", window="total",
                      group_by="text", limit=100)  # fmt: skip
    assert {row["group"]["text"]: row["value"] for row in usage["data"]} == {
        f"{text}\n\r\t\x01\x7f": "1" for text in texts
    }


NO_TEXTS = [
    ('"data":{"n":1,"t":"a\\u0000b"}', "data"), ('"data":{"n":1,"a\\u0000":1}', "data"),
    ('"data":{"n":1},"extra":"\\u0000"', "data"), ('"data":{"n":1,"t":"\\ud800"}', ""),
    ('"data":{"n":1,"\\udc00":1}', ""), ('"data":{"n":1},"x":["\\ud800\\ud800"]', ""),
    ('"data":{"n":1},"path":"\\ud83d"', ""),
]  # fmt: skip


async def test_characters_that_text_cannot_hold(ready: httpx.AsyncClient) -> None:
    for number, (field, path) in enumerate(NO_TEXTS):
        good = json.dumps(event(f"b{number}", n=1))
        body = f'[{{"id":"a","type":"call","subject":"acme",{field}}},{good}]'
        answer = (await post(ready, body)).json()
        assert (answer["accepted"], answer["rejected"]) == (1, 1), field
        error = answer["results"][0]["error"]
        assert (error["path"], error["code"]) == (path, "invalid_text"), field


async def test_half_a_surrogate_in_an_id_is_not_echoed(ready: httpx.AsyncClient) -> None:
    result = await outcome(ready, '{"id":"\\ud800","type":"call","subject":"acme"}')
    assert (result["id"], result["error"]["code"]) == (None, "invalid_text")
    whole = await outcome(ready, '{"id":"\\ud83d\\ude00\\ud800","type":"call","subject":"acme"}')
    assert whole["status"] == "invalid"
    assert (await send(ready, [event("😀", n=1)]))["accepted"] == 1


def nested(depth: int) -> dict[str, Any]:
    """Data of so many levels."""
    data: dict[str, Any] = {"n": 1}
    for _ in range(depth - 1):
        data = {"n": 1, "deeper": data}
    return data


LIMITS: list[tuple[Any, str | None]] = [
    (nested(5), None), (nested(6), "too_deep"), ({"n": 1, "a": [[[[1]]]]}, None),
    ({"n": 1, "a": [[[[[1]]]]]}, "too_deep"), ({"n": 1, "a": [[[[[]]]]]}, "too_deep"),
    ({"n": 1} | {f"p{i}": i for i in range(63)}, None),
    ({"n": 1} | {f"p{i}": i for i in range(64)}, "too_many_properties"),
    ({"n": 1, "o": [{f"p{i}": i for i in range(32)}] * 2}, "too_many_properties"),
    ({"n": 1, "t": "x" * (64 * 1024 - 14)}, None),
    ({"n": 1, "t": "x" * (64 * 1024 - 13)}, "too_large"),
    ({"n": 1, "t": "é" * 33_000}, "too_large"), ({"n": 1, "a": [0] * 40_000}, "too_large"),
    (None, "missing_value"), ([], "not_an_object"), ("text", "not_an_object"),
]  # fmt: skip


async def test_limits_of_an_event(ready: httpx.AsyncClient) -> None:
    for number, (data, code) in enumerate(LIMITS):
        one = {**event(f"a{number}"), "data": data}
        answer = await send(ready, [one, event(f"b{number}", n=1)])
        if code is None:
            assert answer["accepted"] == 2, (number, answer)
            found = await get(ready, f"/v1/events/a{number}", customer="acme")
            assert found["data"] == data
        else:
            assert answer["accepted"] == 1, number
            assert answer["results"][0]["error"]["code"] == code, number


async def test_extension_attributes_are_kept(ready: httpx.AsyncClient) -> None:
    one = {**event("a", n=1), "traceparent": "00-1", "extra": {"deep": [1.50]}, "dataschema": "x"}
    assert (await send(ready, [one]))["accepted"] == 1
    assert (await send(ready, [one]))["duplicates"] == 1
    assert (await send(ready, [{**one, "traceparent": "00-2"}]))["rejected"] == 1
    found = await get(ready, "/v1/events/a", customer="acme")
    assert (found["traceparent"], found["extra"]) == ("00-1", {"deep": [1.5]})


PAIRS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {}, "duplicate"), ({}, {"specversion": "1.0"}, "duplicate"),
    ({}, {"source": ""}, "duplicate"), ({}, {"path": None, "time": None}, "duplicate"),
    ({"time": "2026-03-10T12:00:00Z"}, {"time": "2026-03-10T13:00:00+01:00"}, "duplicate"),
    ({"data": {"n": 1, "m": "x"}}, {"data": {"m": "x", "n": 1}}, "duplicate"),
    ({"data": {"n": 1}}, {"data": {"n": 1.0}}, "duplicate"),
    ({"data": {"n": 100}}, {"data": {"n": 1e2}}, "duplicate"),
    ({"data": {"n": 1}}, {"data": {"n": 2}}, "conflict"),
    ({"data": {"n": 1}}, {"data": {"n": "1"}}, "conflict"), ({}, {"path": "a"}, "conflict"),
    ({"time": "2026-03-10T12:00:00Z"}, {"time": "2026-03-10T12:00:01Z"}, "conflict"),
    ({"data": {"n": 1, "l": [1, 2]}}, {"data": {"n": 1, "l": [2, 1]}}, "conflict"),
    ({}, {"type": "other"}, "conflict"), ({}, {"subscription": "s"}, "conflict"),
]  # fmt: skip


@pytest.mark.parametrize("together", [True, False])
async def test_duplicates_and_conflicts(ready: httpx.AsyncClient, together: bool) -> None:
    for number, (first, second, status) in enumerate(PAIRS):
        name = f"e{number}"
        one, other = {**event(name, n=1), **first}, {**event(name, n=1), **second}
        if together:
            [result] = (await send(ready, [one, other]))["results"]
        else:
            assert (await send(ready, [one]))["accepted"] == 1
            [result] = (await send(ready, [other]))["results"]
        assert result["status"] == status, (first, second)
        stored = await get(ready, f"/v1/events/{name}", customer="acme")
        assert stored["data"] == one["data"]


async def test_the_same_identity_elsewhere_is_another_event(ready: httpx.AsyncClient) -> None:
    await put_customer(ready, "other")
    answer = await send(ready, [
        event("a", n=1), event("a", n=1, customer="other"), {**event("a", n=1), "source": "s"},
    ])  # fmt: skip
    assert answer["accepted"] == 3


def packed(events: Sequence[Any], level: int = 9) -> bytes:
    return gzip.compress(json.dumps(list(events)).encode(), level)


async def test_gzip(ready: httpx.AsyncClient) -> None:
    body = packed([event("a", n=1)])
    half = len(body) // 2
    assert (await post(ready, body, content_encoding="gzip")).json()["accepted"] == 1
    assert (await post(ready, body, content_encoding=" GZIP ")).json()["duplicates"] == 1
    parts = gzip.compress(b'[{"id":"b","type":"call",') + gzip.compress(
        b'"subject":"acme","data":{"n":1}}]'
    )
    assert (await post(ready, parts, content_encoding="gzip")).json()["accepted"] == 1
    for bad in (
        body[:half], body[:-1], body + b"garbage", b"garbage", b"", body[:-8] + b"\0" * 8,
        b"\x1f\x8b", gzip.compress(b"") * 101,
    ):  # fmt: skip
        problem(await post(ready, bad, content_encoding="gzip"), 400, "malformed")
    for encoding in ("br", "deflate", "gzip, gzip", "x"):
        problem(await post(ready, body, content_encoding=encoding), 400, "malformed")
    plain = json.dumps(event("c", n=1))
    assert (await post(ready, plain, content_encoding="identity")).json()["accepted"] == 1
    assert await used(ready) == "3"


async def test_a_bomb_is_stopped_as_it_unfolds(ready: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b" " * (200 * 1024 * 1024))
    assert len(bomb) < 1024 * 1024
    problem(await post(ready, bomb, content_encoding="gzip"), 413, "too_large")
    twice = gzip.compress(gzip.compress(b"[]"))
    problem(await post(ready, twice, content_encoding="gzip"), 400, "malformed")


async def test_ten_thousand_events_and_one_more(ready: httpx.AsyncClient) -> None:
    events = [event(f"e{n}", n=1) for n in range(10_001)]
    found = problem(await post(ready, packed(events, 1), content_encoding="gzip"), 413, "too_large")
    assert "10000 events" in found["detail"]
    assert await used(ready) == "0"
    answer = await post(ready, packed(events[:10_000], 1), content_encoding="gzip")
    assert answer.json()["accepted"] == 10_000
    assert await used(ready) == "10000"


async def test_sixteen_mebibytes_and_one_more(ready: httpx.AsyncClient) -> None:
    body = json.dumps([event("a", n=1)]).encode()
    full = body + b" " * (16 * 1024 * 1024 - len(body))
    problem(await post(ready, full + b" "), 413, "too_large")
    problem(
        await post(ready, gzip.compress(full + b" ", 1), content_encoding="gzip"), 413, "too_large"
    )
    assert (await post(ready, full)).json()["accepted"] == 1
    zipped = await post(ready, gzip.compress(full, 1), content_encoding="gzip")
    assert zipped.json()["duplicates"] == 1


async def test_atomic_takes_all_or_nothing(ready: httpx.AsyncClient) -> None:
    assert (await send(ready, [event("old", n=1)]))["accepted"] == 1

    async def refused(*events: Any) -> list[tuple[str, str]]:
        answer = await ready.post("/v1/events?atomic=true", json=list(events))
        found = problem(answer, 422, "atomic_refused")
        return [(error["path"], error["code"]) for error in found["errors"]]

    assert await refused(event("a", n=1), {"id": "b"}) == [("[1].subject", "missing")]
    assert await refused(event("a", n=1), event("old", n=2)) == [("[1].id", "conflict")]
    assert await refused(event("a", n=1), event("a", n=2)) == [("[1].id", "conflict")]
    assert await refused(7) == [("[0]", "not_an_object")]
    body = '[{"id":"a","type":"call","subject":"acme","data":{"n":1,"n":2}}]'
    answer = await ready.post("/v1/events?atomic=true", content=body,
                              headers={"content-type": "application/json"})  # fmt: skip
    problem(answer, 422, "atomic_refused")
    assert await used(ready) == "1"
    # Duplicates and what waits are no reason to refuse.
    answer = await ready.post(
        "/v1/events?atomic=true",
        json=[event("old", n=1), event("a", n=1), event("a", n=1), event("w", n="x")],
    )
    assert answer.status_code == 200
    counts = {name: answer.json()[name] for name in ("accepted", "duplicates", "quarantined")}
    assert counts == {"accepted": 1, "duplicates": 2, "quarantined": 1}
    assert await used(ready) == "2"


async def test_atomic_requests_committed_together(ready: httpx.AsyncClient) -> None:
    """Ten at once that each hold one event of their own and one that all have, each with other
    content: one of them is taken, wholly; the others leave nothing behind.
    """
    bodies = [[event("shared", n=n), event(f"own{n}", n=100)] for n in range(10)]
    answers = await asyncio.gather(
        *[ready.post("/v1/events?atomic=true", json=body) for body in bodies]
    )
    taken = [n for n, answer in enumerate(answers) if answer.status_code == 200]
    assert len(taken) == 1
    assert {answer.status_code for answer in answers} == {200, 422}
    stored = {one["id"] for one in (await get(ready, "/v1/events", customer="acme"))["data"]}
    assert stored == {"shared", f"own{taken[0]}"}
    assert await used(ready) == str(100 + taken[0])


PARAMETERS = [
    ("atomic=yes", "invalid"), ("atomic=", "invalid"), ("results=some", "invalid"),
    ("atomics=true", "unknown_field"), ("=", "unknown_field"), ("a%00=1", "unknown_field"),
    ("%ff=1", "unknown_field"),
]  # fmt: skip


async def test_parameters(ready: httpx.AsyncClient) -> None:
    for query, code in PARAMETERS:
        problem(await ready.post(f"/v1/events?{query}", json=[event("a", n=1)]), 422, code)
    assert await used(ready) == "0"


async def test_other_methods_and_addresses(ready: httpx.AsyncClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        answer = await ready.request(method, "/v1/events")
        assert answer.status_code == 405, method
    assert (await ready.get("/v1/events")).status_code == 200
    for path in ("/v1/events/", "/v1/event", "//v1/events", "/V1/events"):
        answer = await ready.post(path, json=[event("a", n=1)])
        assert answer.status_code in (404, 405), path
    assert await used(ready) == "0"


async def make_key(client: httpx.AsyncClient, *scopes: str, **fields: Any) -> str:
    body = {"name": "test", "scopes": list(scopes), **fields}
    answer = await client.post("/v1/api_keys", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


async def test_who_may_send(ready: httpx.AsyncClient, instance: Instance) -> None:
    for secret in (None, "tx_wrong", "ä", " "):
        headers = [] if secret is None else [(b"authorization", f"Bearer {secret}".encode())]
        async with client_for(instance, None) as stranger:
            answer = await stranger.post("/v1/events", json=[event("a", n=1)], headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    reader = await make_key(ready, "read")
    sender = await make_key(ready, "ingest")
    async with client_for(instance, reader) as client:
        problem(await client.post("/v1/events", json=[event("a", n=1)]), 403, "forbidden")
    async with client_for(instance, sender) as client:
        assert (await send(client, [event("a", n=1)]))["accepted"] == 1
        problem(await client.get("/v1/events"), 403, "forbidden")


async def test_a_key_of_one_customer_sends_for_that_one(
    ready: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(ready, "other")
    secret = await make_key(ready, "ingest", "read", customer="acme")
    events = [event("a", n=1), event("a", n=1, customer="other"), event("b", n=1, customer="ghost")]
    async with client_for(instance, secret) as client:
        answer = await send(client, events)
        assert (answer["accepted"], answer["rejected"]) == (1, 2)
        for result in answer["results"]:
            assert (result["status"], result["error"]["path"]) == ("invalid", "subject")
        problem(await client.post("/v1/events?atomic=true", json=events), 422, "atomic_refused")
        listed = (await get(client, "/v1/events"))["data"]
        assert [one["subject"] for one in listed] == ["acme"]
        problem(await client.get("/v1/events?customer=other"), 404, "not_found")
    assert await used(ready, "other") == "0"


async def test_an_idempotency_key_gives_the_first_answer_again(ready: httpx.AsyncClient) -> None:
    body = json.dumps([event("a", n=1), event("b", n="x")])
    first = await post(ready, body, idempotency_key="k1")
    again = await post(ready, body, idempotency_key="k1")
    assert first.json() == again.json()
    assert (first.json()["accepted"], first.json()["quarantined"]) == (1, 1)
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    problem(await post(ready, body + " ", idempotency_key="k1"), 409, "idempotency_conflict")
    other = await post(ready, body, idempotency_key="k2")
    assert (other.json()["accepted"], other.json()["duplicates"]) == (0, 2)
    with_query = await ready.post(
        "/v1/events?results=all", content=body,
        headers={"idempotency-key": "k1", "content-type": "application/json"},
    )  # fmt: skip
    problem(with_query, 409, "idempotency_conflict")
    for bad in ("", "x" * 256, "a\tb"):
        found = problem(await post(ready, body, idempotency_key=bad), 422, "invalid_text")
        assert found["errors"][0]["path"] == "Idempotency-Key"
    assert await used(ready) == "1"


async def test_an_idempotency_key_remembers_a_refusal(ready: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k"}
    body = [event("a", n=1), {"id": "b"}]
    first = await ready.post("/v1/events?atomic=true", json=body, headers=headers)
    again = await ready.post("/v1/events?atomic=true", json=body, headers=headers)
    for answer in (first, again):
        problem(answer, 422, "atomic_refused")
    assert again.headers["idempotent-replay"] == "true"
    assert first.json()["errors"] == again.json()["errors"]


async def test_idempotency_keys_within_one_commit(
    ready: httpx.AsyncClient, instance: Instance
) -> None:
    """Many at once: the same key twice, the same key with another body, other keys' scopes."""
    other = await make_key(ready, "ingest")
    one, two = json.dumps(event("a", n=1)), json.dumps(event("b", n=10))
    async with client_for(instance, other) as stranger:
        answers = await asyncio.gather(
            *[post(ready, one, idempotency_key="same") for _ in range(10)],
            *[post(ready, two, idempotency_key="same") for _ in range(10)],
            post(stranger, two, idempotency_key="same"),
        )
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 10 + [409] * 10 + [200]
    assert [a.headers.get("idempotent-replay") for a in answers[:10]].count("true") == 9
    assert all(answer.json()["accepted"] == 1 for answer in answers[:10])
    assert answers[-1].json()["accepted"] == 1
    assert await used(ready) == "11"


async def test_a_client_that_leaves_is_not_answered(
    ready: httpx.AsyncClient, instance: Instance
) -> None:
    """It closed the connection in the middle of its body: nothing is taken and nothing breaks."""
    parts = iter([
        {"type": "http.request", "body": b'[{"id":"a",', "more_body": True},
        {"type": "http.disconnect"},
    ])  # fmt: skip
    sent = []

    async def receive() -> dict[str, Any]:
        return cast("dict[str, Any]", next(parts))

    async def collect(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/events", "query_string": b"",
        "headers": [(b"authorization", str(ready.headers["authorization"]).encode()),
                    (b"content-type", b"application/json")],
    }  # fmt: skip
    await instance.app(scope, receive, collect)
    assert sent == []
    assert (await send(ready, [event("a", n=1)]))["accepted"] == 1


async def test_over_capacity_nothing_is_taken(ready: httpx.AsyncClient, instance: Instance) -> None:
    """A queue of three events before a database that is slow: the fourth is told to come again."""
    under_way, opened = asyncio.Event(), asyncio.Event()
    server = instance.server

    async def commit(
        connection: Connection, requests: Sequence[IngestRequest]
    ) -> Sequence[IngestAnswer]:
        under_way.set()
        await opened.wait()
        return await commit_requests(instance.context, connection, requests)

    async def connect() -> GroupConnection:
        return await GroupConnection.connect(instance.database_url)

    tiny = Committer(
        connect=connect, commit=commit, weight=weight_of, bounds=Bounds(100, waiting_max=3)
    )
    app = Application(replace(server, ingest=tiny, metrics=Metrics()))
    transport = httpx.ASGITransport(app)
    tiny.start()
    async with httpx.AsyncClient(
        transport=transport, base_url="http://tiny", headers=ready.headers
    ) as client:
        tasks = [asyncio.create_task(send(client, [event("first", n=1)]))]
        await under_way.wait()
        tasks += [asyncio.create_task(send(client, [event(f"e{n}", n=1)])) for n in range(3)]
        for _ in range(6_000):  # a minute: a slow machine is not a full one
            if tiny.weight_waiting == 3:
                break
            await asyncio.sleep(0.01)
        refused = await client.post("/v1/events", json=[event("late", n=100)])
        problem(refused, 503, "over_capacity")
        assert refused.headers["retry-after"] == "1"
        opened.set()
        assert all(answer["accepted"] == 1 for answer in await asyncio.gather(*tasks))
        assert await used(client) == "4"
        assert (await send(client, [event("late", n=100)]))["accepted"] == 1
    await tiny.stop()


async def test_a_body_in_many_pieces(ready: httpx.AsyncClient) -> None:
    body = json.dumps([event(f"e{n}", n=1) for n in range(50)]).encode()

    async def pieces() -> Any:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    answer = await ready.post(
        "/v1/events", content=pieces(), headers={"content-type": "application/json"}
    )
    assert answer.json()["accepted"] == 50


async def test_errors_carry_an_id_and_no_secret(ready: httpx.AsyncClient) -> None:
    found = problem(await post(ready, b"{"), 400, "malformed")
    assert found["request_id"].startswith("req_")
    assert found["type"] == "urn:taximeter:error:malformed"
    for word in ("Traceback", "psycopg", "SELECT", "msgspec", "tx_"):
        assert word not in json.dumps(found)
