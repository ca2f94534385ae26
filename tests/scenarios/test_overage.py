"""Credit units used past their grants: billed when the period closes, at the unit's price."""

from tests.scenarios.story import Json, Story, amounts, event, flat
from tests.scenarios.test_plan_credits import balances, credit, drawn

SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "19.00"}
PRICED = [{"asset": "credits", "unit_price": "0.01"}]


async def copilot(story: Story) -> None:
    """GitHub Copilot Business: 19.00 and 1,900 credits a user; June to August 3,000."""
    await story.meter("requests")
    june, september = "2026-06-01", "2026-09-01"
    await story.plan(
        "copilot", SEATS, drawn("requests"), assets=PRICED,
        credits=[
            credit("credits", "1900", per="seat", until=june),
            credit("credits", "3000", per="seat", **{"from": june, "until": september}),
            credit("credits", "1900", per="seat", **{"from": september}),
        ],
    )  # fmt: skip


async def test_what_is_used_past_the_pool_is_billed_with_the_next_fee(story: Story) -> None:
    """50 seats x 1,900 = 95,000 credits; 100,000 used are 5,000 too many. The invoice of 1 June
    says 50 x 19.00 = 950.00 and 5,000 x 0.01 = 50.00. In June the pool is 50 x 3,000 = 150,000:
    100,000 used cost nothing more.
    """
    await story.customer()
    await copilot(story)
    await story.advance("2026-05-01T00:00:00Z")
    await story.subscribe("copilot", quantities={"seats": "50"})
    assert await balances(story) == {"credits": "95000"}
    await story.use(event("requests", "may", q=100000))
    assert await balances(story) == {"credits": "-5000"}
    upcoming = await story.upcoming()
    assert amounts(upcoming, "kind", "quantity", "amount") == [
        ("fee", "50", "950.00"), ("overage", "5000", "50.00"),
    ]  # fmt: skip
    await story.advance("2026-06-01T00:00:00Z")
    # The debt is billed, so June begins with its whole pool.
    assert await balances(story) == {"credits": "150000"}
    (draft,) = await story.invoices(status="draft")
    assert draft["total"] == "1000.00"
    await story.use(event("requests", "june", q=100000))
    assert (await story.invoice(draft["id"]))["total"] == "1000.00"
    await story.advance("2026-07-01T02:00:00Z")
    invoices = await story.invoices()
    assert [one["total"] for one in invoices] == ["950.00", "1000.00", "950.00"]
    line = invoices[1]["lines"][1]
    assert line["description"] == "Overage: 5000 credits at 0.01"
    path = f"/v1/invoices/{invoices[1]['id']}/lines/{line['id']}/explain"
    explained = await story.ask("GET", path)
    assert explained["steps"] == [
        {"text": "5000 credits at 0.01", "quantity": "5000", "unit": "0.01", "amount": "50"},
    ]
    entries = await story.everything("/v1/customers/acme/wallet_entries", asset="credits")
    (cleared,) = [one for one in entries if one["kind"] == "overage"]
    assert (cleared["amount"], cleared["grant"]) == ("5000", None)
    assert cleared["ref"] == invoices[1]["id"]
    # September is a month of 1,900 again.
    await story.advance("2026-09-01T00:00:00Z")
    assert await balances(story) == {"credits": "95000"}


async def test_a_preview_says_what_the_credits_cover(story: Story) -> None:
    """50 seats in January: of 100,000 credits 95,000 are covered; 950.00 and 50.00. In July
    150,000 would be: 950.00 alone.
    """
    await copilot(story)
    body = {"quantities": {"seats": "50"}, "usage": {"requests": "100000"}}
    shown = await story.ask("POST", "/v1/plans/copilot/preview", json=body)
    assert shown["credits"] == [
        {"asset": "credits", "amount": "100000", "covered": "95000", "overage": "5000"}
    ]
    assert [line["amount"] for line in shown["lines"]] == ["950.00", "100000", "50.00"]
    assert shown["total"] == "1000.00"
    await story.advance("2026-07-01T00:00:00Z")
    shown = await story.ask("POST", "/v1/plans/copilot/preview", json=body)
    assert (shown["credits"][0]["overage"], shown["total"]) == ("0", "950.00")


