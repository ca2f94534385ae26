"""Outcomes when the terms of their customer change: what is counted again, and what is refused."""

from typing import Any

from tests.scenarios.story import Json, Story, amounts, event, usage_price


def done(unit: str, **fields: Any) -> Json:
    return usage_price("done", "resolved", unit=unit, **fields)


def opening(number: int, time: str | None = None) -> Json:
    return event("resolved", f"e{number}", time, outcome_id=f"conv-{number}")


async def decide(story: Story, number: int, step: str, **fields: Any) -> Json:
    body = {"customer": "acme", "reason": "so it was", **fields}
    return await story.ask("POST", f"/v1/outcomes/conv-{number}/{step}", json=body)


async def begin(story: Story) -> str:
    """By outcome at 1 (version 1) or 3 (2), and for each event at 2 (3), all of the key `done`; 4
    outcomes on 10 January, of which one is confirmed, one half so, one reversed.
    """
    await story.customer()
    await story.meter("resolved", "count")
    await story.plan("p", done("1", outcome={}))
    await story.plan("p", done("3", outcome={}))
    await story.plan("p", done("2"))
    subscription = await story.subscribe("p", version=1)
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(*(opening(number) for number in range(4)))
    await decide(story, 0, "confirm")
    await decide(story, 1, "partial", share="0.5")
    await decide(story, 2, "confirm")
    await decide(story, 2, "reverse")
    assert amounts(await story.upcoming()) == [("done", "1.5", "1.50")]
    await story.advance("2026-01-20T00:00:00Z")
    return subscription


async def test_outcomes_move_to_another_price(story: Story) -> None:
    subscription = await begin(story)
    await story.change(subscription, version=2, at="2026-01-05T00:00:00Z")
    # 1.5 x 3, all in the new segment; and what is decided now counts there
    assert amounts(await story.upcoming()) == [("done", "0", "0.00"), ("done", "1.5", "4.50")]
    await decide(story, 3, "confirm")
    await decide(story, 0, "reverse")
    assert amounts(await story.upcoming()) == [("done", "0", "0.00"), ("done", "1.5", "4.50")]
    await story.advance("2026-02-02T00:00:00Z")
    await decide(story, 3, "reverse")
    assert ("adjustment", "-1", "-3.00") in amounts(
        await story.upcoming(), "kind", "quantity", "amount"
    )


async def test_a_change_after_them_moves_none(story: Story) -> None:
    subscription = await begin(story)
    await story.change(subscription, version=2, at="2026-01-15T00:00:00Z")
    await story.use(opening(9, "2026-01-16T00:00:00Z"))
    await decide(story, 3, "confirm")
    await decide(story, 9, "confirm")
    assert amounts(await story.upcoming()) == [("done", "2.5", "2.50"), ("done", "1", "3.00")]


async def test_without_outcomes_all_counts_at_once(story: Story) -> None:
    """And where the old terms come back, outcomes are as they stood."""
    subscription = await begin(story)
    await story.change(subscription, version=3, at="2026-01-05T00:00:00Z")
    assert amounts(await story.upcoming()) == [("done", "0", "0.00"), ("done", "4", "8.00")]
    await decide(story, 3, "confirm")  # changes nothing now
    assert amounts(await story.upcoming()) == [("done", "0", "0.00"), ("done", "4", "8.00")]
    await story.change(subscription, version=2, at="2026-01-07T00:00:00Z")
    # 1 + 0.5 + 1 of number 3
    assert amounts(await story.upcoming(), "quantity", "amount") == [
        ("0", "0.00"), ("0", "0.00"), ("2.5", "7.50"),
    ]  # fmt: skip


async def test_what_was_counted_stays_so(story: Story) -> None:
    subscription = await begin(story)
    await story.change(subscription, version=3, at="2026-01-15T00:00:00Z")
    await story.use(opening(7, "2026-01-16T00:00:00Z"))
    await story.use(event("resolved", "bare", "2026-01-16T00:00:00Z"))
    for version in (2, 1):  # twice: it stays so again
        await story.change(subscription, version=version, at="2026-01-15T12:00:00Z")
        upcoming = amounts(await story.upcoming(), "quantity")
        assert upcoming == [("1.5",), ("0",), ("2",)], version
    body = {"customer": "acme", "reason": "?"}
    assert await story.refused("POST", "/v1/outcomes/conv-7/confirm", json=body) == (
        404, "not_found",
    )  # fmt: skip


async def test_what_no_price_measured_opens_its_outcome(story: Story) -> None:
    await story.customer()
    await story.meter("resolved", "count")
    await story.plan("p", done("1", outcome={"auto_confirm_after": "PT24H"}))
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(opening(1), opening(2))
    await story.use(event("resolved", "bare", "2026-01-02T00:00:00Z"))
    body = {"customer": "acme", "plan": "p", "starts_at": "2026-01-01T00:00:00Z"}
    refused = await story.refused("POST", "/v1/subscriptions", json=body)
    assert refused == (422, "missing_outcome")
    await story.subscribe("p", starts_at="2026-01-05T00:00:00Z")
    assert amounts(await story.upcoming()) == [("done", "0", "0.00")]
    await decide(story, 1, "fail")
    await story.advance("2026-01-11T00:00:00Z")
    assert amounts(await story.upcoming()) == [("done", "1", "1.00")]


