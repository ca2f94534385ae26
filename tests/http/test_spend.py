"""`GET /v1/customers/{key}/spend`: true at once, and the same as the invoice to the cent."""

from decimal import Decimal
from typing import Any

import httpx

from taximeter.bootstrap import Instance
from tests.http.api import client_for, event, get, problem, put_customer, put_meter, send

PLAN = {
    "key": "pro", "name": "Pro", "currency": "USD", "period": "month",
    "prices": [
        {"key": "base", "type": "flat", "amount": "49.00", "timing": "advance"},
        {"key": "input", "type": "usage", "meter": "tokens", "model": "per_unit", "unit": "1.75",
         "per": "1000000"},
        {"key": "burn", "type": "usage", "meter": "calls", "model": "per_unit", "unit": "0.5",
         "asset": "credits", "settle": "wallet"},
    ],
}  # fmt: skip


async def set_up(client: httpx.AsyncClient, **subscription: Any) -> dict[str, Any]:
    await put_meter(client)
    await put_meter(client, "calls", aggregation="count")
    await put_customer(client)
    assert (await client.put("/v1/plans/pro", json=PLAN)).status_code == 201
    body = {"customer": "acme", "plan": "pro", "starts_at": "2026-03-01T00:00:00Z", **subscription}
    answer = await client.post("/v1/subscriptions", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_spend_of_the_period_so_far(client: httpx.AsyncClient) -> None:
    made = await set_up(client)
    await send(client, [event("a", "2026-03-05T00:00:00Z", n="1234567"),
                        event("b", "2026-03-10T11:59:59Z", n="1000000")])  # fmt: skip
    period = {"from": "2026-03-01T00:00:00Z", "to": "2026-04-01T00:00:00Z"}
    common = {"subscription": made["id"], "period": period}
    # 2,234,567 x 1.75 / 1,000,000 = 3.91049225, printed 3.91. At noon of the 10th 9.5 of 31 days
    # are over: x 31 / 9.5 gives 12.760..., printed 12.76; two calls give 6.526315789474 x 0.5.
    assert await get(client, "/v1/customers/acme/spend") == {
        "customer": "acme",
        "at": "2026-03-10T12:00:00Z",
        "period": period,
        "currency": "USD",
        "total": "52.91",
        "prices": [
            {**common, "price": "base", "name": "base", "asset": "USD", "quantity": "1",
             "amount": "49", "forecast": "49", "settle": "invoice"},
            {**common, "price": "input", "name": "input", "asset": "USD", "quantity": "2234567",
             "amount": "3.91", "forecast": "12.76", "settle": "invoice"},
            {**common, "price": "burn", "name": "burn", "asset": "credits", "quantity": "2",
             "amount": "1", "forecast": "3.263157894737", "settle": "wallet"},
        ],
        "forecast": {"total": "61.76", "method": "run_rate"},
        "caps": [],
        "alerts": [],
    }  # fmt: skip


async def test_spend_follows_each_answer_and_agrees_with_the_invoice(
    client: httpx.AsyncClient,
) -> None:
    await set_up(client)
    for number in range(5):
        await send(client, [event(str(number), "2026-03-09T00:00:00Z", n="777777")])
        spend = await get(client, "/v1/customers/acme/spend")
        upcoming = await get(client, "/v1/customers/acme/upcoming_invoice")
        billed = {line["price"]: line["amount"] for line in upcoming["lines"]}
        [found] = [one["amount"] for one in spend["prices"] if one["price"] == "input"]
        assert Decimal(found) == Decimal(billed["input"])


async def test_each_subscription_has_its_part(client: httpx.AsyncClient) -> None:
    await set_up(client)
    body = {"customer": "acme", "plan": "pro", "starts_at": "2026-03-05T00:00:00Z"}
    assert (await client.post("/v1/subscriptions", json=body)).status_code == 201
    spend = await get(client, "/v1/customers/acme/spend")
    assert spend["period"] == {"from": "2026-03-01T00:00:00Z", "to": "2026-04-05T00:00:00Z"}
    assert [one["price"] for one in spend["prices"]] == ["base", "input", "burn"] * 2
    assert spend["total"] == "98"


async def test_a_customer_without_a_subscription_has_spent_nothing(
    client: httpx.AsyncClient,
) -> None:
    await put_customer(client)
    spend = await get(client, "/v1/customers/acme/spend")
    assert (spend["period"], spend["prices"], spend["total"]) == (None, [], "0")


async def test_an_unknown_customer_and_another_keys_customer_are_not_found(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    problem(await client.get("/v1/customers/nobody/spend"), 404, "not_found")
    await put_customer(client)
    body = {"name": "other", "scopes": ["read"], "customer": "other"}
    secret = (await client.post("/v1/api_keys", json=body)).json()["secret"]
    async with client_for(instance, secret) as confined:
        problem(await confined.get("/v1/customers/acme/spend"), 404, "not_found")
    async with client_for(instance, None) as anonymous:
        problem(await anonymous.get("/v1/customers/acme/spend"), 401, "unauthorized")
