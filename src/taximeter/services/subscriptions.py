"""Subscriptions: create, change, cancel, get, list.

Owns the order of such a command: it holds ingestion off first, changes the terms, counts usage
that was recorded under the old terms again, and bills what falls due at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.subscription import change as changes
from taximeter.domain.subscription.change import seat_quantities
from taximeter.domain.subscription.customer import Customer, CustomerTerms
from taximeter.domain.subscription.subscription import Phase, Proration, Subscription
from taximeter.kernel.errors import AlreadyExists, FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.times import Anchor, anchor_at, format_instant, period_at, period_step
from taximeter.services.billing import bill_due, closed_until, following_boundary
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.discounts import DiscountChange, begin_discounts, change_discount
from taximeter.services.plan_choice import choose_plan, hold_version
from taximeter.services.plan_credits import schedule_credits
from taximeter.services.recount import recount
from taximeter.services.release import release_customer
from taximeter.storage import customers
from taximeter.storage import subscriptions as storage
from taximeter.storage.invoices import discard_drafts
from taximeter.storage.terms import customer_terms, note_change

_INSTANT = timedelta(microseconds=1)

PERIODS_BACK_MAX = 1_200


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """What a subscription is asked to be. Without `starts_at` it starts now; without `anchor` its
    periods count from its start, in the customer's time zone.
    """

    customer: str
    plan: str
    version: int | None
    key: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    anchor: datetime | None
    quantities: Mapping[str, Decimal]
    net_terms_days: int
    discount: InvoiceDiscount | None = None
    coupon: str | None = None


async def create_subscription(transaction: Transaction, new: NewSubscription) -> Subscription:
    """Start a subscription; usage recorded since its start is priced by it.

    Raises `NotFound` for the customer or plan, `AlreadyExists` for the key, `Invalid` for terms
    that do not fit together, and what `choose_plan` and `begin_discounts` do.
    """
    connection = transaction.connection
    await note_change(connection, new.customer, transaction.at)
    customer = await customers.find(connection, new.customer, lock=True)
    if customer is None:
        raise NotFound(kind="customer", key=new.customer)
    before = await terms_of(connection, customer.key)
    plan = await choose_plan(
        connection, new.plan, new.version, customer=customer, now=transaction.at, at=new.starts_at
    )
    await hold_version(connection, plan)
    if new.key is not None and await storage.key_taken(connection, new.customer, new.key):
        cure = "Choose another key, or change that subscription."
        raise AlreadyExists(kind="subscription", key=new.key, cure=cure)
    subscription = _begin(transaction, new, customer, plan)
    await storage.put(connection, subscription, following_boundary(subscription, None))
    await begin_discounts(transaction, subscription, new.discount, new.coupon)
    await transaction.audit(
        "subscription.created", subscription.id,
        {"customer": customer.key, "plan": plan.key, "version": plan.version},
    )  # fmt: skip
    await schedule_credits(transaction, subscription, subscription.starts_at)
    await recount(transaction, before, since=subscription.starts_at, field="starts_at")
    await release_customer(transaction, customer.key)
    await bill_due(transaction, subscription)
    return subscription


def _begin(
    transaction: Transaction, new: NewSubscription, customer: Customer, plan: Plan
) -> Subscription:
    if plan.currency != customer.currency:
        detail = (
            f"Plan {plan.key} is in {plan.currency}, the customer in {customer.currency}. "
            "Use a plan in the customer's currency."
        )
        raise Invalid([FieldError("plan", "currency_mismatch", detail)])
    starts_at = new.starts_at or transaction.at
    if new.ends_at is not None and new.ends_at <= starts_at:
        raise Invalid([FieldError("ends_at", "too_early", "Choose an end after the start.")])
    anchor = anchor_at(starts_at, customer.timezone)
    if new.anchor is not None:
        anchor = Anchor(new.anchor, customer.timezone)
    begun = period_step(anchor, plan.period, starts_at)
    if period_step(anchor, plan.period, transaction.at) - begun > PERIODS_BACK_MAX:
        detail = f"That is over {PERIODS_BACK_MAX} periods ago, each to be billed. Start it later."
        raise Invalid([FieldError("starts_at", "too_early", detail)])
    quantities = seat_quantities(plan, new.quantities)
    return Subscription(
        id=transaction.new_id("sub"), key=new.key, customer=customer.key, anchor=anchor,
        starts_at=starts_at, ends_at=new.ends_at, net_terms_days=new.net_terms_days,
        created_at=transaction.at,
        phases=(Phase(starts_at, new.ends_at, plan, quantities, "by_day"),),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What a change asks for; what is None stays. `at` is an instant, `now` or `period_end`."""

    plan: str | None
    version: int | None
    quantities: Mapping[str, Decimal] | None
    at: datetime | str
    proration: Proration
    discount: DiscountChange | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """When a subscription is to end, and whether unused advance fees are credited."""

    at: datetime | str
    credit_unused: bool


async def planned_change(
    connection: Connection, subscription: Subscription, request: ChangeRequest, now: datetime
) -> tuple[Subscription, datetime]:
    """The subscription as the change would leave it, and the change's instant; writes nothing.

    Raises what `choose_plan` and `changes.change` raise.
    """
    closed = await closed_until(connection, subscription)
    instant = _instant(subscription, request.at, now, closed)
    target = None
    if request.plan is not None or request.version is not None:
        current = subscription.phases[-1].plan.key
        buyer = await customers.find(connection, subscription.customer)
        assert buyer is not None, "a customer is never deleted"
        target = await choose_plan(
            connection, request.plan or current, request.version, customer=buyer, now=now,
            at=instant, current=current,
        )  # fmt: skip
    changed = changes.change(
        subscription, at=instant, plan=target, quantities=request.quantities,
        proration=request.proration, closed_until=closed,
    )  # fmt: skip
    return changed, instant


