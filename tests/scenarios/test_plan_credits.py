"""Credits that a plan grants: at each step once, in full, and what becomes of what is left."""

from typing import Any

from tests.scenarios.story import Json, Story, amounts, event, flat, usage_price

Credit = dict[str, Any]


def credit(asset: str, amount: str, **fields: Any) -> Credit:
    """A credit of a plan."""
    return {"asset": asset, "amount": amount, **fields}


def drawn(key: str, unit: str = "1", asset: str = "credits", **fields: Any) -> Json:
    """A price that is drawn from a wallet, on the meter of its own name."""
    return usage_price(key, key, unit=unit, asset=asset, settle="wallet", **fields)


async def balances(story: Story, customer: str = "acme") -> dict[str, str]:
    """What each wallet of the customer has available; one of USD that an invoice began is not
    shown while it is empty.
    """
    balance = await story.ask("GET", f"/v1/customers/{customer}/balance")
    found = {one["asset"]: one["available"] for one in balance["wallets"]}
    return {asset: amount for asset, amount in found.items() if (asset, amount) != ("USD", "0")}


async def grants(story: Story, *names: str) -> list[tuple[Any, ...]]:
    """Of each grant, by age: what of it these members say."""
    found = await story.everything("/v1/grants", customer="acme")
    return [tuple(one[name] for name in names) for one in found]


async def test_actions_and_workflows(story: Story) -> None:
    """10,000 credits; 400 actions at 1 and 480 workflows at 20 use 400 + 9,600 = 10,000 of them.
    A fresh customer's 500 workflows do, too. The next month begins with 10,000 again.
    """
    await story.meter("action", "count")
    await story.meter("workflow", "count")
    await story.plan(
        "t1", drawn("action"), drawn("workflow", "20"),
        credits=[credit("credits", "10000", kind="paid", expires="period_end")],
    )  # fmt: skip
    for customer in ("acme", "globex"):
        await story.customer(customer)
        await story.subscribe("t1", customer)
    assert await balances(story) == {"credits": "10000"}
    await story.use(*(event("action", f"a{n}") for n in range(400)))
    await story.use(*(event("workflow", f"w{n}") for n in range(480)))
    await story.use(*(event("workflow", f"w{n}", customer="globex") for n in range(500)))
    assert await balances(story) == {"credits": "0"}
    assert await balances(story, "globex") == {"credits": "0"}
    await story.advance("2026-02-01T00:00:00Z")
    assert await balances(story) == {"credits": "10000"}


async def test_the_grant_of_the_next_day_repays_the_debt(story: Story) -> None:
    """100 a day: 120 used on day one leave -20; day two begins with 100 - 20 = 80."""
    await story.customer()
    await story.meter("u")
    await story.plan(
        "c6", drawn("u", asset="USD"), period="day",
        credits=[credit("USD", "100", kind="paid", expires="period_end")],
    )  # fmt: skip
    await story.subscribe("c6")
    await story.use(event("u", "a", q=120))
    assert await balances(story) == {"USD": "-20"}
    await story.advance("2026-01-02T00:00:00Z")
    assert await balances(story) == {"USD": "80"}
    await story.advance("2026-01-03T00:00:00Z")
    assert await balances(story) == {"USD": "100"}


