"""Holds: what is reserved for work before it runs.

Owns the one decision whether a hold can be placed, what it reserves where, and the order of
reasons for a refusal: suspended, entitlement, concurrency, margin, budget, credits, approval: that
comes last, so that somebody is asked only for what nothing else forbids. Must not know prices, nor
where balances come from.

What open holds of a customer reserve is a map of counters:

    g:<grant>    of a grant, in burn order       b:<budget>   of a budget
    w:<asset>    beyond the grants               f:<feature>  slots of a feature, q:<feature> units

Beside them stands `r:<feature>:…`, for how much of a feature holds were placed in a window of a
rate: of no hold, and never given back.

A hold reserves grants by name, so that a grant which expires meanwhile stays usable for it, and a
grant for one path backs no hold of another.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from taximeter.domain.entitlement.approval import Approval, Unapproved
from taximeter.domain.entitlement.budget import Budget
from taximeter.domain.entitlement.margin import CallMargin, MarginDoubt
from taximeter.domain.entitlement.suspension import Suspension
from taximeter.kernel.paths import lies_within
from taximeter.kernel.quantity import ONE, ZERO

HoldState = Literal["open", "captured", "released"]
Reason = Literal[
    "suspended", "entitlement", "concurrency", "margin_floor", "budget_exceeded",
    "insufficient_credits", "approval_required",
]  # fmt: skip
Doubt = Literal["budget_exceeded", "insufficient_credits"] | MarginDoubt
Counters = Mapping[str, Decimal]
_NOTHING: Counters = {}
LimitValue = str | int | Decimal | datetime | Sequence[str] | None


class Hold(msgspec.Struct, frozen=True, gc=False):
    """`amounts` by asset reserved for work at `path`. An `open` one counts until, exclusive,
    `expires_at`. `counters` is what it reserves where. `captured` is what was charged, `late` says
    whether after it had expired; `resolution` is the digest of what resolved it, `answer` what was
    answered. A struct, because each decision makes one and writes it out as JSON.
    """

    customer: str
    id: str
    state: HoldState
    amounts: Mapping[str, Decimal]
    path: str | None
    feature: str | None
    quantity: Decimal
    placed_at: datetime
    expires_at: datetime
    counters: Counters
    resolved_at: datetime | None = None
    late: bool | None = None
    captured: Mapping[str, Decimal] | None = None
    resolution: bytes | None = None
    answer: bytes | None = None

    def __post_init__(self) -> None:
        assert (self.state == "open") == (self.resolved_at is None), "what is resolved says when"
        assert self.placed_at <= self.expires_at, "a hold expires after it was placed"

    def state_at(self, at: datetime) -> str:
        """Its state at the instant `at`: an open one that nobody extended is then `expired`."""
        return "expired" if self.state == "open" and self.expires_at <= at else self.state


class Need(msgspec.Struct, frozen=True, gc=False):
    """An amount of an asset that work may cost. `meter`: of which one, where that is known;
    `invoiced`: it will be billed by invoice and draws from no wallet.
    """

    asset: str
    amount: Decimal
    meter: str | None = None
    invoiced: bool = False

    def __post_init__(self) -> None:
        assert self.amount >= ZERO, "work costs nothing or something"


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What is to be reserved: money for work at `path`, and `quantity` units and one slot of the
    `feature`. `approvals` are the ids of those by which it may pass thresholds; `margin` is what
    the work leaves over, where a floor is to be kept.
    """

    needs: tuple[Need, ...]
    path: str | None = None
    feature: str | None = None
    quantity: Decimal = ONE
    approvals: tuple[str, ...] = ()
    margin: CallMargin | None = None


class Source(msgspec.Struct, frozen=True, gc=False):
    """What is left of a grant that is usable now, and what it is for. `counter` is the name of what
    is reserved of it.
    """

    counter: str
    remaining: Decimal
    scope_meters: Collection[str] | None
    scope_path: str | None

    def covers(self, meter: str | None, path: str | None) -> bool:
        """Whether work of `meter` (None: of no certain one) at `path` may draw from it."""
        if self.scope_path is not None and not lies_within(path, self.scope_path):
            return False
        return self.scope_meters is None or meter in self.scope_meters


