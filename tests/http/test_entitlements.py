"""Checking and agreeing on entitlements: scopes, unknown names, bad input."""

from typing import Any

import httpx
import pytest
import yaml

from taximeter.bootstrap import Instance
from tests.http.api import client_for, event, get, problem, put_customer, put_meter, send

FLAT = {"key": "fee", "type": "flat", "amount": "0.00"}
PATH = "/v1/customers/acme/entitlements"
DAILY = {"meter": "calls", "limit": "10", "window": "day"}


async def put_plan(client: httpx.AsyncClient, *entitlements: Any, **fields: Any) -> httpx.Response:
    """Publish the plan p."""
    body = {
        "currency": "USD", "period": "month", "prices": [FLAT],
        "entitlements": list(entitlements), **fields,
    }  # fmt: skip
    return await client.put("/v1/plans/p", json=body)


async def check(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    """Ask whether acme may use the feature `calls`."""
    body = {"customer": "acme", "feature": "calls", **fields}
    return await client.post("/v1/entitlements/check", json=body)


@pytest.fixture
async def acme(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Acme on a plan with 10 calls a day; `levels` and `peak` are meters of other kinds."""
    await put_customer(client)
    await put_meter(client, "calls", aggregation="count")
    await put_meter(client, "levels", aggregation="weighted_sum")
    await put_meter(client, "peak", aggregation="max")
    answer = await put_plan(client, {"feature": "calls", **DAILY})
    assert answer.status_code == 201, answer.text
    answer = await client.post("/v1/subscriptions", json={"customer": "acme", "plan": "p"})
    assert answer.status_code == 201, answer.text
    return client


async def test_a_check(acme: httpx.AsyncClient) -> None:
    await send(acme, [event(f"e{n}", n=1) for n in range(4)])
    answer = await check(acme, quantity=6)
    assert answer.status_code == 200
    assert answer.json() == {
        "allowed": True, "value": None, "limit": "10", "used": "4", "remaining": "6",
        "resets_at": "2026-03-11T00:00:00Z",
    }  # fmt: skip
    assert (await check(acme, quantity="6.1")).json()["allowed"] is False


async def test_names_that_nobody_knows(acme: httpx.AsyncClient) -> None:
    problem(await check(acme, feature="nope"), 404, "not_found")
    problem(await check(acme, customer="nobody"), 404, "not_found")
    problem(await acme.get("/v1/customers/nobody/entitlements"), 404, "not_found")
    body = {"entitlements": [{"value": True}]}
    nobody = await acme.put("/v1/customers/nobody/entitlements/calls", json=body)
    problem(nobody, 404, "not_found")
    problem(await acme.delete(f"{PATH}/calls"), 404, "not_found")
    # A feature that was ever named stays known, and is off for whom nothing names it.
    await put_plan(acme, {"feature": "later", "value": True})
    assert (await check(acme, feature="later")).json() == {
        "allowed": False, "reason": "entitlement", "value": False, "limit": None, "used": None,
        "remaining": None, "resets_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"feature": "calls"}, 422, "missing"),
        ({"customer": "acme"}, 422, "missing"),
        ({"customer": "acme", "feature": "a b"}, 422, "invalid"),
        ({"customer": "acme", "feature": "calls", "quantity": "-1"}, 422, "invalid"),
        ({"customer": "acme", "feature": "calls", "quantity": 0.5}, 422, "invalid"),
        ({"customer": "acme", "feature": "calls", "amount": "1"}, 422, "unknown_field"),
    ],
)
async def test_a_check_in_error(
    shared: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    problem(await shared.post("/v1/entitlements/check", json=body), status, code)


@pytest.mark.parametrize(
    ("entitlements", "path", "code"),
    [
        ([{**DAILY, "meter": "nope"}], "entitlements[0].meter", "unknown_meter"),
        ([{"value": True}, {**DAILY, "meter": "peak"}], "entitlements[1].meter",
         "unsupported_aggregation"),
        ([{**DAILY, "meter": "levels"}], "entitlements[0].meter", "unsupported_aggregation"),
        ([{**DAILY, "limit": "many"}], "entitlements[0].limit", "invalid_number"),
        ([], "entitlements", "required"),
    ],
)  # fmt: skip
async def test_what_is_agreed_in_error(
    acme: httpx.AsyncClient, entitlements: list[dict[str, Any]], path: str, code: str
) -> None:
    answer = await acme.put(f"{PATH}/calls", json={"entitlements": entitlements})
    [error] = problem(answer, 422, code)["errors"]
    assert error["path"] == path
    # A plan says the same of its entries.
    if entitlements:
        named = [{"feature": "calls", **one} for one in entitlements]
        [error] = problem(await put_plan(acme, *named), 422, code)["errors"]
        assert error["path"] == path


async def test_a_meter_keeps_adding_up_while_a_quota_counts_it(acme: httpx.AsyncClient) -> None:
    changed = {"event_type": "call", "aggregation": "max", "value": "n"}
    answer = await acme.put("/v1/meters/calls", json=changed)
    assert problem(answer, 422, "immutable")["errors"][0]["path"] == "aggregation"
    await put_meter(acme, "agreed", aggregation="count")
    body = {"entitlements": [{**DAILY, "meter": "agreed"}]}
    assert (await acme.put(f"{PATH}/other", json=body)).status_code == 201
    problem(await acme.put("/v1/meters/agreed", json=changed), 422, "immutable")
    await acme.delete(f"{PATH}/other")
    assert (await acme.put("/v1/meters/agreed", json=changed)).status_code == 200


async def test_an_agreement_is_put_again_and_listed_in_pages(acme: httpx.AsyncClient) -> None:
    body = {"entitlements": [{"value": True}]}
    assert (await acme.put(f"{PATH}/a", json=body)).status_code == 201
    assert (await acme.put(f"{PATH}/a", json=body)).status_code == 200
    assert (await acme.put(f"{PATH}/b", json=body)).status_code == 201
    first = await get(acme, PATH, limit=2)
    assert [one["feature"] for one in first["data"]] == ["a", "b"]
    second = await get(acme, PATH, limit=2, cursor=first["next_cursor"])
    assert [one["feature"] for one in second["data"]] == ["calls"]
    assert second["next_cursor"] is None


async def test_what_each_scope_may_do(acme: httpx.AsyncClient, instance: Instance) -> None:
    async def keyed(scope: str, **fields: Any) -> httpx.AsyncClient:
        made = await acme.post("/v1/api_keys", json={"name": scope, "scopes": [scope], **fields})
        return client_for(instance, made.json()["secret"])

    body = {"entitlements": [{"value": True}]}
    async with await keyed("authorize") as authorize, await keyed("read") as read:
        assert (await check(authorize)).status_code == 200
        problem(await authorize.get(PATH), 403, "forbidden")
        problem(await authorize.put(f"{PATH}/calls", json=body), 403, "forbidden")
        problem(await check(read), 403, "forbidden")
        assert (await read.get(PATH)).status_code == 200
    await put_customer(acme, "other")
    async with await keyed("authorize", customer="acme") as confined:
        assert (await check(confined)).status_code == 200
        problem(await check(confined, customer="other"), 404, "not_found")


async def test_a_plan_shows_and_compares_its_entitlements(acme: httpx.AsyncClient) -> None:
    shown = await get(acme, "/v1/plans/p")
    assert shown["entitlements"] == [{"feature": "calls", **DAILY}]
    exported = (await acme.get("/v1/plans/p/export")).text
    assert '- feature: calls\n  meter: calls\n  limit: "10"\n  window: day\n' in exported
    assert yaml.safe_load(exported)["entitlements"] == shown["entitlements"]
    same = {"feature": "calls", **DAILY, "limit": "10.0", "overage": "block"}
    assert (await put_plan(acme, same)).json()["version"] == 1
    answer = await put_plan(
        acme, {"feature": "calls", **DAILY, "limit": "20"}, {"feature": "sso", "value": True}
    )
    assert answer.json()["version"] == 2
    diff = await acme.post("/v1/plans/p/diff", json={"from": 1, "to": 2})
    assert [one["summary"] for one in diff.json()["changes"]] == [
        "entitlement calls per day: limit 10 -> 20",
        "entitlement sso added: value true",
    ]
