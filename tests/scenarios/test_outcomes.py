"""Prices by outcome: billed once confirmed, taken back later, in cents."""

from typing import Any

import pytest

from tests.scenarios.story import Json, Story, amounts, event, flat, usage_price

FIFTY_FREE = [{"up_to": "50", "unit": "0"}, {"unit": "0.99"}]


async def fin(story: Story, *, fee: str = "49", **outcome: Any) -> str:
    """49 a month in arrears, 50 outcomes in it, each further one 0.99; a subscription to it."""
    await story.customer()
    await story.meter("resolved", "count")
    price = usage_price(
        "resolutions", "resolved", model="graduated", tiers=FIFTY_FREE, outcome=outcome
    )
    await story.plan("fin", flat("fee", fee, timing="arrears"), price)
    return await story.subscribe("fin")


def opening(number: int, time: str | None = None, **data: Any) -> Json:
    return event("resolved", f"e{number}", time, outcome_id=f"conv-{number}", **data)


async def decide(story: Story, number: int, step: str, **fields: Any) -> Json:
    body = {"customer": "acme", "reason": "so it was", **fields}
    return await story.ask("POST", f"/v1/outcomes/conv-{number}/{step}", json=body)


async def refuse(story: Story, number: int, step: str, **fields: Any) -> tuple[int, str]:
    body = {"customer": "acme", "reason": "so it was", **fields}
    return await story.refused("POST", f"/v1/outcomes/conv-{number}/{step}", json=body)


async def status(story: Story, number: int) -> str:
    found = await story.ask("GET", f"/v1/outcomes/conv-{number}", params={"customer": "acme"})
    return str(found["status"])


async def test_nothing_is_billed_before_it_is_confirmed(story: Story) -> None:
    """Other prices of the event, and usage, count at once."""
    await story.customer()
    await story.meter("resolved", "count")
    await story.plan(
        "p", usage_price("done", "resolved", unit="2", outcome={}),
        usage_price("tried", "resolved", unit="0.10"),
    )  # fmt: skip
    await story.subscribe("p")
    await story.use(*(opening(number) for number in range(5)))
    assert amounts(await story.upcoming()) == [("done", "0", "0.00"), ("tried", "5", "0.50")]
    assert [row["value"] for row in await story.usage("resolved", window="total")] == ["5"]
    await decide(story, 0, "confirm")
    await decide(story, 1, "partial", share="0.4")
    await decide(story, 2, "fail")
    await decide(story, 3, "dispute")
    # 1 + 0.4 of 2.00; number 4 is pending
    assert amounts(await story.upcoming()) == [("done", "1.4", "2.80"), ("tried", "5", "0.50")]
    assert [await status(story, number) for number in range(5)] == [
        "confirmed", "partial", "failed", "disputed", "pending",
    ]  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    assert january["total"] == "3.30"

    # Later decisions are adjusted: the dispute is lost by half, number 4 is confirmed, 1.9 more.
    await decide(story, 3, "partial", share="0.5")
    await decide(story, 4, "confirm")
    await decide(story, 1, "dispute")
    await decide(story, 1, "fail")  # 0.4 fewer
    upcoming = await story.upcoming()
    assert amounts(upcoming, "kind", "quantity", "amount") == [
        ("usage", "0", "0.00"), ("usage", "0", "0.00"), ("adjustment", "1.1", "2.20"),
    ]  # fmt: skip


