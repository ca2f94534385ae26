"""What waits in quarantine and the money at stake, added up.

Owns the groups and their bounds. What one event may be worth is the domain's to say; what has no
price is counted, with the reason why it has none, and never guessed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from taximeter.domain.subscription.at_stake import Stake
from taximeter.domain.subscription.routing import UNKNOWN_CUSTOMER
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.services.events import Stakes, StoredEvent
from taximeter.services.release import position_of
from taximeter.storage import events as storage
from taximeter.storage.events import EventFilter, Position

SUMMED_MAX = 10_000
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
        return await _sums(connection, customer, lambda one: (one.reason or "",), events_max)

    return await look(context, read)


async def list_quarantine(
    context: Context, customer: str | None, *, limit: int, cursor: str | None
) -> tuple[Page[Waiting], bool]:
    """What waits of one customer or of all, by reason, customer and type; and whether all of it was
    added up. Raises `TooSlow`.
    """
    after = decode_cursor(cursor, 3)

    def group(one: StoredEvent) -> Group:
        return one.reason or "", one.event.customer, one.event.type

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
    group: Callable[[StoredEvent], Group],
    events_max: int,
) -> Quarantine:
    wanted = EventFilter(customer=customer, status="quarantined")
    found: dict[Group, Waiting] = {}
    after: Position | None = None
    stakes = Stakes(connection)
    seen, more = 0, True
    while more and seen < events_max:
        rows = await storage.page(connection, wanted, after=after, limit=_PORTION)
        for one in await stakes.shown(rows):
            event, reason = one.stored.event, one.stored.reason or ""
            waiting = found.setdefault(
                group(one.stored), Waiting(reason, event.customer, event.type, event.time)
            )
            waiting.add(event.time, one.stakes)
        seen += len(rows)
        more = len(rows) == _PORTION
        after = position_of(rows[-1].event) if rows else None
    return Quarantine([found[key] for key in sorted(found)], not more)
