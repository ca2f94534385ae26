"""Transfers: a customer's credit in one asset becomes credit in another, at a stated rate.

Owns what a transfer takes and gives. It takes of what is available: not what holds reserve, nor
what a debt will need; of grants for any usage, in burn order. Each grant that it takes from becomes
one of the same kind, priority and expiry in the other asset, with its share of the cost basis. The
entries, of the kind `transfer`, name each other's grants.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from msgspec import structs

from taximeter.domain.credit.burn import Draw, draw
from taximeter.domain.credit.transfer import Moved, moved_parts
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.money import Money
from taximeter.kernel.quantity import ZERO, format_decimal, within_bounds
from taximeter.services.balance import WalletBalance, read_wallet
from taximeter.services.balance_alerts import look_at_balance
from taximeter.services.command import Transaction
from taximeter.services.grants import grant_entry, issue_grant
from taximeter.services.hold_account import lock_account
from taximeter.storage import customers
from taximeter.storage import wallets as storage
from taximeter.storage.topups import look_again


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """`amount` of one asset to become `amount` times `rate` of another."""

    customer: str
    from_asset: str
    to_asset: str
    amount: Decimal
    rate: Decimal
    reason: str | None


@dataclass(frozen=True, slots=True)
class TransferPart:
    """What one grant gave, and which grant of the other asset it became (None: too little of it to
    become anything).
    """

    moved: Moved
    to_grant: str | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer that was made, grant by grant in burn order."""

    id: str
    asked: NewTransfer
    at: datetime
    parts: tuple[TransferPart, ...]

    @property
    def to_amount(self) -> Decimal:
        """What the other wallet was given."""
        return self.asked.amount * self.asked.rate


async def transfer(transaction: Transaction, new: NewTransfer) -> Transfer:
    """Move credit from one of a customer's wallets to another.

    Raises `NotFound` for the customer, `Invalid` for the same asset twice, a currency that is not
    in capitals, a product beyond 18 digits and 12 decimals, and more than is available.
    """
    connection, at = transaction.connection, transaction.at
    customer = await customers.find(connection, new.customer)
    if customer is None:
        raise NotFound(kind="customer", key=new.customer)
    _check(new, customer.currency)
    account = await lock_account(connection, new.customer, at)
    keys = [(new.customer, new.from_asset), (new.customer, new.to_asset)]
    await storage.lock_wallets(connection, keys)
    grants = {one.id: one for one in (await storage.grants_of(connection, keys[:1]))[keys[0]]}
    wallet = await read_wallet(connection, keys[0], at)
    drawn = _draw(new, grants, wallet, account.counters[new.customer], at)
    costs = await storage.cost_bases(connection, new.customer, [name for name, _ in drawn.parts])
    amounts = {name: cost.amount for name, cost in costs.items()}
    transfer_id = transaction.new_id("transfer")
    parts = []
    for moved in moved_parts(drawn, grants, amounts, new.rate):
        cost = costs.get(moved.source.id)
        basis = None if cost is None or moved.cost is None else Money(moved.cost, cost.asset)
        parts.append(await _move(transaction, new.to_asset, moved, basis, transfer_id))
    await look_at_balance(transaction, keys[0])
    await look_again(connection, keys[0], at)
    made = Transfer(transfer_id, new, at, tuple(parts))
    await transaction.audit(
        "credit.transferred", transfer_id,
        {"customer": new.customer, "from_asset": new.from_asset, "to_asset": new.to_asset,
         "amount": format_decimal(new.amount), "rate": format_decimal(new.rate),
         "to_amount": format_decimal(made.to_amount), "reason": new.reason},
    )  # fmt: skip
    return made


def _check(new: NewTransfer, currency: str) -> None:
    errors = []
    if new.from_asset == new.to_asset:
        detail = "Both assets are the same. Name the other one."
        errors.append(FieldError("to_asset", "same_asset", detail))
    for path, asset in (("from_asset", new.from_asset), ("to_asset", new.to_asset)):
        if asset != currency and asset.upper() == currency:
            detail = f"Currencies are in capitals. Say {currency}."
            errors.append(FieldError(path, "unknown_currency", detail))
    if not within_bounds(new.amount * new.rate):
        detail = (
            f"{format_decimal(new.amount)} at this rate is "
            f"{format_decimal(new.amount * new.rate)}: more than 18 digits or 12 decimals. Send an "
            "amount or a rate with fewer."
        )
        errors.append(FieldError("rate", "number_out_of_bounds", detail))
    if errors:
        raise Invalid(errors)


def _draw(
    new: NewTransfer,
    grants: Mapping[str, Grant],
    wallet: WalletBalance,
    reserved: Mapping[str, Decimal],
    at: datetime,
) -> Draw:
    """What the transfer takes from where. Raises `Invalid` for more than is available."""
    free = [
        structs.replace(one, remaining=max(ZERO, one.remaining - reserved.get(f"g:{one.id}", ZERO)))
        for one in grants.values()
    ]
    for_any = sum((one.remaining for one in free if one.usable_at(at) and one.covers(None)), ZERO)
    most = max(ZERO, min(for_any, wallet.available))
    if new.amount > most:
        detail = (
            f"{format_decimal(wallet.posted)} {new.from_asset} are posted and "
            f"{format_decimal(wallet.held)} of it held. Transfer at most {format_decimal(most)}, "
            "what grants for any usage have left and no hold or debt needs."
        )
        raise Invalid([FieldError("amount", "insufficient_credits", detail)])
    return draw(free, new.amount, at)


async def _move(
    transaction: Transaction, asset: str, moved: Moved, basis: Money | None, transfer_id: str
) -> TransferPart:
    source, made = moved.source, None
    if moved.to_amount > ZERO:
        made = structs.replace(
            source, id=transaction.new_id("grant"), asset=asset, amount=moved.to_amount,
            remaining=moved.to_amount, created_at=transaction.at, subscription=None, credit=None,
        )  # fmt: skip
        await issue_grant(transaction, made, basis, kind="transfer", ref=source.id)
    name = made.id if made is not None else None
    entry = grant_entry(transaction, source, "transfer", -moved.amount, ref=name or transfer_id)
    await storage.set_remaining(
        transaction.connection, [(source.customer, source.id, source.remaining - moved.amount)]
    )
    await storage.insert_entries(transaction.connection, [entry])
    return TransferPart(moved, name)
