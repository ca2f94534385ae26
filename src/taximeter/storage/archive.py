"""The SQL of the archive: which files there are, who is in them, and moving events to and fro.

Owns the tables `archive`, `archive_part` and `event_identity`. An archived event is in the file
that its identity names; a file may hold rows that no identity names, and those do not count.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.metering.identity import Identity, changed_blocks, entry_of, identity_key
from taximeter.storage.events import EVENT_COLUMNS
from taximeter.storage.events import Identity as EventIdentity
from taximeter.storage.identity import ENTRY_OF
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]
Row = tuple[Any, ...]  # of EVENT_COLUMNS
Key = tuple[str, bytes]  # a customer, and the key of an identity

_PARTS = """
SELECT p.archive, a.path, p.time_first, p.time_last, p.rows FROM archive_part p
JOIN archive a ON a.number = p.archive
WHERE p.customer = %(customer)s AND (%(start)s::timestamptz IS NULL OR p.time_last >= %(start)s)
    AND (%(end)s::timestamptz IS NULL OR p.time_first < %(end)s)
ORDER BY p.time_first, p.archive
"""
# What a finalized invoice has not counted yet stays: it is read again when terms change.
_HORIZONS = """
SELECT c.customer, c.archived, least(%(before)s, (
    SELECT min(t.period_start) FROM usage_total t
    WHERE t.customer = c.customer AND t.period_end > coalesce((
        SELECT max(i.boundary) FROM invoice i
        WHERE i.customer = t.customer AND i.subscription = t.subscription AND i.status <> 'draft'
    ), '-infinity')
))
FROM customer c WHERE %(after)s::text IS NULL OR c.customer > %(after)s
ORDER BY c.customer LIMIT %(limit)s
"""
_OLD = "e.customer = {0} AND e.time < {1} AND e.status <> 'quarantined'"
_OF_ALL = f"""
FROM unnest(%s::text[], %s::timestamptz[]) AS h (customer, before)
JOIN event e ON {_OLD.format("h.customer", "h.before")}
"""
_COUNT_OLD = f"SELECT e.customer, count(*) {_OF_ALL} GROUP BY e.customer"
_OLD_OF_ALL = f"""
SELECT {EVENT_COLUMNS}, e.xmin::text {_OF_ALL} ORDER BY e.customer, e.time, e.source, e.id
"""
_OLD_EVENTS = f"""
SELECT {EVENT_COLUMNS}, e.xmin::text FROM event e
WHERE {_OLD.format("%(customer)s", "%(before)s")}
    AND (%(time)s::timestamptz IS NULL OR (e.time, e.source, e.id) > (%(time)s, %(source)s, %(id)s))
ORDER BY e.time, e.source, e.id LIMIT %(limit)s
"""
# xmin tells whether the row is the one that was copied: whatever changed since stays.
_TAKE_OUT = """
DELETE FROM event e
USING json_to_recordset(%s) AS k (customer text, source text, id text, version text)
WHERE e.customer = k.customer AND e.source = k.source AND e.id = k.id AND e.xmin::text = k.version
"""
_STILL_THERE = """
SELECT e.customer, e.source, e.id FROM event e
JOIN json_to_recordset(%s) AS k (customer text, source text, id text)
    ON e.customer = k.customer AND e.source = k.source AND e.id = k.id
"""
_ENTRIES = f"""
SELECT k.customer, decode(k.key, 'hex'), {ENTRY_OF.format("c.customer", "decode(k.key, 'hex')")}
FROM json_to_recordset(%s) AS k (customer text, key text)
JOIN customer c ON c.customer = k.customer
"""
_HEADS = """
INSERT INTO event_identity (customer, first, entries) SELECT customer, ''::bytea, ''::bytea
FROM unnest(%s::text[]) AS k (customer) ON CONFLICT DO NOTHING
"""
_LOCK_HEADS = """
UPDATE event_identity SET entries = entries WHERE customer = ANY(%s) AND first = ''
"""
_BLOCKS = """
SELECT b.customer, b.first, b.entries FROM event_identity b
JOIN (
    SELECT DISTINCT k.customer, (
        SELECT i.first FROM event_identity i
        WHERE i.customer = c.customer AND i.first <= decode(k.key, 'hex')
        ORDER BY i.first DESC LIMIT 1
    ) AS first
    FROM json_to_recordset(%s) AS k (customer text, key text)
    JOIN customer c ON c.customer = k.customer
) AS w ON w.customer = b.customer AND w.first = b.first
"""
_PUT_BLOCKS = """
INSERT INTO event_identity (customer, first, entries)
SELECT customer, decode(first, 'hex'), decode(entries, 'hex')
FROM json_to_recordset(%s) AS r (customer text, first text, entries text)
ON CONFLICT (customer, first) DO UPDATE SET entries = EXCLUDED.entries
"""
_PUT_BACK = """
INSERT INTO event (customer, source, id, type, time, received_at, path, subscription, data,
    attributes, digest, status, reason, counted_at)
