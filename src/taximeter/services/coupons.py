"""Coupons: put, get, list, end. What becomes of one on a subscription is services/discounts.py."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from taximeter.domain.catalog.discount_document import parse_coupon
from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.storage import coupons as storage

StoredCoupon: TypeAlias = storage.StoredCoupon


async def put_coupon(
    transaction: Transaction, key: str, document: Mapping[str, object]
) -> tuple[StoredCoupon, bool]:
    """Create the coupon, or give it other terms: its next version, for redemptions to come. One
    that has ended can be redeemed again. Returns it, and whether it is new.

    Raises `Invalid` with every error of the document.
    """
    connection, at = transaction.connection, transaction.at
    coupon = parse_coupon(key, document, version=1)
    before = await storage.find(connection, key, lock=True)
    if before is None:
        await storage.insert(connection, coupon, document, at)
    else:
        coupon = replace(coupon, version=before.coupon.version)
        if coupon == before.coupon and before.ended_at is None:
            return before, False
        coupon = replace(coupon, version=before.coupon.version + 1)
        await storage.update(connection, coupon, document, at)
    await transaction.audit(
        "coupon.updated" if before else "coupon.created", key,
        {"before": before.document if before else None, "after": document},
    )  # fmt: skip
    return await _found(connection, key), before is None


async def end_coupon(transaction: Transaction, key: str) -> StoredCoupon:
    """Let nobody redeem the coupon any more; what was redeemed stays. Raises `NotFound`."""
    coupon = await _found(transaction.connection, key, lock=True)
    if coupon.ended_at is not None:
        return coupon
    await storage.end(transaction.connection, key, transaction.at)
    await transaction.audit("coupon.ended", key, {})
    return replace(coupon, ended_at=transaction.at)


async def get_coupon(context: Context, key: str) -> StoredCoupon:
    """The coupon `key`. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        return await _found(connection, key)


async def _found(connection: Connection, key: str, *, lock: bool = False) -> StoredCoupon:
    coupon = await storage.find(connection, key, lock=lock)
    if coupon is None:
        raise NotFound(kind="coupon", key=key)
    return coupon


async def list_coupons(context: Context, *, limit: int, cursor: str | None) -> Page[StoredCoupon]:
    """Coupons by key, ended ones too."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(connection, after=after[0] if after else None, limit=limit + 1)
    return make_page(rows, limit, lambda one: (one.coupon.key,))
