"""Auto top-up: once for each time a wallet falls low, whoever collects the money."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.gateways.payments import FakePayments
from taximeter.kernel.times import format_instant
from taximeter.services.due import next_due, run_due
from tests.http.api import NOW, client_for, event, get, problem, put_customer, send
from tests.http.credit import balance, give, put_wallet_price, use

HOUR = timedelta(hours=1)
SetClock = Callable[[datetime], None]
PATH = "/v1/customers/acme/auto_topup"


async def put_auto(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Have acme's USD topped up from below 20 to 100, by hand unless `fields` say otherwise."""
    body = {"asset": "USD", "threshold": "20", "target": "100", "max_per_day": "500",
            "payment": "manual", **fields}  # fmt: skip
    answer = await client.put(PATH, json=body)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def topups(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    """Acme's top-ups, the oldest first."""
    found = await get(client, "/v1/topups", customer="acme", **parameters)
    return list(found["data"])


async def told(instance: Instance) -> list[str]:
    """The types of the messages about top-ups, in order."""
    async with instance.context.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT type FROM outbox WHERE type LIKE 'topup.%' ORDER BY seq"
        )
        return [row[0] for row in await cursor.fetchall()]


def payments(instance: Instance) -> FakePayments:
    """The sandbox's processor."""
    found = instance.context.payments
    assert isinstance(found, FakePayments)
    return found


