"""What a usage query asks and what it answers, whatever the meter measures."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from taximeter.domain.metering.window import Window
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.paging import decode_cursor, invalid_cursor
from taximeter.kernel.times import Period, parse_instant
from taximeter.storage.usage import Group

GROUPS_MAX = 1_000
CUSTOMERS_PER_READ = 100


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked. `start` and `end` None stand for the last 30 days; `customer` None for all of
    them. With `fill_zero` every group has a row for every window.
    """

    meter: str
    customer: str | None
    start: datetime | None
    end: datetime | None
    window: Window
    group_by: tuple[str, ...]
    timezone: str
    fill_zero: bool


class UsageRow(NamedTuple):
    """What one customer used in one window, for one group of dimension values."""

    customer: str
    window: Period
    group: Group
    value: Decimal


class Position(NamedTuple):
    """Where a page goes on: after this group, in the window that begins there."""

    customer: str
    start: datetime
    group: Group


def position_of(cursor: str | None, query: UsageQuery) -> Position | None:
    """Where the page of this cursor goes on. Raises `Invalid` for one of another query."""
    parts = decode_cursor(cursor, 2 + len(query.group_by))
    if parts is None:
        return None
    start = parse_instant(parts[1])
    if start is None or (query.customer is not None and parts[0] != query.customer):
        raise invalid_cursor()
    return Position(parts[0], start, parts[2:])


async def customers_of(
    query: UsageQuery, after: Position | None, find: Callable[[str], Awaitable[list[str]]]
) -> AsyncIterator[str]:
    """The customers to show, from the cursor's on. `find` has the next CUSTOMERS_PER_READ of them,
    from a key on.
    """
    if query.customer is not None:
        yield query.customer
        return
    begin = after.customer if after else ""
    while True:
        found = await find(begin)
        for customer in found:
            yield customer
        if len(found) < CUSTOMERS_PER_READ:
            return
        begin = found[-1] + "\x01"  # before every other key: no key holds this character


def too_many_groups() -> Invalid:
    """More groups than zeros are filled in for."""
    detail = f"There are over {GROUPS_MAX} groups. Leave it out, or group by less."
    return Invalid([FieldError("fill", "too_many", detail)])


class Reader(Protocol):
    """Reads the rows of one query within one snapshot, customer by customer."""

    def customers(self, after: Position | None) -> AsyncIterator[str]:
        """The customers to show, from the cursor's on."""

    async def rows_of(
        self, customer: str, after: Position | None, limit: int
    ) -> list[UsageRow]:  # fmt: skip
        """Up to `limit` rows of one customer, after `after`."""
