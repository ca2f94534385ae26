"""Grants for a path: allowances of seats ahead of a pool that all share."""

from itertools import count
from typing import Any

from tests.scenarios.story import Json, Story, event
from tests.scenarios.test_plan_credits import balances, drawn

_ids = count()


def used(path: str | None, quantity: int, **fields: Any) -> Json:
    """Usage by somebody."""
    found = event("credits", f"e{next(_ids)}", q=quantity, **fields)
    return found if path is None else {**found, "path": path}


async def begin(story: Story, **price: Any) -> None:
    await story.customer()
    await story.meter("credits")
    await story.plan("p", {**drawn("credits"), **price})
    await story.subscribe("p")


async def seat(story: Story, path: str, amount: str) -> str:
    """An allowance that burns before the pool."""
    return await story.grant(amount, asset="credits", priority=10, scope={"path": path})


async def left(story: Story) -> dict[str, str]:
    """What each grant has left, by its path."""
    found = await story.everything("/v1/grants", customer="acme")
    return {(one["scope"] or {}).get("path", "pool"): one["remaining"] for one in found}


async def test_a_seat_draws_its_own_allowance_before_the_pool(story: Story) -> None:
    """10 Pro seats with 3,000 each and a pool of 5,000. One uses 4,200, one 3,500: 1,200 + 500 are
    drawn from the pool: 3,300 left. Summed allowances would have left all 5,000.
    """
    await begin(story)
    for n in range(10):
        await seat(story, f"seats/user-{n}", "3000")
    await story.grant("5000", asset="credits")
    # In one batch, in many events, and of paths below the seat's own.
    await story.use(
        used("seats/user-1", 2000), used("seats/user-2/chat", 3500),
        used("seats/user-1/agents/7", 2200),
    )  # fmt: skip
    found = await left(story)
    assert found["pool"] == "3300"
    assert found["seats/user-1"] == found["seats/user-2"] == "0"
    assert found["seats/user-3"] == "3000"
    assert await balances(story) == {"credits": "27300"}  # 8 x 3,000 + 3,300
    balance = await story.ask("GET", "/v1/customers/acme/balance")
    (wallet,) = (one for one in balance["wallets"] if one["asset"] == "credits")
    assert wallet["grants"][0]["scope"] == {"path": "seats/user-0"}


async def test_a_path_covers_what_lies_below_it_alone(story: Story) -> None:
    """`a/b` covers a/b and a/b/c; not a, a/bc, b or no path: 1 + 2 of it, 60 of all."""
    await begin(story)
    await seat(story, "a/b", "100")
    await story.grant("100", asset="credits")
    paths = ("a/b", "a/b/c", "a", "a/bc", "b", None)
    await story.use(*(used(path, 2**n) for n, path in enumerate(paths)))
    assert await left(story) == {"a/b": "97", "pool": "40"}


async def test_one_ladder_is_parted_among_paths(story: Story) -> None:
    """Graduated: 10 at 1, then 0.50. In one batch x uses 8 and a uses 6, rated in the order of
    their paths: a's 6 cost 6; x's 8 are 4 at 1 and 4 at 0.50 = 6. Then a's 4 cost 2. The parts sum
    to 10 + 8 x 0.50 = 14, as one amount would.
    """
    tiers = [{"up_to": "10", "unit": "1"}, {"unit": "0.50"}]
    await begin(story, model="graduated", tiers=tiers, unit=None)
    await seat(story, "a", "100")
    await seat(story, "x", "100")
    await story.use(used("x", 8), used("a", 6))
    assert await left(story) == {"a": "94", "x": "94"}
    await story.use(used("a", 4))
    assert await left(story) == {"a": "92", "x": "94"}


async def test_a_maximum_is_of_one_path_where_its_events_come_alone(story: Story) -> None:
    """A meter of maxima does not add up: a batch of one path is drawn by that path, a batch of
    several by none. 5 of a, then 8 by a and b together: 3 more, from the pool.
    """
    await story.customer()
    await story.meter("credits", "max")
    await story.plan("p", drawn("credits"))
    await story.subscribe("p")
    await seat(story, "a", "100")
    await story.grant("100", asset="credits")
    await story.use(used("a", 5))
    await story.use(used("a", 8), used("b", 7))
    assert await left(story) == {"a": "95", "pool": "97"}


async def test_path_credit_repays_no_debt_and_pays_no_invoice(story: Story) -> None:
    """30 of debt; 100 for a path leave it as it is, and the next usage of the path draws 5."""
    await begin(story)
    await story.use(used(None, 30))
    await seat(story, "a", "100")
    assert await left(story) == {"a": "100"}
    await story.use(used("a", 5))
    assert await left(story) == {"a": "95"}
    assert await balances(story) == {"credits": "65"}
