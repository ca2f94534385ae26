"""Plans before they are published: checked, compared, exported."""

from typing import Any

import httpx
import yaml

from tests.http.api import event, get, problem, put_customer, put_meter, send
from tests.http.test_plans import T2, T3


async def check(client: httpx.AsyncClient, document: Any) -> dict[str, Any]:
    answer = await client.post("/v1/plans/check", json=document)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_check_says_all_that_publishing_would(client: httpx.AsyncClient) -> None:
    document = {**T2, "key": "t2"}
    found = await check(client, document)
    assert found["valid"] is False
    [error] = found["errors"]
    assert (error["path"], error["code"]) == ("prices[1].meter", "unknown_meter")
    await put_meter(client, "resolutions", unit="resolution")
    found = await check(client, document)
    assert (found["valid"], found["errors"]) == (True, [])
    assert [one["code"] for one in found["warnings"]] == ["no_name"]

    found = await check(client, {**document, "currency": "usd", "extra": 1})
    assert [error["path"] for error in found["errors"]] == ["currency", "extra"]
    found = await check(client, T2)
    assert [(error["path"], error["code"]) for error in found["errors"]] == [("key", "required")]

    segment = {"family": "f", "segment": {"region": "eu"}}
    await client.put("/v1/plans/one", json={**T2, **segment})
    found = await check(client, {**document, **segment})
    assert [error["code"] for error in found["errors"]] == ["duplicate_segment"]
    problem(await client.post("/v1/plans/check", content="[1]"), 400, "malformed")


async def test_a_check_warns_of_meters(client: httpx.AsyncClient) -> None:
    await put_meter(client, "minutes", dimensions=["speed", "region"])
    found = await check(client, {**T3, "key": "t3"})
    codes = [(one["path"], one["code"]) for one in found["warnings"]]
    assert codes == [
        ("prices[0].name", "no_name"),
        ("prices[0].meter", "no_unit"),
        ("prices[0].meter", "unused_dimension"),
    ]


METERS = [
    {"key": "resolutions", "event_type": "resolution", "aggregation": "sum", "value": "n"},
    {"key": "tickets", "event_type": "resolution", "aggregation": "count"},
]


async def refused(
    client: httpx.AsyncClient, body: dict[str, Any], **parameters: str
) -> list[dict[str, Any]]:
    """What is wrong with a deployment."""
    answer = await client.post("/v1/plans/deploy", json=body, params=parameters)
    assert answer.status_code == 422, answer.text
    found: list[dict[str, Any]] = answer.json()["errors"]
    return found


async def test_meters_and_plans_are_deployed_together(client: httpx.AsyncClient) -> None:
    """All or none; and events that waited are counted by every meter that comes."""
    await put_customer(client)
    await send(client, [event("1", kind="resolution", n=5)])
    both: dict[str, Any] = {"meters": METERS, "plans": [{**T2, "key": "t2"}]}
    wrong = {**both, "plans": [{**T2, "key": "t2"}, {**T3, "key": "t3"}]}
    [error] = await refused(client, wrong)
    assert (error["path"], error["code"]) == ("plans[1].prices[0].meter", "unknown_meter")
    assert (await check(client, wrong))["errors"] == [error]
    assert (await get(client, "/v1/meters"))["data"] == []

    assert (await check(client, both))["errors"] == []
    dry = (await client.post("/v1/plans/deploy?dry_run=true", json=both)).json()
    assert (dry["dry_run"], (await get(client, "/v1/plans"))["data"]) == (True, [])
    answer = (await client.post("/v1/plans/deploy", json=both)).json()
    assert answer == {**dry, "dry_run": False}
    assert answer["meters"] == [
        {"key": "resolutions", "version": 1, "outcome": "created"},
        {"key": "tickets", "version": 1, "outcome": "created"},
    ]
    [plan] = answer["plans"]
    assert (plan["key"], plan["version"], plan["outcome"]) == ("t2", 1, "created")
    for meter, quantity in (("resolutions", "5"), ("tickets", "1")):
        usage = await get(client, f"/v1/meters/{meter}/usage")
        assert usage["data"][0]["value"] == quantity
    again = (await client.post("/v1/plans/deploy", json=both)).json()
    assert {one["outcome"] for one in (*again["meters"], *again["plans"])} == {"unchanged"}