async def test_quarantined_events_open_theirs_when_released(story: Story) -> None:
    await story.customer()
    await story.meter("resolved", "count")
    await story.plan("p", done("1", outcome={}))
    main = {"subscription": "main"}
    answer = await story.send({**opening(1), **main}, {**event("resolved", "bare"), **main})
    assert answer["quarantined"] == 2
    assert await story.everything("/v1/outcomes") == []
    await story.subscribe("p", key="main")
    found = await story.everything("/v1/outcomes", customer="acme")
    assert [(one["id"], one["status"]) for one in found] == [("conv-1", "pending")]
    waiting = await story.everything("/v1/events", status="quarantined")
    assert [(one["id"], one["reason"]) for one in waiting] == [("bare", "missing_outcome")]
    await decide(story, 1, "confirm")
    assert amounts(await story.upcoming()) == [("done", "1", "1.00")]


async def test_wallets_follow(story: Story) -> None:
    """A change in the past gives back what the old price drew and draws the new."""
    await story.customer()
    await story.meter("resolved", "count")
    for unit in ("1", "3"):
        await story.plan("w", done(unit, settle="wallet", outcome={}))
    subscription = await story.subscribe("w", version=1)
    await story.grant("100")
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(*(opening(number) for number in range(3)))
    await decide(story, 0, "confirm")
    await decide(story, 1, "partial", share="0.5")
    assert await story.available() == "98.5"
    await story.change(subscription, version=2, at="2026-01-05T00:00:00Z")
    assert await story.available() == "95.5"  # 1.5 x 3
    await decide(story, 0, "reverse")
    await decide(story, 2, "confirm")
    assert await story.available() == "95.5"
    await decide(story, 1, "reverse")
    assert await story.available() == "97"


async def test_outcomes_on_an_invoice_are_not_moved(story: Story) -> None:
    subscription = await begin(story)
    await story.advance("2026-02-02T00:00:00Z")
    body = {"version": 2, "at": "2026-01-05T00:00:00Z"}
    path = f"/v1/subscriptions/{subscription}/change"
    status, code = await story.refused("POST", path, json=body)
    assert status in (409, 422), code
    # A change of the running month leaves January's outcomes where they are, reversed ones too.
    await story.change(subscription, version=2, at="2026-02-01T12:00:00Z")
    await decide(story, 0, "reverse")
    assert ("adjustment", "-1", "-1.00") in amounts(
        await story.upcoming(), "kind", "quantity", "amount"
    )


async def test_a_meter_goes_on_adding_up(story: Story) -> None:
    story.audited = False
    await begin(story)
    body = {"event_type": "resolved", "aggregation": "max", "value": "q"}
    assert await story.refused("PUT", "/v1/meters/resolved", json=body) == (422, "immutable")
    await story.meter("resolved", "sum")
    await story.meter("most", "max")
    plan = {"name": "x", "currency": "USD", "period": "month",
            "prices": [usage_price("x", "most", unit="1", outcome={})]}  # fmt: skip
    assert await story.refused("PUT", "/v1/plans/x", json=plan) == (422, "outcome_on_meter")


async def test_outcomes_agreed_with_one_customer(story: Story) -> None:
    """An override may ask for outcomes; the meter is bound by that as well."""
    await story.customer()
    await story.customer("other")
    await story.meter("resolved", "count")
    await story.meter("most", "max")
    await story.plan("p", done("1"), usage_price("most", "most", unit="1"))
    overrides = {"done": {"outcome": {"auto_confirm_after": "P2D"}, "unit": "3"}}
    await story.subscribe("p", overrides=overrides)
    await story.subscribe("p", "other")
    await story.use(opening(1), opening(2))
    await story.use({**opening(3), "subject": "other"}, {"type": "resolved", "id": "bare",
                                                        "subject": "other"})  # fmt: skip
    await decide(story, 1, "fail")
    await story.advance("2026-01-03T00:00:00Z")
    assert amounts(await story.upcoming())[0] == ("done", "1", "3.00")
    assert amounts(await story.upcoming("other"))[0] == ("done", "2", "2.00")
    body = {"event_type": "resolved", "aggregation": "max", "value": "q"}
    assert await story.refused("PUT", "/v1/meters/resolved", json=body) == (422, "immutable")
    wrong = {"customer": "acme", "plan": "p", "overrides": {"most": {"outcome": {}}}}
    refused = await story.refused("POST", "/v1/subscriptions", json=wrong)
    assert refused == (422, "outcome_on_meter")


async def test_a_pause_opens_no_outcome(story: Story) -> None:
    subscription = await begin(story)
    await story.ask("POST", f"/v1/subscriptions/{subscription}/pause", json={"at": "now"})
    await story.advance("2026-01-21T00:00:00Z")
    await story.use(opening(8))
    await decide(story, 3, "confirm")  # it was opened before the pause
    await story.advance("2026-01-22T00:00:00Z")
    await story.ask("POST", f"/v1/subscriptions/{subscription}/resume", json={})
    body = {"customer": "acme", "reason": "?"}
    refused = await story.refused("POST", "/v1/outcomes/conv-8/confirm", json=body)
    assert refused == (404, "not_found")
    assert amounts(await story.upcoming(), "amount")[0] == ("2.50",)