SELECT customer, source, id, type, time, received_at, path, subscription, data::jsonb,
    attributes::jsonb, decode(digest, 'hex'), status, reason, counted_at
FROM json_to_recordset(%s) AS r (customer text, source text, id text, type text, time timestamptz,
    received_at timestamptz, path text, subscription text, data text, attributes text, digest text,
    status text, reason text, counted_at timestamptz)
ON CONFLICT (customer, source, id) DO NOTHING
"""
_ROW = (
    "customer", "source", "id", "type", "time", "received_at", "path", "subscription", "data",
    "attributes", "digest", "status", "reason", "counted_at",
)  # fmt: skip
_ARCHIVE_COLUMNS = """
number, path, encode(sha256, 'hex'), bytes, rows, customer_first, customer_last, time_first,
time_last, created_at, settled_at
"""
_FIND = f"SELECT {_ARCHIVE_COLUMNS} FROM archive WHERE number = %s"
_LOCK = f"{_FIND} FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of events. `settled_at` is None while its events are still being taken out of the
    database.
    """

    number: int
    path: str
    sha256: str
    bytes: int
    rows: int
    customer_first: str
    customer_last: str
    time_first: datetime
    time_last: datetime
    created_at: datetime
    settled_at: datetime | None


class Part(NamedTuple):
    """What of a customer's events is in a file."""

    archive: int
    path: str
    time_first: datetime
    time_last: datetime
    rows: int


class Horizon(NamedTuple):
    """Before when a customer's events may be archived; `archived`: some are already."""

    customer: str
    archived: bool
    before: datetime


def name_of(row: Sequence[Any]) -> Key:
    """By what the identity of a row is found."""
    return row[0], identity_key(row[1], row[2])


def _columns(rows: Sequence[Sequence[Any]], *numbers: int) -> list[list[Any]]:
    return [[row[number] for row in rows] for number in numbers]


def identity_of(row: Sequence[Any], archive: int) -> tuple[str, Identity]:
    """Whose a row is, and its identity where it is in this file."""
    return row[0], Identity(identity_key(row[1], row[2]), bytes.fromhex(row[10]), archive)


async def parts_of(
    connection: Connection, customer: str, start: datetime | None, end: datetime | None
) -> list[Part]:
    """The files with events of this customer in this span, by their first time."""
    cursor = await connection.execute(_PARTS, {"customer": customer, "start": start, "end": end})
    return [
        Part(row[0], row[1], row[2].astimezone(UTC), row[3].astimezone(UTC), row[4])
        for row in await cursor.fetchall()
    ]


async def identities_of(connection: Connection, names: Collection[Key]) -> dict[Key, Identity]:
    """Of these (customer, key) those that are archived."""
    if not names:
        return {}
    cursor = await connection.execute(_ENTRIES, [_named(names)], binary=True)
    return {
        (row[0], bytes(row[1])): entry_of(bytes(row[2]))
        for row in await cursor.fetchall()
        if row[2] is not None
    }