async def test_what_a_deployment_says_wrongly(client: httpx.AsyncClient) -> None:
    await client.post("/v1/plans/deploy", json={"meters": METERS})
    plan = {**T2, "key": "t2"}
    for body, found in (
        ({"meters": [METERS[0], METERS[0]]}, [("meters[1].key", "duplicate")]),
        ({"plans": [plan, plan]}, [("plans[1].key", "duplicate")]),
        ({"plans": [T2, 7]}, [("plans[0].key", "required"), ("plans[1]", "invalid_type")]),
        ({"plan": []}, [("plan", "unknown_field")]),
        # The meter is refused; what the plan makes of it is not judged.
        ({"meters": [{**METERS[0], "event_type": "other"}], "plans": [{**T3, "key": "t3"}]},
         [("meters[0].event_type", "immutable")]),
    ):  # fmt: skip
        errors = await refused(client, body)
        assert [(error["path"], error["code"]) for error in errors] == found
    [late] = await refused(client, {"plans": [plan]}, effective_at="2020-01-01T00:00:00Z")
    assert late["code"] == "too_early"


async def test_two_plans_change_their_segments_together(client: httpx.AsyncClient) -> None:
    def plans(one: str, other: str) -> dict[str, Any]:
        fee = {"currency": "USD", "period": "month", "family": "f", "prices": [
            {"key": "fee", "type": "flat", "amount": "9.00"}]}  # fmt: skip
        segments = (("one", one), ("other", other))
        return {"plans": [{**fee, "key": k, "segment": {"region": r}} for k, r in segments]}

    for one, other in (("eu", "us"), ("us", "eu")):
        answer = await client.post("/v1/plans/deploy", json=plans(one, other))
        assert answer.status_code == 200, answer.text
    both = await refused(client, plans("eu", "eu"))
    assert [error["path"] for error in both] == ["plans[0].segment"]  # the other is unchanged


async def test_versions_and_documents_are_compared(client: httpx.AsyncClient) -> None:
    await put_meter(client, "resolutions")
    cheaper = {**T2, "prices": [{**T2["prices"][0], "amount": "399.00"}, T2["prices"][1]]}
    await client.put("/v1/plans/t2", json=T2)
    dry = (await client.put("/v1/plans/t2?dry_run=true", json=cheaper)).json()
    change = {
        "kind": "changed", "path": "prices[0].amount", "price": "platform", "before": "499.00",
        "after": "399.00", "summary": "platform: amount 499.00 -> 399.00",
    }  # fmt: skip
    assert dry["changes"] == [change]
    assert (await get(client, "/v1/plans/t2/versions"))["data"][0]["version"] == 1

    answer = await client.post("/v1/plans/t2/diff", json={"document": cheaper})
    assert answer.json() == {
        "key": "t2", "from": 1, "to": None, "unchanged": False, "changes": [change],
    }  # fmt: skip
    await client.put("/v1/plans/t2", json=cheaper)
    answer = await client.post("/v1/plans/t2/diff", json={"from": 1, "to": 2})
    assert (answer.json()["to"], answer.json()["changes"]) == (2, [change])
    answer = await client.post("/v1/plans/t2/diff", json={"from": 1})
    assert answer.json()["changes"] == [change]
    answer = await client.post("/v1/plans/t2/diff", json={})
    assert answer.json()["unchanged"] is True

    for body, status, code in (
        ({"from": 3}, 404, "not_found"),
        ({"to": 3}, 404, "not_found"),
        ({"document": {**T2, "currency": "X"}}, 422, "unknown_currency"),
        ({"document": T2, "to": 1}, 422, "conflicting_fields"),
        ({"version": 1}, 422, "unknown_field"),
    ):
        problem(await client.post("/v1/plans/t2/diff", json=body), status, code)


async def test_what_is_exported_deploys_unchanged(client: httpx.AsyncClient) -> None:
    await put_meter(client, "resolutions")
    await client.put("/v1/plans/t2", json=T2)
    await client.put("/v1/plans/t2", json={**T2, "name": "1e3"})
    answer = await client.get("/v1/plans/t2/export")
    assert answer.headers["content-type"] == "application/yaml"
    document = yaml.safe_load(answer.text)
    assert document == {**T2, "key": "t2", "name": "1e3"}
    again = (await client.put("/v1/plans/t2?dry_run=true", json=document)).json()
    assert (again["outcome"], again["version"], again["changes"]) == ("unchanged", 2, [])
    assert await get(client, "/v1/plans/t2/export", format="json") == document
    first = await get(client, "/v1/plans/t2/export", format="json", version=1)
    assert first == {**T2, "key": "t2"}
    problem(await client.get("/v1/plans/t2/export?version=3"), 404, "not_found")


async def test_the_schema_is_open_to_all(client: httpx.AsyncClient) -> None:
    del client.headers["authorization"]
    schema = await get(client, "/v1/schemas/plan.json")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "prices" in schema["else"]["properties"]
