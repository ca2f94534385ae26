"""Customers: put, get, list."""

from collections.abc import Mapping

from taximeter.domain.catalog.plan import Enforcement
from taximeter.domain.subscription.customer import Customer
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.command import Transaction
from taximeter.services.context import Context
from taximeter.services.release import release_customer
from taximeter.storage import customers as storage
from taximeter.storage.terms import note_change


async def put_customer(
    transaction: Transaction,
    key: str,
    *,
    currency: str,
    timezone: str,
    enforcement: Enforcement,
    document: Mapping[str, object],
) -> tuple[Customer, bool]:
    """Create or replace the customer; returns it and whether it is new. Quarantined events that
    waited for it are released in the same transaction.

    Raises `Invalid` where a customer with subscriptions would change currency or time zone: the
    boundaries of periods that were billed must not move.
    """
    connection, at = transaction.connection, transaction.at
    await note_change(connection, key, at)
    before = await storage.find(connection, key, lock=True)
    if before and (before.currency != currency or before.timezone != timezone):
        if await storage.has_subscriptions(connection, key):
            field = "currency" if before.currency != currency else "timezone"
            detail = f"A customer with subscriptions keeps its {field} ({getattr(before, field)})."
            raise Invalid([FieldError(field, "immutable", detail)])
    customer = Customer(
        key=key, currency=currency, timezone=timezone, enforcement=enforcement,
        document=document, created_at=before.created_at if before else at, updated_at=at,
    )  # fmt: skip
    await storage.put(connection, customer)
    await transaction.audit(
        "customer.updated" if before else "customer.created", key,
        {"before": before.document if before else None, "after": document},
    )  # fmt: skip
    if before is None:
        await release_customer(transaction, key)
    return customer, before is None


async def get_customer(context: Context, key: str) -> Customer:
    """The customer `key`. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        customer = await storage.find(connection, key)
    if customer is None:
        raise NotFound(kind="customer", key=key)
    return customer


async def list_customers(
    context: Context, *, only: str | None, limit: int, cursor: str | None
) -> Page[Customer]:
    """Customers by key; `only` is the customer that the caller is confined to."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, after=after[0] if after else None, only=only, limit=limit + 1
        )
    return make_page(rows, limit, lambda customer: (customer.key,))
