"""What credit and authorization are, said as plainly as can be: no database, no concurrency, no
code of the product. Everything is looked for anew each time; one customer, in one thread.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

ZERO = Decimal(0)
ANY = "*"  # a balance counts grants for any path
Refusal = tuple[str, Decimal | None]
Limits = Iterator[tuple[str, Decimal | None, bool]]


def within(path: str | None, scope: str | None) -> bool:
    return scope is None or path == ANY or f"{path}/".startswith(f"{scope}/")


@dataclass(slots=True)
class Grant:
    id: str
    asset: str
    left: Decimal
    order: tuple[Any, ...]
    ends: datetime
    path: str | None


@dataclass(slots=True)
class Hold:
    asset: str
    amount: Decimal
    path: str | None
    ends: datetime
    budgets: list[str]
    parts: dict[str, Decimal] = field(default_factory=dict)  # by grant; "" is beyond them
    counted: dict[str, Decimal] = field(default_factory=dict)  # by budget
    state: str = "open"
    captured: Decimal = ZERO
    late: bool | None = None
    id: str = ""


@dataclass(slots=True)
class Budget:
    asset: str
    path: str | None
    limit: Decimal
    hard: bool
    daily: bool
    spent: dict[Any, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass(slots=True)
class Model:
    hard: bool
    now: datetime
    grants: dict[str, Grant] = field(default_factory=dict)
    debts: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    holds: list[Hold] = field(default_factory=list)
    budgets: dict[str, Budget] = field(default_factory=dict)
    suspended: set[str | None] = field(default_factory=set)

    def live(self, asset: str) -> list[Hold]:
        return [h for h in self.holds if h.state == "open" and h.ends > self.now
                and h.asset == asset]  # fmt: skip

    def usable(self, asset: str, path: str | None) -> list[Grant]:
        found = [g for g in self.grants.values()
                 if g.asset == asset and g.ends > self.now and within(path, g.path)]  # fmt: skip
        return sorted(found, key=lambda g: g.order)

    def held_of(self, asset: str, part: str) -> Decimal:
        return sum((h.parts.get(part, ZERO) for h in self.live(asset)), ZERO)

    def posted(self, asset: str, path: str | None = ANY) -> Decimal:
        return sum((g.left for g in self.usable(asset, path)), -self.debts[asset])

    def held(self, asset: str, path: str | None = ANY) -> Decimal:
        of_grants = (self.held_of(asset, g.id) for g in self.usable(asset, path))
        return sum(of_grants, self.held_of(asset, ""))

    def available(self, asset: str, path: str | None = ANY) -> Decimal:
        return self.posted(asset, path) - self.held(asset, path)

    def window(self, budget: Budget) -> Any:
        return self.now.date() if budget.daily else "ever"

    def counted_by(self, name: str) -> tuple[Decimal, Decimal]:
        """Spent and held of a budget in its window."""
        budget = self.budgets[name]
        held = (h.counted.get(name, ZERO) for h in self.live(budget.asset))
        return budget.spent[self.window(budget)], sum(held, ZERO)

    def covering(self, asset: str, path: str | None) -> list[str]:
        return sorted(n for n, b in self.budgets.items() if b.asset == asset
                      and within(path, b.path))  # fmt: skip

    def limits(self, asset: str, amount: Decimal, path: str | None) -> Limits:
        """What speaks against so much more, in order: why, what is missing, whether it forbids."""
        if any(within(path, scope) for scope in self.suspended):
            yield "suspended", None, True
        for name in self.covering(asset, path):
            over = sum(self.counted_by(name), amount) - self.budgets[name].limit
            if over > 0:
                yield "budget_exceeded", over, self.hard and self.budgets[name].hard
        over = amount - self.available(asset, path)
        if over > 0:
            yield "insufficient_credits", over, self.hard

    def why_not(self, asset: str, amount: Decimal, path: str | None) -> Refusal | None:
        found = [(why, over) for why, over, forbids in self.limits(asset, amount, path) if forbids]
        return found[0] if found else None

    def place(self, asset: str, amount: Decimal, path: str | None, ttl_s: int) -> Hold | Refusal:
        why = self.why_not(asset, amount, path)
        if why is not None:
            return why
        ends, budgets = self.now + timedelta(seconds=ttl_s), self.covering(asset, path)
        hold = Hold(asset, amount, path, ends, budgets, counted=dict.fromkeys(budgets, amount))
        for grant in self.usable(asset, path):
            free = max(grant.left - self.held_of(asset, grant.id), ZERO)
            hold.parts[grant.id] = min(free, amount)
            amount -= hold.parts[grant.id]
        hold.parts[""] = amount
        self.holds.append(hold)
        return hold

    def charge(self, asset: str, amount: Decimal, path: str | None, hold: Hold | None) -> None:
        """Usage is always charged: from what is held for it, from what is there, as debt."""
        for name in self.covering(asset, path):
            self.budgets[name].spent[self.window(self.budgets[name])] += amount
        parts = hold.parts if hold is not None else {}
        for grant in sorted(self.grants.values(), key=lambda g: g.order):
            amount -= self.draw(grant, min(parts.get(grant.id, ZERO), amount))
        for grant in self.usable(asset, path):
            amount -= self.draw(grant, amount)
        self.debts[asset] += amount

    def draw(self, grant: Grant, amount: Decimal) -> Decimal:
        part = min(grant.left, amount)
        grant.left -= part
        return part

    def capture(self, hold: Hold, amount: Decimal, *, keep_open: bool) -> None:
        late = hold.ends <= self.now
        self.charge(hold.asset, amount, hold.path, None if late else hold)
        hold.captured += amount
        if late or not keep_open:
            hold.state, hold.late = "captured", late
            return
        hold.counted = {n: max(held - amount, ZERO) for n, held in hold.counted.items()}
        order = sorted(self.grants.values(), key=lambda g: g.order)
        for part in [*(g.id for g in order if g.id in hold.parts), ""]:
            freed = min(hold.parts[part], amount)
            hold.parts[part] -= freed
            amount -= freed

    def enforce(self, asset: str, amount: Decimal, path: str | None) -> str | None:
        """An event that is only taken if it can be paid; who is soft is refused nothing."""
        why = self.why_not(asset, amount, path) if self.hard else None
        if why is None:
            self.charge(asset, amount, path, None)
        return why[0] if why else None

    def give(self, grant: Grant) -> None:
        """A grant for any usage repays the debt first."""
        self.grants[grant.id] = grant
        if grant.path is None:
            self.debts[grant.asset] -= self.draw(grant, max(self.debts[grant.asset], ZERO))

    def void(self, grant: Grant) -> Decimal:
        """What is left of it is taken back, but not what holds need: of it, or because usage took
        what they hold of other grants.
        """
        free = {
            g.id: g.left - self.held_of(grant.asset, g.id) for g in self.usable(grant.asset, ANY)
        }
        lacking = -min(sum(free.values()) - free[grant.id], ZERO) if grant.id in free else ZERO
        own = self.held_of(grant.asset, grant.id)
        return self.draw(grant, max(grant.left - own - lacking, ZERO))

    def transfer(self, asset: str, amount: Decimal) -> list[tuple[str, Decimal]] | None:
        """What each grant gives; None: that is more than is there."""
        free = {g.id: max(g.left - self.held_of(asset, g.id), ZERO)
                for g in self.usable(asset, None)}  # fmt: skip
        if amount > min(sum(free.values()), self.available(asset)):
            return None
        parts = []
        for name, most in free.items():
            part = self.draw(self.grants[name], min(most, amount))
            amount -= part
            if part:
                parts.append((name, part))
        return parts
