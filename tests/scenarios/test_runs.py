"""Usage by path, source and run; the tree of an agent's run with its price and cost."""

from typing import Any

from tests.scenarios.story import Json, Story, event, usage_price

DAY = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "customer": "acme"}


def step(event_id: str, minute: int, tokens: int, **fields: Any) -> Json:
    """An event of the run `t1`; what is no attribute is data."""
    top = ("trace_id", "span_id", "parent_id", "run", "step", "path", "traceparent")
    attributes = {name: fields.pop(name) for name in top if name in fields}
    found = event("llm", event_id, f"2026-01-01T00:{minute:02}:00Z", tokens=tokens, **fields)
    return {**found, "trace_id": "t1", **attributes}


async def begin(story: Story) -> None:
    await story.customer(currency="USD")
    await story.meter("tokens", event_type="llm", value="tokens", dimensions=["model"])
    await story.meter("widest", "max", event_type="llm", value="tokens")
    tiers = [{"up_to": "1000", "unit": "0.03"}, {"unit": "0.01"}]
    await story.plan(
        "p", usage_price("ladder", "tokens", model="graduated", tiers=tiers),
        usage_price("credits", "tokens", unit="2", asset="credits", settle="wallet"),
        usage_price("widest", "widest", unit="1"),
    )  # fmt: skip
    await story.subscribe("p")


async def test_a_run_rolls_up_usage_price_and_cost(story: Story) -> None:
    await begin(story)
    await story.use(
        step("plan", 1, 100, span_id="s1", run="nightly", step="plan", cost="0.01"),
        step("search", 2, 200, span_id="s2", parent_id="s1", step="search", cost=0.02),
        step(
            "search-2", 3, 100, span_id="s2", parent_id="s1", cost={"amount": "3", "asset": "EUR"}
        ),
        step("read", 4, 100, parent_id="s2", path="a/b"),
        step("write", 5, 500, parent_id="s1", cost="0.05"),
        event("llm", "alone", "2026-01-01T01:00:00Z", tokens=993),
        {**step("other", 6, 7), "trace_id": "t2", "run": "x"},
    )
    run = await story.ask("GET", "/v1/customers/acme/runs/t1")
    assert (run["run"], run["from"], run["to"]) == (
        "nightly", "2026-01-01T00:01:00Z", "2026-01-01T00:05:00Z",
    )  # fmt: skip
    assert (run["events"], run["complete"]) == (5, True)
    tree = [(one["depth"], one["id"], one["parent_id"], one["step"]) for one in run["steps"]]
    assert tree == [
        (0, "s1", None, "plan"), (1, "s2", "s1", "search"), (2, "read", "s2", None),
        (1, "write", "s1", None),
    ]  # fmt: skip
    # 2,000 tokens cost 1000 x 0.03 + 1000 x 0.01 = 40, so 0.02 each; credits 2 each
    whole = {one["asset"]: one["amount"] for one in run["price"]}
    assert whole == {"USD": "20", "credits": "2000"}
    assert run["cost"] == [{"asset": "EUR", "amount": "3"}, {"asset": "USD", "amount": "0.08"}]
    assert [(one["meter"], one["value"]) for one in run["usage"]] == [
        ("tokens", "1000"), ("widest", "500"),
    ]  # fmt: skip
    search = run["steps"][1]
    assert [one["id"] for one in search["events"]] == ["search", "search-2"]
    assert (search["usage"][0]["value"], search["total"]["usage"][0]["value"]) == ("300", "400")
    assert (search["total"]["events"], search["total"]["price"][1]["amount"]) == (3, "800")
    top = run["steps"][0]["total"]
    assert (top["events"], top["usage"], top["cost"]) == (5, run["usage"], run["cost"])


async def test_runs_are_listed_and_found_by_traceparent(story: Story) -> None:
    await begin(story)
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    one = step("a", 1, 10, **sent)
    del one["trace_id"]
    await story.use(one, *[{**step(f"e{n}", n + 2, 1), "trace_id": f"t{n}"} for n in range(3)])
    path = "/v1/customers/acme/runs"
    rows = await story.everything(
        path, limit=2, **{k: v for k, v in DAY.items() if k != "customer"}
    )
    assert [row["trace_id"] for row in rows] == ["t2", "t1", "t0", trace]
    run = await story.ask("GET", f"{path}/{trace}")
    assert [(step["id"], step["parent_id"]) for step in run["steps"]] == [
        ("b7ad6b7169203331", None), ("a", "b7ad6b7169203331"),
    ]  # fmt: skip
    assert (await story.refused("GET", f"{path}/unknown"))[0] == 404
    assert (await story.refused("GET", "/v1/customers/nobody/runs"))[0] == 404
    bad = {"from": "2025-01-01T00:00:00Z"}
    assert (await story.refused("GET", path, params=bad))[0] == 422


async def test_usage_by_what_events_say(story: Story) -> None:
    await begin(story)
    await story.use(
        step("a", 1, 1, path="org/team/ann", model="m", source="app"),
        step("b", 2, 2, path="org/team/bob", model="m"),
        step("c", 3, 4, path="org/sales", model="n"),
        event("llm", "d", "2026-01-01T00:04:00Z", tokens=8),
    )

    async def by(*names: str, meter: str = "tokens") -> list[tuple[str, ...]]:
        rows = await story.usage(meter, window="day", group_by=",".join(names), **DAY)
        return [(*row["group"].values(), row["value"]) for row in rows]

    assert await by("path.1") == [("", "8"), ("org", "7")]
    assert await by("path.2") == [("", "8"), ("org/sales", "4"), ("org/team", "3")]
    assert await by("path", "model") == [
        ("", "", "8"), ("org/sales", "n", "4"), ("org/team/ann", "m", "1"),
        ("org/team/bob", "m", "2"),
    ]  # fmt: skip
    assert await by("trace_id") == [("", "8"), ("t1", "7")]
    assert await by("source", meter="widest") == [("", "8"), ("app", "1")]
    code = await story.refused("GET", "/v1/meters/tokens/usage", params={"group_by": "team"})
    assert code == (422, "unknown_dimension")
