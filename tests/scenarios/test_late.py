"""Usage that comes late: within the hour of grace, after the invoice is final, after the end."""

from tests.scenarios.story import Story, amounts, event, flat, span, totals, usage_price

JANUARY = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
TIERS = [{"up_to": "100", "unit": "0.10"}, {"unit": "0.02"}]


async def begin(story: Story, **fields: str) -> str:
    """100 calls at 0.10, further ones at 0.02, by sum of `q`."""
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", model="graduated", tiers=TIERS), **fields)
    return await story.subscribe("p")


async def test_usage_after_finalization_is_adjusted_on_the_next_invoice(story: Story) -> None:
    await begin(story)
    await story.use(event("calls", "a", q=95))
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    assert (january["total"], january["status"]) == ("9.50", "open")

    # 10 more for January: 5 x 0.10 + 5 x 0.02 = 0.60, at the place in January's tiers.
    await story.advance("2026-02-10T00:00:00Z")
    await story.use(event("calls", "late", "2026-01-31T23:59:59Z", q=10))
    await story.use(event("calls", "b", q=1))
    upcoming = await story.upcoming()
    assert amounts(upcoming, "kind", "quantity", "amount") == [
        ("usage", "1", "0.10"), ("adjustment", "10", "0.60"),
    ]  # fmt: skip
    assert span(upcoming["lines"][1]) == JANUARY
    assert await story.invoice(january["id"]) == january  # to the byte
    assert await story.ask("POST", f"/v1/invoices/{january['id']}/finalize") == january

    await story.advance("2026-03-01T01:00:00Z")
    _, february = await story.invoices()
    assert amounts(february, "kind", "amount") == [("usage", "0.10"), ("adjustment", "0.60")]
    assert (february["total"], february["number"]) == ("0.70", "INV-000002")

    # Later still, for both: January 2 x 0.02, February 3 x 0.10; each on the next invoice only.
    await story.use(
        event("calls", "later", "2026-01-02T00:00:00Z", q=2),
        event("calls", "later-2", "2026-02-02T00:00:00Z", q=3),
    )
    await story.advance("2026-05-01T02:00:00Z")
    invoices = await story.invoices()
    assert totals(invoices) == ["9.50", "0.70", "0.34"]
    assert invoices[0] == january
    assert amounts(invoices[2], "kind", "amount") == [
        ("usage", "0.00"), ("adjustment", "0.04"), ("adjustment", "0.30"),
    ]  # fmt: skip


