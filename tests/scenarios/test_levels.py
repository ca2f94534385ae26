"""Levels over time: what storage, seats in use and running machines cost while nothing happens."""

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.scenarios.story import START, Json, Story, amounts, event, span, totals, usage_price


@pytest.fixture(autouse=True)
def unaudited(story: Story) -> None:
    """The second biller folds events period by period, which a level is not."""
    story.audited = False


async def begin(story: Story, *, start: str = "2026-01-01T00:00:00Z", **fields: Any) -> str:
    """A customer with a level by the hour, at 1 a level-hour unless the price says otherwise."""
    meter = {name: fields.pop(name) for name in ("signed", "over", "dimensions") if name in fields}
    customer = {name: fields.pop(name) for name in ("timezone",) if name in fields}
    await story.customer(**customer)
    await story.meter("disk", "weighted_sum", **meter)
    await story.plan("p", usage_price("disk", "disk", **{"unit": "1", **fields}))
    return await story.subscribe("p", starts_at=start)


async def test_a_level_is_carried_into_the_period(story: Story) -> None:
    """5 since April, 29 from 26 May: 5 x 25 days x 24 h + 29 x 6 x 24 = 5 x 600 + 29 x 144 = 7176;
    per 744: 9.645161... = 9.65.
    """
    await begin(story, per="744", start="2026-05-01T00:00:00Z")
    await story.advance("2026-06-01T00:00:00Z")
    await story.use(
        event("disk", "b", "2026-05-26T00:00:00Z", q=29),
        event("disk", "a", "2026-04-10T12:00:00Z", q=5),
    )
    await story.advance("2026-06-01T01:00:00Z")
    [may] = await story.invoices()
    assert amounts(may) == [("disk", "7176", "9.65")]
    # June, without any event: 29 x 720 = 20880, per 744: 28.0645... = 28.06
    await story.advance("2026-07-01T01:00:00Z")
    june = (await story.invoices())[1]
    assert amounts(june) == [("disk", "20880", "28.06")]


async def test_the_average_level_of_a_period(story: Story) -> None:
    """100 GB for 15 days and 100 TB for 16 days of March: 100 x 360 + 102400 x 384 = 39,357,600
    GB-hours, / 744 = 52900 GB-months: 1024 x 0.140 + 50176 x 0.125 + 1700 x 0.110
    = 143.36 + 6272.00 + 187.00.
    """
    tiers: list[Json] = [
        {"up_to": "1024", "unit": "0.140"}, {"up_to": "51200", "unit": "0.125"},
        {"up_to": "460800", "unit": "0.110"},
    ]  # fmt: skip
    price = {"model": "graduated", "tiers": tiers, "unit": None}
    await begin(story, start="2026-03-01T00:00:00Z", over="period", **price)
    await story.advance("2026-03-31T00:00:00Z")
    await story.use(
        event("disk", "a", "2026-03-01T00:00:00Z", q=100),
        event("disk", "b", "2026-03-16T00:00:00Z", q=102400),
    )
    await story.advance("2026-04-01T01:00:00Z")
    [march] = await story.invoices()
    assert amounts(march) == [("disk", "52900", "6602.36")]
    [step, *_] = march["lines"][0]["tiers"]
    assert step["amount"] == "143.36"
    [row] = await story.usage(
        "disk", customer="acme", window="month", to="2026-04-01T00:00:00Z",
        **{"from": "2026-03-01T00:00:00Z"},
    )  # fmt: skip
    assert row["value"] == "52900"
    await story.meter("hours", "weighted_sum", event_type="disk")  # a new meter begins at 0
    assert await story.usage("hours", customer="acme", window="month") == []


async def test_all_month_at_one_level(story: Story) -> None:
    """600 TB = 614,400 GB all month: 51,200 x 0.023 + 460,800 x 0.022 + 102,400 x 0.021
    = 1,177.60 + 10,137.60 + 2,150.40.
    """
    tiers: list[Json] = [
        {"up_to": "51200", "unit": "0.023"}, {"up_to": "512000", "unit": "0.022"},
        {"unit": "0.021"},
    ]  # fmt: skip
    await begin(story, over="period", model="graduated", tiers=tiers, unit=None)
    await story.use(event("disk", "a", "2025-12-31T00:00:00Z", q=614400))
    await story.advance("2026-02-01T01:00:00Z")
    assert totals(await story.invoices()) == ["13465.60"]


