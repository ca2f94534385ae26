"""A grant for certain meters pays for these alone."""

from tests.scenarios.story import Story, event, usage_price


async def test_a_grant_for_one_meter_never_repays_the_debt_of_another(story: Story) -> None:
    """30 of debt for `u`; then 100 for `v` alone: 1 of `v` leaves 99 of it, and the debt. What
    comes for anything repays the 30.
    """
    await story.customer()
    await story.meter("u")
    await story.meter("v")
    prices = [usage_price(key, key, unit="1", settle="wallet") for key in ("u", "v")]
    await story.plan("p", *prices)
    await story.subscribe("p")
    await story.use(event("u", "a", q=30))
    scoped = await story.grant("100", scope={"meters": ["v"]})
    await story.use(event("v", "b", q=1))
    grants = {one["id"]: one["remaining"] for one in await story.everything("/v1/grants")}
    assert grants == {scoped: "99"}
    assert await story.available() == "69"
    rest = await story.grant("50")
    grants = {one["id"]: one["remaining"] for one in await story.everything("/v1/grants")}
    assert grants == {scoped: "99", rest: "20"}
    assert await story.available() == "119"
