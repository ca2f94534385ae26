"""What each aggregation bills, over months, versions and several subscriptions."""

from typing import Any

import pytest

from tests.scenarios.story import Story, amounts, event, totals, usage_price

USES = [
    # (time, level, user): out of order within January, and one event on February's first instant
    ("2026-01-10T00:00:00Z", 7, "ann"), ("2026-01-05T00:00:00Z", 3, "bob"),
    ("2026-01-20T00:00:00Z", 5, "ann"), ("2026-01-15T00:00:00Z", 9, "cid"),
    ("2026-02-01T00:00:00Z", 4, "ann"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("aggregation", "value", "january", "february"),
    [
        ("count", None, "4", "1"), ("sum", "level", "24", "4"), ("max", "level", "9", "4"),
        ("min", "level", "3", "4"), ("latest", "level", "5", "4"), ("unique", "user", "3", "1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("batches", [[5], [1, 1, 1, 1, 1], [2, 3]])
async def test_aggregations(
    story: Story, aggregation: str, value: str | None, january: str, february: str,
    batches: list[int],
) -> None:  # fmt: skip
    await story.customer()
    await story.meter("m", aggregation, **({"value": value} if value else {}))
    await story.plan("p", usage_price("m", "m", unit="2"))
    await story.subscribe("p")
    await story.advance("2026-02-01T00:00:00Z")
    events = [
        event("m", f"e{n}", time, level=level, user=user)
        for n, (time, level, user) in enumerate(USES)
    ]
    for size in batches:
        await story.use(*events[:size])
        events = events[size:]
    await story.advance("2026-03-01T01:00:00Z")
    invoices = await story.invoices()
    assert amounts(invoices[0]) == [("m", january, f"{int(january) * 2}.00")]
    assert amounts(invoices[1]) == [("m", february, f"{int(february) * 2}.00")]


async def test_latest_is_by_the_events_own_time_then_receipt(story: Story) -> None:
    await story.customer()
    await story.meter("m", "latest", value="level")
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    await story.use(event("m", "b", "2026-01-01T00:00:00Z", level=5))
    await story.use(event("m", "a", "2026-01-01T00:00:00Z", level=6))  # same instants: b is last
    assert amounts(await story.upcoming()) == [("m", "5", "5.00")]
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(event("m", "0", "2026-01-01T00:00:00Z", level=7))  # received later
    assert amounts(await story.upcoming()) == [("m", "7", "7.00")]


async def test_unique_values_by_kind_and_dimension(story: Story) -> None:
    """1, "1" and 1.0 are one value; the sum over dimensions counts a value once in each."""
    await story.customer()
    await story.meter("m", "unique", value="user", dimensions=["team"])
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    users: list[Any] = [1, "1", "2", True, "true", "x"]
    await story.use(*[event("m", f"a{n}", user=user, team="a") for n, user in enumerate(users)])
    await story.use(*[event("m", f"b{n}", user=user, team="b") for n, user in enumerate(users[:3])])
    await story.use(event("m", "again", user="x", team="a"))
    answer = await story.send(event("m", "none", team="a"))
    assert answer["quarantined"] == 1  # a missing value is no value
    assert amounts(await story.upcoming()) == [("m", "6", "6.00")]  # {1, 2, true, x} and {1, 2}


async def test_a_filter_and_two_meters_on_one_event(story: Story) -> None:
    await story.customer()
    shared: dict[str, Any] = {"event_type": "llm", "filter": {"region": ["eu", "us"]}}
    await story.meter("input", value="input_tokens", **shared)
    await story.meter("output", value="output_tokens", **shared)
    await story.plan(
        "p", usage_price("in", "input", unit="1.75", per="1000000"),
        usage_price("out", "output", unit="14", per="1000000"),
    )  # fmt: skip
    await story.subscribe("p")
    for n, region in enumerate(("eu", "us", "asia", None)):
        await story.use(
            event("llm", f"e{n}", input_tokens=1_000_000, output_tokens=500_000, region=region)
        )
    assert amounts(await story.upcoming()) == [
        ("in", "2000000", "3.50"), ("out", "1000000", "14.00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "data", "quantity"),
    [
        ("50*n", [{"n": 3}, {"n": "0.5"}], "175"),  # 150 + 25
        ("seconds * gpus", [{"seconds": 600, "gpus": 8}], "4800"),
        # 45 s count as 60, 61.5 s as they are
        ("max(60, seconds)", [{"seconds": 45}, {"seconds": 61.5}], "121.5"),
        # 0.5 x 2 / 1000 + 1.75 x 3 / 1000
        ("gb * ceil(ms, 1) / 1000", [{"gb": 0.5, "ms": 1.2}, {"gb": 1.75, "ms": 3}], "0.00625"),
        # 1/3 and 2/3 are rounded one by one, each at the 12th decimal
        ("a / b", [{"a": 1, "b": 3}, {"a": 2, "b": 3}], "1"),
        ("usage.input + 4 * usage.output", [{"usage": {"input": 374, "output": 44}}], "550"),
    ],
)
async def test_an_expression_is_computed_for_each_event(
    story: Story, value: str, data: list[dict[str, Any]], quantity: str
) -> None:
    await story.customer()
    await story.meter("m", value=value)
    await story.plan("p", usage_price("m", "m", unit="1000"))
    await story.subscribe("p")
    await story.use(*[event("m", f"e{n}", **one) for n, one in enumerate(data)])
    assert amounts(await story.upcoming(), "quantity") == [(quantity,)]
    [row] = await story.usage("m", customer="acme", window="total")
    assert row["value"] == quantity


async def test_an_event_that_an_expression_cannot_read_waits(story: Story) -> None:
    await story.customer()
    await story.meter("m", value="a / b")
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    answer = await story.send(
        event("m", "one", a=1), event("m", "two", a="x", b=1), event("m", "three", a=1, b=0),
        event("m", "four", a=10**17, b=0.01), event("m", "five", a=3, b=2),
    )  # fmt: skip
    reasons = [result["error"]["code"] for result in answer["results"]]
    assert reasons == [
        "missing_value", "non_numeric_value", "uncomputable_value", "uncomputable_value",
    ]  # fmt: skip
    assert amounts(await story.upcoming(), "quantity") == [("1.5",)]
    await story.meter("m", value="a / max(b, 0.1)")  # now three and four can be computed
    story.audited = False
    released = await story.ask("POST", "/v1/events/release", json={"type": "m"})
    assert released == {"released": 1, "still_quarantined": 3}  # 1 / 0.1, but 10^17 / 0.1 is 10^18
    assert amounts(await story.upcoming(), "quantity") == [("11.5",)]


async def test_a_filter_may_exclude(story: Story) -> None:
    await story.customer()
    body = {"filter": {"status": {"not": ["failed", "cancelled"]}, "region": ["eu"]}}
    await story.meter("m", "count", **body)
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    await story.use(
        event("m", "a", region="eu", status="ok"), event("m", "b", region="eu"),
        event("m", "c", region="eu", status="failed"), event("m", "d", region="us", status="ok"),
        event("m", "e", region="eu", status="cancelled"),
    )  # fmt: skip
    assert amounts(await story.upcoming(), "quantity") == [("2",)]  # a and b


async def test_an_event_lands_in_one_subscription(story: Story) -> None:
    """Two subscriptions on one meter: the oldest takes what names none."""
    await story.customer()
    await story.meter("m")
    await story.plan("first", usage_price("m", "m", unit="1"))
    await story.plan("second", usage_price("m", "m", unit="10"))
    await story.subscribe("first", key="one")
    await story.advance("2026-01-02T00:00:00Z")
    second = await story.subscribe("second", key="two", anchor="2026-01-01")
    await story.use(
        event("m", "a", q=1), event("m", "b", q=2, subscription="one"),
        event("m", "c", q=4, subscription="two"), event("m", "d", q=8, subscription=second),
    )  # fmt: skip
    [usage] = await story.usage("m", customer="acme", window="month")
    assert usage["value"] == "15"
    assert (await story.upcoming(subscription="one"))["total"] == "3.00"
    assert (await story.upcoming(subscription="two"))["total"] == "120.00"
    await story.advance("2026-02-01T01:00:00Z")
    invoices = await story.invoices()
    assert sorted(totals(invoices)) == ["120.00", "3.00"]
    assert sorted(one["number"] for one in invoices) == ["INV-000001", "INV-000002"]


@pytest.mark.parametrize(
    ("aggregation", "quantity"), [("sum", "33"), ("max", "20"), ("min", "3"), ("latest", "7")]
)
async def test_a_meter_changed_in_mid_period_keeps_what_it_counted(
    story: Story, aggregation: str, quantity: str
) -> None:
    """Version 1 reads `q`, version 2 `n`; both versions' usage is one quantity of the period."""
    story.audited = False
    await story.customer()
    await story.meter("m", aggregation)
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    await story.use(event("m", "a", q=3, n=1000), event("m", "b", q=20))
    await story.advance("2026-01-10T00:00:00Z")
    await story.meter("m", aggregation, value="n")
    await story.use(event("m", "c", q=1000, n=3), event("m", "d", "2026-01-10T00:00:01Z", n=7))
    upcoming = await story.upcoming()
    assert amounts(upcoming) == [("m", quantity, f"{quantity}.00")]
    await story.advance("2026-02-01T01:00:00Z")
    assert totals(await story.invoices()) == [f"{quantity}.00"]


async def test_a_value_seen_under_two_versions_is_one_value(story: Story) -> None:
    story.audited = False
    await story.customer()
    await story.meter("m", "unique", value="user")
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    await story.use(event("m", "a", user="ann"), event("m", "b", user="bob"))
    await story.meter("m", "unique", value="user", unit="person")
    await story.use(event("m", "c", user="ann"), event("m", "d", user="cid"))
    assert amounts(await story.upcoming()) == [("m", "3", "3.00")]


async def test_counting_again_keeps_the_version_that_counted(story: Story) -> None:
    """A backdated change counts the period's usage again: what version 1 read stays as it was."""
    story.audited = False
    await story.customer()
    await story.meter("m")
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.plan("dearer", usage_price("m", "m", unit="2"))
    subscription = await story.subscribe("p")
    await story.use(event("m", "a", q=3, n=1000))
    await story.advance("2026-01-10T00:00:00Z")
    await story.meter("m", value="n")
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(event("m", "b", q=1000, n=4))
    await story.change(subscription, plan="dearer", at="2026-01-15T00:00:00Z")
    assert amounts(await story.upcoming()) == [("m", "3", "3.00"), ("m", "4", "8.00")]
