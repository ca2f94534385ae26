"""Prices by outcome: billed once confirmed, taken back later, in cents."""

from typing import Any

import pytest

from tests.scenarios.story import Json, Story, amounts, event, flat, usage_price

FIFTY_FREE = [{"up_to": "50", "unit": "0"}, {"unit": "0.99"}]


async def fin(story: Story, *, fee: str = "49", **outcome: Any) -> str:
    """49 a month in arrears, 50 outcomes in it, each further one 0.99; a subscription to it."""
    story.audited = False
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
