"""Random lives of one customer, one step after the other: what is answered, and what is left after
each step, is what the model says. TAXIMETER_SIMULATE_SEED is the first seed of as many as
TAXIMETER_SIMULATE_SEEDS says.
"""

import os
import random

import pytest

from tests.scenarios.story import Story
from tests.simulation.life import Life

SEED = int(os.environ.get("TAXIMETER_SIMULATE_SEED", "1"))
SEEDS = int(os.environ.get("TAXIMETER_SIMULATE_SEEDS", "2"))
STEPS = 150


@pytest.mark.parametrize("seed", range(SEED, SEED + SEEDS))
async def test_one_after_the_other(story: Story, seed: int) -> None:
    life = Life(story, random.Random(seed))
    try:
        await life.begin()
        await life.live(STEPS)
        await life.end()
    except Exception as error:
        told = "\n".join(life.notes[-int(os.environ.get("TAXIMETER_SIMULATE_TOLD", "60")) :])
        raise AssertionError(f"seed {seed}: {error}\n{told}") from error
