"""Top-ups: asked for when a wallet falls below its threshold, and settled once they are paid.

Owns that one at most is open of a wallet, however many requests crossed the threshold at once. What
lowers a balance (usage, holds, voids, transfers, invoices) marks the wallet in its own transaction;
a job looks at marked wallets under their lock, and asks for what is missing. A grant that ends is
looked for in the same way. Paying gives the credit in the transaction that settles the top-up.
Collecting the money is topup_charges.py.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Literal, TypeAlias

from taximeter.domain.catalog.currency import is_currency, minor_digits
from taximeter.domain.credit.topup import AutoTopup, Due, History, Quiet, TopupStatus, decide_topup
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.entitlement.budget import window_of
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.ids import first_id
from taximeter.kernel.money import Money
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, ZERO, format_decimal, round_half_up
from taximeter.kernel.times import format_instant, parse_duration
from taximeter.services import outbox
from taximeter.services.balance import WalletBalance, read_wallet
from taximeter.services.command import Transaction, run
from taximeter.services.context import Connection, Context
from taximeter.services.grants import issue_grant
from taximeter.services.hold_account import lock_account
from taximeter.services.outbox import Message
from taximeter.storage import customers
from taximeter.storage import topups as storage
from taximeter.storage import wallets as wallet_storage
from taximeter.storage.terms import customer_terms, note_change
from taximeter.storage.wallets import WalletKey

StoredAutoTopup: TypeAlias = storage.StoredAutoTopup
Topup: TypeAlias = storage.Topup

ACTOR = "system"
PRIORITY = 50
WALLETS_PER_RUN = 1_000

Settled = Literal["paid", "failed"]


async def put_auto_topup(transaction: Transaction, auto: AutoTopup) -> tuple[StoredAutoTopup, bool]:
    """Have a wallet topped up, or change how; returns the settings and whether they are new. What
    failed before is forgotten.

    Raises `NotFound` for the customer, `Invalid` for a currency that is not in capitals.
    """
    connection, at = transaction.connection, transaction.at
    await note_change(connection, auto.customer, at)
    customer = await customers.find(connection, auto.customer)
    if customer is None:
        raise NotFound(kind="customer", key=auto.customer)
    if auto.asset != customer.currency and auto.asset.upper() == customer.currency:
        detail = f"Currencies are in capitals. Say {customer.currency}."
        raise Invalid([FieldError("asset", "unknown_currency", detail)])
    # Against a look under way, which would write over that the wallet is to be looked at.
    await wallet_storage.lock_wallets(connection, [(auto.customer, auto.asset)])
    before = await storage.settings(connection, auto.customer, auto.asset)
    await storage.put(connection, auto, at)
    await transaction.audit(
        "auto_topup.updated" if before else "auto_topup.created", auto.customer,
        {"asset": auto.asset, "threshold": format_decimal(auto.threshold),
         "target": format_decimal(auto.target), "max_per_day": format_decimal(auto.max_per_day)},
    )  # fmt: skip
    return StoredAutoTopup(auto, at, None), not before


async def delete_auto_topup(transaction: Transaction, customer: str, asset: str) -> StoredAutoTopup:
    """Top a wallet up no more; a top-up that is open stays so. Raises `NotFound`."""
    connection = transaction.connection
    await note_change(connection, customer, transaction.at)
    found = await storage.settings(connection, customer, asset)
    if not found:
        raise NotFound(kind="auto top-up", key=asset)
    await storage.delete(connection, customer, asset)
    await transaction.audit("auto_topup.deleted", customer, {"asset": asset})
    return found[0]


async def list_auto_topups(context: Context, customer: str) -> list[StoredAutoTopup]:
    """What is topped up of a customer, by asset. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        if await customers.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        return await storage.settings(connection, customer)


async def next_look(context: Context) -> datetime | None:
    """When, maybe in the past, a wallet is to be looked at, or the gateway asked, next."""
    async with context.pool.connection() as connection:
        return await storage.next_due(connection)


async def look_due(context: Context) -> int:
    """Look at the wallets that were marked, and ask for what they lack; how many wallets. A job:
    harmless to run again, or twice at once.
    """
    async with context.pool.connection() as connection:
        keys = await storage.to_look_at(connection, context.clock.now(), WALLETS_PER_RUN)
    for key in keys:
        await run(context, ACTOR, partial(_look, key))
    return len(keys)