async def test_an_adjustment_is_explained_by_what_is_billed_now(story: Story) -> None:
    await story.customer()
    await story.meter("resolved")
    await story.plan("p", usage_price("done", "resolved", unit="1", outcome={}))
    await story.subscribe("p")
    await story.use(*(opening(number, q=10 + number) for number in range(4)))
    await decide(story, 0, "confirm")
    await decide(story, 1, "confirm")
    await decide(story, 2, "partial", share="0.25")
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    assert amounts(january) == [("done", "24", "24.00")]  # 10 + 11 + 12 x 0.25
    await decide(story, 1, "reverse")
    await story.advance("2026-03-01T01:00:00Z")
    _, february = await story.invoices()
    usage, adjustment = february["lines"]
    assert (usage["amount"], adjustment["amount"]) == ("0.00", "-11.00")
    path = f"/v1/invoices/{february['id']}/lines/{adjustment['id']}/explain"
    explained = await story.ask("GET", path)
    assert [(one["id"], one["quantity"]) for one in explained["events"]["data"]] == [
        ("e0", "10"), ("e2", "3"),
    ]  # fmt: skip


async def test_an_outcome_confirms_itself_after_its_last_event(story: Story) -> None:
    """On the invoice of its period where that is not final yet, else on the next as an adjustment.
    A dispute stops the clock.
    """
    await fin(story, auto_confirm_after="PT24H")
    await story.advance("2026-01-31T00:00:00Z")
    await story.use(opening(1), opening(2), opening(3))
    await story.advance("2026-01-31T02:00:00Z")
    await story.use({**opening(2), "id": "again"})  # the customer answers: 24 h from now
    await decide(story, 3, "dispute", evidence="ticket 7")
    found = await story.ask("GET", "/v1/outcomes/conv-2", params={"customer": "acme"})
    assert (found["confirm_at"], found["attempts"]) == ("2026-02-01T02:00:00Z", 2)
    # At 00:00 the first is confirmed and the period closed; at 01:00 it is final; at 02:00 the
    # second is confirmed.
    await story.advance("2026-02-01T03:00:00Z")
    assert [await status(story, number) for number in (1, 2, 3)] == [
        "confirmed", "confirmed", "disputed",
    ]  # fmt: skip
    [january] = await story.invoices()
    assert amounts(january) == [("fee", "1", "49.00"), ("resolutions", "1", "0.00")]
    history = (await story.ask("GET", "/v1/outcomes/conv-2", params={"customer": "acme"}))[
        "history"
    ]
    assert [(one["status"], one["actor"], one["at"]) for one in history] == [
        ("confirmed", "system", "2026-02-01T02:00:00Z")
    ]
    # Both are among the 50 that are included, so nothing is owed for the second.
    assert amounts(await story.upcoming(), "kind") == [("fee",), ("usage",)]
    await decide(story, 2, "confirm")  # as it did by itself
    assert await refuse(story, 2, "fail") == (409, "invalid_state")


async def test_confirmed_at_the_instant_of_the_invoice(story: Story) -> None:
    """What confirms itself when the draft becomes final is on it."""
    await story.customer()
    await story.meter("resolved", "count")
    outcome = {"auto_confirm_after": "PT1H"}
    await story.plan("p", usage_price("done", "resolved", unit="1", outcome=outcome), grace="PT2H")
    await story.subscribe("p")
    await story.advance("2026-02-01T01:00:00Z")
    await story.use(*(opening(number, "2026-01-31T23:00:00Z") for number in range(1200)))
    await story.advance("2026-02-01T02:00:00Z")
    [january] = await story.invoices()
    assert (january["status"], january["total"]) == ("open", "1200.00")


