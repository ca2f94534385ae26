"""However the same events arrive, they come to the same: in any order, in batches of any size, sent
again, by several clients at once, and into two processes over one database.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.story import START, Json, Story, event, usage_price

EVENTS = 400
AGGREGATIONS = ("sum", "count", "max", "min", "latest", "unique", "percentile")
TIERS = [{"up_to": "100", "unit": "0.25", "flat": "1"}, {"unit": "0.1"}]
ARRANGEMENTS = (
    "one batch", "backwards one by one", "by seven", "by a thousand, twice", "again and again",
    "clients at once", "single events at once", "two processes",
)  # fmt: skip


@pytest.fixture
async def stories(database_url: str, anyio_backend: str) -> AsyncIterator[tuple[Story, Story]]:
    """Two processes over one database, the second with two lanes."""
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=START, workers=False
    )
    first = await open_instance(settings)
    second = await open_instance(
        Settings(database_url=database_url, root_key=ROOT_KEY, sandbox=True, workers=False, lanes=2)
    )
    try:
        async with client_for(first, ROOT_KEY) as one, client_for(second, ROOT_KEY) as other:
            yield Story(one), Story(other)
    finally:
        await second.close()
        await first.close()


async def publish(story: Story) -> None:
    """Meters of every aggregation, and a plan that reads each: from the wallet and by invoice."""
    prices = []
    for aggregation in AGGREGATIONS:
        value = {"unique": {"value": "user"}, "percentile": {"percentile": "0.9"}}.get(
            aggregation, {}
        )
        await story.meter(
            aggregation, aggregation, event_type="use", dimensions=["model"], **value,
            allow_negative=True,
        )  # fmt: skip
        graduated = {"model": "graduated", "tiers": TIERS}
        prices.append(usage_price(f"{aggregation}-invoice", aggregation, **graduated))
        volume = {"model": "volume", "tiers": TIERS, "settle": "wallet"}
        prices.append(usage_price(f"{aggregation}-wallet", aggregation, **volume))
        prices.append(usage_price(f"{aggregation}-linear", aggregation, unit="0.003",
                                  asset="credits", settle="wallet"))  # fmt: skip
    rates = [{"match": {"model": "big"}, "unit": "3"}, {"match": {"model": "small"}, "unit": "1"}]
    prices.append(usage_price("by-model", "sum", model="dimensional", dimensions=["model"],
                              rates=rates, otherwise="quarantine"))  # fmt: skip
    await story.plan("p", *prices)


def some_events(seed: int) -> list[Json]:
    """Usage of two months, some of it on the boundary, some of it unreadable or of no rate."""
    dice = random.Random(seed)
    found = []
    for n in range(EVENTS):
        at = START - timedelta(days=31) + timedelta(seconds=dice.randrange(62 * 86400))
        at = min(at, START + timedelta(hours=20))
        if n % 40 == 0:
            at = datetime.fromisoformat("2026-01-01T00:00:00Z")
        quantity: Any = dice.choice([dice.randrange(-5, 40), f"{dice.random():.6f}", "many"])
        if n % 5:
            quantity = dice.randrange(40)
        model = dice.choice(["big", "small", "small", "small", "unknown"])
        found.append(
            event("use", f"e{n}", at.isoformat(), q=quantity, model=model,
                  user=f"u{dice.randrange(50)}", source=dice.choice(["", "a"]))
        )  # fmt: skip
    return found


async def state_of(story: Story, customer: str) -> Json:
    """All that usage leads to, without what names the customer."""
    balance = await story.ask("GET", f"/v1/customers/{customer}/balance")
    for wallet in balance["wallets"]:
        for grant in wallet["grants"]:
            del grant["id"]
    usage = {
        meter: [
            (row["from"], row["group"], row["value"])
            for row in await story.usage(
                meter, customer=customer, window="month", group_by="model",
                **{"from": "2025-11-01T00:00:00Z"},
            )
        ]
        for meter in AGGREGATIONS
    }  # fmt: skip
    bills = []
    for bill in [*await story.invoices(customer), await story.upcoming(customer)]:
        keys = ("lines", "settled", "total", "period", "amount_due", "status")
        bills.append({key: bill[key] for key in keys})
    waiting = await story.everything("/v1/events", customer=customer, status="quarantined")
    return {
        "balance": balance, "usage": usage, "bills": bills,
        "quarantined": sorted((one["id"], one["reason"]) for one in waiting),
    }  # fmt: skip


async def arrange(
    name: str, stories: tuple[Story, Story], events: list[Json], dice: random.Random
) -> None:
    """Send the events in this way. Every one of them must be taken, once."""
    first, second = stories
    if name == "one batch":
        await send(first, events)
    elif name == "backwards one by one":
        for one in reversed(events):
            await send(first, [one])
    elif name == "by seven":
        dice.shuffle(events)
        await send(second, events, size=7)
    elif name == "by a thousand, twice":
        dice.shuffle(events)
        await send(first, events * 2, size=1000)
        await send(second, events * 2, size=1000)
    elif name == "again and again":
        for _ in range(3):
            dice.shuffle(events)
            await send(first, events, size=50)
    elif name == "clients at once":
        await asyncio.gather(*[send(first, shuffled(events, dice), size=9) for _ in range(6)])
    elif name == "single events at once":
        await asyncio.gather(*[send(first, [one]) for one in shuffled(events * 2, dice)])
    else:
        assert name == "two processes", name
        parts = [(story, shuffled(events, dice)) for story in stories * 4]
        await asyncio.gather(*[send(story, part, size=11) for story, part in parts])


def shuffled(events: Sequence[Json], dice: random.Random) -> list[Json]:
    return dice.sample(list(events), len(events))


async def send(story: Story, events: Sequence[Json], *, size: int = 10_000) -> None:
    for begin in range(0, len(events), size):
        answer = await story.send(*events[begin : begin + size])
        assert answer["rejected"] == 0, answer["results"][:3]
        counts = answer["accepted"] + answer["duplicates"] + answer["quarantined"]
        assert counts == len(events[begin : begin + size])


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_way_of_arrival_changes_nothing(stories: tuple[Story, Story], seed: int) -> None:
    story = stories[0]
    await publish(story)
    dice = random.Random(seed)
    events = some_events(seed)
    found = {}
    for number, name in enumerate(ARRANGEMENTS):
        customer = f"c{number}"
        await story.customer(customer)
        await story.subscribe("p", customer, starts_at="2025-12-01T00:00:00Z")
        for grant in ("20", "35.5"):
            await story.grant(grant, customer)
        await story.grant("15", customer, kind="promotional", asset="credits")
        mine = [{**one, "subject": customer} for one in events]
        await arrange(name, stories, mine, dice)
        found[name] = await state_of(story, customer)
    plain = found["one batch"]
    assert plain["quarantined"], "some events have no rate or no value"
    assert [bill["status"] for bill in plain["bills"]] == ["draft", "draft"]
    for name, state in found.items():
        assert state == plain, name


def readable(events: Sequence[Json]) -> list[Json]:
    """Those that every meter and price can read."""
    return [
        one for one in events
        if one["data"]["q"] != "many" and one["data"]["model"] != "unknown"
    ]  # fmt: skip


async def correct(story: Story, verb: str, one: Json, **fields: Any) -> None:
    body = {"customer": one["subject"], "source": one["source"], "reason": "wrong", **fields}
    await story.ask("POST", f"/v1/events/{one['id']}/{verb}", json=body)


async def test_corrected_is_as_if_it_had_been_sent_right(stories: tuple[Story, Story]) -> None:
    """Wrong and amended is right, void is never sent: totals, hours, credit and invoices."""
    story = stories[0]
    await publish(story)
    events, others = readable(some_events(3))[:60], some_events(4)[:60]
    for customer in ("right", "wrong"):
        await story.customer(customer)
        await story.subscribe("p", customer, starts_at="2025-12-01T00:00:00Z")
        for grant in ("20", "35.5"):
            await story.grant(grant, customer)
        await story.grant("15", customer, kind="promotional", asset="credits")
    await send(story, [{**one, "subject": "right"} for one in events])
    right = [{**one, "subject": "wrong"} for one in events]
    said = [
        {**one, "time": other["time"], "data": other["data"]} if n % 3 else one
        for n, (one, other) in enumerate(zip(right, others, strict=True))
    ]
    extra = [{**one, "id": f"x{n}", "subject": "wrong"} for n, one in enumerate(others[:20])]
    await send(story, said)
    await send(story, extra)
    for one, wrong in zip(right, said, strict=True):
        if one != wrong:
            await correct(story, "amend", one, data=one["data"], time=one["time"])
    for one in extra:
        await correct(story, "void", one)
    assert await state_of(story, "wrong") == await state_of(story, "right")


async def test_two_first_transactions_at_once_count_once(
    stories: tuple[Story, Story],
) -> None:
    """A process that has just started reads its catalog in both lanes at the same time."""
    first, second = stories
    await first.customer()
    await first.meter("m")
    await first.plan("p", usage_price("m", "m", unit="1"))
    await first.subscribe("p")
    events = [event("m", f"e{n}", q=1) for n in range(12_000)]  # more than one commit takes
    await asyncio.gather(*[send(second, events[n::4]) for n in range(4)])
    assert (await first.upcoming())["total"] == "12000.00"
    [row] = await first.usage("m", customer="acme", **{"from": "2026-01-01T00:00:00Z"})
    assert row["value"] == "12000"


async def test_terms_change_while_events_stream_in(stories: tuple[Story, Story]) -> None:
    """Meters, plans and changes of a subscription between and during the commits of two processes:
    in the end every event is billed once, by the terms that hold at its time.
    """
    first, _second = stories
    await first.customer()
    await first.meter("m")
    for n in range(1, 4):
        await first.plan(f"p{n}", usage_price("m", "m", unit=str(n)))
    subscription = await first.subscribe(
        "p1", starts_at="2025-12-31T00:00:00Z", anchor="2025-12-01"
    )
    times = [START - timedelta(hours=24) + timedelta(minutes=n) for n in range(1200)]
    events = [event("m", f"e{n}", at.isoformat(), q=1) for n, at in enumerate(times)]

    async def change() -> None:
        for hour, plan in ((6, "p2"), (12, "p3"), (18, "p1")):
            await asyncio.sleep(0.05)
            at = START - timedelta(hours=24 - hour)
            await first.change(subscription, plan=plan, at=at.isoformat())
            await first.meter(f"extra{hour}", event_type="m", aggregation="count")

    await asyncio.gather(
        *[send(story, events[part::6], size=10) for part, story in enumerate(stories * 3)], change()
    )
    # 360 at 1, 360 at 2, 360 at 3, and the last 120 minutes at 1
    [draft] = await first.invoices()
    assert [line["amount"] for line in draft["lines"]] == ["360.00", "720.00", "1080.00", "120.00"]
    await first.advance("2026-01-01T02:00:00Z")
    [invoice] = await first.invoices()
    assert (invoice["status"], invoice["total"]) == ("open", "2280.00")


async def test_identity_is_customer_source_and_id(stories: tuple[Story, Story]) -> None:
    story = stories[0]
    await story.meter("m")
    for customer in ("a", "b"):
        await story.customer(customer)
    same = [
        event("m", "x", customer=customer, q=1, source=source)
        for customer in ("a", "b") for source in ("", "s")
    ]  # fmt: skip
    await story.use(*same)
    again = await story.send(*same, {**same[0], "data": {"q": "1"}}, {**same[0], "type": "n"})
    assert (again["duplicates"], again["rejected"]) == (4, 2)


async def test_a_client_is_answered_by_http(stories: tuple[Story, Story]) -> None:
    """The same event as one object, as a batch of one, gzipped or not, is one event."""
    story = stories[0]
    await story.customer()
    await story.meter("m")
    one = event("m", "x", q=1)
    client: httpx.AsyncClient = story.client
    answers = [
        await client.post("/v1/events", json=one),
        await client.post("/v1/events", json=[one]),
        await client.post("/v1/events", json=one,
                          headers={"content-type": "application/cloudevents+json"}),
        await client.post("/v1/events", json=[one],
                          headers={"content-type": "application/cloudevents-batch+json"}),
        await client.post("/v1/events", json={**one, "specversion": "1.0", "source": ""}),
    ]  # fmt: skip
    counts = [(one.json()["accepted"], one.json()["duplicates"]) for one in answers]
    assert counts == [(1, 0)] + [(0, 1)] * 4
