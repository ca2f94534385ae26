"""Events that are voided and amended: usage, credit, budgets and invoices follow, and say so."""

import random
from datetime import timedelta

import pytest

from tests.scenarios.story import START, Json, Story, amounts, event, flat, span, usage_price

TIERS = [{"up_to": "100", "unit": "0.10"}, {"unit": "0.02"}]
JANUARY = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")


async def void(story: Story, event_id: str, customer: str = "acme", **fields: str) -> Json:
    """Void an event; the answer."""
    body = {"customer": customer, "reason": "sent by mistake", **fields}
    return await story.ask("POST", f"/v1/events/{event_id}/void", json=body)


async def amend(story: Story, event_id: str, customer: str = "acme", **fields: object) -> Json:
    """Amend an event; the answer."""
    body = {"customer": customer, "reason": "counted wrong", **fields}
    return await story.ask("POST", f"/v1/events/{event_id}/amend", json=body)


async def graduated(story: Story) -> None:
    """100 calls at 0.10, further ones at 0.02, by sum of `q`."""
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", model="graduated", tiers=TIERS))
    await story.subscribe("p")


async def test_an_open_period_follows_at_once(story: Story) -> None:
    await graduated(story)
    await story.use(event("calls", "a", q=95), event("calls", "b", q=10))
    # 100 x 0.10 + 5 x 0.02 = 10.10
    assert (await story.upcoming())["total"] == "10.10"
    answer = await amend(story, "b", data={"q": 3})
    assert (answer["status"], answer["data"], answer["received_at"]) == (
        "accepted", {"q": 3}, "2026-01-01T00:00:00Z",
    )  # fmt: skip
    # 98 x 0.10
    assert (await story.upcoming())["total"] == "9.80"
    voided = await void(story, "a")
    assert (voided["status"], voided["data"]) == ("void", {"q": 95})
    assert amounts(await story.upcoming()) == [("calls", "3", "0.30")]
    assert [row["value"] for row in await story.usage("calls", customer="acme")] == ["3"]
    [kept] = await story.everything("/v1/events", customer="acme", status="void")
    assert kept["id"] == "a"


async def test_what_stood_before_stays_readable(story: Story) -> None:
    await graduated(story)
    first = event("calls", "a", "2026-01-01T10:00:00Z", q=95)
    await story.use(first)
    await amend(story, "a", data={"q": 3}, path="team")
    await amend(story, "a", time="2026-01-01T11:00:00Z", reason="the clock was wrong")
    await void(story, "a")
    again = await void(story, "a", reason="once more")
    found = await story.ask("GET", "/v1/events/a", params={"customer": "acme"})
    assert again == found
    told = [(c["number"], c["kind"], c["reason"], c["before"]) for c in found["corrections"]]
    was: Json = {"status": "accepted", "reason": None, "time": "2026-01-01T10:00:00Z"}
    assert told == [
        (1, "amend", "counted wrong", {**was, "path": None, "data": {"q": 95}}),
        (2, "amend", "the clock was wrong", {**was, "path": "team", "data": {"q": 3}}),
        (3, "void", "sent by mistake",
         {**was, "time": "2026-01-01T11:00:00Z", "path": "team", "data": {"q": 3}}),
    ]  # fmt: skip
    # Its identity stays taken, by what was sent first.
    repeated = await story.send(first, {**first, "data": {"q": 3}})
    assert (repeated["duplicates"], repeated["rejected"]) == (1, 1)
    refusal = {"customer": "acme", "reason": "r", "data": {"q": 1}}
    assert await story.refused("POST", "/v1/events/a/amend", json=refusal) == (409, "invalid_state")


