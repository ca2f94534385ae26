"""Where models of usage prices meet what else happens: terms that could not price what was counted,
meters that change under their prices, pools whose first price nobody uses, caps beside discounts.
"""

from typing import Any

import pytest

from tests.scenarios.story import Story, amounts, event, usage_price

Json = dict[str, Any]

DOUBLE = {"when": {"fast": True}, "factor": "2"}


async def test_terms_that_could_not_price_what_was_counted_are_refused(story: Story) -> None:
    """An event without its cost was priced by the unit. Cost plus could not: it would be lost."""
    await story.meter("calls", "count")
    await story.plan("unit", usage_price("c", "calls", unit="1"))
    await story.plan("cost", usage_price("c", "calls", unit=None, model="cost_plus"))
    await story.customer()
    contract = await story.subscribe("unit")
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(event("calls", "a", "2026-01-05T00:00:00Z"))
    body = {"plan": "cost", "at": "2026-01-02T00:00:00Z"}
    for verb in ("preview_change", "change"):
        answer = await story.client.post(f"/v1/subscriptions/{contract}/{verb}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_usage")
        assert "Event a of 2026-01-05T00:00:00Z" in answer.json()["errors"][0]["detail"]
    assert amounts(await story.upcoming()) == [("c", "1", "1.00")]
    await story.change(contract, plan="cost", at="2026-01-06T00:00:00Z")


async def test_a_contract_that_could_not_price_earlier_usage_is_refused(story: Story) -> None:
    await story.meter("calls", "count")
    await story.plan("cost", usage_price("c", "calls", unit=None, model="cost_plus"))
    await story.customer()
    await story.use(event("calls", "a"))
    body = {"customer": "acme", "plan": "cost", "starts_at": "2026-01-01T00:00:00Z"}
    await story.advance("2026-01-10T00:00:00Z")
    refused = await story.refused("POST", "/v1/subscriptions", json=body)
    assert refused == (422, "unreadable_usage")


@pytest.mark.parametrize(
    "meter",
    [
        {"event_type": "u", "aggregation": "unique", "value": "q"},
        {"event_type": "u", "aggregation": "max", "value": "q", "bucket": "hour"},
    ],
)
@pytest.mark.parametrize("agreed", [False, True])
async def test_a_meter_goes_on_adding_up_for_prices_of_single_events(
    story: Story, meter: Json, agreed: bool
) -> None:
    await story.meter("u")
    fields: Json = {"multipliers": [DOUBLE]}
    overrides: Json = {"overrides": {"u": fields}}
    await story.plan("x", usage_price("u", "u", unit="1", **({} if agreed else fields)))
    await story.customer()
    await story.subscribe("x", **(overrides if agreed else {}))
    assert await story.refused("PUT", "/v1/meters/u", json=meter) == (422, "immutable")
    await story.use(event("u", "a", q=1), event("u", "b", q=1, fast=True))
    assert amounts(await story.upcoming()) == [("u", "2", "3.00")]  # 1 + 2


async def test_a_rate_with_fees_matches_what_its_meter_keeps_apart(story: Story) -> None:
    """A meter that no longer keeps models apart: no rate of a model takes what it reads then."""
    story.audited = False  # it knows the newest version of a meter alone
    await story.meter("u", dimensions=["model"])
    rates = [{"match": {"model": "a"}, "model": "percentage", "percent": "1", "fixed": "1"}]
    fields = {"model": "dimensional", "dimensions": ["model"], "rates": rates}
    await story.plan("x", usage_price("u", "u", unit=None, otherwise="quarantine", **fields))
    await story.customer()
    await story.subscribe("x")
    await story.use(event("u", "a", q=1, model="a"))
    await story.meter("u")
    answer = await story.send(event("u", "b", q=1, model="a"))
    assert answer["results"][0]["error"]["code"] == "unmatched_dimension"
    assert amounts(await story.upcoming()) == [("u", "1", "1.01")]


async def test_the_flat_fee_of_a_pool_is_drawn_whichever_price_is_used(story: Story) -> None:
    """5 up to 100 units of both, then 9. a is written first and owes it, b alone is used."""
    await story.meter("a")
    await story.meter("b")
    tiers = [{"up_to": "100", "flat": "5"}, {"flat": "9"}]
    shared = {"unit": None, "model": "stairstep", "pool": "p", "tiers": tiers, "settle": "wallet"}
    await story.plan("x", usage_price("a", "a", **shared), usage_price("b", "b", **shared))
    await story.customer()
    contract = await story.subscribe("x")
    await story.grant("100")
    assert (await story.upcoming())["settled"] == []  # nothing was used, nothing was drawn
    await story.use(event("b", "1", q=50))
    assert await story.available() == "95"
    await story.use(event("a", "2", q=60))
    assert await story.available() == "91"  # 110 in all
    await story.advance("2026-01-20T00:00:00Z")
    # From the 10th on nothing was used: counted again, the same 9 before it.
    overrides = {"a": {"included": "1"}, "b": {"included": "1"}}
    await story.change(contract, at="2026-01-10T00:00:00Z", overrides=overrides)
    assert await story.available() == "91"
    await story.use(event("b", "3", q=10))
    assert await story.available() == "86"  # 5 for the rest of the month


