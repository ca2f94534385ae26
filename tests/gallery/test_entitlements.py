"""What entries of the gallery let their customers use, call by call."""

from tests.gallery.entry import Json, entry
from tests.scenarios.story import Story, event


async def begin(story: Story, name: str, plan: str) -> None:
    """Acme on a plan of the entry `name`."""
    found = entry(name)
    story.audited = found.audited
    await found.publish(story)
    await story.customer()
    await story.subscribe(plan)


async def check(story: Story, feature: str, quantity: str = "1") -> Json:
    """Whether acme may use so much more."""
    body = {"customer": "acme", "feature": feature, "quantity": quantity}
    return await story.ask("POST", "/v1/entitlements/check", json=body)


async def call(story: Story, minute: int, first: int, last: int) -> None:
    """Trial calls with these numbers, in a minute from 00:00 on 1 January."""
    time = f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"
    numbers = range(first, last + 1)
    await story.use(*(event("chat", f"call-{n}", time, model="command-a", input_tokens=1,
                            output_tokens=1) for n in numbers))  # fmt: skip


async def test_a_trial_of_a_thousand_calls_a_month_and_twenty_a_minute(story: Story) -> None:
    await begin(story, "cohere", "cohere-trial")
    # 20 in the first minute: the 21st is refused until the minute ends.
    await call(story, 0, 1, 19)
    assert (await check(story, "chat"))["allowed"]
    await call(story, 0, 20, 20)
    refused = await check(story, "chat")
    assert (refused["allowed"], refused["limit"]) == (False, "20")
    assert refused["resets_at"] == "2026-01-01T00:01:00Z"
    await story.advance("2026-01-01T00:01:00Z")
    assert (await check(story, "chat"))["allowed"]
    # 49 more minutes of 20: 980 + 20 = 1,000 calls. The 1,001st waits for February.
    for minute in range(1, 50):
        await call(story, minute, minute * 20 + 1, minute * 20 + 20)
    await story.advance("2026-01-01T01:00:00Z")
    refused = await check(story, "chat")
    assert (refused["allowed"], refused["used"]) == (False, "1000")
    assert refused["resets_at"] == "2026-02-01T00:00:00Z"


async def test_a_starter_who_wants_200_a_day_gets_500_a_month(story: Story) -> None:
    await begin(story, "figma-ai", "figma-starter")
    given = []
    for day in range(1, 6):
        await story.advance(f"2026-01-{day:02}T12:00:00Z")
        asked = await check(story, "ai_credits", "200")
        assert not asked["allowed"]
        given.append(int(asked["remaining"]))
        if given[-1]:
            await story.use(event("ai.action", f"day-{day}", credits=given[-1]))
    assert given == [150, 150, 150, 50, 0]
    # The credits come to the same: 150 a day, of which at most 500 in a month.
    assert await story.available(asset="credits") == "0"