async def test_a_period_under_way_counts_up_to_now(story: Story) -> None:
    await begin(story)
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=2))
    await story.advance("2026-01-02T00:00:00Z")
    assert amounts(await story.upcoming()) == [("disk", "48", "48.00")]
    # An event of the next hours (up to 24 are taken) holds from its own time.
    await story.use(event("disk", "b", "2026-01-02T06:00:00Z", q=0))
    assert amounts(await story.upcoming()) == [("disk", "48", "48.00")]
    spend = await story.ask("GET", "/v1/customers/acme/spend")
    # 48 so far, and 6 hours more until it falls to 0.
    assert (spend["total"], spend["forecast"]["total"]) == ("48", "60")
    await story.advance("2026-01-20T00:00:00Z")
    assert amounts(await story.upcoming()) == [("disk", "60", "60.00")]
    await story.use(event("disk", "c", "2026-01-20T00:00:00Z", q=1))
    spend = await story.ask("GET", "/v1/customers/acme/spend")
    # A level stays: 60 + 12 days x 24 h.
    assert (spend["total"], spend["forecast"]["total"]) == ("60", "348")


LEVELS = [
    ("a", "2026-01-05T00:00:00Z", 7), ("b", "2026-01-02T00:00:00Z", 3),
    ("c", "2026-01-20T12:00:00Z", 0), ("d", "2026-01-10T00:00:00Z", 9),
    ("e", "2025-12-20T00:00:00Z", 1), ("f", "2026-01-05T00:00:00Z", 8),
]  # fmt: skip


@pytest.mark.parametrize("order", ["abcdef", "fedcba", "dfbeca"])
async def test_the_order_of_arrival_means_nothing(story: Story, order: str) -> None:
    """1 x 24 h, 3 x 72, 8 x 120 (f comes after a at the same instant: by id), 9 x 252 until the
    20th at noon, then 0: 24 + 216 + 960 + 2268.
    """
    await begin(story)
    await story.advance("2026-01-31T00:00:00Z")
    known = {event_id: (time, level) for event_id, time, level in LEVELS}
    for event_id in order:
        time, level = known[event_id]
        await story.use(event("disk", event_id, time, q=level))
    assert amounts(await story.upcoming()) == [("disk", "3468", "3468.00")]


async def test_changes_of_a_level_add_up(story: Story) -> None:
    """+2 before, +3 on the 11th, twice -1 at one instant on the 21st: 1488 + 1512 - 528."""
    await begin(story, signed=True)
    await story.advance("2026-02-01T00:00:00Z")
    await story.use(
        event("disk", "c", "2026-01-21T00:00:00Z", q=-1),
        event("disk", "b", "2026-01-11T00:00:00Z", q=3),
        event("disk", "d", "2026-01-21T00:00:00Z", q=-1),
        event("disk", "a", "2025-11-01T00:00:00Z", q=2),
    )
    await story.advance("2026-02-01T01:00:00Z")
    assert totals(await story.invoices()) == ["2472.00"]
    await story.advance("2026-03-01T01:00:00Z")
    assert totals(await story.invoices())[1] == "2016.00"  # 3 x 28 x 24


