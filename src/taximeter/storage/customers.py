"""Rows of `customer`."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from taximeter.domain.subscription.customer import Customer
from taximeter.storage.terms import customer_of

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = "customer, currency, timezone, enforcement, document, created_at, updated_at"
_READ = f"{_COLUMNS}, archived"
_FIND = f"SELECT {_READ} FROM customer WHERE customer = %s"
_LOCK = f"{_FIND} FOR UPDATE"


async def find(connection: Connection, key: str, *, lock: bool = False) -> Customer | None:
    """The customer `key`, if there is one; with `lock` no other transaction changes it."""
    cursor = await connection.execute(_LOCK if lock else _FIND, [key])
    row = await cursor.fetchone()
    return customer_of(row) if row else None


async def put(connection: Connection, customer: Customer) -> None:
    """Insert or replace a customer."""
    await connection.execute(
        f"""
        INSERT INTO customer ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (customer) DO UPDATE SET currency = EXCLUDED.currency,
            timezone = EXCLUDED.timezone, enforcement = EXCLUDED.enforcement,
            document = EXCLUDED.document, updated_at = EXCLUDED.updated_at
        """,
        [
            customer.key, customer.currency, customer.timezone, customer.enforcement,
            Jsonb(dict(customer.document)), customer.created_at, customer.updated_at,
        ],
    )  # fmt: skip


async def page(
    connection: Connection, *, after: str | None, only: str | None, limit: int
) -> list[Customer]:
    """Customers by key, after `after`; `only` restricts to one key."""
    cursor = await connection.execute(
        f"""
        SELECT {_READ} FROM customer
        WHERE (%(after)s::text IS NULL OR customer > %(after)s)
          AND (%(only)s::text IS NULL OR customer = %(only)s)
        ORDER BY customer LIMIT %(limit)s
        """,
        {"after": after, "only": only, "limit": limit},
    )
    return [customer_of(row) for row in await cursor.fetchall()]


async def has_subscriptions(connection: Connection, key: str) -> bool:
    """Whether the customer has, or ever had, a subscription."""
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM subscription WHERE customer = %s)", [key]
    )
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])
