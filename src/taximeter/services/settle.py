"""Charging for usage at once: what a change of totals costs, drawn from wallets in burn order and
counted towards budgets.

Owns the settlement step of every transaction that changes totals. What a change costs is cost.py's.
Usage that happened is always charged; past the grants it becomes debt. What settles by invoice is
charged by the invoice; here it only counts towards the budgets of those who have any.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.credit.burn import burn_order, draw
from taximeter.domain.credit.wallet import Grant, posted
from taximeter.domain.subscription.routing import Target
from taximeter.kernel.quantity import ZERO
from taximeter.services.balance_alerts import Movement, tell_balances
from taximeter.services.context import Connection, Context
from taximeter.services.cost import Costs, SegmentKey, Shares, SharesOf, no_shares, read_costs
from taximeter.services.spending import Limited, Spend, count_spend, is_limited
from taximeter.storage import wallets as storage
from taximeter.storage.ingestion import ChangedTotal, Cursor
from taximeter.storage.topups import mark_low
from taximeter.storage.wallets import Entry, WalletKey


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What usage costs: negative where money is given back. `path` is what the events of the usage
    attribute it to, where that is known. `drawn`: it is drawn from the wallet; else an invoice
    bills it.
    """

    customer: str
    asset: str
    amount: Decimal
    meter: str
    ref: str
    path: str | None = None
    drawn: bool = True


class Captures(NamedTuple):
    """Of customers whose holds are being captured: what these reserve of grants, by wallet, which
    is drawn first. All that these customers use is priced, so that it can be told.
    """

    customers: Set[str]
    reserved: Mapping[WalletKey, Mapping[str, Decimal]]


NO_CAPTURES = Captures(frozenset(), {})


class Attribution(NamedTuple):
    """To what charges are attributed: to paths, for which `shares_of` is asked only of customers
    who have a grant or a budget for one; and in budgets to the window of `charged_at` (None: now).
    """

    shares_of: SharesOf = no_shares
    charged_at: datetime | None = None


HERE_AND_NOW = Attribution()


def is_charged(customer: str, price: UsagePrice, limited: Limited, captures: Captures) -> bool:
    """Whether usage under this price is priced at once, and not by an invoice alone."""
    return (
        price.settle == "wallet"
        or is_limited(limited, customer, price.asset)
        or customer in captures.customers
    )


async def settle_changes(
    context: Context,
    connection: Connection,
    targets: Mapping[SegmentKey, Target],
    changed: Sequence[ChangedTotal],
    purses: "Purses | None",
    limited: Limited,
    attribution: Attribution = HERE_AND_NOW,
    captures: Captures = NO_CAPTURES,
) -> Sequence[Charge]:
    """Charge for these changes of totals: the wallets, where the price settles from one, and the
    budgets of those who are `limited`. Returns the charges.
    """
    groups: dict[SegmentKey, list[ChangedTotal]] = defaultdict(list)
    for row in changed:
        key = SegmentKey(row.customer, row.subscription, row.price, row.period_start)
        if is_charged(row.customer, targets[key].price, limited, captures):
            groups[key].append(row)
    if not groups:
        return ()
    locked = await _lock_all(connection, purses) if purses is not None else _NOTHING
    costs = await read_costs(connection, targets, groups)
    grants = await _found_grants(locked)
    gives_back = any(cost.amount < ZERO for cost in costs.found)
    if gives_back:
        grants = await storage.grants_of(connection, locked.keys, spent_too=True)
    charges = _charges(costs, _by_path(grants, limited, attribution.shares_of))
    drawn = [charge for charge in charges if charge.drawn]
    if drawn:
        if not gives_back and any(charge.amount < ZERO for charge in drawn):
            grants = await storage.grants_of(connection, locked.keys, spent_too=True)
        await _draw(context, connection, drawn, locked.debts, grants, captures, limited)
    if limited:
        await _count(context, connection, charges, limited, attribution.charged_at)
    return charges


