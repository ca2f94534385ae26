"""Discounts on whole invoices, month after month: the plan's, the subscription's own, coupons."""

from datetime import date
from typing import Any

import pytest

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


async def coupon(story: Story, key: str = "LAUNCH", **fields: Any) -> None:
    """Put a coupon."""
    await story.ask("PUT", f"/v1/coupons/{key}", json=fields)


async def redeem(story: Story, subscription: str, key: str = "LAUNCH") -> str:
    """Redeem a coupon now; the redemption's id."""
    path = f"/v1/subscriptions/{subscription}/coupons"
    return str((await story.ask("POST", path, json={"coupon": key}))["id"])


async def close(story: Story, year: int = 2026, *, months: int) -> list[Json]:
    """The invoices of so many months, each month's closed in the hour after it."""
    last = date(year, 1 + months, 1)
    await story.advance(f"{last.isoformat()}T01:00:00Z")
    return await story.invoices()


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


async def test_an_amount_leaves_nothing_below_zero_and_is_not_carried_over(story: Story) -> None:
    await story.customer()
    await plan_of_calls(story)
    await coupon(story, amount="30.00", currency="USD", months=3)
    await story.subscribe("plan", coupon="LAUNCH")
    await calls(story, "2026-01", count=20)
    await calls(story, "2026-02", count=100)
    await calls(story, "2026-03", "2026-04", count=50)
    invoices = await close(story, months=4)
    assert [discounts(one) for one in invoices] == [
        [("coupon", "20.00", "20.00")],  # 10.00 are lost, and the month counts
        [("coupon", "100.00", "30.00")],
        [("coupon", "50.00", "30.00")],
        [],
    ]  # fmt: skip
    assert totals(invoices) == ["0.00", "70.00", "20.00", "50.00"]
    assert invoices[0]["status"] == "paid"


async def test_an_amount_is_given_once_a_month_on_fees_and_usage(story: Story) -> None:
    """Three months of 30.00 off: three invoices, though March's calls stand on a fourth."""
    await story.customer()
    discount = {"amount": "30", "months": 3}
    await plan_of_calls(story, flat("base", "50.00", timing="advance"), discount=discount)
    await story.subscribe("plan")
    for month in ("2026-01", "2026-02", "2026-03", "2026-04"):
        await calls(story, month, count=10)
    invoices = await close(story, months=4)
    assert totals(invoices) == ["20.00", "30.00", "30.00", "60.00", "60.00"]
    # 30.00 off 50.00 and 10.00: 25.00 and 5.00
    assert [one["amount"] for one in invoices[1]["discounts"][0]["lines"]] == ["25.00", "5.00"]


async def test_a_coupon_that_is_redeemed_in_mid_month(story: Story) -> None:
    """50% for two months from 15 January: the calls of January and February, and the two fees
    that fall due after it.
    """
    await story.customer()
    await plan_of_calls(story, flat("base", "40.00", timing="advance"))
    await coupon(story, percent="50", months=2)
    subscription = await story.subscribe("plan")
    await calls(story, "2026-01")
    await story.advance("2026-01-15T12:00:00Z")
    await redeem(story, subscription)
    upcoming = await story.upcoming()
    assert discounts(upcoming) == [("coupon", "140.00", "70.00")]
    await calls(story, "2026-02", "2026-03", "2026-04")
    invoices = await close(story, months=4)
    assert totals(invoices) == ["40.00", "70.00", "70.00", "140.00", "140.00"]
    assert invoices[1]["discounts"] == upcoming["discounts"]
    assert invoices[1]["input_digest"] == upcoming["input_digest"]


async def test_a_coupon_that_is_ended(story: Story) -> None:
    """From the period in which it is ended on, it takes nothing; what was invoiced stays."""
    await story.customer()
    await plan_of_calls(story, flat("base", "40.00", timing="advance"))
    await coupon(story, percent="50")
    subscription = await story.subscribe("plan", coupon="LAUNCH")
    redemption = (await story.ask("GET", f"/v1/subscriptions/{subscription}/discounts"))["data"][0]
    await calls(story, "2026-01", "2026-02")
    digest = (await story.upcoming())["input_digest"]
    path = f"/v1/subscriptions/{subscription}/coupons/{redemption['id']}"
    await story.ask("DELETE", path)
    upcoming = await story.upcoming()
    assert upcoming["discounts"] == []
    assert upcoming["input_digest"] != digest
    # Ended on 10 February: January's fee, then January's calls and February's fee had half off
    assert totals(await close(story, months=2)) == ["20.00", "70.00", "140.00"]


