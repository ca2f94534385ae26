"""Rows of `alert_definition` and `alert`: what is told, and what was."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.entitlement.alert import (
    Alert,
    AlertKind,
    AllowanceAlert,
    BalanceAlert,
    SpendAlert,
)
from taximeter.kernel.ids import first_id
from taximeter.storage.ingestion import document

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = 'customer, name, kind, asset, feature, "window", thresholds, created_at, updated_at'
_DEFINITIONS = f"""
SELECT {_COLUMNS} FROM alert_definition WHERE customer = ANY(%s) ORDER BY customer, name
"""
_FIND = f"SELECT {_COLUMNS} FROM alert_definition WHERE customer = %s AND name = %s"
_PAGE_DEFINITIONS = f"""
SELECT {_COLUMNS} FROM alert_definition
WHERE customer = %(customer)s AND (%(after)s::text IS NULL OR name > %(after)s)
ORDER BY name LIMIT %(limit)s
"""
_PUT = f"""
INSERT INTO alert_definition ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (customer, name) DO UPDATE SET kind = EXCLUDED.kind, asset = EXCLUDED.asset,
    feature = EXCLUDED.feature, "window" = EXCLUDED."window", thresholds = EXCLUDED.thresholds,
    updated_at = EXCLUDED.updated_at, look_at = NULL
"""
_DELETE = "DELETE FROM alert_definition WHERE customer = %s AND name = %s"
_LOCK = """
UPDATE alert_definition AS a SET updated_at = a.updated_at
FROM (
    SELECT DISTINCT ON (customer) customer, name FROM alert_definition
    WHERE customer = ANY(%s) AND kind = %s ORDER BY customer, name
) k
WHERE a.customer = k.customer AND a.name = k.name
"""
_RAISE = """
INSERT INTO alert (customer, kind, name, window_start, ordinal, threshold, id, at, data)
SELECT customer, kind, name, window_start, ordinal, threshold, id, at, data
FROM json_to_recordset(%s) AS r (customer text, kind text, name text, window_start timestamptz,
    ordinal integer, threshold numeric, id text, at timestamptz, data jsonb)
ON CONFLICT (customer, kind, name, window_start, ordinal, threshold) DO NOTHING
RETURNING id
"""
# The last round of each threshold of a balance.
_ROUNDS = """
SELECT DISTINCT ON (a.customer, a.name, a.threshold)
    a.customer, a.name, a.threshold, a.ordinal, a.rearmed_at IS NULL
FROM json_to_recordset(%s) AS k (customer text, name text, threshold numeric)
JOIN alert a ON a.customer = k.customer AND a.kind = 'balance.low' AND a.name = k.name
    AND a.threshold = k.threshold
ORDER BY a.customer, a.name, a.threshold, a.window_start DESC, a.ordinal DESC
"""
_REARM = """
UPDATE alert AS a SET rearmed_at = k.at
FROM json_to_recordset(%s) AS k (customer text, name text, threshold numeric, at timestamptz)
WHERE a.customer = k.customer AND a.kind = 'balance.low' AND a.name = k.name
    AND a.threshold = k.threshold AND a.rearmed_at IS NULL
"""
_REARM_ALL = """
UPDATE alert SET rearmed_at = %s
WHERE customer = %s AND kind = 'balance.low' AND name = %s AND rearmed_at IS NULL
"""
_CHANGED = """
SELECT DISTINCT customer, asset FROM alert_definition WHERE look_at <= %s
ORDER BY customer, asset LIMIT %s
"""
_PLAN_LOOK = """
UPDATE alert_definition SET look_at = (
    SELECT min(t.at) FROM credit_grant g
    CROSS JOIN LATERAL (VALUES (g.effective_at), (g.expires_at)) AS t (at)
    WHERE g.customer = %(customer)s AND g.asset = %(asset)s AND g.voided_at IS NULL
        AND t.at > %(at)s
)
WHERE customer = %(customer)s AND asset = %(asset)s AND kind = 'balance'
"""
_NEXT_ORDINAL = """
SELECT coalesce(max(ordinal) + 1, 0) FROM alert WHERE customer = %s AND kind = %s AND name = %s
"""
_PAGE = """
SELECT customer, kind, name, window_start, ordinal, threshold, id, at, data, rearmed_at FROM alert
WHERE (%(customer)s::text IS NULL OR customer = %(customer)s)
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(before)s::text IS NULL OR id < %(before)s)
  AND (%(since)s::text IS NULL OR id >= %(since)s)
ORDER BY id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """A definition, and when it was made and changed."""

    alert: Alert
    created_at: datetime
    updated_at: datetime


class Raised(NamedTuple):
    """A threshold that was crossed: once in the window that begins at `window_start`, and in its
    `ordinal` there. `data` are the figures then.
    """

    customer: str
    kind: AlertKind
    name: str
    window_start: datetime
    ordinal: int
    threshold: Decimal
    id: str
    at: datetime
    data: Mapping[str, object]
    rearmed_at: datetime | None = None


class Threshold(NamedTuple):
    """A threshold of a definition of a customer's."""

    customer: str
    name: str
    threshold: Decimal


def _alert_of(row: Sequence[Any]) -> Alert:
    customer, name, kind, asset, feature, window, thresholds = row[:7]
    if kind == "balance":
        return BalanceAlert(customer, name, asset, tuple(thresholds))
    if kind == "spend":
        return SpendAlert(customer, name, asset, window, tuple(thresholds))
    return AllowanceAlert(customer, name, feature, tuple(thresholds))


