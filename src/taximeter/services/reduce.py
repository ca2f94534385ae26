"""Taking away what nothing reads of events' content, in the database and in files.

Owns how content is replaced. What any version of a meter, and any plan or agreement, reads stays;
so do identities and digests: a retry is a duplicate as before, and usage can be counted again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from taximeter.domain.metering.event import decode_number
from taximeter.domain.metering.personal import (
    ALWAYS_READ,
    read_by_meters,
    read_by_prices,
    reduced,
)
from taximeter.gateways import parquet
from taximeter.services.command import Transaction, run
from taximeter.services.context import Connection, Context
from taximeter.storage import archive as archive_storage
from taximeter.storage import erasure as storage
from taximeter.storage.archive import Row
from taximeter.storage.erasure import (
    Content,
    ContentRow,
    Corrected,
    CorrectedRow,
    Staged,
    StagedRow,
)
from taximeter.storage.terms import lock_changes, meter_versions

ROWS_PER_TRANSACTION = 1_000
_Row = TypeVar("_Row")
_SEEN_ALL = 2**62

_decode = msgspec.json.Decoder(float_hook=decode_number).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Kept:
    """The properties that stay: `of_types` by the type of their event, `of_all` of any."""

    of_types: Mapping[str, set[str]]
    of_all: frozenset[str]

    def reduced(self, event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """What stays of an event's data."""
        return reduced(data, self.of_types.get(event_type, set()) | self.of_all)

    def reduced_of_any(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """As `reduced`, where the type is not at hand."""
        return reduced(data, self.of_all.union(*self.of_types.values()))


async def kept_properties(connection: Connection) -> Kept:
    """What has to stay, as meters, plans and agreements are now and were before."""
    of_types: dict[str, set[str]] = {}
    for _, meter in await meter_versions(connection):
        of_types.setdefault(meter.event_type, set()).update(read_by_meters([meter]))
    prices = read_by_prices(await storage.price_documents(connection))
    return Kept(of_types, ALWAYS_READ | prices)


async def keep_still(connection: Connection) -> None:
    """Keep out whoever corrects events until the transaction ends; ingestion goes on. Must come
    first in it.
    """
    await lock_changes(connection, _SEEN_ALL)


async def reduce_events(
    connection: Connection, customer: str, kept: Kept, events: Sequence[Content]
) -> int:
    """Take away what need not stay of these events, as they are in the database; of how many there
    was something.
    """
    changed = [
        ContentRow(one.source, one.id, content)
        for one in events
        if (content := kept.reduced(one.type, one.data)) != one.data or one.attributes
    ]
    await storage.set_content(connection, customer, changed)
    return len(changed)


async def reduce_corrections(
    context: Context, actor: str, customer: str, kept: Kept, before: datetime
) -> None:
    """Take away what need not stay of what events of a time before `before` said before their
    corrections.
    """

    async def portion(connection: Connection, after: Corrected | None) -> list[Corrected]:
        found = await storage.corrected(
            connection, customer, before, after=after, limit=ROWS_PER_TRANSACTION
        )
        rows = [
            CorrectedRow(one.source, one.id, one.number, kept.reduced_of_any(one.data))
            for one in found
        ]
        await storage.set_corrected(connection, customer, rows)
        return found

    await _in_portions(context, actor, portion)


async def reduce_staged(context: Context, actor: str, customer: str, kept: Kept) -> None:
    """Take away what need not stay of a customer's events that wait in backfills."""

    async def portion(connection: Connection, after: Staged | None) -> list[Staged]:
        found = await storage.staged(connection, customer, after=after, limit=ROWS_PER_TRANSACTION)
        rows = [
            StagedRow(one.backfill, one.source, one.id, kept.reduced(one.type, one.data))
            for one in found
        ]
        await storage.set_staged(connection, customer, rows)
        return found

    await _in_portions(context, actor, portion)


async def _in_portions(
    context: Context,
    actor: str,
    portion: Callable[[Connection, _Row | None], Awaitable[list[_Row]]],
) -> None:
    """Do one portion after another, each in a transaction of its own that keeps out who corrects;
    each is told the last row of the one before.
    """
    after: _Row | None = None
    more = True
    while more:

        async def work(transaction: Transaction, after: _Row | None = after) -> list[_Row]:
            await keep_still(transaction.connection)
            return await portion(transaction.connection, after)

        found = await run(context, actor, work)
        more = len(found) == ROWS_PER_TRANSACTION
        after = found[-1] if found else after


async def rewrite_file(
    context: Context, actor: str, number: int, kept: Kept, wanted: Callable[[Row], bool],
    customers: Sequence[str],
) -> int:  # fmt: skip
    """Write a file of the archive anew without what need not stay of the rows that are `wanted`,
    and remove the old one; of how many there was something. `customers` are noted as reduced.
    May be stopped at any instant: until the new file is durable and noted, the old one is there.
    """
    async with context.pool.connection() as connection:
        old = await archive_storage.find(connection, number)
    if old is None:
        return 0
    source = Path(old.path)
    changed = await asyncio.to_thread(_count_changed, source, kept, wanted)
    if not changed and not customers:
        return 0
    path = source.with_name(f"{context.new_id('arc')}.parquet")
    written = await asyncio.to_thread(parquet.write, path, _reduced_rows(source, kept, wanted))
    new = replace(old, path=str(path), sha256=written.sha256, bytes=written.bytes)

    async def work(transaction: Transaction) -> bool:
        replaced = await archive_storage.replace_file(
            transaction.connection, old, new, customers, transaction.at
        )
        if replaced:
            await transaction.audit("archive.reduced", str(number), {"events": changed})
        return replaced

    replaced = await run(context, actor, work)
    await asyncio.to_thread(parquet.remove, source if replaced else path)
    return changed if replaced else 0


def _reduced_rows(path: Path, kept: Kept, wanted: Callable[[Row], bool]) -> Iterator[list[Row]]:
    """All rows of a file, those wanted reduced, some thousands at a time."""
    for rows in parquet.read(path):
        yield [_reduced_row(row, kept) if wanted(row) else row for row in rows]


def _count_changed(path: Path, kept: Kept, wanted: Callable[[Row], bool]) -> int:
    """Of how many rows of a file there is something to take away."""
    return sum(
        _reduced_row(row, kept) is not row
        for rows in parquet.read(path)
        for row in rows
        if wanted(row)
    )


def _reduced_row(row: Row, kept: Kept) -> Row:
    data = _decode(row[8])
    content = kept.reduced(row[3], data)
    if content == data and row[9] is None:
        return row
    return (*row[:8], _encode(content).decode(), None, *row[10:])
