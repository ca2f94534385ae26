"""Random lives whose plans bill outcomes, too: tried again, decided about in any order and at any
time, also after their invoice, while plans change under them. The second biller recomputes all.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import pytest

from tests.scenarios.audit import audit
from tests.scenarios.story import Json, Story, usage_price
from tests.scenarios.test_simulation import TIERS, Life, plans

STEPS = 50
OUTCOMES = 15


def outcome_prices(dice: random.Random) -> list[Json]:
    """Prices by outcome, with terms at random."""

    def terms() -> Json:
        found: Json = {}
        if dice.random() < 0.5:
            found["auto_confirm_after"] = dice.choice(["PT1H", "P3D", "P15D"])
        if dice.random() < 0.5:
            found["reversible_for"] = dice.choice(["P2D", "P45D"])
        if dice.random() < 0.4:
            found["retries"] = "each"
        if dice.random() < 0.4:
            found["human_review"] = "free"
        return found

    every = [
        usage_price("won", "n", model="graduated", tiers=TIERS, outcome=terms()),
        usage_price("won-wallet", "n", model="volume", tiers=TIERS, settle="wallet",
                    outcome=terms()),
        usage_price("closed", "done", unit="0.33", included="2", outcome=terms()),
    ]  # fmt: skip
    return [price for price in every if dice.random() < 0.7] or every[:1]


@dataclass(slots=True)
class OutcomeLife(Life):
    """A customer whose events name outcomes, most of them."""

    async def begin(self) -> None:
        await Life.begin(self)
        await self.story.meter("done", "count", event_type="use")
        for name, prices in plans(self.dice).items():
            await self.story.plan(name, *prices[:4], *outcome_prices(self.dice), grace="PT1H")
        await self.subscribe()

    async def use(self) -> None:
        batch = []
        for _ in range(self.dice.randrange(1, 8)):
            self.events += 1
            data: Json = {"n": self.dice.randrange(12), "user": 1, "model": self.dice.choice("ab")}
            if self.dice.random() < 0.98:
                data["outcome_id"] = f"o{self.dice.randrange(OUTCOMES)}"
            if self.dice.random() < 0.1:
                data["human_review"] = True
            time = self.some_time(back=self.dice.choice([1, 5, 40]))
            batch.append({"id": f"e{self.events}", "type": "use", "subject": "acme", "time": time,
                          "data": data})  # fmt: skip
        again = self.dice.sample(self.sent, min(len(self.sent), 3))
        answer = await self.story.send(*batch, *again)
        assert (answer["rejected"], answer["duplicates"]) == (0, len(again))
        self.sent += batch

    async def decide(self) -> None:
        for _ in range(self.dice.randrange(1, 6)):
            verb = self.dice.choice(["confirm", "confirm", "partial", "fail", "dispute", "reverse"])
            body: Json = {"customer": "acme", "reason": str(self.dice.randrange(2))}
            if verb == "partial":
                body["share"] = self.dice.choice(["0.5", "0.333", "0.07"])
            if self.dice.random() < 0.2:
                body["human_review"] = self.dice.random() < 0.5
            path = f"/v1/outcomes/o{self.dice.randrange(OUTCOMES)}/{verb}"
            await self.attempt(path, body)

    async def attempt(self, path: str, body: Json) -> Any:
        answer = await self.story.client.post(path, json=body)
        self.notes.append(f"{self.now} {path[4:]} {body} {answer.status_code}")
        assert answer.status_code in (200, 404, 409), answer.text

    async def live(self) -> None:
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (40, self.use), (30, self.decide), (8, self.subscribe), (12, self.change),
            (3, self.cancel), (4, self.grant), (16, self.advance), (4, self.finalize),
            (2, self.release),
        ]  # fmt: skip
        for _ in range(STEPS):
            [step] = self.dice.choices([s for _, s in steps], [weight for weight, _ in steps])
            self.notes.append(f"{self.now} {step.__name__}")
            await step()


@pytest.mark.parametrize("seed", range(1, 6))
async def test_a_random_life_of_outcomes_is_billed_to_the_cent(story: Story, seed: int) -> None:
    life = OutcomeLife(story, random.Random(seed))
    try:
        await life.begin()
        await life.live()
        await audit(story)
        await story.advance((life.now + timedelta(days=100)).astimezone(UTC).isoformat())
        await audit(story)
        await life.decide()
        await audit(story)
    except AssertionError as error:
        raise AssertionError("\n".join([f"seed {seed}: {error}", *life.notes])) from error
