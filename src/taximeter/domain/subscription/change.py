"""Changing, pausing and ending a subscription.

Owns which changes are possible and what the phases are afterwards. What a change costs follows
from the phases (charges.py). Must not know when it is now: instants are given.

A change applies from its instant on. Phases planned for later stay: they take the change over in
what they do not say themselves (phases.py). A move to another plan ends what was planned for the
prices of the old one, up to the first later phase that names a plan itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.deal import Overrides
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.subscription.phases import (
    Clause,
    clauses_of,
    joined,
    published_at,
    relieved,
    unfold,
)
from taximeter.domain.subscription.subscription import Phase, Proration, Said, Subscription
from taximeter.kernel.errors import FieldError, Invalid, InvalidState
from taximeter.kernel.times import format_instant

_NOTHING = Said()


def change(
    subscription: Subscription,
    *,
    at: datetime,
    plan: Plan | None = None,
    quantities: Mapping[str, Decimal] | None = None,
    overrides: Overrides | None = None,
    proration: Proration,
    closed_until: datetime | None = None,
) -> Subscription:
    """The subscription with another plan version, other quantities or other overrides (None: as
    they are) from `at`; what is not given stays. A change at the very start of a phase replaces
    what that phase said.

    `closed_until` is the last billing boundary whose invoice is final: what it says must stay
    true. Raises `Invalid` (`too_early` for a time not after it or before the start, and what
    `unfold` raises), `InvalidState` after the end.
    """
    _check_time(subscription, at, closed_until, step="changed")
    said = Said(plan=plan, quantities=quantities or None, overrides=overrides)
    return _revised(subscription, Clause(at, said, proration))


def pause(
    subscription: Subscription,
    *,
    at: datetime,
    until: datetime | None,
    proration: Proration,
    closed_until: datetime | None = None,
) -> Subscription:
    """The subscription paused from `at` until `until` (None: until it is resumed).

    Raises `InvalidState` where it is paused at `at` or a later pause is planned, or after the
    end; `Invalid` for an `at` as `change` does, and for an `until` that is not after it
    (`too_early`) or not before the subscription's end (`too_late`).
    """
    _check_time(subscription, at, closed_until, step="paused")
    for phase in subscription.phases:
        if phase.deal.paused and (phase.ends_at is None or phase.ends_at > at):
            state = f"paused from {format_instant(phase.starts_at)}"
            raise InvalidState(kind="subscription", state=state, step="paused again")
    paused = _revised(subscription, Clause(at, Said(paused=True), proration))
    if until is None:
        return paused
    if until <= at:
        detail = f"The pause begins at {format_instant(at)}: choose a time after that."
        raise Invalid([FieldError("until", "too_early", detail)])
    if subscription.ends_at is not None and until >= subscription.ends_at:
        detail = f"The subscription ends at {format_instant(subscription.ends_at)}. Leave it out."
        raise Invalid([FieldError("until", "too_late", detail)])
    return _revised(paused, Clause(until, Said(paused=False), proration))


def resume(
    subscription: Subscription,
    *,
    at: datetime,
    proration: Proration,
    closed_until: datetime | None = None,
) -> Subscription:
    """The subscription going on from `at`; the end that its pause was given is dropped. At the
    very start of a pause, it is as if it had never been planned.

    Raises `InvalidState` where it is not paused at `at`, and as `change` does.
    """
    _check_time(subscription, at, closed_until, step="resumed")
    phase = subscription.phase_at(at)
    if phase is None or not phase.deal.paused:
        raise InvalidState(kind="subscription", state="not paused at that time", step="resumed")
    clauses = [
        replace(clause, said=replace(clause.said, paused=None)) if clause.starts_at > at else clause
        for clause in clauses_of(subscription.phases)
    ]
    resumed = joined(clauses, Clause(at, Said(paused=False), proration))
    return _with(subscription, resumed)


def cancel(
    subscription: Subscription,
    at: datetime,
    *,
    made_at: datetime,
    credit_unused: bool = False,
    closed_until: datetime | None = None,
) -> Subscription:
    """The subscription ending at `at`, which may lie ahead; `made_at` is when that was decided.

    Advance fees that fall due after `made_at` cover the time until `at` only; those billed before
    are credited from `at` on if `credit_unused`. Changes planned for `at` or later are dropped.
    Raises `InvalidState` where it is cancelled already, `Invalid` (`too_early`, `too_late`) for an
    `at` before the start, not after `closed_until` (as in `change`), or after the agreed end.
    """
    if subscription.cancelled_at is not None:
        raise InvalidState(kind="subscription", state="cancelled", step="cancelled again")
    _check_open(at, closed_until)
    _check_started(subscription, at)
    if subscription.ends_at is not None and at > subscription.ends_at:
        detail = f"The subscription ends at {format_instant(subscription.ends_at)} already."
        raise Invalid([FieldError("at", "too_late", detail)])
    first, *others = subscription.phases
    kept = [first, *(phase for phase in others if phase.starts_at < at)]
    return replace(
        subscription,
        ends_at=at,
        phases=(*kept[:-1], replace(kept[-1], ends_at=at)),
        cancelled_at=made_at,
        term_ends_at=subscription.ends_at,
        credit_unused=credit_unused,
    )


def _revised(subscription: Subscription, clause: Clause) -> Subscription:
    """The subscription with what is said in `clause`; itself where that changes nothing."""
    clauses = clauses_of(subscription.phases)
    to = clause.said.plan
    if to is not None:
        clauses = _moved(clauses, clause.starts_at, to)
    return _with(subscription, joined(clauses, clause))


def _moved(clauses: Sequence[Clause], at: datetime, to: Plan) -> list[Clause]:
    """The clauses where the plan `to` is in force from `at`."""
    before = published_at(clauses, at)
    named = (c.starts_at for c in clauses if c.starts_at > at and c.said.plan is not None)
    until = next(named, None)
    return [
        replace(clause, said=relieved(clause.said, before, to))
        if clause.starts_at > at and (until is None or clause.starts_at < until)
        else clause
        for clause in clauses
    ]


def _with(subscription: Subscription, clauses: Sequence[Clause]) -> Subscription:
    told = [clause for clause in clauses if clause.said != _NOTHING]
    phases = unfold(told, subscription.ends_at)
    if _terms(phases) == _terms(subscription.phases):
        return subscription
    return replace(subscription, phases=phases)


def _terms(phases: Sequence[Phase]) -> list[Phase]:
    """What applies from when on: phases that only go on as before are left out."""
    found: list[Phase] = []
    for phase in phases:
        last = found[-1] if found else None
        if last is None or (last.plan, last.quantities, last.deal) != (
            phase.plan, phase.quantities, phase.deal,
        ):  # fmt: skip
            found.append(replace(phase, ends_at=None, proration="by_day"))
    return found


def _check_time(
    subscription: Subscription, at: datetime, closed_until: datetime | None, *, step: str
) -> None:
    if subscription.ends_at is not None and at >= subscription.ends_at:
        raise InvalidState(kind="subscription", state="ended at that time", step=step)
    _check_open(at, closed_until)
    _check_started(subscription, at)


def _check_started(subscription: Subscription, at: datetime) -> None:
    if at < subscription.starts_at:
        start = format_instant(subscription.starts_at)
        raise _too_early(f"The subscription starts at {start}", "at or after")


def _check_open(at: datetime, closed_until: datetime | None) -> None:
    if closed_until is not None and at <= closed_until:
        raise _too_early(f"The time until {format_instant(closed_until)} is invoiced", "after")


def _too_early(fact: str, cure: str) -> Invalid:
    return Invalid([FieldError("at", "too_early", f"{fact}: choose a time {cure} that.")])
