"""Entries whose figures need time: later days, later months, later terms."""

from typing import Any

import pytest

from tests.gallery.entry import Json, entry
from tests.scenarios.story import Story, amounts, event, totals


@pytest.fixture(autouse=True)
def unaudited(story: Story) -> None:
    """The second biller knows neither levels nor outcomes nor rollover as these have them."""
    story.audited = False


async def begin(story: Story, name: str, plan: str | None = None, **fields: Any) -> str:
    """A customer on a plan of an entry; the subscription's id."""
    found = entry(name)
    await found.publish(story)
    await story.customer()
    return await story.subscribe(plan or next(iter(found.plans)), **fields)


async def balances(story: Story) -> dict[str, str]:
    """What the customer has of each credit unit."""
    balance = await story.ask("GET", "/v1/customers/acme/balance")
    found = {one["asset"]: one["available"] for one in balance["wallets"]}
    return {asset: amount for asset, amount in found.items() if asset != "USD"}


async def take_back(story: Story, *outcomes: str, customer: str = "acme") -> None:
    """Reverse outcomes, because the customer returned."""
    for outcome in outcomes:
        body = {"customer": customer, "reason": "the customer returned"}
        await story.ask("POST", f"/v1/outcomes/{outcome}/reverse", json=body)


def conversations(count: int, time: str, customer: str = "acme") -> list[Json]:
    """Conversations that end, each an outcome named after it."""
    return [
        event("conversation.resolved", f"c{n}", time, customer=customer, outcome_id=f"c{n}")
        for n in range(count)
    ]


async def test_fin_takes_conversations_back_in_the_next_month(story: Story) -> None:
    """150 in January: 49 + 100 x 0.99 = 148.00. 10 of them taken back in February: -9.90. For
    another customer 55: 49 + 5 x 0.99 = 53.95; 10 taken back: 45 were all included, -4.95.
    """
    await begin(story, "intercom-fin")
    await story.customer("globex")
    await story.subscribe("intercom-fin", "globex")
    at = "2026-01-01T00:00:00Z"
    await story.use(*conversations(150, at), *conversations(55, at, "globex"))
    # One conversation is one outcome: what it did before is no second one.
    await story.use(event("conversation.resolved", "again", at, outcome_id="c0"))
    assert amounts(await story.upcoming())[-1] == ("resolutions", "0", "0.00")  # not confirmed yet
    await story.advance("2026-01-02T00:00:00Z")
    assert amounts(await story.upcoming())[-1] == ("resolutions", "150", "99.00")
    await story.advance("2026-02-10T00:00:00Z")
    assert totals(await story.invoices()) == ["148.00"]
    assert totals(await story.invoices("globex")) == ["53.95"]
    taken_back = [f"c{n}" for n in range(10)]
    await take_back(story, *taken_back)
    await take_back(story, *taken_back, customer="globex")
    assert amounts(await story.upcoming(), "kind", "amount")[-1] == ("adjustment", "-9.90")
    assert amounts(await story.upcoming("globex"), "kind", "amount")[-1] == ("adjustment", "-4.95")
    await story.advance("2026-03-01T02:00:00Z")
    assert totals(await story.invoices()) == ["148.00", "39.10"]  # 49 - 9.90
    assert totals(await story.invoices("globex")) == ["53.95", "44.05"]  # 49 - 4.95


async def test_hubspot_halves_what_a_conversation_takes(story: Story) -> None:
    """Until 14 April 100 credits, from then on 50. 60 before and 40 after: 6,000 + 2,000 - 3,000
    = 5,000 credits, 5 packs. All 100 before: 7 packs; all after: 2.
    """
    found = entry("hubspot-credits")
    meter = found.meters["hubspot_credits"]
    await story.advance("2026-04-01T00:00:00Z")
    await story.ask("PUT", "/v1/meters/hubspot_credits", json={**meter, "value": "100*n"})
    for key, plan in found.plans.items():
        await story.ask("PUT", f"/v1/plans/{key}", json=plan)
    split = {"before": (100, 0), "both": (60, 40), "after": (0, 100)}
    for customer in split:
        await story.customer(customer)
        await story.subscribe("hubspot-pro", customer)
        before = split[customer][0]
        await use_conversations(story, customer, "before", before)
    await story.advance("2026-04-14T00:00:00Z")
    await found.publish(story)
    for customer, (_, after) in split.items():
        await use_conversations(story, customer, "after", after)
    await story.advance("2026-05-01T02:00:00Z")
    billed = [totals(await story.invoices(customer)) for customer in split]
    assert billed == [["70.00"], ["50.00"], ["20.00"]]


async def use_conversations(story: Story, customer: str, name: str, count: int) -> None:
    """So many conversations, as one event."""
    if count:
        await story.use(event("conversation.resolved", name, customer=customer, n=count))


