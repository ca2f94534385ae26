"""Meters: versions, what may change, and the events that waited for one."""

from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from tests.http.api import client_for, event, get, problem, put_customer, put_meter, send

METER = {
    "event_type": "llm.completion",
    "aggregation": "sum",
    "value": "input_tokens",
    "dimensions": ["model"],
    "filter": {"region": ["eu", "us"]},
    "unit": "token",
    "name": "Input tokens",
}


async def test_a_meter_is_created_once_and_changed_by_versions(client: httpx.AsyncClient) -> None:
    created = await client.put("/v1/meters/input", json=METER)
    assert created.status_code == 201
    assert created.json() == {
        "key": "input", "version": 1, **METER, "created_at": "2026-03-10T12:00:00Z",
    }  # fmt: skip

    same = {**METER, "key": "input", "filter": {"region": ["us", "eu"]}, "description": ""}
    again = await client.put("/v1/meters/input", json=same)
    assert (again.status_code, again.json()) == (200, created.json())

    changed = await client.put("/v1/meters/input", json={**METER, "unit": "kilotoken"})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert await get(client, "/v1/meters/input") == changed.json()


async def test_the_event_type_of_a_meter_stays(client: httpx.AsyncClient) -> None:
    await client.put("/v1/meters/input", json=METER)
    answer = await client.put("/v1/meters/input", json={**METER, "event_type": "image"})
    found = problem(answer, 422, "immutable")
    assert [error["path"] for error in found["errors"]] == ["event_type"]
    assert (await get(client, "/v1/meters/input"))["version"] == 1


async def test_meters_are_listed_by_key_in_their_newest_version(client: httpx.AsyncClient) -> None:
    for key in ("c", "a", "b"):
        await put_meter(client, key)
    await put_meter(client, "b", unit="call")
    first = await get(client, "/v1/meters", limit=2)
    assert [(meter["key"], meter["version"]) for meter in first["data"]] == [("a", 1), ("b", 2)]
    second = await get(client, "/v1/meters", limit=2, cursor=first["next_cursor"])
    assert [meter["key"] for meter in second["data"]] == ["c"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({}, "event_type", "required"),
        ({**METER, "aggregation": "average"}, "aggregation", "invalid_choice"),
        ({**METER, "agregation": "sum"}, "agregation", "unknown_field"),
        ({**METER, "value": None}, "value", "required"),
        ({**METER, "key": "other"}, "key", "invalid_key"),
        ({**METER, "dimensions": ["a b"]}, "dimensions[0]", "invalid_property"),
        ({**METER, "name": "a\x00b"}, "name", "invalid_text"),
    ],
)
async def test_a_meter_in_error_is_refused_by_field(
    shared: httpx.AsyncClient, body: dict[str, Any], path: str, code: str
) -> None:
    answer = await shared.put("/v1/meters/input", json=body)
    assert answer.status_code == 422, answer.text
    assert (path, code) in [(e["path"], e["code"]) for e in answer.json()["errors"]]
    problem(await shared.get("/v1/meters/input"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b'{"event_type": NaN}', 400, "malformed"),
        (b'{"event_type": "\xff"}', 400, "malformed"),
        (b'{"event_type": "\\ud800"}', 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b'{"event_type": "a", "event_type": "b"}', 422, "duplicate_key"),
        (b'{"event_type": "a", "filter": {"x": ["1"], "x": ["2"]}}', 422, "duplicate_key"),
    ],
)
async def test_a_body_that_is_no_plain_object_is_refused(
    shared: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    problem(await shared.put("/v1/meters/input", content=body), status, code)


@pytest.mark.parametrize("key", ["%00", "a%00", "%FF", "-a", "a" * 129, "a%0A", "%20"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_key_that_is_none_is_refused(
    shared: httpx.AsyncClient, method: str, key: str
) -> None:
    answer = await shared.request(method, f"/v1/meters/{key}", json=METER)
    assert answer.status_code == 422, answer.text


async def test_only_admin_keys_change_meters(client: httpx.AsyncClient, instance: Instance) -> None:
    made = await client.post("/v1/api_keys", json={"name": "reader", "scopes": ["read"]})
    async with client_for(instance, made.json()["secret"]) as reader:
        problem(await reader.put("/v1/meters/input", json=METER), 403, "forbidden")
        assert (await get(reader, "/v1/meters"))["data"] == []
    async with client_for(instance, None) as stranger:
        problem(await stranger.get("/v1/meters"), 401, "unauthorized")


async def test_a_new_meter_releases_the_events_that_waited_for_one(
    client: httpx.AsyncClient,
) -> None:
    await put_customer(client)
    sent = [event("a", n=1), event("b", n="2.5"), event("c", n="x"), event("d", kind="other")]
    assert (await send(client, sent))["quarantined"] == 4

    await put_meter(client)  # of the type `call`
    assert (await get(client, "/v1/meters/tokens/usage"))["data"][0]["value"] == "3.5"
    waiting = await get(client, "/v1/events", status="quarantined")
    assert {(e["id"], e["reason"]) for e in waiting["data"]} == {
        ("c", "non_numeric_value"),
        ("d", "no_meter"),
    }


async def test_a_second_meter_counts_from_its_beginning(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    await send(client, [event("a", n=1)])
    await put_meter(client, "calls", aggregation="count")
    await send(client, [event("b", n=2)])
    assert (await get(client, "/v1/meters/calls/usage"))["data"][0]["value"] == "1"
    assert (await get(client, "/v1/meters/tokens/usage"))["data"][0]["value"] == "3"
