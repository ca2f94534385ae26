"""Starting a subscription.

Owns how the terms that are asked for are found, and the order of the command: it holds ingestion
off first, and usage recorded since the start is counted again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.deal import Overrides
from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.subscription.begin import (
    Beginning,
    PlannedPhase,
    calendar_anchor,
    first_phases,
)
from taximeter.domain.subscription.customer import Customer
from taximeter.domain.subscription.subscription import Said, Subscription
from taximeter.kernel.errors import AlreadyExists, FieldError, Invalid, NotFound
from taximeter.kernel.times import Anchor, Duration, anchor_at, period_step
from taximeter.services.billing import bill_due, following_boundary
from taximeter.services.command import Transaction
from taximeter.services.discounts import begin_discounts
from taximeter.services.plan_choice import choose_plan, hold_version
from taximeter.services.plan_credits import schedule_credits
from taximeter.services.recount import recount
from taximeter.services.release import release_customer
from taximeter.services.subscriptions import check_dimensions, terms_of
from taximeter.storage import customers
from taximeter.storage import subscriptions as storage
from taximeter.storage.terms import note_change

PERIODS_BACK_MAX = 1_200


TERM_MIN = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class NewPhase:
    """What is planned for so long `after` the start; what is None is taken from the phase before.
    A plan without `version` is the one in force by then, as far as is known now.
    """

    after: Duration
    plan: str | None
    version: int | None
    quantities: Mapping[str, Decimal] | None
    overrides: Overrides | None
    adjust_percent: Decimal | None


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """What a subscription is asked to be. Without `starts_at` it starts now; without `anchor` its
    periods count from its start, in the customer's time zone, or from the calendar if `aligned`.
    `term` says the end by its distance from the start; where it `renews`, when a term ends.
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
    overrides: Overrides
    phases: Sequence[NewPhase]
    trial_days: int | None
    term: Duration | None
    renews: bool
    aligned: bool
    discount: InvoiceDiscount | None
    coupon: str | None


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
    beginning = await _beginning(transaction, new, customer)
    if new.key is not None and await storage.key_taken(connection, new.customer, new.key):
        cure = "Choose another key, or change that subscription."
        raise AlreadyExists(kind="subscription", key=new.key, cure=cure)
    subscription = _begin(transaction, new, customer, beginning)
    await check_dimensions(connection, subscription)
    await storage.put(connection, subscription, following_boundary(subscription, None))
    await begin_discounts(transaction, subscription, new.discount, new.coupon)
    await transaction.audit(
        "subscription.created", subscription.id,
        {"customer": customer.key, "plan": beginning.plan.key,
         "version": beginning.plan.version, "phases": len(subscription.phases)},
    )  # fmt: skip
    await schedule_credits(transaction, subscription, subscription.starts_at)
    await recount(transaction, before, since=subscription.starts_at, field="starts_at")
    await release_customer(transaction, customer.key)
    await bill_due(transaction, subscription)
    return subscription


def _begin(
    transaction: Transaction, new: NewSubscription, customer: Customer, beginning: Beginning
) -> Subscription:
    plan, starts_at, ends_at = beginning.plan, beginning.starts_at, beginning.ends_at
    if plan.currency != customer.currency:
        detail = (
            f"Plan {plan.key} is in {plan.currency}, the customer in {customer.currency}. "
            "Use a plan in the customer's currency."
        )
        raise Invalid([FieldError("plan", "currency_mismatch", detail)])
    if ends_at is not None and ends_at <= starts_at:
        raise Invalid([FieldError("ends_at", "too_early", "Choose an end after the start.")])
    anchor = anchor_at(starts_at, customer.timezone)
    if new.anchor is not None:
        anchor = Anchor(new.anchor, customer.timezone)
    elif new.aligned:
        anchor = calendar_anchor(starts_at, plan.period, customer.timezone)
    begun = period_step(anchor, plan.period, starts_at)
    if period_step(anchor, plan.period, transaction.at) - begun > PERIODS_BACK_MAX:
        detail = f"That is over {PERIODS_BACK_MAX} periods ago, each to be billed. Start it later."
        raise Invalid([FieldError("starts_at", "too_early", detail)])
    return Subscription(
        id=transaction.new_id("sub"), key=new.key, customer=customer.key, anchor=anchor,
        starts_at=starts_at, ends_at=ends_at, net_terms_days=new.net_terms_days,
        created_at=transaction.at, phases=first_phases(beginning, customer.timezone),
        term=new.term if new.renews else None,
    )  # fmt: skip


async def _beginning(
    transaction: Transaction, new: NewSubscription, customer: Customer
) -> Beginning:
    """The terms that are asked for, with their plans. Raises what `choose_plan` does."""
    connection = transaction.connection
    starts_at = new.starts_at or transaction.at
    ends_at = new.ends_at
    if new.renews and new.term is None:
        detail = "Say the term that is renewed, such as P1Y."
        raise Invalid([FieldError("term", "required", detail)])
    if new.renews and new.term is not None and new.term.longest < TERM_MIN:
        detail = "A term that renews has at least 28 days. Say P1M, P1Y."
        raise Invalid([FieldError("term", "too_short", detail)])
    if new.term is not None and not new.renews:
        ends_at = new.term.after(starts_at, customer.timezone)
    first = plan = await choose_plan(
        connection, new.plan, new.version, customer=customer, now=transaction.at, at=starts_at
    )
    await hold_version(connection, plan)
    planned = []
    for phase in new.phases:
        said = Said(
            quantities=phase.quantities, overrides=phase.overrides,
            adjust_percent=phase.adjust_percent,
        )  # fmt: skip
        if phase.plan is not None or phase.version is not None:
            plan = await choose_plan(
                connection, phase.plan or plan.key, phase.version, customer=customer,
                now=transaction.at, at=phase.after.after(starts_at, customer.timezone),
                current=plan.key,
            )  # fmt: skip
            await hold_version(connection, plan)
            said = replace(said, plan=plan)
        planned.append(PlannedPhase(phase.after, said))
    return Beginning(
        starts_at, ends_at, first, new.quantities, new.overrides, new.trial_days, planned
    )
