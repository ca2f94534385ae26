"""Rows of `hold_account` and `hold`.

A customer's `hold_account` is the lock of its holds: whoever places, resolves or extends one has
updated the account first. Counters are exact numbers as texts in one JSON object, so that a
decision reads and writes one row whatever it reserves.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.credit.hold import Hold
from taximeter.storage.columns import Columns

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]
Counters = Mapping[str, Decimal]

_CUSTOMERS = Columns("k", "customer text")
_LOCK = """
UPDATE hold_account AS a SET swept_until = a.swept_until WHERE a.customer = ANY(%s::text[])
RETURNING a.customer, a.swept_until, a.next_expiry, a.counters::text
"""
_CREATE = f"""
INSERT INTO hold_account (customer, swept_until, counters)
SELECT customer, %s, '{{}}' FROM {_CUSTOMERS} ON CONFLICT DO NOTHING
"""
_EXPIRED = f"""
SELECT h.customer, c.key, sum(c.value::numeric)
FROM {_CUSTOMERS}
JOIN hold_account a ON a.customer = k.customer
JOIN hold h ON h.customer = a.customer AND h.state = 'open'
    AND h.expires_at > a.swept_until AND h.expires_at <= %s
CROSS JOIN LATERAL json_each_text(h.counters) c
GROUP BY 1, 2
"""
_NEXT_EXPIRY = f"""
SELECT a.customer, (
    SELECT h.expires_at FROM hold h
    WHERE h.customer = a.customer AND h.state = 'open' AND h.expires_at > %s
    ORDER BY h.expires_at LIMIT 1
) FROM {_CUSTOMERS} JOIN hold_account a ON a.customer = k.customer
"""
_RESERVED = """
SELECT name, sum(amount) FROM (
    SELECT c.key AS name, c.value::numeric AS amount
    FROM hold_account a CROSS JOIN LATERAL json_each_text(a.counters) c
    WHERE a.customer = %(customer)s
    UNION ALL
    SELECT c.key, -c.value::numeric
    FROM hold_account a
    JOIN hold h ON h.customer = a.customer AND h.state = 'open'
        AND h.expires_at > a.swept_until AND h.expires_at <= %(at)s
    CROSS JOIN LATERAL json_each_text(h.counters) c
    WHERE a.customer = %(customer)s
) counters GROUP BY name HAVING sum(amount) <> 0
"""
_ACCOUNTS = Columns(
    "k",
    "customer text, swept_until timestamptz, next_expiry timestamptz, counters json",
    decimals="string",
)
_WRITE = f"""
UPDATE hold_account AS a SET swept_until = k.swept_until, next_expiry = k.next_expiry,
    counters = k.counters
FROM {_ACCOUNTS}
WHERE a.customer = k.customer
"""
_PLACED = Columns(
    "r",
    "customer text, id text, amounts json, path text, feature text, quantity numeric,"
    " placed_at timestamptz, expires_at timestamptz, counters json",
    decimals="string",
)
_INSERT = f"""
INSERT INTO hold (customer, id, state, amounts, path, feature, quantity, placed_at, expires_at,
    counters)
SELECT customer, id, 'open', amounts, path, feature, quantity, placed_at, expires_at, counters
FROM {_PLACED}
"""
_COLUMNS = """
h.customer, h.id, h.state, h.amounts::text, h.path, h.feature, h.quantity, h.placed_at,
h.expires_at, h.counters::text, h.resolved_at, h.late, h.captured::text, h.resolution, h.answer
"""
_KEYS = Columns("k", "customer text, id text")
_FIND = f"""
SELECT {_COLUMNS} FROM {_KEYS}
JOIN hold h ON h.customer = k.customer AND h.id = k.id
"""
_CHANGED = Columns(
    "k",
    "customer text, id text, state text, expires_at timestamptz, counters json,"
    " resolved_at timestamptz, late boolean, captured jsonb, resolution bytea, answer bytea",
    decimals="string",
)
_CHANGE = f"""
UPDATE hold AS h SET state = k.state, expires_at = k.expires_at, counters = k.counters,
    resolved_at = k.resolved_at, late = k.late, captured = k.captured,
    resolution = k.resolution, answer = k.answer
FROM {_CHANGED}
WHERE h.customer = k.customer AND h.id = k.id
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM hold h
WHERE h.customer = %(customer)s AND (%(before)s::text IS NULL OR h.id < %(before)s)
  AND (%(state)s::text IS NULL
    OR (%(state)s = 'expired' AND h.state = 'open' AND h.expires_at <= %(at)s)
    OR (%(state)s = 'open' AND h.state = 'open' AND h.expires_at > %(at)s)
    OR (%(state)s IN ('captured', 'released') AND h.state = %(state)s))