async def test_the_fee_of_bands_ramps_by_amount_or_by_percent(story: Story) -> None:
    """By amount 100,000 + 105,000 + 110,000 = 315,000; by 5% a year, compounded, 100,000,
    105,000 and 110,250.
    """
    by_amount = [
        {"after": f"P{n}Y", "overrides": {"platform": {"amount": amount}}}
        for n, amount in ((1, "105000.00"), (2, "110000.00"))
    ]
    by_percent = [{"after": f"P{n}Y", "adjust_percent": "5"} for n in (1, 2)]
    await begin(story, "ramp-and-bands", "bands-volume", phases=by_amount, quantities={"seats": 0})
    await story.customer("globex")
    await story.subscribe("bands-volume", "globex", phases=by_percent, quantities={"seats": 0})
    await story.advance("2028-02-01T02:00:00Z")
    assert await fees(story, "acme") == ["100000.00", "105000.00", "110000.00"]
    assert await fees(story, "globex") == ["100000.00", "105000.00", "110250.00"]


async def fees(story: Story, customer: str) -> list[str]:
    """The yearly fees that a customer was billed."""
    invoices = await story.invoices(customer)
    lines = [line for invoice in invoices for line in invoice["lines"]]
    return [line["amount"] for line in lines if line["price"] == "platform"]


async def test_data_credits_of_clay_roll_over_and_actions_do_not(story: Story) -> None:
    """2,000 steps at 1 + 1 and 500 on an own key: 12,500 and 500 are left. February opens with
    15,000 and 500 + 2,500 = 3,000, March (nothing used) with 5,000, which is the most.
    """
    await begin(story, "clay-launch")
    steps = [event("enrichment", f"s{n}", data_credits=1) for n in range(2000)]
    own = [event("enrichment", f"o{n}", data_credits=1, own_key=True) for n in range(500)]
    await story.use(*steps, *own)
    assert await balances(story) == {"actions": "12500", "data_credits": "500"}
    await story.advance("2026-02-01T02:00:00Z")
    assert await balances(story) == {"actions": "15000", "data_credits": "3000"}
    settled = (await story.invoices())[-1]["settled"]
    assert [(one["price"], one["amount"]) for one in settled] == [
        ("actions", "2500"), ("data", "2000"),
    ]  # fmt: skip
    for month in ("03", "04"):
        await story.advance(f"2026-{month}-01T00:00:00Z")
        assert (await balances(story))["data_credits"] == "5000"


async def test_credits_of_each_day_burn_before_a_pack(story: Story) -> None:
    """7 a day in January, paid: 30 x 5 = 150 of the days and 30 x 2 = 60 of the pack of 100; on
    the 31st no day's credits are left of the month's 150: 67. Free: 5 a day for 6 days.
    """
    await begin(story, "lovable", "lovable-pro", quantities={"pack": "100"})
    await story.customer("globex")
    await story.subscribe("lovable-free", "globex")
    purpose = await story.grant("10", asset="credits", kind="promotional", priority=1)
    for day in range(1, 32):
        await story.advance(f"2026-01-{day:02}T00:00:00Z")
        extra = 10 if day == 1 else 0  # what is for a purpose burns first
        await story.use(event("chat.message", f"d{day}", credits=7 + extra))
        if day == 1:
            assert (await story.ask("GET", f"/v1/grants/{purpose}"))["remaining"] == "0"
        if day in (30, 31):
            [pack] = [
                one for one in await story.everything("/v1/grants", customer="acme")
                if one.get("credit") == "pack"
            ]  # fmt: skip
            assert pack["remaining"] == {30: "40", 31: "33"}[day]
        granted = await story.everything("/v1/grants", customer="globex")
        assert len(granted) == min(day, 6)  # 30 in 6 days, then none


async def test_packs_of_tokens_last_a_year(story: Story) -> None:
    """100,000 free, two packs of 100,000 for 10.00; 250,000 used: 150,000 of the packs were earned
    = 15.00, 50,000 are left = 5.00. What is free lapses with its month, packs do not.
    """
    await begin(story, "token-packs")
    for _ in range(2):
        await story.grant(
            "100000", asset="tokens", cost_basis={"amount": "10.00", "asset": "USD"},
            expires_at="2027-01-01T00:00:00Z",
        )  # fmt: skip
    await story.use(event("agent.run", "a", tokens=250_000))
    assert await balances(story) == {"tokens": "50000"}
    packs = [one for one in await story.everything("/v1/grants") if one["kind"] == "paid"]
    assert sorted(one["remaining"] for one in packs) == ["0", "50000"]
    await story.advance("2026-02-01T02:00:00Z")
    assert await balances(story) == {"tokens": "150000"}
    await story.advance("2026-03-01T02:00:00Z")
    assert await balances(story) == {"tokens": "150000"}  # February's were not used: they lapsed


