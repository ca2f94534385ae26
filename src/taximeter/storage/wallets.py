"""Rows of `wallet`, `credit_grant` and `wallet_entry`.

A wallet's row is the lock of its grants: whoever changes a grant has updated the wallet first.
What reads a balance is one statement, so that it sees wallet and grants at one instant.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.money import Money
from taximeter.storage.columns import Columns

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]
WalletKey = tuple[str, str]

_KEYS = Columns("k", "customer text, asset text")
_LOCK = f"""
UPDATE wallet AS w SET debt = w.debt FROM {_KEYS}
WHERE w.customer = k.customer AND w.asset = k.asset
RETURNING w.customer, w.asset, w.debt
"""
_CREATE = f"""
INSERT INTO wallet (customer, asset, debt) SELECT customer, asset, 0 FROM {_KEYS}
ON CONFLICT DO NOTHING
"""
GRANT_COLUMNS = """
g.id, g.customer, g.asset, g.amount, g.remaining, g.kind, g.priority, g.effective_at,
g.expires_at, g.scope_meters, g.created_at, g.scope_path, g.subscription, g.credit
"""
_GRANTS_OF_WALLETS = f"""
SELECT {GRANT_COLUMNS} FROM {_KEYS}
JOIN credit_grant g ON g.customer = k.customer AND g.asset = k.asset
"""
_GRANTS_LEFT = f"""
{_GRANTS_OF_WALLETS}
WHERE g.has_left AND COALESCE(g.expires_at, 'infinity') > COALESCE(%s, '-infinity'::timestamptz)
"""
_GRANTS_EVER = f"""
{_GRANTS_OF_WALLETS}
WHERE g.voided_at IS NULL
    AND COALESCE(g.expires_at, 'infinity') > COALESCE(%s, '-infinity'::timestamptz)
