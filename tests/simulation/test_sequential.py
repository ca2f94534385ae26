"""Random lives of one customer, one step after the other: what is answered, and what is left after
each step, is what the model says.
"""

import random

import pytest

from tests.scenarios.story import Story
from tests.simulation.life import Life
from tests.simulation.seeds import seeds

STEPS = 150
TOLD = 40


@pytest.mark.parametrize("seed", seeds(2))
async def test_one_after_the_other(story: Story, seed: int) -> None:
    life = Life(story, random.Random(seed))
    try:
        await life.begin()
        await life.live(STEPS)
        await life.end()
    except Exception as error:
        told = "\n".join(life.notes[-TOLD:])
        raise AssertionError(f"seed {seed}: {error}\n{told}") from error
