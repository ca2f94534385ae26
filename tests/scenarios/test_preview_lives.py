"""What a preview says is what then happens: random lives in which every change and every cancel is
previewed, then made, then compared, line by line.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tests.scenarios.story import Json, Story, flat, usage_price
from tests.scenarios.test_simulation import TIERS, Life

STEPS = 50


def _plans(dice: random.Random) -> dict[str, list[Json]]:
    """Three plans over the same meters, with fees, seats and usage of every kind of meter."""
    rates = [{"match": {"model": "a"}, "unit": "0.3"}, {"match": {"model": "b"}, "unit": "0.7"}]
    every = [
        flat("fee", "31.00", timing="advance"),
        flat("support", "12.34", timing="arrears"),
        {"key": "seats", "type": "seat", "model": "per_unit", "unit": "7.77", "timing": "advance"},
        usage_price("ladder", "n", model="graduated", tiers=TIERS),
        usage_price("volume", "n", model="volume", tiers=TIERS, settle="wallet"),
        usage_price("capped", "n", unit="0.10", included="5", maximum="4"),
        usage_price("models", "n", model="dimensional", dimensions=["model"], rates=rates,
                    otherwise="zero"),
        usage_price("peak", "peak", unit="1", minimum="2"),
        usage_price("who", "who", unit="0.25"),
        usage_price("yearly", "n", model="package", amount="1", size="30", period="year"),
        usage_price("daily", "last", unit="0.01", period="day", settle="wallet"),
    ]  # fmt: skip
    found = {}
    for name in "pqr":
        prices = [dict(price) for price in every if dice.random() < 0.7] or [every[0]]
        for price in prices:
            if price["type"] == "flat":
                price["amount"] = f"{dice.randrange(1, 9000) / 100:.2f}"
            elif "unit" in price and dice.random() < 0.5:
                price["unit"] = f"0.{dice.randrange(1, 999):03d}"
        found[name] = prices
    return found


@dataclass(slots=True)
class CarefulLife(Life):
    """A life in which nobody changes a contract blind."""

    compared: int = 0
    refused: int = 0

    async def begin(self) -> None:
        story = self.story
        await story.customer(timezone=self.dice.choice(["UTC", "America/New_York"]),
                             enforcement="soft")  # fmt: skip
        await story.meter("n", event_type="use", value="n", dimensions=["model"])
        await story.meter("peak", "max", event_type="use", value="n")
        await story.meter("who", "unique", event_type="use", value="user")
        await story.meter("last", "latest", event_type="use", value="n")
        for name, prices in _plans(self.dice).items():
            fields: Json = {"grace": self.dice.choice(["PT0S", "PT1H", "P2D"])}
            if self.dice.random() < 0.5:
                fields["minimum"] = "55.00"
            if self.dice.random() < 0.3:
                fields["period"] = "week"
            await story.plan(name, *prices, **fields)

    async def subscribe(self) -> None:
        body: Json = {"customer": "acme", "plan": self.dice.choice("pqr")}
        if self.dice.random() < 0.5:
            body["starts_at"] = self.some_time(back=20)
        if self.dice.random() < 0.2:
            body["ends_at"] = (self.now + timedelta(days=self.dice.randrange(1, 70))).isoformat()
        if len(self.contracts) < 3:
            body["key"] = f"k{len(self.contracts)}"
            answer = await self.try_to("POST", "/v1/subscriptions", {**body, "quantities": {}})
            if answer is None:
                body["quantities"] = {"seats": "3"}
                answer = await self.try_to("POST", "/v1/subscriptions", body)
            if answer is not None:
                self.contracts.append(answer["id"])

    async def change(self) -> None:
        if not self.contracts:
            return
        body: Json = {
            "at": self.dice.choice(["now", "now", "period_end", self.some_time(back=20),
                                    (self.now + timedelta(days=9)).isoformat()]),
            "proration": self.dice.choice(["by_day", "by_second", "none"]),
        }  # fmt: skip
        if self.dice.random() < 0.8:
            body["plan"] = self.dice.choice("pqr")
        if self.dice.random() < 0.6:
            body["quantities"] = {"seats": str(self.dice.randrange(1, 9))}
        await self.compare("change", self.dice.choice(self.contracts), body)

    async def cancel(self) -> None:
        if self.contracts and self.dice.random() < 0.4:
            at = self.dice.choice(["now", "period_end", self.some_time(back=10)])
            body = {"at": at, "credit_unused": self.dice.random() < 0.5}
            await self.compare("cancel", self.dice.choice(self.contracts), body)

    async def live(self) -> None:
        steps = [
            (30, self.use), (8, self.subscribe), (30, self.change), (2, self.cancel),
            (6, self.grant), (14, self.advance), (3, self.finalize), (1, self.spoil),
        ]  # fmt: skip
        for _ in range(STEPS):
            [step] = self.dice.choices([s for _, s in steps], [weight for weight, _ in steps])
            self.notes.append(f"{self.now} {step.__name__}")
            await step()

    async def compare(self, step: str, contract: str, body: Json) -> None:
        """Preview, then do it: refused alike, or billed alike."""
        client, path = self.story.client, f"/v1/subscriptions/{contract}"
        before, stood = await self.upcoming(contract), await self.documents(contract)
        preview = await client.post(f"{path}/preview_{step}", json=body)
        assert await self.upcoming(contract) == before
        assert await self.documents(contract) == stood
        done = await client.post(f"{path}/{step}", json=body)
        self.notes.append(f"{self.now} {step} {contract} {body} {done.status_code}")
        if done.status_code != 200:
            self.refused += 1
            for name in ("status", "code", "detail", "errors"):
                assert preview.json()[name] == done.json()[name]
            return
        shown = preview.json()
        assert preview.status_code == 200, shown
        assert shown["without_change"] == before
        assert shown["next_invoice"] == await self.upcoming(contract)
        made = {key: one for key, one in (await self.documents(contract)).items()
                if key not in stood}  # fmt: skip
        by_time = sorted(made.values(), key=lambda one: str(one["period"]["to"]))
        lines = [_plain(line) for one in by_time for line in one["lines"]]
        assert [_plain(line) for line in shown["now"]["lines"]] == lines
        self.compared += 1

    async def upcoming(self, contract: str) -> Json | None:
        answer = await self.story.client.get(
            "/v1/customers/acme/upcoming_invoice", params={"subscription": contract}
        )
        assert answer.status_code in (200, 404)
        return answer.json() if answer.status_code == 200 else None

    async def documents(self, contract: str) -> dict[str, Json]:
        found = await self.story.invoices(subscription=contract)
        return {one["id"]: one for one in found}


def _plain(line: Json) -> Json:
    return {name: value for name, value in line.items() if name != "id"}


@pytest.mark.parametrize("seed", [100, 103, 104, 108])
async def test_a_preview_says_what_happens(story: Story, seed: int) -> None:
    story.audited = False  # the invoices are those of the change; here the two are compared
    life = CarefulLife(story, random.Random(seed))
    try:
        await life.begin()
        await life.live()
    except AssertionError as error:
        raise AssertionError("\n".join([f"seed {seed}: {error}", *life.notes])) from error
    assert life.compared > 0, life.notes