async def test_a_threshold_crossed_by_a_hundred_requests_is_topped_up_once(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await give(client, amount="110")
    await put_auto(client)
    await run_due(instance.context)
    assert await topups(client) == []

    async def one(number: int) -> None:
        await send(client, [event(f"e{number}", n="1")])
        if number % 10 == 0:
            await run_due(instance.context)

    await asyncio.gather(*(one(number) for number in range(100)))
    await run_due(instance.context)
    (asked,) = await topups(client)
    # The first look after the balance fell below 20 asks for what is missing of 100 then.
    assert 80 < int(asked["amount"]) <= 90
    assert (asked["state"], asked["collected_by"]) == ("requested", "you")
    assert asked["price"] == {"amount": asked["amount"], "asset": "USD"}
    assert (await balance(client))["posted"] == "10"  # 110 - 100
    assert await told(instance) == ["topup.requested"]


async def test_paying_gives_the_credit_once(client: httpx.AsyncClient, instance: Instance) -> None:
    await put_customer(client, timezone="Europe/Paris")
    await put_auto(client, expires_after="P1Y")
    await run_due(instance.context)
    (asked,) = await topups(client, state="requested")
    assert asked["amount"] == "100"
    path = f"/v1/topups/{asked['id']}"
    answers = await asyncio.gather(
        *(client.post(f"{path}/pay", json={"reference": "ch_1"}) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    paid = answers[0].json()
    assert (paid["state"], paid["reference"]) == ("paid", "ch_1")
    found = await get(client, f"/v1/grants/{paid['grant']}")
    assert (found["kind"], found["amount"]) == ("paid", "100")
    assert found["cost_basis"] == {"amount": "100", "asset": "USD"}
    assert found["expires_at"] == "2027-03-10T12:00:00Z"
    assert (await balance(client))["posted"] == "100"
    assert (await client.post(f"{path}/pay", json={})).json() == paid
    refused = await client.post(f"{path}/pay", json={"reference": "ch_2"})
    problem(refused, 409, "invalid_state")
    problem(await client.post(f"{path}/fail", json={"reason": "x"}), 409, "invalid_state")
    await run_due(instance.context)
    assert [one["state"] for one in await topups(client)] == ["paid"]
    assert await told(instance) == ["topup.requested", "topup.paid"]
    assert await get(client, path) == paid


async def test_a_failure_stops_for_an_hour_and_the_third_for_the_day(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    # It is 12:00. Asked at 12:00, 13:00 and 14:00; the day ends at midnight.
    await put_customer(client)
    await put_auto(client)
    for hours in range(3):
        set_clock(NOW + hours * HOUR)
        await run_due(instance.context)
        (asked,) = await topups(client, state="requested")
        path = f"/v1/topups/{asked['id']}/fail"
        failed = await client.post(path, json={"reason": "card expired"})
        assert failed.json()["reason"] == "card expired"
        assert (await client.post(path, json={"reason": "again"})).json() == failed.json()
        problem(await client.post(f"/v1/topups/{asked['id']}/pay", json={}), 409, "invalid_state")
        await run_due(instance.context)
        assert await topups(client, state="requested") == []
        (settings,) = (await get(client, PATH))["data"]
        quiet_until = NOW + (hours + 1) * HOUR if hours < 2 else NOW + 12 * HOUR
        assert settings["quiet_until"] == format_instant(quiet_until)
        assert await next_due(instance.context) == quiet_until
    set_clock(NOW + 12 * HOUR)
    await run_due(instance.context)
    assert len(await topups(client, state="requested")) == 1


async def test_setting_it_again_forgets_what_failed(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    await put_customer(client)
    await put_auto(client)
    await run_due(instance.context)
    (asked,) = await topups(client)
    await client.post(f"/v1/topups/{asked['id']}/fail", json={"reason": "declined"})
    set_clock(NOW + timedelta(minutes=1))
    await put_auto(client)
    await run_due(instance.context)
    assert [one["state"] for one in await topups(client)] == ["failed", "requested"]


async def test_a_days_maximum_holds_until_the_customers_midnight(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    # In New York it is 8:00 (summer time since 8 March): midnight is 04:00 UTC.
    await put_customer(client, enforcement="soft", timezone="America/New_York")
    await put_wallet_price(client)
    await put_auto(client, max_per_day="130", payment="gateway")
    await run_due(instance.context)
    assert (await balance(client))["posted"] == "100"
    await use(client, "85")
    await run_due(instance.context)
    assert (await balance(client))["posted"] == "45"  # 100 - 85 + (130 - 100)
    await use(client, "30")
    await run_due(instance.context)
    await use(client, "1")
    await run_due(instance.context)
    assert (await balance(client))["posted"] == "14"
    midnight = datetime.fromisoformat("2026-03-11T04:00:00Z")
    assert await next_due(instance.context) == midnight
    set_clock(midnight)
    await run_due(instance.context)
    assert (await balance(client))["posted"] == "100"
    assert [one["amount"] for one in await topups(client)] == ["100", "30", "86"]


async def test_what_holds_reserve_is_not_available(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    await give(client, amount="100")
    await put_auto(client)
    await run_due(instance.context)
    body = {"customer": "acme", "asset": "USD", "amount": "70"}
    assert (await client.post("/v1/holds", json=body)).json()["allowed"]
    await run_due(instance.context)
    assert await topups(client) == []  # 30 are available
    assert (await client.post("/v1/holds", json={**body, "amount": "15"})).json()["allowed"]
    await run_due(instance.context)
    assert [one["amount"] for one in await topups(client)] == ["85"]  # 100 - (100 - 70 - 15)


async def test_what_else_lowers_a_balance_is_seen(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    await put_customer(client)
    await put_auto(client)
    ends = NOW + HOUR
    await give(client, amount="30", expires_at=format_instant(ends))
    other = await give(client, amount="15")
    await run_due(instance.context)
    assert await topups(client) == []
    assert await next_due(instance.context) == ends  # 45 fall to 15 by themselves
    await client.post(f"/v1/grants/{other['id']}/void")
    await run_due(instance.context)
    assert await topups(client) == []  # 30
    set_clock(ends)
    await run_due(instance.context)
    assert [one["amount"] for one in await topups(client)] == ["100"]


async def test_the_gateway_pays_declines_and_loses_answers(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    processor = payments(instance)
    processor.silent.add("acme")
    await put_customer(client)
    await put_auto(client, payment="gateway")
    await run_due(instance.context)
    (asked,) = await topups(client)
    assert (asked["state"], asked["collected_by"]) == ("requested", "gateway")
    problem(await client.post(f"/v1/topups/{asked['id']}/pay", json={}), 409, "invalid_state")
    processor.silent.clear()
    set_clock(NOW + timedelta(minutes=1))
    await run_due(instance.context)
    (paid,) = await topups(client)
    assert (paid["state"], paid["reference"]) == ("paid", f"fake_{asked['id']}")
    assert len(processor.charges) == 1  # asked twice, charged once
    processor.declining["acme"] = "insufficient funds"
    await client.post(f"/v1/grants/{paid['grant']}/void")
    await run_due(instance.context)
    assert [(one["state"], one["reason"]) for one in await topups(client)] == [
        ("paid", None), ("failed", "insufficient funds"),
    ]  # fmt: skip


async def test_a_gateway_that_never_answers_is_asked_ten_times(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    payments(instance).silent.add("acme")
    await put_customer(client)
    await put_auto(client, payment="gateway")
    asked_at = []
    while (due := await next_due(instance.context)) is not None:
        set_clock(due)
        asked_at.append((due - NOW) / timedelta(minutes=1))
        await run_due(instance.context)
    # After 1, 2, 4, … 256 minutes more; the first two looks are of the same instant.
    assert sorted(set(asked_at)) == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]
    (asked,) = await topups(client)
    paid = await client.post(f"/v1/topups/{asked['id']}/pay", json={"reference": "by hand"})
    assert paid.json()["state"] == "paid"


async def test_a_credit_unit_costs_what_the_plan_says(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client, "nobody")
    await put_customer(client)
    body = {"key": "units", "name": "Units", "currency": "USD", "period": "month",
            "prices": [{"key": "fee", "type": "flat", "amount": "1.00"}],
            "assets": [{"asset": "credits", "unit_price": "0.015"}]}  # fmt: skip
    assert (await client.put("/v1/plans/units", json=body)).status_code == 201
    await client.post("/v1/subscriptions", json={"customer": "acme", "plan": "units"})
    await put_auto(client, asset="credits", target="1001", payment="gateway", max_per_day="5000")
    await run_due(instance.context)
    (paid,) = await topups(client)
    assert paid["price"] == {"amount": "15.02", "asset": "USD"}  # 1001 x 0.015 = 15.015
    assert (await balance(client, asset="credits"))["posted"] == "1001"
    # Without a price nobody knows what to charge: you collect.
    await put_auto(client, asset="tokens", payment="gateway")
    await run_due(instance.context)
    unpriced = [one for one in await topups(client) if one["asset"] == "tokens"]
    assert [(one["price"], one["state"]) for one in unpriced] == [(None, "requested")]
    paid = (await client.post(f"/v1/topups/{unpriced[0]['id']}/pay", json={})).json()
    assert (await get(client, f"/v1/grants/{paid['grant']}"))["cost_basis"] is None


async def test_settings_are_put_listed_and_deleted(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    body = {"asset": "USD", "threshold": "20", "target": "100", "max_per_day": "500"}
    first = await client.put(PATH, json=body)
    assert first.status_code == 201
    assert first.json() == {
        "customer": "acme", **body, "max_per_month": None, "kind": "paid", "expires_after": None,
        "payment": "gateway", "quiet_until": None, "updated_at": format_instant(NOW),
    }  # fmt: skip
    again = await client.put(PATH, json={**body, "max_per_month": "900"})
    assert (again.status_code, again.json()["max_per_month"]) == (200, "900")
    await put_auto(client, asset="credits")
    assert [one["asset"] for one in (await get(client, PATH))["data"]] == ["USD", "credits"]
    gone = await client.delete(PATH, params={"asset": "USD"})
    assert gone.json() == again.json()
    problem(await client.delete(PATH, params={"asset": "USD"}), 404, "not_found")
    assert [one["asset"] for one in (await get(client, PATH))["data"]] == ["credits"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"threshold": "-1"}, "threshold"),
        ({"target": "20"}, "target"),
        ({"target": "abc"}, "target"),
        ({"max_per_day": "0"}, "max_per_day"),
        ({"max_per_day": None}, "max_per_day"),
        ({"max_per_month": "0"}, "max_per_month"),
        ({"expires_after": "a year"}, "expires_after"),
        ({"kind": "promotional"}, "kind"),
        ({"payment": "card"}, "payment"),
        ({"asset": "usd"}, "asset"),
        ({"asset": None}, "asset"),
        ({"until": "x"}, "until"),
    ],
)
async def test_what_cannot_be_set(
    shared: httpx.AsyncClient, fields: dict[str, Any], path: str
) -> None:
    await put_customer(shared)
    body = {"asset": "USD", "threshold": "20", "target": "100", "max_per_day": "500", **fields}
    answer = await shared.put(PATH, json=body)
    assert answer.status_code == 422, answer.text
    assert [one["path"] for one in answer.json()["errors"]] == [path], answer.text


async def test_what_is_not_there_or_not_yours(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    problem(await client.get(PATH), 404, "not_found")
    body = {"asset": "USD", "threshold": "20", "target": "100", "max_per_day": "500"}
    problem(await client.put(PATH, json=body), 404, "not_found")
    await put_customer(client)
    await put_customer(client, "other")
    await put_auto(client)
    await run_due(instance.context)
    (asked,) = await topups(client)
    problem(await client.get("/v1/topups/topup_0"), 404, "not_found")
    problem(await client.post("/v1/topups/topup_0/pay", json={}), 404, "not_found")
    problem(await client.post(f"/v1/topups/{asked['id']}/fail", json={}), 422, "missing")
    key = {"name": "other's", "scopes": ["read"], "customer": "other"}
    secret = (await client.post("/v1/api_keys", json=key)).json()["secret"]
    async with client_for(instance, secret) as reader:
        problem(await reader.get(PATH), 404, "not_found")
        problem(await reader.get(f"/v1/topups/{asked['id']}"), 404, "not_found")
        assert (await get(reader, "/v1/topups"))["data"] == []
        problem(await reader.put(PATH, json=body), 403, "forbidden")