def _stored_of(row: Sequence[Any]) -> StoredAlert:
    return StoredAlert(_alert_of(row), row[7].astimezone(UTC), row[8].astimezone(UTC))


async def alerts_of(
    connection: Connection, customers: Collection[str]
) -> dict[str, tuple[Alert, ...]]:
    """What is told of these customers, by name."""
    cursor = await connection.execute(_DEFINITIONS, [list(customers)])
    found: dict[str, tuple[Alert, ...]] = {}
    for row in await cursor.fetchall():
        found[row[0]] = (*found.get(row[0], ()), _alert_of(row))
    return found


async def find(connection: Connection, customer: str, name: str) -> StoredAlert | None:
    """The definition of this name, if there is one."""
    cursor = await connection.execute(_FIND, [customer, name])
    row = await cursor.fetchone()
    return _stored_of(row) if row else None


async def page_definitions(
    connection: Connection, customer: str, *, after: str | None, limit: int
) -> list[StoredAlert]:
    """A customer's definitions by name, after `after`."""
    cursor = await connection.execute(
        _PAGE_DEFINITIONS, {"customer": customer, "after": after, "limit": limit}
    )
    return [_stored_of(row) for row in await cursor.fetchall()]


async def put(connection: Connection, stored: StoredAlert) -> None:
    """Write a definition, in place of the one of its name."""
    alert = stored.alert
    asset = feature = window = None
    if isinstance(alert, BalanceAlert):
        kind, asset, thresholds = "balance", alert.asset, alert.below
    elif isinstance(alert, SpendAlert):
        kind, asset, window, thresholds = "spend", alert.asset, alert.window, alert.at
    else:
        kind, feature, thresholds = "allowance", alert.feature, alert.at
    await connection.execute(
        _PUT,
        [
            alert.customer, alert.name, kind, asset, feature, window, list(thresholds),
            stored.created_at, stored.updated_at,
        ],
    )  # fmt: skip


async def delete(connection: Connection, customer: str, name: str) -> None:
    """Take a definition away."""
    await connection.execute(_DELETE, [customer, name])


async def send_lock(
    connection: Connection, customers: Collection[str], kind: Literal["spend", "allowance"]
) -> None:
    """Lock the first definition of this kind of each of these customers: who holds it alone counts
    what it tells.
    """
    await connection.execute(_LOCK, [list(customers), kind])


async def rounds_of(
    connection: Connection, thresholds: Collection[Threshold]
) -> dict[Threshold, tuple[int, bool]]:
    """The last round in which each of these thresholds was told, and whether it still holds: the
    balance was not above since. Those that were never told are left out.
    """
    rows = [one._asdict() for one in thresholds]
    cursor = await connection.execute(_ROUNDS, [document(rows)])
    return {Threshold(*row[:3]): (row[3], row[4]) for row in await cursor.fetchall()}


async def rearm(connection: Connection, thresholds: Collection[Threshold], at: datetime) -> None:
    """Note that the balance was above these thresholds again."""
    rows = [{**one._asdict(), "at": at} for one in thresholds]
    await connection.execute(_REARM, [document(rows)])


async def rearm_all(connection: Connection, customer: str, name: str, at: datetime) -> None:
    """Let all thresholds of a definition be told anew."""
    await connection.execute(_REARM_ALL, [at, customer, name])


async def changed_balances(
    connection: Connection, at: datetime, limit: int
) -> list[tuple[str, str]]:
    """The wallets, (customer, asset) each, whose balance is told and may have changed by itself
    by `at`.
    """
    cursor = await connection.execute(_CHANGED, [at, limit])
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def next_change(connection: Connection) -> datetime | None:
    """When, maybe in the past, a balance that is told next may change by itself."""
    cursor = await connection.execute("SELECT min(look_at) FROM alert_definition")
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


async def plan_look(connection: Connection, customer: str, asset: str, at: datetime) -> None:
    """Note when the balance of a wallet may next change by itself after `at`: whoever adds a grant
    to one that is told says so.
    """
    await connection.execute(_PLAN_LOOK, {"customer": customer, "asset": asset, "at": at})


async def next_ordinal(connection: Connection, customer: str, kind: AlertKind, name: str) -> int:
    """The first ordinal that no alert of this name was raised in, in any window."""
    cursor = await connection.execute(_NEXT_ORDINAL, [customer, kind, name])
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has a row"
    return int(row[0])


async def insert_raised(connection: Connection, raised: Sequence[Raised]) -> set[str]:
    """Remember what was crossed; the ids of those that were not raised before."""
    rows = [{**one._asdict(), "data": one.data} for one in raised]
    cursor = await connection.execute(_RAISE, [document(rows)])
    return {row[0] for row in await cursor.fetchall()}


async def page(
    connection: Connection,
    *,
    customer: str | None,
    kind: AlertKind | None,
    before: str | None,
    limit: int,
    since: datetime | None = None,
) -> list[Raised]:
    """What was raised, newest first, before `before`; of one customer, of one kind, from the
    instant `since` on.
    """
    first = first_id("alert", since) if since is not None else None
    cursor = await connection.execute(
        _PAGE,
        {"customer": customer, "kind": kind, "before": before, "since": first, "limit": limit},
    )
    return [_raised_of(row) for row in await cursor.fetchall()]


def _raised_of(row: Sequence[Any]) -> Raised:
    return Raised(
        row[0], row[1], row[2], row[3].astimezone(UTC), row[4], row[5], row[6],
        row[7].astimezone(UTC), row[8], row[9].astimezone(UTC) if row[9] else None,
    )  # fmt: skip
