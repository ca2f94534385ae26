"""Many clients at once, and the books of what they were answered: at quiet points, what is read
must be what the answers add up to.

What may never happen is looked for all the while: a customer who is careful (nothing is used but
what was authorized, and no more than that) never has less than nothing available, nor spends more
than a budget allows.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.scenarios.story import START, Json, Story, event
from tests.simulation.life import METERS, RATES, UNITS, publish
from tests.simulation.model import ZERO, within

# Answers a POST: path, body and idempotency key (None: without).
Send = Callable[[str, Any, str | None], Awaitable[tuple[int, Json]]]
PATHS = [None, "t", "t/a", "u"]
BUDGETS: dict[str, str | None] = {"all": None, "team": "t"}
LIMITS = {"all": Decimal(400), "team": Decimal(150)}


@dataclass(slots=True)
class Noted:
    """A hold as its clients know it."""

    asset: str
    amount: Decimal
    path: str | None
    ends: datetime
    state: str = "open"
    captured: Decimal = ZERO


@dataclass(slots=True)
class Books:
    """A customer, and what was answered about it. `kind`: `expiring` are careful, and their
    grants may expire; `enforced` are careful, and send events that are taken if they can be paid;
    `careless` use as they like.
    """

    customer: str
    kind: str
    balance: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    spent: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    holds: dict[str, Noted] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    grants: list[str] = field(default_factory=list)

    def charge(self, asset: str, amount: Decimal, path: str | None) -> None:
        self.balance[asset] -= amount
        if asset == "USD":
            for name, scope in BUDGETS.items():
                self.spent[name] += amount if within(path, scope) else ZERO


@dataclass(slots=True)
class Crew:
    """Clients of a few customers, in rounds; between them nothing is under way."""

    story: Story
    send: Send
    dice: random.Random
    prefix: str
    books: list[Books] = field(default_factory=list)
    now: datetime = START
    serial: int = 0
    reads: int = 0

    async def begin(self, *, fresh: bool = True) -> None:
        if fresh:
            await publish(self.story)
        for kind in ("expiring", "enforced", "careless"):
            books = Books(f"{self.prefix}-{kind}", kind)
            self.books.append(books)
            await self.story.customer(books.customer)
            for name, scope in BUDGETS.items():
                limit = str(LIMITS[name])
                body = {"asset": "USD", "path": scope, "limit": limit, "window": "total"}
                path = f"/v1/customers/{books.customer}/budgets/{name}"
                await self.story.ask("PUT", path, json=body)
            await self.story.subscribe("p", books.customer)
            await self.grant(books)
        body = {"asset": "USD", "threshold": "10", "target": "30", "max_per_day": "1000000",
                "payment": "manual"}  # fmt: skip
        path = f"/v1/customers/{self.books[0].customer}/auto_topup"
        await self.story.ask("PUT", path, json=body)

    def next(self) -> str:
        self.serial += 1
        return f"{self.prefix}-{self.serial}"

    def some(self, most: int) -> Decimal:
        return Decimal(self.dice.randrange(1, most * 4)) / 4

    async def ask(self, path: str, body: Any, *statuses: int, keyed: bool = True) -> Json | None:
        """The answer of a POST that succeeds; None: it was refused as it may be."""
        status, found = await self.send(path, body, self.next() if keyed else None)
        if status in statuses:
            return None
        assert status in (200, 201), (path, body, status, found)
        return found

    async def work(self, clients: int, steps: int) -> None:
        """Clients that work at once, and one that reads all the while."""
        working = asyncio.gather(*(self.client(steps) for _ in range(clients)))
        while not working.done():
            await self.look()
            await asyncio.sleep(0.01)
        await working

    async def client(self, steps: int) -> None:
        for _ in range(steps):
            books = self.dice.choice(self.books)
            kinds: list[tuple[int, Callable[[Books], Awaitable[None]]]] = [
                (30, self.place), (8, self.batch), (40, self.resolve), (6, self.grant),
                (2, self.transfer),
            ]  # fmt: skip
            kinds.append((4, self.void))
            if books.kind != "expiring":
                kinds.append((12, self.enforce))
            if books.kind == "careless":
                kinds.append((10, self.use))
            [step] = self.dice.choices([s for _, s in kinds], [weight for weight, _ in kinds])
            await step(books)

    async def grant(self, books: Books) -> None:
        asset, amount = self.dice.choice(["USD", "USD", "credits"]), self.some(20)
        body = {"customer": books.customer, "asset": asset, "amount": str(amount), "kind": "paid",
                "priority": self.dice.choice([10, 50, 90])}  # fmt: skip
        if books.kind == "expiring" and self.dice.random() < 0.4:
            body["expires_at"] = (
                self.now + timedelta(minutes=self.dice.choice([3, 90]))
            ).isoformat()
        found = await self.ask("grants", body)
        assert found is not None
        books.balance[asset] += amount
        books.grants.append(found["id"])

    async def void(self, books: Books) -> None:
        grant = self.dice.choice(books.grants)
        found = await self.ask(f"grants/{grant}/void", {})
        assert found is not None
        books.balance[found["asset"]] -= Decimal(found["taken_back"])

    async def transfer(self, books: Books) -> None:
        asset, amount = self.dice.choice([*METERS]), self.some(5)
        other = next(one for one in METERS if one != asset)
        body = {"customer": books.customer, "from_asset": asset, "to_asset": other,
                "amount": str(amount), "rate": str(RATES[asset])}  # fmt: skip
        found = await self.ask("transfers", body, 422)
        if found is not None:
            books.balance[asset] -= amount
            books.balance[other] += amount * RATES[asset]
            books.grants += [one["to"] for one in found["grants"]]

    def hold_body(self, books: Books) -> Json:
        return {
            "customer": books.customer, "asset": self.dice.choice(["USD", "USD", "credits"]),
            "amount": str(self.some(6)), "path": self.dice.choice(PATHS),
            "ttl_s": self.dice.choice([100, 1000, 9000]),
        }  # fmt: skip

    def placed(self, books: Books, body: Json, found: Json) -> None:
        if found["allowed"]:
            ends = datetime.fromisoformat(found["expires_at"])
            assert found["id"] not in books.holds
            books.holds[found["id"]] = Noted(
                body["asset"], Decimal(body["amount"]), body["path"], ends
            )
            if books.kind != "careless":
                assert Decimal(found["available"]) >= ZERO

    async def place(self, books: Books) -> None:
        body = self.hold_body(books)
        found = await self.ask("holds", body)
        assert found is not None
        self.placed(books, body, found)

    async def batch(self, books: Books) -> None:
        bodies = [self.hold_body(books) for _ in range(self.dice.randrange(2, 6))]
        mode = self.dice.choice(["all_or_nothing", "independent"])
        found = await self.ask("holds/batch", {"mode": mode, "holds": bodies})
        assert found is not None
        allowed = {one["allowed"] for one in found["data"]}
        assert mode == "independent" or len(allowed) == 1
        for body, one in zip(bodies, found["data"], strict=True):
            self.placed(books, body, one)

    async def resolve(self, books: Books) -> None:
        """What is done with a hold by one client, or by several that do not know of each other."""
        live = [
            name
            for name, one in books.holds.items()
            if one.state == "open" and one.ends > self.now and name not in books.busy
        ]
        if not live:
            return
        name = self.dice.choice(live)
        books.busy.add(name)
        how = self.dice.random()
        if how < 0.3:
            rivals = (self.finish(books, name) for _ in range(self.dice.randrange(2, 4)))
            await asyncio.gather(*rivals)
        elif how < 0.5:
            await self.part(books, name)
        elif how < 0.6:
            found = await self.ask(f"holds/{name}/extend", {"ttl_s": 5000})
            assert found is not None
            books.holds[name].ends = datetime.fromisoformat(found["expires_at"])
        else:
            await self.finish(books, name)
        books.busy.discard(name)

    def share(self, hold: Noted, quarters: int) -> Decimal:
        """So many quarters of what is left of it."""
        return Decimal(int(max(hold.amount - hold.captured, ZERO) * quarters)) / 4

    async def part(self, books: Books, name: str) -> None:
        hold = books.holds[name]
        body = {"amount": str(self.share(hold, 1)), "keep_open": True}
        found = await self.ask(f"holds/{name}/capture", body)
        assert found is not None and (found["state"], found["late"]) == ("open", None)
        self.captured(books, name, found)

    async def finish(self, books: Books, name: str) -> None:
        """Resolve the hold, if nothing else does: one way may be answered twice, two never."""
        hold = books.holds[name]
        keyed = self.dice.random() < 0.5
        if self.dice.random() < 0.3:
            found = await self.ask(f"holds/{name}/release", {}, 409, keyed=keyed)
            if found is not None:
                assert hold.state in ("open", "released"), (name, hold)
                hold.state = "released"
            return
        amount = self.share(
            hold, self.dice.choice([0, 1, 2, 4, 4 + 4 * (books.kind == "careless")])
        )
        body: Json = {"amount": str(amount)}
        if self.dice.random() < 0.4 and amount > ZERO:
            data = {"q": str(amount / UNITS[hold.asset])}
            body = {"events": [{"id": self.next(), "type": METERS[hold.asset], "data": data}]}
        found = await self.ask(f"holds/{name}/capture", body, 409, keyed=keyed)
        if found is None:
            return
        assert (found["state"], found["late"]) == ("captured", False)
        if hold.state == "open":
            hold.state = "captured"
            self.captured(books, name, found)
        total = sum((Decimal(one["amount"]) for one in found["captured"]), ZERO)
        assert (hold.state, hold.captured) == ("captured", total), (name, hold, found)

    def captured(self, books: Books, name: str, found: Json) -> None:
        hold = books.holds[name]
        charged = sum((Decimal(one["amount"]) for one in found["charged"]), ZERO)
        hold.captured += charged
        books.charge(hold.asset, charged, hold.path)

    def event(self, books: Books) -> tuple[Json, str, Decimal, str | None]:
        asset, quantity, path = self.dice.choice([*METERS]), self.some(5), self.dice.choice(PATHS)
        one = event(METERS[asset], self.next(), customer=books.customer, q=str(quantity))
        return {**one, "path": path}, asset, quantity * UNITS[asset], path

    async def use(self, books: Books) -> None:
        one, asset, amount, path = self.event(books)
        found = await self.ask("events", [one], keyed=self.dice.random() < 0.5)
        assert found is not None
        assert found["accepted"] + found["duplicates"] == 1
        books.charge(asset, amount, path)

    async def enforce(self, books: Books) -> None:
        one, asset, amount, path = self.event(books)
        found = await self.ask("events?enforce=true", [one], keyed=self.dice.random() < 0.5)
        assert found is not None
        if found["accepted"] + found["duplicates"] == 1:
            books.charge(asset, amount, path)

    async def look(self) -> None:
        """What may never be seen, read while others work."""
        for books in self.books:
            path = f"/v1/customers/{books.customer}"
            wallets = (await self.story.ask("GET", f"{path}/balance"))["wallets"]
            budgets = (await self.story.ask("GET", f"{path}/budgets"))["data"]
            self.reads += 1
            for one in wallets:
                posted, held, available = (
                    Decimal(one[name]) for name in ("posted", "held", "available")
                )
                assert posted - held == available
                assert books.kind == "careless" or available >= ZERO, (books.customer, one)
            for one in budgets:
                spent, held = Decimal(one["spent"]), Decimal(one["held"])
                assert books.kind == "careless" or spent + held <= LIMITS[one["name"]], one

    async def rest(self, seconds: int) -> None:
        """Time passes while nothing is under way, and what was topped up is paid, once."""
        self.now += timedelta(seconds=seconds)
        await self.story.advance(self.now.isoformat())
        books = self.books[0]
        listed = await self.story.everything("/v1/topups", customer=books.customer)
        for one in listed:
            if one["state"] == "requested":
                paths = [f"topups/{one['id']}/pay"] * 2
                await asyncio.gather(*(self.ask(path, {"reference": "r"}) for path in paths))
                books.balance[one["asset"]] += Decimal(one["amount"])

    async def check(self) -> None:
        """The books are what is read."""
        for books in self.books:
            path = f"/v1/customers/{books.customer}"
            grants = await self.story.everything("/v1/grants", customer=books.customer)
            entries = await self.story.everything(f"{path}/wallet_entries")
            folded: dict[str | None, Decimal] = defaultdict(Decimal)
            balance: dict[str, Decimal] = defaultdict(Decimal)
            for one in entries:
                folded[one["grant"]] += Decimal(one["amount"])
                balance[one["asset"]] += Decimal(one["amount"])
            for one in grants:
                assert folded[one["id"]] == Decimal(one["remaining"]), one
            for asset in METERS:
                told = (books.customer, asset, balance[asset], books.balance[asset])
                assert balance[asset] == books.balance[asset], told
            await self.check_holds(books, path)
            for one in (await self.story.ask("GET", f"{path}/budgets"))["data"]:
                assert Decimal(one["spent"]) == books.spent[one["name"]], (books.customer, one)

    async def check_holds(self, books: Books, path: str) -> None:
        listed = await self.story.everything("/v1/holds", customer=books.customer)
        shown = {one["id"]: one for one in listed}
        assert shown.keys() == books.holds.keys(), "each hold was answered, once"
        held: dict[str, Decimal] = defaultdict(Decimal)
        for name, hold in books.holds.items():
            over = hold.state == "open" and hold.ends <= self.now
            assert shown[name]["state"] == ("expired" if over else hold.state), (name, hold)
            captured = [Decimal(one["amount"]) for one in shown[name]["captured"] or ()]
            assert sum(captured, ZERO) == hold.captured, (name, hold)
            if hold.state == "open" and not over:
                held[hold.asset] += hold.amount - hold.captured
        for one in (await self.story.ask("GET", f"{path}/balance"))["wallets"]:
            shown_held = Decimal(one["held"])
            # What is held of a grant that has expired is no longer part of the balance.
            fits = shown_held <= held[one["asset"]]
            assert shown_held == held[one["asset"]] or (books.kind == "expiring" and fits), one
