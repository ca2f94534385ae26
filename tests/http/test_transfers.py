"""Transfers between assets, voids beside holds, and what became of a grant."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.kernel.times import format_instant
from tests.http.api import NOW, client_for, get, problem, put_customer
from tests.http.credit import balance, give, put_wallet_price, use

DAY = timedelta(days=1)
SetClock = Callable[[datetime], None]


async def move(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    """Ask for a transfer of acme's USD to credits."""
    body = {"customer": "acme", "from_asset": "USD", "to_asset": "credits", "amount": "50",
            "rate": "100"}  # fmt: skip
    key = fields.pop("key", None)
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post("/v1/transfers", json={**body, **fields}, headers=headers)


async def hold(client: httpx.AsyncClient, amount: str) -> str:
    """Reserve this much of acme's USD; the hold's id."""
    body = {"customer": "acme", "asset": "USD", "amount": amount}
    answer = await client.post("/v1/holds", json=body)
    found = answer.json()
    assert found["allowed"], found
    return str(found["id"])


async def entries(client: httpx.AsyncClient) -> list[tuple[str, str, str, str | None, str]]:
    """Acme's transfers' entries: asset, kind, amount, grant and what it names."""
    page = await get(client, "/v1/customers/acme/wallet_entries", limit=100)
    return [
        (one["asset"], one["kind"], one["amount"], one["grant"], one["ref"])
        for one in reversed(page["data"])
        if one["kind"] == "transfer"
    ]


