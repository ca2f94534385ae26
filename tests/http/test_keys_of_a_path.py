"""Keys that are confined to a path: what they send is there, and its budgets bind them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from tests.http.api import client_for, event, get, problem, put_customer, put_meter
from tests.http.credit import give, put_wallet_price

KEY = {"name": "agent", "scopes": ["ingest", "authorize"], "customer": "acme", "path": "support"}


@pytest.fixture
async def agent(client: httpx.AsyncClient, instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose key is confined to `support`, of a customer with 100 USD."""
    await put_customer(client)
    await put_wallet_price(client)
    await give(client, amount="100")
    made = await client.post("/v1/api_keys", json=KEY)
    assert (made.status_code, made.json()["path"]) == (201, "support")
    async with client_for(instance, made.json()["secret"]) as found:
        yield found


async def hold(client: httpx.AsyncClient, amount: str, **fields: Any) -> httpx.Response:
    body = {"customer": "acme", "asset": "USD", "amount": amount, **fields}
    return await client.post("/v1/holds", json=body)


async def test_its_budget_binds_whatever_path_it_says(
    client: httpx.AsyncClient, agent: httpx.AsyncClient
) -> None:
    body = {"path": "support", "asset": "USD", "limit": "5", "window": "total"}
    assert (await client.put("/v1/customers/acme/budgets/s", json=body)).status_code == 201
    first = (await hold(agent, "2")).json()  # without a path: its own
    assert first["allowed"] is True
    assert (await get(client, f"/v1/holds/{first['id']}"))["path"] == "support"
    assert (await hold(agent, "2", path="support/ann")).json()["allowed"] is True
    refused = (await hold(agent, "2")).json()  # 2 + 2 + 2 > 5
    assert (refused["reason"], refused["limit"]["name"], refused["shortfall"]) == (
        "budget_exceeded", "s", "1",
    )  # fmt: skip
    for path in ("sales", "supporters", "sup"):
        found = problem(await hold(agent, "1", path=path), 422, "outside_path")
        assert found["errors"][0]["path"] == "path"
    batch = {"holds": [{"customer": "acme", "asset": "USD", "amount": "1", "path": "sales"}]}
    found = problem(await agent.post("/v1/holds/batch", json=batch), 422, "outside_path")
    assert found["errors"][0]["path"] == "holds[0].path"


async def test_its_events_are_there_or_are_refused_one_by_one(
    client: httpx.AsyncClient, agent: httpx.AsyncClient
) -> None:
    events = [
        event("a", n=1), {**event("b", n=2), "path": "support/ann"},
        {**event("c", n=4), "path": "sales"}, event("d", customer="other", n=8), {"id": "e"},
    ]  # fmt: skip
    found = (await agent.post("/v1/events", json=events)).json()
    assert (found["accepted"], found["rejected"]) == (2, 3)
    codes = [one["error"]["code"] for one in found["results"]]
    assert codes[:2] == ["outside_path", "not_found"]
    kept = (await get(client, "/v1/events", customer="acme"))["data"]
    assert sorted((one["id"], one["path"]) for one in kept) == [
        ("a", "support"), ("b", "support/ann"),
    ]  # fmt: skip
    # The same event by another key, without a path, is the same event.
    again = (await client.post("/v1/events", json=[event("a", n=1)])).json()
    assert again["duplicates"] == 1


async def test_it_captures_by_events_of_its_path(agent: httpx.AsyncClient) -> None:
    placed = (await hold(agent, "3")).json()
    step = f"/v1/holds/{placed['id']}/capture"
    own = {"id": "w", "type": "call", "data": {"n": 2}}
    outside = {"events": [{**own, "path": "sales"}]}
    found = problem(await agent.post(step, json=outside), 422, "outside_path")
    assert found["errors"][0]["path"] == "events[0].path"
    captured = (await agent.post(step, json={"events": [own]})).json()
    assert captured["charged"] == [{"amount": "2", "asset": "USD"}]


@pytest.mark.parametrize("path", ["sales", "supporters", None])
async def test_it_knows_no_hold_that_lies_elsewhere(
    client: httpx.AsyncClient, agent: httpx.AsyncClient, path: str | None
) -> None:
    """It could charge 90 to another's budget, free what another has reserved, or keep it held."""
    other = (await hold(client, "3", path=path)).json()["id"]
    work = {"events": [{"id": "w", "type": "call", "data": {"n": 2}}]}
    for step, body in (
        ("capture", {"amount": "90"}), ("capture", work), ("extend", {"ttl_s": 3_000}),
        ("release", {}),
    ):  # fmt: skip
        answer = await agent.post(f"/v1/holds/{other}/{step}", json=body)
        problem(answer, 404, "not_found")
    # Nor once it is over: the answer that its owner got is not given again.
    assert (await client.post(f"/v1/holds/{other}/release", json={})).status_code == 200
    problem(await agent.post(f"/v1/holds/{other}/release", json={}), 404, "not_found")


async def test_it_does_nothing_of_the_whole_customer(
    client: httpx.AsyncClient, agent: httpx.AsyncClient
) -> None:
    await put_meter(client, "seen")
    problem(
        await agent.post("/v1/sources/app/heartbeat", json={"sent": 1}), 403, "confined_to_path"
    )
    asked = {"customer": "acme", "feature": "none"}
    problem(await agent.post("/v1/entitlements/check", json=asked), 404, "not_found")
    problem(await agent.get("/v1/customers/acme/balance"), 403, "forbidden")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"customer": None}, "invalid"),
        ({"scopes": ["ingest", "read"]}, "invalid_scope"),
        ({"scopes": ["limits"]}, "invalid_scope"),
        ({"path": "support/"}, "invalid"),
        ({"path": ""}, "invalid"),
    ],
)
async def test_keys_of_a_path_that_cannot_be(
    client: httpx.AsyncClient, change: dict[str, object], code: str
) -> None:
    problem(await client.post("/v1/api_keys", json={**KEY, **change}), 422, code)
