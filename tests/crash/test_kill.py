"""kill -9 of the server and of the database under load: clients that send again until they are
answered lose nothing and double nothing.

The server is a real one, over its own PostgreSQL with its real settings. TAXIMETER_CRASH_ROUNDS
asks for more rounds than 3; what a round did is printed with its seed.
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plant import HEADERS, Plant, planted
from tests.scenarios.audit import audit
from tests.scenarios.story import Json, Story, event, flat, usage_price

ROUNDS = int(os.environ.get("TAXIMETER_CRASH_ROUNDS", "2"))
SEED = int(os.environ.get("TAXIMETER_CRASH_SEED", "1"))
CLIENTS = 6
REQUESTS = 36  # of each client in a round
ANSWER_S_MAX = 120
UNIT, GRANT = Decimal("0.001"), Decimal(1000)


@pytest.fixture
def anyio_backend() -> str:
    """What the test runs on."""
    return "asyncio"


@pytest.fixture
def plant(put_cluster: Callable[[Path], None]) -> Iterator[Plant]:
    """A new plant."""
    with planted(put_cluster) as built:
        yield built


@dataclass(slots=True)
class Load:
    """What the clients of one round send, and how each event was answered."""

    requests: list[list[tuple[str, list[Json]]]]
    answered: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    moments: dict[int, asyncio.Event] = field(default_factory=dict)
    done: int = 0
    failures: int = 0

    @classmethod
    def make(cls, customer: str, dice: random.Random) -> "Load":
        """Each client has events of its own, and some that another sends as well."""
        requests: list[list[tuple[str, list[Json]]]] = []
        shared: list[Json] = []
        for client in range(CLIENTS):
            mine: list[tuple[str, list[Json]]] = []
            for number in range(REQUESTS):
                size = dice.choice([1, 1, 2, 10, 50, 150])
                batch = [
                    event(
                        dice.choice(["call", "token"]), f"{client}-{number}-{n}",
                        f"2026-01-{dice.randrange(1, 15):02d}T{dice.randrange(24):02d}:30:00Z",
                        customer=customer, q=dice.randrange(1, 50), user=dice.randrange(300),
                    )
                    for n in range(size)
                ]  # fmt: skip
                batch += dice.sample(shared, min(len(shared), size // 10))
                shared += batch[: size // 10]
                key = f"{customer}-{client}-{number}" if dice.random() < 0.3 else ""
                mine.append((key, batch))
            requests.append(mine)
        return cls(requests)

    def events(self) -> dict[str, Json]:
        """Every event, once."""
        return {one["id"]: one for client in self.requests for _, batch in client for one in batch}

    async def send(self, url: Callable[[], str]) -> None:
        """Send everything, each request until it is answered."""
        await asyncio.gather(*[self._client(url, requests) for requests in self.requests])

    async def _client(self, url: Callable[[], str], requests: list[tuple[str, list[Json]]]) -> None:
        async with httpx.AsyncClient(timeout=20, headers=HEADERS) as http:
            for key, batch in requests:
                answer = await self._until_answered(http, url, key, batch)
                assert len(answer["results"]) == len(batch)
                for one, result in zip(batch, answer["results"], strict=True):
                    assert result["status"] in ("accepted", "duplicate"), result
                    self.answered[one["id"]] += 1
                    self.accepted[one["id"]] += result["status"] == "accepted"
                self.done += 1
                if self.done in self.moments:
                    self.moments[self.done].set()

    async def reaches(self, done: int) -> None:
        """Wait until so many requests are answered."""
        if self.done < done:
            await self.moments.setdefault(done, asyncio.Event()).wait()

    async def _until_answered(
        self, http: httpx.AsyncClient, url: Callable[[], str], key: str, batch: list[Json]
    ) -> Any:
        content = json.dumps(batch)
        headers = {"idempotency-key": key} if key else {}
        async with asyncio.timeout(ANSWER_S_MAX):
            while True:
                with suppress(httpx.TransportError):
                    path = f"{url()}/v1/events?results=all"
                    answer = await http.post(path, content=content, headers=headers)
                    if answer.status_code == 200:
                        return answer.json()
                    assert answer.status_code == 503, answer.text
                    assert int(answer.headers["retry-after"]) >= 1
                self.failures += 1
                await asyncio.sleep(0.05)


async def publish(story: Story) -> None:
    """Calls are drawn from the wallet, tokens go onto the invoice, users are counted once."""
    await story.meter("calls", event_type="call", value="q")
    await story.meter("tokens", event_type="token", value="q")
    await story.meter("users", "unique", event_type="token", value="user")
    tiers = [{"up_to": "10000", "unit": "0.01"}, {"unit": "0.003"}]
    await story.plan(
        "p", flat("fee", "5.00", timing="arrears"),
        usage_price("calls", "calls", unit=str(UNIT), settle="wallet"),
        usage_price("tokens", "tokens", model="graduated", tiers=tiers),
        usage_price("users", "users", unit="0.10"),
    )  # fmt: skip


async def check(story: Story, customer: str, load: Load) -> None:
    """Events, usage, wallet and invoice say what was sent, once each."""
    sent = load.events()
    assert load.answered.keys() == sent.keys(), "each event was answered"
    twice = [one for one, times in load.accepted.items() if times > 1 and not keyed(load, one)]
    assert not twice, "what was accepted once is a duplicate from then on"
    stored = await story.everything("/v1/events", customer=customer)
    assert {one["id"]: one["data"] for one in stored} == {
        one["id"]: one["data"] for one in sent.values()
    }
    assert len(stored) == len(sent)
    sums = {kind: sum(one["data"]["q"] for one in sent.values() if one["type"] == kind)
            for kind in ("call", "token")}  # fmt: skip
    users = {one["data"]["user"] for one in sent.values() if one["type"] == "token"}
    month = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
    for window in ("total", "hour"):
        for meter, value in (("calls", sums["call"]), ("tokens", sums["token"])):
            rows = await story.usage(meter, customer=customer, window=window, **month)
            assert sum(Decimal(row["value"]) for row in rows) == value, (meter, window)
    drawn = sums["call"] * UNIT
    assert Decimal(await story.available(customer)) == GRANT - drawn
    entries = await story.everything(f"/v1/customers/{customer}/wallet_entries")
    assert sum(Decimal(one["amount"]) for one in entries) == GRANT - drawn
    upcoming = await story.upcoming(customer)
    quantities = {line["price"]: Decimal(line["quantity"]) for line in upcoming["lines"]}
    assert quantities == {"fee": 1, "tokens": sums["token"], "users": len(users)}


def keyed(load: Load, event_id: str) -> bool:
    """Whether the event was in a request with an idempotency key, whose answer is given again."""
    return any(
        key and any(one["id"] == event_id for one in batch)
        for client in load.requests for key, batch in client
    )  # fmt: skip


async def trouble(plant: Plant, load: Load, dice: random.Random, kind: str) -> None:
    """Kill at some moment of the load, twice in some rounds."""
    kill = {"server": plant.kill_server, "database": plant.kill_database, "both": plant.kill_both}
    for moment in sorted(dice.sample(range(2, CLIENTS * REQUESTS - 10), dice.choice([1, 1, 2]))):
        await load.reaches(moment)
        await asyncio.sleep(dice.random() * 0.03)
        await asyncio.to_thread(kill[kind])


async def patiently(work: Callable[[], Awaitable[Any]]) -> None:
    """Do it once the database is back."""
    async with asyncio.timeout(ANSWER_S_MAX):
        while True:
            with suppress(httpx.TransportError, AssertionError):
                await work()
                return
            await asyncio.sleep(0.1)


@pytest.mark.xdist_group("crash")
async def test_nothing_is_lost_or_doubled(plant: Plant) -> None:
    loads: dict[str, Load] = {}
    async with httpx.AsyncClient(base_url=plant.url, headers=HEADERS, timeout=60) as client:
        story = Story(client)
        await publish(story)
        for number in range(ROUNDS):
            seed = f"{SEED}-{number}"
            dice = random.Random(seed)
            kind = ("server", "database", "server", "database", "both")[number % 5]
            customer = f"round-{number}"
            await story.customer(customer)
            await story.grant(str(GRANT), customer)
            await story.subscribe("p", customer, starts_at="2026-01-01T00:00:00Z")
            load = loads[customer] = Load.make(customer, dice)
            await asyncio.gather(load.send(lambda: plant.url), trouble(plant, load, dice, kind))
            await patiently(lambda: client.get("/readyz"))
            assert plant.dead.isdisjoint({plant.server.process.pid, plant.postmaster()})
            assert len(plant.dead) > number, "something died in each round"
            await check(story, customer, load)
        await close_the_books(plant, story, loads)


async def close_the_books(plant: Plant, story: Story, loads: dict[str, Load]) -> None:
    """The month ends while the server is killed in the middle of it: each invoice is made once,
    without a gap in their numbers, and says what a second biller says.
    """
    advance = asyncio.create_task(
        story.client.post("/v1/test_clock/advance", json={"to": "2026-03-01T01:00:00Z"})
    )
    await asyncio.sleep(0.02 * len(loads))
    await asyncio.to_thread(plant.kill_server)
    with suppress(httpx.TransportError):
        await advance
    for customer, load in loads.items():
        await until_true(story, customer, load)
    await story.advance("2026-03-01T01:00:00Z")
    invoices = await story.everything("/v1/invoices")
    assert len(invoices) == 2 * len(loads)
    numbers = sorted(one["number"] for one in invoices)
    assert numbers == [f"INV-{n:06d}" for n in range(1, len(invoices) + 1)]
    await audit(story)


async def until_true(story: Story, customer: str, load: Load) -> None:
    """The wallet is as it was, whatever of the month's end is done."""
    sent = load.events().values()
    drawn = sum(one["data"]["q"] for one in sent if one["type"] == "call") * UNIT
    entries = await story.everything(f"/v1/customers/{customer}/wallet_entries")
    draws = -sum(Decimal(one["amount"]) for one in entries if one["kind"] == "draw")
    assert draws == drawn
