"""Alerts as they are defined, and that each threshold is told once in its window."""

from typing import Any

import httpx
import pytest

from tests.http.api import get, problem, put_customer

Json = dict[str, Any]
PATH = "/v1/customers/acme/alerts"


async def put_alert(client: httpx.AsyncClient, name: str, status: int = 201, **body: Any) -> Json:
    """Define an alert of acme's; as it is answered, without its times."""
    answer = await client.put(f"{PATH}/{name}", json=body)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    assert found.pop("created_at") and found.pop("updated_at")
    return found


async def test_a_definition_is_answered_in_order(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    low = await put_alert(client, "low", on="balance", asset="USD", below=["0", "10", "0.00"])
    assert low == {
        "name": "low", "customer": "acme", "on": "balance", "asset": "USD", "below": ["10", "0"],
    }  # fmt: skip
    spent = await put_alert(
        client, "high", on="spend", asset="USD", window="month", at=["500", "100"]
    )
    assert spent["at"] == ["100", "500"]
    page = await get(client, PATH)
    assert [one["name"] for one in page["data"]] == ["high", "low"]
    assert (await get(client, f"{PATH}/low"))["below"] == ["10", "0"]


async def test_a_definition_is_replaced_and_deleted(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_alert(client, "low", on="balance", asset="USD", below=["10"])
    await put_alert(client, "low", 200, on="balance", asset="credits", below=["-5"])
    assert (await get(client, f"{PATH}/low"))["below"] == ["-5"]
    answer = await client.delete(f"{PATH}/low")
    assert (answer.status_code, answer.json()["asset"]) == (200, "credits")
    problem(await client.get(f"{PATH}/low"), 404, "not_found")
    problem(await client.delete(f"{PATH}/low"), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"on": "balance", "asset": "USD", "below": []},
        {"on": "balance", "asset": "USD"},
        {"on": "balance", "asset": "two words", "below": ["1"]},
        {"on": "balance", "asset": "USD", "below": ["1e3"]},
        {"on": "balance", "asset": "USD", "below": ["1"] * 21},
        {"on": "spend", "asset": "USD", "at": ["1"]},
        {"on": "spend", "asset": "USD", "window": "year", "at": ["1"]},
        {"on": "spend", "asset": "USD", "window": "day", "at": ["0"]},
        {"on": "usage", "asset": "USD", "below": ["1"]},
        {"on": "balance", "asset": "USD", "below": ["1"], "window": "day"},
        {"asset": "USD", "below": ["1"]},
    ],
)
async def test_what_is_no_definition_is_refused(shared: httpx.AsyncClient, body: Json) -> None:
    await put_customer(shared)
    answer = await shared.put(f"{PATH}/bad", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


async def test_alerts_of_whom_there_is_none(client: httpx.AsyncClient) -> None:
    body = {"on": "balance", "asset": "USD", "below": ["1"]}
    problem(await client.put("/v1/customers/nobody/alerts/low", json=body), 404, "not_found")
    problem(await client.get("/v1/customers/nobody/alerts"), 404, "not_found")
    assert (await get(client, "/v1/alerts"))["data"] == []
    answer = await client.get("/v1/alerts", params={"kind": "weather"})
    assert answer.status_code == 422
