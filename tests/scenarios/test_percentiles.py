"""Prices by the 95th percentile: burstable bandwidth, exact however samples arrive."""

import asyncio
import math
import random
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.cli.command_line import run_on_database
from tests.scenarios.story import Story, amounts, event, totals, usage_price

P95: dict[str, Any] = {"aggregation": "percentile", "percentile": "0.95", "value": "mbps"}


@pytest.fixture(autouse=True)
def named_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands work on the story's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)


def samples(first: int, last: int, day: str = "2026-01-10", **fields: Any) -> list[Any]:
    """Samples of `first` to `last` Mbps, one each, a minute apart."""
    return [
        event(
            "link", f"{day}-{fields}-{n}", f"{day}T{n // 60:02}:{n % 60:02}:00Z", mbps=n, **fields
        )
        for n in range(first, last + 1)
    ]


async def begin(story: Story, price: dict[str, Any], **meter: Any) -> str:
    await story.customer()
    await story.meter("m", event_type="link", **{**P95, **meter})
    await story.plan("p", usage_price("m", "m", **price))
    return await story.subscribe("p")


async def test_late_samples_move_the_bill_both_ways(story: Story) -> None:
    await begin(story, {"unit": "2"})
    await story.advance("2026-01-20T00:00:00Z")
    # 1 to 100: the place 0.95 x 100 = 95 holds 95
    await story.use(*samples(51, 100))
    await story.use(*reversed(samples(1, 50)))
    assert amounts(await story.upcoming()) == [("m", "95", "190.00")]
    assert (await story.send(*samples(1, 100)))["duplicates"] == 100
    await story.advance("2026-02-01T02:00:00Z")
    # 100 more of 0: the place 0.95 x 200 = 190 holds 90 (100 zeros, then 1 to 90)
    low = [event("link", f"low{n}", "2026-01-05T00:00:00Z", mbps=0) for n in range(100)]
    await story.use(*low)
    assert amounts(await story.upcoming(), "kind", "quantity", "amount") == [
        ("usage", "0", "0.00"), ("adjustment", "-5", "-10.00"),
    ]  # fmt: skip
    await story.advance("2026-03-01T02:00:00Z")
    # 200 more of 500: the place 0.95 x 400 = 380 holds 500
    high = [event("link", f"high{n}", "2026-01-05T00:00:00Z", mbps=500) for n in range(200)]
    await story.use(*high)
    await story.advance("2026-04-01T02:00:00Z")
    invoices = await story.invoices()
    # (500 - 90) x 2 = 820
    assert totals(invoices) == ["190.00", "-10.00", "820.00"]


async def test_it_settles_from_a_wallet_and_gives_back(story: Story) -> None:
    tiers = [{"up_to": "10", "unit": "1"}, {"unit": "0.5"}]
    await begin(story, {"model": "graduated", "tiers": tiers, "settle": "wallet"})
    await story.grant("100")
    await story.use(*samples(1, 20, "2026-01-01"))  # the 19th: 10 + 9 x 0.5 = 14.5
    assert await story.available() == "85.5"
    for n in range(20):  # 0.95 x 40 = 38: twenty zeros, then 1 to 18: 10 + 8 x 0.5 = 14
        await story.use(event("link", f"z{n}", mbps=0))
    assert await story.available() == "86"


async def test_by_dimensions_over_a_change_of_price_and_in_usage_queries(story: Story) -> None:
    await story.customer()
    await story.meter("m", event_type="link", dimensions=["port"], **P95)
    for unit in ("1", "3"):
        await story.plan("p", usage_price("m", "m", unit=unit))
    subscription = await story.subscribe("p", version=1)
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(*samples(1, 20, port="a"), *samples(1, 40, port="b"))
    await story.use(*samples(1, 60, "2026-01-15", port="a"))
    # a: 1-20 and 1-60, the place 0.95 x 80 = 76 holds 56; b: 0.95 x 40 = 38; each has its own
    assert amounts(await story.upcoming()) == [("m", "94", "94.00")]
    # From the 12th on at 3. Before: a 0.95 x 20 = 19, b 38; after: a 0.95 x 60 = 57.
    change = {"version": 2, "at": "2026-01-12T00:00:00Z"}
    path = f"/v1/subscriptions/{subscription}/preview_change"
    preview = await story.ask("POST", path, json=change)
    expected = [("m", "57", "57.00"), ("m", "57", "171.00")]
    assert amounts(preview["next_invoice"]) == expected
    await story.change(subscription, **change)
    assert amounts(await story.upcoming()) == expected
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "customer": "acme"}
    rows = await story.usage("m", window="month", group_by="port", **span)
    assert [(row["group"]["port"], row["value"]) for row in rows] == [("a", "56"), ("b", "38")]
    # All 120: 1-20 three times, 21-40 twice, 41-60 once; the place 114 holds 54
    [row] = await story.usage("m", window="total", **span)
    assert row["value"] == "54"
    days = await story.usage("m", window="day", **span)
    assert [row["value"] for row in days] == ["37", "57"]  # 60: 57th is 37 (20 x 2, then 21-37)


