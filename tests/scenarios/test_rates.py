"""Rates: how fast holds of a feature may be placed, counted exactly whatever becomes of them."""

import asyncio
from typing import Any

import psycopg
import pytest

from taximeter.bootstrap import Instance
from taximeter.services.books import check_customer
from tests.scenarios.story import Json, Story, flat
from tests.scenarios.test_holds import release

MINUTE = {"feature": "calls", "rate": {"limit": "5", "per": "minute"}}


async def begin(story: Story, *entitlements: Json) -> None:
    """acme has a plan with these entitlements."""
    await story.customer()
    await story.plan("p", flat("base", "0"), entitlements=list(entitlements))
    await story.subscribe("p")


async def call(story: Story, quantity: str = "1", **fields: Any) -> Json:
    """Ask for a hold of the feature; the answer."""
    body = {"customer": "acme", "feature": "calls", "quantity": quantity, **fields}
    return await story.ask("POST", "/v1/holds", json=body)


async def check(story: Story, quantity: str = "1") -> Json:
    body = {"customer": "acme", "feature": "calls", "quantity": quantity}
    return await story.ask("POST", "/v1/entitlements/check", json=body)


def counters(url: str) -> Json:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT counters FROM hold_account").fetchone()
    assert row is not None
    found: Json = row[0]
    return found


async def test_a_minute_takes_so_much_and_the_next_begins_anew(
    story: Story, database_url: str
) -> None:
    """5 a minute: 3 and 2 fit, and 1 more does not, until the minute is over. What is released was
    placed all the same.
    """
    await begin(story, MINUTE)
    await story.advance("2026-01-01T00:00:59.5Z")
    first = await call(story, "3")
    assert (await call(story, "3"))["shortfall"] == "1"
    await call(story, "2")
    await release(story, first)
    assert await call(story) == {
        "allowed": False, "reason": "entitlement", "shortfall": "1",
        "limit": {
            "kind": "rate", "feature": "calls", "window": "minute", "limit": "5", "used": "5",
            "remaining": "0", "resets_at": "2026-01-01T00:01:00Z",
        },
    }  # fmt: skip
    told = await check(story)
    assert (told["allowed"], told["reason"], told["used"]) == (False, "entitlement", "5")
    await story.advance("2026-01-01T00:01:00Z")
    assert (await check(story))["remaining"] == "5"
    assert (await call(story, "5"))["allowed"] is True
    (listed,) = await story.everything("/v1/customers/acme/entitlements")
    assert listed["rates"] == [
        {"per": "minute", "limit": "5", "used": "5", "remaining": "0",
         "resets_at": "2026-01-01T00:02:00Z"},
    ]  # fmt: skip
    # Of all the windows the last one alone is kept.
    assert [name for name in counters(database_url) if name.startswith("r:")] == [
        "r:calls:minute:29453761"  # 1767225660 s / 60
    ]


async def test_a_hold_that_is_not_placed_does_not_count(story: Story) -> None:
    """A retry with its key was placed once; a group that is refused was not placed at all."""
    await begin(story, MINUTE)
    key = {"Idempotency-Key": "k"}
    first = await story.ask(
        "POST", "/v1/holds", json={"customer": "acme", "feature": "calls", "quantity": "2"},
        headers=key,
    )  # fmt: skip
    again = await story.ask(
        "POST", "/v1/holds", json={"customer": "acme", "feature": "calls", "quantity": "2"},
        headers=key,
    )  # fmt: skip
    assert first == again
    holds = [{"customer": "acme", "feature": "calls", "quantity": "2"}] * 2
    for mode, placed in (("all_or_nothing", 0), ("independent", 1)):
        body = {"mode": mode, "holds": holds}
        answers = (await story.ask("POST", "/v1/holds/batch", json=body))["data"]
        assert sum(one["allowed"] for one in answers) == placed
    assert (await check(story))["used"] == "4"


async def test_all_rates_apply_and_crowds_do_not_pass_them(
    story: Story, instance: Instance, database_url: str
) -> None:
    """25 a minute, 30 an hour, 100 a second: of 40 at once 25 pass; a minute later 5."""
    await begin(
        story, *({"feature": "calls", "rate": {"limit": limit, "per": per}}
                 for limit, per in (("25", "minute"), ("30", "hour"), ("100", "second"))),
    )  # fmt: skip
    for at, passed, window in (("00:00", 25, "minute"), ("01:00", 5, "hour")):
        await story.advance(f"2026-01-01T00:{at}.25Z")
        found = await asyncio.gather(*(call(story, ttl_s=1) for _ in range(40)))
        refused = [one["limit"]["window"] for one in found if not one["allowed"]]
        assert refused == [window] * (40 - passed)
    # A counter that says more than was placed is a difference.
    story.books_right = False
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE hold_account SET counters = replace(counters::text, '\"30\"', '\"31\"')::json"
        )
    checked = await check_customer(instance.context, "acme", events_max=0)
    assert str(checked.difference) == (
        "acme: hold account r:calls:hour:490896: rate is 31, recomputed it is 30"
    )  # 1767225600 s / 3600


async def test_a_rate_of_several_plans_is_the_most_generous(story: Story) -> None:
    await begin(story, MINUTE, {"feature": "calls", "rate": {"limit": "2", "per": "second"}})
    await story.plan(
        "q", flat("base", "0"),
        entitlements=[{"feature": "calls", "rate": {"limit": "7", "per": "minute"}}],
    )  # fmt: skip
    await story.subscribe("q")
    (listed,) = await story.everything("/v1/customers/acme/entitlements")
    assert [(one["per"], one["limit"]) for one in listed["rates"]] == [("minute", "7")]


@pytest.mark.parametrize("soft", [False, True])
async def test_a_rate_of_zero_stops_a_feature(story: Story, *, soft: bool) -> None:
    await begin(story)
    if soft:
        await story.customer(enforcement="soft")
    body = {"entitlements": [{"rate": {"limit": "0", "per": "second"}}]}
    await story.ask("PUT", "/v1/customers/acme/entitlements/calls", json=body)
    assert (await call(story))["limit"]["kind"] == "rate"
    assert (await call(story, "0"))["allowed"] is True
