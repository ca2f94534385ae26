"""Charging wallets for usage at once: what a change of totals costs, drawn in burn order.

Owns the settlement step of every transaction that changes totals. Amounts are the domain's:
amount(after) - amount(before), exact, negative where a volume tier fell. Usage that happened is
always charged; past the grants it becomes debt.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.credit.burn import draw
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.rating.rate import price_amount
from taximeter.domain.rating.usage import Usage, drawn_with, with_group
from taximeter.domain.subscription.routing import Target
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection, Context
from taximeter.services.dimensions import dimensions_of
from taximeter.storage import totals as total_storage
from taximeter.storage import wallets as storage
from taximeter.storage.ingestion import ChangedTotal, Cursor
from taximeter.storage.wallets import Entry, WalletKey


class SegmentKey(NamedTuple):
    """Names the segment of a price whose totals belong together."""

    customer: str
    subscription: str
    price: str
    start: datetime


class Charge(NamedTuple):
    """What usage costs a wallet: negative where money is given back. `path` is what the events of
    the usage attribute it to, where that is known.
    """

    customer: str
    asset: str
    amount: Decimal
    meter: str
    ref: str
    path: str | None = None


# Of each path of a customer's events, in the order of its text ("": none): what they add to each
# row of totals, named by its segment and its dimensions.
Shares = Mapping[str, Mapping[tuple[SegmentKey, str], Decimal]]
SharesOf = Callable[[str], Shares]


def no_shares(_customer: str) -> Shares:
    """The shares of a change that is of no certain path."""
    return {}


async def settle_changes(
    context: Context,
    connection: Connection,
    targets: Mapping[SegmentKey, Target],
    changed: Sequence[ChangedTotal],
    purses: "Purses",
    shares_of: SharesOf = no_shares,
) -> None:
    """Charge the wallets for these changes of totals, where the price settles from a wallet.
    `shares_of` is asked for the paths only of customers who have a grant for one.
    """
    groups: dict[SegmentKey, list[ChangedTotal]] = defaultdict(list)
    for row in changed:
        key = SegmentKey(row.customer, row.subscription, row.price, row.period_start)
        if targets[key].price.settle == "wallet":
            groups[key].append(row)
    if not groups:
        return
    locked = await _lock_all(connection, purses)
    wholes: dict[SegmentKey, UsagePrice] = {}
    for key in groups:
        if not targets[key].linear:
            wholes |= _rated_together(key, targets[key])
    found = await total_storage.segment_totals(connection, list(wholes)) if wholes else {}
    rows = {SegmentKey(*key): totals for key, totals in found.items()}
    charges = []
    for key in groups.keys() | wholes.keys():
        price = wholes.get(key)
        if price is None:
            price = targets[key].price
            amount = _linear_cost(price, groups[key])
        else:
            amount = _cost(key, price, groups, rows)
        if amount != ZERO:
            charges.append((key, price, amount))
    grants = await storage.found_grants(locked.grants, locked.keys)
    if any(amount < ZERO for _, _, amount in charges):
        grants = await storage.grants_of(connection, locked.keys, spent_too=True)
    by_path: dict[str, Shares] = {}
    for (customer, _), found_grants in grants.items():
        if any(grant.scope_path is not None for grant in found_grants):
            by_path[customer] = shares_of(customer)
    parts = []
    for key, price, whole in charges:
        ref = f"{key.subscription}/{key.price}"
        shares = by_path.get(key.customer)
        apart = _parts(key, price, whole, groups, rows, shares) if shares else [(None, whole)]
        parts += [
            Charge(key.customer, price.asset, amount, price.meter, ref, path)
            for path, amount in apart
        ]
    parts.sort(key=lambda charge: (charge.customer, charge.asset, charge.ref, charge.path or ""))
    await _charge(context, connection, parts, locked.debts, grants)


def _parts(
    key: SegmentKey,
    price: UsagePrice,
    whole: Decimal,
    changed: Mapping[SegmentKey, Sequence[ChangedTotal]],
    rows: Mapping[SegmentKey, Sequence[tuple[str, Decimal]]],
    shares: Shares,
) -> list[tuple[str | None, Decimal]]:
    """The cost `whole` of a segment's change apart by path: in the order of the paths, what each
    one's usage adds to the amount, so that the parts sum to the whole. As one part of no path
    where the changes are not sums of what events add.
    """
    keys = _group_keys(key, price)
    change: dict[tuple[SegmentKey, str], Decimal] = defaultdict(lambda: ZERO)
    for one in keys:
        for row in changed.get(one, ()):
            change[one, row.dimensions] += row.quantity - row.previous
    of_paths = [
        (path, {place: share for place, share in found.items() if place in change})
        for path, found in shares.items()
    ]
    of_paths = [(path, found) for path, found in of_paths if found]
    if len(of_paths) == 1:
        return [(of_paths[0][0] or None, whole)]
    summed: dict[tuple[SegmentKey, str], Decimal] = defaultdict(lambda: ZERO)
    for _, found in of_paths:
        for place, share in found.items():
            summed[place] += share
    if not of_paths or summed != change:
        return [(None, whole)]
    parts: list[tuple[str | None, Decimal]] = []
    left, rest = whole, dict(change)
    for path, found in of_paths:
        for place, share in found.items():
            rest[place] -= share
        missing = _missing(key, price, changed, rows, rest)
        parts.append((path or None, left - missing))
        left = missing
    return [(path, amount) for path, amount in parts if amount != ZERO]


def _missing(
    key: SegmentKey,
    price: UsagePrice,
    changed: Mapping[SegmentKey, Sequence[ChangedTotal]],
    rows: Mapping[SegmentKey, Sequence[tuple[str, Decimal]]],
    rest: Mapping[tuple[SegmentKey, str], Decimal],
) -> Decimal:
    """amount(after) - amount(after less `rest`): what the rest of a change adds."""
    if not any(rest.values()):
        return ZERO
    before, after = {}, {}
    for one in _group_keys(key, price):
        _, usage = _before_and_after(changed.get(one, ()), rows.get(one, ()))
        after[one.price] = usage
        texts = dict(rows.get(one, ())) or {row.dimensions: ZERO for row in changed.get(one, ())}
        before[one.price] = [
            (dimensions, quantity - rest.get((one, text), ZERO))
            for (dimensions, quantity), text in zip(usage, texts, strict=True)
        ]
    whole = price_amount(price, with_group(price, after))
    return whole - price_amount(price, with_group(price, before))


def _group_keys(key: SegmentKey, price: UsagePrice) -> list[SegmentKey]:
    """The segment, and those of the other prices of its price's group."""
    return [key, *(key._replace(price=one.key) for one in price.group if one.key != key.price)]