async def _look(key: WalletKey, transaction: Transaction) -> None:
    connection, at = transaction.connection, transaction.at
    await lock_account(connection, key[0], at)
    await wallet_storage.lock_wallets(connection, [key])
    settings = await storage.settings(connection, *key)
    if not settings:
        return
    auto, since, _ = settings[0]
    wallet = await read_wallet(connection, key, at)
    ends = [one.grant.expires_at for one in wallet.grants]
    check_at = min((end for end in ends if end is not None and at < end), default=None)
    quiet = await _ask(transaction, auto, wallet, since)
    if quiet is not None:
        check_at = min(quiet, check_at or quiet)
    await storage.set_looked(connection, key, check_at, quiet)


async def _ask(
    transaction: Transaction, auto: AutoTopup, wallet: WalletBalance, since: datetime
) -> datetime | None:
    """Ask for a top-up where the wallet is low; until when it is quiet, if it is."""
    if wallet.available >= auto.threshold:
        return None
    connection, at, context = transaction.connection, transaction.at, transaction.context
    terms = (await customer_terms(connection, [auto.customer]))[auto.customer]
    timezone = terms.customer.timezone
    day, month = window_of("day", timezone, at), window_of("month", timezone, at)
    first = first_id("topup", month.start - timedelta(days=1))
    key = (auto.customer, auto.asset)
    asked = await storage.asked(
        connection, key, day=day.start, month=month.start, since=since, first=first
    )
    if asked.is_open:
        return None
    digits = minor_digits(auto.asset) if is_currency(auto.asset) else DIGITS_FRACTION_MAX
    history = History(day, month, *asked[:4])
    decision = decide_topup(auto, wallet.available, history, at, digits)
    if isinstance(decision, Quiet):
        return decision.until
    assert isinstance(decision, Due), "the wallet is low"
    price = _price_of(terms, auto.asset, decision.amount, at)
    charged = auto.payment == "gateway" and context.payments is not None and price is not None
    topup = Topup(
        customer=auto.customer, id=transaction.new_id("topup"), asset=auto.asset,
        amount=decision.amount, price=price, expires_after=auto.expires_after, state="requested",
        requested_at=at, charge_at=at if charged else None, attempts=0, settled_at=None,
        reference=None, reason=None, grant=None,
    )  # fmt: skip
    if await storage.insert(connection, topup):
        detail = {**topup_document(topup), "available": format_decimal(wallet.available)}
        await transaction.audit("topup.requested", topup.id, detail)
        await _tell(transaction, "topup.requested", topup)
    return None


def _price_of(terms: CustomerTerms, asset: str, amount: Decimal, at: datetime) -> Money | None:
    """What this much of an asset costs: of a currency itself, of a credit unit what the oldest of
    the customer's running plans that prices it asks. None: no plan does.
    """
    if is_currency(asset):
        return Money(amount, asset)
    for subscription in terms.subscriptions:
        phase = subscription.phase_at(at)
        unit = phase.plan.unit_price(asset) if phase is not None else None
        if phase is not None and unit is not None:
            currency = phase.plan.currency
            price = round_half_up(unit * amount, minor_digits(currency))
            return Money(price, currency) if price > ZERO else None
    return None


async def pay_topup(
    transaction: Transaction,
    topup_id: str,
    *,
    reference: str | None,
    customer: str | None = None,
    by_gateway: bool = False,
) -> Topup:
    """Settle a top-up that was paid: the customer gets the credit, once. Again with the same
    reference, or without one, it is answered as it is.

    Raises `NotFound`, also for another customer's where `customer` is given, and `InvalidState`
    for one that failed, or that the gateway is being asked about.
    """
    topup = await _locked(transaction, topup_id, customer)
    if topup.state == "paid" and reference in (None, topup.reference):
        return topup
    _require_open(topup, "paid", by_gateway=by_gateway)
    grant = await _give(transaction, topup)
    paid = topup._replace(
        state="paid", settled_at=transaction.at, reference=reference, grant=grant, charge_at=None
    )
    await _settle(transaction, paid)
    return paid


