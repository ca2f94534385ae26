"""Rows of `approval` and `approval_use`: what somebody was asked for, decided, and holds used."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.entitlement.approval import Approval, ApprovalState
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

_COLUMNS = """
a.customer, a.id, a.budget, a.path, a.asset, a.amount, a.feature, a.threshold, a.set_by, a.asked_at,
a.expires_at, a.decision, a.allowed, a.uses, a.used, a.decided_at, a.decided_by, a.decided_as
"""
_LOCK = f"""
UPDATE approval AS a SET used = a.used
FROM json_to_recordset(%s) AS k (customer text, id text)
WHERE a.customer = k.customer AND a.id = k.id
RETURNING {_COLUMNS}
"""
_USE = """
UPDATE approval AS a SET used = a.used + k.holds, stands = a.used + k.holds < a.uses
FROM json_to_recordset(%s) AS k (customer text, approval text, holds integer)
WHERE a.customer = k.customer AND a.id = k.approval
"""
_INSERT_USES = """
INSERT INTO approval_use (customer, approval, hold, at)
SELECT customer, approval, hold, at
FROM json_to_recordset(%s) AS r (customer text, approval text, hold text, at timestamptz)
"""
_LAPSE = """
UPDATE approval AS a SET stands = false FROM json_to_recordset(%s) AS k (customer text)
WHERE a.customer = k.customer AND a.stands AND a.expires_at <= %s
"""
_STANDING = f"""
SELECT {_COLUMNS}
FROM json_to_recordset(%s) AS k (customer text, budget text, path text, asset text, amount numeric,
    feature text)
JOIN approval a ON a.customer = k.customer AND a.stands AND a.budget = k.budget AND a.path = k.path
    AND a.asset = k.asset AND a.amount = k.amount AND a.feature = k.feature
"""
_PENDING = """
SELECT k.customer, count(*) FROM json_to_recordset(%s) AS k (customer text)
JOIN approval a ON a.customer = k.customer AND a.stands AND a.decision IS NULL
GROUP BY k.customer
"""
_INSERT = """
INSERT INTO approval (customer, id, budget, path, asset, amount, feature, threshold, set_by,
    asked_at, expires_at, uses, used, stands)
SELECT customer, id, budget, path, asset, amount, feature, threshold, set_by, asked_at, expires_at,
    0, 0, true
FROM json_to_recordset(%s) AS r (customer text, id text, budget text, path text, asset text,
    amount numeric, feature text, threshold numeric, set_by text, asked_at timestamptz,
    expires_at timestamptz)
"""
_FIND = f"SELECT {_COLUMNS} FROM approval a WHERE a.customer = %s AND a.id = %s"
_DECIDE = """
UPDATE approval SET decision = %s, allowed = %s, uses = %s, expires_at = %s, decided_at = %s,
    decided_by = %s, decided_as = %s
WHERE customer = %s AND id = %s
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM approval a
WHERE (%(customer)s::text IS NULL OR a.customer = %(customer)s)
  AND (%(before)s::text IS NULL OR a.id < %(before)s)
  AND (%(state)s::text IS NULL
    OR (%(state)s = 'pending' AND a.decision IS NULL AND a.expires_at > %(at)s)
    OR (%(state)s = 'declined' AND a.decision = 'declined')
    OR (%(state)s = 'used' AND a.decision = 'approved' AND a.used >= a.uses)
    OR (%(state)s = 'approved' AND a.decision = 'approved' AND a.used < a.uses
        AND a.expires_at > %(at)s)
    OR (%(state)s = 'expired' AND a.expires_at <= %(at)s AND (a.decision IS NULL
        OR a.decision = 'approved' AND a.used < a.uses)))
