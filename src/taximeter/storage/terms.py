"""Rows of the catalog, customers and subscriptions, as domain values.

Owns the reading of what prices usage, and the change log that keeps caches honest.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.subscription.customer import Customer, CustomerTerms
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.times import Anchor, parse_duration
from taximeter.storage.alerts import alerts_of
from taximeter.storage.budgets import budgets_of, suspensions_of
from taximeter.storage.entitlements import entitlements_of
from taximeter.storage.meters import COUNTS_FROM
from taximeter.storage.phases import phase_of
from taximeter.storage.topups import auto_topups_of

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

_CHANGES = "SELECT id, customer FROM cache_change WHERE id > %s ORDER BY id"
_FIRST_CHANGE = "SELECT max(id), NULL FROM cache_change HAVING max(id) IS NOT NULL"
_METERS = f"""
SELECT key, version, document, {COUNTS_FROM} FROM meter ORDER BY key, version
"""
_CUSTOMERS = """
SELECT customer, currency, timezone, enforcement, document, created_at, updated_at, archived
FROM customer WHERE customer = ANY(%s)
"""
SUBSCRIPTION_COLUMNS = """
s.customer, s.id, s.key, s.anchor_local, s.timezone, s.starts_at, s.ends_at, s.cancelled_at,
s.term_ends_at, s.credit_unused, s.net_terms_days, s.created_at, s.term, p.starts_at, p.ends_at,
p.plan, p.version, p.quantities, p.proration, p.deal, p.said, v.document
"""
_SUBSCRIPTIONS = f"""
SELECT {SUBSCRIPTION_COLUMNS}
FROM subscription s
JOIN subscription_phase p ON p.customer = s.customer AND p.subscription = s.id
JOIN plan_version v ON v.plan = p.plan AND v.version = p.version
WHERE s.customer = ANY(%s)
ORDER BY s.customer, s.created_at, s.id, p.starts_at
"""


async def note_change(connection: Connection, customer: str | None, at: datetime) -> None:
    """Tell caches that a customer's terms (None: the catalog) change with this transaction.

    Must come first in its transaction: it waits for ingestion to finish and keeps it waiting.
    """
    await connection.execute(
        "INSERT INTO cache_change (customer, at) VALUES (%s, %s)", [customer, at]
    )


async def keep_out(connection: Connection) -> None:
    """Keep ingestion and holds, and whoever changes terms or corrects usage, out until the
    transaction ends: it must be short. Must come first in it.
    """
    await connection.execute("LOCK TABLE cache_change IN SHARE ROW EXCLUSIVE MODE")


async def lock_changes(connection: Connection, seen: int) -> list[tuple[int, str | None]]:
    """Keep writers of terms out until the transaction ends; what changed after `seen`.

    The lock is a table's, because its queue is fair: a writer is never starved by ingestion.
    """
    return await found_changes(await send_lock_changes(connection, seen))


async def send_lock_changes(connection: Connection, seen: int) -> Cursor:
    """As `lock_changes`; `found_changes` reads the answer."""
    await connection.execute("LOCK TABLE cache_change IN SHARE MODE")
    if seen < 0:
        return await connection.execute(_FIRST_CHANGE)
    return await connection.execute(_CHANGES, [seen])


async def found_changes(cursor: Cursor) -> list[tuple[int, str | None]]:
    """What `send_lock_changes` asked for."""
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def current_meters(connection: Connection) -> list[Meter]:
    """The newest version of every meter, by key."""
    newest = {meter.key: meter for _, meter in await meter_versions(connection)}
    return list(newest.values())


async def meter_versions(connection: Connection) -> list[tuple[datetime, Meter]]:
    """All versions of all meters, by key and version, each with from when on it counts."""
    cursor = await connection.execute(_METERS)
    found: list[tuple[datetime, Meter]] = []
    for key, version, document, counts_from in await cursor.fetchall():
        meter = parse_meter(key, document, version=version)
        before = found[-1][1] if found else None
        if before is not None and before.key == key and _alike(before, meter):
            meter = replace(meter, series=before.series)
        else:
            meter = replace(meter, series=version)
        found.append((counts_from.astimezone(UTC), meter))
    return found


def _alike(before: Meter, after: Meter) -> bool:
    """Whether what two versions of a meter count is one quantity."""
    return (before.aggregation, before.bucket) == (after.aggregation, after.bucket)


async def customer_terms(
    connection: Connection, customers: Sequence[str]
) -> dict[str, CustomerTerms]:
    """The terms of those of these customers that exist."""
    cursor = await connection.execute(_CUSTOMERS, [list(customers)])
    found = [customer_of(row) for row in await cursor.fetchall()]
    cursor = await connection.execute(_SUBSCRIPTIONS, [list(customers)])
    subscriptions = subscriptions_of(await cursor.fetchall())
    budgets = await budgets_of(connection, customers)
    suspensions = await suspensions_of(connection, customers)
    alerts = await alerts_of(connection, customers)
    entitlements = await entitlements_of(connection, customers)
    auto_topups = await auto_topups_of(connection, customers)
    return {
        customer.key: CustomerTerms(
            customer, tuple(subscriptions.get(customer.key, ())), budgets.get(customer.key, ()),
            suspensions.get(customer.key, ()), alerts.get(customer.key, ()),
            entitlements.get(customer.key, {}), auto_topups.get(customer.key, ()),
        )
        for customer in found
    }  # fmt: skip


def customer_of(row: Sequence[Any]) -> Customer:
    """The customer of a row of (customer, currency, timezone, enforcement, document, times,
    archived).
    """
    return Customer(
        key=row[0], currency=row[1], timezone=row[2], enforcement=row[3], document=row[4],
        created_at=row[5].astimezone(UTC), updated_at=row[6].astimezone(UTC),
        archived=row[7],
    )  # fmt: skip


def subscriptions_of(rows: Sequence[Sequence[Any]]) -> dict[str, list[Subscription]]:
    """Subscriptions by customer, from rows of one phase each, in order."""
    phases: dict[tuple[str, str], list[Sequence[Any]]] = {}
    for row in rows:
        phases.setdefault((row[0], row[1]), []).append(row)
    result: dict[str, list[Subscription]] = {}
    for (customer, _), group in phases.items():
        first = group[0]
        subscription = Subscription(
            id=first[1], key=first[2], customer=customer,
            anchor=Anchor(first[3], first[4]), starts_at=first[5].astimezone(UTC),
            ends_at=_utc(first[6]), cancelled_at=_utc(first[7]), term_ends_at=_utc(first[8]),
            credit_unused=first[9], net_terms_days=first[10],
            created_at=first[11].astimezone(UTC), phases=tuple(phase_of(row[13:]) for row in group),
            term=parse_duration(first[12]) if first[12] else None,
        )  # fmt: skip
        result.setdefault(customer, []).append(subscription)
    return result


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None