async def test_a_preview_and_what_makes_no_sense(story: Story) -> None:
    await begin(story, {"unit": "2"})
    events = [{"type": "link", "data": {"mbps": n}, "count": n} for n in (1, 10, 9)]
    preview = await story.ask("POST", "/v1/plans/p/preview", json={"events": events})
    assert preview["total"] == "20.00"  # 20 events: the 19th is one of the ten of 10
    fields = {**P95, "event_type": "link"}
    changed = {**fields, "percentile": "0.9"}
    assert await story.refused("PUT", "/v1/meters/m", json=changed) == (422, "immutable")
    for bad in ({"bucket": "hour"}, {"percentile": "95"}, {"percentile": None}):
        assert (await story.refused("PUT", "/v1/meters/x", json=fields | bad))[0] == 422
    price = usage_price("m", "m", model="percentage", percent="1", fixed="0.30")
    plan = {"name": "q", "currency": "USD", "period": "month", "prices": [price]}
    assert (await story.refused("PUT", "/v1/plans/q", json=plan))[0] == 422


@pytest.mark.parametrize("seed", range(4))
async def test_places_are_those_of_a_sorted_list(
    story: Story, database_url: str, seed: int
) -> None:
    dice = random.Random(seed)
    shares = ("0.01", "0.5", "0.95")
    await story.customer()
    for share in shares:
        await story.meter(f"m{share[2:]}", "percentile", percentile=share, event_type="link",
                          value="mbps", dimensions=["port"], allow_negative=True)  # fmt: skip
    await story.plan("p", *[usage_price(f"p{s[2:]}", f"m{s[2:]}", unit="1") for s in shares])
    await story.subscribe("p")
    there: dict[str, tuple[str, int]] = {}
    for batch in range(25):
        new = {
            f"{batch}-{n}": (dice.choice("ab"), dice.randrange(-9, dice.choice([0, 9, 99])))
            for n in range(dice.choice([1, 1, 2, 30]))
        }
        there |= new
        await story.use(*[event("link", e, port=p, mbps=v) for e, (p, v) in new.items()])
        for gone in dice.sample(sorted(there), min(len(there), dice.choice([0, 0, 1, 2]))):
            change: dict[str, Any] = {"customer": "acme", "reason": "a test"}
            if dice.random() < 0.3:
                there[gone] = ("b", dice.randrange(-9, 99))
                change["data"] = {"port": "b", "mbps": there[gone][1]}
                await story.ask("POST", f"/v1/events/{gone}/amend", json=change)
            else:
                del there[gone]
                await story.ask("POST", f"/v1/events/{gone}/void", json=change)
        if batch == 12:  # as before this was kept: it is found again by all values
            with psycopg.connect(database_url) as connection:
                connection.execute("UPDATE usage_total SET below = NULL")
        expected = [(f"p{s[2:]}", sum_of_places(there, Decimal(s))) for s in shares]
        found = amounts(await story.upcoming(), "price", "quantity")
        assert found == [(price, str(quantity)) for price, quantity in expected]
    assert (
        await asyncio.to_thread(run_on_database, "usage", "recompute", "--check")
    ).exit_code == 0


def sum_of_places(there: dict[str, tuple[str, int]], share: Decimal) -> int:
    """What both ports' values at the place share x number, rounded up, add up to."""
    found = 0
    for port in "ab":
        values = sorted(value for own, value in there.values() if own == port)
        found += values[math.ceil(share * len(values)) - 1] if values else 0
    return found
