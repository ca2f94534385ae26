"""A hybrid plan over months: advance fee, seats, included usage, overage, changes and cancels."""

from tests.scenarios.story import Story, amounts, event, flat, span, totals, usage_price

SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20.00", "timing": "advance"}


async def begin(story: Story) -> str:
    """100.00 and 20.00 a seat in advance, 1,000 calls included, 0.05 for each further one."""
    await story.customer()
    await story.meter("calls", "count")
    calls = usage_price("calls", "calls", unit="0.05", included="1000")
    await story.plan("hybrid", flat("platform", "100.00", timing="advance"), SEATS, calls)
    return await story.subscribe("hybrid", quantities={"seats": "3"})


def calls(first: int, count: int, time: str) -> list[dict[str, object]]:
    """So many calls at one instant."""
    return [event("calls", f"call-{n}", time) for n in range(first, first + count)]


async def test_a_hybrid_quarter(story: Story) -> None:
    subscription = await begin(story)
    [first] = await story.invoices()
    assert amounts(first) == [("platform", "1", "100.00"), ("seats", "3", "60.00")]
    assert (first["total"], first["number"], first["status"]) == ("160.00", "INV-000001", "open")
    assert span(first) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")

    await story.advance("2026-01-20T00:00:00Z")
    await story.use(*calls(0, 999, "2026-01-10T00:00:00Z"))
    assert amounts(await story.upcoming())[-1] == ("calls", "999", "0.00")
    await story.use(*calls(999, 241, "2026-01-19T00:00:00Z"))
    await story.advance("2026-02-01T00:59:59Z")
    draft = (await story.invoices(status="draft"))[0]
    assert draft["number"] is None
    await story.use(*calls(1240, 2, "2026-01-31T23:59:59Z"))  # within the hour of grace
    await story.advance("2026-02-01T01:00:00Z")
    january = (await story.invoices())[1]
    assert january["id"] == draft["id"]
    # February's fees, and January's calls: 1,242 - 1,000 = 242 x 0.05 = 12.10
    assert amounts(january) == [
        ("platform", "1", "100.00"), ("seats", "3", "60.00"), ("calls", "1242", "12.10"),
    ]  # fmt: skip
    assert january["total"] == "172.10"

    # Two seats more from 15 February: 14 of 28 days. A change of seats leaves the calls alone.
    await story.advance("2026-02-15T00:00:00Z")
    await story.use(*calls(2000, 600, "2026-02-14T00:00:00Z"))
    await story.change(subscription, quantities={"seats": "5"})
    await story.use(*calls(2600, 600, "2026-02-15T00:00:00Z"))
    await story.advance("2026-03-01T01:00:00Z")
    february = (await story.invoices())[2]
    assert sorted(amounts(february)) == [
        ("calls", "1200", "10.00"),  # 200 x 0.05: one ladder for the whole month
        ("platform", "1", "100.00"),
        ("seats", "3", "-30.00"),  # 3 x 20.00 x 14/28, unused
        ("seats", "5", "100.00"),  # March
        ("seats", "5", "50.00"),  # 5 x 20.00 x 14/28
    ]
    assert february["total"] == "230.00"

    # Cancelled on 16 March with credit for the unused 16 of 31 days.
    await story.advance("2026-03-16T00:00:00Z")
    await story.cancel(subscription, at="now", credit_unused=True)
    await story.advance("2026-03-16T02:00:00Z")
    last = (await story.invoices())[3]
    # 100.00 x 16/31 = 51.6129, 100.00 x 16/31 = 51.6129; no calls
    assert sorted(amounts(last)) == [
        ("calls", "0", "0.00"), ("platform", "1", "-51.61"), ("seats", "5", "-51.61"),
    ]  # fmt: skip
    assert (last["total"], last["amount_due"]) == ("-103.22", "0.00")
    assert await story.available() == "103.22"  # what is negative goes to the wallet

    await story.advance("2026-06-01T00:00:00Z")
    assert totals(await story.invoices()) == ["160.00", "172.10", "230.00", "-103.22"]


async def test_an_upgrade_in_mid_month_by_day(story: Story) -> None:
    """30.00 to 50.00 on 11 April, 20 of 30 days: -20.00 + 33.33 = 13.33."""
    await story.customer()
    await story.plan("small", flat("fee", "30.00", timing="advance"))
    await story.plan("large", flat("fee", "50.00", timing="advance"))
    await story.advance("2026-04-01T00:00:00Z")
    subscription = await story.subscribe("small")
    await story.advance("2026-04-20T00:00:00Z")
    await story.change(subscription, plan="large", at="2026-04-11T00:00:00Z")  # backdated
    changes = [line for line in (await story.upcoming())["lines"] if line["plan"] == "small"] + [
        line for line in (await story.upcoming())["lines"] if line["plan"] == "large"
    ]
    assert [line["amount"] for line in changes] == ["-20.00", "33.33", "50.00"]
    await story.advance("2026-05-01T01:00:00Z")
    first, second = await story.invoices()
    assert first["total"] == "30.00"
    assert second["total"] == "63.33"  # 13.33 for April and 50.00 for May


