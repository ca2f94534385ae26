"""Prices that settle from a wallet: drawn at once, exactly, and given back where a tier falls."""

import pytest

from tests.scenarios.story import Json, Story, amounts, event, flat, usage_price


async def begin(story: Story, **price: object) -> str:
    """One price on the sum of `q`, drawn from the dollar wallet."""
    await story.customer()
    await story.meter("u")
    await story.plan("p", usage_price("u", "u", settle="wallet", **price))
    return await story.subscribe("p")


async def entries(story: Story) -> list[tuple[str, str]]:
    """The movements of the wallet, the oldest first."""
    found = await story.everything("/v1/customers/acme/wallet_entries")
    return [(one["kind"], one["amount"]) for one in reversed(found)]


async def test_every_digit_is_drawn_at_once(story: Story) -> None:
    await begin(story, unit="0.000003")
    await story.grant("10")
    await story.use(event("u", "a", q=1))
    assert await story.available() == "9.999997"
    await story.use(event("u", "b", q="0.000001"))
    assert await story.available() == "9.999996999997"
    await story.use(event("u", "c", q=3_000_000))
    assert await story.available() == "0.999996999997"


async def test_a_falling_volume_tier_gives_back(story: Story) -> None:
    """Case 8 as a wallet: 15 x 10 = 150; the 16th makes all cost 5: 80, so 70 come back."""
    await begin(story, model="volume", tiers=[{"up_to": "15", "unit": "10"}, {"unit": "5"}])
    await story.grant("200")
    await story.use(event("u", "a", q=15))
    assert await story.available() == "50"
    await story.use(event("u", "b", q=1))
    assert await story.available() == "120"
    assert await entries(story) == [("grant", "200"), ("draw", "-150"), ("draw", "70")]


async def test_a_falling_tier_repays_debt_before_grants(story: Story) -> None:
    await begin(story, model="volume", tiers=[{"up_to": "15", "unit": "10"}, {"unit": "5"}])
    await story.grant("100")
    await story.use(event("u", "a", q=15))
    assert await story.available() == "-50"
    await story.use(event("u", "b", q=1))  # 70 back: 50 of debt, 20 to the grant
    assert await story.available() == "20"
    [grant] = await story.everything("/v1/grants", customer="acme")
    assert grant["remaining"] == "20"


@pytest.mark.parametrize(
    ("price", "uses", "left"),
    [
        # A flat fee of the first tier is drawn with the first usage: 2 + 10; then 9 x 10; 3 + 5.
        (
            {"model": "graduated", "tiers": [
                {"up_to": "10", "unit": "10", "flat": "2"}, {"unit": "5", "flat": "3"},
            ]},
            [1, 9, 1], ["988", "898", "890"],
        ),
        ({"model": "package", "amount": "15", "size": "10"}, [1, 9, 1], ["985", "985", "970"]),
        ({"unit": "1", "included": "5"}, [4, 4, 1], ["1000", "997", "996"]),
        ({"unit": "10", "maximum": "100"}, [7, 20, 1], ["930", "900", "900"]),
        ({"unit": "1", "discount": {"percent": "20"}}, [10, 5], ["992", "988"]),
        ({"unit": "1", "discount": {"amount": "3"}}, [2, 4, 1], ["1000", "997", "996"]),
        ({"model": "stairstep", "tiers": [{"up_to": "10", "flat": "7"}, {"flat": "9"}]},
         [1, 9, 1], ["993", "993", "991"]),
    ],
)  # fmt: skip
async def test_each_model_draws_the_difference(
    story: Story, price: Json, uses: list[int], left: list[str]
) -> None:
    await begin(story, **price)
    await story.grant("1000")
    for number, (quantity, available) in enumerate(zip(uses, left, strict=True)):
        await story.use(event("u", f"e{number}", q=quantity))
        assert await story.available() == available


