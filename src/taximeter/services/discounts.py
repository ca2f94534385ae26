"""The discounts of a subscription: its own, and coupons that it redeems.

Owns when a coupon may be redeemed. Its limits hold whoever redeems at once: the count of all
redemptions is raised by one conditional update, those of a customer are counted under the
customer's lock. Locks are taken in this order: customer, subscription, coupon.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn

from taximeter.domain.catalog.discount import Coupon, InvoiceDiscount
from taximeter.domain.invoicing.discounts import terms_of
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.times import format_instant
from taximeter.services.billing import closed_until, locked_subscription
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.storage import coupons as coupon_storage
from taximeter.storage import customers, subscriptions
from taximeter.storage import discounts as storage
from taximeter.storage.invoices import any_finalized

DISCOUNTS_MAX = 100

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class DiscountChange:
    """What becomes of a subscription's own discount: `to`, or none at all."""

    to: InvoiceDiscount | None


async def begin_discounts(
    transaction: Transaction,
    subscription: Subscription,
    own: InvoiceDiscount | None,
    coupon: str | None,
) -> None:
    """Give a new subscription its discount, and redeem a coupon, both from its start.

    Raises what `redeem_coupon` does.
    """
    if own is not None:
        await _give(transaction, subscription, own, subscription.starts_at)
    if coupon is not None:
        await _redeem(transaction, subscription, coupon, subscription.starts_at)


async def change_discount(
    transaction: Transaction, subscription: Subscription, change: DiscountChange, at: datetime
) -> None:
    """End the subscription's own discount at the instant `at`, and begin another."""
    for one in await storage.of_subscription(transaction.connection, subscription):
        if _is_own(one):
            await storage.end(transaction.connection, one, max(at, one.starts_at))
    if change.to is not None:
        await _give(transaction, subscription, change.to, at)


async def changed_discounts(
    connection: Connection, subscription: Subscription, change: DiscountChange, at: datetime
) -> list[SubscriptionDiscount]:
    """The discounts as `change_discount` would leave them; writes nothing."""
    given = await storage.of_subscription(connection, subscription)
    after = [
        replace(one, ended_at=max(at, one.starts_at)) if _is_own(one) else one for one in given
    ]
    if change.to is not None:
        new = SubscriptionDiscount(
            id="", customer=subscription.customer, subscription=subscription.id, coupon=None,
            version=None, discount=change.to, starts_at=at, ended_at=None, created_at=at,
        )  # fmt: skip
        after.append(new)
    return after


def _is_own(discount: SubscriptionDiscount) -> bool:
    """Whether it is the subscription's own that is in force, or will be."""
    return discount.coupon is None and discount.ended_at is None


async def redeem_coupon(
    transaction: Transaction, subscription_id: str, coupon: str, *, customer: str | None
) -> SubscriptionDiscount:
    """Redeem a coupon on a subscription, from the period that is open now on.

    Raises `NotFound` for the subscription or the coupon, `InvalidState` for a subscription that
    has ended, `Invalid` where the coupon cannot be redeemed: `coupon_not_started`,
    `coupon_expired`, `coupon_used_up`, `coupon_not_applicable`.
    """
    subscription = await _locked(transaction, subscription_id, customer)
    if subscription.ends_at is not None and transaction.at >= subscription.ends_at:
        raise InvalidState(kind="subscription", state="ended", step="discounted")
    return await _redeem(transaction, subscription, coupon, await _now(transaction, subscription))


async def end_redemption(
    transaction: Transaction, subscription_id: str, redemption_id: str, *, customer: str | None
) -> SubscriptionDiscount:
    """End what a coupon takes off, from the period that is open now on; one that has ended stays
    as it is. Raises `NotFound`.
    """
    subscription = await _locked(transaction, subscription_id, customer)
    given = await storage.of_subscription(transaction.connection, subscription)
    found = next((one for one in given if one.id == redemption_id and one.coupon), None)
    if found is None:
        raise NotFound(kind=f"redemption on subscription {subscription_id}:", key=redemption_id)
    if found.ended_at is not None:
        return found
    at = max(await _now(transaction, subscription), found.starts_at)
    await storage.end(transaction.connection, found, at)
    await transaction.audit("coupon.redemption_ended", found.id, {"coupon": found.coupon})
    return replace(found, ended_at=at)


async def list_discounts(
    context: Context, subscription_id: str, customer: str | None
) -> list[SubscriptionDiscount]:
    """Every discount that the subscription was given, ended ones too, in order of time. Raises
    `NotFound`.
    """
    async with context.pool.connection() as connection:
        found = await subscriptions.find(connection, subscription_id, customer=customer)
        if found is None:
            raise NotFound(kind="subscription", key=subscription_id)
        return await storage.of_subscription(connection, found)


async def _locked(
    transaction: Transaction, subscription_id: str, customer: str | None
) -> Subscription:
    connection = transaction.connection
    found = await subscriptions.find(connection, subscription_id, customer=customer)
    if found is None:
        raise NotFound(kind="subscription", key=subscription_id)
    await customers.find(connection, found.customer, lock=True)
    return await locked_subscription(connection, found)


