"""Rows of `subscription_discount`: the discounts that subscriptions were given."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.domain.subscription.subscription import Subscription

Connection = AsyncConnection[tuple[Any, ...]]

_COLUMNS = """
id, customer, subscription, coupon, version, terms::text, starts_at, ended_at, created_at
"""
_INSERT = """
INSERT INTO subscription_discount
    (customer, id, subscription, coupon, version, redemption, terms, starts_at, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s)
"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(InvoiceDiscount).decode


def _discount_of(row: Sequence[Any]) -> SubscriptionDiscount:
    return SubscriptionDiscount(
        id=row[0], customer=row[1], subscription=row[2], coupon=row[3], version=row[4],
        discount=_decode(row[5]), starts_at=row[6].astimezone(UTC),
        ended_at=row[7].astimezone(UTC) if row[7] else None, created_at=row[8].astimezone(UTC),
    )  # fmt: skip


async def of_subscription(
    connection: Connection, subscription: Subscription
) -> list[SubscriptionDiscount]:
    """Every discount that the subscription was given, ended ones too, in order of time."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM subscription_discount
        WHERE customer = %s AND subscription = %s ORDER BY created_at, id
        """,
        [subscription.customer, subscription.id],
    )
    return [_discount_of(row) for row in await cursor.fetchall()]


async def insert(
    connection: Connection, discount: SubscriptionDiscount, *, redemption: int | None
) -> None:
    """Give a subscription a discount. `redemption` counts the customer's redemptions of the
    coupon; raises `UniqueViolation` where another transaction made that one meanwhile.
    """
    await connection.execute(
        _INSERT,
        [
            discount.customer, discount.id, discount.subscription, discount.coupon,
            discount.version, redemption, _encode(discount.discount).decode(), discount.starts_at,
            discount.created_at,
        ],
    )  # fmt: skip


async def end(connection: Connection, discount: SubscriptionDiscount, at: datetime) -> None:
    """End a discount; one that has ended stays as it is."""
    await connection.execute(
        """
        UPDATE subscription_discount SET ended_at = %s
        WHERE customer = %s AND id = %s AND ended_at IS NULL
        """,
        [at, discount.customer, discount.id],
    )


async def redemptions(connection: Connection, customer: str, coupon: str) -> int:
    """How often the customer has redeemed the coupon."""
    cursor = await connection.execute(
        "SELECT count(*) FROM subscription_discount WHERE customer = %s AND coupon = %s",
        [customer, coupon],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