async def test_a_finalized_period_is_adjusted_at_its_place_in_the_tiers(story: Story) -> None:
    await graduated(story)
    await story.use(event("calls", "a", q=95), event("calls", "b", q=15), event("calls", "c", q=1))
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    # 100 x 0.10 + 11 x 0.02
    assert january["total"] == "10.22"
    await story.use(event("calls", "d", q=100))
    await amend(story, "b", data={"q": 2})
    # 98 x 0.10 = 9.80, less 10.22; of 111 calls 13 are gone
    lines = (await story.upcoming())["lines"]
    assert [(one["kind"], one["quantity"], one["amount"]) for one in lines] == [
        ("usage", "100", "10.00"), ("adjustment", "-13", "-0.42"),
    ]  # fmt: skip
    assert span(lines[1]) == JANUARY
    # "a" is of February: 98 - 95 = 3 x 0.10 = 0.30 in January, 100 x 0.10 + 95 x 0.02 = 11.90 here
    await amend(story, "a", time="2026-02-01T00:30:00Z")
    assert amounts(await story.upcoming(), "kind", "quantity", "amount") == [
        ("usage", "195", "11.90"), ("adjustment", "-108", "-9.92"),
    ]  # fmt: skip
    assert await story.invoice(january["id"]) == january  # to the byte
    await story.advance("2026-03-01T01:00:00Z")
    _, february = await story.invoices()
    assert february["total"] == "1.98"  # 11.90 - 9.92


async def test_a_void_gives_credit_back(story: Story) -> None:
    await story.customer(enforcement="hard")
    await story.meter("calls")
    await story.plan(
        "p", usage_price("calls", "calls", model="volume", settle="wallet",
                         tiers=[{"up_to": "10", "unit": "1", "flat": "5"}, {"unit": "0.5"}])
    )  # fmt: skip
    await story.subscribe("p")
    await story.grant("100")
    budget = {"asset": "USD", "limit": "50", "window": "month", "path": "team"}
    await story.ask("PUT", "/v1/customers/acme/budgets/b", json=budget)
    await story.use({**event("calls", "a", q=4), "path": "team/x"})
    await story.use(event("calls", "b", q=8))
    # 4 x 1 + 5 = 9 of the team; then all 12 x 0.5 = 6, so that "b" cost -3
    assert await story.available() == "94"
    await void(story, "b")
    assert await story.available() == "91"  # 4 x 1 + 5 = 9 again

    async def spent() -> str:
        budget = await story.ask("GET", "/v1/customers/acme/budgets/b")
        return str(budget["spent"])

    assert await spent() == "9"
    await amend(story, "a", path="other")
    assert (await spent(), await story.available()) == ("0", "91")
    await void(story, "a")
    assert (await spent(), await story.available()) == ("0", "100")


async def test_what_is_no_sum_is_counted_again(story: Story) -> None:
    await story.customer()
    for key in ("max", "min", "latest", "unique"):
        await story.meter(key, key, event_type="u")
    await story.meter("peak", "max", event_type="u", bucket="day", dimensions=["of"])
    prices = [usage_price(k, k, unit="1") for k in ("max", "min", "latest", "unique", "peak")]
    await story.plan("p", *prices)
    await story.subscribe("p")
    await story.use(
        event("u", "a", "2026-01-01T01:00:00Z", q=5, of="x"),
        event("u", "b", "2026-01-01T02:00:00Z", q=9, of="x"),
        event("u", "c", "2026-01-01T02:10:00Z", q=2, of="y"),
        event("u", "d", "2026-01-01T00:00:00Z", q=5, of="y"),
    )

    async def found() -> dict[str, str]:
        return {line["price"]: line["quantity"] for line in (await story.upcoming())["lines"]}

    # of a day: x 9, y 5
    assert await found() == {"max": "9", "min": "2", "latest": "2", "unique": "3", "peak": "14"}
    await void(story, "b")
    assert await found() == {"max": "5", "min": "2", "latest": "2", "unique": "2", "peak": "10"}
    await void(story, "c")
    # a and d say the same
    assert await found() == {"max": "5", "min": "5", "latest": "5", "unique": "1", "peak": "10"}
    await void(story, "a")
    assert await found() == {"max": "5", "min": "5", "latest": "5", "unique": "1", "peak": "5"}
    await amend(story, "d", data={"q": 7, "of": "x"}, time="2026-01-01T03:00:00Z")
    assert await found() == {"max": "7", "min": "7", "latest": "7", "unique": "1", "peak": "7"}
    [hour] = await story.usage("max", customer="acme", window="hour", to="2026-01-02T00:00:00Z")
    assert (hour["from"], hour["value"]) == ("2026-01-01T03:00:00Z", "7")


