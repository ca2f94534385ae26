"""Giving credit, taking it back, and repaying debt."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.kernel.times import format_instant
from taximeter.services.grants import next_repayment, repay_due
from tests.http.api import NOW, client_for, get, problem, put_customer, put_meter, send
from tests.http.credit import balance, give, part_of, put_wallet_price, use

DAY = timedelta(days=1)
SetClock = Callable[[datetime], None]


async def entries(client: httpx.AsyncClient) -> list[tuple[str, str, bool]]:
    """Acme's movements, oldest first: kind, amount, and whether a grant is named."""
    page = await get(client, "/v1/customers/acme/wallet_entries", limit=100)
    rows = [(row["kind"], row["amount"], row["grant"] is not None) for row in page["data"]]
    return rows[::-1]


async def test_a_grant_is_answered_as_it_was_given(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    given = await give(
        client, amount="100.50", asset="credits", kind="promotional", priority=0,
        cost_basis={"amount": "80.10", "asset": "USD"}, effective_at="2026-03-11T01:00:00+01:00",
        expires_at="2026-04-01T00:00:00Z", scope={"meters": ["tokens", "tokens"]},
    )  # fmt: skip
    assert given.pop("id").startswith("grant_")
    assert given == {
        "customer": "acme", "asset": "credits", "amount": "100.5", "remaining": "100.5",
        "kind": "promotional", "cost_basis": {"amount": "80.1", "asset": "USD"}, "priority": 0,
        "effective_at": "2026-03-11T00:00:00Z", "expires_at": "2026-04-01T00:00:00Z",
        "scope": {"meters": ["tokens"]}, "created_at": format_instant(NOW), "voided_at": None,
    }  # fmt: skip


async def test_what_is_left_out_takes_its_default(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    given = await give(client, amount=100)
    assert (given["priority"], given["effective_at"]) == (50, format_instant(NOW))
    assert (given["expires_at"], given["scope"], given["cost_basis"]) == (None, None, None)
    assert await get(client, f"/v1/grants/{given['id']}") == given


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"amount": "0"}, "amount", "invalid"),
        ({"amount": "-1"}, "amount", "invalid"),
        ({"amount": "1e3"}, "amount", "invalid"),
        ({"amount": "1.0000000000001"}, "amount", "invalid"),  # 13 decimals
        ({"amount": 0.5}, "amount", "invalid"),
        ({"amount": None}, "amount", "invalid"),
        ({"asset": "a credit"}, "asset", "invalid"),
        ({"asset": ""}, "asset", "invalid"),
        ({"asset": "usd"}, "asset", "unknown_currency"),
        ({"kind": "free"}, "kind", "invalid"),
        ({"priority": -1}, "priority", "invalid"),
        ({"priority": 1001}, "priority", "invalid"),
        ({"priority": "5"}, "priority", "invalid"),
        ({"cost_basis": {"amount": "-1", "asset": "USD"}}, "cost_basis.amount", "invalid"),
        ({"cost_basis": {"amount": "1"}}, "cost_basis.asset", "missing"),
        ({"effective_at": "2026-03-10"}, "effective_at", "invalid"),
        ({"expires_at": format_instant(NOW)}, "expires_at", "too_early"),
        (
            {"effective_at": "2026-05-01T00:00:00Z", "expires_at": "2026-05-01T00:00:00Z"},
            "expires_at",
            "too_early",
        ),
        ({"scope": {"meters": []}}, "scope.meters", "invalid"),
        ({"scope": {"meters": ["no"]}}, "scope.meters[0]", "unknown_meter"),
        ({"scope": {"meters": ["m"] * 101}}, "scope.meters", "too_many"),
        ({"scope": {"path": ""}}, "scope.path", "invalid"),
        ({"remaining": "5"}, "remaining", "unknown_field"),
    ],
)
async def test_a_grant_that_cannot_be_is_refused_and_gives_nothing(
    client: httpx.AsyncClient, changes: dict[str, Any], path: str, code: str
) -> None:
    await put_customer(client)
    body = {"customer": "acme", "asset": "USD", "amount": "5", "kind": "paid", **changes}
    found = problem(await client.post("/v1/grants", json=body), 422, code)
    assert [error["path"] for error in found["errors"]] == [path]
    assert await get(client, "/v1/customers/acme/balance") == {"wallets": []}


async def test_a_customer_that_does_not_exist_is_not_found(client: httpx.AsyncClient) -> None:
    body = {"customer": "acme", "asset": "USD", "amount": "5", "kind": "paid"}
    problem(await client.post("/v1/grants", json=body), 404, "not_found")


