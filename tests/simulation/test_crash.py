"""The same crew against a server of its own over a real database, while both are killed at random
moments and replies are lost: what was answered happened, once. Clients send again until they are
answered.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plant import HEADERS, NOW, Plant, planted
from tests.scenarios.story import Json, Story
from tests.simulation.crew import Crew
from tests.simulation.seeds import seeds

CLIENTS = 8
STEPS = 15
ANSWER_S_MAX = 60


class Stubborn(httpx.AsyncBaseTransport):
    """Sends again until there is an answer. `lossy`: some clients hang up before it comes."""

    def __init__(self, plant: Plant, dice: random.Random) -> None:
        self._plant = plant
        self._dice = dice
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=40))
        self.lossy = False
        self.failures = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """An answer that is not a 503."""
        last = "nothing yet"
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                while True:
                    try:
                        answer = await self._once(request)
                        if answer.status_code != 503:
                            return answer
                        last = answer.text
                    except (httpx.TransportError, TimeoutError) as error:
                        last = repr(error)
                    self.failures += 1
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log = (self._plant.folder / "log").read_text()[-3000:]
            raise AssertionError(f"{request.method} {request.url}: {last}\n{log}") from None

    async def _once(self, request: httpx.Request) -> httpx.Response:
        hangs_up = self.lossy and request.method == "POST" and self._dice.random() < 0.15
        async with asyncio.timeout(self._dice.random() * 0.1 if hangs_up else 20):
            answer = await self._inner.handle_async_request(request)
            try:
                await answer.aread()
            finally:
                await answer.aclose()
        return answer

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


@pytest.fixture
def plant(put_cluster: Callable[[Path], None]) -> Iterator[Plant]:
    """A new plant."""
    with planted(put_cluster) as built:
        yield built


async def kill_twice(plant: Plant, dice: random.Random) -> None:
    """Kill the server and the database at some moments of the work, or both at once."""
    kills = [plant.kill_server, plant.kill_database]
    dice.shuffle(kills)
    for kill in dice.choice([kills, kills, [plant.kill_both]]):
        await asyncio.sleep(0.2 + dice.random() * 2)
        await asyncio.to_thread(kill)


@pytest.mark.xdist_group("crash")
async def test_what_was_answered_happened_once(plant: Plant) -> None:
    transport = Stubborn(plant, random.Random(seeds(1)[0]))
    async with httpx.AsyncClient(
        transport=transport, base_url=plant.url, headers=HEADERS, timeout=60
    ) as client:

        async def send(path: str, body: Any, key: str | None) -> tuple[int, Json]:
            headers = {"Idempotency-Key": key} if key is not None else {}
            answer = await client.post(f"/v1/{path}", json=body, headers=headers)
            return answer.status_code, answer.json()

        now = datetime.fromisoformat(NOW)
        for seed in seeds(1):
            dice = random.Random(seed)
            crew = Crew(Story(client), send, dice, f"s{seed}", now=now)
            transport.lossy = False
            await crew.begin(fresh=seed == seeds(1)[0])
            transport.lossy = True
            try:
                await asyncio.gather(crew.work(CLIENTS, STEPS), kill_twice(plant, dice))
                transport.lossy = False
                await crew.check()
                await crew.rest(dice.choice([1, 100, 500, 6000]))
                await crew.check()
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
            now = crew.now
            assert plant.dead.isdisjoint({plant.server.process.pid, plant.postmaster()})
