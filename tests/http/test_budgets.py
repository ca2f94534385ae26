"""Routes of budgets and suspensions: what is taken, what is refused, and who may set whose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from tests.http.api import client_for, get, problem, put_customer

BUDGET = {"asset": "USD", "limit": "50", "window": "month"}
BUDGETS = "/v1/customers/acme/budgets"
SUSPENSIONS = "/v1/customers/acme/suspensions"


@asynccontextmanager
async def key_of(
    instance: Instance, client: httpx.AsyncClient, customer: str | None, *scopes: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of its own."""
    body = {"name": "k", "scopes": scopes, "customer": customer}
    answer = await client.post("/v1/api_keys", json=body)
    assert answer.status_code == 201, answer.text
    async with client_for(instance, answer.json()["secret"]) as found:
        yield found


async def put(client: httpx.AsyncClient, name: str = "all", **fields: Any) -> httpx.Response:
    return await client.put(f"{BUDGETS}/{name}", json={**BUDGET, **fields})


async def test_a_budget_is_set_read_replaced_and_deleted(client: httpx.AsyncClient) -> None:
    await put_customer(client, timezone="America/New_York")
    made = await put(client, path="support/agent-7", alerts=["1", "0.25", 1])
    assert made.status_code == 201, made.text
    # It is 10 March: the month began at midnight in New York, which was 5 hours behind then and
    # will be 4 behind at its end.
    assert made.json() == {
        "name": "all", "customer": "acme", "path": "support/agent-7", "asset": "USD",
        "limit": "50", "window": "month", "enforcement": "hard", "alerts": ["0.25", "1"],
        "approve_above": None, "set_by": "seller", "spent": "0", "held": "0", "remaining": "50",
        "period": {"from": "2026-03-01T05:00:00Z", "to": "2026-04-01T04:00:00Z"},
        "resets_at": "2026-04-01T04:00:00Z",
    }  # fmt: skip
    assert await get(client, f"{BUDGETS}/all") == made.json()
    replaced = await put(client, enforcement="soft", window="total", limit=0, approve_above="20.50")
    assert replaced.status_code == 200
    found = replaced.json()
    assert (found["path"], found["enforcement"], found["limit"]) == (None, "soft", "0")
    assert found["approve_above"] == "20.5"
    problem(await put(client, approve_above="-1"), 422, "invalid")
    assert (found["period"], found["resets_at"], found["alerts"]) == (
        None,
        None,
        ["0.5", "0.8", "1"],
    )
    assert (await client.delete(f"{BUDGETS}/all")).json() == found
    problem(await client.delete(f"{BUDGETS}/all"), 404, "not_found")
    problem(await client.get(f"{BUDGETS}/all"), 404, "not_found")


@pytest.mark.parametrize(
    ("window", "period"),
    [
        ("day", ("2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z")),
        ("week", ("2026-03-09T00:00:00Z", "2026-03-16T00:00:00Z")),  # from Monday
        ("month", ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")),
        ("period", ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")),  # no subscription: the month
    ],
)
async def test_windows(client: httpx.AsyncClient, window: str, period: tuple[str, str]) -> None:
    await put_customer(client)
    found = (await put(client, window=window)).json()
    assert (found["period"]["from"], found["period"]["to"]) == period
    assert found["resets_at"] == period[1]


async def test_budgets_are_listed_by_name(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_customer(client, "other")
    for name in ("c", "a", "b"):
        await put(client, name)
    await client.put("/v1/customers/other/budgets/z", json=BUDGET)
    first = await get(client, BUDGETS, limit=2)
    assert [one["name"] for one in first["data"]] == ["a", "b"]
    rest = await get(client, BUDGETS, limit=2, cursor=first["next_cursor"])
    assert [one["name"] for one in rest["data"]] == ["c"]
    assert rest["next_cursor"] is None
    spend = await get(client, "/v1/customers/acme/spend")
    assert [one["name"] for one in spend["caps"]] == ["a", "b", "c"]
    assert spend["caps"][0] == first["data"][0]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"limit": "-1"}, "limit"),
        ({"limit": 0.5}, "limit"),
        ({"limit": None}, "limit"),
        ({"asset": "U$D"}, "asset"),
        ({"asset": None}, "asset"),
        ({"window": "year"}, "window"),
        ({"window": None}, "window"),
        ({"enforcement": "firm"}, "enforcement"),
        ({"alerts": ["0"]}, "alerts[0]"),
        ({"alerts": ["0.5", "-1"]}, "alerts[1]"),
        ({"alerts": [f"0.{n}" for n in range(10, 21)]}, "alerts"),
        ({"path": ""}, "path"),
        ({"path": "support/"}, "path"),
        ({"path": "x" * 257}, "path"),
        ({"spent": "1"}, "spent"),
    ],
)
async def test_a_bad_budget_is_refused(
    shared: httpx.AsyncClient, fields: dict[str, Any], path: str
) -> None:
    await put_customer(shared)
    answer = await put(shared, "bad", **fields)
    assert answer.status_code == 422, answer.text
    assert [one["path"] for one in answer.json()["errors"]] == [path]
    problem(await shared.get(f"{BUDGETS}/bad"), 404, "not_found")


async def test_who_or_what_is_not_there(shared: httpx.AsyncClient) -> None:
    await put_customer(shared)
    problem(await put(shared, "no%20key"), 422, "invalid")
    for method, path, body in (
        ("PUT", "budgets/a", BUDGET),
        ("GET", "budgets/a", None),
        ("GET", "budgets", None),
        ("DELETE", "budgets/a", None),
        ("POST", "suspend", {"reason": "x"}),
        ("POST", "resume", {}),
        ("GET", "suspensions", None),
    ):
        answer = await shared.request(method, f"/v1/customers/nobody/{path}", json=body)
        problem(answer, 404, "not_found")