async def test_the_credit_of_cursor_pays_use_and_never_the_fee(story: Story) -> None:
    """20.00 in advance; 27.35 used in January: 20.00 by credit, 7.35 and the next fee are due."""
    await begin(story, "cursor-pro")
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(event("agent.named", "a", usd="27.35"))
    await story.advance("2026-02-01T02:00:00Z")
    first, second = await story.invoices()
    assert (first["total"], first["amount_due"]) == ("20.00", "20.00")
    assert (second["total"], second["paid_credits"], second["amount_due"]) == (
        "47.35", "20.00", "27.35",
    )  # fmt: skip


async def test_services_of_snowflake_are_free_by_the_day(story: Story) -> None:
    """On the 1st 100 credits of compute and 12 of services: 2 are paid. On the 2nd no compute and
    3 of services: all are. (102 + 3) x 3 = 315.00. A medium warehouse on the 3rd, started twice
    for 45 seconds: 8/60 x 3 = 0.40.
    """
    await begin(story, "snowflake")
    await story.advance("2026-01-04T00:00:00Z")
    await story.use(
        event("warehouse.run", "a", "2026-01-01T08:00:00Z", credits_per_hour=100, seconds=3600),
        event("cloud.services", "b", "2026-01-01T09:00:00Z", credits=12),
        event("cloud.services", "c", "2026-01-02T09:00:00Z", credits=3),
        event("warehouse.run", "d", "2026-01-03T08:00:00Z", credits_per_hour=4, seconds=45),
        event("warehouse.run", "e", "2026-01-03T09:00:00Z", credits_per_hour=4, seconds=45),
    )
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert invoice["total"] == "315.40"
    billed = [line["amount"] for line in invoice["lines"] if line["amount"] != "0.00"]
    assert billed == ["300.00", "0.40", "6.00", "9.00"]


async def test_messages_of_twilio_draw_down_to_zero_and_below(story: Story) -> None:
    """9,000 paid: 200,000 x 0.01 + 200,000 x 0.02 + 100,000 x 0.03 would use all of it. Here 30 of
    each channel: 0.30 + 0.60 + 0.90; then a failed one, 0.001, and one of a code that is free.
    """
    await begin(story, "twilio-messages")
    await story.grant("1.80")
    for channel in ("sms", "rcs", "mms"):
        await story.use(
            *(event("message", f"{channel}{n}", channel=channel, status="sent") for n in range(30))
        )
    assert await story.available() == "0"
    await story.use(
        event("message", "x", channel="sms", status="failed", code="30008"),
        event("message", "y", channel="sms", status="failed", code="30007"),
    )
    assert await story.available() == "-0.001"


async def test_storage_of_s3_is_averaged(story: Story) -> None:
    """50 TB for 15 of 30 days of April, none before: 25,600 GB-months x 0.023 = 588.80; kept in
    May: 51,200 x 0.023 = 1,177.60.
    """
    await begin(story, "aws-s3", starts_at="2026-01-01T00:00:00Z")
    await story.advance("2026-04-16T00:00:00Z")
    await story.use(event("bucket.size", "a", "2026-04-16T00:00:00Z", gb=51_200))
    await story.advance("2026-06-01T02:00:00Z")
    assert totals(await story.invoices())[-2:] == ["588.80", "1177.60"]


async def test_a_model_without_a_price_is_set_aside(story: Story) -> None:
    """Of OpenAI's: nothing is given away, and nothing is billed at a wrong rate."""
    await begin(story, "openai-api")
    counts: Json = {"input_tokens": 1_000_000, "cache_read_tokens": 0, "output_tokens": 0}
    answer = await story.send(event("llm.completion", "a", model="gpt-9", **counts))
    assert answer["results"][0]["error"]["code"] == "unmatched_dimension"
    await story.use(event("llm.completion", "b", model="gpt-5.2", **counts))
    await story.advance("2026-02-01T02:00:00Z")
    assert totals(await story.invoices()) == ["1.75"]


async def test_users_of_copilot_bring_more_credits_in_summer(story: Story) -> None:
    """50 users, 100,000 used a month. May: 950.00, and 5,000 beyond 95,000 = 50.00. June to August
    bring 50 x 3,000 = 150,000: 950.00 alone. September is as May was.
    """
    await story.advance("2026-05-01T00:00:00Z")
    await begin(story, "copilot-business", quantities={"seats": "50"})
    pools = {"05": "95000", "06": "150000", "07": "150000", "08": "150000", "09": "95000"}
    for month, pool in pools.items():
        await story.advance(f"2026-{month}-01T02:00:00Z")
        assert await balances(story) == {"credits": pool}
        await story.use(event("copilot.request", month, credits=100_000))
    await story.advance("2026-10-01T02:00:00Z")
    billed = totals(await story.invoices())
    assert billed == ["950.00", "1000.00", "950.00", "950.00", "950.00", "1000.00"]