ORDER BY h.id DESC LIMIT %(limit)s
"""
_numbers = msgspec.json.Decoder(dict[str, Decimal]).decode


def _keys(customers: Collection[str]) -> list[str | None]:
    return _CUSTOMERS.of_columns([sorted(customers)])


async def send_lock(connection: Connection, customers: Collection[str]) -> Cursor:
    """Lock those of these accounts that exist; `locked` reads the answer."""
    return await connection.execute(_LOCK, _keys(customers))


class Account(msgspec.Struct, gc=False):
    """A locked account. `swept_until` and `next_expiry`: no open hold expires between the two
    (None: none at all).
    """

    customer: str
    swept_until: datetime
    next_expiry: datetime | None
    counters: dict[str, Decimal]


async def locked(cursor: Cursor) -> dict[str, Account]:
    """The accounts that `send_lock` locked, by customer."""
    return {
        row[0]: Account(
            row[0], row[1].astimezone(UTC), row[2].astimezone(UTC) if row[2] else None,
            _numbers(row[3]),
        )
        for row in await cursor.fetchall()
    }  # fmt: skip


async def create(connection: Connection, customers: Collection[str], at: datetime) -> None:
    """Make the accounts that are missing, with nothing reserved."""
    await connection.execute(_CREATE, [at, *_keys(customers)])


async def expired(
    connection: Connection, customers: Collection[str], at: datetime
) -> dict[str, dict[str, Decimal]]:
    """What the holds reserve, by customer, that expired since the accounts were swept, by `at`.
    The accounts are locked.
    """
    cursor = await connection.execute(_EXPIRED, [*_keys(customers), at])
    found: dict[str, dict[str, Decimal]] = {}
    for customer, name, amount in await cursor.fetchall():
        found.setdefault(customer, {})[name] = amount
    return found


async def next_expiries(
    connection: Connection, customers: Collection[str], after: datetime
) -> dict[str, datetime | None]:
    """When, after `after`, the next open hold of each of these customers expires."""
    cursor = await connection.execute(_NEXT_EXPIRY, [after, *_keys(customers)])
    return {row[0]: row[1].astimezone(UTC) if row[1] else None for row in await cursor.fetchall()}


async def reserved(connection: Connection, customer: str, at: datetime) -> dict[str, Decimal]:
    """What the customer's holds that are open at the instant `at` reserve, in one statement."""
    cursor = await connection.execute(_RESERVED, {"customer": customer, "at": at})
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def write_accounts(connection: Connection, accounts: Sequence[Account]) -> None:
    """Write locked accounts."""
    rows = sorted(accounts, key=lambda account: account.customer)
    await connection.execute(_WRITE, _ACCOUNTS.of(rows))


async def insert(connection: Connection, holds: Sequence[Hold]) -> None:
    """Add placed holds."""
    await connection.execute(_INSERT, _PLACED.of(holds))


async def change(connection: Connection, holds: Sequence[Hold]) -> None:
    """Write what became of holds, whose accounts are locked."""
    rows = sorted(holds, key=lambda hold: (hold.customer, hold.id))
    await connection.execute(_CHANGE, _CHANGED.of(rows))


def _hold_of(row: Sequence[Any]) -> Hold:
    return Hold(
        customer=row[0], id=row[1], state=row[2], amounts=_numbers(row[3]), path=row[4],
        feature=row[5], quantity=row[6], placed_at=row[7].astimezone(UTC),
        expires_at=row[8].astimezone(UTC), counters=_numbers(row[9]),
        resolved_at=row[10].astimezone(UTC) if row[10] else None, late=row[11],
        captured=_numbers(row[12]) if row[12] is not None else None, resolution=row[13],
        answer=row[14],
    )  # fmt: skip


async def send_find(connection: Connection, keys: Collection[tuple[str, str]]) -> Cursor:
    """Ask for these holds, (customer, id) each; `found` reads the answer."""
    return await connection.execute(_FIND, _KEYS.of_tuples(sorted(keys)))


async def found(cursor: Cursor) -> dict[str, Hold]:
    """The holds that `send_find` asked for and that exist, by id."""
    return {row[1]: _hold_of(row) for row in await cursor.fetchall()}


async def customer_of(connection: Connection, hold_id: str) -> str | None:
    """Whose hold this is."""
    cursor = await connection.execute("SELECT customer FROM hold WHERE id = %s", [hold_id])
    row = await cursor.fetchone()
    return row[0] if row else None


async def page(
    connection: Connection,
    customer: str,
    *,
    state: str | None,
    at: datetime,
    before: str | None,
    limit: int,
) -> list[Hold]:
    """A customer's holds, newest first, before `before`; `state` (`open`, `captured`, `released`,
    `expired` by `at`) restricts to some.
    """
    cursor = await connection.execute(
        _PAGE,
        {"customer": customer, "state": state, "at": at, "before": before, "limit": limit},
    )
    return [_hold_of(row) for row in await cursor.fetchall()]
