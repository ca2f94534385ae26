"""One customer's random life, told by HTTP and by the model; after each step both say the same."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.scenarios.story import START, Json, Story, event, usage_price
from tests.simulation.model import ZERO, Budget, Grant, Hold, Model, Refusal

NEVER = datetime.max.replace(tzinfo=UTC)
PATHS = [None, "t", "t/a", "t/a/x", "t/b", "tt"]
METERS = {"USD": "tokens", "credits": "actions"}
UNITS = {"USD": Decimal("0.5"), "credits": Decimal(2)}
RATES = {"USD": Decimal(2), "credits": Decimal("0.5")}  # of one into the other
CUSTOMER = "acme"


async def publish(story: Story) -> None:
    """Tokens cost 0.50 USD each and actions 2 credits, drawn from the wallet at once."""
    for asset, meter in METERS.items():
        await story.meter(meter)
        assert asset in UNITS
    await story.plan(
        "p",
        *(
            usage_price(meter, meter, unit=str(UNITS[asset]), asset=asset, settle="wallet")
            for asset, meter in METERS.items()
        ),
        assets=[{"asset": "credits", "unit_price": "0.01"}],
    )


@dataclass(slots=True)
class Life:
    """The customer `acme`; `notes` tell its life, should the two disagree."""

    story: Story
    dice: random.Random
    model: Model = field(default_factory=lambda: Model(hard=True, now=START))
    serial: int = 0
    notes: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        await publish(self.story)
        await self.story.customer(CUSTOMER)
        await self.story.subscribe("p", CUSTOMER)
        await self.grant()

    async def live(self, steps: int) -> None:
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (9, self.grant), (3, self.void), (26, self.place), (8, self.batch),
            (22, self.capture), (8, self.capture_by_events), (8, self.release), (4, self.extend),
            (8, self.use), (9, self.enforce), (3, self.transfer), (4, self.budget),
            (3, self.suspend), (3, self.resume), (9, self.advance), (2, self.switch),
        ]  # fmt: skip
        for _ in range(steps):
            [step] = self.dice.choices([s for _, s in kinds], [weight for weight, _ in kinds])
            await step()
            await self.compare()

    async def do(self, path: str, body: Any, *, keyed: bool = False) -> tuple[int, Json]:
        """A POST; what is answered is noted."""
        headers = {"Idempotency-Key": self.next("k")} if keyed else {}
        answer = await self.story.client.post(f"/v1/{path}", json=body, headers=headers)
        self.notes.append(f"{self.model.now:%d %H:%M:%S} {path} {body} {answer.text}")
        if headers and self.dice.random() < 0.5:  # the same again is answered the same
            again = await self.story.client.post(f"/v1/{path}", json=body, headers=headers)
            assert answer.status_code != 200 or again.json() == answer.json()
        return answer.status_code, answer.json()

    def next(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}{self.serial}"

    def some(self, most: int) -> Decimal:
        return Decimal(self.dice.randrange(1, most * 4)) / 4

    def asset(self) -> str:
        return self.dice.choice(["USD", "USD", "USD", "credits"])

    async def grant(self) -> None:
        ends, amount = NEVER, self.some(self.dice.choice([5, 30]))
        body: Json = {
            "customer": CUSTOMER, "asset": self.asset(), "amount": str(amount),
            "kind": self.dice.choice(["paid", "promotional"]),
            "priority": self.dice.choice([10, 50, 50, 90]),
        }  # fmt: skip
        if self.dice.random() < 0.4:
            ends = self.model.now + timedelta(minutes=self.dice.choice([2, 10, 100, 3000]))
            body["expires_at"] = ends.isoformat()
        path = self.dice.choice(PATHS) if self.dice.random() < 0.4 else None
        if path is not None:
            body["scope"] = {"path": path}
        status, found = await self.do("grants", body)
        assert status == 201
        self.given(found["id"], body, amount, ends, path)

    def given(self, grant: str, body: Json, amount: Decimal, ends: datetime, path: Any) -> None:
        order = (body["priority"], ends, body["kind"] == "paid", self.model.now, grant)
        self.model.give(Grant(grant, body["asset"], amount, order, ends, path))

    async def void(self) -> None:
        grant = self.dice.choice([*self.model.grants.values()])
        _, found = await self.do(f"grants/{grant.id}/void", {})
        assert Decimal(found["taken_back"]) == self.model.void(grant)

    async def transfer(self) -> None:
        asset = self.dice.choice([*RATES])
        rate = RATES[asset]
        other = next(one for one in METERS if one != asset)
        amount = self.some(12)
        body = {"customer": CUSTOMER, "from_asset": asset, "to_asset": other,
                "amount": str(amount), "rate": str(rate)}  # fmt: skip
        status, found = await self.do("transfers", body)
        parts = self.model.transfer(asset, amount)
        assert (status == 201) == (parts is not None)
        for (source, part), shown in zip(parts or (), found.get("grants", ()), strict=True):
            assert (shown["from"], Decimal(shown["amount"])) == (source, part)
            of = self.model.grants[source]
            fields = {
                "priority": of.order[0],
                "kind": "paid" if of.order[2] else "",
                "asset": other,
            }
            self.given(shown["to"], fields, part * rate, of.ends, None)

    def ask(self) -> tuple[str, Decimal, str | None, int]:
        path = self.dice.choice(PATHS)
        return self.asset(), self.some(12), path, self.dice.choice([30, 300, 300, 4000])

    @staticmethod
    def hold_body(ask: tuple[str, Decimal, str | None, int]) -> Json:
        asset, amount, path, ttl_s = ask
        return {"customer": CUSTOMER, "asset": asset, "amount": str(amount), "path": path,
                "ttl_s": ttl_s}  # fmt: skip

    async def place(self) -> None:
        ask = self.ask()
        warnings = self.warnings(ask)
        _, found = await self.do("holds", self.hold_body(ask), keyed=True)
        self.judged(found, self.model.place(*ask))
        if found["allowed"]:
            assert found.get("warnings", []) == warnings
            assert Decimal(found["available"]) == self.model.available(ask[0], ask[2])

    def warnings(self, ask: tuple[str, Decimal, str | None, int]) -> list[str]:
        return [*dict.fromkeys(why for why, _, _ in self.model.limits(*ask[:3]))]

    def judged(self, found: Json, expected: Hold | Refusal) -> None:
        if isinstance(expected, Hold):
            assert found["allowed"] is True
            expected.id = found["id"]
        else:
            assert found["allowed"] is False
            over = Decimal(found["shortfall"]) if "shortfall" in found else None
            assert (found["reason"], over) == expected

    async def batch(self) -> None:
        asks = [self.ask() for _ in range(self.dice.randrange(2, 7))]
        together = self.dice.random() < 0.5
        mode = "all_or_nothing" if together else "independent"
        body = {"mode": mode, "holds": [self.hold_body(ask) for ask in asks]}
        _, found = await self.do("holds/batch", body, keyed=True)
        before = len(self.model.holds)
        expected = [self.model.place(*ask) for ask in asks]
        refused = [one for one in expected if not isinstance(one, Hold)]
        if together and refused:
            del self.model.holds[before:]
            for shown, one in zip(found["data"], expected, strict=True):
                self.judged(shown, refused[0] if isinstance(one, Hold) else one)
        else:
            for shown, one in zip(found["data"], expected, strict=True):
                self.judged(shown, one)

    def some_hold(self) -> Hold | None:
        """One that is under way, mostly."""
        live = [hold for asset in METERS for hold in self.model.live(asset)]
        found = live if live and self.dice.random() < 0.85 else self.model.holds
        return self.dice.choice(found) if found else None

    async def capture(self) -> None:
        hold = self.some_hold()
        if hold is None:
            return
        amount = hold.amount * self.dice.choice([0, 1, 2, 2, 3, 4, 4, 5]) / 4
        keep_open = self.dice.random() < 0.4
        body = {"amount": str(amount), "keep_open": keep_open}
        status, found = await self.do(f"holds/{hold.id}/capture", body, keyed=True)
        if hold.state != "open":
            # Only what resolved it may be said again; then the amount is what was charged last.
            assert status == 409 or (found["state"] == "captured" == hold.state)
            return
        assert status == 200
        self.model.capture(hold, amount, keep_open=keep_open)
        self.same(hold, found)

    async def capture_by_events(self) -> None:
        hold = self.some_hold()
        if hold is None:
            return
        quantity = self.some(12) if hold.asset == "USD" else self.some(3)
        one: Json = {"id": self.next("c"), "type": METERS[hold.asset], "data": {"q": str(quantity)}}
        body = {"events": [one]}
        status, found = await self.do(f"holds/{hold.id}/capture", body, keyed=True)
        assert status == (200 if hold.state == "open" else 409)
        if status == 200:
            self.model.capture(hold, quantity * UNITS[hold.asset], keep_open=False)
            self.same(hold, found)

    async def release(self) -> None:
        hold = self.some_hold()
        if hold is None:
            return
        status, _ = await self.do(f"holds/{hold.id}/release", {})
        expired = hold.state == "open" and hold.ends <= self.model.now
        assert (status == 200) == (hold.state in ("open", "released") and not expired)
        if status == 200:
            hold.state = "released"

    async def extend(self) -> None:
        hold = self.some_hold()
        if hold is None:
            return
        ttl_s = self.dice.choice([10, 300, 5000])
        status, _ = await self.do(f"holds/{hold.id}/extend", {"ttl_s": ttl_s})
        assert (status == 200) == (hold.state == "open" and hold.ends > self.model.now)
        if status == 200:
            hold.ends = max(hold.ends, self.model.now + timedelta(seconds=ttl_s))

    def event(self) -> tuple[Json, str, Decimal, str | None]:
        asset, quantity, path = self.asset(), self.some(9), self.dice.choice(PATHS)
        one = event(METERS[asset], self.next("e"), customer=CUSTOMER, q=str(quantity))
        return {**one, "path": path}, asset, quantity * UNITS[asset], path

    async def use(self) -> None:
        one, asset, amount, path = self.event()
        _, found = await self.do("events", [one])
        assert found["accepted"] == 1
        self.model.charge(asset, amount, path, None)

    async def enforce(self) -> None:
        one, asset, amount, path = self.event()
        _, found = await self.do("events?enforce=true", [one])
        why = self.model.enforce(asset, amount, path)
        assert found["accepted"] == (why is None)
        if why is not None:
            assert found["results"][0]["error"]["code"] == why

    async def budget(self) -> None:
        """A new one, or another limit."""
        name = self.dice.choice("abc")
        budget = self.model.budgets.get(name) or Budget(
            self.asset(), self.dice.choice(PATHS), ZERO,
            self.dice.random() < 0.7, self.dice.random() < 0.5,
        )  # fmt: skip
        budget.limit = self.some(60)
        self.model.budgets[name] = budget
        body = {
            "asset": budget.asset, "path": budget.path, "limit": str(budget.limit),
            "window": "day" if budget.daily else "total",
            "enforcement": "hard" if budget.hard else "soft",
        }  # fmt: skip
        self.notes.append(f"{self.model.now:%d %H:%M:%S} budget {name} {body}")
        await self.story.ask("PUT", f"/v1/customers/{CUSTOMER}/budgets/{name}", json=body)

    async def suspend(self) -> None:
        path = self.dice.choice(PATHS)
        if path is None and self.dice.random() < 0.7:
            return
        await self.do(f"customers/{CUSTOMER}/suspend", {"path": path, "reason": "r"})
        self.model.suspended.add(path)

    async def resume(self) -> None:
        for path in sorted(self.model.suspended, key=str)[:2]:
            await self.do(f"customers/{CUSTOMER}/resume", {"path": path})
            self.model.suspended.discard(path)

    async def switch(self) -> None:
        """Hard becomes soft for a while."""
        self.model.hard = not self.model.hard or self.dice.random() < 0.5
        word = "hard" if self.model.hard else "soft"
        self.notes.append(f"{self.model.now:%d %H:%M:%S} {word}")
        await self.story.customer(CUSTOMER, enforcement=word)

    async def advance(self) -> None:
        seconds = self.dice.choice([1, 29, 30, 60, 120, 300, 1000, 4000, 30000])
        self.model.now += timedelta(seconds=seconds)
        self.notes.append(f"{self.model.now:%d %H:%M:%S} advanced")
        await self.story.advance(self.model.now.isoformat())

    async def compare(self) -> None:
        """The two agree on every balance, grant and budget."""
        model = self.model
        found = await self.story.ask("GET", f"/v1/customers/{CUSTOMER}/balance")
        wallets = {one["asset"]: one for one in found["wallets"]}
        for asset in METERS:
            wallet = wallets.get(asset)
            if wallet is None:
                assert model.posted(asset) == ZERO
                continue
            shown = tuple(Decimal(wallet[name]) for name in ("posted", "held", "available"))
            assert shown == (model.posted(asset), model.held(asset), model.available(asset))
            assert [(g["id"], Decimal(g["remaining"]), Decimal(g["held"]))
                    for g in wallet["grants"]] == [
                (g.id, g.left, model.held_of(asset, g.id))
                for g in model.usable(asset, "*") if g.left > ZERO
            ]  # fmt: skip
        if model.budgets and self.dice.random() < 0.3:
            listed = await self.story.everything(f"/v1/customers/{CUSTOMER}/budgets")
            for one in listed:
                shown = Decimal(one["spent"]), Decimal(one["held"])
                assert shown == model.counted_by(one["name"]), one["name"]

    def same(self, hold: Hold, shown: Json) -> None:
        """A hold as it is shown."""
        state = hold.state
        if state == "open" and hold.ends <= self.model.now:
            state = "expired"
        assert (shown["id"], shown["state"], shown["late"]) == (hold.id, state, hold.late)
        captured = sum((Decimal(one["amount"]) for one in shown["captured"] or ()), ZERO)
        assert captured == hold.captured

    async def end(self) -> None:
        """Each hold is as the model says, and balances are the fold of their entries."""
        listed = await self.story.everything("/v1/holds", customer=CUSTOMER)
        shown = {one["id"]: one for one in listed}
        assert shown.keys() == {hold.id for hold in self.model.holds}
        for hold in self.model.holds:
            self.same(hold, shown[hold.id])
        grants = await self.story.everything("/v1/grants", customer=CUSTOMER)
        left = {one["id"]: Decimal(one["remaining"]) for one in grants}
        assert left == {one.id: one.left for one in self.model.grants.values()}
        entries = await self.story.everything(f"/v1/customers/{CUSTOMER}/wallet_entries")
        folded = dict.fromkeys(left, ZERO)
        debts = dict.fromkeys(METERS, ZERO)
        for one in entries:
            if one["grant"] is None:
                debts[one["asset"]] -= Decimal(one["amount"])
            else:
                folded[one["grant"]] += Decimal(one["amount"])
        assert folded == left
        assert debts == {asset: self.model.debts[asset] for asset in METERS}
