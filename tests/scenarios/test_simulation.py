"""Random lives of a customer: usage on time, late and too early, plans that change, backdated and
planned, contracts that end, meters that appear, discounts and coupons, months that close by
themselves and by hand. After each, the second biller recomputes everything from the raw events.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.scenarios.audit import audit
from tests.scenarios.story import START, Json, Story, event, flat, usage_price

STEPS = 40
TIERS = [
    {"up_to": "20", "unit": "0.50", "flat": "2"},
    {"up_to": "60", "unit": "0.20"},
    {"unit": "0.05"},
]
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]


def plans(dice: random.Random) -> dict[str, list[Json]]:
    """Three plans over the same meters: invoice and wallet, ladders and caps, by model."""
    rates = [{"match": {"model": "a"}, "unit": "0.3"}, {"match": {"model": "b"}, "unit": "0.7"}]
    every = [
        flat("fee", "31.00", timing="advance"),
        flat("support", "12.34", timing="arrears"),
        usage_price("ladder", "n", model="graduated", tiers=TIERS),
        usage_price("volume", "n", model="volume", tiers=TIERS, settle="wallet"),
        usage_price("capped", "n", unit="0.10", included="5", maximum="4"),
        usage_price("models", "n", model="dimensional", dimensions=["model"], rates=rates,
                    otherwise="zero"),
        usage_price("peak", "peak", unit="1"), usage_price("who", "who", unit="0.25"),
        usage_price("quarterly", "n", model="package", amount="1", size="30", period="quarter"),
        usage_price("daily", "last", unit="0.01", period="day", settle="wallet"),
    ]  # fmt: skip
    found = {}
    for name in ("p", "q", "r"):
        prices = [dict(price) for price in every if dice.random() < 0.8] or [every[0]]
        for price in prices:
            if price["type"] == "flat":
                price["amount"] = f"{dice.randrange(1, 9000) / 100:.2f}"
            elif "unit" in price and dice.random() < 0.5:
                price["unit"] = f"0.{dice.randrange(1, 999):03d}"
        found[name] = prices
    return found


@dataclass(slots=True)
class Life:
    """One customer's life; `notes` tell it, should the second biller disagree."""

    story: Story
    dice: random.Random
    now: datetime = START
    events: int = 0
    sent: list[Json] = field(default_factory=list)
    contracts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        story = self.story
        await story.customer(timezone=self.dice.choice(ZONES), enforcement="soft")
        await story.meter("n", event_type="use", value="n", dimensions=["model"])
        await story.meter("peak", "max", event_type="use", value="n")
        await story.meter("who", "unique", event_type="use", value="user")
        await story.meter("last", "latest", event_type="use", value="n")
        for name, prices in plans(self.dice).items():
            grace = self.dice.choice(["PT0S", "PT1H", "P2D"])
            discount = self.discount() if self.dice.random() < 0.4 else None
            await story.plan(name, *prices, grace=grace, discount=discount)
        for coupon in "ABCD":
            body: Json = {**self.discount(), "per_customer_max": 50}
            if "amount" in body:
                body["currency"] = "USD"
            if self.dice.random() < 0.4:
                body["prices"] = self.dice.sample(["fee", "support", "ladder", "models"], 2)
            if self.dice.random() < 0.4:
                body["plans"] = self.dice.sample("pqr", 2)
            if self.dice.random() < 0.3:
                body["starts_at"] = f"2026-0{self.dice.randrange(1, 4)}-01T00:00:00Z"
            if self.dice.random() < 0.3:
                body["ends_at"] = f"2026-0{self.dice.randrange(4, 7)}-17T00:00:00Z"
            await story.ask("PUT", f"/v1/coupons/{coupon}", json=body)

    def discount(self) -> Json:
        """A percent or an amount off whole invoices, for a while or for good."""
        found: Json = {"percent": str(self.dice.choice([7, 25, 50, 100]))}
        if self.dice.random() < 0.4:
            found = {"amount": self.dice.choice(["3", "17.50", "1000"])}
        return {**found, "months": self.dice.choice([None, 1, 2, 3])}

    def some_time(self, *, back: float) -> str:
        """An instant up to so many days ago, at times a midnight, at times an hour ahead."""
        at = self.now + timedelta(hours=1) - timedelta(seconds=self.dice.random() * back * 86400)
        if self.dice.random() < 0.2:
            at = min(at, self.now).replace(hour=0, minute=0, second=0, microsecond=0)
        return at.isoformat()

    async def use(self) -> None:
        batch = []
        for _ in range(self.dice.randrange(1, 12)):
            self.events += 1
            fields: Json = {"n": self.dice.randrange(12), "user": self.dice.randrange(9)}
            if self.contracts and self.dice.random() < 0.2:
                fields["subscription"] = self.dice.choice([*self.contracts, "later"])
            batch.append(
                event(
                    "use",
                    f"e{self.events}",
                    self.some_time(back=self.dice.choice([1, 1, 5, 40])),
                    model=self.dice.choice("abc"),
                    **fields,
                )
            )
        again = self.dice.sample(self.sent, min(len(self.sent), 3))
        answer = await self.story.send(*batch, *again)
        assert answer["rejected"] == 0
        assert answer["duplicates"] == len(again)
        self.sent += batch

    async def spoil(self) -> None:
        """Events that nobody can read."""
        self.events += 1
        answer = await self.story.send(event("use", f"e{self.events}", n="?", user=1, model="a"))
        assert answer["quarantined"] == 1

    async def subscribe(self) -> None:
        body: Json = {"customer": "acme", "plan": self.dice.choice("pqr")}
        if self.dice.random() < 0.5:
            body["starts_at"] = self.some_time(back=35)
        if self.dice.random() < 0.3:
            body["anchor"] = self.dice.choice(["2026-01-31", "2026-01-01", "2025-12-15T06:30:00"])
        if self.dice.random() < 0.2:
            body["ends_at"] = (self.now + timedelta(days=self.dice.randrange(1, 70))).isoformat()
        if len(self.contracts) < 3:
            body["key"] = "later" if len(self.contracts) == 2 else f"k{len(self.contracts)}"
            answer = await self.try_to("POST", "/v1/subscriptions", body)
            if answer is not None:
                self.contracts.append(answer["id"])

    async def change(self) -> None:
        if self.contracts:
            at = self.dice.choice(["now", "period_end", self.some_time(back=20),
                                   (self.now + timedelta(days=9)).isoformat()])  # fmt: skip
            path = f"/v1/subscriptions/{self.dice.choice(self.contracts)}/change"
            await self.try_to("POST", path, {"plan": self.dice.choice("pqr"), "at": at})

    async def rebate(self) -> None:
        """A coupon redeemed or ended, or another discount of the subscription's own."""
        if not self.contracts:
            return
        path = f"/v1/subscriptions/{self.dice.choice(self.contracts)}"
        what = self.dice.random()
        if what < 0.5:
            await self.try_to("POST", f"{path}/coupons", {"coupon": self.dice.choice("ABCD")})
        elif what < 0.8:
            at = self.dice.choice(["now", "period_end", self.some_time(back=20)])
            discount = self.discount() if self.dice.random() < 0.7 else None
            await self.try_to("POST", f"{path}/change", {"discount": discount, "at": at})
        else:
            for given in (await self.story.ask("GET", f"{path}/discounts"))["data"]:
                if given["coupon"] and self.dice.random() < 0.5:
                    await self.story.ask("DELETE", f"{path}/coupons/{given['id']}")
                    self.notes.append(f"{self.now} ended {given['coupon']}")

    async def cancel(self) -> None:
        if self.contracts and self.dice.random() < 0.4:
            at = self.dice.choice(["now", "period_end", self.some_time(back=10)])
            path = f"/v1/subscriptions/{self.dice.choice(self.contracts)}/cancel"
            credit = self.dice.random() < 0.5
            await self.try_to("POST", path, {"at": at, "credit_unused": credit})

    async def grant(self) -> None:
        await self.story.grant(str(self.dice.randrange(1, 60)), priority=self.dice.randrange(3))

    async def advance(self) -> None:
        self.now += timedelta(hours=self.dice.choice([1, 13, 24, 24 * 7, 24 * 20]))
        await self.story.advance(self.now.isoformat())

    async def finalize(self) -> None:
        for draft in await self.story.invoices(status="draft"):
            if self.dice.random() < 0.5:
                await self.story.ask("POST", f"/v1/invoices/{draft['id']}/finalize")

    async def release(self) -> None:
        await self.story.ask("POST", "/v1/events/release")

    async def try_to(self, method: str, path: str, body: Json) -> Any:
        """What a rule may forbid: then it must say which, and leave all as it was."""
        answer = await self.story.client.request(method, path, json=body)
        self.notes.append(f"{self.now} {path[4:]} {body} {answer.status_code}")
        assert answer.status_code in (200, 201, 409, 422), answer.text
        return answer.json() if answer.status_code < 300 else None

    async def live(self) -> None:
        steps: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (40, self.use), (3, self.spoil), (8, self.subscribe), (12, self.change),
            (4, self.cancel), (5, self.grant), (22, self.advance), (4, self.finalize),
            (2, self.release), (8, self.rebate),
        ]  # fmt: skip
        for _ in range(STEPS):
            [step] = self.dice.choices([s for _, s in steps], [weight for weight, _ in steps])
            self.notes.append(f"{self.now} {step.__name__}")
            await step()


@pytest.mark.parametrize("seed", range(1, 7))
async def test_a_random_life_is_billed_to_the_cent(story: Story, seed: int) -> None:
    life = Life(story, random.Random(seed))
    try:
        await life.begin()
        await life.live()
        await audit(story)
        await story.advance((life.now + timedelta(days=100)).astimezone(UTC).isoformat())
        await audit(story)
    except AssertionError as error:
        raise AssertionError("\n".join([f"seed {seed}: {error}", *life.notes])) from error
