"""What forbids work besides credit: suspensions, features, budgets; estimates; enforced events."""

import asyncio
from typing import Any

from tests.scenarios.story import Json, Story, event, flat, usage_price
from tests.scenarios.test_holds import balance, begin, capture, place, release

RATES = [
    {"match": {"model": "big", "kind": "in"}, "unit": "2", "per": "1000000"},
    {"match": {"model": "big", "kind": "out"}, "unit": "10", "per": "1000000"},
]


async def budget(story: Story, name: str, limit: str, **fields: Any) -> None:
    body = {"asset": "USD", "limit": limit, "window": "month", **fields}
    await story.ask("PUT", f"/v1/customers/acme/budgets/{name}", json=body)


async def estimate(story: Story, kind: str, **data: Any) -> Json:
    body = {"customer": "acme", "estimate": {"type": kind, "data": data}}
    return await story.ask("POST", "/v1/holds", json=body)


async def test_nested_budgets_bind_with_the_credit(story: Story) -> None:
    """The team may spend 10, one of its users 4, of 100: what each level has left decides."""
    await begin(story, "100")
    await budget(story, "team", "10", path="team")
    await budget(story, "anna", "4", path="team/anna", window="day")
    first = await place(story, "3", path="team/anna/agent")
    refused = await place(story, "2", path="team/anna")
    assert refused["reason"] == "budget_exceeded"
    assert refused["shortfall"] == "1"
    assert refused["limit"] == {
        "kind": "budget", "name": "anna", "path": "team/anna", "asset": "USD", "window": "day",
        "limit": "4", "spent": "0", "held": "3", "remaining": "1",
        "resets_at": "2026-01-02T00:00:00Z",
    }  # fmt: skip
    await place(story, "7", path="team/bob")
    refused = await place(story, "0.5", path="team/carl")
    assert (refused["limit"]["name"], refused["shortfall"]) == ("team", "0.5")
    assert (await place(story, "50"))["allowed"] is True  # outside the team
    await capture(story, first, "2.5")
    # Spent 2.5 by Anna; 7 are held by Bob: 0.5 of the team's and 1.5 of hers are left.
    assert (await place(story, "0.6", path="team/anna"))["limit"]["name"] == "team"
    assert (await place(story, "0.5", path="team/anna"))["allowed"] is True
    shown = await story.ask("GET", "/v1/customers/acme/budgets/team")
    assert (shown["spent"], shown["held"], shown["remaining"]) == ("2.5", "7.5", "0")
    await story.advance("2026-01-02T00:00:00Z")
    shown = await story.ask("GET", "/v1/customers/acme/budgets/anna")
    assert (shown["spent"], shown["held"]) == ("0", "0")


async def test_a_soft_budget_warns(story: Story) -> None:
    await begin(story, "100")
    await budget(story, "all", "5", enforcement="soft")
    hold = await place(story, "6")
    assert (hold["allowed"], hold["warnings"]) == (True, ["budget_exceeded"])


async def test_budgets_bind_all_holds_of_a_group_and_none_beside_it(story: Story) -> None:
    """64 at once against a budget of 10: exactly ten fit."""
    await begin(story, "1000")
    await budget(story, "all", "10")
    found = await asyncio.gather(*(place(story, "1") for _ in range(64)))
    assert sum(one["allowed"] for one in found) == 10


async def test_t16_concurrency(story: Story) -> None:
    await story.plan("p", flat("base", "0"), entitlements=[
        {"feature": "runs", "concurrency": "3"}, {"feature": "beta", "value": False},
    ])  # fmt: skip
    await begin(story)
    await story.subscribe("p")
    held = [await place_session(story, "runs") for _ in range(3)]
    assert held[0]["allowed"] is True
    refused = await place_session(story, "runs")
    assert refused["reason"] == "concurrency"
    assert refused["limit"] == {"kind": "concurrency", "feature": "runs", "limit": 3, "used": 3}
    await release(story, held[0])
    assert (await place_session(story, "runs"))["allowed"] is True
    assert (await place_session(story, "beta"))["reason"] == "entitlement"
    assert (await place_session(story, "nothing"))["reason"] == "entitlement"
    await story.advance("2026-01-01T00:05:00Z")  # the runs died: nobody released them
    assert (await place_session(story, "runs"))["allowed"] is True


async def place_session(story: Story, feature: str, **fields: Any) -> Json:
    body = {"customer": "acme", "feature": feature, **fields}
    return await story.ask("POST", "/v1/holds", json=body)


