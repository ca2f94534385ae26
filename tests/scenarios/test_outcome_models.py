"""Outcomes under every kind of price: what is measured event by event, pools, wallets, the end."""

from typing import Any

from tests.scenarios.story import Json, Story, amounts, event, usage_price


def opening(number: int, time: str | None = None, **data: Any) -> Json:
    return event("resolved", f"e{number}", time, outcome_id=f"conv-{number}", **data)


async def decide(story: Story, number: int, step: str, **fields: Any) -> Json:
    body = {"customer": "acme", "reason": "so it was", **fields}
    return await story.ask("POST", f"/v1/outcomes/conv-{number}/{step}", json=body)


def priced(**fields: Any) -> Json:
    return usage_price("done", "resolved", **{"unit": None, "outcome": {}, **fields})


async def begin(story: Story, *prices: Json) -> str:
    story.audited = False  # the second biller rates no single events
    await story.customer()
    await story.meter("resolved")
    await story.plan("p", *prices)
    return await story.subscribe("p")


async def amount(story: Story) -> str:
    """What the next invoice says of the price."""
    return str((await story.upcoming())["lines"][0]["amount"])


async def test_multipliers(story: Story) -> None:
    half = [{"when": {"batch": True}, "factor": "0.5"}]
    await begin(story, priced(unit="2", multipliers=half))
    await story.use(opening(1, q=3), opening(2, q=3, batch=True), opening(3, q=8, batch=True))
    assert await amount(story) == "0.00"
    await decide(story, 1, "confirm")
    await decide(story, 2, "confirm")
    await decide(story, 3, "partial", share="0.25")
    assert await amount(story) == "11.00"  # 3 x 2 + (3 + 8 x 0.25) x 2 x 0.5
    await decide(story, 2, "reverse")
    assert await amount(story) == "8.00"


async def test_a_fee_of_each_event(story: Story) -> None:
    """2% of the amount and 0.30, at least 1.00 for each event: a part is a part of that."""
    fee = {"percent": "2", "fixed": "0.30", "min_per_event": "1"}
    await begin(story, priced(model="percentage", **fee))
    await story.use(opening(1, q=100), opening(2, q=10), opening(3, q=60))
    await decide(story, 1, "confirm")  # 2.00 + 0.30
    await decide(story, 2, "confirm")  # 0.20 + 0.30, at least 1.00
    await decide(story, 3, "partial", share="0.5")  # (1.20 + 0.30) x 0.5
    assert await amount(story) == "4.05"
    line = (await story.upcoming())["lines"][0]
    assert line["quantity"] == "140"
    await story.advance("2026-02-01T01:00:00Z")
    await decide(story, 1, "reverse")
    await story.advance("2026-03-01T01:00:00Z")
    january, february = await story.invoices()
    assert (january["total"], february["lines"][1]["amount"]) == ("4.05", "-2.30")
    path = f"/v1/invoices/{january['id']}/lines/line_1/explain"
    explained = (await story.ask("GET", path))["events"]["data"]
    assert [(one["id"], one["quantity"]) for one in explained] == [("e2", "10"), ("e3", "30")]


async def test_a_price_that_the_event_carries(story: Story) -> None:
    await begin(story, priced(model="dynamic", value="worth", factor="0.1", settle="wallet"))
    await story.grant("100")
    worth = "0.123456789012"
    await story.use(
        opening(1, q=1, worth=50), opening(2, q=1, worth=worth), opening(3, q=1, worth=7)
    )
    await decide(story, 1, "confirm")
    assert await story.available() == "95"
    await decide(story, 2, "confirm")  # 0.0123456789012: to the last digit, as without outcomes
    assert await story.available() == "94.9876543210988"
    await decide(story, 2, "reverse")
    await decide(story, 3, "partial", share="0.5")
    assert await story.available() == "94.65"
    answer = await story.send(opening(4, q=1), event("resolved", "bare", q=1, worth=1))
    codes = [one["error"]["code"] for one in answer["results"]]
    assert codes == ["missing_value", "missing_outcome"]