async def test_a_late_level_changes_what_was_billed_until_the_next(story: Story) -> None:
    """January to March are billed at 1. Then a 4 of 15 January comes, and a 1 of 15 February."""
    await begin(story)
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=1))
    await story.advance("2026-04-01T01:00:00Z")
    assert totals(await story.invoices()) == ["744.00", "672.00", "744.00"]
    await story.advance("2026-04-10T00:00:00Z")
    await story.use(event("disk", "late", "2026-01-15T00:00:00Z", q=4))
    # 3 more for 17 days of January, all of February, all of March
    late = [("adjustment", "1224", "1224.00"), ("adjustment", "2016", "2016.00"),
            ("adjustment", "2232", "2232.00")]  # fmt: skip
    assert amounts(await story.upcoming(), "kind", "quantity", "amount")[1:] == late
    await story.use(event("disk", "next", "2026-02-15T00:00:00Z", q=1))
    # 3 more for 14 days of February, nothing for March
    late = [("adjustment", "1224", "1224.00"), ("adjustment", "1008", "1008.00")]
    assert amounts(await story.upcoming(), "kind", "quantity", "amount")[1:] == late
    await story.advance("2026-05-01T01:00:00Z")
    april = (await story.invoices())[3]
    assert amounts(april, "kind", "amount") == [
        ("usage", "720.00"), ("adjustment", "1224.00"), ("adjustment", "1008.00"),
    ]  # fmt: skip
    await story.advance("2026-06-01T01:00:00Z")
    may = (await story.invoices())[4]
    assert amounts(may, "kind", "amount") == [("usage", "744.00")]


async def test_a_late_level_after_the_end(story: Story) -> None:
    subscription = await begin(story)
    await story.cancel(subscription, at="2026-02-01T00:00:00Z")
    await story.advance("2026-03-10T00:00:00Z")
    await story.use(event("disk", "after", "2026-02-01T00:00:00Z", q=50))  # nobody's
    with pytest.raises(AssertionError, match="404"):
        await story.upcoming()
    await story.use(event("disk", "late", "2026-01-31T00:00:00Z", q=2))
    await story.advance("2026-04-01T02:00:00Z")
    last = (await story.invoices())[-1]
    assert amounts(last, "kind", "quantity", "amount") == [("adjustment", "48", "48.00")]


async def test_levels_by_dimension_and_rate(story: Story) -> None:
    """Each combination of dimension values has a level of its own; what no rate matches waits."""
    rates = [
        {"match": {"class": "ssd"}, "unit": "0.10"},
        {"match": {"class": "hdd"}, "unit": "0.01"},
    ]
    await story.customer()
    await story.meter("disk", "weighted_sum", dimensions=["class", "volume"])
    await story.use(
        event("disk", "0", "2025-12-01T00:00:00Z", q=7, volume="v9", **{"class": "tape"})
    )
    await story.plan(
        "p", usage_price("disk", "disk", model="dimensional", dimensions=["class"], rates=rates)
    )
    await story.subscribe("p")
    await story.use(
        event("disk", "a", "2026-01-01T00:00:00Z", q=10, volume="v1", **{"class": "ssd"}),
        event("disk", "b", "2026-01-01T00:00:00Z", q=20, volume="v2", **{"class": "ssd"}),
        event("disk", "c", "2026-01-01T00:00:00Z", q=500, volume="v3", **{"class": "hdd"}),
    )
    answer = await story.send(event("disk", "d", q=1, volume="v4", **{"class": "tape"}))
    assert answer["quarantined"] == 1
    await story.advance("2026-01-03T00:00:00Z")
    await story.use(
        event("disk", "e", "2026-01-02T00:00:00Z", q=0, volume="v2", **{"class": "ssd"})
    )
    # ssd 10 x 48 + 20 x 24 = 960; hdd 500 x 48 = 24000; the tape of December has no rate
    assert amounts(await story.upcoming()) == [
        ("disk", "960", "96.00"),
        ("disk", "24000", "240.00"),
    ]
    rows = await story.usage(
        "disk", customer="acme", window="day", group_by="class", **{"from": "2026-01-01T00:00:00Z"}
    )
    assert [(row["from"][8:10], row["group"]["class"], row["value"]) for row in rows] == [
        ("01", "hdd", "12000"), ("01", "ssd", "720"), ("01", "tape", "168"),
        ("02", "hdd", "12000"), ("02", "ssd", "240"), ("02", "tape", "168"),
    ]  # fmt: skip