async def fail_topup(
    transaction: Transaction,
    topup_id: str,
    *,
    reason: str,
    customer: str | None = None,
    by_gateway: bool = False,
) -> Topup:
    """Settle a top-up that was not paid; failing it again changes nothing. No other is asked for in
    the next hour. Raises as `pay_topup` does.
    """
    topup = await _locked(transaction, topup_id, customer)
    if topup.state == "failed":
        return topup
    _require_open(topup, "failed", by_gateway=by_gateway)
    failed = topup._replace(
        state="failed", settled_at=transaction.at, reason=reason, charge_at=None
    )
    await _settle(transaction, failed)
    return failed


async def _locked(transaction: Transaction, topup_id: str, customer: str | None) -> Topup:
    """The top-up as it is once its wallet is locked."""
    connection = transaction.connection
    found = await _find(connection, topup_id, customer)
    await wallet_storage.lock_wallets(connection, [(found.customer, found.asset)])
    return await _find(connection, topup_id, customer)


def _require_open(topup: Topup, step: Settled, *, by_gateway: bool) -> None:
    if topup.state != "requested":
        raise InvalidState(kind="top-up", state=topup.state, step=step)
    if topup.charge_at is not None and not by_gateway:
        raise InvalidState(kind="top-up", state="being charged", step=f"{step} by hand")


async def _give(transaction: Transaction, topup: Topup) -> str:
    at, expires_at = transaction.at, None
    if topup.expires_after is not None:
        duration = parse_duration(topup.expires_after)
        customer = await customers.find(transaction.connection, topup.customer)
        assert duration is not None and customer is not None, "both were checked when it was set"
        expires_at = duration.after(at, customer.timezone)
    grant = Grant(
        id=transaction.new_id("grant"), customer=topup.customer, asset=topup.asset,
        amount=topup.amount, remaining=topup.amount, kind="paid", priority=PRIORITY,
        effective_at=at, expires_at=expires_at, scope_meters=None, created_at=at,
    )  # fmt: skip
    await issue_grant(transaction, grant, topup.price, ref=topup.id)
    return grant.id


async def _settle(transaction: Transaction, topup: Topup) -> None:
    """Write and tell how a top-up ended. Its wallet is looked at again: it may still be low."""
    connection = transaction.connection
    await storage.settle(connection, topup)
    await storage.look_again(connection, (topup.customer, topup.asset), transaction.at)
    await transaction.audit(f"topup.{topup.state}", topup.id, topup_document(topup))
    await _tell(transaction, f"topup.{topup.state}", topup)


async def _tell(transaction: Transaction, kind: str, topup: Topup) -> None:
    message = Message(kind, topup.customer, topup_document(topup), transaction.at)
    await outbox.put(transaction.context, transaction.connection, message)


def topup_document(topup: Topup) -> dict[str, object]:
    """A top-up as it is answered and told."""
    price, settled_at = topup.price, topup.settled_at
    return {
        "id": topup.id,
        "customer": topup.customer,
        "asset": topup.asset,
        "amount": format_decimal(topup.amount),
        "price": {"amount": format_decimal(price.amount), "asset": price.asset} if price else None,
        "state": topup.state,
        "collected_by": "gateway" if topup.attempts or topup.charge_at else "you",
        "requested_at": format_instant(topup.requested_at),
        "settled_at": format_instant(settled_at) if settled_at else None,
        "reference": topup.reference,
        "reason": topup.reason,
        "grant": topup.grant,
    }


async def _find(connection: Connection, topup_id: str, customer: str | None) -> Topup:
    found = await storage.find(connection, topup_id, customer=customer)
    if found is None:
        raise NotFound(kind="top-up", key=topup_id)
    return found


async def get_topup(context: Context, topup_id: str, customer: str | None = None) -> Topup:
    """The top-up with this id. Raises `NotFound`, also for another customer's where `customer` is
    given.
    """
    async with context.pool.connection() as connection:
        return await _find(connection, topup_id, customer)


async def list_topups(
    context: Context,
    *,
    customer: str | None,
    state: TopupStatus | None,
    limit: int,
    cursor: str | None,
) -> Page[Topup]:
    """Top-ups by customer and age; of one customer, in one state."""
    after = decode_cursor(cursor, 2)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, customer=customer, state=state,
            after=(after[0], after[1]) if after else None, limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda topup: (topup.customer, topup.id))