async def test_the_order_of_discounts(story: Story) -> None:
    """100.00 less 10% is 90.00, less 15.00 is 75.00, less 50% is 37.50, less 10% is 33.75."""
    await story.customer()
    await plan_of_calls(story, discount={"percent": "10"})
    await coupon(story, "HALF", percent="50")
    await coupon(story, "TENTH", percent="10")
    subscription = await story.subscribe("plan", discount={"amount": "15"}, coupon="HALF")
    await redeem(story, subscription, "TENTH")
    await calls(story, "2026-01")
    [invoice] = await close(story, months=1)
    assert discounts(invoice) == [
        ("plan", "100.00", "10.00"), ("subscription", "90.00", "15.00"),
        ("coupon", "75.00", "37.50"), ("coupon", "37.50", "3.75"),
    ]  # fmt: skip
    assert [one["key"] for one in invoice["discounts"]] == ["plan", None, "HALF", "TENTH"]
    assert (invoice["discount"], invoice["total"]) == ("66.25", "33.75")


async def test_a_promotion_on_one_price(story: Story) -> None:
    """Images at half price in February and March, whatever the list price is."""
    await story.customer()
    await story.meter("images")
    images = usage_price("images", "images", unit="2")
    await plan_of_calls(story, images)
    window = {"starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-04-01T00:00:00Z"}
    await coupon(story, "IMAGES", percent="50", prices=["images"], **window)
    subscription = await story.subscribe("plan", coupon="IMAGES")
    for month in ("2026-01", "2026-02", "2026-03", "2026-04"):
        await calls(story, month, count=10)
        await story.use(event("images", month, f"{month}-10T00:00:00Z", q=10))
        if month == "2026-02":  # the list price changes in the promotion
            await plan_of_calls(story, {**images, "unit": "3"})
            await story.change(subscription, version=2, at="period_end")
    invoices = await close(story, months=4)
    assert [discounts(one) for one in invoices] == [
        [], [("coupon", "20.00", "10.00")], [("coupon", "30.00", "15.00")], [],
    ]  # fmt: skip
    assert totals(invoices) == ["30.00", "20.00", "25.00", "40.00"]


async def test_a_coupon_stays_with_its_plans(story: Story) -> None:
    await story.customer()
    await plan_of_calls(story, key="small")
    await plan_of_calls(story, key="large")
    await coupon(story, percent="50", plans=["small"])
    subscription = await story.subscribe("small", coupon="LAUNCH")
    await calls(story, "2026-01")
    await story.change(subscription, plan="large", at="period_end")
    await calls(story, "2026-02")
    assert totals(await close(story, months=2)) == ["50.00", "100.00"]


async def test_a_subscription_changes_its_discount(story: Story) -> None:
    await story.customer()
    await plan_of_calls(story)
    subscription = await story.subscribe("plan", discount={"percent": "10"})
    await calls(story, "2026-01")
    await story.change(subscription, discount={"percent": "30", "months": 1}, at="period_end")
    assert (await story.upcoming())["discount"] == "10.00"
    await calls(story, "2026-02", "2026-03")
    await story.change(subscription, discount={"amount": "5"})  # of March's invoice on
    await calls(story, "2026-04")
    await story.change(subscription, quantities={})  # what is left out stays
    await calls(story, "2026-05")
    await story.change(subscription, discount=None)
    assert totals(await close(story, months=5)) == ["90.00", "70.00", "95.00", "95.00", "100.00"]
    path = f"/v1/subscriptions/{subscription}/discounts"
    given = (await story.ask("GET", path))["data"]
    assert [(one["percent"], one["amount"], one["from"][:10]) for one in given] == [
        ("10", None, "2026-01-01"), ("30", None, "2026-02-01"), (None, "5", "2026-03-10"),
    ]  # fmt: skip


async def test_late_usage_gets_the_discount_of_its_own_period(story: Story) -> None:
    """Half off January's calls, also of those that come in February; none off February's."""
    await story.customer()
    await plan_of_calls(story, discount={"percent": "50", "months": 1}, minimum="80")
    await story.subscribe("plan")
    await calls(story, "2026-01")
    await story.advance("2026-02-10T00:00:00Z")
    await story.use(event("calls", "late", "2026-01-20T00:00:00Z", q=20))
    await calls(story, "2026-02")
    january, february = await close(story, months=2)
    # 100.00 less 50.00: 30.00 to the minimum of 80.00
    assert amounts(january) == [("calls", "100", "100.00"), (None, "1", "30.00")]
    assert (january["discount"], january["total"]) == ("50.00", "80.00")
    # 20.00 more in January, of which 10.00 count: the true-up was 10.00 too much
    assert amounts(february) == [
        ("calls", "100", "100.00"), ("calls", "20", "20.00"), (None, "1", "-10.00"),
    ]  # fmt: skip
    assert discounts(february) == [("plan", "20.00", "10.00")]
    assert february["total"] == "100.00"


