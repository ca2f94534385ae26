"""Rows of `feature` and `customer_entitlement`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from taximeter.domain.catalog.entitlement import Entitlement
from taximeter.domain.catalog.entitlement_document import parse_entitlements

Connection = AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Agreed:
    """What was agreed with a customer for a feature: the entries as they were sent."""

    customer: str
    feature: str
    entries: Sequence[object]
    created_at: datetime
    updated_at: datetime


async def entitlements_of(
    connection: Connection, customers: Collection[str]
) -> dict[str, dict[str, tuple[Entitlement, ...]]]:
    """What was agreed with each of these customers alone, by feature."""
    cursor = await connection.execute(
        """
        SELECT customer, feature, entries FROM customer_entitlement
        WHERE customer = ANY(%s) ORDER BY customer, feature
        """,
        [list(customers)],
    )
    found: dict[str, dict[str, tuple[Entitlement, ...]]] = {}
    for customer, feature, entries in await cursor.fetchall():
        parsed = parse_entitlements(feature, {"entitlements": entries})
        found.setdefault(customer, {})[feature] = parsed
    return found


async def note_features(connection: Connection, features: Collection[str], at: datetime) -> None:
    """Let these features be known from now on."""
    await connection.execute(
        """
        INSERT INTO feature (key, created_at) SELECT unnest(%s::text[]), %s ON CONFLICT DO NOTHING
        """,
        [sorted(features), at],
    )


async def is_known(connection: Connection, feature: str) -> bool:
    """Whether a plan version or an agreement has ever named the feature."""
    cursor = await connection.execute("SELECT FROM feature WHERE key = %s", [feature])
    return await cursor.fetchone() is not None


async def find(connection: Connection, customer: str, feature: str) -> Agreed | None:
    """What was agreed with the customer for the feature, if anything was."""
    cursor = await connection.execute(
        """
        SELECT customer, feature, entries, created_at, updated_at FROM customer_entitlement
        WHERE customer = %s AND feature = %s
        """,
        [customer, feature],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    return Agreed(row[0], row[1], row[2], row[3].astimezone(UTC), row[4].astimezone(UTC))


async def limited_by(connection: Connection, meter: str) -> str | None:
    """A plan, or else a customer, with a quota of this meter; None where there is none."""
    cursor = await connection.execute(
        """
        SELECT 'plan ' || v.plan FROM plan_version v
        WHERE v.document -> 'entitlements' @> %(quota)s
        UNION ALL
        SELECT 'customer ' || e.customer FROM customer_entitlement e WHERE e.entries @> %(quota)s
        LIMIT 1
        """,
        {"quota": Jsonb([{"meter": meter}])},
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def put(connection: Connection, agreed: Agreed) -> None:
    """Store what was agreed, in place of what was before."""
    await connection.execute(
        """
        INSERT INTO customer_entitlement (customer, feature, entries, created_at, updated_at)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (customer, feature)
        DO UPDATE SET entries = EXCLUDED.entries, updated_at = EXCLUDED.updated_at
        """,
        [agreed.customer, agreed.feature, Jsonb(list(agreed.entries)), agreed.created_at,
         agreed.updated_at],
    )  # fmt: skip


async def delete(connection: Connection, customer: str, feature: str) -> None:
    """Forget what was agreed with the customer for the feature."""
    await connection.execute(
        "DELETE FROM customer_entitlement WHERE customer = %s AND feature = %s",
        [customer, feature],
    )
