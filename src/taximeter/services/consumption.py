"""What became of one grant: each thing that was taken out of it, with its share of what the grant
cost.

Owns that the figures add up: what was granted is what was used, voided, transferred, rolled over
and has expired, and what remains; and the costs of what was taken are the cost of their sum.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.credit.cost import cost_between, cost_of
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.ids import first_id
from taximeter.kernel.money import Money
from taximeter.kernel.paging import decode_cursor, encode_cursor, invalid_cursor
from taximeter.kernel.quantity import ZERO, format_decimal, parse_decimal
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.storage import wallet_entries
from taximeter.storage import wallets as storage
from taximeter.storage.wallet_entries import Removals
from taximeter.storage.wallets import Entry, StoredGrant


class Taken(NamedTuple):
    """`amount` taken out of a grant by an entry (negative: given back), and the cost that went with
    it (None: the grant has none).
    """

    entry: Entry
    amount: Decimal
    cost: Money | None


@dataclass(frozen=True, slots=True)
class Consumption:
    """A page of what was taken out of a grant, oldest first; and of the whole grant as of now, what
    became of it and of its cost: `cost_used` went with what was taken.
    """

    stored: StoredGrant
    taken: list[Taken]
    next_cursor: str | None
    used: Decimal
    removals: Removals
    expired: Decimal
    remaining: Decimal
    cost_used: Money | None

    def __post_init__(self) -> None:
        assert self.used >= ZERO, "no more was taken back than there was"


async def get_consumption(
    context: Context,
    grant_id: str,
    customer: str | None,
    *,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> Consumption:
    """What was taken out of a grant from `since` on and before `until`.

    Raises `NotFound`, also for another customer's grant where `customer` is given, and `Invalid`
    for an `until` that is not after `since`.
    """
    if since is not None and until is not None and until <= since:
        raise Invalid([FieldError("to", "too_early", "Choose an end after the start.")])
    after = _after(cursor)

    async def read(connection: Connection) -> Consumption:
        stored = await storage.find_grant(connection, grant_id, customer=customer)
        if stored is None:
            raise NotFound(kind="grant", key=grant_id)
        grant = stored.grant
        first = wallet_entries.first_movement_id(grant)
        gone = after[1] if after is not None else ZERO
        if since is not None:
            first = max(first, first_id("went", since))
            if after is None:
                gone = await wallet_entries.taken_before(connection, grant, first)
        entries = await wallet_entries.page_movements(
            connection, grant, since=first, until=first_id("went", until) if until else None,
            after=after[0] if after else None, limit=limit + 1,
        )  # fmt: skip
        removals = await wallet_entries.sum_removals(connection, grant)
        taken, gone = _taken(stored, entries[:limit], gone)
        more = len(entries) > limit
        is_over = grant.expires_at is not None and grant.expires_at <= context.clock.now()
        return Consumption(
            stored, taken,
            encode_cursor((entries[limit - 1].id, format_decimal(gone))) if more else None,
            used=grant.amount - grant.remaining - sum(removals, ZERO), removals=removals,
            expired=grant.remaining if is_over else ZERO,
            remaining=ZERO if is_over else grant.remaining,
            cost_used=_cost(stored, ZERO, grant.amount - grant.remaining),
        )  # fmt: skip

    return await look(context, read)


def _after(cursor: str | None) -> tuple[str, Decimal] | None:
    """The last entry shown, and what had been taken with it."""
    key = decode_cursor(cursor, 2)
    if key is None:
        return None
    gone = parse_decimal(key[1])
    if gone is None:
        raise invalid_cursor()
    return key[0], gone


def _taken(stored: StoredGrant, entries: list[Entry], gone: Decimal) -> tuple[list[Taken], Decimal]:
    taken = []
    for entry in entries:
        after = gone - entry.amount
        taken.append(Taken(entry, -entry.amount, _cost(stored, gone, after)))
        gone = after
    return taken, gone


def _cost(stored: StoredGrant, before: Decimal, after: Decimal) -> Money | None:
    if stored.cost_basis is None:
        return None
    basis = stored.cost_basis
    return Money(cost_between(basis.amount, stored.grant.amount, before, after), basis.asset)


def cost_left(found: Consumption) -> Money | None:
    """What of the grant's cost has not gone with what was taken."""
    basis, grant = found.stored.cost_basis, found.stored.grant
    if basis is None:
        return None
    gone = cost_of(basis.amount, grant.amount, grant.amount - grant.remaining)
    return Money(basis.amount - gone, basis.asset)