"""
_GRANT_KEYS = Columns("k", "customer text, id text")
_GRANTS_BY_ID = f"""
SELECT {GRANT_COLUMNS} FROM {_GRANT_KEYS}
JOIN credit_grant g ON g.customer = k.customer AND g.id = k.id
"""
_REMAINING = Columns("k", "customer text, id text, remaining numeric")
_SET_REMAINING = f"""
UPDATE credit_grant AS g SET remaining = k.remaining FROM {_REMAINING}
WHERE g.customer = k.customer AND g.id = k.id
"""
_DEBTS = Columns("k", "customer text, asset text, debt numeric")
_SET_DEBT = f"""
UPDATE wallet AS w SET debt = k.debt FROM {_DEBTS}
WHERE w.customer = k.customer AND w.asset = k.asset
"""
_ENTRIES = Columns(
    "r",
    "customer text, id text, asset text, grant_id text, kind text, amount numeric, at timestamptz,"
    " ref text",
)
_INSERT_ENTRIES = f"""
INSERT INTO wallet_entry (customer, id, asset, grant_id, kind, amount, at, ref)
SELECT customer, id, asset, grant_id, kind, amount, at, ref
FROM {_ENTRIES}
"""
_STORED_COLUMNS = f"{GRANT_COLUMNS}, g.cost_basis, g.cost_basis_asset, g.voided_at"
_INSERT_GRANT = """
INSERT INTO credit_grant (id, customer, asset, amount, remaining, kind, priority, effective_at,
    expires_at, scope_meters, created_at, cost_basis, cost_basis_asset, scope_path, subscription,
    credit, step_start, step_units)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_PAGE_GRANTS = f"""
SELECT {_STORED_COLUMNS} FROM credit_grant g
WHERE (%(customer)s::text IS NULL OR g.customer = %(customer)s)
  AND (%(customer_after)s::text IS NULL OR (g.customer, g.id) > (%(customer_after)s, %(id_after)s))
ORDER BY g.customer, g.id LIMIT %(limit)s
"""
_NOT_OVER = "g.remaining > 0 AND (g.expires_at IS NULL OR g.expires_at > %(at)s)"
_WALLETS = f"""
SELECT w.asset, w.debt, {GRANT_COLUMNS}
FROM wallet w
LEFT JOIN credit_grant g ON g.customer = w.customer AND g.asset = w.asset
    AND (g.has_left OR g.id = ANY(%(reserved)s))
    AND COALESCE(g.expires_at, 'infinity') > %(at)s
WHERE w.customer = %(customer)s ORDER BY w.asset
"""
_FOLD = f"""
SELECT e.asset, e.amount, {GRANT_COLUMNS}
FROM (
    SELECT asset, grant_id, sum(amount) AS amount FROM wallet_entry
    WHERE customer = %(customer)s AND at <= %(at)s GROUP BY asset, grant_id
) e
LEFT JOIN credit_grant g ON g.customer = %(customer)s AND g.id = e.grant_id
ORDER BY e.asset
"""
_PAGE_ENTRIES = """
SELECT customer, id, asset, grant_id, kind, amount, at, ref FROM wallet_entry
WHERE customer = %(customer)s AND (%(asset)s::text IS NULL OR asset = %(asset)s)
  AND (%(before)s::text IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""
_REPAYABLE = f"""
FROM wallet w JOIN credit_grant g ON g.customer = w.customer AND g.asset = w.asset
WHERE w.debt > 0 AND g.scope_meters IS NULL AND g.scope_path IS NULL AND {_NOT_OVER}
"""


class Entry(NamedTuple):
    """One movement of credit. `amount` is signed; without `grant_id` it moves the debt."""

    customer: str
    id: str
    asset: str
    grant_id: str | None
    kind: str
    amount: Decimal
    at: datetime
    ref: str


def grant_of(row: Sequence[Any]) -> Grant:
    """The grant of a row of the columns above."""
    expires_at, meters = row[8], row[9]
    return Grant(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7].astimezone(UTC),
        expires_at.astimezone(UTC) if expires_at else None,
        tuple(meters) if meters is not None else None, row[10].astimezone(UTC), row[11], row[12],
        row[13],
    )  # fmt: skip


async def send_lock(connection: Connection, keys: Sequence[WalletKey]) -> Cursor:
    """Lock those of these wallets that exist; `locked_debts` reads the answer."""
    return await connection.execute(_LOCK, _KEYS.of_tuples(sorted(keys)))


async def locked_debts(cursor: Cursor) -> dict[WalletKey, Decimal]:
    """The debt of each wallet that `send_lock` locked."""
    return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


async def lock_wallets(
    connection: Connection, keys: Sequence[WalletKey]
) -> dict[WalletKey, Decimal]:
    """Lock these wallets, making those that are missing; returns the debt of each."""
    debts = await locked_debts(await send_lock(connection, keys))
    if len(debts) < len(keys):
        await connection.execute(_CREATE, _KEYS.of_tuples(sorted(keys)))
        debts = await locked_debts(await send_lock(connection, keys))
    return debts


async def debts(connection: Connection, customer: str) -> dict[str, Decimal]:
    """The debts of a customer's wallets by asset, unlocked."""
    cursor = await connection.execute(
        "SELECT asset, debt FROM wallet WHERE customer = %s", [customer]
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def send_grants(
    connection: Connection,
    keys: Sequence[WalletKey],
    *,
    spent_too: bool = False,
    at: datetime | None = None,
) -> Cursor:
    """Ask for the grants of these wallets that have something left (`spent_too`: for all that are
    not void), and where `at` is given have not expired by then; `found_grants` reads the answer.
    """
    query = _GRANTS_EVER if spent_too else _GRANTS_LEFT
    return await connection.execute(query, [*_KEYS.of_tuples(sorted(keys)), at])


async def found_grants(cursor: Cursor, keys: Sequence[WalletKey]) -> dict[WalletKey, list[Grant]]:
    """The grants that `send_grants` asked for, by wallet."""
    grants: dict[WalletKey, list[Grant]] = {key: [] for key in keys}
    for row in await cursor.fetchall():
        grant = grant_of(row)
        grants[grant.customer, grant.asset].append(grant)
    return grants


async def grants_of(
    connection: Connection, keys: Sequence[WalletKey], *, spent_too: bool = False
) -> dict[WalletKey, list[Grant]]:
    """The grants of these wallets that have something left (`spent_too`: all that are not void)."""
    return await found_grants(await send_grants(connection, keys, spent_too=spent_too), keys)


async def grants_by_id(
    connection: Connection, grants: Iterable[tuple[str, str]]
) -> dict[str, Grant]:
    """These grants, (customer, id) each, whatever is left of them."""
    cursor = await connection.execute(_GRANTS_BY_ID, _GRANT_KEYS.of_tuples(sorted(grants)))
    return {row[0]: grant_of(row) for row in await cursor.fetchall()}


async def set_remaining(
    connection: Connection, remaining: Sequence[tuple[str, str, Decimal]]
) -> None:
    """Write what grants have left: (customer, grant id, remaining) each."""
    if remaining:
        await connection.execute(_SET_REMAINING, _REMAINING.of_tuples(sorted(remaining)))


async def set_debts(connection: Connection, debts: Sequence[tuple[str, str, Decimal]]) -> None:
    """Write debts: (customer, asset, debt) each."""
    if debts:
        await connection.execute(_SET_DEBT, _DEBTS.of_tuples(sorted(debts)))


async def insert_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Append movements."""
    if entries:
        await connection.execute(_INSERT_ENTRIES, _ENTRIES.of_tuples(entries))


class StoredGrant(NamedTuple):
    """A grant with what only its books know: what it cost, in all, and when it was voided."""

    grant: Grant
    cost_basis: Money | None
    voided_at: datetime | None


class Part(NamedTuple):
    """A part of a wallet's balance: `amount` is what is left of `grant`, or without one the
    wallet's own, which is its debt with the sign turned.
    """

    asset: str
    grant: Grant | None
    amount: Decimal


def _stored_of(row: Sequence[Any]) -> StoredGrant:
    cost_basis = Money(row[14], row[15]) if row[14] is not None else None
    return StoredGrant(grant_of(row), cost_basis, row[16].astimezone(UTC) if row[16] else None)


class Step(NamedTuple):
    """The step that a plan's grant is made for, and for how many units the step is granted with
    it (0: what rolled over into it).
    """

    start: datetime
    units: Decimal


async def insert_grant(
    connection: Connection,
    grant: Grant,
    cost_basis: Money | None = None,
    step: Step | None = None,
) -> None:
    """Add a grant to its wallet, which is locked. A unique key makes a second grant for the same
    step and units impossible.
    """
    g = grant
    await connection.execute(
        _INSERT_GRANT,
        [
            g.id, g.customer, g.asset, g.amount, g.remaining, g.kind, g.priority, g.effective_at,
            g.expires_at, list(g.scope_meters) if g.scope_meters is not None else None,
            g.created_at, cost_basis.amount if cost_basis else None,
            cost_basis.asset if cost_basis else None, g.scope_path, g.subscription, g.credit,
            step.start if step else None, step.units if step else None,
        ],
    )  # fmt: skip


async def find_grant(
    connection: Connection, grant_id: str, *, customer: str | None = None
) -> StoredGrant | None:
    """The grant with this id, if there is one (and it is this customer's)."""
    cursor = await connection.execute(
        f"""
        SELECT {_STORED_COLUMNS} FROM credit_grant g
        WHERE g.id = %s AND (%s::text IS NULL OR g.customer = %s)
        """,
        [grant_id, customer, customer],
    )
    row = await cursor.fetchone()
    return _stored_of(row) if row else None


async def cost_bases(
    connection: Connection, customer: str, grants: Sequence[str]
) -> dict[str, Money]:
    """What those of these grants cost in all that have a cost."""
    cursor = await connection.execute(
        """
        SELECT id, cost_basis, cost_basis_asset FROM credit_grant
        WHERE customer = %s AND id = ANY(%s) AND cost_basis IS NOT NULL
        """,
        [customer, list(grants)],
    )
    return {row[0]: Money(row[1], row[2]) for row in await cursor.fetchall()}


async def page_grants(
    connection: Connection, *, customer: str | None, after: tuple[str, str] | None, limit: int
) -> list[StoredGrant]:
    """Grants by customer and id, after `after`; `customer` restricts to one."""
    cursor = await connection.execute(
        _PAGE_GRANTS,
        {
            "customer": customer,
            "customer_after": after[0] if after else None,
            "id_after": after[1] if after else None,
            "limit": limit,
        },
    )
    return [_stored_of(row) for row in await cursor.fetchall()]


async def take_back(connection: Connection, grant: Grant, voided_at: datetime | None) -> None:
    """Write what a grant has left, and when it was voided (None: holds keep something of it). Its
    wallet is locked.
    """
    await connection.execute(
        "UPDATE credit_grant SET remaining = %s, voided_at = %s WHERE customer = %s AND id = %s",
        [grant.remaining, voided_at, grant.customer, grant.id],
    )


async def parts_of(
    connection: Connection, customer: str, at: datetime, reserved: Iterable[str] = ()
) -> list[Part]:
    """What the customer's wallets hold now, by asset: each wallet's own part, and its grants that
    have something left (or are among the `reserved`) and have not expired by `at`.
    """
    cursor = await connection.execute(
        _WALLETS, {"customer": customer, "at": at, "reserved": list(reserved)}
    )
    own: dict[str, Part] = {}
    grants = []
    for row in await cursor.fetchall():
        own[row[0]] = Part(row[0], None, -row[1])
        if row[2] is not None:
            grant = grant_of(row[2:])
            grants.append(Part(row[0], grant, grant.remaining))
    return [*own.values(), *grants]


async def folded_parts(connection: Connection, customer: str, at: datetime) -> list[Part]:
    """What the customer's wallets held at the instant `at`, by its entries until then."""
    cursor = await connection.execute(_FOLD, {"customer": customer, "at": at})
    return [
        Part(row[0], grant_of(row[2:]) if row[2] is not None else None, row[1])
        for row in await cursor.fetchall()
    ]


async def page_entries(
    connection: Connection, customer: str, *, asset: str | None, before: str | None, limit: int
) -> list[Entry]:
    """A customer's movements, newest first, before `before`; `asset` restricts to one wallet."""
    cursor = await connection.execute(
        _PAGE_ENTRIES, {"customer": customer, "asset": asset, "before": before, "limit": limit}
    )
    return [Entry(*row)._replace(at=row[6].astimezone(UTC)) for row in await cursor.fetchall()]


async def repayable(connection: Connection, at: datetime, limit: int) -> list[WalletKey]:
    """Wallets in debt that have a grant in force at `at`, for any usage, with something left."""
    cursor = await connection.execute(
        f"SELECT DISTINCT w.customer, w.asset {_REPAYABLE} AND g.effective_at <= %(at)s "
        "ORDER BY w.customer, w.asset LIMIT %(limit)s",
        {"at": at, "limit": limit},
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def next_repayable(connection: Connection, at: datetime) -> datetime | None:
    """The earliest instant, maybe past, at which a wallet in debt has such a grant."""
    cursor = await connection.execute(f"SELECT min(g.effective_at) {_REPAYABLE}", {"at": at})
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None