async def _now(transaction: Transaction, subscription: Subscription) -> datetime:
    """From when what is done now takes effect: what is invoiced already stays as it is."""
    now = max(transaction.at, subscription.starts_at)
    return (
        now + _INSTANT if now == await closed_until(transaction.connection, subscription) else now
    )


async def _redeem(
    transaction: Transaction, subscription: Subscription, key: str, starts_at: datetime
) -> SubscriptionDiscount:
    connection = transaction.connection
    taken = await coupon_storage.take(connection, key)
    if taken is None:
        await _refuse(transaction, key)
    coupon = taken.coupon
    _check_time(coupon, transaction.at)
    _check_applies(coupon, subscription, starts_at)
    if coupon.first_time_only and await any_finalized(connection, subscription.customer):
        _not_applicable(f"Coupon {key} is for customers who were not invoiced yet.")
    redeemed = await storage.redemptions(connection, subscription.customer, key)
    if redeemed >= coupon.per_customer_max:
        detail = f"The customer has redeemed coupon {key} {redeemed} times, as often as it allows."
        raise Invalid([FieldError("coupon", "coupon_used_up", f"{detail} Use another coupon.")])
    given = await storage.of_subscription(connection, subscription)
    for term in terms_of(subscription, given):
        if term.source == "coupon" and term.key == key:
            if term.back.until is None or term.back.until > starts_at:
                _not_applicable(f"Coupon {key} lasts on this subscription already.")
    discount = await _give(
        transaction, subscription, coupon.discount, starts_at, coupon=coupon,
        redemption=redeemed + 1,
    )  # fmt: skip
    await transaction.audit(
        "coupon.redeemed", discount.id,
        {"coupon": key, "version": coupon.version, "subscription": subscription.id},
    )  # fmt: skip
    return discount


async def _refuse(transaction: Transaction, key: str) -> NoReturn:
    """Say why a coupon was not to be had."""
    found = await coupon_storage.find(transaction.connection, key)
    if found is None:
        raise NotFound(kind="coupon", key=key)
    code, detail = "coupon_used_up", f"Coupon {key} was redeemed {found.redeemed} times, the limit."
    if found.ended_at is not None:
        code, detail = "coupon_expired", f"Coupon {key} was ended {format_instant(found.ended_at)}."
    raise Invalid([FieldError("coupon", code, f"{detail} Use another coupon.")])


def _check_time(coupon: Coupon, at: datetime) -> None:
    if coupon.redeem_from is not None and at < coupon.redeem_from:
        since = format_instant(coupon.redeem_from)
        detail = f"Coupon {coupon.key} can be redeemed from {since} on. Redeem it then."
        raise Invalid([FieldError("coupon", "coupon_not_started", detail)])
    if coupon.redeem_by is not None and at >= coupon.redeem_by:
        until = format_instant(coupon.redeem_by)
        detail = f"Coupon {coupon.key} could be redeemed until {until}. Use another coupon."
        raise Invalid([FieldError("coupon", "coupon_expired", detail)])


def _check_applies(coupon: Coupon, subscription: Subscription, at: datetime) -> None:
    phase = subscription.phase_at(at) or subscription.phases[-1]
    plan, discount = phase.plan, coupon.discount
    if coupon.currency not in (None, plan.currency):
        _not_applicable(
            f"Coupon {coupon.key} is in {coupon.currency}, the plan in {plan.currency}."
        )
    if discount.plans is not None and plan.key not in discount.plans:
        _not_applicable(f"Coupon {coupon.key} is for the plans {', '.join(discount.plans[:5])}.")
    if discount.prices is not None and not any(map(plan.price, discount.prices)):
        named = ", ".join(discount.prices[:5])
        _not_applicable(f"Coupon {coupon.key} is for the prices {named}: {plan.key} has none.")


def _not_applicable(detail: str) -> NoReturn:
    detail = f"{detail} Use another coupon."
    raise Invalid([FieldError("coupon", "coupon_not_applicable", detail)])


async def _give(
    transaction: Transaction,
    subscription: Subscription,
    discount: InvoiceDiscount,
    starts_at: datetime,
    *,
    coupon: Coupon | None = None,
    redemption: int | None = None,
) -> SubscriptionDiscount:
    connection = transaction.connection
    if len(await storage.of_subscription(connection, subscription)) >= DISCOUNTS_MAX:
        detail = f"A subscription takes {DISCOUNTS_MAX} discounts in its life. Start another one."
        field = "discount" if coupon is None else "coupon"
        raise Invalid([FieldError(field, "too_many", detail)])
    given = SubscriptionDiscount(
        id=transaction.new_id("disc" if coupon is None else "red"),
        customer=subscription.customer, subscription=subscription.id,
        coupon=coupon.key if coupon else None, version=coupon.version if coupon else None,
        discount=discount, starts_at=starts_at, ended_at=None, created_at=transaction.at,
    )  # fmt: skip
    await storage.insert(connection, given, redemption=redemption)
    return given