async def test_an_upgrade_by_second_and_one_without_proration(story: Story) -> None:
    await story.customer()
    await story.plan("small", flat("fee", "30.00", timing="advance"))
    await story.plan("large", flat("fee", "60.00", timing="advance"))
    await story.advance("2026-04-01T00:00:00Z")
    by_second = await story.subscribe("small", key="by-second")
    none = await story.subscribe("small", key="none")
    await story.advance("2026-04-23T12:00:00Z")  # a quarter of the month is left
    await story.change(by_second, plan="large", proration="by_second")
    await story.change(none, plan="large", proration="none")
    await story.advance("2026-05-01T01:00:00Z")
    invoices = await story.invoices(subscription=by_second)
    # -30.00 x 0.25 + 60.00 x 0.25 + 60.00
    assert sorted(line["amount"] for line in invoices[1]["lines"]) == ["-7.50", "15.00", "60.00"]
    invoices = await story.invoices(subscription=none)
    assert [line["amount"] for line in invoices[1]["lines"]] == ["60.00"]


async def test_a_cancel_at_the_end_of_the_period_keeps_the_fee(story: Story) -> None:
    subscription = await begin(story)
    await story.advance("2026-01-10T00:00:00Z")
    cancelled = await story.cancel(subscription)
    assert (cancelled["status"], cancelled["ends_at"]) == ("active", "2026-02-01T00:00:00Z")
    await story.use(*calls(0, 1100, "2026-01-10T00:00:00Z"))
    await story.advance("2026-04-01T00:00:00Z")
    first, last = await story.invoices()
    assert first["total"] == "160.00"
    assert amounts(last) == [("calls", "1100", "5.00")]  # 100 x 0.05, and no fee for February
    assert await story.refused("POST", f"/v1/subscriptions/{subscription}/cancel", json={}) == (
        409, "invalid_state",
    )  # fmt: skip
    status, code = await story.refused("GET", "/v1/customers/acme/upcoming_invoice")
    assert (status, code) == (404, "not_found")


async def test_a_plan_minimum_is_trued_up(story: Story) -> None:
    """Case 26: from 28 February 2024, 2 of 29 days. 100.00 and 10,000.00 shrink to 6.90 and
    689.66; March has 31 of 31 days.
    """
    await story.customer()
    for key in ("a", "b", "c"):
        await story.meter(key)
    await story.plan(
        "committed",
        flat("fee", "100", timing="arrears"),
        *[usage_price(key, key, unit="1") for key in ("a", "b", "c")],
        minimum="10000",
    )
    await story.use(*[event(key, key, "2024-02-28T10:00:00Z", q=10) for key in ("a", "b", "c")])
    await story.use(event("a", "march", "2024-03-01T00:00:00Z", q=10))
    await story.subscribe("committed", starts_at="2024-02-28T00:00:00Z", anchor="2024-02-01")
    february, march = (await story.invoices())[:2]
    # 6.90 + 30.00 + 652.76 = 689.66; 100.00 + 10.00 + 9,890.00
    assert [line["amount"] for line in february["lines"]] == [
        "6.90", "10.00", "10.00", "10.00", "652.76",
    ]  # fmt: skip
    assert [line["amount"] for line in march["lines"] if line["amount"] != "0.00"] == [
        "100.00", "10.00", "9890.00",
    ]  # fmt: skip
    assert (february["total"], march["total"]) == ("689.66", "10000.00")


async def test_a_plan_minimum_month_by_month(story: Story) -> None:
    """The same in 2026, 2 of 28 days: 7.14 and 714.29."""
    await story.customer()
    for key in ("a", "b", "c"):
        await story.meter(key)
    await story.plan(
        "committed",
        flat("fee", "100", timing="arrears"),
        *[usage_price(key, key, unit="1") for key in ("a", "b", "c")],
        minimum="10000",
    )
    await story.advance("2026-02-27T00:00:00Z")
    await story.subscribe("committed", anchor="2026-02-01")
    await story.use(*[event(key, key, q=10) for key in ("a", "b", "c")])
    await story.advance("2026-03-10T00:00:00Z")
    await story.use(event("a", "march", q=10))
    await story.advance("2026-04-01T02:00:00Z")
    february, march = await story.invoices()
    # 100 x 2/28 = 7.142857; 10,000 x 2/28 = 714.285714; 714.29 - 7.14 - 30.00 = 677.15
    assert amounts(february, "kind", "amount") == [
        ("fee", "7.14"), ("usage", "10.00"), ("usage", "10.00"), ("usage", "10.00"),
        ("minimum", "677.15"),
    ]  # fmt: skip
    assert february["total"] == "714.29"
    # 100.00 + 10.00 + 9,890.00
    assert amounts(march, "kind", "amount")[-1] == ("minimum", "9890.00")
    assert march["total"] == "10000.00"