async def test_the_time_for_taking_back(story: Story) -> None:
    await fin(story, reversible_for="P30D")
    await story.use(opening(1), opening(2), opening(3))
    await decide(story, 1, "confirm")
    await decide(story, 2, "confirm")
    await decide(story, 3, "confirm")
    await story.advance("2026-01-31T00:00:00Z")
    await decide(story, 1, "reverse")  # at its very end
    await decide(story, 3, "dispute")
    await story.advance("2026-01-31T00:00:01Z")
    assert await refuse(story, 2, "reverse") == (409, "invalid_state")
    assert await refuse(story, 2, "dispute") == (409, "invalid_state")
    await decide(story, 3, "reverse")  # it was disputed in time
    body = {"customer": "acme", "reason": "late"}
    answer = await story.client.post("/v1/outcomes/conv-2/reverse", json=body)
    assert "could be taken back until 2026-01-31T00:00:00Z" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("retries", "quantities"),
    [
        # 3 tries of 5, 7 and 11: the first is billed, or all; one more after that, of 2
        ("once", ("5", "5")),
        ("each", ("23", "25")),
    ],
)
async def test_retries(story: Story, retries: str, quantities: tuple[str, str]) -> None:
    await story.customer()
    await story.meter("resolved")
    await story.plan("p", usage_price("done", "resolved", unit="1", outcome={"retries": retries}))
    await story.subscribe("p")
    await story.use({**opening(1, q=5), "id": "a"}, {**opening(1, q=7), "id": "b"})
    await story.use({**opening(1, q=11), "id": "c"})
    await decide(story, 1, "confirm")
    assert amounts(await story.upcoming(), "quantity") == [(quantities[0],)]
    await story.use({**opening(1, q=2), "id": "d"})
    assert (await story.send({**opening(1, q=2), "id": "d"}))["duplicates"] == 1
    assert amounts(await story.upcoming(), "quantity") == [(quantities[1],)]
    found = await story.ask("GET", "/v1/outcomes/conv-1", params={"customer": "acme"})
    assert [(one["id"], one["attempt"], one["first"]) for one in found["events"]] == [
        ("a", 1, True), ("b", 2, False), ("c", 3, False), ("d", 4, False),
    ]  # fmt: skip
    await decide(story, 1, "reverse")
    assert amounts(await story.upcoming(), "quantity") == [("0",)]
    await story.use({**opening(1, q=2), "id": "e"})
    assert amounts(await story.upcoming(), "quantity") == [("0",)]


async def test_what_needed_a_person_is_free(story: Story) -> None:
    await fin(story, human_review="free")
    await story.plan("p", usage_price("r", "resolved", unit="1", outcome={"human_review": "free"}))
    await story.customer("other")
    await story.subscribe("p", "other")
    own = [{**opening(number), "subject": "other"} for number in range(3)]
    own[0]["data"]["human_review"] = True
    await story.use(*own)

    async def confirm(number: int, **fields: Any) -> None:
        await decide(story, number, "confirm", customer="other", **fields)

    await confirm(0)
    await confirm(1, human_review=True)
    await confirm(2)
    assert amounts(await story.upcoming("other")) == [("r", "1", "1.00")]
    # The dispute shows that a person did not help with the second, but with the third.
    for number, reviewed in ((1, False), (2, True)):
        await decide(story, number, "dispute", customer="other")
        await confirm(number, human_review=reviewed)
    assert amounts(await story.upcoming("other")) == [("r", "1", "1.00")]
    # What comes after the confirmation changes nothing of it.
    late = {**opening(1), "id": "late", "subject": "other"}
    late["data"]["human_review"] = True
    await story.use(late)
    assert amounts(await story.upcoming("other")) == [("r", "1", "1.00")]


async def test_a_wallet_is_drawn_by_confirmation(story: Story) -> None:
    """100 paid; volume: up to 2 outcomes at 10, from the third on all at 6."""
    await story.customer()
    await story.meter("resolved", "count")
    tiers = [{"up_to": "2", "unit": "10"}, {"unit": "6"}]
    await story.plan(
        "p", usage_price("done", "resolved", model="volume", tiers=tiers, settle="wallet",
                         outcome={"auto_confirm_after": "PT24H"}),
    )  # fmt: skip
    await story.subscribe("p")
    await story.grant("100")
    await story.use(*(opening(number) for number in range(4)))
    assert await story.available() == "100"
    await decide(story, 0, "confirm")
    await decide(story, 1, "confirm")
    assert await story.available() == "80"  # 2 x 10
    await decide(story, 2, "confirm")
    assert await story.available() == "82"  # 3 x 6 = 18
    await story.advance("2026-01-02T00:00:00Z")
    assert await story.available() == "76"  # 4 x 6 = 24
    await decide(story, 0, "dispute")
    assert await story.available() == "76"
    await decide(story, 0, "reverse")
    await decide(story, 1, "reverse")
    assert await story.available() == "80"  # 2 x 10 again
    await story.advance("2026-02-10T00:00:00Z")
    await decide(story, 2, "reverse")  # after its month was invoiced: 10 left
    assert await story.available() == "90"


