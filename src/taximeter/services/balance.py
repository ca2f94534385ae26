"""What a customer's wallets hold, now or at an instant of the past, and why.

Now is read from wallets, grants and open holds, all of one instant; the past is folded from the
entries until then. Both give the same for the same instant, which the tests check; what was held in
the past is not told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from msgspec import structs

from taximeter.domain.credit.burn import burn_key, draw
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import format_instant
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.services.hold_account import reserved_of
from taximeter.storage import customers
from taximeter.storage import wallets as storage
from taximeter.storage.wallets import Entry, Part, WalletKey


@dataclass(frozen=True, slots=True)
class GrantBalance:
    """What is left of a grant at an instant, whether it is in force by then, and what holds
    reserve of it.
    """

    grant: Grant
    remaining: Decimal
    usable: bool
    held: Decimal


@dataclass(frozen=True, slots=True)
class WalletBalance:
    """A customer's credit in one asset: `posted` is what is booked, `held` what holds reserve of
    it. The grants, in burn order, are those in force or yet to come that have something left.
    """

    asset: str
    posted: Decimal
    held: Decimal
    grants: tuple[GrantBalance, ...]

    @property
    def available(self) -> Decimal:
        """What may be authorized: posted less held."""
        return self.posted - self.held

    @property
    def by_kind(self) -> Mapping[str, Decimal]:
        """What is left of usable grants that were bought (`paid`), that came with a plan and are
        paid by its fee (`bundled`), and that were given (`promotional`); and the `debt`, which they
        come to more than is posted.
        """
        found = dict.fromkeys(("paid", "bundled", "promotional"), ZERO)
        for one in self.grants:
            if one.usable:
                bundled = one.grant.kind == "paid" and one.grant.subscription is not None
                found["bundled" if bundled else one.grant.kind] += one.remaining
        found["debt"] = sum(found.values(), ZERO) - self.posted
        return found


@dataclass(frozen=True, slots=True)
class DrawnPart:
    """What a draw would take from a grant."""

    grant: Grant
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DrawPreview:
    """What a draw would take from where, in that order: a `surplus` first, then grants; and
    `uncovered`, which is not available: it would be taken from what is held, or be debt.
    """

    surplus: Decimal
    parts: tuple[DrawnPart, ...]
    uncovered: Decimal


def balances_of(
    parts: Iterable[Part], at: datetime, reserved: Mapping[str, Decimal] = MappingProxyType({})
) -> list[WalletBalance]:
    """The balance at the instant `at` of each wallet of which these are the parts, by asset;
    `reserved` is what open holds reserve.
    """
    wallets: dict[str, list[Part]] = {}
    for part in parts:
        wallets.setdefault(part.asset, []).append(part)
    return [_balance(asset, wallets[asset], at, reserved) for asset in sorted(wallets)]


def _balance(
    asset: str, parts: Iterable[Part], at: datetime, reserved: Mapping[str, Decimal]
) -> WalletBalance:
    posted, held = ZERO, reserved.get(f"w:{asset}", ZERO)
    grants = []
    for _, grant, amount in parts:
        usable = grant is None or grant.usable_at(at)
        of_grant = ZERO if grant is None else reserved.get(f"g:{grant.id}", ZERO)
        if usable:
            posted += amount
            held += of_grant
        if grant is not None and amount > ZERO and (usable or at < grant.effective_at):
            grants.append(GrantBalance(grant, amount, usable, of_grant))
    grants.sort(key=lambda one: burn_key(one.grant))
    return WalletBalance(asset, posted, held=held, grants=tuple(grants))


async def get_balance(context: Context, customer: str, at: datetime) -> list[WalletBalance]:
    """The customer's wallets by asset as they were at `at`, what happened at that very instant
    included. A wallet begins with its first movement.

    Raises `NotFound` for the customer, `Invalid` for an `at` that is yet to come.
    """
    now = context.clock.now()
    if at > now:
        detail = f"It is {format_instant(now)} now. Ask for now or the past."
        raise Invalid([FieldError("at", "in_the_future", detail)])

    async def read(connection: Connection) -> list[WalletBalance]:
        await _require(connection, customer)
        return balances_of(await storage.folded_parts(connection, customer, at), at)

    return await look(context, read)


async def read_balance(connection: Connection, customer: str, now: datetime) -> list[WalletBalance]:
    """The customer's wallets by asset as they are now, on a snapshot. Raises `NotFound`."""
    await _require(connection, customer)
    reserved = await reserved_of(connection, customer, now)
    grants = [name[2:] for name in reserved if name.startswith("g:")]
    parts = await storage.parts_of(connection, customer, now, grants)
    return balances_of(parts, now, reserved)


async def read_wallet(connection: Connection, key: WalletKey, now: datetime) -> WalletBalance:
    """One wallet as it is now; it is there, and locked together with the customer's holds."""
    wallets = await read_balance(connection, key[0], now)
    return next(wallet for wallet in wallets if wallet.asset == key[1])


async def preview_draw(
    context: Context, key: WalletKey, amount: Decimal, *, meter: str | None, path: str | None
) -> DrawPreview:
    """What usage of `meter` (None: of no certain one) at `path` that costs `amount` would draw
    from now, beside what open holds reserve. Raises `NotFound` for the customer.
    """
    now = context.clock.now()

    async def read(connection: Connection) -> list[WalletBalance]:
        return await read_balance(connection, key[0], now)

    wallets = await look(context, read)
    wallet = next((one for one in wallets if one.asset == key[1]), None)
    if wallet is None:
        return DrawPreview(ZERO, (), amount)
    free = {
        one.grant.id: structs.replace(one.grant, remaining=max(one.remaining - one.held, ZERO))
        for one in wallet.grants
        if one.usable
    }
    beside = wallet.available - sum((grant.remaining for grant in free.values()), ZERO)
    found = draw(free.values(), amount, now, meter, path=path, debt=-beside)
    surplus = min(max(beside, ZERO), amount)
    parts = tuple(DrawnPart(free[grant_id], part) for grant_id, part in found.parts)
    return DrawPreview(surplus, parts, found.uncovered - surplus)


async def list_entries(
    context: Context, customer: str, *, asset: str | None, limit: int, cursor: str | None
) -> Page[Entry]:
    """The movements of the customer's credit (of one asset), newest first. Raises `NotFound`."""
    before = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        await _require(connection, customer)
        rows = await storage.page_entries(
            connection, customer, asset=asset, before=before[0] if before else None,
            limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda entry: (entry.id,))


async def _require(connection: Connection, customer: str) -> None:
    if await customers.find(connection, customer) is None:
        raise NotFound(kind="customer", key=customer)
