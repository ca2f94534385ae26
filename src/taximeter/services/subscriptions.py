"""Subscriptions: change, pause, resume, cancel, get, list.

Owns the order of such a command: it holds ingestion off first, changes the terms, counts usage
that was recorded under the old terms again, and bills what falls due at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.deal import Overrides, by_price
from taximeter.domain.rating.meter_fit import check_meters
from taximeter.domain.subscription import change as changes
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.subscription import Proration, Subscription
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.times import format_instant, period_at
from taximeter.services.billing import bill_due, closed_until, following_boundary
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.discounts import DiscountChange, change_discount
from taximeter.services.plan_choice import choose_plan, hold_version
from taximeter.services.plan_credits import schedule_credits
from taximeter.services.recount import recount
from taximeter.storage import customers
from taximeter.storage import subscriptions as storage
from taximeter.storage.invoices import discard_drafts
from taximeter.storage.terms import current_meters, customer_terms, note_change

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What a change asks for; what is None stays. `at` is an instant, `now` or `period_end`."""

    plan: str | None
    version: int | None
    quantities: Mapping[str, Decimal] | None
    at: datetime | str
    proration: Proration
    discount: DiscountChange | None = None
    overrides: Overrides | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """When a subscription is to end, and whether unused advance fees are credited."""

    at: datetime | str
    credit_unused: bool


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """From when until when (None: until it is resumed) a subscription is to be paused."""

    at: datetime | str
    until: datetime | None
    proration: Proration


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """When a paused subscription is to go on."""

    at: datetime | str
    proration: Proration


async def check_dimensions(connection: Connection, subscription: Subscription) -> None:
    """Refuse overrides of a dimensional price by dimensions that its meter does not keep apart."""
    phases = [phase for phase in subscription.phases if phase.deal.overrides]
    if not phases:
        return
    meters = await current_meters(connection)
    for phase in phases:
        try:
            check_meters(phase.plan, meters)
        except Invalid as error:
            raise Invalid(by_price(error.errors, phase.plan)) from None


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
        current = (subscription.phase_at(instant) or subscription.phases[-1]).plan.key
        buyer = await customers.find(connection, subscription.customer)
        assert buyer is not None, "a customer is never deleted"
        target = await choose_plan(
            connection, request.plan or current, request.version, customer=buyer, now=now,
            at=instant, current=current,
        )  # fmt: skip
    changed = changes.change(
        subscription, at=instant, plan=target, quantities=request.quantities,
        overrides=request.overrides, proration=request.proration, closed_until=closed,
    )  # fmt: skip
    await check_dimensions(connection, changed)
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
    phase = changed.phase_at(instant) or changed.phases[-1]
    await hold_version(transaction.connection, phase.plan)
    await transaction.audit(
        "subscription.changed", subscription.id,
        {"at": format_instant(instant), "plan": phase.plan.key,
         "version": phase.plan.version, "proration": request.proration},
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


async def pause_subscription(
    transaction: Transaction,
    subscription_id: str,
    *,
    customer: str | None,
    request: PauseRequest,
) -> Subscription:
    """Stop pricing for a while. Raises `NotFound`, and what `changes.pause` raises."""
    subscription = await _hold(transaction, subscription_id, customer)
    closed = await closed_until(transaction.connection, subscription)
    instant = _instant(subscription, request.at, transaction.at, closed)
    paused = changes.pause(
        subscription, at=instant, until=request.until, proration=request.proration,
        closed_until=closed,
    )  # fmt: skip
    until = None if request.until is None else format_instant(request.until)
    await transaction.audit(
        "subscription.paused", subscription.id, {"at": format_instant(instant), "until": until}
    )
    return await _apply(transaction, subscription, paused, instant)


async def resume_subscription(
    transaction: Transaction,
    subscription_id: str,
    *,
    customer: str | None,
    request: ResumeRequest,
) -> Subscription:
    """Go on after a pause. Raises `NotFound`, and what `changes.resume` raises."""
    subscription = await _hold(transaction, subscription_id, customer)
    closed = await closed_until(transaction.connection, subscription)
    instant = _instant(subscription, request.at, transaction.at, closed)
    resumed = changes.resume(
        subscription, at=instant, proration=request.proration, closed_until=closed
    )
    await transaction.audit(
        "subscription.resumed", subscription.id, {"at": format_instant(instant)}
    )
    return await _apply(transaction, subscription, resumed, instant)


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
    if at == "term_end":
        term = subscription.term_at(now)
        if term is None:
            detail = "The subscription has no term that renews. Say now, period_end or a time."
            raise Invalid([FieldError("at", "no_term", detail)])
        return term.end
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