async def change_identities(
    connection: Connection, put: Collection[tuple[str, Identity]], drop: Collection[Key]
) -> None:
    """Put identities of customers in place of those with the same keys, and remove others. Whoever
    changes those of a customer waits for the other who does.
    """
    names = [*((customer, one.key) for customer, one in put), *drop]
    if not names:
        return
    customers = sorted({customer for customer, _ in names})
    await connection.execute(_HEADS, [customers])
    await connection.execute(_LOCK_HEADS, [customers])
    cursor = await connection.execute(_BLOCKS, [_named(names)], binary=True)
    blocks: dict[str, dict[bytes, bytes]] = {}
    for customer, first, entries in await cursor.fetchall():
        blocks.setdefault(customer, {})[bytes(first)] = bytes(entries)
    puts: dict[str, list[Identity]] = {}
    drops: dict[str, list[bytes]] = {}
    for customer, one in put:
        puts.setdefault(customer, []).append(one)
    for customer, key in drop:
        drops.setdefault(customer, []).append(key)
    written = [
        {"customer": customer, "first": first.hex(), "entries": entries.hex()}
        for customer in customers
        for first, entries in changed_blocks(
            blocks[customer], puts.get(customer, ()), drops.get(customer, ())
        ).items()
    ]
    await connection.execute(_PUT_BLOCKS, [document(written)])


def _named(names: Iterable[Key]) -> str:
    return document([{"customer": customer, "key": key.hex()} for customer, key in names])


async def still_there(connection: Connection, rows: Sequence[Row]) -> set[EventIdentity]:
    """Those of these events that are in `event`."""
    names = [{"customer": row[0], "source": row[1], "id": row[2]} for row in rows]
    cursor = await connection.execute(_STILL_THERE, [document(names)])
    return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}


async def horizons(
    connection: Connection, before: datetime, *, after: str | None, limit: int
) -> list[Horizon]:
    """Customers by key, after `after`: before when their events are of finalized periods only, at
    most `before`.
    """
    cursor = await connection.execute(_HORIZONS, {"before": before, "after": after, "limit": limit})
    return [Horizon(row[0], row[1], row[2].astimezone(UTC)) for row in await cursor.fetchall()]


async def old_events(
    connection: Connection, horizon: Horizon, *, after: Row | None, limit: int
) -> list[Row]:
    """Rows of the customer's events before its horizon by time and identity, after `after`; behind
    the columns of an event each says which version of the row it is.
    """
    cursor = await connection.execute(
        _OLD_EVENTS,
        {
            "customer": horizon.customer, "before": horizon.before, "limit": limit,
            "time": after[4] if after else None, "source": after[1] if after else None,
            "id": after[2] if after else None,
        },
    )  # fmt: skip
    return await cursor.fetchall()


async def old_events_of(connection: Connection, horizons: Sequence[Horizon]) -> list[Row]:
    """As `old_events`, all of these customers, by customer first."""
    if not horizons:
        return []
    cursor = await connection.execute(_OLD_OF_ALL, _columns(horizons, 0, 2))
    return await cursor.fetchall()


async def count_old(connection: Connection, horizons: Sequence[Horizon]) -> dict[str, int]:
    """How many events each of these customers has before its horizon, where it has any."""
    cursor = await connection.execute(_COUNT_OLD, _columns(horizons, 0, 2))
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def next_number(connection: Connection) -> int:
    """The number of the next file."""
    cursor = await connection.execute("SELECT coalesce(max(number), 0) + 1 FROM archive")
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has a row"
    return int(row[0])