async def test_a_final_period_whose_only_event_is_void_begins_anew(story: Story) -> None:
    """Nothing is left of January then, which is no usage of 0: the next event alone decides."""
    await story.customer()
    for key in ("max", "min", "latest"):
        await story.meter(key, key, event_type="u", allow_negative=True)
    await story.meter("least", "min", event_type="u", value="r")
    await story.plan("p", *[usage_price(k, k, unit="1") for k in ("max", "min", "latest", "least")])
    await story.subscribe("p")
    await story.use(event("u", "a", "2026-01-01T00:00:00Z", q=-5, r=5))
    await story.advance("2026-02-02T00:00:00Z")

    async def found() -> dict[str, str]:
        return {line["price"]: line["quantity"] for line in (await story.upcoming())["lines"]}

    await void(story, "a")
    assert await found() == {"max": "5", "min": "5", "latest": "5", "least": "-5"}
    await story.use(event("u", "b", "2026-01-02T00:00:00Z", q=-3, r=7))
    # -3 - -5 = 2, and 7 - 5 = 2
    assert await found() == {"max": "2", "min": "2", "latest": "2", "least": "2"}


async def test_a_fee_for_any_usage_ends_and_begins_with_its_events(story: Story) -> None:
    """5 for any usage drawn from a wallet (an invoice has it anyway). Of a final January nothing is
    left, and then usage with other dimensions.
    """
    await story.customer()
    await story.meter("calls", dimensions=["of"])
    tiers = {"model": "volume", "tiers": [{"up_to": "10", "unit": "1", "flat": "5"}, {"unit": "1"}]}
    await story.plan(
        "p", usage_price("billed", "calls", **tiers),
        usage_price("drawn", "calls", settle="wallet", asset="credits", **tiers),
    )  # fmt: skip
    await story.subscribe("p")
    await story.grant("100", asset="credits")
    january = "2026-01-01T00:00:00Z"
    await story.use(*[event("calls", i, january, q=2, of=i) for i in ("a", "b")])
    await story.advance("2026-02-02T00:00:00Z")

    async def found() -> tuple[list[str], str]:
        _, *late = amounts(await story.upcoming(), "amount")
        return [amount for (amount,) in late], await story.available(asset="credits")

    assert await found() == ([], "91")  # 4 x 1 + 5
    await void(story, "a")
    assert await found() == (["-2.00"], "93")
    await void(story, "b")
    assert await found() == (["-4.00"], "100")
    await story.use(event("calls", "c", january, q=1, of="c"))
    assert await found() == (["-3.00"], "94")  # 1 x 1 + 5 = 6, of 9
    await amend(story, "c", data={"q": 1, "of": "a"})
    assert await found() == (["-3.00"], "94")


async def test_a_meter_made_in_the_instant_in_which_the_event_came(story: Story) -> None:
    await graduated(story)
    await story.use(event("calls", "a", q=5))
    await story.meter("peak", "max", event_type="calls")
    assert (await void(story, "a"))["status"] == "void"
    for meter in ("calls", "peak"):
        assert await story.usage(meter, customer="acme") == []


async def test_a_level_that_was_said_wrong(story: Story) -> None:
    story.audited = False
    await story.customer()
    await story.meter("gb", "weighted_sum")
    await story.plan("p", usage_price("gb", "gb", unit="0.01"))
    await story.subscribe("p")
    await story.use(
        event("gb", "a", "2026-01-01T00:00:00Z", q=10),
        event("gb", "b", "2026-01-01T10:00:00Z", q=0),
    )
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    assert january["total"] == "1.00"  # 10 GB x 10 h x 0.01
    await amend(story, "b", time="2026-01-01T06:00:00Z")
    # 10 GB x 6 h: 40 GB-hours less
    assert amounts(await story.upcoming(), "kind", "quantity", "amount")[1:] == [
        ("adjustment", "-40", "-0.40")
    ]
    await amend(story, "a", data={"q": 20})
    # 20 GB x 6 h = 120: 20 more than was billed
    assert amounts(await story.upcoming(), "kind", "quantity", "amount")[1:] == [
        ("adjustment", "20", "0.20")
    ]


async def test_an_event_in_quarantine(story: Story) -> None:
    await graduated(story)
    answer = await story.send(event("calls", "a"), event("calls", "b"))
    assert answer["quarantined"] == 2
    await void(story, "b")
    assert (await amend(story, "a", data={"q": "much"}))["reason"] == "non_numeric_value"
    released = await amend(story, "a", data={"q": 7})
    assert released["status"] == "accepted"
    assert amounts(await story.upcoming()) == [("calls", "7", "0.70")]
    released = await story.ask("POST", "/v1/events/release", json={})
    assert released == {"released": 0, "still_quarantined": 0}
    # What counts is never set aside again.
    body = {"customer": "acme", "reason": "r", "data": {}}
    assert await story.refused("POST", "/v1/events/a/amend", json=body) == (422, "missing_value")