ORDER BY a.id DESC LIMIT %(limit)s
"""
_HOLDS = """
SELECT hold FROM approval_use WHERE customer = %s AND approval = %s ORDER BY hold LIMIT %s
"""


class Same(NamedTuple):
    """What makes two wishes one; `path` and `feature` are '' where there is none."""

    customer: str
    budget: str
    path: str
    asset: str
    amount: Decimal
    feature: str


class Use(NamedTuple):
    """A hold that was placed by an approval."""

    customer: str
    approval: str
    hold: str
    at: datetime


def same_of(approval: Approval) -> Same:
    """What is one with this approval."""
    return Same(
        approval.customer, approval.budget, approval.path or "", approval.asset, approval.amount,
        approval.feature or "",
    )  # fmt: skip


def _approval_of(row: Sequence[Any]) -> Approval:
    return Approval(
        customer=row[0], id=row[1], budget=row[2], path=row[3] or None, asset=row[4],
        amount=row[5], feature=row[6] or None, threshold=row[7], set_by=row[8],
        asked_at=row[9].astimezone(UTC), expires_at=row[10].astimezone(UTC), decision=row[11],
        allowed=row[12], uses=row[13], used=row[14],
        decided_at=row[15].astimezone(UTC) if row[15] else None, decided_by=row[16],
        decided_as=row[17],
    )  # fmt: skip


def _keys(customers: Iterable[str]) -> str:
    return document([{"customer": customer} for customer in sorted(customers)])


async def send_lock(connection: Connection, keys: Collection[tuple[str, str]]) -> Cursor:
    """Lock those of these approvals, (customer, id) each, that exist; `locked` reads the answer."""
    rows = [{"customer": customer, "id": approval_id} for customer, approval_id in sorted(keys)]
    return await connection.execute(_LOCK, [document(rows)])


async def locked(cursor: Cursor) -> dict[str, dict[str, Approval]]:
    """The approvals that `send_lock` locked, by customer and id."""
    found: dict[str, dict[str, Approval]] = {}
    for row in await cursor.fetchall():
        found.setdefault(row[0], {})[row[1]] = _approval_of(row)
    return found


async def use(connection: Connection, uses: Sequence[Use]) -> None:
    """Note that these holds were placed by approvals, which are locked and allow it."""
    counts: dict[tuple[str, str], int] = {}
    for one in uses:
        counts[one.customer, one.approval] = counts.get((one.customer, one.approval), 0) + 1
    rows = [{"customer": c, "approval": a, "holds": counts[c, a]} for c, a in sorted(counts)]
    await connection.execute(_USE, [document(rows)])
    await connection.execute(_INSERT_USES, [document([one._asdict() for one in uses])])


async def lapse(connection: Connection, customers: Collection[str], at: datetime) -> None:
    """Let those of these customers' that ended by `at` be asked for anew."""
    await connection.execute(_LAPSE, [_keys(customers), at])


async def send_standing(connection: Connection, wishes: Collection[Same]) -> Cursor:
    """Ask for what stands for these wishes; `found_standing` reads the answer."""
    return await connection.execute(_STANDING, [document([one._asdict() for one in wishes])])


async def found_standing(cursor: Cursor) -> dict[Same, Approval]:
    """What `send_standing` asked for."""
    found = [_approval_of(row) for row in await cursor.fetchall()]
    return {same_of(approval): approval for approval in found}


async def pending(connection: Connection, customers: Collection[str]) -> dict[str, int]:
    """How many stand of each of these customers and are not decided; of those who have any."""
    cursor = await connection.execute(_PENDING, [_keys(customers)])
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def insert(connection: Connection, approvals: Sequence[Approval]) -> None:
    """Add what somebody is asked for; nothing stands for the same."""
    rows = [
        {
            **same_of(one)._asdict(), "id": one.id, "threshold": one.threshold,
            "set_by": one.set_by, "asked_at": one.asked_at, "expires_at": one.expires_at,
        }
        for one in approvals
    ]  # fmt: skip
    await connection.execute(_INSERT, [document(rows)])


async def customer_of(connection: Connection, approval_id: str) -> str | None:
    """Whose approval this is."""
    cursor = await connection.execute("SELECT customer FROM approval WHERE id = %s", [approval_id])
    row = await cursor.fetchone()
    return row[0] if row else None


async def find(
    connection: Connection, customer: str, approval_id: str, *, lock: bool = False
) -> Approval | None:
    """The customer's approval with this id; with `lock` nobody else decides or uses it."""
    statement = f"{_FIND} FOR UPDATE" if lock else _FIND
    cursor = await connection.execute(statement, [customer, approval_id])
    row = await cursor.fetchone()
    return _approval_of(row) if row else None


async def decide(connection: Connection, approval: Approval) -> None:
    """Write what was decided about an approval, which is locked."""
    await connection.execute(
        _DECIDE,
        [
            approval.decision, approval.allowed, approval.uses, approval.expires_at,
            approval.decided_at, approval.decided_by, approval.decided_as, approval.customer,
            approval.id,
        ],
    )  # fmt: skip


async def page(
    connection: Connection,
    *,
    customer: str | None,
    state: ApprovalState | None,
    at: datetime,
    before: str | None,
    limit: int,
) -> list[Approval]:
    """Approvals, newest first, before `before`; of one customer, in one state at `at`."""
    cursor = await connection.execute(
        _PAGE,
        {"customer": customer, "state": state, "at": at, "before": before, "limit": limit},
    )
    return [_approval_of(row) for row in await cursor.fetchall()]


async def holds_of(
    connection: Connection, customer: str, approval_id: str, limit: int
) -> list[str]:
    """The ids of the first holds that were placed by an approval."""
    cursor = await connection.execute(_HOLDS, [customer, approval_id, limit])
    return [row[0] for row in await cursor.fetchall()]
