"""The phases of a subscription, unfolded from what each was told.

Owns inheritance: a phase takes from the one before it what it was not told, so that a change in
the middle reaches the phases planned after it, but for what these say otherwise. Must not know
when it is now.

Another plan starts from its own amounts: earlier adjustments end with the plan that they were
agreed for, and overrides stay of prices that the new plan has too. Another version of the same
plan keeps both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from taximeter.domain.catalog.deal import NO_DEAL, Deal, agreed_plan
from taximeter.domain.catalog.plan import Plan, SeatPrice
from taximeter.domain.subscription.subscription import Phase, Proration, Said
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import ZERO

PHASES_MAX = 100

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Clause:
    """What is said from `starts_at` on. `path` is where the request says it, for errors."""

    starts_at: datetime
    said: Said
    proration: Proration
    path: str = ""


def clauses_of(phases: Sequence[Phase]) -> list[Clause]:
    """What phases were told, by time."""
    return [
        Clause(phase.starts_at, phase.said or _everything(phase), phase.proration, f"phases[{n}].")
        for n, phase in enumerate(phases)
    ]


def _everything(phase: Phase) -> Said:
    return Said(plan=phase.plan, quantities=phase.quantities)


def published_at(clauses: Iterable[Clause], at: datetime) -> Plan:
    """The plan version as published that applies at `at`."""
    found = None
    for clause in clauses:
        if found is None or clause.starts_at <= at:
            found = clause.said.plan or found
    assert found is not None, "the first phase says its plan"
    return found


def unfold(clauses: Sequence[Clause], ends_at: datetime | None) -> tuple[Phase, ...]:
    """The phases that the clauses, by time, make until `ends_at`.

    Raises `Invalid`, each path within its clause's, for `currency_mismatch`, what
    `seat_quantities` and `agreed_plan` raise, and more than 100 phases (`too_many`).
    """
    if len(clauses) > PHASES_MAX:
        detail = f"{len(clauses)} phases are too many. Say at most {PHASES_MAX}."
        raise Invalid([FieldError("phases", "too_many", detail)])
    phases: list[Phase] = []
    published: Plan | None = None
    known: Mapping[str, Decimal] = {}
    deal = NO_DEAL
    for index, clause in enumerate(clauses):
        said = clause.said
        end = clauses[index + 1].starts_at if index + 1 < len(clauses) else ends_at
        try:
            before, published = published, said.plan or published
            assert published is not None, "the first phase says its plan"
            _check_currency(before, published)
            known = {**known, **seat_quantities(published, said.quantities or {}, known)}
            deal = _deal_after(deal, said, before, published)
            plan = agreed_plan(published, deal)
        except Invalid as error:
            raise Invalid(
                replace(one, path=f"{clause.path}{one.path}") for one in error.errors
            ) from None
        counts = {key: known[key] for key in _seats(published)}
        phases.append(Phase(clause.starts_at, end, plan, counts, clause.proration, deal, said))
    return tuple(phases)


def _deal_after(deal: Deal, said: Said, before: Plan | None, published: Plan) -> Deal:
    if said.plan is not None and before is not None:
        deal = deal.kept_on(published, moved=published.key != before.key)
    if said.adjust_percent is not None:
        deal = deal.adjusted(said.adjust_percent)
    if said.overrides is not None:
        deal = deal.overridden(said.overrides)
    return replace(
        deal,
        trial=_either(said.trial, deal.trial),
        paused=_either(said.paused, deal.paused),
    )


def seat_quantities(
    plan: Plan, given: Mapping[str, Decimal], carried: Mapping[str, Decimal]
) -> Mapping[str, Decimal]:
    """The quantity of every seat price of `plan`, as `given`, else as `carried` over from an
    earlier phase.

    Raises `Invalid`: `unknown_price` for a key that names no seat price, `required` for a seat
    price without a quantity, `out_of_range` for a negative one.
    """
    seats = _seats(plan)
    known = {**carried, **given}
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


def _seats(plan: Plan) -> list[str]:
    return [price.key for price in plan.prices if isinstance(price, SeatPrice)]


def _either(said: Value | None, before: Value) -> Value:
    return before if said is None else said


def _check_currency(before: Plan | None, to: Plan) -> None:
    if before is not None and to.currency != before.currency:
        detail = (
            f"Plan {to.key} is in {to.currency}, the subscription in {before.currency}. "
            "Cancel it and start another."
        )
        raise Invalid([FieldError("plan", "currency_mismatch", detail)])


def joined(clauses: Sequence[Clause], added: Clause) -> list[Clause]:
    """The clauses with one more, by time. At an instant that has one already, what is said anew
    takes the place of what was said.
    """
    same = [clause for clause in clauses if clause.starts_at == added.starts_at]
    for clause in same:
        added = replace(added, said=_over(clause.said, added.said))
    rest = [clause for clause in clauses if clause.starts_at != added.starts_at]
    return sorted([*rest, added], key=lambda clause: clause.starts_at)


def _over(before: Said, said: Said) -> Said:
    if said.plan is not None and before.plan is not None:
        before = relieved(before, before.plan, said.plan)
    quantities = before.quantities
    if said.quantities is not None:
        quantities = {**(before.quantities or {}), **said.quantities}
    return Said(
        plan=said.plan or before.plan,
        quantities=quantities,
        overrides=_either(said.overrides, before.overrides),
        adjust_percent=_either(said.adjust_percent, before.adjust_percent),
        trial=_either(said.trial, before.trial),
        paused=_either(said.paused, before.paused),
    )


def relieved(said: Said, before: Plan, to: Plan) -> Said:
    """What stays of what was said on the plan `before` where `to` takes its place: seats and
    overrides of prices that exist there, and adjustments on another version of the same plan.
    """
    quantities, overrides, percent = said.quantities, said.overrides, said.adjust_percent
    if quantities is not None:
        quantities = {key: count for key, count in quantities.items() if key in _seats(to)}
    if overrides is not None:
        overrides = {key: fields for key, fields in overrides.items() if to.price(key)}
    if to.key != before.key:
        percent = None
    return replace(said, quantities=quantities or None, overrides=overrides, adjust_percent=percent)