def _by_path(
    grants: Mapping[WalletKey, Sequence[Grant]], limited: Limited, shares_of: SharesOf
) -> dict[str, Shares]:
    """The shares by path of the customers who have a grant or a budget for one."""
    scopes: dict[str, set[str]] = defaultdict(set)
    for (customer, _), found in grants.items():
        for grant in found:
            if grant.scope_path is not None:
                scopes[customer].add(grant.scope_path)
    for customer, terms in limited.items():
        for budget in terms.budgets:
            if budget.path is not None:
                scopes[customer].add(budget.path)
    return {customer: shares_of(customer, paths) for customer, paths in scopes.items()}


def _charges(costs: Costs, by_path: Mapping[str, Shares]) -> list[Charge]:
    """The costs of a change as charges, in the order in which they are drawn."""
    found = []
    for cost in costs.found:
        key, price = cost.key, cost.price
        ref, drawn = f"{key.subscription}/{key.price}", price.settle == "wallet"
        shares = by_path.get(key.customer)
        for path, amount in costs.by_path(cost, shares) if shares else ((None, cost.amount),):
            found.append(Charge(key.customer, price.asset, amount, price.meter, ref, path, drawn))
    found.sort(key=lambda charge: (charge.customer, charge.asset, charge.ref, charge.path or ""))
    return found


class Purses(NamedTuple):
    """Wallets that were asked for under their lock: their keys, and where their debts and grants
    will be read.
    """

    keys: Sequence[WalletKey]
    debts: Cursor
    grants: Cursor


class _Locked(NamedTuple):
    """Wallets that are all there and locked: their debts, and where their grants will be read."""

    keys: Sequence[WalletKey]
    debts: Mapping[WalletKey, Decimal]
    grants: Cursor | None


_NOTHING = _Locked((), {}, None)


async def send_purses(
    connection: Connection, keys: Sequence[WalletKey], at: datetime, *, spent_too: bool = False
) -> Purses:
    """Lock these wallets and ask for their debts and the grants that have not expired by `at`;
    `spent_too`: for empty grants, too, to which something may be given back.
    """
    debts = await storage.send_lock(connection, keys)
    grants = await storage.send_grants(connection, keys, spent_too=spent_too, at=at)
    return Purses(keys, debts, grants)


async def _lock_all(connection: Connection, purses: Purses, *, spent_too: bool = False) -> _Locked:
    """Have all of these wallets locked. One that is new could not be: it is made, and what was
    read without its lock is read again. Comes before the totals of a segment are read, or two
    first usages at once would each be priced without the other.
    """
    debts = await storage.locked_debts(purses.debts)
    if len(debts) == len(purses.keys):
        return _Locked(purses.keys, debts, purses.grants)
    debts = await storage.lock_wallets(connection, purses.keys)
    grants = await storage.send_grants(connection, purses.keys, spent_too=spent_too)
    return _Locked(purses.keys, debts, grants)


async def charge_wallets(
    context: Context,
    connection: Connection,
    charges: Sequence[Charge],
    limited: Limited,
    captures: Captures = NO_CAPTURES,
) -> None:
    """Draw those of these amounts that wallets owe, in order, from their grants."""
    drawn = [charge for charge in charges if charge.drawn]
    if drawn:
        keys = sorted({(charge.customer, charge.asset) for charge in drawn})
        gives_back = any(charge.amount < ZERO for charge in drawn)
        purses = await send_purses(connection, keys, context.clock.now(), spent_too=gives_back)
        locked = await _lock_all(connection, purses, spent_too=gives_back)
        grants = await _found_grants(locked)
        await _draw(context, connection, drawn, locked.debts, grants, captures, limited)


async def settle_charges(
    context: Context,
    connection: Connection,
    charges: Sequence[Charge],
    limited: Limited,
    captures: Captures = NO_CAPTURES,
) -> None:
    """Draw from wallets what they owe, and count all of these amounts towards budgets."""
    await charge_wallets(context, connection, charges, limited, captures)
    await _count(context, connection, charges, limited)


