"""Hard or soft is a switch of the customer, of the plan and of the budget: what limits money
refuses only where all three are hard.
"""

from tests.scenarios.story import Story, event, flat, usage_price
from tests.scenarios.test_holds import balance, batch, place

USE = usage_price("use", "calls", model="per_unit", unit="1", asset="USD", settle="wallet")


async def begin(story: Story) -> str:
    await story.meter("calls")
    await story.plan("p", USE, enforcement="soft")
    await story.plan("p", USE)  # version 2 is hard
    await story.customer()
    await story.grant("5")
    return await story.subscribe("p", version=1)


async def test_a_soft_plan_tells_until_its_customer_is_moved(story: Story) -> None:
    contract = await begin(story)
    await story.ask("PUT", "/v1/customers/acme/budgets/all",
                    json={"asset": "USD", "limit": "3", "window": "day"})  # fmt: skip
    held = await place(story, "6")
    assert (held["allowed"], held["available"]) == (True, "-1")  # 5 - 6
    assert held["warnings"] == ["budget_exceeded", "insufficient_credits"]
    await story.change(contract, version=2, at="2026-01-02T00:00:00Z", proration="none")
    await story.advance("2026-01-02T00:00:00Z")
    assert (await place(story, "6"))["reason"] == "budget_exceeded"
    await story.ask("DELETE", "/v1/customers/acme/budgets/all")
    assert (await place(story, "6"))["reason"] == "insufficient_credits"
    # A customer who is soft is soft under a hard plan, too.
    await story.customer(enforcement="soft")
    assert (await place(story, "6"))["warnings"] == ["insufficient_credits"]


async def test_any_hard_plan_that_applies_makes_hard(story: Story) -> None:
    await begin(story)
    assert [one["allowed"] for one in await batch(story, "independent", "6", "6")] == [True, True]
    await story.plan("support", flat("fee", "0"))
    other = await story.subscribe("support", starts_at="2026-01-02T00:00:00Z")
    await story.advance("2026-01-01T00:10:00Z")  # the holds have expired
    assert await balance(story) == ("5", "0", "5")
    assert (await place(story, "6"))["allowed"] is True  # it begins tomorrow
    await story.advance("2026-01-02T00:00:00Z")
    assert (await place(story, "6"))["reason"] == "insufficient_credits"
    await story.cancel(other, at="now")
    assert (await place(story, "6"))["allowed"] is True


async def test_events_that_are_to_be_enforced_are_taken_under_a_soft_plan(story: Story) -> None:
    contract = await begin(story)
    asked = await story.ask("POST", "/v1/events?enforce=true", json=[event("calls", "a", q="6")])
    assert asked["accepted"] == 1
    await story.change(contract, version=2, at="now", proration="none")
    found = await story.ask("POST", "/v1/events?enforce=true", json=[event("calls", "b", q="1")])
    assert [one["status"] for one in found["results"]] == ["refused"]
    assert await balance(story) == ("-1", "0", "-1")  # 5 - 6


async def test_a_soft_plan_suspends_and_blocks_all_the_same(story: Story) -> None:
    quota = {"feature": "f", "meter": "calls", "limit": "3", "window": "day", "overage": "block"}
    await story.meter("calls")
    await story.plan("p", USE, enforcement="soft", entitlements=[quota])
    await story.customer()
    await story.subscribe("p")

    async def reasons(event_id: str, q: str) -> list[str]:
        one = event("calls", event_id, q=q)
        found = await story.ask("POST", "/v1/events?enforce=true", json=[one])
        return [other["error"]["code"] for other in found["results"]]

    assert await reasons("a", "3") == []
    assert await reasons("b", "1") == ["entitlement"]  # 3 + 1 > 3
    await story.ask("POST", "/v1/customers/acme/suspend", json={"reason": "unpaid"})
    assert (await place(story, "1"))["reason"] == "suspended"
    assert await reasons("c", "0") == ["suspended"]
