"""Random lives with terms of one's own: overrides, ramps, trials and pauses among late usage and
changes of plans, each audited from its raw events.
"""

import random
from dataclasses import dataclass
from datetime import UTC, timedelta

import pytest

from tests.scenarios.audit import audit
from tests.scenarios.story import Json, Story
from tests.scenarios.test_simulation import Life

STEPS = 30
PRICES = ("fee", "support", "ladder", "capped", "peak", "daily")


@dataclass(slots=True)
class OwnLife(Life):
    """A life whose contracts differ from the plans."""

    def discount(self) -> Json:
        """One that lasts: the second biller's months know nothing of trials."""
        return {"percent": str(self.dice.choice([7, 25, 50]))}

    def overrides(self) -> Json:
        """Other amounts for a price or two; the plan may not have them."""
        found: Json = {}
        for key in self.dice.sample(PRICES, self.dice.randrange(3)):
            amount = f"{self.dice.randrange(1, 900) / 100:.2f}"
            found[key] = {"amount" if key in ("fee", "support") else "unit": amount}
            if key == "ladder":
                found[key] = {"tiers": [{"up_to": "30", "unit": "0"}, {"unit": amount}]}
        return found

    async def subscribe(self) -> None:
        body: Json = {"customer": "acme", "plan": self.dice.choice("pqr")}
        if self.dice.random() < 0.5:
            body["starts_at"] = self.some_time(back=35)
        if self.dice.random() < 0.3:
            body["align"] = "calendar"
        if self.dice.random() < 0.4:
            body["trial_days"] = self.dice.choice([3, 10, 40])
        if self.dice.random() < 0.5:
            body["overrides"] = self.overrides()
        phases: list[Json] = []
        for after in sorted(self.dice.sample(range(1, 80), self.dice.randrange(3))):
            phase: Json = {"after": f"P{after}D"}
            if self.dice.random() < 0.6:
                phase["adjust_percent"] = str(self.dice.choice([-25, 10, 100]))
            if self.dice.random() < 0.3:
                phase["plan"] = self.dice.choice("pqr")
            if self.dice.random() < 0.3:
                phase["overrides"] = self.overrides()
            phases.append(phase)
        if len(self.contracts) < 2:
            answer = await self.try_to("POST", "/v1/subscriptions", {**body, "phases": phases})
            if answer is not None:
                self.contracts.append(answer["id"])

    async def change(self) -> None:
        if not self.contracts:
            return
        at = self.dice.choice(["now", "period_end", self.some_time(back=20),
                               (self.now + timedelta(days=9)).isoformat()])  # fmt: skip
        path = f"/v1/subscriptions/{self.dice.choice(self.contracts)}"
        body: Json = {"at": at}
        if self.dice.random() < 0.5:
            body["plan"] = self.dice.choice("pqr")
        if self.dice.random() < 0.5:
            body["overrides"] = self.overrides()
        await self.try_to("POST", f"{path}/change", body)

    async def rest(self) -> None:
        """A pause, or the end of one."""
        if not self.contracts:
            return
        path = f"/v1/subscriptions/{self.dice.choice(self.contracts)}"
        at = self.dice.choice(["now", "now", "period_end", self.some_time(back=10)])
        if self.dice.random() < 0.4:
            await self.try_to("POST", f"{path}/resume", {"at": at})
        else:
            until = (self.now + timedelta(days=self.dice.randrange(60))).isoformat()
            body = {"at": at, "until": self.dice.choice([None, until])}
            await self.try_to("POST", f"{path}/pause", body)

    async def live(self) -> None:
        steps = [
            (30, self.use), (10, self.subscribe), (16, self.change), (14, self.rest),
            (2, self.cancel), (16, self.advance), (4, self.finalize),
        ]  # fmt: skip
        for _ in range(STEPS):
            [step] = self.dice.choices([s for _, s in steps], [weight for weight, _ in steps])
            self.notes.append(f"{self.now} {step.__name__}")
            await step()


@pytest.mark.parametrize("seed", [1, 2, 5, 18])
async def test_a_life_of_ones_own_is_billed_as_the_second_biller_says(
    story: Story, seed: int
) -> None:
    life = OwnLife(story, random.Random(seed))
    try:
        await life.begin()
        await life.live()
        await audit(story)
        await story.advance((life.now + timedelta(days=100)).astimezone(UTC).isoformat())
        await audit(story)
    except AssertionError as error:
        raise AssertionError("\n".join([f"seed {seed}: {error}", *life.notes])) from error