async def test_a_credit_shrinks_as_its_fee_did(story: Story) -> None:
    """Half of 100.00 was paid; moving on 16 April leaves 15 of 30 days: 50.00 less 25.00."""
    await story.customer()
    await story.plan("small", flat("fee", "100.00"), discount={"percent": "50"})
    await story.plan("large", flat("fee", "300.00"))
    await story.advance("2026-04-01T00:00:00Z")
    subscription = await story.subscribe("small")
    await story.advance("2026-04-16T00:00:00Z")
    await coupon(story, percent="20")
    await redeem(story, subscription)  # after the small fee was billed
    await story.change(subscription, plan="large")
    await story.advance("2026-05-01T01:00:00Z")
    april, may = await story.invoices()
    assert april["total"] == "50.00"
    # -50.00 of the small fee, 150.00 of the large one for April, 300.00 for May
    assert sorted(line["amount"] for line in may["lines"]) == ["-50.00", "150.00", "300.00"]
    assert discounts(may) == [("plan", "-50.00", "-25.00"), ("coupon", "450.00", "90.00")]
    assert may["total"] == "335.00"  # -25.00 + 120.00 + 240.00


async def test_a_cancelled_subscription_gets_back_what_it_paid(story: Story) -> None:
    await story.customer()
    await story.plan("plan", flat("fee", "100.00"), discount={"percent": "100"})
    await story.advance("2026-04-01T00:00:00Z")
    subscription = await story.subscribe("plan")
    await story.advance("2026-04-16T00:00:00Z")
    await story.cancel(subscription, at="now", credit_unused=True)
    await story.advance("2026-04-16T02:00:00Z")
    first, last = await story.invoices()
    assert (first["total"], last["subtotal"], last["total"]) == ("0.00", "-50.00", "0.00")
    assert last["discount"] == "-50.00"


async def test_credits_cover_what_discounts_left(story: Story) -> None:
    """Discounts come before promotional credits. A grant for calls covers 90.00 of them, not
    100.00.
    """
    await story.customer()
    await plan_of_calls(story, flat("base", "50.00", timing="arrears"), discount={"percent": "10"})
    await story.subscribe("plan")
    await story.grant("200", kind="promotional", scope={"meters": ["calls"]})
    await calls(story, "2026-01")
    [invoice] = await close(story, months=1)
    # 150.00 - 15.00 - 90.00 = 45.00
    assert (invoice["discount"], invoice["credits"], invoice["total"]) == (
        "15.00", "90.00", "45.00",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("currency", "fee", "percent", "discount", "total"),
    [
        ("JPY", "1001", "33", "330", "671"),  # 330.33
        ("JPY", "1", "50", "1", "0"),  # 0.5 rounds up
        ("BHD", "10.005", "15", "1.501", "8.504"),  # 1.50075
        ("EUR", "0.03", "50", "0.02", "0.01"),  # 0.015
    ],
)
async def test_each_currency_has_its_digits(
    story: Story, currency: str, fee: str, percent: str, discount: str, total: str
) -> None:
    await story.customer(currency=currency)
    fees = [flat("fee", fee, timing="arrears")]
    await story.plan("plan", *fees, currency=currency, discount={"percent": percent})
    await story.subscribe("plan")
    [invoice] = await close(story, months=1)
    assert (invoice["discount"], invoice["total"]) == (discount, total)


async def test_wallet_usage_is_not_discounted(story: Story) -> None:
    await story.customer()
    await story.meter("images")
    images = usage_price("images", "images", unit="2", settle="wallet")
    await plan_of_calls(story, images, discount={"percent": "50"})
    await story.grant("100")
    await story.subscribe("plan")
    await story.use(event("images", "one", "2026-01-01T00:00:00Z", q=10))
    await calls(story, "2026-01", count=10)
    assert await story.available() == "80"
    [invoice] = await close(story, months=1)
    assert (invoice["discount"], invoice["paid_credits"]) == ("5.00", "5.00")


async def test_a_preview_shows_the_discount(story: Story) -> None:
    await plan_of_calls(story, flat("base", "50.00"), discount={"percent": "10"}, minimum="100")
    path = "/v1/plans/plan/preview"
    shown = await story.ask("POST", path, json={"usage": {"calls": "30"}})
    # 80.00 - 8.00 = 72.00, and 28.00 to the minimum
    assert [line["amount"] for line in shown["lines"]] == ["50.00", "30.00", "28.00"]
    assert (shown["subtotal"], shown["discount"], shown["total"]) == ("108.00", "8.00", "100.00")


async def test_a_change_of_discount_is_previewed(story: Story) -> None:
    """As the upcoming invoice will say after the change: with the plan or alone."""
    await story.customer()
    await plan_of_calls(story, flat("base", "50.00"), key="small")
    await plan_of_calls(story, flat("base", "90.00"), key="large")
    subscription = await story.subscribe("small", discount={"percent": "10"})
    await calls(story, "2026-01")
    path = f"/v1/subscriptions/{subscription}/preview_change"
    for change in (
        {"discount": {"percent": "50"}},
        {"discount": {"amount": "7", "months": 1}, "plan": "large"},
        {"discount": None},
    ):
        shown = await story.ask("POST", path, json=change)
        before = await story.upcoming()
        assert shown["without_change"]["total"] == before["total"]
        await story.change(subscription, **change)
        after = await story.upcoming()
        assert shown["next_invoice"]["discounts"] != before["discounts"]
        for name in ("lines", "discount", "total"):
            assert shown["next_invoice"][name] == after[name]
