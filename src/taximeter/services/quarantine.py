"""What waits in quarantine and the money at stake, added up.

Owns the groups and their bounds. What one event may be worth is the domain's to say; what has no
price is counted, with the reason why it has none, and never guessed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from taximeter.domain.subscription.at_stake import Stake
from taximeter.domain.subscription.routing import UNKNOWN_CUSTOMER
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.services.events import Stakes
from taximeter.storage import events as storage
from taximeter.storage.events import Position, WaitingEvent
from taximeter.storage.terms import current_meters

SUMMED_MAX = 10_000
_PER_READ = 1_000
# Others are served between two portions.
_PORTION = 200
UNPRICED = {
    UNKNOWN_CUSTOMER: "Nobody's prices apply until there is such a customer.",
    "no_meter": "No meter says yet what of it is counted.",
    "unknown_subscription": "The subscription whose prices apply is not there.",
}
UNREADABLE = "No price applies, or what it would count cannot be read."


@dataclass(slots=True)
class AtStake:
    """What events may be worth in one asset: `amount` at most, and no less than `least`."""

    amount: Decimal = ZERO
    least: Decimal = ZERO


@dataclass(slots=True)
class Waiting:
    """Quarantined events of one group: how many, the time of the oldest, and what they may be
    worth, by asset. `unpriced` of them have no amount, because of `unpriced_because`.
    """

    reason: str
    customer: str
    type: str
    oldest: datetime
    events: int = 0
    unpriced: int = 0
    amounts: dict[str, AtStake] = field(default_factory=dict)

    @property
    def unpriced_because(self) -> str | None:
        """Why some have no amount; None where all have one."""
        return UNPRICED.get(self.reason, UNREADABLE) if self.unpriced else None

    def add(self, at: datetime, stakes: Iterable[Stake]) -> None:
        """Count one event in."""
        self.events += 1
        self.oldest = min(self.oldest, at)
        self.unpriced += not stakes
        for stake in stakes:
            sums = self.amounts.setdefault(stake.asset, AtStake())
            sums.amount += stake.amount
            sums.least += stake.least


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What waits, by reason. `complete` is false where more events do than were added up: those of
    the first customers are.
    """

    waiting: Sequence[Waiting]
    complete: bool


Group = tuple[str, ...]


async def read_quarantine(
    context: Context, customer: str | None, *, events_max: int = SUMMED_MAX
) -> Quarantine:
    """What waits of one customer or of all, by reason. Raises `TooSlow`."""

    async def read(connection: Connection) -> Quarantine:
        return await _sums(connection, customer, lambda one: (one.reason,), events_max)

    return await look(context, read)


async def list_quarantine(
    context: Context, customer: str | None, *, limit: int, cursor: str | None
) -> tuple[Page[Waiting], bool]:
    """What waits of one customer or of all, by reason, customer and type; and whether all of it was
    added up. Raises `TooSlow`.
    """
    after = decode_cursor(cursor, 3)

    def group(one: WaitingEvent) -> Group:
        return one.reason, one.customer, one.type

    async def read(connection: Connection) -> Quarantine:
        return await _sums(connection, customer, group, SUMMED_MAX)

    found = await look(context, read)
    rows = [one for one in found.waiting if after is None or _key(one) > after]
    return make_page(rows, limit, _key), found.complete


def _key(one: Waiting) -> Group:
    return one.reason, one.customer, one.type


async def _sums(
    connection: Connection,
    customer: str | None,
    group: Callable[[WaitingEvent], Group],
    events_max: int,
) -> Quarantine:
    found: dict[Group, Waiting] = {}
    stakes = Stakes(connection)
    seen = 0
    async with aclosing(_portions(connection, customer)) as portions:
        async for portion in portions:
            if seen >= events_max:
                return _sorted(found, complete=False)
            await stakes.load({one.customer for one in portion if one.data is not None})
            for one in portion:
                key = group(one)
                waiting = found.get(key)
                if waiting is None:
                    waiting = found[key] = Waiting(one.reason, one.customer, one.type, one.time)
                waiting.add(
                    one.time,
                    stakes.of(one.customer, one.type, one.subscription, one.time, one.data)
                    if one.data is not None
                    else (),
                )
            seen += len(portion)
    return _sorted(found, complete=True)


def _sorted(found: dict[Group, Waiting], *, complete: bool) -> Quarantine:
    return Quarantine([found[key] for key in sorted(found)], complete)


async def _portions(
    connection: Connection, customer: str | None
) -> AsyncGenerator[Sequence[WaitingEvent], None]:
    """What waits, some hundred at a time."""
    metered = {meter.event_type for meter in await current_meters(connection)}
    after: Position | None = None
    while True:
        rows = await storage.waiting(
            connection, customer, metered=metered, after=after, limit=_PER_READ
        )
        for start in range(0, len(rows), _PORTION):
            yield rows[start : start + _PORTION]
            await asyncio.sleep(0)
        if len(rows) < _PER_READ:
            return
        after = rows[-1].position
