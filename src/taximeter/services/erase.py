"""Erasing what is personal of one customer: what it is called, and what its events say beside what
meters read.

Owns what goes, and that it goes everywhere: settings at once, then files of the archive, events in
the database, what they said before corrections, what waits in backfills, dead letters, and at last
free texts. While it goes on no backfill writes old content again (backfill_apply.py). Amounts,
totals, invoices and identities stay: books are kept by law, and a retry must stay a duplicate.
Each step is a transaction of bounded size that can be done again; what a kill has left is gone on
with.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from taximeter.kernel.errors import NotFound
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.reduce import (
    ROWS_PER_TRANSACTION,
    Kept,
    keep_still,
    kept_properties,
    reduce_corrections,
    reduce_events,
    reduce_staged,
    rewrite_file,
)
from taximeter.storage import archive as archive_storage
from taximeter.storage import customers
from taximeter.storage import erasure as storage
from taximeter.storage.archive import Row
from taximeter.storage.terms import note_change

Erasure: TypeAlias = storage.Erasure

ACTOR = "system"
CUSTOMERS_PER_ROUND = 10
_FAR = datetime.max.replace(tzinfo=UTC)
_OF_A_TAX = ("country", "region", "exempt")


async def request_erasure(transaction: Transaction, customer: str, reason: str) -> Erasure:
    """Take what is personal out of a customer's settings, and ask for the rest; what was asked for
    before and goes on stays as it is. Raises `NotFound`.
    """
    connection, at = transaction.connection, transaction.at
    await note_change(connection, customer, at)
    found = await customers.find(connection, customer, lock=True)
    if found is None:
        raise NotFound(kind="customer", key=customer)
    await storage.set_document(connection, customer, impersonal(found.document), at)
    await storage.request(connection, customer, at, transaction.actor, reason)
    await transaction.audit("customer.erased", customer, {"reason": reason})
    erasure = await storage.find(connection, customer)
    assert erasure is not None, "it was just noted"
    return erasure


def impersonal(document: Mapping[str, object]) -> dict[str, object]:
    """A customer's settings without what names it: its name, address, tax number and metadata."""
    tax = document.get("tax")
    kept: dict[str, object] = {**document, "name": None, "email": None, "metadata": {}}
    if isinstance(tax, Mapping):
        kept["tax"] = {**dict.fromkeys(tax), **{name: tax.get(name) for name in _OF_A_TAX}}
    return kept


async def get_erasure(context: Context, customer: str) -> Erasure:
    """How far the erasure of a customer is. Raises `NotFound` where none was asked for."""
    async with context.pool.connection() as connection:
        erasure = await storage.find(connection, customer)
    if erasure is None:
        raise NotFound(kind="erasure of the customer", key=customer)
    return erasure


async def run_erasures(context: Context) -> int:
    """Go on with what was asked for, one step of some customers each; how many steps."""
    async with context.pool.connection() as connection:
        waiting = await storage.unfinished(connection, CUSTOMERS_PER_ROUND)
    for customer in waiting:
        await step(context, customer)
    return len(waiting)


async def erase(context: Context, customer: str) -> Erasure:
    """Go on with the erasure of a customer until it is finished. Raises `NotFound`."""
    erasure = await get_erasure(context, customer)
    while erasure.finished_at is None:
        await step(context, customer)
        erasure = await get_erasure(context, customer)
    return erasure


async def step(context: Context, customer: str) -> None:
    """Do the next step of an erasure: a file, or a portion of the events, or the end."""
    async with context.pool.connection() as connection:
        erasure = await storage.find(connection, customer)
        if erasure is None or erasure.finished_at is not None:
            return
        kept = await kept_properties(connection)
        number = await archive_storage.unreduced_archive(connection, customer, erasure.requested_at)
    if number is not None:
        await _reduce_file(context, erasure, number, kept)
    elif await _reduce_portion(context, erasure, kept):
        await _end(context, erasure, kept)


async def _reduce_file(context: Context, erasure: Erasure, number: int, kept: Kept) -> None:
    customer, until = erasure.customer, erasure.requested_at

    def wanted(row: Row) -> bool:
        return bool(row[0] == customer and row[5] <= until)

    changed = await rewrite_file(context, ACTOR, number, kept, wanted, [customer])

    async def work(transaction: Transaction) -> None:
        # What came out of a file meanwhile is in the database: all is looked at there again.
        await storage.advance(transaction.connection, customer, None, changed)

    await run(context, ACTOR, work)


async def _reduce_portion(context: Context, erasure: Erasure, kept: Kept) -> bool:
    """Reduce the next events in the database; whether those were the last."""
    customer = erasure.customer

    async def work(transaction: Transaction) -> bool:
        connection = transaction.connection
        await keep_still(connection)
        now = await storage.find(connection, customer, lock=True)
        assert now is not None, "a request is never deleted"
        events = await storage.content_of(
            connection, customer, now.requested_at, after=now.after, limit=ROWS_PER_TRANSACTION
        )
        changed = await reduce_events(connection, customer, kept, events)
        after = (events[-1].source, events[-1].id) if events else now.after
        await storage.advance(connection, customer, after, changed)
        return len(events) < ROWS_PER_TRANSACTION

    return await run(context, ACTOR, work)


async def _end(context: Context, erasure: Erasure, kept: Kept) -> None:
    """Take away the texts, and finish unless events went into a file meanwhile."""
    customer = erasure.customer
    await reduce_corrections(context, ACTOR, customer, kept, _FAR)
    await reduce_staged(context, ACTOR, customer, kept)
    await _clear_letters(context, erasure)

    async def work(transaction: Transaction) -> None:
        connection = transaction.connection
        await keep_still(connection)
        now = await storage.find(connection, customer, lock=True)
        assert now is not None, "a request is never deleted"
        await storage.clear_texts(connection, customer)
        if await archive_storage.unreduced_archive(connection, customer, now.requested_at) is None:
            await storage.finish(connection, customer, transaction.at)

    await run(context, ACTOR, work)


async def _clear_letters(context: Context, erasure: Erasure) -> None:
    """Take away what dead letters say that name the customer as the value of a JSON property, of
    whatever name: a property that is called so, or a word of a text, may be another customer's.
    """
    value = r":\s*" + re.escape(json.dumps(erasure.customer, ensure_ascii=False))
    after: str | None = None
    more = True
    while more:

        async def work(transaction: Transaction, after: str | None = after) -> str | None:
            return await storage.clear_letters(
                transaction.connection, value, erasure.requested_at, after=after,
                limit=ROWS_PER_TRANSACTION,
            )  # fmt: skip

        after = await run(context, ACTOR, work)
        more = after is not None
