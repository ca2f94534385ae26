"""What a change would bill, before it is made: cents, refusals, and that nothing is written."""

import asyncio

from tests.scenarios.story import Json, Story, amounts, event, flat, usage_price

SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "10.00", "timing": "advance"}


async def preview(story: Story, contract: str, step: str = "change", **body: object) -> Json:
    """A preview that must succeed."""
    return await story.ask("POST", f"/v1/subscriptions/{contract}/preview_{step}", json=body)


async def halfway(story: Story) -> str:
    """On 16 April, halfway: 100.00 a month in advance and 0.01 a call, 2,000 calls so far."""
    await story.customer()
    await story.meter("calls")
    await story.plan("p", flat("base", "100.00", timing="advance"),
                     usage_price("calls", "calls", unit="0.01"))  # fmt: skip
    await story.plan("q", flat("base", "160.00", timing="advance"),
                     usage_price("calls", "calls", unit="0.02"))  # fmt: skip
    await story.advance("2026-04-01T00:00:00Z")
    contract = await story.subscribe("p")
    await story.advance("2026-04-16T00:00:00Z")
    await story.use(event("calls", "a", "2026-04-10T00:00:00Z", q=2000))
    return contract


async def test_an_upgrade_halfway(story: Story) -> None:
    contract = await halfway(story)
    shown = await preview(story, contract, plan="q")
    assert shown["now"] == {"lines": [], "subtotal": "0.00", "total": "0.00"}
    # May, less half of April at 100, plus half at 160; 2,000 calls at 0.01, none at 0.02
    assert sorted(line["amount"] for line in shown["next_invoice"]["lines"]) == [
        "-50.00", "0.00", "160.00", "20.00", "80.00",
    ]  # fmt: skip
    assert shown["next_invoice"]["total"] == "210.00"
    assert amounts(shown["without_change"], "price", "amount") == [
        ("base", "100.00"), ("calls", "20.00"),
    ]  # fmt: skip
    assert (shown["difference"], shown["currency"]) == ("90.00", "USD")
    assert shown["without_change"] == await story.upcoming()
    await story.change(contract, plan="q")
    assert shown["next_invoice"] == await story.upcoming()


async def test_usage_after_the_change_moves_in_memory(story: Story) -> None:
    """Dated back to the 10th: the 2,000 calls of that day cost 0.02, and the fee changes from the
    10th on: 21 of 30 days, 100 x 21/30 = 70.00 back and 160 x 21/30 = 112.00 more.
    """
    contract = await halfway(story)
    shown = await preview(story, contract, plan="q", at="2026-04-10T00:00:00Z")
    # 160 - 70 + 112 + 2,000 x 0.02 = 242; without it 100 + 20
    assert (shown["next_invoice"]["total"], shown["difference"]) == ("242.00", "122.00")
    stored = await story.upcoming()
    assert (stored["total"], stored) == ("120.00", shown["without_change"])


async def test_a_change_of_the_billing_period_is_due_at_once(story: Story) -> None:
    story.audited = False  # the second biller knows one period a fee
    contract = await halfway(story)
    await story.plan("year", flat("base", "1000.00", timing="advance"), period="year")
    shown = await preview(story, contract, plan="year")
    made = await story.change(contract, plan="year")
    [draft] = await story.invoices(status="draft")
    assert amounts(shown["now"], "description", "amount") == amounts(draft, "description", "amount")
    assert shown["now"]["total"] == draft["total"]
    assert shown["next_invoice"] == await story.upcoming()
    assert made["plan"] == "year"


async def test_a_cancel(story: Story) -> None:
    contract = await halfway(story)
    shown = await preview(story, contract, "cancel", at="now", credit_unused=True)
    # half of April back, the calls so far; nothing comes after that
    assert amounts(shown["now"], "price", "amount") == [("base", "-50.00"), ("calls", "20.00")]
    assert (shown["now"]["total"], shown["next_invoice"]) == ("-30.00", None)
    # -30 in place of 120
    assert shown["difference"] == "-150.00"


async def test_a_refused_change_is_refused_alike(story: Story) -> None:
    contract = await halfway(story)
    await story.plan("team", SEATS)
    path = f"/v1/subscriptions/{contract}"
    for body in (
        {"plan": "team"}, {"plan": "nothing"}, {"plan": "q", "at": "2026-04-01T00:00:00Z"},
        {"plan": "q", "quantities": {"chairs": "1"}},
    ):  # fmt: skip
        shown = await story.client.post(f"{path}/preview_change", json=body)
        done = await story.client.post(f"{path}/change", json=body)
        assert shown.status_code == done.status_code >= 400
        assert [(e["path"], e["code"]) for e in shown.json()["errors"]] == [
            (e["path"], e["code"]) for e in done.json()["errors"]
        ]
    missing = "/v1/subscriptions/sub_none/preview_change"
    assert await story.refused("POST", missing, json={}) == (404, "not_found")


async def test_too_many_events_to_count_again(story: Story) -> None:
    """100,001 calls since the 10th: the change could be made, its preview reads no more."""
    story.audited = False  # it would read them one page after the other
    contract = await halfway(story)
    for batch in range(10):
        await story.use(
            *[event("calls", f"e{batch}-{n}", "2026-04-12T00:00:00Z", q=1) for n in range(10_000)]
        )
    path = f"/v1/subscriptions/{contract}/preview_change"
    body = {"plan": "q", "at": "2026-04-10T00:00:00Z"}
    answer = await story.client.post(path, json=body)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["path"], error["code"]) == (422, "at", "too_many_events")
    # now there are none later: 160 - 50 + 80 + 102,000 x 0.01 = 1,210
    shown = await preview(story, contract, plan="q")
    assert shown["next_invoice"]["total"] == "1210.00"


async def test_previews_keep_nobody_waiting(story: Story) -> None:
    """Previews and events at once: all are answered, and the last preview counts every event."""
    contract = await halfway(story)

    async def use(n: int) -> None:
        await story.use(event("calls", f"more{n}", "2026-04-12T00:00:00Z", q=100))

    await asyncio.gather(*(
        one for n in range(10)
        for one in (use(n), preview(story, contract, plan="q", at="period_end"))
    ))  # fmt: skip
    shown = await preview(story, contract, plan="q", at="period_end")
    # the fee of May at the new price, 3,000 calls of April at the old one
    assert amounts(shown["next_invoice"]) == [("base", "1", "160.00"), ("calls", "3000", "30.00")]