async def test_each_grant_becomes_one_of_its_kind(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    ends = format_instant(NOW + 30 * DAY)
    bonus = await give(client, amount="20", kind="promotional", expires_at=ends, priority=10)
    paid = await give(client, amount="100", cost_basis={"amount": "90", "asset": "USD"})
    answer = await move(client)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    # 20 of the bonus (it expires first) and 30 of 100: at 100 each 2,000 and 3,000.
    assert made["to_amount"] == "5000"
    parts = [(one["from"], one["kind"], one["amount"], one["to_amount"]) for one in made["grants"]]
    assert parts == [
        (bonus["id"], "promotional", "20", "2000"), (paid["id"], "paid", "30", "3000"),
    ]  # fmt: skip
    first, second = [await get(client, f"/v1/grants/{one['to']}") for one in made["grants"]]
    assert (first["asset"], first["expires_at"], first["priority"]) == ("credits", ends, 10)
    assert (first["cost_basis"], second["expires_at"]) == (None, None)
    assert second["cost_basis"] == {"amount": "27", "asset": "USD"}  # 90 x 30/100
    assert (await balance(client))["posted"] == "70"  # 120 - 50
    assert (await balance(client, asset="credits"))["posted"] == "5000"
    assert sorted(await entries(client)) == sorted(
        [
            ("USD", "transfer", "-20", bonus["id"], first["id"]),
            ("credits", "transfer", "2000", first["id"], bonus["id"]),
            ("USD", "transfer", "-30", paid["id"], second["id"]),
            ("credits", "transfer", "3000", second["id"], paid["id"]),
        ]
    )
    found = await get(client, f"/v1/grants/{paid['id']}/consumption")
    assert found["totals"]["transferred"] == "30"
    assert found["cost_used"] == {"amount": "27", "asset": "USD"}
    assert found["cost_left"] == {"amount": "63", "asset": "USD"}
    at = format_instant(NOW)
    assert (await balance(client, at=at))["posted"] == "70"


async def test_a_transfer_repays_a_debt_of_the_other_wallet(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client, asset="credits")
    await use(client, "700")
    await give(client, amount="10")
    assert (await move(client, amount="10")).status_code == 201
    assert (await balance(client, asset="credits"))["posted"] == "300"  # 10 x 100 - 700


async def test_a_transfer_takes_once_whatever_is_asked_again(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await give(client, amount="100")
    first = await move(client, key="once")
    again = await move(client, key="once")
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    problem(await move(client, key="once", amount="51"), 409, "idempotency_conflict")
    assert (await balance(client))["posted"] == "50"


async def test_a_transfer_leaves_what_holds_reserve_and_what_is_for_certain_usage(
    client: httpx.AsyncClient,
) -> None:
    await put_customer(client)
    await give(client, amount="100")
    await give(client, amount="30", scope={"path": "team"})
    await hold(client, "40")
    refused = problem(await move(client, amount="61"), 422, "insufficient_credits")
    assert refused["errors"][0]["path"] == "amount"
    for figure in ("130 USD are posted", "40 of it held", "at most 60"):  # 100 - 40
        assert figure in refused["detail"], refused["detail"]
    assert (await move(client, amount="60")).status_code == 201
    problem(await move(client, amount="0.01"), 422, "insufficient_credits")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount": "0"}, "invalid"),
        ({"rate": "-1"}, "invalid"),
        ({"rate": 0.5}, "invalid"),
        ({"to_asset": "USD"}, "same_asset"),
        ({"to_asset": "a b"}, "invalid"),
        ({"from_asset": "usd"}, "unknown_currency"),
        ({"amount": "0.0000001", "rate": "0.0000001"}, "number_out_of_bounds"),
        ({"amount": "999999999999999999", "rate": "10"}, "number_out_of_bounds"),
        ({"amount": "1"}, "insufficient_credits"),
        ({"notes": "x"}, "unknown_field"),
    ],
)
async def test_what_no_transfer_can_be(
    shared: httpx.AsyncClient, fields: dict[str, Any], code: str
) -> None:
    await put_customer(shared)
    answer = await move(shared, **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == code, answer.text


async def test_an_unknown_customer_has_nothing_to_transfer(shared: httpx.AsyncClient) -> None:
    problem(await move(shared, customer="nobody"), 404, "not_found")


async def test_parallel_transfers_take_no_more_than_there_is(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await give(client, amount="100")
    answers = await asyncio.gather(*(move(client, amount="30") for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [201] * 3 + [422] * 5
    assert (await balance(client))["posted"] == "10"  # 100 - 3 x 30
    assert (await balance(client, asset="credits"))["posted"] == "9000"


async def test_a_void_leaves_what_holds_reserve(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    given = await give(client, amount="100")
    reserved = await hold(client, "30")
    path = f"/v1/grants/{given['id']}/void"
    first = (await client.post(path)).json()
    assert (first["taken_back"], first["held"], first["remaining"]) == ("70", "30", "30")
    assert first["voided_at"] is None
    found = await balance(client)
    assert (found["posted"], found["available"]) == ("30", "0")
    again = (await client.post(path)).json()
    assert (again["taken_back"], again["held"]) == ("0", "30")
    answer = await client.post(f"/v1/holds/{reserved}/capture", json={"amount": "12"})
    assert answer.status_code == 200, answer.text
    last = (await client.post(path)).json()
    assert (last["taken_back"], last["held"]) == ("18", "0")  # 30 - 12
    assert last["voided_at"] is not None
    totals = (await get(client, f"/v1/grants/{given['id']}/consumption"))["totals"]
    assert totals == {
        "granted": "100", "used": "12", "voided": "88", "transferred": "0", "rolled_over": "0",
        "expired": "0", "remaining": "0",
    }  # fmt: skip


async def test_holds_transfers_and_voids_at_once_promise_nothing_twice(
    client: httpx.AsyncClient,
) -> None:
    await put_customer(client)
    given = await give(client, amount="100")

    async def place() -> str | None:
        body = {"customer": "acme", "asset": "USD", "amount": "7"}
        found = (await client.post("/v1/holds", json=body)).json()
        return str(found["id"]) if found["allowed"] else None

    async def void() -> Decimal:
        return Decimal((await client.post(f"/v1/grants/{given['id']}/void")).json()["taken_back"])

    async def send_away() -> Decimal:
        return Decimal(20 if (await move(client, amount="20")).status_code == 201 else 0)

    holds, moved, voided = await asyncio.gather(
        asyncio.gather(*(place() for _ in range(12))),
        asyncio.gather(*(send_away() for _ in range(4))),
        asyncio.gather(void(), void()),
    )
    open_holds = [one for one in holds if one is not None]
    found = await balance(client)
    # What is left is what was promised to work, and no more was promised than is left.
    assert Decimal(found["posted"]) == 100 - sum(moved) - sum(voided)
    assert Decimal(found["held"]) == 7 * len(open_holds) <= Decimal(found["posted"])
    for one in open_holds:
        answer = await client.post(f"/v1/holds/{one}/capture", json={"amount": "7"})
        assert answer.status_code == 200, answer.text
    last = await balance(client)
    assert Decimal(last["posted"]) == Decimal(found["posted"]) - 7 * len(open_holds) >= 0
    totals = (await get(client, f"/v1/grants/{given['id']}/consumption"))["totals"]
    assert Decimal(totals["used"]) == 7 * len(open_holds)
    assert (Decimal(totals["voided"]), Decimal(totals["transferred"])) == (sum(voided), sum(moved))


async def test_what_became_of_a_grant_and_of_its_cost(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    await put_customer(client)
    await put_wallet_price(client)
    given = await give(
        client, amount="3", cost_basis={"amount": "10", "asset": "EUR"},
        expires_at=format_instant(NOW + 5 * DAY),
    )  # fmt: skip
    for day in range(3):
        set_clock(NOW + day * DAY)
        await use(client, "1" if day < 2 else "0.5")
    path = f"/v1/grants/{given['id']}/consumption"
    found = await get(client, path)
    assert [one["kind"] for one in found["data"]] == ["draw"] * 3
    assert found["data"][0]["price"] == "use"
    # 10 x 1/3, 10 x 2/3 less that, 10 x 2.5/3 less both
    costs = [one["cost"]["amount"] for one in found["data"]]
    assert costs == ["3.333333333333", "3.333333333334", "1.666666666666"]
    assert found["cost_used"] == {"amount": "8.333333333333", "asset": "EUR"}
    assert sum(map(Decimal, costs)) == Decimal(found["cost_used"]["amount"])
    assert found["totals"]["remaining"] == "0.5"
    assert sum(Decimal(one["amount"]) for one in found["data"]) == Decimal("2.5")
    assert found["totals"]["used"] == "2.5"
    # Page by page, and from the second day on, each says the same.
    first = await get(client, path, limit=2)
    rest = await get(client, path, limit=2, cursor=first["next_cursor"])
    assert first["data"] + rest["data"] == found["data"]
    assert rest["next_cursor"] is None
    later = await get(client, path, **{"from": format_instant(NOW + DAY)})
    assert later["data"] == found["data"][1:]
    until = await get(client, path, to=format_instant(NOW + DAY))
    assert until["data"] == found["data"][:1]
    set_clock(NOW + 6 * DAY)
    totals = (await get(client, path))["totals"]
    assert (totals["used"], totals["expired"], totals["remaining"]) == ("2.5", "0.5", "0")


async def test_a_consumption_that_cannot_be_told(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    await put_customer(client, "other")
    given = await give(client, amount="3")
    path = f"/v1/grants/{given['id']}/consumption"
    at = format_instant(NOW)
    problem(await client.get(path, params={"from": at, "to": at}), 422, "too_early")
    problem(await client.get(path, params={"cursor": "x"}), 422, "invalid_cursor")
    problem(await client.get("/v1/grants/grant_0/consumption"), 404, "not_found")
    body = {"name": "other's", "scopes": ["read"], "customer": "other"}
    secret = (await client.post("/v1/api_keys", json=body)).json()["secret"]
    async with client_for(instance, secret) as reader:
        problem(await reader.get(path), 404, "not_found")


async def test_the_same_request_at_once_gets_the_first_answer(client: httpx.AsyncClient) -> None:
    """50 to move and 8 that move 50, of the same key: those that wait for the first find nothing
    left to move, and are answered what it was.
    """
    await put_customer(client)
    await give(client, amount="50")
    answers = await asyncio.gather(*(move(client, key="k") for _ in range(8)))
    assert {one.status_code for one in answers} == {201}
    assert len({one.text for one in answers}) == 1
    assert (await balance(client, asset="credits"))["posted"] == "5000"
