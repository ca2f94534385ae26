"""What never changes usage or a bill, whatever aggregates it: the order and the size of batches,
replays, a change of the plan that changes no price, and events that are taken back.
"""

import random
from datetime import timedelta
from typing import Any

from tests.scenarios.story import START, Json, Story, amounts, event, usage_price

TIERS = [{"up_to": "50", "unit": "0.25", "flat": "1"}, {"unit": "0.1"}]
METERS: dict[str, Json] = {
    "sum": {"aggregation": "sum", "value": "max(q, 3) * 2 / 3"},
    "count": {"aggregation": "count"},
    "max": {"aggregation": "max", "bucket": "day"},
    "min": {"aggregation": "min"},
    "latest": {"aggregation": "latest"},
    "unique": {"aggregation": "unique", "value": "user"},
    "percentile": {"aggregation": "percentile", "percentile": "0.7", "value": "q / 4"},
    "level": {"aggregation": "weighted_sum", "over": "period"},
}


async def publish(story: Story) -> None:
    """A plan on every meter, and the same prices once more under another name."""
    prices = []
    for key, fields in METERS.items():
        own: Any = {"event_type": "use", "dimensions": ["model"], **fields}
        await story.meter(key, own.pop("aggregation"), **own)
        prices.append(usage_price(key, key, model="graduated", tiers=TIERS))
        if key != "level":
            prices.append(usage_price(f"{key}-drawn", key, unit="0.01", settle="wallet"))
    await story.plan("p", *prices)
    await story.plan("q", *prices)


def some_events(dice: random.Random) -> list[Json]:
    return [
        event("use", f"e{n}", (START + timedelta(seconds=dice.randrange(9 * 86400))).isoformat(),
              q=dice.randrange(1, 30), model=dice.choice("ab"), user=f"u{dice.randrange(9)}")
        for n in range(24)
    ]  # fmt: skip


async def send(story: Story, customer: str, events: list[Json], size: int) -> None:
    mine = [{**one, "subject": customer} for one in events]
    for begin in range(0, len(mine), size):
        answer = await story.send(*mine[begin : begin + size])
        assert answer["rejected"] == answer["quarantined"] == 0, answer["results"][:3]


async def split(story: Story, subscription: str) -> None:
    """Change the plan for one of equal prices, and back."""
    for plan, at in (("q", "2026-01-03T00:00:00Z"), ("p", "2026-01-06T12:00:00Z")):
        await story.change(subscription, plan=plan, at=at, proration="none")


async def state_of(story: Story, customer: str) -> Any:
    bill = await story.upcoming(customer)
    usage = {
        key: [
            (row["from"], row["group"], row["value"])
            for row in await story.usage(
                key, customer=customer, window="day", group_by="model",
                **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-10T00:00:00Z"},
            )
        ]
        for key in METERS
    }  # fmt: skip
    settled = [(one["price"], one["quantity"], one["amount"]) for one in bill["settled"]]
    return sorted(amounts(bill)), sorted(settled), await story.available(customer), usage


async def test_nothing_that_means_nothing_changes_anything(story: Story) -> None:
    story.audited = False  # the second biller knows no levels
    await publish(story)
    dice = random.Random(3)
    events = some_events(dice)
    subscriptions = {}
    for customer in ("plain", "shuffled", "before", "after", "back"):
        await story.customer(customer)
        subscriptions[customer] = await story.subscribe("p", customer)
    await story.advance("2026-01-10T00:00:00Z")

    await send(story, "plain", events, 24)
    shuffled = dice.sample(events * 2, 48)
    await send(story, "shuffled", shuffled, 7)
    # The period is split between plans of equal prices, before the usage comes, and after it.
    await split(story, subscriptions["before"])
    await send(story, "before", events[::-1], 11)
    await send(story, "after", events, 13)
    await split(story, subscriptions["after"])
    # What is voided and sent otherwise comes to the same as what was never sent.
    extra = [
        event("use", f"x{n}", "2026-01-04T00:00:00Z", q=900, model="a", user="x") for n in range(3)
    ]
    await send(story, "back", [*extra, *events], 9)
    for one in extra:
        body = {"customer": "back", "source": "", "reason": "never happened"}
        await story.ask("POST", f"/v1/events/{one['id']}/void", json=body)

    expected = await state_of(story, "plain")
    for customer in ("shuffled", "before", "after", "back"):
        assert await state_of(story, customer) == expected, customer