async def test_a_quota_counts_what_is_under_way(story: Story) -> None:
    """1,000 queries a day, 998 used, one under way: one more may run."""
    await story.meter("queries", "count")
    await story.plan("p", flat("base", "0"), entitlements=[
        {"feature": "queries", "meter": "queries", "limit": "1000", "window": "day",
         "overage": "block"},
    ])  # fmt: skip
    await story.customer(timezone="America/New_York")
    await story.subscribe("p")
    await story.advance("2026-03-08T04:00:00Z")
    await story.use(*(event("queries", f"q{n}") for n in range(998)))
    first = await place_session(story, "queries")
    assert (await place_session(story, "queries", quantity="2"))["shortfall"] == "1"
    assert (await place_session(story, "queries"))["allowed"] is True
    refused = await place_session(story, "queries")
    assert refused["reason"] == "entitlement"
    assert refused["limit"]["resets_at"] == "2026-03-08T05:00:00Z"
    body = {"events": [{"id": "q", "type": "queries"}]}
    await story.ask("POST", f"/v1/holds/{first['id']}/capture", json=body)
    assert (await place_session(story, "queries"))["limit"]["used"] == "1000"
    await story.advance("2026-03-08T05:00:00Z")
    assert (await place_session(story, "queries"))["allowed"] is True


async def test_the_kill_switch_works_on_the_next_request(story: Story) -> None:
    await begin(story, "100")
    body = {"path": "team/rogue", "reason": "runs away"}
    await story.ask("POST", "/v1/customers/acme/suspend", json=body)
    refused = await place(story, "1", path="team/rogue/7")
    assert refused["reason"] == "suspended"
    assert refused["limit"]["reason"] == "runs away"
    assert (await place(story, "1", path="team/other"))["allowed"] is True
    await story.ask("POST", "/v1/customers/acme/suspend", json={"reason": "unpaid"})
    assert (await place(story, "1", path="team/other"))["reason"] == "suspended"
    await story.ask("POST", "/v1/customers/acme/resume", json={})
    await story.ask("POST", "/v1/customers/acme/resume", json={"path": "team/rogue"})
    assert (await place(story, "1", path="team/rogue/7"))["allowed"] is True


async def test_an_estimate_is_priced_by_the_plan(story: Story) -> None:
    """1,000 tokens in at 2 and 500 out at 10 a million: 0.002 + 0.005."""
    for meter in ("input", "output"):
        await story.meter(meter, event_type="chat", value=f"{meter}_tokens")
    own = {"settle": "wallet", "per": "1000000"}
    await story.plan(
        "p", usage_price("in", "input", unit="2", **own),
        usage_price("out", "output", unit="10", **own),
    )  # fmt: skip
    await begin(story, "10")
    await story.subscribe("p")
    hold = await estimate(story, "chat", input_tokens=1000, output_tokens=500)
    assert (hold["amount"], hold["asset"], hold["available"]) == ("0.007", "USD", "9.993")
    answer = await story.refused(
        "POST", "/v1/holds", json={"customer": "acme", "estimate": {"type": "unheard"}}
    )
    assert answer == (422, "no_meter")


async def test_an_estimate_stands_on_what_was_counted(story: Story) -> None:
    """10 free, then 1 each up to 20, then 2: after 18 used, 5 more cost 2 x 1 + 3 x 2. By tier and
    asset: 3 credits for each beside it.
    """
    await story.meter("t")
    tiers = [{"up_to": "20", "unit": "1"}, {"unit": "2"}]
    await story.plan(
        "p", usage_price("a", "t", model="graduated", tiers=tiers, settle="wallet", included="0"),
        usage_price("b", "t", unit="3", asset="credits", settle="wallet"),
        assets=[{"asset": "credits", "unit_price": "0.01"}],
    )  # fmt: skip
    await begin(story, "100")
    await story.grant("100", asset="credits")
    await story.subscribe("p")
    await story.use(event("t", "e", q="18"))
    hold = await estimate(story, "t", q="5")
    assert hold["amounts"] == [
        {"amount": "8", "asset": "USD", "available": "74"},  # 100 - 18 - 8
        {"amount": "15", "asset": "credits", "available": "31"},  # 100 - 54 - 15
    ]
    found = await story.ask(
        "POST", f"/v1/holds/{hold['id']}/capture",
        json={"events": [{"id": "f", "type": "t", "data": {"q": "4"}}]},
    )  # fmt: skip
    assert found["charged"] == [
        {"amount": "6", "asset": "USD"}, {"amount": "12", "asset": "credits"},
    ]  # fmt: skip


async def test_a_credit_limit_bounds_what_is_owed_by_invoice(story: Story) -> None:
    """A limit of 10: 6 used and not invoiced, 3 held, so 1 is left; after the month closes the 9
    are unpaid, and nothing is freed.
    """
    await story.meter("t")
    await story.plan("p", usage_price("use", "t", unit="1"))
    await begin(story, credit_limit="10")
    await story.subscribe("p")
    await story.use(event("t", "e", q="6"))
    hold = await estimate(story, "t", q="3")
    assert (hold["amount"], hold["available"]) == ("3", "1")
    refused = await estimate(story, "t", q="2")
    assert (refused["reason"], refused["shortfall"]) == ("insufficient_credits", "1")
    assert refused["limit"] == {
        "kind": "credit_limit", "asset": "USD", "limit": "10", "owed": "6", "available": "1",
    }  # fmt: skip
    body = {"events": [{"id": "f", "type": "t", "data": {"q": "3"}}]}
    found = await story.ask("POST", f"/v1/holds/{hold['id']}/capture", json=body)
    assert found["charged"] == [{"amount": "3", "asset": "USD"}]
    await story.advance("2026-02-01T02:00:00Z")
    (invoice,) = await story.invoices(status="open")
    assert invoice["amount_due"] == "9.00"
    assert (await estimate(story, "t", q="2"))["limit"]["owed"] == "9"


