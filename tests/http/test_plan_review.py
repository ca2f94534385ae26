"""Plans before they are published: checked, compared, exported."""

from typing import Any

import httpx
import yaml

from tests.http.api import get, problem, put_meter
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
