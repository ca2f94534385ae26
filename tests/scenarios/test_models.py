"""Every model of a usage price, through the public API: previews, and months of events."""

from typing import Any

import pytest

from tests.scenarios.story import Story, amounts, event, flat, usage_price

Json = dict[str, Any]


async def preview(story: Story, plan: str, **body: Any) -> Json:
    """What a preview answers."""
    return await story.ask("POST", f"/v1/plans/{plan}/preview", json=body)


def sample(kind: str, count: int = 1, **data: Any) -> Json:
    """Sample events of a preview."""
    return {"type": kind, "data": data, "count": count}


@pytest.mark.parametrize(
    ("fields", "amounts_carried", "total"),
    [
        # 1.75 (0.299 is below the least) + 2.392 + 12 (299 is above the most) = 16.142
        ({"percent": "2.99"}, [10, 80, 10000], "16.14"),
        # 0.299 + 2 = 2.299, 2.392 + 2 = 4.392, 12: 18.691
        ({"percent": "2.99", "fixed": "2"}, [10, 80, 10000], "18.69"),
    ],
)
async def test_a_percentage_of_each_event(
    story: Story, fields: Json, amounts_carried: list[int], total: str
) -> None:
    await story.meter("u")
    bounds = {"min_per_event": "1.75", "max_per_event": "12"}
    await story.plan("x", usage_price("u", "u", unit=None, model="percentage", **bounds, **fields))
    events = [sample("u", q=amount) for amount in amounts_carried]
    assert (await preview(story, "x", events=events))["total"] == total
    refusal = await story.refused("POST", "/v1/plans/x/preview", json={"usage": {"u": "10"}})
    assert refusal == (422, "needs_events")

    await story.customer()
    await story.subscribe("x")
    await story.use(*(event("u", f"e{n}", q=amount) for n, amount in enumerate(amounts_carried)))
    quantity = str(sum(amounts_carried))
    assert amounts(await story.upcoming()) == [("u", quantity, total)]


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        # free are 100, 250 and 50 of 300: 1% of 250 + 600 = 8.50, and twice 0.10
        ({"free_amount": "400"}, "8.70"),
        # free are the first two: 1% of 300 + 600 = 9.00, and twice 0.10
        ({"free_events": 2}, "9.20"),
        # two events end the allowance before 400 do
        ({"free_events": 2, "free_amount": "400"}, "9.20"),
        # 120 do before two events: 100, and 20 of 250; 1% of 230 + 300 + 600 = 11.30, thrice 0.10
        ({"free_events": 2, "free_amount": "120"}, "11.60"),
    ],
)
async def test_what_comes_first_by_its_time_is_free(story: Story, fields: Json, total: str) -> None:
    await story.meter("u")
    price = usage_price("u", "u", unit=None, model="percentage", percent="1", fixed="0.10")
    await story.plan("x", {**price, **fields})
    carried = [100, 250, 300, 600]
    found = await preview(story, "x", events=[sample("u", q=amount) for amount in carried])
    assert found["total"] == total

    await story.customer()
    await story.subscribe("x")
    events = [event("u", f"e{q}", f"2026-01-0{n}T00:00:00Z", q=q) for n, q in enumerate(carried, 1)]
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(*reversed(events))  # the order of arrival does not matter
    assert amounts(await story.upcoming()) == [("u", "1250", total)]


async def test_a_free_amount_alone_counts_the_sum(story: Story) -> None:
    await story.meter("u")
    fields = {"model": "percentage", "percent": "5", "free_amount": "1000"}
    await story.plan("x", usage_price("u", "u", unit=None, settle="wallet", **fields))
    await story.customer()
    await story.subscribe("x")
    await story.grant("10")
    await story.use(event("u", "a", q=900))
    assert await story.available() == "10"
    await story.use(event("u", "b", q=200))  # 5% of 1100 - 1000
    assert await story.available() == "5"


