"""Terms that change over usage that is there already: backdated, planned, planned and dropped."""

import asyncio

import pytest

from tests.scenarios.story import Story, amounts, event, flat, span, totals, usage_price


async def use_daily(story: Story, days: range) -> None:
    """One call a day at noon of these days of January."""
    await story.use(*[event("calls", f"d{n}", f"2026-01-{n:02d}T12:00:00Z", q=1) for n in days])


async def test_a_backdated_contract_prices_what_is_recorded(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.advance("2026-02-20T00:00:00Z")
    await use_daily(story, range(1, 32))
    await story.use(event("calls", "feb", "2026-02-10T00:00:00Z", q=5))
    await story.subscribe("p", starts_at="2026-01-15T00:00:00Z")
    # From noon on the 15th to the 14th of February: 17 days and the 5; what was before is free.
    [invoice] = await story.invoices()
    assert (span(invoice)[1], amounts(invoice)) == (
        "2026-02-15T00:00:00Z", [("calls", "22", "22.00")],
    )  # fmt: skip
    assert invoice["status"] == "open"  # its hour of grace passed days ago


async def test_a_backdated_contract_in_several_time_zones(story: Story) -> None:
    for n, timezone in enumerate(("Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu")):
        customer = f"c{n}"
        await story.customer(customer, timezone=timezone)
        await story.meter("calls", "count")
        await story.plan("p", usage_price("calls", "calls", unit="1"))
        await story.use(
            *[
                event(
                    "calls", f"{day}-{hour}", f"2025-12-{day}T{hour:02d}:30:00Z", customer=customer
                )
                for day in (30, 31)
                for hour in range(24)
            ]
        )
        await story.subscribe("p", customer, starts_at="2025-12-30T00:00:00Z", anchor="2026-01-01")
    # The new year begins at 10:00Z on the 31st, at 11:00Z on the 1st, at 18:15Z on the 31st.
    await story.advance("2026-01-02T00:00:00Z")
    found = [await story.invoices(f"c{n}") for n in range(3)]
    assert [(one["lines"][0]["quantity"]) for [one] in found] == ["34", "48", "42"]


async def test_a_change_in_the_past_of_the_period(story: Story) -> None:
    """Decided on the 20th, effective on the 10th at 18:00: usage since then costs the new price."""
    await story.customer()
    await story.meter("calls")
    await story.plan("old", usage_price("calls", "calls", unit="1"))
    await story.plan("new", usage_price("calls", "calls", unit="10"))
    subscription = await story.subscribe("old")
    await story.advance("2026-01-20T00:00:00Z")
    await use_daily(story, range(1, 20))
    await story.change(subscription, plan="new", at="2026-01-10T18:00:00Z")
    lines = [("calls", "10", "10.00"), ("calls", "9", "90.00")]
    assert amounts(await story.upcoming()) == lines
    await story.use(event("calls", "late", "2026-01-09T00:00:00Z", q=1))
    await story.use(event("calls", "new", q=1))
    await story.advance("2026-02-01T01:00:00Z")
    [invoice] = await story.invoices()
    assert amounts(invoice) == [("calls", "11", "11.00"), ("calls", "10", "100.00")]


async def test_several_changes_and_a_way_back(story: Story) -> None:
    """1 January at 1, from the 10th at 10, from the 15th at 1 again, from the 20th at 10."""
    await story.customer()
    await story.meter("calls")
    for name, unit in (("a", "1"), ("b", "10")):
        await story.plan(name, usage_price("calls", "calls", unit=unit))
    subscription = await story.subscribe("a")
    await story.advance("2026-01-25T00:00:00Z")
    await use_daily(story, range(1, 25))
    for day, plan in ((10, "b"), (15, "a"), (20, "b")):
        await story.change(subscription, plan=plan, at=f"2026-01-{day}T00:00:00Z")
        await story.change(subscription, plan=plan)  # again: nothing changes
    # 9 days at 1, 5 at 10, 5 at 1, 5 at 10
    assert amounts(await story.upcoming(), "quantity", "amount") == [
        ("9", "9.00"), ("5", "50.00"), ("5", "5.00"), ("5", "50.00"),
    ]  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    assert totals(await story.invoices()) == ["114.00"]


async def test_a_change_of_period_taken_back_at_once(story: Story) -> None:
    """Monthly, at noon on the 10th weekly, and in the same instant monthly again: as if nothing
    had been. The week would have closed the invoice at noon.
    """
    await story.customer()
    await story.meter("calls")
    await story.plan("month", usage_price("calls", "calls", unit="1"))
    await story.plan("week", usage_price("calls", "calls", unit="2"), period="week")
    subscription = await story.subscribe("month")
    await use_daily(story, range(1, 2))
    await story.advance("2026-01-10T12:00:00Z")
    await story.change(subscription, plan="week")
    [draft] = await story.invoices()
    assert amounts(draft) == [("calls", "1", "1.00")]
    await story.change(subscription, plan="month")
    assert await story.invoices() == []
    await use_daily(story, range(10, 11))
    assert amounts(await story.upcoming()) == [("calls", "2", "2.00")]


async def test_an_invoiced_time_does_not_change(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    for name, unit in (("a", "1"), ("b", "10")):
        await story.plan(name, usage_price("calls", "calls", unit=unit))
    subscription = await story.subscribe("a")
    await story.use(event("calls", "x", q=3))
    await story.advance("2026-02-01T00:30:00Z")
    path = f"/v1/subscriptions/{subscription}/change"
    # The invoice is a draft: January may still change.
    await story.change(subscription, plan="b", at="2026-01-20T00:00:00Z")
    await story.advance("2026-02-10T00:00:00Z")
    before = await story.invoices()
    assert totals(before) == ["3.00"]
    body = {"plan": "a", "at": "2026-01-25T00:00:00Z"}
    assert await story.refused("POST", path, json=body) == (422, "too_early")
    cancel = f"/v1/subscriptions/{subscription}/cancel"
    body = {"at": "2026-02-01T00:00:00Z"}
    assert await story.refused("POST", cancel, json=body) == (422, "too_early")
    assert await story.invoices() == before


async def test_a_change_that_would_move_invoiced_usage_is_refused(story: Story) -> None:
    """The yearly price's segment began in January and is open; the month's is invoiced."""
    await story.customer()
    await story.meter("calls")
    prices = [usage_price("monthly", "calls", unit="1"),
              usage_price("yearly", "calls", unit="0.5", period="year")]  # fmt: skip
    await story.plan("a", *prices)
    await story.plan("b", usage_price("monthly", "calls", unit="2"), prices[1])
    subscription = await story.subscribe("a")
    await story.use(event("calls", "x", q=3))
    await story.advance("2026-02-10T00:00:00Z")
    await story.use(event("calls", "y", q=4))
    await story.change(subscription, plan="b", at="2026-02-05T00:00:00Z")
    await story.advance("2026-03-01T02:00:00Z")
    # The year goes on untouched by the change of the month's price.
    assert [amounts(one) for one in await story.invoices()] == [
        [("monthly", "3", "3.00")], [("monthly", "0", "0.00"), ("monthly", "4", "8.00")],
    ]  # fmt: skip
    await story.advance("2027-01-01T02:00:00Z")
    last = (await story.invoices())[-1]
    assert [line for line in amounts(last) if line[0] == "yearly"] == [("yearly", "7", "3.50")]


async def test_a_planned_change_that_is_taken_back(story: Story) -> None:
    """A quarter's price changes in mid-January by plan; the plan is dropped before then."""
    await story.customer()
    await story.meter("calls")
    for name, unit in (("a", "1"), ("b", "10")):
        await story.plan(name, usage_price("calls", "calls", unit=unit, period="quarter"))
    subscription = await story.subscribe("a")
    await story.use(event("calls", "x", q=3))
    await story.change(subscription, plan="b", at="2026-01-15T00:00:00Z")
    await story.change(subscription, plan="a", at="2026-01-15T00:00:00Z")
    await story.advance("2026-02-20T00:00:00Z")
    await story.use(event("calls", "y", q=4))
    assert await story.invoices() == []  # the quarter is not over
    await story.advance("2026-04-01T02:00:00Z")
    assert [amounts(one) for one in await story.invoices()] == [[("calls", "7", "7.00")]]


async def test_a_cancelled_plan_of_change(story: Story) -> None:
    """A change planned for March, and a cancel in February that comes before it."""
    await story.customer()
    await story.meter("calls")
    fee = flat("fee", "28.00", timing="advance")
    await story.plan("a", usage_price("calls", "calls", unit="1"), fee)
    await story.plan("b", usage_price("calls", "calls", unit="10"), fee)
    subscription = await story.subscribe("a")
    await story.change(subscription, plan="b", at="2026-03-01T00:00:00Z")
    await story.advance("2026-02-15T00:00:00Z")
    await story.use(event("calls", "x", q=1))
    ended = await story.cancel(subscription, at="2026-02-20T00:00:00Z", credit_unused=True)
    assert [phase["plan"] for phase in ended["phases"]] == ["a"]
    await story.advance("2026-04-01T00:00:00Z")
    # 28.00; 28.00 for February; then 1.00 less 9 of 28 days
    assert totals(await story.invoices()) == ["28.00", "28.00", "-8.00"]


async def test_numbers_have_no_gaps(story: Story) -> None:
    """Over customers, empty drafts that are dropped, and two finalizations at once."""
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"), grace="P2D")
    for n in range(8):
        await story.customer(f"c{n}")
        await story.subscribe("p", f"c{n}")
        if n != 3:
            await story.use(event("calls", "x", customer=f"c{n}", q=n + 1))
    await story.advance("2026-02-01T12:00:00Z")
    drafts = [(await story.invoices(f"c{n}"))[0]["id"] for n in (5, 6, 7)]
    final = await asyncio.gather(
        *[story.ask("POST", f"/v1/invoices/{one}/finalize") for one in drafts * 2]
    )
    assert len({one["number"] for one in final}) == 3
    await story.advance("2026-02-04T00:00:00Z")
    numbers = [one["number"] for one in await story.everything("/v1/invoices")]
    assert sorted(numbers) == [f"INV-{n:06d}" for n in range(1, 8)]


@pytest.mark.parametrize("settle", ["invoice", "wallet"])
async def test_a_price_that_goes_on_after_all_counts_what_came_before_once(
    story: Story, settle: str
) -> None:
    """From the 10th on another price was planned, and counted 3. By a change at that very time the
    first price goes on: 5 + 3 units at 1.00, of which the 5 had been counted already. Another price
    goes on all the time, so that all usage is read again.
    """
    await story.meter("u")
    for plan, unit in {"x": "1", "y": "2", "z": "1"}.items():
        always = usage_price("always", "u", unit="0.01")
        await story.plan(plan, always, usage_price("u", "u", unit=unit, settle=settle))
    await story.customer()
    await story.grant("100", scope={"meters": ["u"]})
    contract = await story.subscribe("x")
    await story.change(contract, plan="y", at="2026-01-10T00:00:00Z")
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(event("u", "a", "2026-01-05T00:00:00Z", q=5))
    await story.use(event("u", "b", "2026-01-15T00:00:00Z", q=3))
    await story.change(contract, plan="z", at="2026-01-10T00:00:00Z")
    upcoming = await story.upcoming()
    lines = [*upcoming["lines"], *upcoming["settled"]]
    assert [(one["price"], one["exact"]) for one in lines] == [("always", "0.08"), ("u", "8")]
    assert await story.available() == ("100" if settle == "invoice" else "92")
