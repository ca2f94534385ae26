"""Random lives under every model of usage prices: percentages, costs, prices that events carry,
multipliers, ranges, pools, shares, caps a day and outcomes, from invoices and wallets, among late
usage and changes of plans. After each, the second biller recomputes everything from raw events.
"""

import random
from dataclasses import dataclass
from datetime import UTC, timedelta

import pytest

from tests.scenarios.audit import audit
from tests.scenarios.story import Json, Story, event, usage_price
from tests.scenarios.test_simulation import ZONES, Life

STEPS = 30
MULTIPLIERS = [
    {"when": {"batch": True}, "factor": "0.5"},
    {"when": {"n": {"above": 6}, "model": ["a", "b"]}, "factor": "1.7"},
]


def _ladder(dice: random.Random, kind: str) -> list[Json]:
    tiers: list[Json] = []
    for bound in ("15", "40", None):
        tier: Json = {"flat": str(dice.randrange(4))}
        if kind == "graduated_percentage":
            tier["percent"] = str(dice.randrange(1, 30))
        elif kind != "stairstep":
            tier["unit"] = f"0.{dice.randrange(1, 99):02d}"
        tiers.append(tier if bound is None else {"up_to": bound, **tier})
    return tiers


def _prices(dice: random.Random, pool: str, settle: str) -> list[Json]:
    def cents() -> str:
        return f"{dice.randrange(1, 300) / 100:.2f}"

    rates = [
        {"match": {"model": "a"}, "model": "percentage", "percent": "3", "fixed": cents()},
        {"match": {"model": "b", "n": {"above": 5}}, "unit": cents()},
        {"match": {"model": "b"}, "model": "cost_plus", "markup_percent": "20"},
    ]
    fees = {"model": "percentage", "percent": "10", "fixed": cents(), "max_per_event": "3"}
    every = [
        usage_price("share", "n", unit=cents(), settle=settle,
                    included={"percent": "30", "of": "p1"}),
        usage_price("p1", "n", unit=None, model=pool, pool="p", settle=settle,
                    tiers=_ladder(dice, pool)),
        usage_price("p2", "m", unit=None, model=pool, pool="p", settle=settle, included="3",
                    tiers=_ladder(dice, pool)),
        usage_price("free", "n", unit=None, free_events=3, free_amount="20", **fees),
        usage_price("fees", "m", unit=None, **fees, maximum_per_day="5", settle="wallet"),
        usage_price("cost", "n", unit=None, model="cost_plus", markup_percent="10",
                    markup_fixed=cents(), multipliers=MULTIPLIERS, settle="wallet"),
        usage_price("carried", "m", unit=None, model="dynamic", value="quote.total",
                    factor=cents(), discount={"amount": "7"}, maximum_per_day="9"),
        usage_price("factors", "n", unit=cents(), per="8", multipliers=MULTIPLIERS, included="9",
                    settle="wallet"),
        usage_price("ranges", "n", unit=None, model="dimensional", dimensions=["model", "n"],
                    rates=rates, otherwise=dice.choice(["zero", {"unit": "0.11"}]),
                    included="4", maximum="30", settle=dice.choice(["invoice", "wallet"])),
        usage_price("daily", "m", unit="1", maximum_per_day="8", maximum="40",
                    discount={"percent": "10"}),
        usage_price("done", "done", unit=None, **fees, outcome={"retries": "each"},
                    settle=dice.choice(["invoice", "wallet"])),
        usage_price("q1", "done", unit=None, model=pool, pool="q", outcome={}, settle="wallet",
                    tiers=_ladder(dice, pool)),
        usage_price("q2", "m", unit=None, model=pool, pool="q", settle="wallet",
                    tiers=_ladder(dice, pool)),
    ]  # fmt: skip
    for price in every:
        if price.get("pool") == "q":
            bounds = [tier.get("up_to") for tier in price["tiers"]]
            assert bounds == ["15", "40", None]
    return every