async def _found_grants(locked: _Locked) -> dict[WalletKey, list[Grant]]:
    return {} if locked.grants is None else await storage.found_grants(locked.grants, locked.keys)


async def _draw(
    context: Context,
    connection: Connection,
    charges: Sequence[Charge],
    debts: Mapping[WalletKey, Decimal],
    grants: Mapping[WalletKey, list[Grant]],
    captures: Captures,
    limited: Limited,
) -> None:
    if captures.reserved:
        grants = await _with_reserved(connection, grants, captures)
    at = context.clock.now()
    purse = _Purse(context, at, debts, grants, captures.reserved)
    for charge in charges:
        purse.charge(charge)
    await storage.set_remaining(connection, purse.remaining())
    await storage.set_debts(connection, purse.debts())
    await storage.insert_entries(connection, purse.entries)
    watched = sorted({(one.customer, one.asset) for one in charges if one.customer in limited})
    movements = [
        Movement(alerts, posted(grants[key], debts[key], at), purse.balance(key))
        for key in watched
        if (alerts := limited[key[0]].balance_alerts(key[1]))
    ]
    if movements:
        await tell_balances(context, connection, movements, at)
    topped_up = {key: purse.balance(key) for key in watched if limited[key[0]].is_topped_up(key[1])}
    if topped_up:
        await mark_low(connection, topped_up, at)


async def _with_reserved(
    connection: Connection, grants: Mapping[WalletKey, list[Grant]], captures: Captures
) -> dict[WalletKey, list[Grant]]:
    """These grants, and those that captured holds reserve of: one may have expired since."""
    known = {grant.id for found in grants.values() for grant in found}
    missing = [
        (key[0], grant_id)
        for key, reserved in captures.reserved.items()
        if key in grants
        for grant_id in reserved
        if grant_id not in known
    ]
    found = {key: [*own] for key, own in grants.items()}
    if missing:
        for grant in (await storage.grants_by_id(connection, missing)).values():
            if (grant.customer, grant.asset) in found:
                found[grant.customer, grant.asset].append(grant)
    return found


async def _count(
    context: Context,
    connection: Connection,
    charges: Sequence[Charge],
    limited: Limited,
    at: datetime | None = None,
) -> None:
    """Count charges towards the budgets of those who are limited, as charged at that instant."""
    spends = [
        Spend(charge.customer, charge.asset, charge.amount, charge.path)
        for charge in charges
        if charge.customer in limited
    ]
    if spends:
        await count_spend(context, connection, limited, spends, at or context.clock.now())


class Holding(NamedTuple):
    """What a wallet holds: its grants, empty ones too, and its debt."""

    grants: Sequence[Grant]
    debt: Decimal


def holding_after(
    context: Context, key: WalletKey, holding: Holding, charges: Sequence[Charge]
) -> Holding:
    """What the wallet `key` would hold once these charges were drawn from it, in order."""
    purse = _Purse(context, context.clock.now(), {key: holding.debt}, {key: [*holding.grants]}, {})
    for charge in charges:
        purse.charge(charge)
    left = {grant_id: remaining for _, grant_id, remaining in purse.remaining()}
    debts = {asset: debt for _, asset, debt in purse.debts()}
    grants = [_with_remaining(one, left.get(one.id, one.remaining)) for one in holding.grants]
    return Holding(grants, debts.get(key[1], holding.debt))


