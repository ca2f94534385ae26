"""Keeping what old events say beside what meters read no longer than is wanted.

Owns the walk over customers and files. Events, identities and amounts stay; each step is a
transaction of bounded size, and a run may be stopped and started again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from taximeter.services.archive_run import list_archives
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.reduce import (
    ROWS_PER_TRANSACTION,
    Kept,
    keep_still,
    kept_properties,
    reduce_corrections,
    reduce_events,
    rewrite_file,
)
from taximeter.storage import customers
from taximeter.storage import erasure as storage
from taximeter.storage.archive import Row
from taximeter.storage.erasure import Content

ACTOR = "cli"
CUSTOMERS_PER_PAGE = 100

Told = Callable[[int], None]


@dataclass(slots=True)
class Reduced:
    """Of how many events something was taken away, and in how many files."""

    events: int = 0
    files: int = 0


async def reduce_old(context: Context, before: datetime, *, told: Told = lambda _: None) -> Reduced:
    """Take away what no meter reads of events of a time before `before`, wherever they are; `told`
    hears of how many so far. Raises `Unavailable` where a file cannot be read or written.
    """
    done = Reduced()
    async with context.pool.connection() as connection:
        kept = await kept_properties(connection)
    after: str | None = None
    more = True
    while more:
        async with context.pool.connection() as connection:
            page = await customers.page(
                connection, after=after, only=None, limit=CUSTOMERS_PER_PAGE
            )
        for customer in page:
            done.events += await _reduce_customer(context, customer.key, kept, before)
            told(done.events)
        more = len(page) == CUSTOMERS_PER_PAGE
        after = page[-1].key if page else after
    async for one in list_archives(context):
        if one.time_first < before:
            changed = await rewrite_file(
                context, ACTOR, one.number, kept, lambda row: _is_old(row, before), []
            )
            done.events += changed
            done.files += bool(changed)
            told(done.events)
    return done


def _is_old(row: Row, before: datetime) -> bool:
    return bool(row[4] < before)


async def _reduce_customer(context: Context, customer: str, kept: Kept, before: datetime) -> int:
    await reduce_corrections(context, ACTOR, customer, kept, before)
    changed = 0
    last: Content | None = None
    more = True
    while more:

        async def work(
            transaction: Transaction, after: Content | None = last
        ) -> tuple[int, int, Content | None]:
            await keep_still(transaction.connection)
            events = await storage.old_content(
                transaction.connection, customer, before, after=after, limit=ROWS_PER_TRANSACTION
            )
            count = await reduce_events(transaction.connection, customer, kept, events)
            return count, len(events), events[-1] if events else after

        count, read, last = await run(context, ACTOR, work)
        changed += count
        more = read == ROWS_PER_TRANSACTION
    return changed