@dataclass(slots=True)
class ModelLife(Life):
    """A life under three plans that have some prices in common."""

    async def begin(self) -> None:
        story, dice = self.story, self.dice
        await story.customer(timezone=dice.choice(ZONES), enforcement="soft")
        await story.meter("n", event_type="use", value="n", dimensions=["model"])
        await story.meter("m", event_type="use", value="m")
        await story.meter("done", event_type="job", value="n")
        pool = dice.choice(["graduated", "volume", "stairstep", "graduated_percentage"])
        every = _prices(dice, pool, dice.choice(["invoice", "wallet"]))
        for name in "pqr":
            mine = [dict(price) for price in every]
            for price in mine:
                if dice.random() < 0.15 and "tiers" in price:
                    price["tiers"] = _ladder(dice, price["model"])
                elif dice.random() < 0.2:
                    price["discount"] = {"percent": str(dice.randrange(1, 99))}
            left_out = {one for pair in ("free", "fees", "cost", "carried", "factors", "ranges",
                                         "daily", "done") if dice.random() < 0.2
                        for one in [pair]}  # fmt: skip
            if dice.random() < 0.2:
                left_out |= {"share"}
            if dice.random() < 0.2:
                left_out |= {"q1", "q2"}
            fields: Json = {"grace": dice.choice(["PT0S", "PT1H", "P2D"])}
            if dice.random() < 0.4:
                fields["minimum"] = "66"
            prices = [price for price in mine if price["key"] not in left_out]
            await story.plan(name, *prices, **fields)

    async def use(self) -> None:
        dice = self.dice
        batch: list[Json] = []
        for _ in range(dice.randrange(1, 8)):
            self.events += 1
            fields: Json = {
                "n": dice.randrange(12), "m": dice.randrange(9), "batch": dice.random() < 0.4,
                "cost": f"{dice.randrange(300) / 100:.2f}", "quote": {"total": dice.randrange(5)},
            }  # fmt: skip
            if dice.random() < 0.8:
                fields["model"] = dice.choice("abc")
            if self.contracts and dice.random() < 0.2:
                fields["subscription"] = dice.choice(self.contracts)
            kind = "use"
            if dice.random() < 0.4:
                kind, fields["outcome_id"] = "job", f"o{dice.randrange(9)}"
            time = self.some_time(back=dice.choice([1, 1, 5, 40]))
            batch.append(event(kind, f"e{self.events}", time, **fields))
        again = dice.sample(self.sent, min(len(self.sent), 3))
        answer = await self.story.send(*batch, *again)
        assert answer["rejected"] == 0 and answer["quarantined"] == 0, answer
        assert answer["duplicates"] == len(again)
        self.sent += batch

    async def decide(self) -> None:
        dice = self.dice
        verb = dice.choice(["confirm", "confirm", "fail", "partial", "reverse", "dispute"])
        body: Json = {"customer": "acme", "reason": str(dice.random())}
        if verb == "partial":
            body["share"] = dice.choice(["0.5", "0.25"])
        path = f"/v1/outcomes/o{dice.randrange(9)}/{verb}"
        answer = await self.story.client.post(path, json=body)
        assert answer.status_code in (200, 404, 409, 422), answer.text

    async def look(self) -> None:
        """Whatever is shown can be shown."""
        await self.story.ask("GET", "/v1/customers/acme/balance")
        if self.contracts:
            answer = await self.story.client.get("/v1/customers/acme/spend")
            assert answer.status_code in (200, 404), answer.text
        invoices = await self.story.invoices()
        for invoice in invoices[-2:]:
            for line in [*invoice["lines"], *invoice["settled"]][-8:]:
                await self.story.ask(
                    "GET", f"/v1/invoices/{invoice['id']}/lines/{line['id']}/explain"
                )

    async def live(self) -> None:
        steps = [
            (40, self.use), (8, self.subscribe), (14, self.change), (3, self.cancel),
            (5, self.grant), (18, self.advance), (5, self.finalize), (14, self.decide),
            (3, self.look),
        ]  # fmt: skip
        for _ in range(STEPS):
            [step] = self.dice.choices([s for _, s in steps], [weight for weight, _ in steps])
            self.notes.append(f"{self.now} {step.__name__}")
            await step()


@pytest.mark.parametrize("seed", [3, 7, 16, 22])
async def test_a_life_under_every_model_is_billed_to_the_cent(story: Story, seed: int) -> None:
    life = ModelLife(story, random.Random(seed))
    try:
        await life.begin()
        await life.live()
        await audit(story)
        await story.advance((life.now + timedelta(days=100)).astimezone(UTC).isoformat())
        await life.look()
        await audit(story)
    except AssertionError as error:
        raise AssertionError("\n".join([f"seed {seed}: {error}", *life.notes])) from error