async def test_a_unit_without_a_price_keeps_its_debt(story: Story) -> None:
    """30 used of 10: -20. Without a price the next month's 10 repay of it what they can: -10."""
    await story.customer()
    await story.meter("u")
    await story.plan(
        "p", drawn("u"), credits=[credit("credits", "10")], assets=[{"asset": "credits"}]
    )
    await story.subscribe("p")
    await story.use(event("u", "a", q=30))
    await story.advance("2026-02-01T02:00:00Z")
    assert await balances(story) == {"credits": "-10"}
    assert [one["lines"] for one in await story.invoices()] == [[]]


async def test_overage_counts_towards_the_minimum(story: Story) -> None:
    """A minimum of 100.00; overage of 3,000 at 0.01 = 30.00: the true-up is 70.00."""
    await story.customer()
    await story.meter("u")
    await story.plan("p", drawn("u"), assets=PRICED, minimum="100.00")
    await story.subscribe("p")
    await story.use(event("u", "a", q=3000))
    await story.advance("2026-02-01T02:00:00Z")
    (invoice,) = await story.invoices()
    assert amounts(invoice, "kind", "amount") == [("overage", "30.00"), ("minimum", "70.00")]


async def test_the_subscription_that_closes_first_bills_the_debt(story: Story) -> None:
    """Two contracts price the same unit; the one that closes on the 20th bills the 500, not the
    other, whose period goes on until 10 February.
    """
    await story.customer()
    await story.meter("u")
    await story.plan("p", flat("fee", "1.00"), drawn("u"), assets=PRICED)
    await story.subscribe("p", anchor="2026-01-20")
    first = await story.subscribe("p", anchor="2026-01-10", key="second")
    await story.advance("2026-01-11T00:00:00Z")
    await story.use(event("u", "a", q=500))
    await story.advance("2026-03-01T00:00:00Z")
    billed = [
        (one["subscription"] == first, one["period"]["to"], line["amount"])
        for one in await story.invoices()
        for line in one["lines"]
        if line["kind"] == "overage"
    ]
    assert billed == [(False, "2026-01-20T00:00:00Z", "5.00")]


async def test_a_change_in_the_past_does_not_bill_overage_twice(story: Story) -> None:
    """January closes with 200 too many, 2.00. While its invoice is a draft, the price of the fee
    is changed as of 1 February: the draft is dropped and made anew, with the 2.00 once.
    """
    await story.customer()
    await story.meter("u")
    prices = [flat("fee", "10.00"), drawn("u")]
    grants = [credit("credits", "100")]
    await story.plan("p", *prices, assets=PRICED, credits=grants, grace="P5D")
    await story.plan("q", flat("fee", "20.00"), drawn("u"), assets=PRICED, credits=grants,
                     grace="P5D")  # fmt: skip
    subscription = await story.subscribe("p")
    await story.use(event("u", "a", q=300))
    await story.advance("2026-02-02T00:00:00Z")
    assert await balances(story) == {"credits": "100"}
    await story.change(subscription, plan="q", at="2026-01-31T00:00:00Z")
    await story.advance("2026-02-07T00:00:00Z")
    invoice = (await story.invoices())[-1]
    overage: list[Json] = [line for line in invoice["lines"] if line["kind"] == "overage"]
    assert [line["amount"] for line in overage] == ["2.00"]
    entries = await story.everything("/v1/customers/acme/wallet_entries", asset="credits")
    assert [e["ref"] for e in entries if e["kind"] == "overage"] == [invoice["id"]]
    assert await balances(story) == {"credits": "100"}