async def planned_cancel(
    connection: Connection, subscription: Subscription, request: CancelRequest, now: datetime
) -> tuple[Subscription, datetime]:
    """The subscription as the cancel would leave it, and when it ends; writes nothing.

    Raises what `changes.cancel` raises.
    """
    closed = await closed_until(connection, subscription)
    instant = _instant(subscription, request.at, now, closed)
    cancelled = changes.cancel(
        subscription, instant, made_at=now, credit_unused=request.credit_unused,
        closed_until=closed,
    )  # fmt: skip
    return cancelled, instant


async def change_subscription(
    transaction: Transaction,
    subscription_id: str,
    *,
    customer: str | None,
    request: ChangeRequest,
) -> Subscription:
    """Move a subscription to another plan, version or quantity at an instant. Usage since then is
    counted again at the new terms.
    """
    subscription = await _hold(transaction, subscription_id, customer)
    changed, instant = await planned_change(
        transaction.connection, subscription, request, transaction.at
    )
    await hold_version(transaction.connection, changed.phases[-1].plan)
    await transaction.audit(
        "subscription.changed", subscription.id,
        {"at": format_instant(instant), "plan": changed.phases[-1].plan.key,
         "version": changed.phases[-1].plan.version, "proration": request.proration},
    )  # fmt: skip
    if request.discount is not None:
        await change_discount(transaction, subscription, request.discount, instant)
    return await _apply(transaction, subscription, changed, instant)


async def cancel_subscription(
    transaction: Transaction,
    subscription_id: str,
    *,
    customer: str | None,
    request: CancelRequest,
) -> Subscription:
    """End a subscription at an instant, `now` or `period_end`."""
    subscription = await _hold(transaction, subscription_id, customer)
    cancelled, instant = await planned_cancel(
        transaction.connection, subscription, request, transaction.at
    )
    await transaction.audit(
        "subscription.cancelled", subscription.id,
        {"at": format_instant(instant), "credit_unused": request.credit_unused},
    )  # fmt: skip
    return await _apply(transaction, subscription, cancelled, instant)


async def _hold(
    transaction: Transaction, subscription_id: str, customer: str | None
) -> Subscription:
    found = await storage.find(transaction.connection, subscription_id, customer=customer)
    if found is None:
        raise NotFound(kind="subscription", key=subscription_id)
    await note_change(transaction.connection, found.customer, transaction.at)
    await customers.find(transaction.connection, found.customer, lock=True)
    await storage.lock(transaction.connection, found)
    again = await storage.find(transaction.connection, subscription_id)
    assert again is not None, "a subscription is never deleted"
    return again


def _instant(
    subscription: Subscription, at: datetime | str, now: datetime, closed: datetime | None
) -> datetime:
    if isinstance(at, datetime):
        return at
    now = max(now, subscription.starts_at)
    if at == "now":
        # At the very instant of a final invoice, what it billed stays: the change comes next.
        return now + _INSTANT if now == closed else now
    assert at == "period_end", at
    phase = subscription.phase_at(now) or subscription.phases[-1]
    return period_at(subscription.anchor, phase.plan.period, now).end


async def _apply(
    transaction: Transaction, before: Subscription, after: Subscription, since: datetime
) -> Subscription:
    """Write the subscription as it is `after` a change at `since`, with all that follows."""
    if after == before:
        return after
    connection = transaction.connection
    terms = await terms_of(connection, before.customer)
    await discard_drafts(connection, after, since)
    following = await _following(connection, after, since)
    await storage.put(connection, after, following)
    await schedule_credits(transaction, after, since, until=following)
    await recount(transaction, terms, since=since)
    await bill_due(transaction, after)
    return after


async def terms_of(connection: Connection, customer: str) -> CustomerTerms:
    """The terms of a customer that exists, as stored at this point of the transaction."""
    return (await customer_terms(connection, [customer]))[customer]


async def _following(
    connection: Connection, subscription: Subscription, since: datetime
) -> datetime | None:
    """The next boundary to close after a change at `since`."""
    stored = await storage.lock(connection, subscription)
    billed = await closed_until(connection, subscription, drafts=True)
    return first_open(subscription, since, stored=stored, billed=billed)


def first_open(
    subscription: Subscription,
    since: datetime,
    *,
    stored: datetime | None,
    billed: datetime | None,
) -> datetime | None:
    """The next boundary to close after a change at `since`: what was closed before then stays.
    Before it `stored` was the next, and `billed` the last one that has an invoice.
    """
    after = (since if stored is None else min(since, stored)) - _INSTANT
    return following_boundary(subscription, after if billed is None else max(billed, after))


async def get_subscription(
    context: Context, subscription_id: str, customer: str | None
) -> Subscription:
    """The subscription with this id. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        found = await storage.find(connection, subscription_id, customer=customer)
    if found is None:
        raise NotFound(kind="subscription", key=subscription_id)
    return found


async def list_subscriptions(
    context: Context, *, customer: str | None, limit: int, cursor: str | None
) -> Page[Subscription]:
    """Subscriptions by customer and age."""
    after = decode_cursor(cursor, 2)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, customer=customer, after=(after[0], after[1]) if after else None,
            limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda one: (one.customer, one.id))