class _Purse:
    """Wallets and grants under their lock, while charges are drawn from them one by one."""

    def __init__(
        self,
        context: Context,
        at: datetime,
        debts: Mapping[WalletKey, Decimal],
        grants: Mapping[WalletKey, list[Grant]],
        reserved: Mapping[WalletKey, Mapping[str, Decimal]],
    ) -> None:
        self._context = context
        self._at = at
        self._first_debts = debts
        self._debts = dict(debts)
        self._grants = grants
        self._drawn: dict[WalletKey, dict[str, Decimal]] = {}
        self._reserved = {key: dict(found) for key, found in reserved.items()}
        self.entries: list[Entry] = []

    def charge(self, charge: Charge) -> None:
        """Draw one charge; a debt that a grant has come to cover meanwhile is repaid first, but
        not by a grant for certain meters or a path: debt is of no certain one.
        """
        key = (charge.customer, charge.asset)
        debt = self._debts[key]
        owed = max(debt, ZERO) if charge.amount > ZERO else ZERO
        parts: dict[str, Decimal] = {}
        amount = charge.amount
        if key in self._reserved:
            amount -= self._take_reserved(key, amount, parts)
        after = self._take(key, owed, None, None, debt - owed, parts) if owed else debt
        after = self._take(key, amount, charge.meter, charge.path, after, parts)
        for grant_id, part in parts.items():
            self._note(charge, grant_id, -part)
        if after != debt:
            self._debts[key] = after
            self._note(charge, None, debt - after)

    def _now(self, key: WalletKey) -> Sequence[Grant]:
        """The wallet's grants with what is left of them."""
        grants, drawn = self._grants[key], self._drawn.get(key)
        if drawn is None:
            return grants
        return [
            _with_remaining(one, one.remaining - drawn[one.id]) if one.id in drawn else one
            for one in grants
        ]

    def _take_reserved(self, key: WalletKey, amount: Decimal, parts: dict[str, Decimal]) -> Decimal:
        """Draw from what captured holds reserve, in burn order; returns what that gave."""
        reserved = self._reserved[key]
        given = ZERO
        for grant in burn_order(one for one in self._now(key) if one.id in reserved):
            part = min(reserved[grant.id], grant.remaining, amount - given)
            if part > ZERO:
                reserved[grant.id] -= part
                self._draw_from(key, grant.id, part, parts)
                given += part
        return given

    def _draw_from(
        self, key: WalletKey, grant_id: str, part: Decimal, parts: dict[str, Decimal]
    ) -> None:
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = self._drawn[key] = {}
        drawn[grant_id] = drawn.get(grant_id, ZERO) + part
        parts[grant_id] = parts.get(grant_id, ZERO) + part

    def _take(
        self,
        key: WalletKey,
        amount: Decimal,
        meter: str | None,
        path: str | None,
        debt: Decimal,
        parts: dict[str, Decimal],
    ) -> Decimal:
        """Draw `amount` and add what each grant gives to `parts`; returns the debt after."""
        drawn = draw(self._now(key), amount, self._at, meter, path=path, debt=debt)
        for grant_id, part in drawn.parts:
            self._draw_from(key, grant_id, part, parts)
        return debt + drawn.uncovered if drawn.uncovered else debt

    def _note(self, charge: Charge, grant_id: str | None, amount: Decimal) -> None:
        entry_id = self._context.ids("went", self._at)
        self.entries.append(
            Entry(charge.customer, entry_id, charge.asset, grant_id, "draw", amount, self._at,
                  charge.ref)
        )  # fmt: skip

    def balance(self, key: WalletKey) -> Decimal:
        """What the wallet has posted now."""
        return posted(self._now(key), self._debts[key], self._at)

    def remaining(self) -> list[tuple[str, str, Decimal]]:
        """What touched grants have left."""
        return [
            (key[0], grant.id, grant.remaining - drawn[grant.id])
            for key, drawn in self._drawn.items()
            for grant in self._grants[key]
            if grant.id in drawn
        ]

    def debts(self) -> list[tuple[str, str, Decimal]]:
        """The debts that changed."""
        return [(*key, debt) for key, debt in self._debts.items() if debt != self._first_debts[key]]


def _with_remaining(grant: Grant, remaining: Decimal) -> Grant:
    return Grant(
        grant.id, grant.customer, grant.asset, grant.amount, remaining, grant.kind,
        grant.priority, grant.effective_at, grant.expires_at, grant.scope_meters,
        grant.created_at, grant.scope_path, grant.subscription, grant.credit,
    )  # fmt: skip
