"""Closing a month while its usage still streams in, by two processes at once."""

import asyncio
import random

import pytest

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.audit import audit
from tests.scenarios.story import START, Json, Story, event, flat, usage_price

CUSTOMERS = [f"c{n}" for n in range(6)]
CLOSINGS = ("2026-02-01T00:00:00Z", "2026-02-01T00:10:00Z", "2026-03-01T00:05:00Z")


async def publish(story: Story) -> None:
    """A fee, a ladder, a cap, a minimum and a wallet: all that an invoice has."""
    await story.meter("u", dimensions=["d"])
    await story.meter("who", "unique", event_type="u", value="user")
    tiers = [{"up_to": "50", "unit": "0.10", "flat": "1"}, {"unit": "0.03"}]
    await story.plan(
        "p", flat("fee", "9.99", timing="advance"),
        usage_price("ladder", "u", model="graduated", tiers=tiers),
        usage_price("capped", "u", unit="0.05", maximum="20"),
        usage_price("who", "who", unit="0.25"),
        usage_price("wallet", "u", unit="0.002", settle="wallet"),
        minimum="25.00", grace="PT10M",
    )  # fmt: skip
    for customer in CUSTOMERS:
        await story.customer(customer)
        await story.grant("100", customer)
        await story.subscribe("p", customer)


def usage(customer: str, dice: random.Random) -> list[Json]:
    """Usage of January, February and March."""
    found = []
    for n in range(240):
        day = f"2026-0{dice.choice([1, 1, 2, 2, 3])}-{dice.randrange(1, 29):02d}"
        data = {"q": dice.randrange(5), "d": dice.choice("xyz"), "user": dice.randrange(30)}
        found.append(event("u", f"e{n}", f"{day}T10:00:00Z", customer=customer, **data))
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_usage_streams_in_while_months_are_closed(database_url: str, seed: int) -> None:
    """Whatever invoice an event falls on, it is billed once: the second biller adds them all up."""
    dice = random.Random(seed)
    common = {"database_url": database_url, "root_key": ROOT_KEY, "sandbox": True, "workers": False}
    one = await open_instance(Settings(now=START, **common))  # type: ignore[arg-type]
    two = await open_instance(Settings(lanes=2, **common))  # type: ignore[arg-type]
    try:
        async with client_for(one, ROOT_KEY) as first, client_for(two, ROOT_KEY) as second:
            story, other = Story(first), Story(second)
            await publish(story)
            assert two.context.test_clock is not None
            two.context.test_clock.set(START.replace(month=4))  # it may take all of it at any time
            streams = {customer: usage(customer, dice) for customer in CUSTOMERS}
            moments = {count: asyncio.Event() for count in (30, 70, 110)}  # of 180 requests

            closed = asyncio.Event()
            sent = 0

            async def stream(customer: str) -> None:
                nonlocal sent
                events = streams[customer]
                for begin in range(0, len(events), 8):
                    if begin == 200:
                        await closed.wait()
                    await other.use(*events[begin : begin + 8])
                    sent += 1
                    if sent in moments:
                        moments[sent].set()

            async def close() -> None:
                for moment, to in zip(moments.values(), CLOSINGS, strict=True):
                    await moment.wait()
                    await story.advance(to)
                    for draft in await story.everything("/v1/invoices", status="draft"):
                        await story.client.post(f"/v1/invoices/{draft['id']}/finalize")
                closed.set()

            await asyncio.gather(close(), *[stream(customer) for customer in CUSTOMERS])
            await audit(story)
            await story.advance("2026-05-01T01:00:00Z")
            await audit(story)
            invoices = await story.everything("/v1/invoices")
            numbers = sorted(invoice["number"] for invoice in invoices)
            assert numbers == [f"INV-{n:06d}" for n in range(1, len(numbers) + 1)]
            assert any(line["kind"] == "adjustment" for one in invoices for line in one["lines"]), (
                "some usage came late"
            )
    finally:
        await two.close()
        await one.close()
