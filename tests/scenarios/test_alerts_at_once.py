"""Alerts where processes cross a threshold at once: each is told once, and none is missed."""

import asyncio

import psycopg

from tests.scenarios.story import Json, Story, event, usage_price
from tests.scenarios.test_two_processes import two_stories

REQUESTS = 12


async def begin(story: Story) -> None:
    """Six customers with 50 each, who are told at 20 spent, at 20 left, and at 10 of 24 queries."""
    await story.meter("u", dimensions=["n"])
    price = usage_price("u", "u", unit="2", settle="wallet")
    quota = {"feature": "f", "meter": "u", "limit": "24", "window": "total"}
    await story.plan("p", price, entitlements=[quota])
    for customer in "abcdef":
        await story.customer(customer)
        await story.subscribe("p", customer)
        await story.grant("50", customer)
        definitions: dict[str, Json] = {
            "spent": {"on": "spend", "asset": "USD", "window": "total", "at": ["20"]},
            "low": {"on": "balance", "asset": "USD", "below": ["20"]},
            "used": {"on": "allowance", "feature": "f", "at": ["0.5"]},
        }
        for name, body in definitions.items():
            await story.ask("PUT", f"/v1/customers/{customer}/alerts/{name}", json=body)
        budget = {"asset": "USD", "limit": "40", "window": "total", "alerts": ["0.5", "1"]}
        await story.ask("PUT", f"/v1/customers/{customer}/budgets/all", json=budget)


async def test_two_processes_tell_each_threshold_once(database_url: str) -> None:
    """24 units of 2 for each customer, half at either process: 48 are spent, 2 are left. The
    database's own time zone lies west, where what never ends begins before the year 1.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET timezone = 'America/New_York'".encode())
    async with two_stories(database_url) as (story, other):
        await begin(story)

        async def use(process: Story, customer: str, number: int, name: str) -> None:
            data = event("u", f"{name}-{number}", customer=customer, q=1, n=f"{name}{number}")
            await process.use(data)

        await asyncio.gather(
            *(
                use(process, customer, number, name)
                for number in range(REQUESTS)
                for customer in "abcdef"
                for process, name in ((story, "one"), (other, "two"))
            )
        )
        for customer in "abcdef":
            assert await story.available(customer) == "2"
            found = await story.everything("/v1/alerts", customer=customer)
            told = sorted((one["kind"], one["threshold"]) for one in found)
            assert told == [
                ("allowance.threshold", "0.5"), ("balance.low", "20"), ("budget.threshold", "0.5"),
                ("budget.threshold", "1"), ("spend.threshold", "20"),
            ]  # fmt: skip
            figures = {(one["kind"], one["threshold"]): one for one in found}
            # What it was when it was crossed: of steps of 2, several of which may be one commit.
            assert 20 <= int(figures["spend.threshold", "20"]["spent"]) <= 48
            assert 2 <= int(figures["balance.low", "20"]["balance"]) <= 20
