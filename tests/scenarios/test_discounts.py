"""Discounts on whole invoices, month after month: the plan's, the subscription's own, coupons."""

from tests.scenarios.story import Json, Story, amounts, event, flat, totals, usage_price


def discounts(invoice: Json) -> list[tuple[str, str, str]]:
    """Of each discount on an invoice: where it comes from, its base and its amount."""
    return [(one["source"], one["base"], one["amount"]) for one in invoice["discounts"]]


async def calls(story: Story, *months: str, count: int = 100, customer: str = "acme") -> None:
    """So many calls at 1.00 on the tenth of each month (`2026-01`)."""
    for month in months:
        time, name = f"{month}-10T00:00:00Z", f"{customer}-{month}"
        if await story.now() < time:
            await story.advance(time)
        await story.use(event("calls", name, time, q=count, customer=customer))


async def plan_of_calls(story: Story, *prices: Json, key: str = "plan", **fields: object) -> None:
    """A plan of calls at 1.00, and of further prices."""
    await story.meter("calls")
    await story.plan(key, *prices, usage_price("calls", "calls", unit="1"), **fields)


async def test_a_plan_discount_of_three_months(story: Story) -> None:
    """20% for three months: three fees billed in advance and three months of usage."""
    await story.customer()
    discount = {"percent": "20", "months": 3}
    await plan_of_calls(story, flat("base", "50.00", timing="advance"), discount=discount)
    await story.subscribe("plan")
    for month in range(1, 6):
        await calls(story, f"2026-0{month}")
        await story.advance(f"2026-0{month + 1}-01T01:00:00Z")
    invoices = await story.invoices()
    assert [discounts(one) for one in invoices] == [
        [("plan", "50.00", "10.00")],  # January's fee
        [("plan", "150.00", "30.00")],  # February's fee, January's calls
        [("plan", "150.00", "30.00")],
        [("plan", "100.00", "20.00")],  # March's calls; April's fee is in the fourth month
        [], [],
    ]  # fmt: skip
    assert totals(invoices) == ["40.00", "120.00", "120.00", "130.00", "150.00", "150.00"]
    assert [one["discount"] for one in invoices[:2]] == ["10.00", "30.00"]
    [first] = invoices[0]["discounts"]
    assert first == {
        "source": "plan", "key": "plan", "id": None, "percent": "20", "amount_off": None,
        "base": "50.00", "amount": "10.00", "lines": [{"line": "line_1", "amount": "10.00"}],
    }  # fmt: skip


async def test_the_minimum_is_met_after_the_discount(story: Story) -> None:
    await story.customer()
    await plan_of_calls(story, minimum="1000.00", discount={"percent": "10"})
    await story.subscribe("plan")
    await calls(story, "2026-01", count=1050)
    await calls(story, "2026-02", count=2000)
    await story.advance("2026-03-01T01:00:00Z")
    january, february = await story.invoices()
    # 1050.00 less 10% is 945.00: 55.00 are missing
    assert amounts(january) == [("calls", "1050", "1050.00"), (None, "1", "55.00")]
    assert (january["subtotal"], january["discount"]) == ("1105.00", "105.00")
    assert (january["total"], february["total"]) == ("1000.00", "1800.00")
