"""Moving old events into files, and back.

Owns the order in which an event leaves the database, so that at no instant it is nowhere, and none
is counted twice:

1. The rows are copied into a file, which is made durable. A crash leaves a file that nobody knows.
2. One transaction notes the file and lets the identities of its events name it.
3. One transaction tells ingestion to look for these customers' identities there, and waits for the
   ingestion that began before.
4. Transactions of some thousand rows delete what was copied, unless it has changed since. They
   keep writers of terms out, who may be counting these events again, but not ingestion.

An event that is in the database counts as it is there, whatever its identity says; so what has
changed, and what a crash leaves between 2 and 4, just stays, and is moved by a later run. Only
events of periods whose invoices are final are moved; quarantined ones wait for something and stay.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

from taximeter.gateways import parquet
from taximeter.kernel.errors import NotFound, Unavailable
from taximeter.kernel.times import Period
from taximeter.services.archive import current_rows, forget_rows, put_back
from taximeter.services.command import Transaction, run
from taximeter.services.context import Connection, Context
from taximeter.storage import archive as storage
from taximeter.storage import erasure as erasure_storage
from taximeter.storage.archive import Row
from taximeter.storage.terms import lock_changes

Archive: TypeAlias = storage.Archive
Horizon = storage.Horizon

ACTOR = "cli"
FILE_ROWS = 50_000
ROWS_PER_TRANSACTION = 5_000
CUSTOMERS_PER_PAGE = 500
_SEEN_ALL = 2**62

Told = Callable[[int], None]


class Verified(NamedTuple):
    """A file that was looked at: how many of its rows count as they stand there, and what is wrong
    with it (None: nothing).
    """

    archive: Archive
    current: int
    fault: str | None


@dataclass(slots=True)
class Moved:
    """What a run has moved so far."""

    events: int = 0
    files: int = 0


async def count_due(context: Context, before: datetime) -> int:
    """How many events a run would move: older than `before`, and of final periods."""
    return sum([count async for page in _due(context, before) for _, count in page])


async def archive_events(
    context: Context, folder: Path, before: datetime, *, told: Told = lambda _: None
) -> Moved:
    """Move events older than `before`, of final periods, into files in `folder`, which is absolute;
    `told` hears how many events have been moved so far. May be stopped at any instant and run
    again.

    Raises `Unavailable` where the files cannot be written.
    """
    await settle_all(context)
    run_of = _Run(context, folder, told)
    async for page in _due(context, before):
        group: list[Horizon] = []
        size = 0
        for horizon, count in page:
            if len(run_of.waiting) + size + count > FILE_ROWS:
                await run_of.read(group)
                group, size = [], 0
            if count > FILE_ROWS:
                await run_of.read_in_steps(horizon)
            else:
                group.append(horizon)
                size += count
        await run_of.read(group)
    await run_of.write()
    return run_of.moved


async def _due(context: Context, before: datetime) -> AsyncIterator[list[tuple[Horizon, int]]]:
    """Customers that have events to be moved, and how many, page by page."""
    after: str | None = None
    more = True
    while more:
        async with context.pool.connection() as connection:
            page = await storage.horizons(connection, before, after=after, limit=CUSTOMERS_PER_PAGE)
            counts = await storage.count_old(connection, page)
        yield [(one, counts[one.customer]) for one in page if one.customer in counts]
        more = len(page) == CUSTOMERS_PER_PAGE
        after = page[-1].customer if page else after


@dataclass(slots=True)
class _Run:
    """Rows that wait for their file, read from `since` on, and the customers among theirs of whom
    nothing was archived before.
    """

    context: Context
    folder: Path
    told: Told
    moved: Moved = field(default_factory=Moved)
    waiting: list[Row] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    since: datetime | None = None

    async def read(self, group: Sequence[Horizon]) -> None:
        """Let all old events of these customers wait, and write a file where they are many."""
        if not group:
            return
        self.since = self.since or self.context.clock.now()
        async with self.context.pool.connection() as connection:
            self.waiting += await storage.old_events_of(connection, group)
        self.fresh += [one.customer for one in group if not one.archived]
        if len(self.waiting) >= FILE_ROWS // 2:
            await self.write()

    async def read_in_steps(self, horizon: Horizon) -> None:
        """Write the old events of one customer into files of their own."""
        await self.write()
        after: Row | None = None
        more = True
        while more:
            self.since = self.context.clock.now()
            async with self.context.pool.connection() as connection:
                self.waiting = await storage.old_events(
                    connection, horizon, after=after, limit=FILE_ROWS
                )
            more = len(self.waiting) == FILE_ROWS
            after = self.waiting[-1] if self.waiting else after
            self.fresh = [] if horizon.archived else [horizon.customer]
            await self.write()

    async def write(self) -> None:
        """Move what waits into a file."""
        if self.waiting:
            assert self.since is not None, "something was read"
            path = self.folder / _name(self.context)
            await _archive(self.context, path, self.waiting, self.fresh, self.since, self.moved)
            self.told(self.moved.events)
        self.waiting, self.fresh, self.since = [], [], None


def _name(context: Context) -> str:
    return f"{context.new_id('arc')}.parquet"


async def _archive(
    context: Context, path: Path, rows: Sequence[Row], fresh: Sequence[str], since: datetime,
    moved: Moved,
) -> None:  # fmt: skip
    """Move these rows, by customer and time, read from `since` on, into one file."""
    written = await asyncio.to_thread(parquet.write, path, _portions(rows))
    number = await _note_file(context, path, written, rows, since)
    await run(
        context, ACTOR,
        lambda transaction: storage.note_archived(transaction.connection, fresh, transaction.at),
    )  # fmt: skip
    for portion in _portions(rows):
        moved.events += await run(context, ACTOR, _take_out(number, portion))
    await run(context, ACTOR, _settle(number))
    moved.files += 1


async def _note_file(
    context: Context, path: Path, written: parquet.Written, rows: Sequence[Row], since: datetime
) -> int:
    """Note a file of rows that were read from `since` on, by its number."""

    async def work(transaction: Transaction) -> int:
        connection = transaction.connection
        customers = sorted({row[0] for row in rows})
        if await erasure_storage.is_asked_since(connection, customers, since):
            raise Unavailable(
                what="An erasure of a customer goes on, and its events must not be copied.",
                cure="Run this again when it has finished.",
            )
        number = await storage.next_number(connection)
        times = [row[4] for row in rows]
        one = Archive(
            number, str(path), written.sha256, written.bytes, len(rows), rows[0][0], rows[-1][0],
            min(times), max(times), transaction.at, settled_at=None,
        )  # fmt: skip
        await storage.insert(connection, one, rows)
        for portion in _portions(rows):
            named = [storage.identity_of(row, number) for row in portion]
            await storage.change_identities(connection, named, ())
        return number

    return await run(context, ACTOR, work)


def _portions(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for at in range(0, len(rows), ROWS_PER_TRANSACTION):
        yield rows[at : at + ROWS_PER_TRANSACTION]


def _take_out(number: int, rows: Sequence[Row]) -> Callable[[Transaction], Awaitable[int]]:
    async def work(transaction: Transaction) -> int:
        connection = transaction.connection
        await lock_changes(connection, _SEEN_ALL)
        if not await storage.is_unsettled(connection, number):
            return 0  # another run took over what it held for killed: the rest stays
        return await storage.take_out(connection, rows)

    return work


def _settle(number: int) -> Callable[[Transaction], Awaitable[None]]:
    async def work(transaction: Transaction) -> None:
        if await storage.is_unsettled(transaction.connection, number):
            await storage.settle(transaction.connection, number, transaction.at)
            await transaction.audit("archive.written", str(number), {"number": number})

    return work


async def settle_all(context: Context) -> int:
    """End what runs that were killed have begun: what they copied and did not take out stays in the
    database, where it counts; how many files that were.
    """
    async with context.pool.connection() as connection:
        found = await storage.page(connection, after=0, limit=1_000, unsettled=True)
    for one in found:
        await run(context, ACTOR, _settle(one.number))
    return len(found)


async def list_archives(context: Context) -> AsyncIterator[Archive]:
    """All files, by number."""
    after = 0
    while True:
        async with context.pool.connection() as connection:
            page = await storage.page(connection, after=after, limit=CUSTOMERS_PER_PAGE)
        for one in page:
            yield one
        if len(page) < CUSTOMERS_PER_PAGE:
            return
        after = page[-1].number


async def verify(context: Context) -> AsyncIterator[Verified]:
    """Look at every file: that it is there, that its bytes are those that were written, and that
    every event that an identity says is in it is, with that digest.
    """
    async for one in list_archives(context):
        yield await _verified(context, one)


async def _verified(context: Context, one: Archive) -> Verified:
    path = Path(one.path)
    try:
        digest = await asyncio.to_thread(parquet.digest_of, path)
    except Unavailable:
        return Verified(one, 0, "cannot be read")
    if digest != one.sha256:
        return Verified(one, 0, "is not what was written")
    current, read = 0, 0
    async with context.pool.connection() as connection:
        for rows in parquet.read(path):
            read += len(rows)
            counting = await current_rows(connection, one.number, rows)
            found = await storage.identities_of(
                connection, [storage.name_of(row) for row in counting]
            )
            for row in counting:
                if found[storage.name_of(row)].digest.hex() != row[10]:
                    return Verified(one, current, f"holds another event {row[2]} of {row[0]}")
            current += len(counting)
    if read != one.rows:
        return Verified(one, current, f"has {read:,} rows, and {one.rows:,} were written")
    return Verified(one, current, None)


async def unknown_files(context: Context, folder: Path) -> list[Path]:
    """Files of events in a directory that no archive is of: what a kill has left, or others put
    there.
    """
    known = {one.path async for one in list_archives(context)}
    return [path for path in parquet.names_in(folder) if str(path) not in known]


async def restore(context: Context, number: int, *, told: Told = lambda _: None) -> int:
    """Bring the events of one file back into the database, and remove the file; how many they
    were. May be stopped at any instant and run again. What a run under way would still take out
    of the database stays there.

    Raises `NotFound`, and `Unavailable` where the file becomes another one meanwhile.
    """
    await run(context, ACTOR, _settle(number))
    async with context.pool.connection() as connection:
        one = await storage.find(connection, number)
    if one is None:
        raise NotFound(kind="archive", key=str(number))
    restored = 0
    for rows in parquet.read(Path(one.path)):

        async def work(transaction: Transaction, rows: Sequence[Row] = rows) -> int:
            await lock_changes(transaction.connection, _SEEN_ALL)
            await _keep_file(transaction, one.number, one.path)
            current = await current_rows(transaction.connection, number, rows)
            await put_back(transaction.connection, current)
            await forget_rows(transaction.connection, number, rows)
            return len(current)

        restored += await run(context, ACTOR, work)
        told(restored)

    async def forget(transaction: Transaction) -> None:
        await lock_changes(transaction.connection, _SEEN_ALL)
        await _keep_file(transaction, one.number, one.path)
        await storage.delete(transaction.connection, number)
        await transaction.audit("archive.restored", str(number), {"events": restored})

    await run(context, ACTOR, forget)
    await asyncio.to_thread(parquet.remove, Path(one.path))
    return restored


Files = frozenset[tuple[int, str]]


async def files_of(connection: Connection, customer: str, span: Period) -> Files:
    """The files that may hold a customer's events of a span, by number and path."""
    parts = await storage.parts_of(connection, customer, span.start, span.end)
    return frozenset((part.archive, part.path) for part in parts)


