"""Commitments: what a term's fees and usage must come to, whatever the billing period."""

from tests.scenarios.story import Story, amounts, event, flat, usage_price
from tests.scenarios.test_plan_credits import balances, credit

YEAR = {"amount": "12000", "period": "year"}


async def test_a_year_is_trued_up_on_its_last_monthly_invoice(story: Story) -> None:
    """12,000 a year, billed monthly: a fee of 100.00 in advance and usage at 1.00. 12 fees are
    1,200.00; usage is 5,000 in March and 2,000 in December: 8,200.00. The invoice of 1 January
    bills the shortfall: 3,800.00. Late usage of 300 in December makes it 3,500.00: 300.00 of usage
    and -300.00 of true-up on the invoice after, nothing of the next year's.
    """
    await story.customer()
    await story.meter("u")
    await story.plan("p", flat("fee", "100.00"), usage_price("u", "u", unit="1"), commitment=YEAR)
    await story.subscribe("p")
    for month, quantity in (("03", 5000), ("12", 2000)):
        await story.advance(f"2026-{month}-10T00:00:00Z")
        await story.use(event("u", month, q=quantity))
    await story.advance("2027-01-01T02:00:00Z")
    invoices = await story.invoices()
    assert len(invoices) == 13
    assert [one["total"] for one in invoices[:4]] == ["100.00", "100.00", "100.00", "5100.00"]
    assert amounts(invoices[-1], "kind", "price", "amount") == [
        ("fee", "fee", "100.00"), ("usage", "u", "2000.00"), ("commitment", None, "3800.00"),
    ]  # fmt: skip
    line = invoices[-1]["lines"][-1]
    assert line["period"] == {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}
    assert [(s["text"], s["amount"]) for s in line["tiers"]] == [
        ("commitment of 12000 on p", "12000"), ("fees and usage of the term", "-8200"),
    ]  # fmt: skip
    await story.use(event("u", "late", "2026-12-31T00:00:00Z", q=300))
    await story.advance("2027-02-01T02:00:00Z")
    assert amounts((await story.invoices())[-1], "kind", "amount") == [
        ("fee", "100.00"), ("usage", "0.00"), ("adjustment", "300.00"), ("commitment", "-300.00"),
    ]  # fmt: skip


async def test_a_short_term_is_prorated_by_day(story: Story) -> None:
    """3,000 a quarter from 1 January; cancelled on 1 March, after 59 of 90 days: 1,966.666... of
    commitment, 400.00 of usage: 1,566.67 are missing.
    """
    await story.customer()
    await story.meter("u")
    quarter = {"amount": "3000", "period": "quarter"}
    await story.plan("p", usage_price("u", "u", unit="1"), commitment=quarter)
    subscription = await story.subscribe("p")
    await story.use(event("u", "a", q=400))
    await story.cancel(subscription, at="2026-03-01T00:00:00Z")
    await story.advance("2026-03-02T00:00:00Z")
    invoices = await story.invoices()
    assert [one["total"] for one in invoices] == ["400.00", "1566.67"]


async def test_minimums_of_the_months_count_towards_the_quarter(story: Story) -> None:
    """100.00 a month and 500.00 a quarter, nothing used: 3 x 100.00, and 200.00 at its end."""
    await story.customer()
    await story.meter("u")
    await story.plan(
        "p", usage_price("u", "u", unit="1"), minimum="100.00",
        commitment={"amount": "500", "period": "quarter"},
    )  # fmt: skip
    await story.subscribe("p")
    await story.advance("2026-04-01T02:00:00Z")
    found = [amounts(one, "kind", "amount") for one in await story.invoices()]
    month = [("usage", "0.00"), ("minimum", "100.00")]
    assert found == [month, month, [*month, ("commitment", "200.00")]]


async def test_a_shortfall_rolls_over_up_to_a_maximum(story: Story) -> None:
    """1,000 a month, 250 used: 750.00 are paid for nothing, of which 500 roll over. They pay
    February's 600 of usage as far as they go: 100.00 are due, and 400.00 of true-up.
    """
    await story.customer()
    await story.meter("u")
    await story.plan(
        "p", usage_price("u", "u", unit="1"),
        commitment={"amount": "1000", "period": "month", "rollover_max": "500"},
    )  # fmt: skip
    await story.subscribe("p")
    await story.use(event("u", "jan", q=250))
    await story.advance("2026-02-01T02:00:00Z")
    (grant,) = await story.everything("/v1/grants")
    assert (grant["amount"], grant["kind"], grant["credit"]) == ("500", "paid", "@commitment")
    assert grant["scope"] == {"meters": ["u"]}
    assert grant["expires_at"] == "2026-03-01T00:00:00Z"
    await story.use(event("u", "feb", q=600))
    await story.advance("2026-03-01T02:00:00Z")
    first, second = await story.invoices()
    assert amounts(first, "kind", "amount") == [("usage", "250.00"), ("commitment", "750.00")]
    assert amounts(second, "kind", "amount") == [("usage", "600.00"), ("commitment", "400.00")]
    assert (second["paid_credits"], second["amount_due"]) == ("500.00", "500.00")


async def test_a_prepaid_year_at_a_discount_buys_more_at_list(story: Story) -> None:
    """12,000.00 prepaid at 20% off list buy 15,000.00 of list use: as rates less 20%, 15,000 x 0.8
    = 12,000; or as 12,000 paid and 3,000 bonus, of which the bonus burns first. Both drain to 0,
    month by month, on invoices that say the fee once a year.
    """
    await story.meter("tokens")
    fee = flat("commit", "12000.00", period="year")
    use = usage_price("use", "tokens", unit="1", settle="wallet")
    paid = credit("USD", "12000", kind="paid", every="year", scope={"meters": ["tokens"]})
    bonus = credit("USD", "3000", every="year", scope={"meters": ["tokens"]})
    rates = {**use, "discount": {"percent": "20"}}
    await story.plan("rates", fee, rates, credits=[paid])
    await story.plan("bonus", fee, use, credits=[paid, bonus])
    for customer, plan in (("acme", "rates"), ("globex", "bonus")):
        await story.customer(customer)
        await story.subscribe(plan, customer)
    for month in range(1, 11):
        await story.advance(f"2026-{month:02}-15T00:00:00Z")
        for customer in ("acme", "globex"):
            await story.use(event("tokens", f"m{month}", customer=customer, q=1500))
        if month == 2:  # 3,000 of list use: 2,400 of the paid; 3,000 of the bonus alone
            assert await balances(story) == {"USD": "9600"}
            assert await balances(story, "globex") == {"USD": "12000"}
    assert await balances(story) == {} == await balances(story, "globex")
    assert [one["total"] for one in await story.invoices()][:2] == ["12000.00", "0.00"]