async def test_customers_stay_on_the_copilot_plan_that_they_have(story: Story) -> None:
    """A new version with 3,000 credits for 39 dollars touches nobody until they are moved."""
    contract = await begin(story, "copilot-business", quantities={"seats": "1"})
    plan = entry("copilot-business").plans["copilot-business"]
    seats = {**plan["prices"][0], "unit": "39.00"}
    dearer = {**plan, "prices": [seats, *plan["prices"][1:]]}
    await story.ask("PUT", "/v1/plans/copilot-business", json=dearer)
    await story.advance("2026-02-15T00:00:00Z")
    assert totals(await story.invoices()) == ["19.00", "19.00"]
    await story.change(contract, version=2, at="period_end")
    await story.advance("2026-03-01T02:00:00Z")
    assert totals(await story.invoices()) == ["19.00", "19.00", "39.00"]


async def test_seats_of_figma_draw_their_own_credits_before_the_pool(story: Story) -> None:
    """10 Pro seats with 3,000 each, a pool of 5,000. One uses 4,200, one 3,500: 1,200 + 500 of the
    pool, 3,300 are left. As one sum of 35,000 all 5,000 would be.
    """
    await begin(story, "figma-ai", "figma-team", quantities={"pool": "5000"})
    for n in range(10):
        await story.grant(
            "3000", asset="credits", kind="promotional", priority=10,
            scope={"path": f"seats/{n}"}, expires_at="2026-02-01T00:00:00Z",
        )  # fmt: skip
    await story.use(
        {**event("ai.action", "a", credits=4200), "path": "seats/1"},
        {**event("ai.action", "b", credits=3500), "path": "seats/2"},
    )
    found = await story.everything("/v1/grants", customer="acme")
    left = {(one["scope"] or {}).get("path", "pool"): one["remaining"] for one in found}
    assert (left["pool"], left["seats/1"], left["seats/2"]) == ("3300", "0", "0")
    assert left["seats/3"] == "3000"
    await story.advance("2026-02-01T02:00:00Z")
    assert totals(await story.invoices()) == ["120.00", "120.00"]
    assert await balances(story) == {"credits": "5000"}  # nothing is carried over


async def test_starter_of_figma_gets_no_more_than_500_a_month(story: Story) -> None:
    """Whoever wants 200 a day finds 150, 150, 150, 50 and 0."""
    await begin(story, "figma-ai", "figma-starter")
    found = []
    for day in range(1, 6):
        await story.advance(f"2026-01-0{day}T00:00:00Z")
        today = int((await balances(story)).get("credits", "0"))
        found.append(today)
        if today:
            await story.use(event("ai.action", f"d{day}", credits=today))
    assert found == [150, 150, 150, 50, 0]
    await story.advance("2026-02-01T00:00:00Z")
    assert await balances(story) == {"credits": "150"}


async def test_a_commitment_drains_over_the_year(story: Story) -> None:
    """1,500 of list use a month: 1,200 at rates less 20%. Ten months use up the 12,000; with a
    bonus the 15,000, of which the 3,000 are drained first.
    """
    await begin(story, "commitment-at-discount", "commit-at-rates")
    await story.customer("globex")
    await story.subscribe("commit-with-bonus", "globex")
    for month in range(1, 11):
        await story.advance(f"2026-{month:02}-15T00:00:00Z")
        for customer in ("acme", "globex"):
            await story.use(event("use", f"m{month}", customer=customer, list_usd=1500))
        if month == 2:
            assert await story.available() == "9600"  # 12,000 - 2 x 1,200
            grants = await story.everything("/v1/grants", customer="globex")
            left = {one["credit"]: one["remaining"] for one in grants}
            assert left == {"bonus": "0", "paid": "12000"}
    assert await story.available() == await story.available("globex") == "0"
    assert totals(await story.invoices())[:3] == ["12000.00", "0.00", "0.00"]


async def test_a_commitment_in_arrears_is_trued_up_once(story: Story) -> None:
    """10,000 of list use in March: 8,000.00; the year's last invoice adds the 4,000.00 that are
    missing to 12,000.
    """
    await begin(story, "commitment-at-discount", "commit-in-arrears")
    await story.advance("2026-03-10T00:00:00Z")
    await story.use(event("use", "a", list_usd=10_000))
    await story.advance("2027-01-01T02:00:00Z")
    billed = [total for total in totals(await story.invoices()) if total != "0.00"]
    assert billed == ["8000.00", "4000.00"]
