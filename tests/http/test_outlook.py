"""What a balance says of the time to come: how long it lasts, and for how much."""

from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

from taximeter.kernel.times import format_instant
from tests.http.api import NOW, event, get, problem, put_customer, put_meter, send
from tests.http.credit import balance, give, put_wallet_price, use

DAY = timedelta(days=1)
SetClock = Callable[[datetime], None]


async def test_a_balance_tells_when_it_runs_out(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    await put_customer(client)
    await put_wallet_price(client)
    await give(client, amount="100", expires_at=format_instant(NOW + 20 * DAY))
    fresh = await balance(client)
    assert (fresh["drawn_per_day"], fresh["runs_out_at"]) == ("0", None)
    await use(client, "30")
    # The first movement is of now: a day at least is taken, so 30 a day; 70 last 70/30 days.
    found = await balance(client)
    assert found["drawn_per_day"] == "30"
    assert found["runs_out_at"] == format_instant(NOW + timedelta(seconds=201_600))
    set_clock(NOW + 4 * DAY)
    await use(client, "6")
    found = await balance(client)
    assert found["drawn_per_day"] == "9"  # 36 in 4 days
    # 64 would last 7.1 days.
    assert found["runs_out_at"] == format_instant(NOW + timedelta(days=4, seconds=614_400))
    # After 9 days the first use is no longer of the last seven: 6 in 7 days.
    set_clock(NOW + 9 * DAY)
    found = await balance(client)
    assert found["drawn_per_day"] == "0.857142857143"
    # 64 would last 74.7 days, but the grant ends on day 20.
    assert found["runs_out_at"] == format_instant(NOW + 20 * DAY)
    set_clock(NOW + 12 * DAY)
    assert (await balance(client))["runs_out_at"] is None  # the last use is eight days ago


async def test_what_is_held_or_yet_to_come_does_not_last(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_wallet_price(client)
    await give(client, amount="100")
    await give(client, amount="900", effective_at=format_instant(NOW + DAY))
    await use(client, "10")
    body = {"customer": "acme", "asset": "USD", "amount": "40"}
    assert (await client.post("/v1/holds", json=body)).json()["allowed"]
    found = await balance(client)
    assert (found["posted"], found["held"], found["drawn_per_day"]) == ("90", "40", "10")
    assert found["runs_out_at"] == format_instant(NOW + 5 * DAY)  # (90 - 40) / 10


async def test_a_balance_is_told_in_what_it_pays(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client, "workflows", event_type="workflow", aggregation="count")
    workflow = {"key": "workflow", "type": "usage", "meter": "workflows", "model": "per_unit",
                "unit": "0.20", "asset": "USD", "settle": "wallet"}  # fmt: skip
    await put_wallet_price(client, further=[workflow])
    await give(client, amount="100")
    await give(client, amount="50", scope={"meters": ["tokens"]})
    assert (await balance(client))["enough_for"] == [
        {"price": "use", "meter": "tokens", "quantity": "150"},  # at 1 each
        {"price": "workflow", "meter": "workflows", "quantity": "500"},  # 100 / 0.20
    ]
    await use(client, "150.1")
    assert [one["quantity"] for one in (await balance(client))["enough_for"]] == ["0", "0"]


async def test_a_balance_is_told_by_model(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client, "images", event_type="image", aggregation="count", dimensions=["size"])
    image = {
        "key": "image", "type": "usage", "meter": "images", "model": "dimensional", "asset": "USD",
        "settle": "wallet", "dimensions": ["size"], "otherwise": "zero",
        "rates": [
            {"match": {"size": "large"}, "unit": "0.30"},
            {"match": {"size": "small"}, "unit": "1", "per": "25"},
            {"match": {"size": "tiny"}, "unit": "0"},
            {"match": {"size": "huge"}, "model": "package", "amount": "1", "size": "2"},
        ],
    }  # fmt: skip
    await put_wallet_price(client, further=[image])
    await give(client, amount="10")
    assert (await balance(client))["enough_for"] == [
        {"price": "use", "meter": "tokens", "quantity": "10"},
        # 10 / 0.30 are 33 whole ones; 10 x 25 / 1.
        {"price": "image", "meter": "images", "dimensions": {"size": "large"}, "quantity": "33"},
        {"price": "image", "meter": "images", "dimensions": {"size": "small"}, "quantity": "250"},
    ]


async def test_which_grants_a_draw_would_take_is_told_before(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_wallet_price(client)
    paid = await give(client, amount="50")
    ends = format_instant(NOW + DAY)
    bonus = await give(client, amount="5", kind="promotional", expires_at=ends)
    calls = await give(client, amount="9", priority=60, scope={"meters": ["tokens"]})
    team = await give(client, amount="7", priority=10, scope={"path": "team"})
    await give(client, amount="100", priority=1, effective_at=ends)  # not yet in force

    async def preview(amount: str, **more: str) -> tuple[list[tuple[str, str, str]], str]:
        asked = httpx.QueryParams(asset="USD", amount=amount, **more)
        found = await get(client, f"/v1/customers/acme/draw_preview?{asked}")
        grants = [(one["id"], one["amount"], one["left"]) for one in found["grants"]]
        return grants, found["uncovered"]

    # The bonus ends first, then what was paid; the rest, 5, would be debt.
    first = [(bonus["id"], "5", "0"), (paid["id"], "50", "0")]
    assert await preview("60") == (first, "5")
    assert await preview("8", meter="tokens", path="team/ann") == (
        [(team["id"], "7", "0"), (bonus["id"], "1", "4")], "0"
    )  # fmt: skip
    assert (await preview("60", meter="tokens"))[0] == [*first, (calls["id"], "5", "4")]
    # What is held is not there to be drawn; nothing was changed by asking.
    body = {"customer": "acme", "asset": "USD", "amount": "15"}
    assert (await client.post("/v1/holds", json=body)).json()["allowed"]
    assert await preview("60") == ([(paid["id"], "40", "0")], "20")
    # What is told is what happens: 60 of tokens.
    await use(client, "60")
    found = await balance(client)
    # 5 + 50 + 5 of 9 are drawn; the team's 7 are left, and 4 for tokens.
    assert found["by_kind"] == {"paid": "11", "bundled": "0", "promotional": "0", "debt": "0"}
    assert (found["posted"], [one["remaining"] for one in found["grants"] if one["usable"]]) == (
        "11", ["7", "4"]
    )  # fmt: skip


async def test_a_draw_takes_a_surplus_first_and_needs_a_known_customer(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    await put_customer(client)
    path = "/v1/customers/acme/draw_preview"
    found = await get(client, path, asset="USD", amount="3")
    assert (found["surplus"], found["grants"], found["uncovered"]) == ("0", [], "3")
    nobody = await client.get("/v1/customers/nobody/draw_preview?asset=USD&amount=3")
    problem(nobody, 404, "not_found")
    problem(await client.get(f"{path}?asset=USD&amount=0"), 422, "invalid")
    # 4 of a grant are given back after it has ended: they belong to none, and are drawn first.
    await put_wallet_price(client)
    await give(client, amount="5", expires_at=format_instant(NOW + DAY))
    await send(client, [event("a", n=4)])
    set_clock(NOW + 2 * DAY)
    voided = {"customer": "acme", "reason": "sent by mistake"}
    assert (await client.post("/v1/events/a/void", json=voided)).status_code == 200
    assert (await balance(client))["by_kind"]["debt"] == "-4"
    kept = await give(client, amount="10")
    found = await get(client, path, asset="USD", amount="6")
    assert (found["surplus"], found["uncovered"]) == ("4", "0")
    assert [(one["id"], one["amount"]) for one in found["grants"]] == [(kept["id"], "2")]
