"""Granting the credits of plans: each step once, and rolling over what is left of the one before.

Owns the comparison of what a subscription has earned in a step with what was granted for it. Runs
under the lock of the subscription's row, in the transaction of its start or change or in a job at
the step's start; a unique key stands behind the comparison.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import structs

from taximeter.domain.catalog.credit import PlanCredit
from taximeter.domain.catalog.credit_document import PRIORITY_DEFAULT
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.credit.burn import burn_order
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.invoicing.lines import Line
from taximeter.domain.subscription.allotment import (
    Allotment,
    allotments_at,
    next_allotment,
)
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, ONE, ZERO, round_half_up
from taximeter.kernel.times import period_at
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.grants import grant_entry, issue_grant
from taximeter.storage import plan_credits as storage
from taximeter.storage import wallets as wallet_storage
from taximeter.storage.plan_credits import Granted
from taximeter.storage.wallets import Step

INSTANTS_MAX = 1_000
# What names the credit of a commitment's shortfall; no key of a seller's begins like it.
SHORTFALL = "@commitment"

_INSTANT = timedelta(microseconds=1)


async def schedule_credits(
    transaction: Transaction,
    subscription: Subscription,
    since: datetime,
    until: datetime | None = None,
) -> None:
    """Grant what the subscription, which is new or has changed at `since`, has earned since then
    and before `until` (None: by now), and note when it earns next. What goes beyond the bound of
    one transaction is left to the jobs.
    """
    stored = await storage.next_grant(transaction.connection, subscription)
    since = since if stored is None else min(since, stored)
    following = next_allotment(subscription, since - _INSTANT)
    await storage.set_next_grant(transaction.connection, subscription, following)
    await grant_due(transaction, subscription, until=until)


async def grant_due(
    transaction: Transaction, subscription: Subscription, *, until: datetime | None
) -> None:
    """Grant what the subscription has earned by now and before `until`, in the order of time, at
    most a thousand instants at once.
    """
    following = await storage.next_grant(transaction.connection, subscription)
    for _ in range(INSTANTS_MAX):
        if following is None or following > transaction.at:
            break
        if until is not None and following >= until:
            break
        await _grant_at(transaction, subscription, following)
        following = next_allotment(subscription, following)
        await storage.set_next_grant(transaction.connection, subscription, following)


async def _grant_at(
    transaction: Transaction, subscription: Subscription, instant: datetime
) -> None:
    """Grant what the subscription has earned by `instant` in the steps that run then."""
    allotments = allotments_at(subscription, instant)
    if not allotments:
        return
    # All wallets at once and in order, as usage locks them, so that neither waits for the other.
    keys = sorted({(subscription.customer, one.credit.asset) for one in allotments})
    await wallet_storage.lock_wallets(transaction.connection, keys)
    since = min(min(one.step.start, one.billing.start) for one in allotments)
    granted = await storage.granted(transaction.connection, subscription, since)
    for allotment in allotments:
        if allotment.step.start == instant:
            await _roll_over(transaction, subscription, allotment)
        await _grant(transaction, subscription, allotment, granted, instant)


async def foresee_grants(
    context: Context,
    connection: Connection,
    subscription: Subscription,
    since: datetime,
    at: datetime,
) -> list[Grant]:
    """The grants that `schedule_credits` and jobs would have made by `at` for the subscription
    with a change at `since`; writes nothing. What would roll over is left where it is.
    """
    stored = await storage.next_grant(connection, subscription)
    since = since if stored is None else min(since, stored)
    following = next_allotment(subscription, since - _INSTANT)
    found: list[Grant] = []
    made: list[Granted] = []
    for _ in range(INSTANTS_MAX):
        if following is None or following > at:
            break
        allotments = allotments_at(subscription, following)
        begun = [min(one.step.start, one.billing.start) for one in allotments]
        if begun:
            granted = await storage.granted(connection, subscription, min(begun))
            for allotment in allotments:
                earned = _earned(subscription, allotment, [*granted, *made], following, at)
                if earned is not None:
                    units, step = allotment.units, allotment.step
                    made.append(Granted(allotment.credit.key, step.start, units, earned.amount))
                    found.append(structs.replace(earned, id=context.ids("grant", at)))
        following = next_allotment(subscription, following)
    return found


async def grant_shortfall(
    transaction: Transaction, subscription: Subscription, lines: Iterable[Line]
) -> None:
    """Turn what a final invoice's true-ups to commitments bill for nothing into paid credit for
    usage in the next term, as far as the plan that follows rolls it over: once a term.
    """
    for line in lines:
        start = line.period.end
        phase = subscription.phase_at(start)
        commitment = None if phase is None else phase.plan.commitment
        if line.kind != "commitment" or line.amount <= ZERO or phase is None or commitment is None:
            continue
        granted = await storage.granted(transaction.connection, subscription, start)
        if commitment.rollover_max is None or any(one.credit == SHORTFALL for one in granted):
            continue
        amount = min(line.amount, commitment.rollover_max)
        meters = [one.meter for one in phase.plan.prices if isinstance(one, UsagePrice)]
        grant = Grant(
            id=transaction.new_id("grant"), customer=subscription.customer, asset=line.asset,
            amount=amount, remaining=amount, kind="paid", priority=PRIORITY_DEFAULT,
            effective_at=start,
            expires_at=period_at(subscription.anchor, commitment.period, start).end,
            scope_meters=tuple(dict.fromkeys(meters)), created_at=transaction.at,
            subscription=subscription.id, credit=SHORTFALL,
        )  # fmt: skip
        await issue_grant(transaction, grant, step=Step(start, ONE))


async def _grant(
    transaction: Transaction,
    subscription: Subscription,
    allotment: Allotment,
    granted: Sequence[Granted],
    instant: datetime,
) -> None:
    """Grant the units of a step that it was not granted for yet."""
    earned = _earned(subscription, allotment, granted, instant, transaction.at)
    if earned is not None:
        grant = structs.replace(earned, id=transaction.new_id("grant"))
        await issue_grant(transaction, grant, step=Step(allotment.step.start, allotment.units))


def _earned(
    subscription: Subscription,
    allotment: Allotment,
    granted: Sequence[Granted],
    instant: datetime,
    at: datetime,
) -> Grant | None:
    """The grant, without its id, of the units of a step that it was not granted for yet. A step
    that is over by `at` is left out, unless something of it may roll over.
    """
    credit, step = allotment.credit, allotment.step
    mine = [one for one in granted if one.credit == credit.key]
    before = max((one.units for one in mine if one.step_start == step.start), default=ZERO)
    amount = _capped(credit, allotment, mine, credit.amount * (allotment.units - before))
    since = instant if before else allotment.since
    expires_at = credit.expiry(since, step, subscription.anchor.timezone)
    over = expires_at is not None and expires_at <= at and credit.rollover_max is None
    if amount <= ZERO or over:
        return None
    return _new(subscription, credit, amount, since, expires_at, at)


def _capped(
    credit: PlanCredit, allotment: Allotment, granted: Sequence[Granted], amount: Decimal
) -> Decimal:
    """The amount, cut to what the billing period in which the step starts may still be given."""
    if credit.max_per_period is not None:
        given = sum((one.amount for one in granted if one.step_start in allotment.billing), ZERO)
        amount = min(amount, credit.max_per_period - given)
    return round_half_up(amount, DIGITS_FRACTION_MAX)


async def _roll_over(
    transaction: Transaction, subscription: Subscription, allotment: Allotment
) -> None:
    """Turn what is left of the grants of this credit that end as the step begins into a new one
    of the step, up to the credit's maximum; the rest expires.
    """
    connection, credit, step = transaction.connection, allotment.credit, allotment.step
    if credit.rollover_max is None:
        return
    if await storage.has_rolled(connection, subscription, credit.key, step.start):
        return
    ending = await storage.ending_grants(connection, subscription, credit.key, step.start)
    open_amount, remaining, entries = credit.rollover_max, [], []
    for old in burn_order(one for one in ending if one.asset == credit.asset):
        part = min(old.remaining, open_amount)
        if part > ZERO:
            open_amount -= part
            remaining.append((old.customer, old.id, old.remaining - part))
            entries.append(grant_entry(transaction, old, "rollover", -part))
    rolled = credit.rollover_max - open_amount
    if rolled == ZERO:
        return
    await wallet_storage.set_remaining(connection, remaining)
    await wallet_storage.insert_entries(connection, entries)
    made = _new(subscription, credit, rolled, step.start, step.end, transaction.at)
    grant = structs.replace(made, id=transaction.new_id("grant"))
    await issue_grant(transaction, grant, step=Step(step.start, ZERO), kind="rollover")


def _new(
    subscription: Subscription,
    credit: PlanCredit,
    amount: Decimal,
    effective_at: datetime,
    expires_at: datetime | None,
    at: datetime,
) -> Grant:
    """A grant made at `at`, without its id."""
    return Grant(
        id="", customer=subscription.customer, asset=credit.asset,
        amount=amount, remaining=amount, kind=credit.kind, priority=credit.priority,
        effective_at=effective_at, expires_at=expires_at, scope_meters=credit.scope_meters,
        created_at=at, scope_path=credit.scope_path, subscription=subscription.id,
        credit=credit.key,
    )  # fmt: skip