async def bring_back(context: Context, actor: str, customer: str, span: Period) -> Files:
    """Bring a customer's archived events of a span back into the database, in transactions of some
    thousand rows that let ingestion go on; out of which files. All are there as long as `files_of`
    says no others: an event that was brought back is never again in the file that it came from.
    May be stopped at any instant and done again.

    Raises `Unavailable` where a file is not there, or becomes another one meanwhile.
    """
    async with context.pool.connection() as connection:
        files = await files_of(connection, customer, span)
    for number, path in sorted(files):
        await run(context, actor, _settle(number))
        groups = parquet.read(Path(path), customer=customer, start=span.start, end=span.end)
        while (rows := await asyncio.to_thread(next, groups, None)) is not None:
            await run(context, actor, _put_back(number, path, rows))
    return files


def _put_back(
    number: int, path: str, rows: Sequence[Row]
) -> Callable[[Transaction], Awaitable[None]]:
    async def work(transaction: Transaction) -> None:
        await lock_changes(transaction.connection, _SEEN_ALL)
        await _keep_file(transaction, number, path)
        current = await current_rows(transaction.connection, number, rows)
        await put_back(transaction.connection, current)

    return work


async def _keep_file(transaction: Transaction, number: int, path: str) -> None:
    """Let the file stay as it is until the transaction ends. Raises `Unavailable` where it is not
    the one that was read: what an erasure took away must not come back.
    """
    now = await storage.find(transaction.connection, number, lock=True)
    if now is None or now.path != path:
        raise Unavailable(
            what=f"The archive file {path} was written anew, or restored, meanwhile.",
            cure="Run this again.",
        )