async def test_each_period_begins_a_ladder_of_its_own(story: Story) -> None:
    await begin(story, unit="1", included="10")
    await story.grant("100")
    await story.use(event("u", "a", q=15))  # 5
    await story.advance("2026-02-01T00:00:00Z")
    await story.use(event("u", "b", q=12))  # 2
    await story.use(event("u", "late", "2026-01-31T23:00:00Z", q=3))  # 3 more of January
    assert await story.available() == "90"
    await story.advance("2026-03-01T01:00:00Z")
    january, february = await story.invoices()
    # What settled from the wallet is shown, but not charged again.
    for invoice, quantity, amount in ((january, "18", "8"), (february, "12", "2")):
        assert (invoice["lines"], invoice["total"]) == ([], "0.00")
        [settled] = invoice["settled"]
        assert (settled["quantity"], settled["amount"]) == (quantity, amount)
    assert await story.available() == "90"


async def test_credit_units_by_dimension(story: Story) -> None:
    await story.customer()
    await story.meter("u", dimensions=["model"])
    rates = [{"match": {"model": "big"}, "unit": "20"}, {"match": {"model": "small"}, "unit": "1"}]
    price = usage_price(
        "u", "u", model="dimensional", dimensions=["model"], rates=rates, otherwise="zero",
        asset="credits", settle="wallet",
    )  # fmt: skip
    await story.plan("p", price, flat("fee", "5.00", timing="arrears"))
    await story.subscribe("p")
    await story.grant("1000", asset="credits", kind="promotional")
    await story.use(
        event("u", "a", q=3, model="big"), event("u", "b", q=7, model="small"),
        event("u", "c", q=9, model="other"),
    )  # fmt: skip
    assert await story.available(asset="credits") == "933"  # 1,000 - 3 x 20 - 7
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert invoice["total"] == "5.00"
    assert [(one["asset"], one["amount"]) for one in invoice["settled"]] == [
        ("credits", "60"), ("credits", "7"), ("credits", "0"),
    ]  # fmt: skip


async def test_credits_pay_an_invoice_promotional_first(story: Story) -> None:
    await story.customer()
    await story.meter("u")
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.subscribe("p")
    await story.grant("30", kind="paid", priority=1)
    await story.grant("20.005", kind="promotional", priority=90)
    await story.use(event("u", "a", q=100))
    upcoming = await story.upcoming()
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    for one in (upcoming, invoice):
        # 20.00 of the promotional 20.005 are a discount, then 30.00 are paid: 50.00 are due.
        assert (one["subtotal"], one["credits"], one["total"]) == ("100.00", "20.00", "80.00")
        assert (one["paid_credits"], one["amount_due"]) == ("30.00", "50.00")
    assert await story.available() == "0.005"


async def test_a_change_of_terms_charges_the_difference(story: Story) -> None:
    """Backdated: what was drawn at the old price since then is drawn at the new one instead."""
    subscription = await begin(story, unit="1")
    await story.plan("q", usage_price("u", "u", settle="wallet", unit="3"))
    await story.grant("100")
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(
        event("u", "a", "2026-01-05T00:00:00Z", q=10), event("u", "b", "2026-01-15T00:00:00Z", q=10)
    )
    assert await story.available() == "80"
    await story.change(subscription, plan="q", at="2026-01-10T00:00:00Z")
    assert await story.available() == "60"  # 10 x 1 + 10 x 3
    await story.use(event("u", "c", q=1))
    assert await story.available() == "57"
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert [(one["quantity"], one["amount"]) for one in invoice["settled"]] == [
        ("10", "10"), ("11", "33"),
    ]  # fmt: skip


async def test_the_balance_is_true_right_after_the_answer(story: Story) -> None:
    await begin(story, unit="0.25")
    await story.grant("100")
    for number in range(1, 41):
        await story.use(event("u", f"e{number}", q=1))
        assert await story.available() == f"{100 - number * 0.25:f}".rstrip("0").rstrip(".")
        upcoming = await story.upcoming()
        assert upcoming["settled"][0]["quantity"] == str(number)
        assert amounts(upcoming) == []
