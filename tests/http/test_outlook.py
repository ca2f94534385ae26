"""What a balance says of the time to come: how long it lasts, and for how much."""

from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

from taximeter.kernel.times import format_instant
from tests.http.api import NOW, put_customer, put_meter
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
