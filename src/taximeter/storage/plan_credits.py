"""What plans granted: rows of `credit_grant` that a plan made, and when a plan grants next."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.credit.wallet import Grant
from taximeter.domain.subscription.subscription import Subscription
from taximeter.storage.wallets import GRANT_COLUMNS, grant_of

Connection = AsyncConnection[tuple[Any, ...]]

_GRANTED = """
SELECT credit, step_start, step_units, amount FROM credit_grant
WHERE customer = %s AND subscription = %s AND step_start >= %s AND step_units > 0
"""
_ENDING = f"""
SELECT {GRANT_COLUMNS} FROM credit_grant g
WHERE g.customer = %s AND g.subscription = %s AND g.credit = %s AND g.expires_at = %s
  AND g.voided_at IS NULL AND g.remaining > 0
"""
_ROLLED = """
SELECT EXISTS (
    SELECT FROM credit_grant
    WHERE customer = %s AND subscription = %s AND credit = %s AND step_start = %s
      AND step_units = 0
)
"""


class Granted(NamedTuple):
    """A grant that was made for a step of a credit."""

    credit: str
    step_start: datetime
    units: Decimal
    amount: Decimal


async def granted(
    connection: Connection, subscription: Subscription, since: datetime
) -> list[Granted]:
    """The grants made for steps that start at `since` or later, without what rolled over."""
    cursor = await connection.execute(
        _GRANTED, [subscription.customer, subscription.id, since]
    )  # fmt: skip
    return [
        Granted(row[0], row[1].astimezone(UTC), row[2], row[3]) for row in await cursor.fetchall()
    ]


async def ending_grants(
    connection: Connection, subscription: Subscription, credit: str, at: datetime
) -> list[Grant]:
    """The grants of a credit that expire at the very instant `at` with something left."""
    cursor = await connection.execute(
        _ENDING, [subscription.customer, subscription.id, credit, at]
    )  # fmt: skip
    return [grant_of(row) for row in await cursor.fetchall()]


async def has_rolled(
    connection: Connection, subscription: Subscription, credit: str, step_start: datetime
) -> bool:
    """Whether something was rolled over into the step already."""
    cursor = await connection.execute(
        _ROLLED, [subscription.customer, subscription.id, credit, step_start]
    )  # fmt: skip
    row = await cursor.fetchone()
    return bool(row and row[0])


async def next_grant(connection: Connection, subscription: Subscription) -> datetime | None:
    """When the subscription's plan grants next, as stored; its row must be locked."""
    cursor = await connection.execute(
        "SELECT next_grant FROM subscription WHERE customer = %s AND id = %s",
        [subscription.customer, subscription.id],
    )
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


async def set_next_grant(
    connection: Connection, subscription: Subscription, at: datetime | None
) -> None:
    """Write when the subscription's plan grants next (None: never)."""
    await connection.execute(
        "UPDATE subscription SET next_grant = %s WHERE customer = %s AND id = %s",
        [at, subscription.customer, subscription.id],
    )


async def due(connection: Connection, at: datetime, limit: int) -> list[tuple[str, str]]:
    """Subscriptions (customer, id) whose plan grants at or before `at`, earliest first."""
    cursor = await connection.execute(
        """
        SELECT customer, id FROM subscription WHERE next_grant <= %s
        ORDER BY next_grant, customer, id LIMIT %s
        """,
        [at, limit],
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def next_due(connection: Connection) -> datetime | None:
    """The earliest instant at which any plan grants."""
    cursor = await connection.execute("SELECT min(next_grant) FROM subscription")
    row = await cursor.fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None
