"""Many clients at once, each request sent twice with the same key at times: nothing is spent twice,
nothing that is not there, and the books add up.
"""

import asyncio
import random
from typing import Any

import pytest

from tests.scenarios.story import Json, Story
from tests.simulation.crew import Crew
from tests.simulation.seeds import seeds

CLIENTS = 8
STEPS = 12
ROUNDS = 2


@pytest.mark.parametrize("seed", seeds(1))
async def test_many_at_once(story: Story, seed: int) -> None:
    dice = random.Random(seed)

    async def send(path: str, body: Any, key: str | None) -> tuple[int, Json]:
        headers = {"Idempotency-Key": key} if key is not None else {}
        times = 2 if key is not None and dice.random() < 0.2 else 1
        answers = await asyncio.gather(
            *(story.client.post(f"/v1/{path}", json=body, headers=headers) for _ in range(times))
        )
        # A refusal is not kept: of two at once one may be refused, and the other then find room.
        said = [(one.status_code, one.json()) for one in answers if one.is_success]
        assert all(one == said[0] for one in said), (path, body, said)
        assert all(one.status_code < 500 for one in answers), (path, body, answers)
        return said[0] if said else (answers[0].status_code, answers[0].json())

    crew = Crew(story, send, dice, "c")
    try:
        await crew.begin()
        for _ in range(ROUNDS):
            await crew.work(CLIENTS, STEPS)
            await crew.check()
            await crew.rest(dice.choice([1, 100, 500, 6000]))
            await crew.check()
        assert crew.reads > 0
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}") from error