async def test_a_flat_fee_is_not_drawn_twice(story: Story) -> None:
    """A tier's flat fee of 5 with the first outcome, 1 for each: taking it back gives the 1."""
    await story.customer()
    await story.meter("resolved", "count")
    tiers = [{"unit": "1", "flat": "5"}]
    await story.plan(
        "p",
        usage_price(
            "done", "resolved", model="graduated", tiers=tiers, settle="wallet", outcome={}
        ),
    )
    await story.subscribe("p")
    await story.grant("100")
    await story.use(opening(1), opening(2))
    await decide(story, 1, "confirm")
    assert await story.available() == "94"
    await decide(story, 1, "reverse")
    assert await story.available() == "95"
    await decide(story, 2, "confirm")
    assert await story.available() == "94"


async def test_dimensions(story: Story) -> None:
    await story.customer()
    await story.meter("resolved", "count", dimensions=["by"])
    rates = [{"match": {"by": "voice"}, "unit": "3"}, {"match": {"by": "chat"}, "unit": "1"}]
    await story.plan(
        "p", usage_price("done", "resolved", model="dimensional", dimensions=["by"], rates=rates,
                         outcome={}),
    )  # fmt: skip
    await story.subscribe("p")
    await story.use(
        opening(1, by="voice"), opening(2, by="chat"), opening(3, by="chat"),
    )  # fmt: skip
    answer = await story.send(opening(4, by="mail"))
    assert answer["results"][0]["error"]["code"] == "unmatched_dimension"
    await decide(story, 1, "confirm")
    await decide(story, 3, "confirm")
    assert sorted(amounts(await story.upcoming(), "amount")) == [("1.00",), ("3.00",)]


@pytest.mark.parametrize(
    ("count", "january", "usage", "credit"),
    [
        # 49 + 100 x 0.99 = 148.00; 10 fewer: 90 x 0.99 - 99.00 = -9.90
        (150, "148.00", "99.00", "-9.90"),
        # 49 + 5 x 0.99 = 53.95; 45 are all included: 0 - 4.95 = -4.95
        (55, "53.95", "4.95", "-4.95"),
    ],
)
async def test_outcomes_taken_back_next_month(
    story: Story, count: int, january: str, usage: str, credit: str
) -> None:
    await fin(story, auto_confirm_after="PT24H", reversible_for="P60D")
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(*(opening(number) for number in range(count)))
    assert amounts(await story.upcoming()) == [
        ("fee", "1", "49.00"), ("resolutions", "0", "0.00"),
    ]  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    [first] = await story.invoices()
    assert amounts(first) == [("fee", "1", "49.00"), ("resolutions", str(count), usage)]
    assert first["total"] == january

    for number in range(10):
        await decide(story, number, "reverse", reason="the customer came back")
    assert amounts(await story.upcoming(), "kind", "price", "quantity", "amount") == [
        ("fee", "fee", "1", "49.00"), ("usage", "resolutions", "0", "0.00"),
        ("adjustment", "resolutions", "-10", credit),
    ]  # fmt: skip
    assert await story.invoice(first["id"]) == first
    await story.advance("2026-03-01T01:00:00Z")
    _, second = await story.invoices()
    assert amounts(second, "kind", "amount") == [
        ("fee", "49.00"), ("usage", "0.00"), ("adjustment", credit),
    ]  # fmt: skip
