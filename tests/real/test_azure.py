"""Real usage, priced to the cent: an hour of LLM requests in production.

The folder named by TAXIMETER_REAL_DATA holds the trace (19,366 requests; 22,361,870 tokens in,
4,088,665 out). At 1.75 and 14.00 USD for a million:

    22,361,870 x 1.75 / 10^6 = 39.1332725  ->  39.13
     4,088,665 x 14   / 10^6 = 57.24131    ->  57.24    together 96.37
"""

import asyncio
import csv
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for

FOLDER = os.environ.get("TAXIMETER_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="needs TAXIMETER_REAL_DATA")
NOW = datetime(2023, 11, 16, 20, tzinfo=UTC)
PRICES = {"input": "1.75", "output": "14.00"}
# How the same events are sent, one way after the other: batch size, and requests under way.
WAYS = [(1, 64), (7, 16), (1000, 4)]


def trace() -> list[dict[str, Any]]:
    """The trace as events; the times of the file are UTC and have seven fraction digits."""
    path = Path(FOLDER or "") / "azure-llm-2023-conversation.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                "id": f"row-{number}", "source": "azure", "type": "llm", "subject": "acme",
                "time": row["TIMESTAMP"].replace(" ", "T") + "Z",
                "data": {"input": int(row["ContextTokens"]), "output": int(row["GeneratedTokens"])},
            }
            for number, row in enumerate(csv.DictReader(file))
        ]  # fmt: skip


async def send(
    client: httpx.AsyncClient, events: list[dict[str, Any]], size: int, under_way: int
) -> dict[str, int]:
    """Send all events in batches of `size`, so many requests at a time; the counts added up."""
    counts = {"accepted": 0, "duplicates": 0, "quarantined": 0, "rejected": 0}
    batches = iter([events[at : at + size] for at in range(0, len(events), size)])

    async def work() -> None:
        for batch in batches:
            answer = await client.post("/v1/events", json=batch)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            for name in counts:
                counts[name] += found[name]

    await asyncio.gather(*(work() for _ in range(under_way)))
    return counts


async def upcoming(client: httpx.AsyncClient) -> tuple[list[tuple[str, str]], str]:
    """Quantity and amount of each line of the upcoming invoice, and its total."""
    invoice = (await client.get("/v1/customers/acme/upcoming_invoice")).json()
    return [(line["quantity"], line["amount"]) for line in invoice["lines"]], invoice["total"]


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_the_trace_costs_the_same_however_it_arrives(database_url: str, first: int) -> None:
    events = trace()
    assert len(events) == 19_366
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=NOW, workers=False
    )
    instance = await open_instance(settings)
    try:
        async with client_for(instance, ROOT_KEY) as client:
            await begin(client)
            expected = ([("22361870", "39.13"), ("4088665", "57.24")], "96.37")
            for turn in range(2):
                size, under_way = WAYS[(first + turn) % 3]
                random.Random(turn).shuffle(events)
                counts = await send(client, events, size, under_way)
                status = "duplicates" if turn else "accepted"
                assert counts == {**dict.fromkeys(counts, 0), status: 19_366}
                assert await upcoming(client) == expected  # at once: nothing is computed later
            await client.post("/v1/test_clock/advance", json={"to": "2023-12-01T01:00:00Z"})
            [invoice] = (await client.get("/v1/invoices?customer=acme")).json()["data"]
            assert (invoice["status"], invoice["number"]) == ("open", "INV-000001")
            assert [line["amount"] for line in invoice["lines"]] == ["39.13", "57.24"]
            assert [line["exact"] for line in invoice["lines"]] == ["39.1332725", "57.24131"]
            assert (invoice["subtotal"], invoice["total"]) == ("96.37", "96.37")
    finally:
        await instance.close()


async def begin(client: httpx.AsyncClient) -> None:
    """A meter and a price for each kind of token, a customer and a subscription."""
    prices = []
    for key, unit in PRICES.items():
        body = {"event_type": "llm", "aggregation": "sum", "value": key}
        assert (await client.put(f"/v1/meters/{key}", json=body)).status_code == 201
        prices.append(
            {
                "key": key, "type": "usage", "meter": key, "model": "per_unit",
                "unit": unit, "per": "1000000",
            }
        )  # fmt: skip
    plan = {"name": "Trace", "currency": "USD", "period": "month", "prices": prices}
    assert (await client.put("/v1/plans/trace", json=plan)).status_code == 201
    assert (await client.put("/v1/customers/acme", json={})).status_code == 201
    body = {"customer": "acme", "plan": "trace", "starts_at": "2023-11-01T00:00:00Z"}
    assert (await client.post("/v1/subscriptions", json=body)).status_code == 201