async def test_the_price_of_late_usage_is_the_old_one(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    for unit in ("0.10", "0.50"):
        await story.plan("p", usage_price("calls", "calls", unit=unit))
    subscription = await story.subscribe("p", version=1)
    await story.use(event("calls", "a", q=10))
    await story.advance("2026-02-01T01:00:00Z")
    await story.change(subscription, version=2)  # from 1 February 01:00 on
    await story.use(
        event("calls", "late", "2026-01-31T12:00:00Z", q=7),
        event("calls", "hour", "2026-02-01T00:30:00Z", q=1),
        event("calls", "new", "2026-02-01T01:00:00Z", q=1),
    )
    await story.advance("2026-03-01T02:00:00Z")
    _, february = await story.invoices()
    assert amounts(february, "kind", "quantity", "amount") == [
        ("usage", "1", "0.10"), ("usage", "1", "0.50"), ("adjustment", "7", "0.70"),
    ]  # fmt: skip


async def test_the_hour_of_grace(story: Story) -> None:
    """A draft takes what comes within its hour; the next period has begun meanwhile."""
    await begin(story)
    await story.use(event("calls", "a", q=1))
    await story.advance("2026-02-01T00:00:00Z")
    [draft] = await story.invoices()
    assert (draft["status"], draft["number"], draft["total"]) == ("draft", None, "0.10")
    await story.use(event("calls", "b", "2026-01-31T23:00:00Z", q=2), event("calls", "c", q=4))
    assert (await story.invoice(draft["id"]))["total"] == "0.30"
    assert amounts(await story.upcoming()) == [("calls", "4", "0.40")]
    await story.advance("2026-02-01T00:59:59Z")
    assert (await story.invoice(draft["id"]))["status"] == "draft"
    await story.advance("2026-02-01T01:00:00Z")
    final = await story.invoice(draft["id"])
    assert (final["status"], final["total"]) == ("open", "0.30")


async def test_a_draft_finalized_by_hand_leaves_the_rest_to_the_next(story: Story) -> None:
    await begin(story)
    await story.use(event("calls", "a", q=1))
    await story.advance("2026-02-01T00:10:00Z")
    [draft] = await story.invoices()
    final = await story.ask("POST", f"/v1/invoices/{draft['id']}/finalize")
    assert (final["status"], final["number"], final["total"]) == ("open", "INV-000001", "0.10")
    await story.use(event("calls", "b", "2026-01-31T23:00:00Z", q=2))
    upcoming = await story.upcoming()
    assert amounts(upcoming, "kind", "amount") == [("usage", "0.00"), ("adjustment", "0.20")]
    await story.advance("2026-03-01T02:00:00Z")
    assert totals(await story.invoices()) == ["0.10", "0.20"]


async def test_late_usage_of_two_periods_while_a_draft_waits(story: Story) -> None:
    """While January's successor is a draft, late usage shows there, and not on the next as well."""
    await begin(story)
    await story.use(event("calls", "a", q=1))
    await story.advance("2026-03-01T00:30:00Z")  # February is a draft, March has begun
    await story.use(event("calls", "late", "2026-01-20T00:00:00Z", q=5))
    [draft] = await story.invoices(status="draft")
    assert amounts(draft, "kind", "amount") == [("usage", "0.00"), ("adjustment", "0.50")]
    assert amounts(await story.upcoming(), "kind", "amount") == [("usage", "0.00")]
    await story.advance("2026-04-01T02:00:00Z")
    assert totals(await story.invoices()) == ["0.10", "0.50"]


async def test_a_month_without_usage_makes_no_invoice(story: Story) -> None:
    """And what comes next shows the month that runs, not the one that was empty."""
    await begin(story)
    await story.advance("2026-03-10T00:00:00Z")
    assert await story.invoices() == []
    await story.use(event("calls", "a", q=3))
    upcoming = await story.upcoming()
    assert span(upcoming) == ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
    assert amounts(upcoming) == [("calls", "3", "0.30")]
    await story.use(event("calls", "late", "2026-01-10T00:00:00Z", q=2))
    assert amounts(await story.upcoming(), "kind", "amount") == [
        ("usage", "0.30"), ("adjustment", "0.20"),
    ]  # fmt: skip
    await story.advance("2026-04-01T01:00:00Z")
    assert totals(await story.invoices()) == ["0.50"]


async def test_a_change_after_an_empty_month_bills_nothing_twice(story: Story) -> None:
    subscription = await begin(story)
    await story.plan("q", usage_price("calls", "calls", unit="1"))
    await story.advance("2026-03-10T00:00:00Z")
    await story.use(event("calls", "late", "2026-01-10T00:00:00Z", q=2))
    await story.use(event("calls", "a", q=3))
    await story.change(subscription, plan="q")
    await story.use(event("calls", "b", q=3))
    await story.advance("2026-04-01T01:00:00Z")
    # Late: 2 x 0.10; before the change 3 x 0.10... at its very instant the new price holds: 6 x 1
    assert sorted(totals(await story.invoices())) == ["6.20"]


async def test_usage_after_the_end_of_a_subscription_is_billed(story: Story) -> None:
    """Usage that happened is always charged: after the last invoice, on one of its own."""
    subscription = await begin(story)
    await story.use(event("calls", "a", q=10))
    await story.advance("2026-01-20T00:00:00Z")
    await story.cancel(subscription, at="now")
    await story.advance("2026-01-20T01:00:00Z")
    assert totals(await story.invoices()) == ["1.00"]
    await story.advance("2026-01-25T00:00:00Z")
    await story.use(event("calls", "late", "2026-01-19T00:00:00Z", q=5))
    await story.advance("2026-03-02T00:00:00Z")
    assert totals(await story.invoices()) == ["1.00", "0.50"]


async def test_late_usage_lowers_the_true_up_of_its_period(story: Story) -> None:
    """Minimum 20.00, January's usage 5.00: true-up 15.00. 8.00 more of January change nothing that
    is owed, since 13.00 is still below 20.00; another 10.00 raise it to 23.00, by 3.00.
    """
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"), minimum="20.00")
    await story.subscribe("p")
    await story.use(event("calls", "a", q=5))
    await story.advance("2026-02-02T00:00:00Z")
    [january] = await story.invoices()
    assert amounts(january, "kind", "amount") == [("usage", "5.00"), ("minimum", "15.00")]
    await story.use(event("calls", "late", "2026-01-31T00:00:00Z", q=8), event("calls", "b", q=30))
    upcoming = await story.upcoming()
    assert amounts(upcoming, "kind", "amount") == [
        ("usage", "30.00"), ("adjustment", "8.00"), ("minimum", "-8.00"),
    ]  # fmt: skip
    await story.advance("2026-03-02T00:00:00Z")
    assert totals(await story.invoices()) == ["20.00", "30.00"]
    await story.use(event("calls", "later", "2026-01-30T00:00:00Z", q=10))
    await story.advance("2026-04-02T00:00:00Z")
    march = (await story.invoices())[2]
    assert amounts(march, "kind", "amount") == [
        ("usage", "0.00"), ("adjustment", "10.00"), ("minimum", "20.00"), ("minimum", "-7.00"),
    ]  # fmt: skip
    assert march["total"] == "23.00"  # March's own minimum, and 3.00 for January


async def test_late_usage_and_fees(story: Story) -> None:
    """Two prices on one meter: both are adjusted; the fees are not touched."""
    await story.customer()
    await story.meter("calls")
    await story.plan(
        "p", flat("fee", "9.99", timing="advance"), usage_price("x", "calls", unit="0.004"),
        usage_price("y", "calls", model="package", amount="1", size="10"),
    )  # fmt: skip
    await story.subscribe("p")
    await story.use(event("calls", "a", q=1))
    await story.advance("2026-02-02T00:00:00Z")
    await story.use(event("calls", "late", "2026-01-15T00:00:00Z", q=11))
    await story.advance("2026-03-02T00:00:00Z")
    _, january, february = await story.invoices()
    # 1 x 0.004 = 0.00, 1 package; then 12 x 0.004 = 0.048 = 0.05, 2 packages
    assert amounts(january, "price", "amount") == [("fee", "9.99"), ("x", "0.00"), ("y", "1.00")]
    assert [line for line in amounts(february, "kind", "price", "amount") if line[2] != "0.00"] == [
        ("fee", "fee", "9.99"), ("adjustment", "x", "0.05"), ("adjustment", "y", "1.00"),
    ]  # fmt: skip


async def test_what_was_priced_by_terms_that_have_changed_is_priced_again(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    for unit in ("0.10", "0.50"):
        await story.plan("p", usage_price("calls", "calls", unit=unit, settle="wallet"))
    subscription = await story.subscribe("p", version=1)
    await story.grant("10")
    await story.use(event("calls", "a", q=1))  # 10 - 1 x 0.10 = 9.90
    await story.advance("2026-01-15T00:00:00Z")
    await story.change(subscription, version=2)

    # The server knows version 1 yet. One of the batch was there already, and counts once.
    again = event("calls", "a", q=1)
    late = event("calls", "b", "2026-01-15T00:00:00Z", q=2)
    answer = await story.send(again, late)
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert await story.available() == "8.9"  # 9.90 - 2 x 0.50
    assert [row["value"] for row in await story.usage("calls", customer="acme")] == ["1", "2"]