async def enforced(story: Story, *events: Json) -> Json:
    return await story.ask("POST", "/v1/events?enforce=true", json=list(events))


async def test_an_enforced_event_is_refused_if_it_cannot_be_paid(story: Story) -> None:
    await story.meter("t")
    await story.plan("p", usage_price("use", "t", unit="1", settle="wallet"))
    await begin(story, "10")
    await story.subscribe("p")
    found = await enforced(story, event("t", "a", q="4"))
    assert found["accepted"] == 1
    await place(story, "3")
    found = await enforced(story, event("t", "b", q="1"), event("t", "c", q="3"))
    assert (found["accepted"], found["rejected"]) == (0, 2)
    assert [one["error"]["code"] for one in found["results"]] == ["insufficient_credits"] * 2
    assert await balance(story) == ("6", "3", "3")
    assert await story.usage("t", customer="acme", window="total")
    assert (await enforced(story, event("t", "b", q="1")))["accepted"] == 1
    assert (await enforced(story, event("t", "b", q="1")))["duplicates"] == 1
    await story.customer(enforcement="soft")
    assert (await enforced(story, event("t", "d", q="30")))["accepted"] == 1
    assert await balance(story) == ("-25", "3", "-28")


async def test_an_enforced_event_of_what_is_suspended_is_refused(story: Story) -> None:
    await story.meter("t")
    await story.plan("p", usage_price("use", "t", unit="1", settle="wallet"))
    await begin(story, "10")
    await story.subscribe("p")
    body = {"path": "team/rogue", "reason": "runs away"}
    await story.ask("POST", "/v1/customers/acme/suspend", json=body)
    rogue = {**event("t", "a", q="1"), "path": "team/rogue/7"}
    found = await enforced(story, rogue, event("t", "b", q="1"))
    assert [one["error"]["code"] for one in found["results"]] == ["suspended"] * 2
    assert (await enforced(story, event("t", "b", q="1")))["accepted"] == 1
    assert await balance(story) == ("9", "0", "9")


async def test_a_customer_without_a_wallet_is_not_limited_by_the_one_that_usage_makes(
    story: Story,
) -> None:
    await story.customer(enforcement="hard")
    await story.meter("t")
    await story.plan("p", usage_price("use", "t", unit="1", settle="wallet"))
    await story.subscribe("p")
    assert (await enforced(story, event("t", "a", q="4")))["accepted"] == 1
    assert await balance(story) == ("-4", "0", "-4")
    # Now there is one, and it has nothing.
    found = await enforced(story, event("t", "b", q="1"))
    assert [one["error"]["code"] for one in found["results"]] == ["insufficient_credits"]


async def test_a_void_leaves_what_usage_beside_a_hold_made_it_need(story: Story) -> None:
    """5 held of the first 5; 3 used are drawn from these, so that 3 of the second 5 back the hold:
    2 can be taken back.
    """
    await story.meter("t")
    await story.plan("p", usage_price("use", "t", unit="1", settle="wallet"))
    await begin(story, "5")
    second = await story.grant("5")
    await story.subscribe("p")
    hold = await place(story, "5")
    assert (await enforced(story, event("t", "a", q="3")))["accepted"] == 1
    path = f"/v1/grants/{second}/void"
    voided = await story.ask("POST", path, json={})
    assert (voided["taken_back"], voided["held"]) == ("2", "3")
    assert await balance(story) == ("5", "5", "0")
    await capture(story, hold, "4")
    assert (await story.ask("POST", path, json={}))["taken_back"] == "1"
    assert await balance(story) == ("0", "0", "0")


async def test_enforced_events_at_once_never_overspend(story: Story) -> None:
    await story.meter("t")
    await story.plan("p", usage_price("use", "t", unit="1", settle="wallet"))
    await begin(story, "7")
    await story.subscribe("p")
    found = await asyncio.gather(*(enforced(story, event("t", f"e{n}", q="1")) for n in range(20)))
    assert sum(one["accepted"] for one in found) == 7
    assert await balance(story) == ("0", "0", "0")


async def test_t10_a_runaway_is_stopped_at_its_limit(story: Story) -> None:
    """50 USD and calls of 0.05, held then captured by 64 clients without end: 1,000 captures."""
    await begin(story, "50")
    captured = 0

    async def runaway() -> None:
        nonlocal captured
        while (hold := await place(story, "0.05"))["allowed"]:
            await capture(story, hold, "0.05")
            captured += 1

    await asyncio.gather(*(runaway() for _ in range(64)))
    assert captured == 1000
    assert await balance(story) == ("0", "0", "0")
    assert (await place(story, "0.05"))["allowed"] is False