class Purse(msgspec.Struct, frozen=True, gc=False):
    """A wallet as it stands: its grants that are usable now (those reserved of that have nothing
    left, too), in burn order, and its debt.
    """

    grants: list[Source]
    debt: Decimal


class BudgetRoom(msgspec.Struct, frozen=True, gc=False):
    """A budget, and what was spent of it in its window, which ends at `resets_at` (None: never)."""

    budget: Budget
    spent: Decimal
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class QuotaRoom:
    """A quota of a feature, and what was used of it in its window."""

    limit: Decimal
    used: Decimal
    blocks: bool
    window: str
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class RateRoom:
    """A rate of a feature, and the name of what counts in its window (`per`)."""

    limit: Decimal
    per: str
    counter: str
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class FeatureRoom:
    """What a customer may do with a feature: nothing (not `enabled`), or as much as `slots` (None:
    any number), quotas and rates say.
    """

    enabled: bool
    slots: int | None
    quotas: tuple[QuotaRoom, ...]
    rates: tuple[RateRoom, ...] = ()


@dataclass(frozen=True, slots=True)
class InvoiceRoom:
    """The limit of what a customer may owe by invoice, and what it owes: unbilled and unpaid."""

    asset: str
    limit: Decimal
    owed: Decimal


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What decides about a customer's holds at one instant, but for what they reserve. `purses`
    are its wallets by asset, all of them; `features` those that are asked for (one that the
    customer does not have is missing); `approvals` by id those that are named, which whoever places
    a hold by one counts in it.
    """

    at: datetime
    hard: bool
    purses: Mapping[str, Purse]
    budgets: Sequence[BudgetRoom]
    suspensions: Sequence[Suspension]
    features: Mapping[str, FeatureRoom]
    invoice: InvoiceRoom | None = None
    approvals: dict[str, Approval] = msgspec.field(default_factory=dict)


class Placed(msgspec.Struct, frozen=True, gc=False):
    """The hold can be placed: it adds `added` to the counters. `available` is what each asked
    asset has available then (None: nothing limits it). `approvals` are those it uses; `counted` is
    what its rates count, which stays when the hold is over.
    """

    added: Counters
    available: Mapping[str, Decimal | None]
    warnings: tuple[Doubt, ...] = ()
    approvals: tuple[str, ...] = ()
    counted: Counters = _NOTHING


@dataclass(frozen=True, slots=True)
class Refused:
    """The hold cannot be placed; `limit` describes what forbids it, `shortfall` is what is missing
    where an amount is, `unapproved` what somebody would have to approve.
    """

    reason: Reason
    limit: Mapping[str, LimitValue]
    shortfall: Decimal | None = None
    unapproved: tuple[Unapproved, ...] = ()


Decision = Placed | Refused


def decide(standing: Standing, counters: Counters, ask: Ask) -> Decision:
    """Whether `ask` fits beside what `counters` reserves already."""
    refused = suspended(standing.suspensions, ask.path) or _feature(standing, counters, ask)
    if refused is not None:
        return refused
    reserving, counted = _Reserving(counters, {}), _NOTHING
    if ask.feature is not None:
        reserving.add(f"f:{ask.feature}", ONE)
        reserving.add(f"q:{ask.feature}", ask.quantity)
        rates = standing.features[ask.feature].rates
        if rates:
            counted = {rate.counter: ask.quantity for rate in rates}
    if ask.margin is not None:
        refused = _margin(ask.margin, reserving)
        if refused is not None:
            return refused
    refused = _budgets(standing, reserving, ask)
    if refused is not None:
        return refused
    available: dict[str, Decimal | None] = {}
    for need in ask.needs:
        before = _available(standing, reserving, need, ask.path)
        refused = _credit(standing, reserving, need, ask.path, before)
        if refused is not None:
            return refused
        available[need.asset] = None if before is None else before - need.amount
    if len(ask.needs) > 1:  # one may have taken what another could have
        available = {
            need.asset: _available(standing, reserving, need, ask.path) for need in ask.needs
        }
    if reserving.unapproved:
        wanted = reserving.unapproved
        return Refused("approval_required", _threshold(wanted[0]), unapproved=wanted)
    return Placed(reserving.added, available, reserving.warnings, reserving.approvals, counted)


def overdrawn(standing: Standing, counters: Counters, ask: Ask) -> Refused | None:
    """Why usage that has just been charged cannot be paid: what is available for the (empty) needs
    of `ask`, or is left of a budget, has come below zero. None: it can, or nothing limits it.
    """
    if not standing.hard:
        return None
    for need in ask.needs:
        for room in standing.budgets:
            held = counters.get(f"b:{room.budget.name}", ZERO)
            over = room.spent + held - room.budget.limit
            binds = room.budget.enforcement == "hard" and room.budget.covers(need.asset, ask.path)
            if binds and over > ZERO:
                return Refused("budget_exceeded", _budget_limit(room, held), over)
        available = _available(standing, _Reserving(counters, {}), need, ask.path)
        if available is not None and available < ZERO:
            limit = _credit_limit(standing, need, available)
            return Refused("insufficient_credits", limit, -available)
    return None


@dataclass(slots=True)
class _Reserving:
    """Counters while one hold is decided about: those before, and what it adds."""

    before: Counters
    added: dict[str, Decimal]
    warnings: tuple[Doubt, ...] = ()
    approvals: tuple[str, ...] = ()
    unapproved: tuple[Unapproved, ...] = ()

    def get(self, name: str) -> Decimal:
        found, added = self.before.get(name, ZERO), self.added.get(name)
        return found if added is None else found + added

    def add(self, name: str, amount: Decimal) -> None:
        if amount:
            added = self.added.get(name)
            self.added[name] = amount if added is None else added + amount

    def warn(self, warning: Doubt) -> None:
        if warning not in self.warnings:
            self.warnings += (warning,)


def suspended(suspensions: Sequence[Suspension], path: str | None) -> Refused | None:
    """Why nothing may be done at this path; None: it is not suspended."""
    for one in suspensions:
        if one.covers(path):
            limit = {"kind": "suspension", "path": one.path, "reason": one.reason, "since": one.at}
            return Refused("suspended", limit)
    return None


def _feature(standing: Standing, counters: Counters, ask: Ask) -> Refused | None:
    if ask.feature is None:
        return None
    room = standing.features.get(ask.feature)
    if room is None or not room.enabled:
        return Refused("entitlement", {"kind": "feature", "feature": ask.feature})
    reserved = counters.get(f"q:{ask.feature}", ZERO)
    for quota in room.quotas:
        used = quota.used + reserved
        if quota.blocks and used + ask.quantity > quota.limit:
            limit: dict[str, LimitValue] = {
                "kind": "quota", "feature": ask.feature, "window": quota.window,
                "limit": quota.limit, "used": used, "remaining": max(quota.limit - used, ZERO),
                "resets_at": quota.resets_at,
            }  # fmt: skip
            return Refused("entitlement", limit, used + ask.quantity - quota.limit)
    for rate in room.rates:
        used = counters.get(rate.counter, ZERO)
        if used + ask.quantity > rate.limit:
            limit = {
                "kind": "rate", "feature": ask.feature, "window": rate.per,
                "limit": rate.limit, "used": used, "remaining": max(rate.limit - used, ZERO),
                "resets_at": rate.resets_at,
            }  # fmt: skip
            return Refused("entitlement", limit, used + ask.quantity - rate.limit)
    slots = counters.get(f"f:{ask.feature}", ZERO)
    if room.slots is not None and slots + ONE > room.slots:
        limit = {
            "kind": "concurrency", "feature": ask.feature, "limit": room.slots, "used": int(slots)
        }  # fmt: skip
        return Refused("concurrency", limit)
    return None


def _margin(margin: CallMargin, reserving: _Reserving) -> Refused | None:
    doubt = margin.doubt
    if doubt is None:
        return None
    if doubt == "cost_unknown" or not margin.floor.hard:
        reserving.warn(doubt)
        return None
    limit: dict[str, LimitValue] = {
        "kind": "margin", "asset": margin.asset, "floor": margin.floor.percent,
        "margin_percent": margin.percent, "price": margin.price, "cost": margin.cost,
    }  # fmt: skip
    return Refused(doubt, limit, margin.excess)


def _budgets(standing: Standing, reserving: _Reserving, ask: Ask) -> Refused | None:
    for room in standing.budgets:
        budget = room.budget
        needed = ZERO
        for need in ask.needs:
            if budget.covers(need.asset, ask.path):
                needed += need.amount
        if not needed:
            continue
        counter = f"b:{budget.name}"
        held = reserving.get(counter)
        missing = room.spent + held + needed - budget.limit
        if missing > ZERO:
            if standing.hard and budget.enforcement == "hard":
                return Refused("budget_exceeded", _budget_limit(room, held), missing)
            reserving.warn("budget_exceeded")
        if budget.approve_above is not None and needed > budget.approve_above:
            _approve(standing, reserving, ask, Unapproved(budget, ask.path, ask.feature, needed))
        reserving.add(counter, needed)
    return None


def _approve(standing: Standing, reserving: _Reserving, ask: Ask, wish: Unapproved) -> None:
    """Use the first approval named that lets this pass; else note that it lacks one."""
    for approval_id in ask.approvals:
        approval = standing.approvals.get(approval_id)
        if approval is not None and approval.lets_pass(wish, standing.at):
            reserving.approvals += (approval_id,)
            return
    reserving.unapproved += (wish,)


def _threshold(wish: Unapproved) -> dict[str, LimitValue]:
    budget = wish.budget
    return {
        "kind": "approval", "name": budget.name, "path": budget.path, "asset": budget.asset,
        "threshold": budget.approve_above, "amount": wish.amount, "set_by": budget.set_by,
    }  # fmt: skip


def _budget_limit(room: BudgetRoom, held: Decimal) -> dict[str, LimitValue]:
    budget = room.budget
    return {
        "kind": "budget", "name": budget.name, "path": budget.path, "asset": budget.asset,
        "window": budget.window, "limit": budget.limit, "spent": room.spent, "held": held,
        "remaining": max(budget.limit - room.spent - held, ZERO), "resets_at": room.resets_at,
    }  # fmt: skip


def _credit(
    standing: Standing, reserving: _Reserving, need: Need, path: str | None,
    available: Decimal | None,
) -> Refused | None:  # fmt: skip
    """Reserve what the need draws from, of which so much is `available`: grants in burn order, then
    beyond them.
    """
    if available is not None and need.amount > available:
        if standing.hard:
            return Refused(
                "insufficient_credits", _credit_limit(standing, need, available),
                need.amount - available,
            )  # fmt: skip
        reserving.warn("insufficient_credits")
    if need.invoiced:
        reserving.add(f"i:{need.asset}", need.amount)
        return None
    left = need.amount
    purse = standing.purses.get(need.asset)
    for grant in purse.grants if purse is not None else ():
        if left == ZERO:
            break
        if grant.covers(need.meter, path):
            part = min(grant.remaining - reserving.get(grant.counter), left)
            if part > ZERO:
                reserving.add(grant.counter, part)
                left -= part
    if left:
        reserving.add(f"w:{need.asset}", left)
    return None


def _credit_limit(standing: Standing, need: Need, available: Decimal) -> dict[str, LimitValue]:
    if need.invoiced and standing.invoice is not None:
        invoice = standing.invoice
        return {"kind": "credit_limit", "asset": need.asset, "limit": invoice.limit,
                "owed": invoice.owed, "available": available}  # fmt: skip
    return {"kind": "wallet", "asset": need.asset, "available": available}


def _available(
    standing: Standing, reserving: _Reserving, need: Need, path: str | None
) -> Decimal | None:
    """What the need may still take; None: nothing limits it. A customer with any wallet is limited
    by its wallets: one that is missing has nothing.
    """
    purse = standing.purses.get(need.asset)
    if need.invoiced or (purse is None and not standing.purses):
        invoice = standing.invoice
        if invoice is None or invoice.asset != need.asset:
            return None
        reserved = reserving.get(f"i:{need.asset}") + reserving.get(f"w:{need.asset}")
        return invoice.limit - invoice.owed - reserved
    if purse is None:
        return -reserving.get(f"w:{need.asset}")
    available = -purse.debt - reserving.get(f"w:{need.asset}")
    for grant in purse.grants:
        if grant.covers(need.meter, path):
            available += grant.remaining - reserving.get(grant.counter)
    return available


def less(counters: Counters, taken: Counters) -> dict[str, Decimal]:
    """The counters without what `taken` takes out; what comes to nothing is left out."""
    left = {name: amount - taken.get(name, ZERO) for name, amount in counters.items()}
    return {name: amount for name, amount in left.items() if amount != ZERO}
