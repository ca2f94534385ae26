"""Rows of `auto_topup` and `topup`.

A wallet's row is the lock of both: whoever asks for a top-up or settles one has locked it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.credit.topup import AutoTopup, TopupStatus
from taximeter.kernel.money import Money
from taximeter.storage.ingestion import document
from taximeter.storage.wallets import WalletKey

Connection = AsyncConnection[tuple[Any, ...]]

_SETTINGS = """
customer, asset, threshold, target, max_per_day, max_per_month, expires_after, payment
"""
_PUT = f"""
INSERT INTO auto_topup ({_SETTINGS}, check_at, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (customer, asset) DO UPDATE SET threshold = EXCLUDED.threshold,
    target = EXCLUDED.target, max_per_day = EXCLUDED.max_per_day,
    max_per_month = EXCLUDED.max_per_month, expires_after = EXCLUDED.expires_after,
    payment = EXCLUDED.payment, check_at = EXCLUDED.check_at, quiet_until = NULL,
    updated_at = EXCLUDED.updated_at
"""
# What holds of other assets reserve is taken off as well: a wallet may be looked at for nothing.
_MARK_LOW = """
UPDATE auto_topup AS a SET check_at = %(at)s
FROM json_to_recordset(%(rows)s) AS k (customer text, asset text, posted numeric)
LEFT JOIN hold_account h ON h.customer = k.customer
WHERE a.customer = k.customer AND a.asset = k.asset
  AND (a.check_at IS NULL OR a.check_at > %(at)s)
  AND (a.quiet_until IS NULL OR a.quiet_until <= %(at)s)
  AND a.threshold > k.posted - (
      SELECT coalesce(sum(c.value::numeric), 0) FROM json_each_text(h.counters) c
      WHERE c.key LIKE 'g:%%' OR c.key = 'w:' || k.asset
  )
  AND NOT EXISTS (
      SELECT FROM topup t
      WHERE t.customer = k.customer AND t.asset = k.asset AND t.state = 'requested'
  )
"""
_HISTORY = """
SELECT
    coalesce(sum(amount) FILTER (WHERE state <> 'failed' AND requested_at >= %(day)s), 0),
    coalesce(sum(amount) FILTER (WHERE state <> 'failed' AND requested_at >= %(month)s), 0),
    count(*) FILTER (
        WHERE state = 'failed' AND settled_at >= %(day)s AND settled_at >= %(since)s
    ),
    max(settled_at) FILTER (WHERE state = 'failed' AND settled_at >= %(since)s),
    coalesce(bool_or(state = 'requested'), false)
FROM topup WHERE customer = %(customer)s AND asset = %(asset)s
    AND (id >= %(first)s OR state = 'requested')
"""
_COLUMNS = """
t.customer, t.id, t.asset, t.amount, t.price, t.price_asset, t.expires_after, t.state,
t.requested_at, t.charge_at, t.attempts, t.settled_at, t.reference, t.reason, t.grant_id
"""
_INSERT = """
INSERT INTO topup (customer, id, asset, amount, price, price_asset, expires_after, state,
    requested_at, charge_at, attempts)
VALUES (%s, %s, %s, %s, %s, %s, %s, 'requested', %s, %s, 0)
ON CONFLICT (customer, asset) WHERE state = 'requested' DO NOTHING RETURNING true
"""
_SETTLE = """
UPDATE topup SET state = %s, settled_at = %s, reference = %s, reason = %s, grant_id = %s,
    charge_at = NULL
WHERE customer = %s AND id = %s
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM topup t
WHERE (%(customer)s::text IS NULL OR t.customer = %(customer)s)
  AND (%(state)s::text IS NULL OR t.state = %(state)s)
  AND (%(customer_after)s::text IS NULL OR (t.customer, t.id) > (%(customer_after)s, %(id_after)s))
ORDER BY t.customer, t.id LIMIT %(limit)s
"""


class StoredAutoTopup(NamedTuple):
    """Settings, since when they are as they are, and before when nothing is asked for."""

    auto: AutoTopup
    updated_at: datetime
    quiet_until: datetime | None


class Topup(NamedTuple):
    """A top-up that was asked for; `price` is what it costs, where that is known. While the gateway
    is asked for the money, `charge_at` says when next.
    """

    customer: str
    id: str
    asset: str
    amount: Decimal
    price: Money | None
    expires_after: str | None
    state: TopupStatus
    requested_at: datetime
    charge_at: datetime | None
    attempts: int
    settled_at: datetime | None
    reference: str | None
    reason: str | None
    grant: str | None


class Asked(NamedTuple):
    """What was asked for of a wallet before, and whether a top-up of it is open."""

    in_day: Decimal
    in_month: Decimal
    failures: int
    failed_at: datetime | None
    is_open: bool


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None


def _stored_of(row: Sequence[Any]) -> StoredAutoTopup:
    return StoredAutoTopup(AutoTopup(*row[:8]), row[8].astimezone(UTC), _utc(row[9]))


def _topup_of(row: Sequence[Any]) -> Topup:
    return Topup(
        customer=row[0], id=row[1], asset=row[2], amount=row[3],
        price=Money(row[4], row[5]) if row[4] is not None else None, expires_after=row[6],
        state=row[7], requested_at=row[8].astimezone(UTC), charge_at=_utc(row[9]),
        attempts=row[10], settled_at=_utc(row[11]), reference=row[12], reason=row[13],
        grant=row[14],
    )  # fmt: skip


async def auto_topups_of(
    connection: Connection, customers: Collection[str]
) -> dict[str, tuple[AutoTopup, ...]]:
    """What is topped up of these customers, by asset."""
    cursor = await connection.execute(
        f"SELECT {_SETTINGS} FROM auto_topup WHERE customer = ANY(%s) ORDER BY customer, asset",
        [list(customers)],
    )
    found: dict[str, tuple[AutoTopup, ...]] = {}
    for row in await cursor.fetchall():
        found[row[0]] = (*found.get(row[0], ()), AutoTopup(*row))
    return found


async def settings(
    connection: Connection, customer: str, asset: str | None = None
) -> list[StoredAutoTopup]:
    """What is topped up of a customer, by asset; `asset` restricts to one."""
    cursor = await connection.execute(
        f"""
        SELECT {_SETTINGS}, updated_at, quiet_until FROM auto_topup
        WHERE customer = %(customer)s AND (%(asset)s::text IS NULL OR asset = %(asset)s)
        ORDER BY asset
        """,
        {"customer": customer, "asset": asset},
    )
    return [_stored_of(row) for row in await cursor.fetchall()]


async def put(connection: Connection, auto: AutoTopup, at: datetime) -> None:
    """Insert or replace settings; the wallet is to be looked at, and not quiet any more."""
    await connection.execute(
        _PUT,
        [
            auto.customer, auto.asset, auto.threshold, auto.target, auto.max_per_day,
            auto.max_per_month, auto.expires_after, auto.payment, at, at, at,
        ],
    )  # fmt: skip


async def delete(connection: Connection, customer: str, asset: str) -> None:
    """Delete settings."""
    await connection.execute(
        "DELETE FROM auto_topup WHERE customer = %s AND asset = %s", [customer, asset]
    )


async def mark_low(
    connection: Connection, posted: Mapping[WalletKey, Decimal], at: datetime
) -> None:
    """Have those of these wallets looked at that are low: locked ones with these balances, from
    which open holds reserve. One that waits for a top-up, or is quiet, is left.
    """
    rows = [
        {"customer": customer, "asset": asset, "posted": amount}
        for (customer, asset), amount in sorted(posted.items())
    ]
    await connection.execute(_MARK_LOW, {"rows": document(rows), "at": at})


async def look_again(connection: Connection, key: WalletKey, at: datetime) -> None:
    """Have a wallet that is topped up looked at when `at` has come, or before."""
    await connection.execute(
        """
        UPDATE auto_topup SET check_at = least(check_at, %s)
        WHERE customer = %s AND asset = %s AND (check_at IS NULL OR check_at > %s)
        """,
        [at, *key, at],
    )


async def set_looked(
    connection: Connection, key: WalletKey, check_at: datetime | None, quiet_until: datetime | None
) -> None:
    """Note that a wallet was looked at: when it is to be again, and until when it is quiet."""
    await connection.execute(
        "UPDATE auto_topup SET check_at = %s, quiet_until = %s WHERE customer = %s AND asset = %s",
        [check_at, quiet_until, *key],
    )


async def to_look_at(connection: Connection, at: datetime, limit: int) -> list[WalletKey]:
    """Wallets whose time to be looked at has come, the longest ago first."""
    cursor = await connection.execute(
        "SELECT customer, asset FROM auto_topup WHERE check_at <= %s ORDER BY check_at LIMIT %s",
        [at, limit],
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def next_due(connection: Connection) -> datetime | None:
    """When a wallet is to be looked at, or the gateway asked, next."""
    cursor = await connection.execute(
        "SELECT least((SELECT min(check_at) FROM auto_topup), (SELECT min(charge_at) FROM topup))"
    )
    row = await cursor.fetchone()
    return _utc(row[0]) if row else None


async def asked(
    connection: Connection,
    key: WalletKey,
    *,
    day: datetime,
    month: datetime,
    since: datetime,
    first: str,
) -> Asked:
    """What was asked for of a wallet from `day` and `month` on, what failed since `since`, and
    whether a top-up is open. Ids of what is looked at begin with `first`.
    """
    cursor = await connection.execute(
        _HISTORY,
        {"customer": key[0], "asset": key[1], "day": day, "month": month, "since": since,
         "first": first},
    )  # fmt: skip
    row = await cursor.fetchone()
    assert row is not None, "a sum has a row"
    return Asked(row[0], row[1], row[2], _utc(row[3]), row[4])


async def insert(connection: Connection, topup: Topup) -> bool:
    """Add an open top-up; False where its wallet has one."""
    price = topup.price
    cursor = await connection.execute(
        _INSERT,
        [
            topup.customer, topup.id, topup.asset, topup.amount, price.amount if price else None,
            price.asset if price else None, topup.expires_after, topup.requested_at,
            topup.charge_at,
        ],
    )  # fmt: skip
    return await cursor.fetchone() is not None


async def settle(connection: Connection, topup: Topup) -> None:
    """Write how a top-up, whose wallet is locked, was settled."""
    await connection.execute(
        _SETTLE,
        [
            topup.state, topup.settled_at, topup.reference, topup.reason, topup.grant,
            topup.customer, topup.id,
        ],
    )  # fmt: skip


async def find(
    connection: Connection, topup_id: str, *, customer: str | None = None
) -> Topup | None:
    """The top-up with this id, if there is one (and it is this customer's)."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM topup t
        WHERE t.id = %s AND (%s::text IS NULL OR t.customer = %s)
        """,
        [topup_id, customer, customer],
    )
    row = await cursor.fetchone()
    return _topup_of(row) if row else None


async def page(
    connection: Connection,
    *,
    customer: str | None,
    state: TopupStatus | None,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Topup]:
    """Top-ups by customer and age, after `after`; of one customer, in one state."""
    cursor = await connection.execute(
        _PAGE,
        {
            "customer": customer, "state": state,
            "customer_after": after[0] if after else None, "id_after": after[1] if after else None,
            "limit": limit,
        },
    )  # fmt: skip
    return [_topup_of(row) for row in await cursor.fetchall()]


async def to_charge(connection: Connection, at: datetime, limit: int) -> list[Topup]:
    """Open top-ups for whose money the gateway is to be asked, the longest ago first."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM topup t WHERE t.charge_at <= %s ORDER BY t.charge_at LIMIT %s",
        [at, limit],
    )
    return [_topup_of(row) for row in await cursor.fetchall()]


async def claim(connection: Connection, topup: Topup, next_at: datetime | None) -> bool:
    """Move on when the gateway is asked again; False where somebody else has asked or settled."""
    cursor = await connection.execute(
        """
        UPDATE topup SET charge_at = %s, attempts = attempts + 1
        WHERE customer = %s AND id = %s AND state = 'requested' AND charge_at = %s RETURNING true
        """,
        [next_at, topup.customer, topup.id, topup.charge_at],
    )
    return await cursor.fetchone() is not None
