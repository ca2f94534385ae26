"""Usage that waited is read by the meter as it was when it was released, however often it is
counted again.
"""

import pytest

from tests.scenarios.story import Story, event, usage_price


@pytest.mark.parametrize("waits_for", ["customer", "subscription"])
async def test_a_change_of_terms_reads_what_was_released_as_before(
    story: Story, waits_for: str
) -> None:
    """The event says a=1, b=100. It came while the meter read `a`, and was released when it read
    `b`: 100 then, and 100 after the change of plan that counts all usage again, at 2 each.
    """
    story.audited = False
    await story.meter("u", value="a")
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.plan("q", usage_price("u", "u", unit="2"))
    named = {}
    if waits_for == "subscription":
        await story.customer()
        named = {"subscription": "main"}
    found = await story.send(event("u", "a", a=1, b=100, **named))
    assert found["quarantined"] == 1
    await story.advance("2026-01-02T00:00:00Z")
    await story.meter("u", value="b")
    await story.customer()
    start = "2026-01-01T00:00:00Z"
    subscription = await story.subscribe("p", key="main", starts_at=start)
    assert (await story.upcoming())["total"] == "100.00"
    await story.change(subscription, plan="q", at=start)
    assert (await story.upcoming())["total"] == "200.00"