async def test_what_cannot_be_corrected(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1", outcome={}))
    await story.subscribe("p")
    await story.use(event("calls", "a", q=1, outcome_id="o"))
    body = {"customer": "acme", "reason": "r"}
    refused = await story.client.post("/v1/events/a/void", json=body)
    assert refused.json()["errors"][0]["code"] == "outcome_event"
    assert await story.refused("POST", "/v1/events/x/void", json=body) == (404, "not_found")
    assert await story.refused("POST", "/v1/events/a/amend", json=body) == (422, "missing")
    refused = await story.client.post("/v1/events/a/amend", json={**body, "time": "2026-01-03"})
    assert refused.json()["errors"][0]["path"] == "time"
    refused = await story.client.post(
        "/v1/events/a/amend", content=b'{"customer":"acme","reason":"r","data":{"q":1e30}}'
    )
    assert refused.json()["errors"][0] == {
        "path": "data.q", "code": "number_out_of_bounds",
        "detail": "Keep numbers within 18 digits before and 12 after the point.",
    }  # fmt: skip


async def test_a_meter_may_limit_how_late_events_come(story: Story) -> None:
    await story.customer()
    await story.meter("calls", late_limit="P35D")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.subscribe("p")
    await story.advance("2026-02-10T00:00:00Z")
    answer = await story.send(
        event("calls", "a", "2026-01-06T00:00:00Z", q=1),
        event("calls", "b", "2026-01-05T23:59:59Z", q=2),
        event("calls", "c", "2026-01-02T00:00:00Z", q=4),
    )
    assert (answer["accepted"], answer["quarantined"]) == (1, 2)
    assert {one["error"]["code"] for one in answer["results"]} == {"too_late"}
    await void(story, "c")
    released = await story.ask("POST", "/v1/events/release", json={"customer": "acme"})
    assert released == {"released": 1, "still_quarantined": 0}
    # 1 + 2 for January
    assert amounts(await story.upcoming(), "kind", "amount")[1:] == [("adjustment", "3.00")]


@pytest.mark.parametrize("seed", [1, 2])
async def test_corrections_at_any_time(story: Story, seed: int) -> None:
    """Months in which events come late, are voided and amended at random: whenever that is, a
    second biller comes to the same invoices in the end, and the books to the same totals.
    """
    dice = random.Random(seed)
    await story.customer(timezone="Europe/Paris")
    for key in ("sum", "max", "unique", "latest", "percentile"):
        share = {"percentile": "0.75"} if key == "percentile" else {}
        limit = {"dimension_limit": 2} if key == "sum" else {}
        await story.meter(key, key, event_type="u", dimensions=["of"], **share, **limit)
    await story.plan(
        "p", flat("fee", "10"),
        usage_price("sum", "sum", model="graduated", tiers=TIERS),
        usage_price("wallet", "sum", model="volume", settle="wallet", asset="USD",
                    tiers=[{"up_to": "50", "unit": "1", "flat": "3"}, {"unit": "0.5"}]),
        *[usage_price(key, key, unit="0.7") for key in ("max", "unique", "latest")],
        usage_price("p75", "percentile", unit="0.2", settle="wallet"),
    )  # fmt: skip
    await story.subscribe("p")
    await story.grant("200")
    sent: list[str] = []
    for day in range(0, 90, 9):
        now = START + timedelta(days=day, hours=2)
        await story.advance(now.isoformat())
        for n in range(4):
            at = START + timedelta(seconds=dice.randrange(int((now - START).total_seconds())))
            sent.append(f"e{day}-{n}")
            of = dice.choice("wxyz")
            await story.use(event("u", sent[-1], at.isoformat(), q=dice.randrange(40), of=of))
        for event_id in dice.sample(sent, 3):
            if dice.random() < 0.4:
                await void(story, event_id)
                sent.remove(event_id)
            else:
                at = START + timedelta(seconds=dice.randrange(int((now - START).total_seconds())))
                data = {"q": dice.randrange(40), "of": dice.choice("wxyz")}
                await amend(story, event_id, data=data, time=at.isoformat())
    await story.advance("2026-04-02T00:00:00Z")