def _rated_together(key: SegmentKey, target: Target) -> dict[SegmentKey, UsagePrice]:
    """The segment and those of its price's group: where one has changed, the others cost anew."""
    found = {key: target.price}
    for one in target.price.group:
        price = target.segment.plan.price(one.key)
        assert isinstance(price, UsagePrice), "a group is of the plan's usage prices"
        found[key._replace(price=one.key)] = price
    return found


def _linear_cost(price: UsagePrice, changed: Sequence[ChangedTotal]) -> Decimal:
    """amount(after) - amount(before) of a price whose parts rate apart: what the change alone
    costs, to the last digit.
    """
    change = [(dimensions_of(row.dimensions), row.quantity - row.previous) for row in changed]
    return price_amount(price, change)


def _cost(
    key: SegmentKey,
    price: UsagePrice,
    changed: Mapping[SegmentKey, Sequence[ChangedTotal]],
    rows: Mapping[SegmentKey, Sequence[tuple[str, Decimal]]],
) -> Decimal:
    """amount(after) - amount(before) of one segment. `rows` are all its totals after the change,
    and those of its group. Before the first usage that it draws by nothing was charged.
    """
    before, after = {}, {}
    existed = exists = False
    drawn = {one.key for one in drawn_with(price)}
    for one in _group_keys(key, price):
        own = changed.get(one, ())
        before[one.price], after[one.price] = _before_and_after(own, rows.get(one, ()))
        if one.price in drawn:
            existed = existed or any(quantity for _, quantity in before[one.price])
            existed = existed or any(not row.created for row in own)
            existed = existed or len(after[one.price]) > len({row.dimensions for row in own})
            exists = exists or bool(own)
    charged = price_amount(price, with_group(price, before)) if existed else ZERO
    exists = exists or existed
    return (price_amount(price, with_group(price, after)) if exists else ZERO) - charged