async def test_a_day_may_have_23_or_25_hours(story: Story) -> None:
    """Level 1 in New York: 743 hours in March 2026 (the 8th has 23), 721 in November."""
    await begin(story, timezone="America/New_York", start="2026-01-01T05:00:00Z")
    await story.use(event("disk", "a", "2026-01-01T05:00:00Z", q=1))
    await story.advance("2026-12-01T06:00:00Z")
    months = [one["lines"][0]["quantity"] for one in await story.invoices()]
    assert months == ["744", "672", "743", "720", "744", "720", "744", "744", "720", "744", "721"]
    span = {"from": "2026-03-07T05:00:00Z", "to": "2026-03-10T04:00:00Z"}
    zone = {"timezone": "America/New_York", "customer": "acme"}
    rows = await story.usage("disk", window="day", **span, **zone)
    assert [row["value"] for row in rows] == ["24", "23", "24"]
    rows = await story.usage("disk", window="hour", **span, **zone)
    assert len(rows) == 71
    assert {row["value"] for row in rows} == {"1"}
    [row] = await story.usage("disk", window="total", **span, **zone)
    assert row["value"] == "71"


async def test_windows_of_a_level(story: Story) -> None:
    """Windows add up to the whole; those without a level are left out, or filled with zero."""
    await begin(story)
    await story.advance("2026-01-03T00:00:00Z")
    await story.use(
        event("disk", "a", "2026-01-01T10:30:00Z", q=6),
        event("disk", "b", "2026-01-01T12:15:00Z", q=0),
        event("disk", "c", "2026-01-02T20:00:00Z", q=1),
    )
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-04T00:00:00Z"}
    hours = await story.usage("disk", window="hour", **span)
    assert [(row["from"][8:13], row["value"]) for row in hours] == [
        ("01T10", "3"), ("01T11", "6"), ("01T12", "1.5"),
        ("02T20", "1"), ("02T21", "1"), ("02T22", "1"), ("02T23", "1"),
    ]  # fmt: skip
    minutes = await story.usage("disk", window="minute", **span)
    assert len(minutes) == 105 + 240
    assert {row["value"] for row in minutes} == {"0.1", "0.016666666667"}
    days = await story.usage("disk", window="day", fill="zero", **span)
    assert [row["value"] for row in days] == ["10.5", "4", "0"]
    [total] = await story.usage("disk", window="total", **span)
    assert total["value"] == "14.5"
    first = await story.ask(
        "GET", "/v1/meters/disk/usage", params={"window": "hour", "limit": 2, **span}
    )
    assert [row["value"] for row in first["data"]] == ["3", "6"]
    assert await story.usage("disk", window="day", customer="other", **span) == []


async def test_parts_of_a_split_period_add_up(story: Story) -> None:
    """An average over the period: 10 days at the old price, 21 at the new, of 31."""
    subscription = await begin(story, over="period", unit="31")
    await story.plan("p", usage_price("disk", "disk", unit="62"))
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=100))
    await story.change(subscription, version=2, at="2026-01-11T00:00:00Z")
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    # 100 x 10 / 31 = 32.258..., at 31: 1000; 100 x 21 / 31 = 67.741..., at 62: 4200
    assert amounts(january) == [
        ("disk", "32.258064516129", "1000.00"), ("disk", "67.741935483871", "4200.00"),
    ]  # fmt: skip


async def test_two_subscriptions_and_a_named_one(story: Story) -> None:
    """A level that names none counts for the oldest with a price, at each instant; one that names
    a subscription for that one.
    """
    await story.customer()
    await story.meter("disk", "weighted_sum")
    await story.plan("p", usage_price("disk", "disk", unit="1"))
    first = await story.subscribe("p", key="one")
    await story.subscribe("p", key="two")
    await story.cancel(first, at="2026-01-11T00:00:00Z")
    await story.use(
        event("disk", "a", "2026-01-01T00:00:00Z", q=1),
        event("disk", "b", "2026-01-01T00:00:00Z", q=100, subscription="two"),
    )
    await story.advance("2026-02-01T01:00:00Z")
    # one: 10 days x 24; two: 21 days x 24, and 100 x 744
    assert sorted(totals(await story.invoices())) == ["240.00", "74904.00"]
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
    [row] = await story.usage("disk", window="total", **span)
    assert row["value"] == "75144"


