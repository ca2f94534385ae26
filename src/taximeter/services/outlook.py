"""What a customer's wallets will do: how much is drawn a day, until when credit lasts, and for how
much of what they pay.

Owns from what usage the rate is taken: the last seven days, or since the customer's first movement,
but a day at least. Bounded: of more than 10,000 movements the newest are taken, and the time since
the first of them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.credit.forecast import (
    Match,
    enough_by_rate,
    enough_for,
    free_for,
    runs_out_at,
)
from taximeter.kernel.ids import first_id
from taximeter.kernel.quantity import ZERO, divide
from taximeter.services.balance import WalletBalance, read_balance
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.storage import subscriptions
from taximeter.storage import wallet_entries as storage

SPAN = timedelta(days=7)
SPAN_MIN = timedelta(days=1)
MOVEMENTS_MAX = 10_000
ENOUGH_MAX = 100
_INSTANT = timedelta(microseconds=1)


class Enough(NamedTuple):
    """Whole units of a meter that what is free pays at a price; of a dimensional one, at the rate
    for the dimensions of `match`.
    """

    price: str
    meter: str
    quantity: Decimal
    match: Match = ()


class Outlook(NamedTuple):
    """A wallet, what is drawn from it a day, when nothing will be available (None: not at this
    rate), and for what it is enough.
    """

    wallet: WalletBalance
    drawn_per_day: Decimal
    runs_out_at: datetime | None
    enough_for: tuple[Enough, ...]


async def get_outlook(context: Context, customer: str) -> list[Outlook]:
    """The customer's wallets by asset, as they are now. Raises `NotFound`."""
    now = context.clock.now()

    async def read(connection: Connection) -> list[Outlook]:
        wallets = await read_balance(connection, customer, now)
        rates = await _rates(connection, customer, now)
        running = await subscriptions.of_customer(connection, customer)
        phases = [one.phase_at(now) for one in running]
        prices = [
            price
            for phase in phases
            if phase is not None
            for price in phase.plan.prices
            if isinstance(price, UsagePrice) and price.settle == "wallet"
        ]
        return [_outlook(wallet, rates.get(wallet.asset, ZERO), prices, now) for wallet in wallets]

    return await look(context, read)


async def _rates(connection: Connection, customer: str, now: datetime) -> dict[str, Decimal]:
    """What is drawn a day, by asset."""
    since = max(now - SPAN, await storage.first_movement(connection, customer) or now)
    drawn = await storage.drawn_since(connection, customer, first_id("went", since), MOVEMENTS_MAX)
    if sum(one.movements for one in drawn) >= MOVEMENTS_MAX:
        since = min(one.oldest for one in drawn)
    else:
        since = min(since, now - SPAN_MIN)
    span = Decimal(max(1, (now - since) // _INSTANT))
    return {one.asset: divide(one.drawn * (SPAN_MIN // _INSTANT), span) for one in drawn}


def _outlook(
    wallet: WalletBalance, per_day: Decimal, prices: Sequence[UsagePrice], now: datetime
) -> Outlook:
    usable = [one for one in wallet.grants if one.usable]
    free = [(one.grant, one.remaining - one.held) for one in usable]
    beside = wallet.available - sum((amount for _, amount in free), ZERO)
    enough: dict[tuple[str, str, Match], Enough] = {}
    for price in prices:
        if price.asset == wallet.asset:
            for one in _enough(price, free_for(free, beside, price.meter)):
                enough[one.price, one.meter, one.match] = one
    return Outlook(
        wallet, per_day,
        runs_out_at([one.grant for one in usable], wallet.available, per_day, now),
        tuple(enough.values())[:ENOUGH_MAX],
    )  # fmt: skip


def _enough(price: UsagePrice, free: Decimal) -> list[Enough]:
    quantity = enough_for(price, free)
    if quantity is not None:
        return [Enough(price.key, price.meter, quantity)]
    by_rate = enough_by_rate(price, free)
    return [Enough(price.key, price.meter, units, match) for match, units in by_rate]
