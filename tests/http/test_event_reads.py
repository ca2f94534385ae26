"""Reading events, and releasing those that were quarantined."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.services.release import RELEASED_MAX, sweep
from tests.http.api import NOW, event, get, problem, put_customer, put_meter, send


async def test_an_event_comes_back_as_it_was_sent(client: httpx.AsyncClient) -> None:
    body = b"""{"specversion": "1.0", "id": "a/b c", "source": "my-app", "type": "call",
        "subject": "acme", "time": "2026-03-10T12:30:00.5+01:00", "path": "team/agent",
        "traceparent": "00-ab", "weight": 0.10, "status": "mine",
        "data": {"n": 123456789012345678.123456789012, "m": 1e-12, "deep": {"x": [1.50, null]}}}"""
    answer = await client.post(
        "/v1/events", content=body, headers={"content-type": "application/json"}
    )
    assert answer.json()["quarantined"] == 1
    found = await client.get("/v1/events/a%2Fb%20c?customer=acme&source=my-app")
    assert found.status_code == 200, found.text
    assert json.loads(found.text, parse_float=Decimal) == {
        "specversion": "1.0",
        "id": "a/b c",
        "source": "my-app",
        "type": "call",
        "subject": "acme",
        "time": "2026-03-10T11:30:00.500000Z",
        "path": "team/agent",
        "subscription": None,
        "traceparent": "00-ab",
        "weight": Decimal("0.1"),
        "data": {
            "n": Decimal("123456789012345678.123456789012"),
            "m": Decimal("0.000000000001"),
            "deep": {"x": [Decimal("1.5"), None]},
        },
        "status": "quarantined",  # ours, not the sender's attribute of that name
        "reason": "unknown_customer",
        "reason_detail": "There is no such customer yet; the event is released when it is created.",
        "at_stake": [],
        "received_at": "2026-03-10T12:00:00Z",
        "corrections": [],
    }
    problem(await client.get("/v1/events/a%2Fb%20c?customer=acme"), 404, "not_found")
    problem(await client.get("/v1/events/a?customer=other&source=my-app"), 404, "not_found")
    problem(await client.get("/v1/events/a"), 422, "missing")


async def test_events_are_listed_by_customer_and_time(client: httpx.AsyncClient) -> None:
    await put_meter(client)
    for customer in ("acme", "b"):
        await put_customer(client, customer)
    sent = [
        event("3", "2026-03-10T11:00:00Z", n=1),
        event("1", "2026-03-10T10:00:00.000001Z", n=1),
        event("2", "2026-03-10T11:00:00Z", n=1),
        event("4", "2026-03-10T09:00:00Z", n="x", customer="b"),
        event("5", "2026-03-10T09:00:00Z", customer="b", kind="other"),
    ]
    await send(client, sent)

    async def ids(**query: Any) -> str:
        text = ""
        cursor: dict[str, str] = {}
        while True:
            page = await get(client, "/v1/events", limit=2, **query, **cursor)
            text += "".join(found["id"] for found in page["data"])
            if page["next_cursor"] is None:
                return text
            cursor = {"cursor": page["next_cursor"]}

    assert await ids() == "12345"
    assert await ids(customer="acme") == "123"
    assert await ids(customer="nobody") == ""
    assert await ids(type="other") == "5"
    assert await ids(status="accepted") == "123"
    assert await ids(status="quarantined") == "45"
    assert await ids(status="quarantined", type="call", customer="b") == "4"
    span = {"from": "2026-03-10T10:00:00.000001Z", "to": "2026-03-10T11:00:00Z"}
    assert await ids(**span) == "1"  # what begins at `to` is not in it


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("customer=%00", "customer"),
        ("customer=", "customer"),
        ("type=%00", "type"),
        ("type=" + "a" * 257, "type"),
        ("status=voided", "status"),
        ("from=yesterday", "from"),
        ("to=2026-03-10", "to"),
        ("cursor=%FF%FE", "cursor"),
        ("cursor=WyJhIiwgImIiLCAiYyIsICJkIl0", "cursor"),  # ["a", "b", "c", "d"]: no time
        ("limit=-1", "limit"),
    ],
)
async def test_a_list_in_error_is_refused_by_field(
    shared: httpx.AsyncClient, query: str, path: str
) -> None:
    answer = await shared.get(f"/v1/events?{query}")
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == [path]


@pytest.mark.parametrize("path", ["%00", "a%00b", "a%0Ab", "a" * 257])
async def test_an_id_that_is_none_is_refused(shared: httpx.AsyncClient, path: str) -> None:
    assert (await shared.get(f"/v1/events/{path}?customer=a")).status_code in (404, 422)
    assert (await shared.get("/v1/events/a?customer=a&source=%00")).status_code == 422


async def test_a_new_customer_gets_the_events_that_waited(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await put_meter(client)
    await put_meter(client, "days", aggregation="unique", value="day")
    sent = [
        event(f"e{n}", f"2026-03-0{1 + n % 9}T10:00:00Z", n=n, day=n % 4) for n in range(1, 2101)
    ]
    sent += [event("x", day=1), event("y", kind="other"), event("z", n=1, day=1, customer="other")]
    for start in range(0, len(sent), 1000):
        await send(client, sent[start : start + 1000])
    assert (await get(client, "/v1/meters/tokens/usage"))["data"] == []

    set_clock(NOW + timedelta(hours=1))
    await put_customer(client)
    total = {"window": "total", "from": "2026-03-01T00:00:00Z"}
    rows = (await get(client, "/v1/meters/tokens/usage", **total))["data"]
    assert [row["value"] for row in rows] == ["2206050"]  # 1 + 2 + ... + 2100 = 2100 x 2101 / 2
    rows = (await get(client, "/v1/meters/days/usage", **total))["data"]
    assert [row["value"] for row in rows] == ["4"]
    waiting = (await get(client, "/v1/events", status="quarantined"))["data"]
    assert {(e["id"], e["reason"]) for e in waiting} == {
        ("x", "missing_value"),
        ("y", "no_meter"),
        ("z", "unknown_customer"),
    }
    released = await get(client, "/v1/events/e1", customer="acme")
    assert (released["status"], released["reason"]) == ("accepted", None)

    await put_customer(client)  # again: nothing is counted twice
    duplicate = await send(client, [event("e1", "2026-03-02T10:00:00Z", n=1, day=1)])
    assert duplicate["duplicates"] == 1
    rows = (await get(client, "/v1/meters/tokens/usage", **total))["data"]
    assert [row["value"] for row in rows] == ["2206050"]


async def test_release_tries_again_what_a_changed_meter_can_read(
    client: httpx.AsyncClient,
) -> None:
    await put_customer(client)
    await put_meter(client)
    await put_meter(client, "others", event_type="other")
    sent = [event("a", n=-1), event("b", m=2), event("c", n=-3), event("d", kind="other")]
    assert (await send(client, [*sent, event("e", customer="nobody")]))["quarantined"] == 5

    async def release(**body: Any) -> dict[str, int]:
        answer = await client.post("/v1/events/release", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, int] = answer.json()
        return found

    assert await release() == {"released": 0, "still_quarantined": 5}
    await put_meter(client, allow_negative=True)
    assert await release(type="other") == {"released": 0, "still_quarantined": 1}
    assert await release(customer="nobody") == {"released": 0, "still_quarantined": 1}
    assert await release(type="call", limit=1) == {"released": 1, "still_quarantined": 3}
    assert await release(customer="acme") == {"released": 1, "still_quarantined": 2}
    answer = await client.post("/v1/events/release")
    assert answer.json() == {"released": 0, "still_quarantined": 3}
    assert (await get(client, "/v1/meters/tokens/usage"))["data"][0]["value"] == "-4"


async def test_release_is_done_once_for_an_idempotency_key(client: httpx.AsyncClient) -> None:
    header = {"idempotency-key": "r1"}
    first = await client.post("/v1/events/release", json={}, headers=header)
    assert first.json() == {"released": 0, "still_quarantined": 0}
    await send(client, [event("a", n=1)])
    again = await client.post("/v1/events/release", json={}, headers=header)
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    other = await client.post("/v1/events/release", json={"limit": 1}, headers=header)
    problem(other, 409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10**30}, "limit"),
        ({"customer": "a/b"}, "customer"),
        ({"type": ""}, "type"),
        ({"types": ["a"]}, "types"),
    ],
)
async def test_a_release_in_error_is_refused_by_field(
    shared: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    answer = await shared.post("/v1/events/release", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == [path]


async def test_the_sweep_releases_what_a_transaction_left(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_meter(client)
    for start in range(0, 21_000, 7_000):
        await send(client, [event(f"e{n}", n=1) for n in range(start, start + 7_000)])
    await send(client, [event("bad", n="x"), event("far", n=1, customer="nobody")])
    await put_customer(client)
    assert (await get(client, "/v1/meters/tokens/usage"))["data"][0]["value"] == str(RELEASED_MAX)
    assert await sweep(instance.context) == 21_000 - RELEASED_MAX
    assert (await get(client, "/v1/meters/tokens/usage"))["data"][0]["value"] == "21000"
    assert await sweep(instance.context) == 0
    waiting = (await get(client, "/v1/events", status="quarantined"))["data"]
    assert {found["id"] for found in waiting} == {"bad", "far"}


async def test_releases_at_the_same_time_count_once(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    await send(client, [event(f"e{n}", n=1) for n in range(500)])
    await send(client, [event(f"bad{n}", n=-1) for n in range(500)])
    await put_meter(client)
    await put_meter(client, allow_negative=True)
    answers = await asyncio.gather(
        *(client.post("/v1/events/release", json={}) for _ in range(4)),
        *(sweep(instance.context) for _ in range(2)),
    )
    released = [a.json()["released"] for a in answers if isinstance(a, httpx.Response)]
    assert sorted(released) == [0, 0, 0, 500]
    assert (await get(client, "/v1/meters/tokens/usage"))["data"][0]["value"] == "0"
    page = await get(client, "/v1/events", status="quarantined")
    assert page["data"] == []
