"""Changing and ending a subscription.

Owns which changes are possible and what the phases are afterwards. What a change costs follows
from the phases (charges.py). Must not know when it is now: instants are given.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.plan import Plan, SeatPrice
from taximeter.domain.subscription.subscription import Phase, Proration, Subscription
from taximeter.kernel.errors import FieldError, Invalid, InvalidState
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import format_instant


def seat_quantities(
    plan: Plan, given: Mapping[str, Decimal], carried: Mapping[str, Decimal] | None = None
) -> Mapping[str, Decimal]:
    """The quantity of every seat price of `plan`, as `given`, else as `carried` over from an
    earlier phase.

    Raises `Invalid`: `unknown_price` for a key that names no seat price, `required` for a seat
    price without a quantity, `out_of_range` for a negative one.
    """
    seats = [price.key for price in plan.prices if isinstance(price, SeatPrice)]
    known = {**(carried or {}), **given}
    errors = []
    for key in given:
        if key not in seats:
            detail = f"Plan {plan.key} has no seat price {key}. Leave it out."
            errors.append(FieldError(f"quantities.{key}", "unknown_price", detail))
    for key in seats:
        if key not in known:
            detail = f"Say how many: plan {plan.key} prices {key} by the seat."
            errors.append(FieldError(f"quantities.{key}", "required", detail))
        elif known[key] < ZERO:
            detail = "A quantity of seats is zero or more."
            errors.append(FieldError(f"quantities.{key}", "out_of_range", detail))
    if errors:
        raise Invalid(errors)
    return {key: known[key] for key in seats}


def change(
    subscription: Subscription,
    *,
    at: datetime,
    plan: Plan | None = None,
    quantities: Mapping[str, Decimal] | None = None,
    proration: Proration,
    closed_until: datetime | None = None,
) -> Subscription:
    """The subscription with another plan version or other quantities (None: as they are) from
    `at`; what is not given stays. A change at the very start of the last phase replaces it.

    `closed_until` is the last billing boundary whose invoice is final: what it says must stay
    true. Raises `Invalid` (`too_early` for a time not after it or before the last phase,
    `currency_mismatch`, and what `seat_quantities` raises), `InvalidState` after the end.
    """
    last = subscription.phases[-1]
    if subscription.ends_at is not None and at >= subscription.ends_at:
        raise InvalidState(kind="subscription", state="ended at that time", step="changed")
    _check_open(at, closed_until)
    if at < last.starts_at:
        raise _too_early(f"The last change is at {format_instant(last.starts_at)}", "at or after")
    to = plan or last.plan
    if to.currency != last.plan.currency:
        detail = (
            f"Plan {to.key} is in {to.currency}, the subscription in {last.plan.currency}. "
            "Cancel it and start another."
        )
        raise Invalid([FieldError("plan", "currency_mismatch", detail)])
    counts = seat_quantities(to, quantities or {}, last.quantities)
    if to == last.plan and counts == last.quantities:
        return subscription
    phase = Phase(at, last.ends_at, to, counts, proration)
    if at == last.starts_at:
        return replace(subscription, phases=(*subscription.phases[:-1], phase))
    return replace(
        subscription, phases=(*subscription.phases[:-1], replace(last, ends_at=at), phase)
    )


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
    if at < subscription.starts_at:
        raise _too_early(
            f"The subscription starts at {format_instant(subscription.starts_at)}", "at or after"
        )
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


def _check_open(at: datetime, closed_until: datetime | None) -> None:
    if closed_until is not None and at <= closed_until:
        raise _too_early(f"The time until {format_instant(closed_until)} is invoiced", "after")


def _too_early(fact: str, cure: str) -> Invalid:
    return Invalid([FieldError("at", "too_early", f"{fact}: choose a time {cure} that.")])