async def test_counting_again_leaves_levels(story: Story) -> None:
    subscription = await begin(story)
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=1))
    await story.plan("p", usage_price("disk", "disk", unit="10"))
    await story.advance("2026-01-20T00:00:00Z")
    await story.change(subscription, version=2, at="2026-01-11T00:00:00Z")  # in the past
    assert amounts(await story.upcoming()) == [
        ("disk", "240", "240.00"),
        ("disk", "216", "2160.00"),
    ]


async def test_a_level_that_waited_counts_from_its_own_time(story: Story) -> None:
    await story.send(event("disk", "a", "2026-01-01T00:00:00Z", q=3))
    await story.meter("disk", "weighted_sum")
    await story.customer()
    await story.plan("p", usage_price("disk", "disk", unit="1"))
    await story.subscribe("p")
    await story.advance("2026-01-02T00:00:00Z")
    assert amounts(await story.upcoming()) == [("disk", "72", "72.00")]


async def test_what_a_meter_of_levels_refuses(story: Story) -> None:
    await story.meter("disk", "weighted_sum", dimensions=["class"])
    body: Json = {"event_type": "disk", "aggregation": "weighted_sum", "value": "q"}
    changes: list[Json] = [
        {"dimensions": ["class", "region"]}, {"dimensions": []},
        {"dimensions": ["class"], "signed": True}, {"dimensions": ["class"], "over": "period"},
        {"dimensions": ["class"], "aggregation": "sum"},
    ]  # fmt: skip
    for changed in changes:
        refused = await story.refused("PUT", "/v1/meters/disk", json={**body, **changed})
        assert refused == (422, "immutable")
    changed = {"dimensions": ["class"], "value": "gb", "filter": {"test": {"not": [True]}}}
    await story.ask("PUT", "/v1/meters/disk", json={**body, **changed})
    plan = {
        "key": "p", "name": "p", "currency": "USD", "period": "month",
        "prices": [usage_price("disk", "disk", unit="1", settle="wallet")],
    }  # fmt: skip
    assert await story.refused("PUT", "/v1/plans/p", json=plan) == (422, "unsupported_settle")


async def test_a_line_shows_the_events_of_its_period(story: Story) -> None:
    await begin(story)
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=1))
    await story.advance("2026-02-01T01:00:00Z")
    [invoice] = await story.invoices()
    path = f"/v1/invoices/{invoice['id']}/lines/{invoice['lines'][0]['id']}/explain"
    found = await story.ask("GET", path)
    assert (found["quantity"], found["amount"]) == ("744", "744.00")
    assert [(one["id"], one["quantity"]) for one in found["events"]["data"]] == [("a", "1")]


async def test_a_preview_holds_a_level_for_the_whole_period(story: Story) -> None:
    """5 for 730 hours, the last of two; signed: 3 x 2 - 1 on average."""
    await story.meter("disk", "weighted_sum")
    await story.meter("seats", "weighted_sum", signed=True, over="period")
    await story.plan(
        "p", usage_price("disk", "disk", unit="0.01"), usage_price("seats", "seats", unit="20")
    )
    events = [
        {"type": "disk", "data": {"q": 9}}, {"type": "disk", "data": {"q": 5}, "count": "3"},
        {"type": "seats", "data": {"q": 2}, "count": "3"}, {"type": "seats", "data": {"q": -1}},
    ]  # fmt: skip
    found = await story.ask("POST", "/v1/plans/p/preview", json={"events": events})
    assert [(line["quantity"], line["amount"]) for line in found["lines"]] == [
        ("3650", "36.50"), ("5", "100.00"),
    ]  # fmt: skip


async def test_a_change_is_previewed_as_it_will_be(story: Story) -> None:
    subscription = await begin(story)
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=1))
    await story.plan("p", usage_price("disk", "disk", unit="10"))
    await story.advance("2026-01-20T00:00:00Z")
    body = {"version": 2, "at": "2026-01-11T00:00:00Z"}
    path = f"/v1/subscriptions/{subscription}/preview_change"
    found = await story.ask("POST", path, json=body)
    await story.change(subscription, **body)
    assert found["next_invoice"]["lines"] == (await story.upcoming())["lines"]


