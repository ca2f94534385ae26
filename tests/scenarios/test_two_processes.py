"""Two processes on one database: usage that arrives at once at both is priced as if at one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.story import START, Story, event, usage_price

CUSTOMERS = 10


@asynccontextmanager
async def two_stories(database_url: str) -> AsyncIterator[tuple[Story, Story]]:
    """One instance, told by two processes."""
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=START, workers=False
    )
    one = await open_instance(settings)
    two = await open_instance(settings)
    try:
        async with client_for(one, ROOT_KEY) as first, client_for(two, ROOT_KEY) as second:
            yield Story(first), Story(second)
    finally:
        await one.close()
        await two.close()


async def test_first_usages_of_a_wallet_at_once_are_priced_together(database_url: str) -> None:
    """8 of x and 8 of y are 16 in one graduated price: 2 + 10 x 10 and 3 + 6 x 5 make 135. Each
    priced without the other would be 2 + 8 x 10, 164 together.
    """
    async with two_stories(database_url) as (story, other):
        await story.meter("u", dimensions=["d"])
        tiers = [{"up_to": "10", "unit": "10", "flat": "2"}, {"unit": "5", "flat": "3"}]
        price = usage_price("u", "u", settle="wallet", model="graduated", tiers=tiers)
        await story.plan("p", price)
        for customer in map(str, range(CUSTOMERS)):
            await story.customer(customer)
            await story.subscribe("p", customer=customer)
            await asyncio.gather(
                story.use(event("u", "a", customer=customer, q=8, d="x")),
                other.use(event("u", "b", customer=customer, q=8, d="y")),
            )
            assert await story.available(customer) == "-135"


async def test_what_an_invoice_bills_counts_towards_budgets_together(database_url: str) -> None:
    """The same 16 by invoice: 135, of which each process may have counted either part."""
    async with two_stories(database_url) as (story, other):
        await story.meter("u", dimensions=["d"])
        tiers = [{"up_to": "10", "unit": "10", "flat": "2"}, {"unit": "5", "flat": "3"}]
        await story.plan("p", usage_price("u", "u", model="graduated", tiers=tiers))
        for customer in map(str, range(CUSTOMERS)):
            await story.customer(customer)
            await story.subscribe("p", customer=customer)
            budget = f"/v1/customers/{customer}/budgets/all"
            body = {"asset": "USD", "limit": "100", "window": "month"}
            await story.ask("PUT", budget, json=body)
            await asyncio.gather(
                story.use(event("u", "a", customer=customer, q=8, d="x")),
                other.use(event("u", "b", customer=customer, q=8, d="y")),
            )
            assert (await story.ask("GET", budget))["spent"] == "135"
