"""Maxima, minima and last values by bucket: each bucket is rated on its own, and usage adds up."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.scenarios.story import Json, Story, amounts, event, totals, usage_price

TIERS: list[Json] = [
    {"up_to": "10", "unit": "0.10"}, {"up_to": "20", "unit": "0.05"}, {"unit": "0.02"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def unaudited(story: Story) -> None:
    """The second biller knows no buckets."""
    story.audited = False


async def begin(story: Story, meter: Json, **price: Any) -> str:
    await story.customer(timezone=meter.pop("timezone", "UTC"))
    await story.meter("m", **meter)
    await story.plan("p", usage_price("m", "m", **price))
    return await story.subscribe("p")


@pytest.mark.parametrize(
    ("price", "second", "amount"),
    [
        # 9 x 0.10 = 0.90, and 10 x 0.10 + 5 x 0.05 = 1.25
        ({"model": "graduated", "tiers": TIERS}, 15, "2.15"),
        ({"model": "volume", "tiers": TIERS}, 15, "1.65"),  # 9 x 0.10 + 15 x 0.05
        ({"unit": "0.10"}, 10, "1.90"),  # 0.90 + 1.00
        ({"model": "package", "amount": "1", "size": "10"}, 10, "2.00"),  # a package each
    ],
)
async def test_each_bucket_is_rated_on_its_own(
    story: Story, price: Json, second: int, amount: str
) -> None:
    await begin(story, {"aggregation": "max", "bucket": "hour"}, **price)
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(
        event("m", "a", "2026-01-01T10:00:00Z", q=3), event("m", "b", "2026-01-01T10:59:59Z", q=9),
        event("m", "c", "2026-01-01T11:00:00Z", q=second),
    )  # fmt: skip
    await story.use(event("m", "d", "2026-01-01T11:30:00Z", q=2))
    assert amounts(await story.upcoming()) == [("m", str(9 + second), amount)]
    await story.advance("2026-02-01T01:00:00Z")
    assert totals(await story.invoices()) == [amount]


@pytest.mark.parametrize(
    ("aggregation", "quantity"), [("max", "14"), ("min", "8"), ("latest", "11")]
)
async def test_days_are_the_customers(story: Story, aggregation: str, quantity: str) -> None:
    """In Kolkata (5:30 ahead) a day begins at 18:30 UTC, within an hour: 7, 3, 4 and 5 and 0, 2, 2
    are three days: 7 + 5 + 2, 3 + 5 + 0, 4 + 5 + 2.
    """
    meter = {"aggregation": aggregation, "bucket": "day", "timezone": "Asia/Kolkata"}
    await begin(story, meter, unit="1")
    await story.advance("2026-01-06T00:00:00Z")
    await story.use(
        event("m", "a", "2026-01-02T18:30:00Z", q=7), event("m", "b", "2026-01-03T02:00:00Z", q=3),
        event("m", "c", "2026-01-03T18:29:59Z", q=4), event("m", "d", "2026-01-03T18:30:00Z", q=5),
        event("m", "e", "2026-01-05T12:00:00Z", q=2), event("m", "f", "2026-01-05T11:00:00Z", q=0),
        event("m", "g", "2026-01-05T13:00:00Z", q=2),
    )  # fmt: skip
    assert amounts(await story.upcoming(), "quantity") == [(quantity,)]
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-06T00:00:00Z"}
    [row] = await story.usage("m", window="total", customer="acme", **span)
    assert (row["value"], row["group"]) == (quantity, {})
    days = await story.usage("m", window="day", timezone="Asia/Kolkata", **span)
    assert [row["from"][8:16] for row in days] == ["02T18:30", "03T18:30", "04T18:30"]
    assert sum(int(row["value"]) for row in days) == int(quantity)


async def test_windows_of_buckets(story: Story) -> None:
    """A window adds up its buckets; one that a window cuts counts with what lies in it."""
    meter = {"aggregation": "max", "bucket": "hour", "dimensions": ["region", "host"]}
    await begin(story, meter, unit="1")
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(
        event("m", "a", "2026-01-01T10:10:00Z", q=3, region="eu", host="1"),
        event("m", "b", "2026-01-01T10:50:00Z", q=8, region="eu", host="2"),
        event("m", "c", "2026-01-01T11:20:00Z", q=5, region="eu", host="1"),
        event("m", "d", "2026-01-01T11:20:00Z", q=6, region="us", host="3"),
    )
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    rows = await story.usage("m", window="day", group_by="region", **span)
    # eu: max(3, 8) + 5
    assert [(row["group"], row["value"]) for row in rows] == [
        ({"region": "eu"}, "13"), ({"region": "us"}, "6"),
    ]  # fmt: skip
    [row] = await story.usage("m", window="total", **span)
    assert row["value"] == "14"  # max(3, 8) + max(5, 6)
    cut = {"from": "2026-01-01T10:30:00Z", "to": "2026-01-01T11:30:00Z"}
    [row] = await story.usage("m", window="total", **cut)
    assert row["value"] == "14"  # 8, and max(5, 6)
    cut = {"from": "2026-01-01T09:30:00Z", "to": "2026-01-01T10:30:00Z"}
    [row] = await story.usage("m", window="total", **cut)
    assert row["value"] == "3"
    minutes = await story.usage("m", window="minute", group_by="region", **span)
    assert [row["value"] for row in minutes] == ["3", "8", "5", "6"]
    asked = {"window": "hour", "group_by": "region", "limit": "1", **span}
    page = await story.ask("GET", "/v1/meters/m/usage", params=asked)
    assert [row["value"] for row in page["data"]] == ["8"]
    # The price adds up what each combination of dimensions comes to: 3 + 8, and 5 + 6.
    assert amounts(await story.upcoming(), "quantity") == [("22",)]


async def test_a_bucket_drawn_from_a_wallet(story: Story) -> None:
    await begin(
        story, {"aggregation": "max", "bucket": "hour"}, settle="wallet", model="graduated",
        tiers=TIERS,
    )  # fmt: skip
    await story.grant("10")
    await story.use(event("m", "a", "2026-01-01T00:00:00Z", q=9))
    assert await story.available() == "9.1"
    await story.use(event("m", "b", "2026-01-01T00:00:00Z", q=15))  # 1.25 - 0.90
    assert await story.available() == "8.75"
    await story.use(event("m", "c", "2026-01-01T01:00:00Z", q=15))  # another hour: 1.25
    assert await story.available() == "7.5"


async def test_a_forecast_of_buckets(story: Story) -> None:
    """Two of the three days gone by had usage; of the 28 to come 19 will, as 5, 15, 5, ..."""
    await begin(story, {"aggregation": "max", "bucket": "day"}, model="graduated", tiers=TIERS)
    await story.advance("2026-01-04T00:00:00Z")
    await story.use(
        event("m", "a", "2026-01-01T12:00:00Z", q=5), event("m", "b", "2026-01-03T12:00:00Z", q=15)
    )
    spend = await story.ask("GET", "/v1/customers/acme/spend")
    # 0.50 + 1.25; then 28 x 2 / 3 = 18.67: 10 more at 0.50 and 9 at 1.25
    assert (spend["total"], spend["forecast"]["total"]) == ("1.75", "18")


async def test_a_meter_begins_to_have_buckets(story: Story) -> None:
    """What was counted without stays one maximum; counting again keeps both."""
    subscription = await begin(story, {"aggregation": "max"}, unit="1")
    await story.use(event("m", "a", "2026-01-01T00:00:00Z", q=4))
    await story.advance("2026-01-10T00:00:00Z")
    await story.meter("m", "max", bucket="hour")
    await story.use(event("m", "b", "2026-01-10T00:00:00Z", q=5))
    await story.use(event("m", "c", "2026-01-09T23:00:00Z", q=3))
    assert amounts(await story.upcoming(), "quantity") == [("12",)]
    await story.plan("p", usage_price("m", "m", unit="2"))
    await story.change(subscription, version=2, at="2026-01-09T00:00:00Z")
    assert amounts(await story.upcoming(), "quantity", "amount") == [("4", "4.00"), ("8", "16.00")]


async def test_late_usage_changes_its_own_bucket(story: Story) -> None:
    await begin(story, {"aggregation": "max", "bucket": "day"}, model="graduated", tiers=TIERS)
    await story.use(event("m", "a", "2026-01-01T00:00:00Z", q=9))
    await story.advance("2026-02-01T01:00:00Z")
    await story.use(
        event("m", "b", "2026-01-01T12:00:00Z", q=8), event("m", "c", "2026-01-02T12:00:00Z", q=15)
    )
    await story.advance("2026-03-01T01:00:00Z")
    february = (await story.invoices())[1]
    assert amounts(february, "kind", "quantity", "amount") == [
        ("usage", "0", "0.00"), ("adjustment", "15", "1.25"),
    ]  # fmt: skip


@pytest.mark.parametrize(("aggregation", "bucket"), [("max", "hour"), ("min", "day")])
async def test_random_values_by_bucket(story: Story, aggregation: str, bucket: str) -> None:
    """Price and usage queries say, however late values arrive, what folding them by hand does."""
    chance = random.Random(bucket)
    meter = {"aggregation": aggregation, "bucket": bucket, "timezone": "America/New_York"}
    await begin(story, meter, unit="1")
    await story.advance("2026-03-20T00:00:00Z")  # past the night of 23 hours
    start = datetime(2026, 2, 20, tzinfo=UTC)
    minutes = [chance.randrange(24 * 60 * 24) for _ in range(60)]
    sent = [(start + timedelta(minutes=minute), chance.randrange(100)) for minute in minutes]
    events = [
        event("m", f"e{n}", at.isoformat().replace("+00:00", "Z"), q=value)
        for n, (at, value) in enumerate(sent)
    ]
    chance.shuffle(events)
    for first in range(0, 60, 7):
        await story.use(*events[first : first + 7])
    found: dict[object, list[int]] = defaultdict(list)
    for at, value in sent:
        local = at.astimezone(ZoneInfo("America/New_York"))
        found[local.date() if bucket == "day" else (at.date(), at.hour)].append(value)
    whole = sum(max(values) if aggregation == "max" else min(values) for values in found.values())
    span = {"from": "2026-02-20T00:00:00Z", "to": "2026-03-20T00:00:00Z"}
    [row] = await story.usage("m", window="total", **span)
    assert row["value"] == str(whole)
    rows = await story.usage("m", window="day", timezone="America/New_York", **span)
    assert sum(int(row["value"]) for row in rows) == whole
    lines = (await story.upcoming())["lines"]  # March's, and what came late for February
    assert sum(int(line["quantity"]) for line in lines) == whole
