"""Asking the payment gateway for the money of top-ups.

Owns the retries. The gateway is asked outside of any transaction, by the top-up's id as the key: a
crash or a lost answer is asked for again and charges nothing twice. Before each attempt it is noted
when the next is due, so a crash in between delays one and no more; after the last the top-up waits
to be settled by hand.
"""

from datetime import datetime, timedelta
from functools import partial

import structlog

from taximeter.gateways.payments import Declined, Paid, Payments
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.topups import fail_topup, pay_topup
from taximeter.storage import topups as storage
from taximeter.storage.topups import Topup

ACTOR = "gateway"
CHARGES_PER_RUN = 100
ATTEMPTS_MAX = 10
RETRY_FIRST = timedelta(minutes=1)

log = structlog.get_logger("topups")


async def charge_due(context: Context) -> int:
    """Ask for the money of open top-ups that are due; how many. A job: harmless to run again, or
    twice at once.
    """
    payments = context.payments
    if payments is None:
        return 0
    async with context.pool.connection() as connection:
        found = await storage.to_charge(connection, context.clock.now(), CHARGES_PER_RUN)
    for topup in found:
        if await run(context, ACTOR, partial(_claim, topup)):
            await _charge(context, payments, topup)
    return len(found)


async def _claim(topup: Topup, transaction: Transaction) -> bool:
    return await storage.claim(transaction.connection, topup, _next_try(topup, transaction.at))


def _next_try(topup: Topup, at: datetime) -> datetime | None:
    if topup.attempts + 1 >= ATTEMPTS_MAX:
        return None
    return at + RETRY_FIRST * int(2**topup.attempts)


async def _charge(context: Context, payments: Payments, topup: Topup) -> None:
    price = topup.price
    assert price is not None, "only what has a price is charged"
    outcome = await payments.charge(topup.id, topup.customer, price.asset, price.amount)

    async def settle(transaction: Transaction) -> None:
        if isinstance(outcome, Paid):
            await pay_topup(transaction, topup.id, reference=outcome.reference, by_gateway=True)
        elif isinstance(outcome, Declined):
            await fail_topup(transaction, topup.id, reason=outcome.reason, by_gateway=True)

    if isinstance(outcome, Paid | Declined):
        await run(context, ACTOR, settle)
    else:
        log.warning("payment_unknown", topup=topup.id, attempts=topup.attempts + 1)