async def test_cost_plus_a_markup(story: Story) -> None:
    await story.meter("calls", "count")
    price = usage_price("calls", "calls", unit=None, model="cost_plus", markup_percent="20")
    await story.plan("x", {**price, "markup_fixed": "0.01"})
    await story.customer()
    await story.subscribe("x")
    await story.use(
        event("calls", "a", cost="0.03"),  # 0.036 + 0.01
        event("calls", "b", cost={"amount": "1.5", "asset": "USD"}),  # 1.8 + 0.01
    )
    answer = await story.send(
        event("calls", "c"), event("calls", "d", cost="x"),
        event("calls", "e", cost={"amount": "1", "asset": "EUR"}),
    )  # fmt: skip
    codes = [one["error"]["code"] for one in answer["results"]]
    assert codes == ["missing_cost", "invalid_cost", "other_asset_cost"]
    upcoming = await story.upcoming()
    assert amounts(upcoming) == [("calls", "2", "1.86")]  # 0.046 + 1.81 = 1.856
    [line] = upcoming["lines"]
    assert [step["text"] for step in line["tiers"]] == ["events at cost plus 20% and 0.01 an event"]


async def test_a_price_that_events_carry(story: Story) -> None:
    await story.meter("jobs", "count")
    price = usage_price("jobs", "jobs", unit=None, model="dynamic", value="quote.total", factor="2")
    night = {"when": {"night": True}, "factor": "0.5"}
    await story.plan("x", {**price, "settle": "wallet", "multipliers": [night]})
    await story.customer()
    await story.subscribe("x")
    await story.grant("10")
    await story.use(event("jobs", "a", quote={"total": "1.25"}))  # 2.50
    assert await story.available() == "7.5"
    await story.use(event("jobs", "b", quote={"total": 3}, night=True))  # 6 x 0.5 = 3.00
    assert await story.available() == "4.5"
    answer = await story.send(event("jobs", "c", quote={"total": "free"}))
    assert answer["results"][0]["error"]["code"] == "non_numeric_value"


async def test_graduated_percentages(story: Story) -> None:
    await story.meter("u")
    tiers = [
        {"up_to": "10", "percent": "1", "flat": "200"},
        {"up_to": "20", "percent": "2", "flat": "300"},
        {"percent": "3", "flat": "400"},
    ]
    price = usage_price("u", "u", unit=None, model="graduated_percentage", tiers=tiers)
    await story.plan("x", price)
    # 21: 200 + 0.10 + 300 + 0.20 + 400 + 0.03
    for quantity, total in {
        "0": "200.00", "1": "200.01", "10": "200.10", "11": "500.12", "12": "500.14",
        "21": "900.33",
    }.items():  # fmt: skip
        assert (await preview(story, "x", usage={"u": quantity}))["total"] == total


BATCH = {"when": {"batch": True}, "factor": "0.5"}
LONG = {"when": {"input_tokens": {"above": "200000"}}, "factor": "2"}


async def test_multipliers_stack_in_their_order(story: Story) -> None:
    """Tokens at 3 per million; a batch at half; long requests at twice; both at 3 x 0.5 x 2."""
    await story.meter("input_tokens", event_type="llm", value="input_tokens", dimensions=["model"])
    price = usage_price("in", "input_tokens", unit="3", per="1000000", multipliers=[BATCH, LONG])
    await story.plan("x", price)
    await story.customer()
    await story.subscribe("x")
    await story.use(
        event("llm", "a", model="m", input_tokens=200_000),  # 0.60
        event("llm", "b", model="m", input_tokens=200_000, batch=True),  # 0.30
        event("llm", "c", model="m", input_tokens=250_000),  # 1.50
        event("llm", "d", model="m", input_tokens=1_000_000, batch=True),  # 3.00
    )
    upcoming = await story.upcoming()
    assert amounts(upcoming) == [("in", "1650000", "5.40")]
    texts = [step["text"] for step in upcoming["lines"][0]["tiers"]]
    assert texts == [
        "200000 at 3 per 1000000",
        "200000 at 3 per 1000000", "times 0.5 for batch true",
        "1000000 at 3 per 1000000", "times 0.5 for batch true",
        "times 2 for input_tokens above 200000",
        "250000 at 3 per 1000000", "times 2 for input_tokens above 200000",
    ]  # fmt: skip
    usage = await story.usage("input_tokens", group_by="model")
    assert [(one["group"], one["value"]) for one in usage] == [({"model": "m"}, "1650000")]

    rows = [{"dimensions": {"batch": "true"}, "quantity": "100000000"}]
    assert (await preview(story, "x", usage={"in": rows}))["total"] == "150.00"