async def test_a_day_of_credit_is_granted_once_a_day_for_a_quarter(story: Story) -> None:
    """90 days from 1 January: 31 + 28 + 31 grants of 5, and the one of 1 April."""
    await story.customer(timezone="America/New_York")
    await story.meter("u")
    await story.plan("p", drawn("u"), credits=[credit("credits", "5", every="day")])
    await story.subscribe("p", anchor="2026-01-01")
    await story.advance("2026-04-01T06:00:00Z")
    made = await grants(story, "amount", "effective_at", "expires_at")
    # The story begins at 00:00Z, which is 31 December, 19:00, in New York: one grant more.
    assert len(made) == 1 + 90 + 1
    assert made[0] == ("5", "2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z")
    # 8 March 2026 has 23 hours there.
    assert ("5", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z") in made
    assert len(set(made)) == len(made)
    assert await balances(story) == {"credits": "5"}


async def test_what_is_left_rolls_over_up_to_a_maximum(story: Story) -> None:
    """Clay Launch: 15,000 actions that lapse, 2,500 data credits of which 2,500 roll over. 2,000
    steps cost 1 + 1, 500 on an own key 1 + 0: left are 15,000 - 2,500 = 12,500 actions and
    2,500 - 2,000 = 500 data credits. February opens with 15,000 and 500 + 2,500 = 3,000; unused,
    March with 2,500 + 2,500 = 5,000, which is as much as there ever is.
    """
    await story.customer()
    await story.meter("enrichments", "count", event_type="enrichment")
    await story.meter("data", event_type="enrichment")
    await story.plan(
        "clay", flat("platform", "185.00"), drawn("enrichments", asset="actions"),
        drawn("data", asset="data_credits"),
        credits=[
            credit("actions", "15000", kind="paid"),
            credit("data_credits", "2500", kind="paid", rollover_max="2500"),
        ],
    )  # fmt: skip
    subscription = await story.subscribe("clay")
    await story.use(*(event("enrichment", f"s{n}", q=1) for n in range(2000)))
    await story.use(*(event("enrichment", f"o{n}", q=0) for n in range(500)))
    assert await balances(story) == {"actions": "12500", "data_credits": "500"}
    await story.advance("2026-02-01T00:00:00Z")
    assert await balances(story) == {"actions": "15000", "data_credits": "3000"}
    rolled = (await grants(story, "credit", "amount", "kind", "source", "subscription"))[-2:]
    assert rolled == [
        ("data_credits", "500", "paid", "plan", subscription),
        ("data_credits", "2500", "paid", "plan", subscription),
    ]
    await story.advance("2026-03-01T00:00:00Z")
    assert await balances(story) == {"actions": "15000", "data_credits": "5000"}
    await story.advance("2026-04-01T00:00:00Z")
    assert await balances(story) == {"actions": "15000", "data_credits": "5000"}
    entries = await story.everything("/v1/customers/acme/wallet_entries", asset="data_credits")
    moved = [one["amount"] for one in entries if one["kind"] == "rollover"]
    # Into March: 500 + 2,000 of 3,000. Into April: what rolled into March; what March gave lapses.
    assert moved == ["2500", "-2500", "2500", "-2000", "-500", "500", "-500"]


async def test_daily_credits_are_capped_by_the_month(story: Story) -> None:
    """Lovable: 5 a day, at most 30 a month free and 150 paid, ahead of a pack. 7 a day over 30
    days use 30 x 5 = 150 and 30 x 2 = 60 of the pack; on the 31st day all 7 come from the pack:
    67. On the free plan 5 a day come for 6 days, then none: 30.
    """
    await story.meter("message")
    daily = credit("credits", "5", every="day", priority=10)
    await story.plan("paid", drawn("message"), credits=[{**daily, "max_per_period": "150"}])
    await story.plan("free", drawn("message"), credits=[{**daily, "max_per_period": "30"}])
    await story.customer()
    await story.customer("globex")
    await story.subscribe("paid")
    await story.subscribe("free", "globex")
    pack = await story.grant("100", asset="credits")
    for day in range(1, 32):
        await story.advance(f"2026-01-{day:02}T00:00:00Z")
        await story.use(event("message", f"d{day}", q=7))
        left = (await story.ask("GET", f"/v1/grants/{pack}"))["remaining"]
        assert left == {30: "40", 31: "33"}.get(day, left)  # 100 - 60 and 100 - 67
        got = len(await story.everything("/v1/grants", customer="globex"))
        assert got == min(day, 6)
    await story.advance("2026-02-01T00:00:00Z")
    assert len(await story.everything("/v1/grants", customer="globex")) == 7


async def test_credit_of_model_use_does_not_pay_the_fee(story: Story) -> None:
    """Cursor Pro: 20.00 a month hold 20.00 of model use. The first invoice is the fee alone; use
    of 27.35 in January costs 20.00 + 7.35: 27.35 and the next fee are billed, the credit takes
    20.00 of the use, 27.35 are due. The credit of February pays nothing of January.
    """
    await story.customer()
    await story.meter("models")
    await story.plan(
        "cursor", flat("pro", "20.00"), usage_price("models", "models", unit="1"),
        credits=[credit("USD", "20", kind="paid", scope={"meters": ["models"]})],
    )  # fmt: skip
    await story.subscribe("cursor")
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(event("models", "a", q="27.35"))
    upcoming = await story.upcoming()
    assert (upcoming["total"], upcoming["paid_credits"], upcoming["amount_due"]) == (
        "47.35", "20.00", "27.35",
    )  # fmt: skip
    await story.advance("2026-02-01T02:00:00Z")
    first, second = await story.invoices()
    assert (first["total"], first["amount_due"]) == ("20.00", "20.00")
    assert amounts(second) == [("pro", "1", "20.00"), ("models", "27.35", "27.35")]
    assert (second["paid_credits"], second["amount_due"]) == ("20.00", "27.35")
    # January's grant is used up, February's is whole.
    assert await grants(story, "remaining") == [("0",), ("20",)]
    assert await balances(story) == {"USD": "20"}


async def test_seats_added_in_mid_period_bring_their_credit_at_once(story: Story) -> None:
    """3 seats x 1,000; 2 more on 10 January bring 2,000 at once, in full, until the month ends.
    Going down to 1 takes nothing away, coming back to 5 gives nothing twice. February has 5.
    """
    await story.customer()
    await story.meter("u")
    seats = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "19.00"}
    await story.plan("p", seats, drawn("u"), credits=[credit("credits", "1000", per="seat")])
    subscription = await story.subscribe("p", quantities={"seats": "3"})
    assert await balances(story) == {"credits": "3000"}
    await story.advance("2026-01-10T00:00:00Z")
    for count, available in (("5", "5000"), ("1", "5000"), ("5", "5000")):
        await story.change(subscription, quantities={"seats": count})
        assert await balances(story) == {"credits": available}
    made = await grants(story, "amount", "effective_at", "expires_at")
    assert made == [
        ("3000", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("2000", "2026-01-10T00:00:00Z", "2026-02-01T00:00:00Z"),
    ]
    await story.advance("2026-02-01T00:00:00Z")
    assert await balances(story) == {"credits": "5000"}


async def test_a_change_between_plans_waits_for_the_next_step(story: Story) -> None:
    """Both plans grant credits: on 10 January nothing comes but the first credit of `images`, which
    the old plan had none of. What the old plan granted stays until February.
    """
    await story.customer()
    await story.meter("u")
    await story.plan("small", drawn("u"), credits=[credit("credits", "100")])
    large = [credit("credits", "500", key="large"), credit("images", "20")]
    await story.plan("large", drawn("u"), credits=large)
    subscription = await story.subscribe("small")
    await story.advance("2026-01-10T00:00:00Z")
    await story.change(subscription, plan="large")
    assert await balances(story) == {"credits": "100", "images": "20"}
    await story.advance("2026-02-01T00:00:00Z")
    assert await balances(story) == {"credits": "500", "images": "20"}
    await story.cancel(subscription, at="now")
    await story.advance("2026-02-28T00:00:00Z")
    assert await balances(story) == {"credits": "500", "images": "20"}
    await story.advance("2026-04-01T00:00:00Z")
    assert await balances(story) == {"credits": "0", "images": "0"}
    assert len(await story.everything("/v1/grants")) == 4


async def test_a_change_that_is_planned_grants_when_it_comes(story: Story) -> None:
    """Seats rise on 15 January, as was said on the 1st: 2 x 10, then 3 x 10 more."""
    await story.customer()
    await story.meter("u")
    seats = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "1"}
    await story.plan("p", seats, drawn("u"), credits=[credit("credits", "10", per="seats")])
    subscription = await story.subscribe("p", quantities={"seats": "2"})
    await story.change(subscription, quantities={"seats": "5"}, at="2026-01-15T00:00:00Z")
    assert await balances(story) == {"credits": "20"}
    await story.advance("2026-01-15T00:00:00Z")
    assert await balances(story) == {"credits": "50"}