async def test_suspending_and_resuming(client: httpx.AsyncClient, instance: Instance) -> None:
    await put_customer(client)
    suspend, resume = "/v1/customers/acme/suspend", "/v1/customers/acme/resume"
    first = await client.post(suspend, json={"reason": "unpaid"})
    assert first.status_code == 200
    whole = {"customer": "acme", "path": None, "reason": "unpaid", "set_by": "seller",
             "at": "2026-03-10T12:00:00Z"}  # fmt: skip
    assert first.json() == whole
    part = (await client.post(suspend, json={"path": "a/b", "reason": "runaway"})).json()
    # Again replaces the reason.
    again = await client.post(suspend, json={"path": "a/b", "reason": "still running"})
    assert again.json() == {**part, "reason": "still running"}
    found = await get(client, SUSPENSIONS)
    assert found == {"data": [whole, again.json()], "next_cursor": None}
    one = await get(client, SUSPENSIONS, limit=1)
    assert (await get(client, SUSPENSIONS, cursor=one["next_cursor"]))["data"] == [again.json()]
    # What lies within what is suspended stays so.
    answer = (await client.post(resume, json={"path": "a/b"})).json()
    assert answer == {"customer": "acme", "path": "a/b", "suspended": True}
    for _ in range(2):  # the second time nothing is there
        answer = (await client.post(resume, json={})).json()
        assert answer == {"customer": "acme", "path": None, "suspended": False}
    assert (await get(client, SUSPENSIONS))["data"] == []
    for body in ({}, {"reason": ""}, {"reason": "x", "path": "a/"}, {"reason": "x", "who": "me"}):
        assert (await client.post(suspend, json=body)).status_code == 422


async def test_a_customer_sets_their_own_limits(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    await put_customer(client, "other")
    await put(client, "sellers")
    suspend, resume = "/v1/customers/acme/suspend", "/v1/customers/acme/resume"
    await client.post(suspend, json={"path": "fraud", "reason": "seller's"})
    async with key_of(instance, client, "acme", "limits", "read") as own:
        made = await put(own, "theirs", path="team", limit="5")
        assert (made.status_code, made.json()["set_by"]) == (201, "customer")
        assert (await put(own, "theirs", limit="6")).json()["limit"] == "6"
        # What the seller set they see, and neither replace nor delete nor lift.
        assert [one["name"] for one in (await get(own, BUDGETS))["data"]] == ["sellers", "theirs"]
        problem(await put(own, "sellers", limit="1000"), 403, "set_by_seller")
        problem(await own.delete(f"{BUDGETS}/sellers"), 403, "set_by_seller")
        problem(await own.post(resume, json={"path": "fraud"}), 403, "set_by_seller")
        body = {"path": "fraud", "reason": "mine"}
        problem(await own.post(suspend, json=body), 403, "set_by_seller")
        assert (await own.post(suspend, json={"path": "fraud/x", "reason": "mine"})).json()[
            "set_by"
        ] == "customer"
        answer = (await own.post(resume, json={"path": "fraud/x"})).json()
        assert answer["suspended"] is True
        # Other customers are not there for them.
        other = "/v1/customers/other"
        problem(await own.put(f"{other}/budgets/a", json=BUDGET), 404, "not_found")
        problem(await own.post(f"{other}/suspend", json={"reason": "x"}), 404, "not_found")
        problem(await own.get(f"{other}/suspensions"), 404, "not_found")
        assert (await own.delete(f"{BUDGETS}/theirs")).status_code == 200
        await put(own, "theirs")
    # The seller may change what the customer set; then it is the seller's.
    assert (await put(client, "theirs")).json()["set_by"] == "seller"
    async with key_of(instance, client, "acme", "read", "ingest", "authorize") as reader:
        problem(await put(reader, "theirs"), 403, "forbidden")
        problem(await reader.post(suspend, json={"reason": "x"}), 403, "forbidden")
    async with key_of(instance, client, None, "limits") as seller:
        assert (await put(seller, "sellers", limit="7")).json()["set_by"] == "seller"


async def test_a_customer_has_a_thousand_limits_at_most(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    await put(client, "b1")
    await client.post("/v1/customers/acme/suspend", json={"path": "p1", "reason": "x"})
    async with instance.context.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO budget SELECT customer, 'b' || n, path, asset, limit_amount, \"window\", "
            "enforcement, alerts, created_at, updated_at FROM budget, generate_series(2, 1000) n"
        )
        await connection.execute(
            "INSERT INTO suspension SELECT customer, 'p' || n, reason, at "
            "FROM suspension, generate_series(2, 1000) n"
        )
    # Those that were written before it was kept who set them are the seller's.
    assert {one["set_by"] for one in (await get(client, BUDGETS))["data"]} == {"seller"}
    problem(await put(client, "more"), 422, "too_many")
    body = {"path": "more", "reason": "x"}
    problem(await client.post("/v1/customers/acme/suspend", json=body), 422, "too_many")
    # Those that are there may change.
    assert (await put(client, "b7", limit="1")).status_code == 200
    body = {"path": "p7", "reason": "y"}
    answer = await client.post("/v1/customers/acme/suspend", json=body)
    assert answer.json()["reason"] == "y"