async def test_a_rate_may_ask_for_a_range(story: Story) -> None:
    """Sonnet at 3 a million, at 6 above 200,000 tokens; what has no rate is set aside."""
    await story.meter("input_tokens", event_type="llm", value="input_tokens")
    rates = [
        {"match": {"model": "sonnet"}, "unit": "3", "per": "1000000"},
        {
            "match": {"model": "sonnet", "input_tokens": {"above": "200000"}},
            "unit": "6", "per": "1000000",
        },
    ]  # fmt: skip
    dimensions = ["model", "input_tokens"]
    price = usage_price("in", "input_tokens", unit=None, model="dimensional", rates=rates)
    await story.plan("x", {**price, "dimensions": dimensions, "otherwise": "quarantine"})
    await story.customer()
    await story.subscribe("x")
    await story.use(
        event("llm", "a", model="sonnet", input_tokens=200_000),  # 0.60
        event("llm", "b", model="sonnet", input_tokens=250_000),  # 1.50
        event("llm", "c", model="sonnet", input_tokens=200_001),  # 1.200006
    )
    answer = await story.send(event("llm", "d", model="opus", input_tokens=5))
    assert answer["results"][0]["error"]["code"] == "unmatched_dimension"
    upcoming = await story.upcoming()
    assert amounts(upcoming) == [("in", "200000", "0.60"), ("in", "450001", "2.70")]
    line = upcoming["lines"][1]
    assert line["description"] == "in: input_tokens above 200000, model sonnet"
    rows = [{"dimensions": {"model": "sonnet", "input_tokens": "250000"}, "quantity": "250000"}]
    assert (await preview(story, "x", usage={"in": rows}))["total"] == "1.50"


MESSAGES = {"a": "0.01", "b": "0.02", "c": "0.03"}


def in_pool(key: str, unit: str, **fields: Any) -> Json:
    """A price of the pool: its own rate up to 500,000 messages of all, then 0.009."""
    tiers = [{"up_to": "500000", "unit": unit}, {"unit": "0.009"}]
    return usage_price(key, key, unit=None, model="graduated", pool="all", tiers=tiers, **fields)


async def test_prices_share_the_ladder_of_a_pool(story: Story) -> None:
    """Three meters at rates of their own until 500,000 messages in all."""
    for key in MESSAGES:
        await story.meter(key)
    await story.plan("x", *(in_pool(key, unit) for key, unit in MESSAGES.items()))
    usage = {"a": "200000", "b": "200000", "c": "100000"}
    assert (await preview(story, "x", usage=usage))["total"] == "9000.00"  # 2000 + 4000 + 3000
    usage["c"] = "101000"  # 1,000 beyond the bound: 9.00
    assert (await preview(story, "x", usage=usage))["total"] == "9009.00"

    await story.customer()
    await story.subscribe("x")
    await story.use(
        event("c", "1", q=101_000), event("a", "2", q=200_000), event("b", "3", q=200_000)
    )
    assert [amount for _, _, amount in amounts(await story.upcoming())] == [
        "2000.00", "4000.00", "3009.00",
    ]  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    # Late: 1,000 more of a push as many of c beyond the bound: 10.00 more of a, of c
    # 99,000 x 0.03 + 2,000 x 0.009 = 2988.00, which is 21.00 less.
    await story.use(event("a", "4", "2026-01-31T00:00:00Z", q=1_000))
    assert amounts(await story.upcoming())[-2:] == [("a", "1000", "10.00"), ("c", "0", "-21.00")]


async def test_a_pool_that_settles_from_a_wallet(story: Story) -> None:
    for key in MESSAGES:
        await story.meter(key)
    prices = [in_pool(key, unit, settle="wallet") for key, unit in MESSAGES.items()]
    await story.plan("x", *prices)
    await story.customer()
    await story.subscribe("x")
    await story.grant("10000")
    await story.use(event("c", "1", q=500_000))  # 15,000: the grant, and a debt of 5,000
    assert await story.available() == "-5000"
    # a begins the ladder: 1,000 at 0.01; as many of c move beyond the bound: -0.021 each
    await story.use(event("a", "2", q=1_000))
    assert await story.available() == "-4989"  # -5000 - 10 + 21


