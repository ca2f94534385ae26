"""Grants: give credit, take back what is left of it, get, list; and repaying debt.

Owns what a grant and its void move. A wallet's entries always sum to its posted balance, but for
what expiry and a later start leave out: an entry that names a grant moves what that grant has
left, one that names none moves the debt with its sign turned. So giving 100 to a wallet in debt
by 30 writes

    grant   +100   of the grant        the balance rises by the whole amount
    repay    -30   of the grant        70 are left of it
    repay    +30   without a grant     the debt is 0

and voiding what is left writes `void -70` of the grant. The debt that it repaid stays repaid:
that usage happened and was paid for. A grant for certain meters or a path repays no debt, which
is of no certain one; it is drawn by the next usage of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Literal, NamedTuple

from msgspec import structs

from taximeter.domain.credit.burn import draw
from taximeter.domain.credit.wallet import Grant, GrantKind, apply_grant
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.money import Money
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services.balance_alerts import look_at_balance, note_grant
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.hold_account import lock_account
from taximeter.storage import customers, meters
from taximeter.storage import wallets as storage
from taximeter.storage.topups import look_again
from taximeter.storage.wallets import WalletKey

Entry = storage.Entry
StoredGrant = storage.StoredGrant

ACTOR = "system"
WALLETS_PER_RUN = 1_000


@dataclass(frozen=True, slots=True)
class NewGrant:
    """What a grant is asked to be. Without `effective_at` it is in force now, without
    `expires_at` for ever. `cost_basis` is what was paid for all of it.
    """

    customer: str
    asset: str
    amount: Decimal
    kind: GrantKind
    cost_basis: Money | None
    priority: int
    effective_at: datetime | None
    expires_at: datetime | None
    scope_meters: tuple[str, ...] | None
    scope_path: str | None = None


async def create_grant(transaction: Transaction, new: NewGrant) -> StoredGrant:
    """Give a customer credit; where it is in force now it repays debt first.

    Raises `NotFound` for the customer, `Invalid` for a grant that would expire before it is in
    force, for meters that do not exist, and for a currency that is not in capitals.
    """
    customer = await customers.find(transaction.connection, new.customer)
    if customer is None:
        raise NotFound(kind="customer", key=new.customer)
    effective_at = new.effective_at or transaction.at
    await _check(transaction, new, effective_at, currency=customer.currency)
    grant = Grant(
        id=transaction.new_id("grant"), customer=new.customer, asset=new.asset, amount=new.amount,
        remaining=new.amount, kind=new.kind, priority=new.priority, effective_at=effective_at,
        expires_at=new.expires_at, scope_meters=new.scope_meters, created_at=transaction.at,
        scope_path=new.scope_path,
    )  # fmt: skip
    return await issue_grant(transaction, grant, new.cost_basis)


async def _check(
    transaction: Transaction, new: NewGrant, effective_at: datetime, *, currency: str
) -> None:
    errors = []
    if new.asset != currency and new.asset.upper() == currency:
        detail = f"Currencies are in capitals. Say {currency}."
        errors.append(FieldError("asset", "unknown_currency", detail))
    if new.expires_at is not None and new.expires_at <= effective_at:
        detail = "The grant would expire before it is in force. Choose a later end."
        errors.append(FieldError("expires_at", "too_early", detail))
    known = await meters.keys(transaction.connection) if new.scope_meters else set()
    for index, meter in enumerate(new.scope_meters or ()):
        if meter not in known:
            detail = f"There is no meter {meter}. Create it first, or correct its key."
            errors.append(FieldError(f"scope.meters[{index}]", "unknown_meter", detail))
    if errors:
        raise Invalid(errors)


async def issue_grant(
    transaction: Transaction,
    grant: Grant,
    cost_basis: Money | None = None,
    *,
    step: storage.Step | None = None,
    kind: Literal["grant", "rollover", "transfer"] = "grant",
    ref: str | None = None,
) -> StoredGrant:
    """Add a grant of which nothing is used yet to its wallet, repaying the wallet's debt where
    the grant is in force now. `step` is the one that a plan makes it for; `kind` is its entry's,
    and `ref` what that names (None: the grant).
    """
    connection, at = transaction.connection, transaction.at
    key = (grant.customer, grant.asset)
    debt = (await storage.lock_wallets(connection, [key]))[key]
    entries = [grant_entry(transaction, grant, kind, grant.amount, ref=ref)]
    left, debt_left = grant.remaining, debt
    if grant.usable_at(at) and grant.covers(None):
        left, debt_left = apply_grant(debt, grant.remaining)
    repaid = debt - debt_left
    if repaid != ZERO:
        entries.append(grant_entry(transaction, grant, "repay", -repaid))
        entries.append(grant_entry(transaction, grant, "repay", repaid, of_debt=True))
        await storage.set_debts(connection, [(*key, debt_left)])
    issued = structs.replace(grant, remaining=left)
    await storage.insert_grant(connection, issued, cost_basis, step)
    await storage.insert_entries(connection, entries)
    await note_grant(transaction, key)
    if grant.expires_at is not None:
        await look_again(connection, key, grant.expires_at)
    await transaction.audit(
        "grant.created", grant.id,
        {"customer": grant.customer, "asset": grant.asset, "kind": grant.kind,
         "amount": format_decimal(grant.amount), "repaid": format_decimal(repaid)},
    )  # fmt: skip
    return StoredGrant(issued, cost_basis, None)


def grant_entry(
    transaction: Transaction,
    grant: Grant,
    kind: str,
    amount: Decimal,
    *,
    of_debt: bool = False,
    ref: str | None = None,
) -> Entry:
    """A movement of what a grant has left (`of_debt`: of the debt that it repays). It names `ref`,
    else the grant.
    """
    return Entry(
        customer=grant.customer, id=transaction.new_id("went"), asset=grant.asset,
        grant_id=None if of_debt else grant.id, kind=kind, amount=amount, at=transaction.at,
        ref=ref or grant.id,
    )  # fmt: skip


class Voided(NamedTuple):
    """A grant after its void: what was taken back now, and what open holds keep of it."""

    stored: StoredGrant
    taken_back: Decimal
    held: Decimal


async def void_grant(
    transaction: Transaction, grant_id: str, customer: str | None = None
) -> Voided:
    """Take back what is left of a grant, but for what open holds need of it: that stays until
    they are resolved. Again takes what has become free since, and is harmless where nothing has.

    Raises `NotFound`, also for another customer's grant where `customer` is given.
    """
    connection, at = transaction.connection, transaction.at
    found = await _find(connection, grant_id, customer)
    owner = found.grant.customer
    account = await lock_account(connection, owner, at)
    await storage.lock_wallets(connection, [(owner, found.grant.asset)])
    found = await _find(connection, grant_id, customer)
    if found.voided_at is not None:
        return Voided(found, ZERO, ZERO)
    grant = found.grant
    held = await _held_of(connection, grant, account.counters[owner], at)
    taken_back = grant.remaining - held
    voided_at = None if held else at
    await storage.take_back(connection, structs.replace(grant, remaining=held), voided_at)
    if taken_back != ZERO:
        await storage.insert_entries(
            connection, [grant_entry(transaction, grant, "void", -taken_back)]
        )
        await look_at_balance(transaction, (owner, grant.asset))
        await look_again(connection, (owner, grant.asset), at)
    await transaction.audit(
        "grant.voided", grant.id,
        {"customer": owner, "asset": grant.asset, "taken_back": format_decimal(taken_back),
         "held": format_decimal(held)},
    )  # fmt: skip
    after = found._replace(grant=structs.replace(grant, remaining=held), voided_at=voided_at)
    return Voided(after, taken_back, held)


async def _held_of(
    connection: storage.Connection, grant: Grant, reserved: Mapping[str, Decimal], at: datetime
) -> Decimal:
    """What open holds need of what the grant has left: what they reserve of it, and where usage
    beside them took what they reserve of others, as much as these others lack together.
    """
    held = min(reserved.get(f"g:{grant.id}", ZERO), grant.remaining)
    named = [(grant.customer, name[2:]) for name in reserved if name.startswith("g:")]
    if not named or not grant.usable_at(at):
        return held
    key = (grant.customer, grant.asset)
    others = {one.id: one for one in (await storage.grants_of(connection, [key]))[key]}
    others |= await storage.grants_by_id(connection, named)
    free = sum(
        one.remaining - reserved.get(f"g:{one.id}", ZERO)
        for one in others.values()
        if one.asset == grant.asset and one.id != grant.id and one.usable_at(at)
    )
    return min(held + max(-free, ZERO), grant.remaining)


async def _find(connection: storage.Connection, grant_id: str, customer: str | None) -> StoredGrant:
    found = await storage.find_grant(connection, grant_id, customer=customer)
    if found is None:
        raise NotFound(kind="grant", key=grant_id)
    return found


async def get_grant(context: Context, grant_id: str, customer: str | None = None) -> StoredGrant:
    """The grant with this id. Raises `NotFound`, also for another customer's where `customer` is
    given.
    """
    async with context.pool.connection() as connection:
        return await _find(connection, grant_id, customer)


async def list_grants(
    context: Context, *, customer: str | None, limit: int, cursor: str | None
) -> Page[StoredGrant]:
    """Grants by customer and age, voided and used ones too."""
    after = decode_cursor(cursor, 2)
    async with context.pool.connection() as connection:
        rows = await storage.page_grants(
            connection, customer=customer, after=(after[0], after[1]) if after else None,
            limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda stored: (stored.grant.customer, stored.grant.id))


async def next_repayment(context: Context) -> datetime | None:
    """When, maybe in the past, a grant next comes into force in a wallet that is in debt."""
    async with context.pool.connection() as connection:
        return await storage.next_repayable(connection, context.clock.now())


async def repay_due(context: Context) -> int:
    """Repay the debts of wallets in which a grant has come into force since; how many wallets.
    A job: harmless to run again, or twice at once. Without it the balance is the same, but the
    debt would come back when the grant expires.
    """
    async with context.pool.connection() as connection:
        keys = await storage.repayable(connection, context.clock.now(), WALLETS_PER_RUN)
    for key in keys:
        await run(context, ACTOR, partial(_repay, key))
    return len(keys)


async def _repay(key: WalletKey, transaction: Transaction) -> None:
    connection, at = transaction.connection, transaction.at
    debt = (await storage.lock_wallets(connection, [key]))[key]
    if debt <= ZERO:
        return
    grants = {grant.id: grant for grant in (await storage.grants_of(connection, [key]))[key]}
    drawn = draw(grants.values(), debt, at)
    entries = []
    for grant_id, part in drawn.parts:
        entries.append(grant_entry(transaction, grants[grant_id], "repay", -part))
        entries.append(grant_entry(transaction, grants[grant_id], "repay", part, of_debt=True))
    await storage.set_remaining(
        connection,
        [(key[0], grant_id, grants[grant_id].remaining - part) for grant_id, part in drawn.parts],
    )
    await storage.set_debts(connection, [(*key, drawn.uncovered)])
    await storage.insert_entries(connection, entries)