def _before_and_after(
    changed: Sequence[ChangedTotal], rows: Sequence[tuple[str, Decimal]]
) -> tuple[Usage, Usage]:
    after: dict[str, Decimal] = dict(rows)
    change: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in changed:
        change[row.dimensions] += row.quantity - row.previous
        if not rows:
            after[row.dimensions] = after.get(row.dimensions, ZERO) + row.quantity
    return (
        [(dimensions_of(text), quantity - change[text]) for text, quantity in after.items()],
        [(dimensions_of(text), quantity) for text, quantity in after.items()],
    )


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
    grants: Cursor


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
    context: Context, connection: Connection, charges: Sequence[Charge]
) -> None:
    """Draw these amounts, in order, from the grants of their wallets."""
    if charges:
        keys = sorted({(charge.customer, charge.asset) for charge in charges})
        gives_back = any(charge.amount < ZERO for charge in charges)
        purses = await send_purses(connection, keys, context.clock.now(), spent_too=gives_back)
        locked = await _lock_all(connection, purses, spent_too=gives_back)
        grants = await storage.found_grants(locked.grants, locked.keys)
        await _charge(context, connection, charges, locked.debts, grants)


async def _charge(
    context: Context,
    connection: Connection,
    charges: Sequence[Charge],
    debts: Mapping[WalletKey, Decimal],
    grants: Mapping[WalletKey, list[Grant]],
) -> None:
    if not charges:
        return
    purse = _Purse(context, context.clock.now(), debts, grants)
    for charge in charges:
        purse.charge(charge)
    await storage.set_remaining(connection, purse.remaining())
    await storage.set_debts(connection, purse.debts())
    await storage.insert_entries(connection, purse.entries)


class Holding(NamedTuple):
    """What a wallet holds: its grants, empty ones too, and its debt."""

    grants: Sequence[Grant]
    debt: Decimal


def holding_after(
    context: Context, key: WalletKey, holding: Holding, charges: Sequence[Charge]
) -> Holding:
    """What the wallet `key` would hold once these charges were drawn from it, in order."""
    purse = _Purse(context, context.clock.now(), {key: holding.debt}, {key: [*holding.grants]})
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
    ) -> None:
        self._context = context
        self._at = at
        self._debts = dict(debts)
        self._first_debts = dict(debts)
        self._grants = {key: {grant.id: grant for grant in found} for key, found in grants.items()}
        self._touched: dict[tuple[str, str], Decimal] = {}
        self.entries: list[Entry] = []

    def charge(self, charge: Charge) -> None:
        """Draw one charge; a debt that a grant has come to cover meanwhile is repaid first, but
        not by a grant for certain meters or a path: debt is of no certain one.
        """
        key = (charge.customer, charge.asset)
        debt = self._debts[key]
        owed = max(debt, ZERO) if charge.amount > ZERO else ZERO
        parts: dict[str, Decimal] = {}
        after = self._take(key, owed, None, None, debt - owed, parts) if owed else debt
        after = self._take(key, charge.amount, charge.meter, charge.path, after, parts)
        for grant_id, part in parts.items():
            self._note(charge, grant_id, -part)
        if after != debt:
            self._debts[key] = after
            self._note(charge, None, debt - after)

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
        grants = self._grants[key]
        drawn = draw(grants.values(), amount, self._at, meter, path=path, debt=debt)
        for grant_id, part in drawn.parts:
            left = grants[grant_id].remaining - part
            grants[grant_id] = _with_remaining(grants[grant_id], left)
            self._touched[key[0], grant_id] = left
            parts[grant_id] = parts.get(grant_id, ZERO) + part
        return debt + drawn.uncovered

    def _note(self, charge: Charge, grant_id: str | None, amount: Decimal) -> None:
        entry_id = self._context.ids("went", self._at)
        self.entries.append(
            Entry(charge.customer, entry_id, charge.asset, grant_id, "draw", amount, self._at,
                  charge.ref)
        )  # fmt: skip

    def remaining(self) -> list[tuple[str, str, Decimal]]:
        """What touched grants have left."""
        return [(customer, grant, left) for (customer, grant), left in self._touched.items()]

    def debts(self) -> list[tuple[str, str, Decimal]]:
        """The debts that changed."""
        return [(*key, debt) for key, debt in self._debts.items() if debt != self._first_debts[key]]


def _with_remaining(grant: Grant, remaining: Decimal) -> Grant:
    return Grant(
        grant.id, grant.customer, grant.asset, grant.amount, remaining, grant.kind,
        grant.priority, grant.effective_at, grant.expires_at, grant.scope_meters,
        grant.created_at, grant.scope_path, grant.subscription, grant.credit,
    )  # fmt: skip