async def test_usage_before_the_contract_was_written_draws_its_credit(story: Story) -> None:
    """A subscription written down on 15 March starts on 1 January. Of the months that are over
    nothing is granted; the 30 used in January are drawn from March's 100.
    """
    await story.customer()
    await story.meter("u")
    await story.plan("p", drawn("u"), credits=[credit("credits", "100")])
    await story.plan("kept", drawn("u"), credits=[credit("credits", "100", expires="P1Y")])
    await story.advance("2026-03-15T00:00:00Z")
    await story.use(event("u", "a", "2026-01-10T00:00:00Z", q=30))
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    assert await balances(story) == {"credits": "70"}
    # Where a grant lasts a year, those of January and February are there, too.
    await story.customer("globex")
    await story.subscribe("kept", "globex", starts_at="2026-01-01T00:00:00Z")
    assert await balances(story, "globex") == {"credits": "300"}


async def test_a_pause_earns_nothing(story: Story) -> None:
    """Paused from 20 January to 10 February: February's 100 come on the 10th, once."""
    await story.customer()
    await story.meter("u")
    await story.plan("p", drawn("u"), credits=[credit("credits", "100")])
    subscription = await story.subscribe("p")
    await story.advance("2026-01-20T00:00:00Z")
    await story.ask("POST", f"/v1/subscriptions/{subscription}/pause", json={"at": "now"})
    await story.advance("2026-02-10T00:00:00Z")
    assert await balances(story) == {"credits": "0"}
    await story.ask("POST", f"/v1/subscriptions/{subscription}/resume", json={})
    assert await balances(story) == {"credits": "100"}
    await story.advance("2026-03-02T00:00:00Z")
    made = await grants(story, "amount", "effective_at")
    assert [at for _, at in made] == [
        "2026-01-01T00:00:00Z", "2026-02-10T00:00:00Z", "2026-03-01T00:00:00Z",
    ]  # fmt: skip


async def test_two_packs_that_last_a_year(story: Story) -> None:
    """Token packs: 100,000 free a month that lapse, 100,000 for 10.00 that last a year. Two packs,
    250,000 used: 100,000 free, 150,000 of the packs = 15.00; 50,000 = 5.00 are left.
    """
    await story.customer()
    await story.meter("tokens")
    await story.plan("p", drawn("tokens", asset="tokens"), credits=[credit("tokens", "100000")])
    await story.subscribe("p")
    for _ in range(2):
        await story.grant(
            "100000", asset="tokens", cost_basis={"amount": "10.00", "asset": "USD"},
            expires_at="2027-01-01T00:00:00Z",
        )  # fmt: skip
    await story.use(event("tokens", "a", q=250000))
    assert await balances(story) == {"tokens": "50000"}
    left = [one for one in await story.everything("/v1/grants") if one["kind"] == "paid"]
    assert [one["remaining"] for one in left] == ["0", "50000"]
