"""Rows of `budget`, `budget_spend` and `suspension`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.entitlement.budget import Budget
from taximeter.domain.entitlement.suspension import Suspension
from taximeter.storage.columns import Columns

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

_COLUMNS = """
customer, name, path, asset, limit_amount, "window", enforcement, alerts, set_by, revision,
approve_above
"""
_BUDGETS = f"""
SELECT {_COLUMNS}
FROM budget WHERE customer = ANY(%s) ORDER BY customer, name
"""
_SUSPENSIONS = """
SELECT customer, path, reason, at, set_by FROM suspension
WHERE customer = ANY(%s) ORDER BY customer, path
"""
_PUT = f"""
INSERT INTO budget ({_COLUMNS}, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (customer, name) DO UPDATE SET path = EXCLUDED.path, asset = EXCLUDED.asset,
    limit_amount = EXCLUDED.limit_amount, "window" = EXCLUDED."window",
    enforcement = EXCLUDED.enforcement, alerts = EXCLUDED.alerts, set_by = EXCLUDED.set_by,
    revision = EXCLUDED.revision, approve_above = EXCLUDED.approve_above,
    updated_at = EXCLUDED.updated_at
"""
_SUSPEND = """
INSERT INTO suspension (customer, path, reason, at, set_by) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (customer, path) DO UPDATE SET reason = EXCLUDED.reason, set_by = EXCLUDED.set_by
"""
_LOCK = """
UPDATE budget AS b SET updated_at = b.updated_at
FROM (
    SELECT DISTINCT ON (customer) customer, name FROM budget
    WHERE customer = ANY(%s) ORDER BY customer, name
) k
WHERE b.customer = k.customer AND b.name = k.name
"""
_WINDOWS = Columns("k", "customer text, name text, window_start timestamptz")
_SPENT = f"""
SELECT s.customer, s.name, s.spent FROM budget_spend s
JOIN {_WINDOWS}
    ON s.customer = k.customer AND s.name = k.name AND s.window_start = k.window_start
"""
_SPENDS = Columns("r", "customer text, name text, window_start timestamptz, spent numeric")
_ADD_SPEND = f"""
INSERT INTO budget_spend AS s (customer, name, window_start, spent)
SELECT customer, name, window_start, spent FROM {_SPENDS}
ON CONFLICT (customer, name, window_start) DO UPDATE SET spent = s.spent + EXCLUDED.spent
RETURNING customer, name, window_start, spent
"""
_FORGET_SPEND = "DELETE FROM budget_spend WHERE customer = %s AND name = %s"


class SpendRow(NamedTuple):
    """An amount charged within the window of a budget that begins at `window_start`."""

    customer: str
    name: str
    window_start: datetime
    spent: Decimal


def budget_of(row: Sequence[Any]) -> Budget:
    """The budget of a row of its columns."""
    return Budget(row[0], row[1], row[2], row[3], row[4], row[5], row[6], tuple(row[7]), *row[8:])


def suspension_of(row: Sequence[Any]) -> Suspension:
    """The suspension of a row of its columns."""
    return Suspension(row[0], row[1] or None, row[2], row[3].astimezone(UTC), row[4])


async def budgets_of(
    connection: Connection, customers: Collection[str]
) -> dict[str, tuple[Budget, ...]]:
    """The budgets of these customers, by name."""
    cursor = await connection.execute(_BUDGETS, [list(customers)])
    found: dict[str, tuple[Budget, ...]] = {}
    for row in await cursor.fetchall():
        found[row[0]] = (*found.get(row[0], ()), budget_of(row))
    return found


async def suspensions_of(
    connection: Connection, customers: Collection[str]
) -> dict[str, tuple[Suspension, ...]]:
    """What of these customers is suspended."""
    cursor = await connection.execute(_SUSPENSIONS, [list(customers)])
    found: dict[str, tuple[Suspension, ...]] = {}
    for row in await cursor.fetchall():
        found[row[0]] = (*found.get(row[0], ()), suspension_of(row))
    return found


async def put(connection: Connection, budget: Budget, at: datetime) -> None:
    """Insert or replace a budget."""
    await connection.execute(
        _PUT,
        [
            budget.customer, budget.name, budget.path, budget.asset, budget.limit, budget.window,
            budget.enforcement, list(budget.alerts), budget.set_by, budget.revision,
            budget.approve_above, at, at,
        ],
    )  # fmt: skip


async def delete(connection: Connection, customer: str, name: str) -> None:
    """Delete a budget, and what was spent within it."""
    await forget_spend(connection, customer, name)
    await connection.execute(
        "DELETE FROM budget WHERE customer = %s AND name = %s", [customer, name]
    )


async def suspend(connection: Connection, suspension: Suspension) -> None:
    """Insert a suspension, or give the one that is there its reason and who set it."""
    await connection.execute(
        _SUSPEND,
        [
            suspension.customer, suspension.path or "", suspension.reason, suspension.at,
            suspension.set_by,
        ],
    )  # fmt: skip


async def resume(connection: Connection, customer: str, path: str | None) -> None:
    """Delete the suspension of this very path, if there is one."""
    await connection.execute(
        "DELETE FROM suspension WHERE customer = %s AND path = %s", [customer, path or ""]
    )


async def send_lock(connection: Connection, customers: Collection[str]) -> None:
    """Lock the first budget of each of these customers: whoever prices a change of totals by more
    than the change alone takes this turn before it reads the rest.
    """
    await connection.execute(_LOCK, [sorted(customers)])


async def send_spent(connection: Connection, keys: Collection[tuple[str, str, datetime]]) -> Cursor:
    """Ask what was spent in these windows, (customer, budget, start) each; `found_spent` reads the
    answer.
    """
    return await connection.execute(_SPENT, _WINDOWS.of_tuples(keys))


async def found_spent(cursor: Cursor) -> dict[tuple[str, str], Decimal]:
    """What `send_spent` asked for, by customer and budget; nothing was spent where none is."""
    return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


async def add_spend(
    connection: Connection, spends: Mapping[tuple[str, str, datetime], Decimal]
) -> list[SpendRow]:
    """Add to what was spent in these windows; returns each as it is then."""
    rows = [(*window, spends[window]) for window in sorted(spends)]
    cursor = await connection.execute(_ADD_SPEND, _SPENDS.of_tuples(rows))
    return [
        SpendRow(row[0], row[1], row[2].astimezone(UTC), row[3]) for row in await cursor.fetchall()
    ]


async def forget_spend(connection: Connection, customer: str, name: str) -> None:
    """Let what was counted under this name begin anew."""
    await connection.execute(_FORGET_SPEND, [customer, name])