async def insert(connection: Connection, one: Archive, rows: Sequence[Row]) -> None:
    """Note a file, and what of whom is in it."""
    await connection.execute(
        """
        INSERT INTO archive (number, path, sha256, bytes, rows, customer_first, customer_last,
            time_first, time_last, created_at)
        VALUES (%s, %s, decode(%s, 'hex'), %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            one.number, one.path, one.sha256, one.bytes, one.rows, one.customer_first,
            one.customer_last, one.time_first, one.time_last, one.created_at,
        ],
    )  # fmt: skip
    parts = [
        (customer, [row[4] for row in mine])
        for customer, mine in groupby(rows, key=lambda row: str(row[0]))
    ]
    await connection.execute(
        """
        INSERT INTO archive_part (customer, archive, rows, time_first, time_last)
        SELECT customer, %s::integer, rows, time_first, time_last
        FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[])
            AS p (customer, rows, time_first, time_last)
        """,
        [
            one.number, [customer for customer, _ in parts], [len(times) for _, times in parts],
            [min(times) for _, times in parts], [max(times) for _, times in parts],
        ],
    )  # fmt: skip


async def note_archived(connection: Connection, customers: Sequence[str], at: datetime) -> None:
    """Let ingestion look for identities of these customers in the archive, too. Waits for the
    ingestion that runs, also where there is no such customer; must come first in its transaction.
    """
    await connection.execute(
        "INSERT INTO cache_change (customer, at) SELECT customer, %s FROM unnest(%s::text[]) c"
        " (customer)",
        [at, list(customers)],
    )
    await connection.execute(
        "UPDATE customer SET archived = true WHERE customer = ANY(%s)", [list(customers)]
    )


async def is_unsettled(connection: Connection, number: int) -> bool:
    """Whether a file's events are still being taken out, by nobody else until the transaction
    ends.
    """
    cursor = await connection.execute(
        "SELECT settled_at IS NULL FROM archive WHERE number = %s FOR UPDATE", [number]
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def take_out(connection: Connection, rows: Sequence[Row]) -> int:
    """Delete these events, as `old_events` read them, from `event`, but for those that have changed
    since; how many.
    """
    versions = [
        {"customer": row[0], "source": row[1], "id": row[2], "version": row[-1]} for row in rows
    ]
    cursor = await connection.execute(_TAKE_OUT, [document(versions)])
    return cursor.rowcount


async def settle(connection: Connection, archive: int, at: datetime) -> None:
    """Note that a file's events are all taken out."""
    await connection.execute(
        "UPDATE archive SET settled_at = %s WHERE number = %s AND settled_at IS NULL",
        [at, archive],
    )


async def put_back(connection: Connection, rows: Sequence[Row]) -> int:
    """Insert events of a file into `event` again; how many were not there."""
    put = [dict(zip(_ROW, row, strict=True)) for row in rows]
    cursor = await connection.execute(_PUT_BACK, [document(put)])
    return cursor.rowcount


async def find(connection: Connection, number: int, *, lock: bool = False) -> Archive | None:
    """One file's row; with `lock` the file stays as it is until the transaction ends."""
    cursor = await connection.execute(_LOCK if lock else _FIND, [number])
    row = await cursor.fetchone()
    return _archive_of(row) if row else None


async def page(
    connection: Connection, *, after: int, limit: int, unsettled: bool = False
) -> list[Archive]:
    """Files by number, after `after`; only those that are not settled if so wanted."""
    cursor = await connection.execute(
        f"""
        SELECT {_ARCHIVE_COLUMNS} FROM archive
        WHERE number > %s AND (settled_at IS NULL OR NOT %s) ORDER BY number LIMIT %s
        """,
        [after, unsettled, limit],
    )
    return [_archive_of(row) for row in await cursor.fetchall()]


def _archive_of(row: Sequence[Any]) -> Archive:
    times = [at.astimezone(UTC) if at is not None else None for at in row[7:]]
    return Archive(*row[:7], *times)


async def unreduced_archive(connection: Connection, customer: str, since: datetime) -> int | None:
    """The first file with events of a customer that was not written anew since then."""
    cursor = await connection.execute(
        """
        SELECT archive FROM archive_part
        WHERE customer = %s AND (reduced_at IS NULL OR reduced_at < %s) ORDER BY archive LIMIT 1
        """,
        [customer, since],
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else None


async def replace_file(
    connection: Connection, before: Archive, after: Archive, customers: Sequence[str], at: datetime
) -> bool:
    """Let a file be another one, in which the content of these customers' events is reduced; False
    where it has become another one meanwhile.
    """
    cursor = await connection.execute(
        """
        UPDATE archive SET path = %s, sha256 = decode(%s, 'hex'), bytes = %s
        WHERE number = %s AND path = %s
        """,
        [after.path, after.sha256, after.bytes, before.number, before.path],
    )
    if not cursor.rowcount:
        return False
    await connection.execute(
        "UPDATE archive_part SET reduced_at = %s WHERE archive = %s AND customer = ANY(%s)",
        [at, before.number, list(customers)],
    )
    return True


async def delete(connection: Connection, number: int) -> None:
    """Forget a file that no identity names any more."""
    await connection.execute("DELETE FROM archive_part WHERE archive = %s", [number])
    await connection.execute("DELETE FROM archive WHERE number = %s", [number])