async def test_the_same_request_with_its_key_gives_once(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    body = {"customer": "acme", "asset": "USD", "amount": "5", "kind": "paid"}
    key = {"idempotency-key": "top-up-1"}
    first, second = [await client.post("/v1/grants", json=body, headers=key) for _ in range(2)]
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["idempotent-replay"] == "true"
    assert (await balance(client))["posted"] == "5"
    other = await client.post("/v1/grants", json={**body, "amount": "6"}, headers=key)
    problem(other, 409, "idempotency_conflict")


async def test_grants_are_listed_by_customer_and_age(client: httpx.AsyncClient) -> None:
    for customer in ("b", "acme"):
        await put_customer(client, customer)
    given = [await give(client, customer=key, amount="1") for key in ("b", "acme", "acme")]
    await client.post(f"/v1/grants/{given[1]['id']}/void")
    ids = [one["id"] for one in given]
    first = await get(client, "/v1/grants", limit=2)
    assert [one["id"] for one in first["data"]] == [ids[1], ids[2]]
    second = await get(client, "/v1/grants", limit=2, cursor=first["next_cursor"])
    assert ([one["id"] for one in second["data"]], second["next_cursor"]) == ([ids[0]], None)
    assert [one["id"] for one in (await get(client, "/v1/grants", customer="b"))["data"]] == [
        ids[0]
    ]


# Repaying debt


async def test_a_grant_repays_the_debt_first(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "30")
    given = await give(client, amount="100")
    assert given["remaining"] == "70"  # 100 - 30
    assert (await balance(client))["posted"] == "70"
    assert await entries(client) == [
        ("draw", "-30", False),
        ("grant", "100", True),
        ("repay", "-30", True),
        ("repay", "30", False),
    ]


async def test_a_grant_smaller_than_the_debt_is_used_up_at_once(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "30")
    assert (await give(client, amount="20"))["remaining"] == "0"
    found = await balance(client)
    assert (found["posted"], found["grants"]) == ("-10", [])  # 20 - 30


async def test_a_grant_for_certain_meters_repays_no_debt(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "30")
    given = await give(client, amount="100", scope={"meters": ["tokens"]})
    assert given["remaining"] == "100"
    assert (await balance(client))["posted"] == "70"  # 100 - 30: the debt stands beside it
    assert (await next_repayment(instance.context), await repay_due(instance.context)) == (None, 0)


async def test_a_grant_that_has_expired_repays_no_debt(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await give(client, amount="100", expires_at=format_instant(NOW + DAY))
    set_clock(NOW + DAY)
    await use(client, "30")
    assert (await next_repayment(instance.context), await repay_due(instance.context)) == (None, 0)
    long_past = {"effective_at": "2026-01-01T00:00:00Z", "expires_at": "2026-02-01T00:00:00Z"}
    assert (await give(client, amount="100", **long_past))["remaining"] == "100"
    assert (await balance(client))["posted"] == "-30"


async def test_a_grant_to_come_repays_when_it_is_in_force_and_for_good(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    context = instance.context
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "30")
    assert await next_repayment(context) is None
    start, end = NOW + DAY, NOW + 2 * DAY
    given = await give(
        client, amount="100", effective_at=format_instant(start), expires_at=format_instant(end)
    )
    assert given["remaining"] == "100"
    assert (await balance(client))["posted"] == "-30"
    assert (await next_repayment(context), await repay_due(context)) == (start, 0)
    set_clock(start)
    assert (await balance(client))["posted"] == "70"  # 100 - 30
    assert (await repay_due(context), await repay_due(context)) == (1, 0)
    found = await balance(client)
    assert (found["posted"], found["grants"][0]["remaining"]) == ("70", "70")
    assert await next_repayment(context) is None
    set_clock(end)
    assert (await balance(client))["posted"] == "0"  # not -30: the grant has paid for that usage


async def test_several_grants_that_come_into_force_repay_in_burn_order(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "30")
    start = format_instant(NOW + DAY)
    paid = await give(client, amount="100", effective_at=start)
    promotional = await give(client, amount="20", kind="promotional", effective_at=start)
    set_clock(NOW + DAY)
    await asyncio.gather(*(repay_due(instance.context) for _ in range(5)))
    assert await part_of(client, promotional) == "0"
    assert await part_of(client, paid) == "90"  # 100 - (30 - 20)


# Voiding


async def test_a_void_takes_back_what_is_left(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    given = await give(client, amount="100")
    await use(client, "30")
    first = await client.post(f"/v1/grants/{given['id']}/void")
    assert first.status_code == 200
    assert first.json() == {
        **given, "remaining": "0", "voided_at": format_instant(NOW), "taken_back": "70",
        "held": "0",
    }  # fmt: skip
    assert (await balance(client))["posted"] == "0"
    assert (await entries(client))[-1] == ("void", "-70", True)  # 100 - 30
    await use(client, "5")
    assert (await balance(client))["posted"] == "-5"  # nothing is drawn from it any more


async def test_voiding_again_is_harmless(
    client: httpx.AsyncClient, instance: Instance, set_clock: SetClock
) -> None:
    await put_customer(client)
    given = await give(client, amount="100")
    path = f"/v1/grants/{given['id']}/void"
    answers = await asyncio.gather(*(client.post(path) for _ in range(5)))
    set_clock(NOW + DAY)
    answers.append(await client.post(path))
    found = [answer.json() for answer in answers]
    assert sorted(one.pop("taken_back") for one in found) == ["0"] * 5 + ["100"]
    assert all(one == found[0] for one in found)
    assert len(await entries(client)) == 2
    async with instance.context.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT action, detail ->> 'taken_back' FROM audit WHERE object = %s ORDER BY id",
            [given["id"]],
        )
        assert await cursor.fetchall() == [("grant.created", None), ("grant.voided", "100")]


async def test_a_void_leaves_repaid_debt_repaid(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "30")
    given = await give(client, amount="100")
    await client.post(f"/v1/grants/{given['id']}/void")
    assert (await balance(client))["posted"] == "0"  # 100 - 30 - 70


async def test_a_grant_that_does_not_exist_cannot_be_read_or_voided(
    client: httpx.AsyncClient,
) -> None:
    problem(await client.get("/v1/grants/grant_0"), 404, "not_found")
    problem(await client.post("/v1/grants/grant_0/void"), 404, "not_found")


# Who may


async def test_only_an_admin_gives_and_takes_and_a_reader_reads(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    given = await give(client, amount="1")
    made = await client.post("/v1/api_keys", json={"name": "reports", "scopes": ["read"]})
    async with client_for(instance, made.json()["secret"]) as reader:
        body = {"customer": "acme", "asset": "USD", "amount": "5", "kind": "paid"}
        problem(await reader.post("/v1/grants", json=body), 403, "forbidden")
        problem(await reader.post(f"/v1/grants/{given['id']}/void"), 403, "forbidden")
        assert await get(reader, f"/v1/grants/{given['id']}") == given
    async with client_for(instance, None) as nobody:
        problem(await nobody.get("/v1/grants"), 401, "unauthorized")


async def test_a_key_of_one_customer_knows_no_other(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    for customer in ("acme", "b"):
        await put_customer(client, customer)
    mine, other = [await give(client, customer=key, amount="1") for key in ("acme", "b")]
    key = {"name": "acme's", "scopes": ["read"], "customer": "acme"}
    made = await client.post("/v1/api_keys", json=key)
    async with client_for(instance, made.json()["secret"]) as confined:
        assert (await get(confined, "/v1/grants"))["data"] == [mine]
        assert await get(confined, f"/v1/grants/{mine['id']}") == mine
        for answer in (
            await confined.get(f"/v1/grants/{other['id']}"),
            await confined.get("/v1/grants", params={"customer": "b"}),
            await confined.get("/v1/customers/b/balance"),
            await confined.get("/v1/customers/b/wallet_entries"),
        ):
            problem(answer, 404, "not_found")


async def test_parallel_grants_and_draws_keep_entries_and_balance_together(
    client: httpx.AsyncClient,
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await asyncio.gather(
        *(give(client, amount="7", priority=n) for n in range(20)),
        *(use(client, "10") for _ in range(20)),
    )
    assert (await balance(client))["posted"] == "-60"  # 20 x 7 - 20 x 10
    page = await get(client, "/v1/customers/acme/wallet_entries", limit=100)
    assert page["next_cursor"] is None
    assert sum(int(row["amount"]) for row in page["data"]) == -60
    grants = await get(client, "/v1/grants", limit=100)
    assert {one["remaining"] for one in grants["data"]} == {"0"}


async def test_parallel_voids_and_draws_lose_and_double_nothing(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    given = [await give(client, amount="10") for _ in range(10)]
    await asyncio.gather(
        *(client.post(f"/v1/grants/{one['id']}/void") for one in given),
        *(use(client, "3") for _ in range(20)),
    )
    found = await entries(client)
    taken_back = sum(int(amount) for kind, amount, _ in found if kind == "void")
    assert sum(int(amount) for kind, amount, _ in found if kind == "draw") == -60  # 20 x 3
    assert (await balance(client))["posted"] == str(100 - 60 + taken_back)  # 10 x 10 given


async def test_usage_that_waited_for_its_customer_is_repaid_like_any_other(
    client: httpx.AsyncClient,
) -> None:
    await put_wallet_price(client, subscribe=False)
    await send(client, [{"id": "early", "type": "call", "subject": "acme", "data": {"n": 4}}])
    await put_customer(client, enforcement="soft")
    assert await get(client, "/v1/customers/acme/balance") == {"wallets": []}  # no price yet
    await give(client, amount="10")
    assert (await balance(client))["posted"] == "10"