async def test_what_no_wallet_gave_is_missing_to_the_minimum(story: Story) -> None:
    """A flat fee of 5 is drawn with the first usage. There was none: the minimum of 8 is due."""
    await story.meter("u")
    price = usage_price("u", "u", unit=None, model="stairstep", tiers=[{"flat": "5"}])
    await story.plan("x", {**price, "settle": "wallet"}, minimum="8")
    await story.customer()
    await story.subscribe("x")
    await story.grant("100", kind="promotional", asset="USD", scope={"meters": ["u"]})
    await story.advance("2026-02-01T01:00:00Z")
    [invoice] = await story.invoices()
    assert (invoice["settled"], invoice["total"]) == ([], "8.00")
    assert await story.available() == "100"
    await story.use(event("u", "a", q=1))
    await story.advance("2026-03-01T01:00:00Z")
    assert (await story.invoices())[-1]["total"] == "3.00"  # 8 less 5 drawn


async def test_what_a_wallet_gave_late_lowers_the_true_up(story: Story) -> None:
    """Nothing was used by the time of the invoice: 10 to the minimum. 4 came late, from the wallet:
    on time they would have left 6 to the minimum, so 4 of the 10 are given back.
    """
    await story.meter("u")
    await story.plan("x", usage_price("u", "u", unit="1", settle="wallet"), minimum="10")
    await story.customer()
    contract = await story.subscribe("x")
    await story.grant("100", scope={"meters": ["u"]})
    await story.advance("2026-02-01T01:00:00Z")
    assert [one["total"] for one in await story.invoices()] == ["10.00"]
    await story.use(event("u", "a", "2026-01-31T00:00:00Z", q=4), event("u", "b", q=3))
    await story.advance("2026-03-01T01:00:00Z")
    invoice = (await story.invoices(subscription=contract))[-1]
    found = amounts(invoice, "kind", "amount")
    assert sorted(found) == [("minimum", "-4.00"), ("minimum", "7.00")]  # 7 = 10 - 3 of February


async def test_a_maximum_a_day_caps_what_a_discount_leaves(story: Story) -> None:
    await story.meter("u")
    fields = {"maximum_per_day": "5", "discount": {"amount": "8"}}
    await story.plan("x", usage_price("u", "u", unit="1", **fields))
    await story.customer()
    await story.subscribe("x")
    await story.use(event("u", "a", "2026-01-01T00:00:00Z", q=10))
    assert amounts(await story.upcoming()) == [("u", "10", "2.00")]  # 10 - 8
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(event("u", "b", q=7))
    assert amounts(await story.upcoming()) == [("u", "17", "7.00")]  # 2 + 5 of 7


async def test_days_at_their_maximum_are_forecast_as_such(story: Story) -> None:
    """10 of 31 days at 5 a day: 155 at the end, not 3.1 times as many units on ten days."""
    await story.meter("u")
    await story.plan("x", usage_price("u", "u", unit="1", maximum_per_day="5"))
    await story.customer()
    await story.subscribe("x")
    await story.advance("2026-01-11T00:00:00Z")
    await story.use(*(event("u", f"e{n}", f"2026-01-{n:02}T12:00:00Z", q=9) for n in range(1, 11)))
    spend = await story.ask("GET", "/v1/customers/acme/spend")
    assert [one["forecast"] for one in spend["prices"]] == ["155"]


async def test_rates_that_bring_each_other_to_no_units_still_count(story: Story) -> None:
    """5 fast units at 2 x 3, and 5 taken back at 3: 15 is due for no units at all."""
    await story.meter("u", dimensions=["model"], allow_negative=True)
    rates = [{"match": {"model": "a"}, "unit": "3"}]
    fields = {"model": "dimensional", "dimensions": ["model"], "rates": rates}
    await story.plan("x", usage_price("u", "u", unit=None, multipliers=[DOUBLE], **fields))
    await story.customer()
    await story.subscribe("x")
    await story.use(event("u", "a", q=5, model="a", fast=True), event("u", "b", q=-5, model="a"))
    assert amounts(await story.upcoming()) == [("u", "0", "15.00")]


async def test_rates_with_fees_leave_included_units_to_the_others(story: Story) -> None:
    """10 units are included. Those of x cost what their events carry, so all 10 are y's."""
    await story.meter("u", dimensions=["model"])
    rates = [
        {"match": {"model": "x"}, "model": "dynamic", "value": "fee"},
        {"match": {"model": "y"}, "unit": "1"},
    ]
    fields = {"model": "dimensional", "dimensions": ["model"], "rates": rates, "included": "10"}
    await story.plan("x", usage_price("u", "u", unit=None, **fields))
    await story.customer()
    await story.subscribe("x")
    await story.use(event("u", "a", q=7, model="x", fee="4"), event("u", "b", q=12, model="y"))
    assert amounts(await story.upcoming()) == [("u", "7", "4.00"), ("u", "12", "2.00")]
