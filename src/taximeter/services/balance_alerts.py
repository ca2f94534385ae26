"""Alerts on balances: told when one falls to a threshold, and again once it was above.

Owns the rounds of a threshold: its first is told when the balance is first seen at or below it;
it is armed again when the balance is seen above. Whoever calls has locked the wallet, so each
movement is seen once and in order. What changes a balance without a movement, a grant that begins
or ends, is looked for by a job.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from taximeter.domain.credit.wallet import posted
from taximeter.domain.entitlement.alert import BalanceAlert, Round
from taximeter.kernel.quantity import format_decimal
from taximeter.services.alerts import Raised, raise_alerts
from taximeter.services.command import Transaction, run
from taximeter.services.context import Connection, Context
from taximeter.storage import alerts as storage
from taximeter.storage import wallets as wallet_storage
from taximeter.storage.alerts import Threshold
from taximeter.storage.wallets import WalletKey

ACTOR = "system"
WALLETS_PER_RUN = 1_000
_EVER = datetime(1970, 1, 1, tzinfo=UTC)  # rounds are counted in one window


class Movement(NamedTuple):
    """A balance before and after it moved, and what is told of it."""

    alerts: Sequence[BalanceAlert]
    before: Decimal
    after: Decimal


async def tell_balances(
    context: Context, connection: Connection, movements: Iterable[Movement], at: datetime
) -> None:
    """Raise what these movements, each of another wallet, that is locked, fell to."""
    found = [
        (Threshold(alert.customer, alert.name, amount), alert, movement)
        for movement in movements
        for alert in movement.alerts
        for amount in alert.below
    ]
    if not found:
        return
    rounds = await storage.rounds_of(connection, [threshold for threshold, _, _ in found])
    rearmed, raised = [], []
    for threshold, alert, movement in found:
        number, holds = rounds.get(threshold, (0, False))
        before = Round(number, not holds)
        after = before.after(movement.before, movement.after, threshold.threshold)
        if holds and (after.armed or after.number > number):
            rearmed.append(threshold)
        if after.number > number:
            data = {"asset": alert.asset, "balance": format_decimal(movement.after)}
            raised.append(
                Raised(alert.customer, "balance.low", alert.name, _EVER, after.number,
                       threshold.threshold, context.ids("alert", at), at, data)
            )  # fmt: skip
    if rearmed:
        await storage.rearm(connection, rearmed, at)
    await raise_alerts(context, connection, raised)


async def look_at_balance(transaction: Transaction, key: WalletKey) -> None:
    """Tell what is to be told of a wallet as it is now: it is locked, and has changed otherwise
    than by a charge.
    """
    connection, at = transaction.connection, transaction.at
    alerts = await _alerts_on(connection, key)
    if alerts:
        balance = await _balance(connection, key, at)
        movement = Movement(alerts, balance, balance)
        await tell_balances(transaction.context, connection, [movement], at)


async def note_grant(transaction: Transaction, key: WalletKey) -> None:
    """Arm again what the balance of a locked wallet is above now, with a new grant. What it is not
    above is not told: several grants may be on their way.
    """
    connection, at = transaction.connection, transaction.at
    alerts = await _alerts_on(connection, key)
    if alerts:
        balance = await _balance(connection, key, at)
        passed = [
            Threshold(alert.customer, alert.name, amount)
            for alert in alerts
            for amount in alert.below
            if balance > amount
        ]
        if passed:
            await storage.rearm(connection, passed, at)
        await storage.plan_look(connection, *key, at)


async def _alerts_on(connection: Connection, key: WalletKey) -> list[BalanceAlert]:
    customer, asset = key
    defined = (await storage.alerts_of(connection, [customer])).get(customer, ())
    return [one for one in defined if isinstance(one, BalanceAlert) and one.asset == asset]


async def _balance(connection: Connection, key: WalletKey, at: datetime) -> Decimal:
    debts = await wallet_storage.debts(connection, key[0])
    grants = await wallet_storage.grants_of(connection, [key])
    return posted(grants[key], debts[key[1]], at)


async def next_look(context: Context) -> datetime | None:
    """When, maybe in the past, a balance that is told next may change by itself."""
    async with context.pool.connection() as connection:
        return await storage.next_change(connection)


async def look_due(context: Context) -> int:
    """Look at the balances that may have changed by themselves; how many wallets. A job: harmless
    to run again, or twice at once.
    """
    async with context.pool.connection() as connection:
        keys = await storage.changed_balances(connection, context.clock.now(), WALLETS_PER_RUN)
    for key in keys:
        await run(context, ACTOR, partial(_look, key))
    return len(keys)


async def _look(key: WalletKey, transaction: Transaction) -> None:
    await wallet_storage.lock_wallets(transaction.connection, [key])
    await look_at_balance(transaction, key)
    await storage.plan_look(transaction.connection, *key, transaction.at)