async def test_an_allowance_that_is_a_share_of_another_price(story: Story) -> None:
    """Services are free up to 10% of the day's compute: 100 + 12 - 10 = 102 credits."""
    await story.meter("compute")
    await story.meter("services")
    share = {"percent": "10", "of": "compute"}
    await story.plan(
        "x",
        usage_price("compute", "compute", unit="3", period="day"),
        usage_price("services", "services", unit="3", period="day", included=share),
    )
    found = await preview(story, "x", usage={"compute": "100", "services": "12"})
    assert found["total"] == "306.00"
    await story.customer()
    await story.subscribe("x")
    await story.advance("2026-01-03T00:00:00Z")
    await story.use(
        event("services", "1", "2026-01-01T10:00:00Z", q=12),
        event("compute", "2", "2026-01-01T12:00:00Z", q=100),
        event("compute", "3", "2026-01-02T12:00:00Z", q=1000),
        event("services", "4", "2026-01-02T13:00:00Z", q=99),
    )
    got = [line["amount"] for line in (await story.upcoming())["lines"] if line["amount"] != "0.00"]
    assert got == ["300.00", "3000.00", "6.00"]  # 2 x 3; of the second day's 99 all are free


async def test_a_maximum_a_day_within_one_of_the_month(story: Story) -> None:
    """At 1.00 a unit, at most 10.00 a day and 25.00 a month; days are New York's."""
    await story.meter("u")
    price = usage_price("u", "u", unit="1", maximum_per_day="10", maximum="25")
    await story.plan("x", price)
    await story.customer(timezone="America/New_York")
    await story.subscribe("x", starts_at="2026-01-01T05:00:00Z")
    await story.advance("2026-01-04T00:00:00Z")
    await story.use(
        event("u", "a", "2026-01-02T04:00:00Z", q=12),  # 1 January, 23:00 there: 10.00 of 12.00
        event("u", "b", "2026-01-02T06:00:00Z", q=4),
        event("u", "c", "2026-01-02T16:00:00Z", q=5),  # 9.00 on the 2nd
    )
    upcoming = await story.upcoming()
    assert amounts(upcoming) == [("u", "21", "19.00")]
    assert upcoming["lines"][0]["tiers"][-1]["text"] == "capped at 10 a day on 1 day"
    await story.use(event("u", "d", "2026-01-03T16:00:00Z", q=50))
    assert amounts(await story.upcoming()) == [("u", "71", "25.00")]  # 10 + 9 + 10 = 29


async def test_a_change_of_one_price_of_a_pool_cuts_them_all(story: Story) -> None:
    """Until the 15th: 3 + 3 units, the bound of 4 reached within b. From then on: again from 0."""
    await story.meter("a")
    await story.meter("b")

    def price(key: str, unit: str) -> Json:
        tiers = [{"up_to": "4", "unit": unit}, {"unit": "1"}]
        return usage_price(key, key, unit=None, model="graduated", pool="p", tiers=tiers)

    await story.plan("x", price("a", "10"), price("b", "20"))
    await story.plan("x", price("a", "5"), price("b", "20"))
    await story.customer()
    contract = await story.subscribe("x", version=1)
    await story.advance("2026-01-25T00:00:00Z")
    await story.use(
        event("a", "1", "2026-01-10T00:00:00Z", q=3), event("b", "2", "2026-01-10T00:00:00Z", q=3),
        event("a", "3", "2026-01-20T00:00:00Z", q=3), event("b", "4", "2026-01-20T00:00:00Z", q=3),
    )  # fmt: skip
    await story.change(contract, version=2, at="2026-01-15T00:00:00Z", proration="none")
    # a 3 x 10 and 3 x 5; b 1 x 20 + 2 x 1 in both
    assert amounts(await story.upcoming()) == [
        ("a", "3", "30.00"), ("a", "3", "15.00"), ("b", "3", "22.00"), ("b", "3", "22.00"),
    ]  # fmt: skip


async def test_fees_are_explained_by_their_events(story: Story) -> None:
    await story.meter("calls", "count")
    await story.plan("x", flat("fee", "1"), usage_price("c", "calls", unit=None, model="cost_plus"))
    await story.customer()
    await story.subscribe("x")
    await story.use(event("calls", "a", cost="1"), event("calls", "b", cost="2"))
    await story.advance("2026-02-01T01:00:00Z")
    invoice = (await story.invoices())[-1]
    line = next(one for one in invoice["lines"] if one["price"] == "c")
    path = f"/v1/invoices/{invoice['id']}/lines/{line['id']}/explain"
    found = await story.ask("GET", path)
    assert [(one["id"], one["quantity"]) for one in found["events"]["data"]] == [
        ("a", "1"), ("b", "1"),
    ]  # fmt: skip