async def test_a_cap_for_each_day(story: Story) -> None:
    await begin(story, priced(unit="1", maximum_per_day="5"))
    await story.advance("2026-01-05T12:00:00Z")
    await story.use(opening(1, q=4), opening(2, q=4), opening(3, "2026-01-04T00:00:00Z", q=4))
    for number in (1, 2, 3):
        await decide(story, number, "confirm")
    assert await amount(story) == "9.00"  # 8, of which 5, and 4
    await decide(story, 1, "reverse")
    assert await amount(story) == "8.00"


async def test_a_pool_is_filled_by_what_is_confirmed(story: Story) -> None:
    """Two meters share 10 units at 1 and then 0.5, in the order written."""
    tiers = [{"up_to": "10", "unit": "1"}, {"unit": "0.5"}]
    await story.customer()
    for meter in ("voice", "chat"):
        await story.meter(meter)
    await story.plan(
        "p",
        *(
            usage_price(key, key, unit=None, model="graduated", tiers=tiers, pool="all",
                        outcome={"reversible_for": "P90D"})
            for key in ("voice", "chat")
        ),
    )  # fmt: skip
    await story.subscribe("p")
    data = {"outcome_id": "conv-1"}
    await story.use(event("voice", "v", q=8, **data), event("chat", "c", q=6, outcome_id="conv-2"))
    await decide(story, 2, "confirm")
    assert amounts(await story.upcoming(), "price", "amount") == [
        ("voice", "0.00"), ("chat", "6.00"),
    ]  # fmt: skip
    await decide(story, 1, "confirm")  # 8 x 1, and 2 x 1 + 4 x 0.5
    assert amounts(await story.upcoming(), "price", "amount") == [
        ("voice", "8.00"), ("chat", "4.00"),
    ]  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    await decide(story, 1, "reverse")  # 8.00 less, and 2.00 more for the other
    assert amounts(await story.upcoming(), "kind", "price", "amount")[2:] == [
        ("adjustment", "voice", "-8.00"), ("adjustment", "chat", "2.00"),
    ]  # fmt: skip


async def test_a_change_moves_what_single_events_cost(story: Story) -> None:
    dynamic = {"model": "dynamic", "value": "worth"}
    subscription = await begin(story, priced(**dynamic, factor="1"))
    await story.plan("p", priced(**dynamic, factor="3"))
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(opening(1, q=1, worth=2), opening(2, q=1, worth=5), opening(3, q=1, worth=7))
    await decide(story, 1, "confirm")
    await decide(story, 2, "partial", share="0.2")
    assert await amount(story) == "3.00"
    await story.change(subscription, version=2, at="2026-01-05T00:00:00Z")
    await decide(story, 3, "confirm")
    lines = amounts(await story.upcoming(), "amount")
    assert lines == [("0.00",), ("30.00",)]  # (2 + 1 + 7) x 3


async def test_taken_back_after_the_contract_has_ended(story: Story) -> None:
    """The credit comes on an invoice of its own, and goes to the wallet."""
    subscription = await begin(story, priced(unit="1"))
    await story.use(opening(1, q=5), opening(2, q=3))
    await decide(story, 1, "confirm")
    await story.advance("2026-01-20T00:00:00Z")
    await story.cancel(subscription, at="now")
    await story.advance("2026-01-21T00:00:00Z")
    [last] = await story.invoices()
    assert last["total"] == "5.00"
    await decide(story, 1, "reverse")
    await decide(story, 2, "confirm")
    await story.advance("2026-03-02T00:00:00Z")
    _, credit = await story.invoices()
    assert (credit["total"], credit["paid_credits"]) == ("-2.00", "-2.00")
    assert await story.available() == "2"


async def test_what_depends_on_the_order_of_events_is_refused(story: Story) -> None:
    await story.customer()
    await story.meter("resolved")
    price = priced(model="percentage", percent="2", free_events="3")
    plan = {"name": "x", "currency": "USD", "period": "month", "prices": [price]}
    refused = await story.refused("PUT", "/v1/plans/x", json=plan)
    assert refused == (422, "conflicting_fields")