@pytest.mark.parametrize("seed", range(2))
async def test_random_levels_are_billed_as_long_as_they_held(story: Story, seed: int) -> None:
    """Whenever levels arrive, also months late: what was billed for each period, with all that was
    adjusted since, is what counting hour by hour makes of them; so is what usage queries say.
    """
    chance = random.Random(seed)
    signed = chance.random() < 0.5
    timezone = chance.choice(["UTC", "America/New_York", "Asia/Kolkata"])
    await begin(story, signed=signed, dimensions=["disk"], timezone=timezone)
    sent = []
    for n in range(30):
        hour = chance.randrange(-200, 24 * 120)
        late = chance.choice([0, 0, 3, 30, 24 * 40])
        sent.append((hour + late, hour, f"e{n}", chance.choice("ab"), chance.randrange(-5, 20)))
    held = [one if signed else (*one[:4], abs(one[4])) for one in sorted(sent)]
    for arrival, hour, event_id, disk, value in held:
        if arrival > 0:
            await story.advance(_at(arrival))
        await story.use(event("disk", event_id, _at(hour), q=value, disk=disk))
    await story.advance("2026-08-01T12:00:00Z")
    billed: dict[tuple[str, str], int] = defaultdict(int)
    for invoice in await story.invoices():
        for line in invoice["lines"]:
            billed[span(line)] += int(line["quantity"])
    assert len(billed) == 7
    for (start, end), quantity in billed.items():
        assert quantity == _held(held, start, end, signed=signed), (start, end)
    days = await story.usage(
        "disk", customer="acme", window="day", to="2026-06-01T00:00:00Z",
        **{"from": "2026-01-01T00:00:00Z"},
    )  # fmt: skip
    for day in days[:40]:
        assert int(day["value"]) == _held(held, day["from"], day["to"], signed=signed), day
    whole = _held(held, "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", signed=signed)
    assert sum(int(day["value"]) for day in days) == whole


def _at(hour: int) -> str:
    return (START + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


def _held(
    sent: Sequence[tuple[int, int, str, str, int]], start: str, end: str, *, signed: bool
) -> int:
    """The level-hours from `start` until `end`, hour by hour. Kolkata's half hours are as long."""
    area = 0
    first, last = (
        (datetime.fromisoformat(at) - START) / timedelta(hours=0.5) for at in (start, end)
    )
    for half in range(int(first), int(last)):
        for disk in "ab":
            # By time, then receipt, then id.
            known = sorted(
                (hour, max(arrival, 0), event_id, value)
                for arrival, hour, event_id, of, value in sent
                if of == disk and hour * 2 <= half
            )
            values = [value for *_, value in known]
            area += sum(values) if signed else (values[-1] if values else 0)
    assert area % 2 == 0
    return area // 2


async def test_of_two_levels_at_one_instant_the_last_received_counts(story: Story) -> None:
    await begin(story)
    await story.use(event("disk", "z", "2026-01-01T00:00:00Z", q=5, source="z"))
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=1, source="a"))
    assert amounts(await story.upcoming(), "quantity") == [("24",)]
    # Received at the same instant, too: by source, then id.
    await story.use(
        event("disk", "c", "2026-01-01T00:00:00Z", q=3, source="b"),
        event("disk", "b", "2026-01-01T00:00:00Z", q=2, source="b"),
        event("disk", "d", "2026-01-01T00:00:00Z", q=4, source="a"),
    )
    assert amounts(await story.upcoming(), "quantity") == [("72",)]


async def test_a_level_costs_nothing_in_a_pause(story: Story) -> None:
    """Ten of the 31 days are paused: 10 x 24 before, 11 x 24 after; the level itself goes on."""
    subscription = await begin(story)
    await story.use(event("disk", "a", "2026-01-01T00:00:00Z", q=1))
    await story.ask(
        "POST", f"/v1/subscriptions/{subscription}/pause",
        json={"at": "2026-01-11T00:00:00Z", "until": "2026-01-21T00:00:00Z"},
    )  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    assert amounts(january, "quantity") == [("240",), ("264",)]
    [row] = await story.usage("disk", window="total", to="2026-02-01T00:00:00Z")
    assert row["value"] == "720"  # of the last 30 days
