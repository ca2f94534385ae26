"""Beginning a subscription: its anchor, its end, its trial and the phases planned with it.

Owns how the terms of a new subscription fit together. Must not know when it is now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.deal import Overrides
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.subscription.phases import Clause, joined, unfold
from taximeter.domain.subscription.subscription import Phase, Said
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.times import Anchor, Duration, PeriodUnit, format_instant, to_local


@dataclass(frozen=True, slots=True)
class PlannedPhase:
    """What is to apply from so long after the start on."""

    after: Duration
    said: Said


@dataclass(frozen=True, slots=True)
class Beginning:
    """The terms from `starts_at` on, and those planned for later, by time. Without `trial_days`
    the plan says how long the trial is.
    """

    starts_at: datetime
    ends_at: datetime | None
    plan: Plan
    quantities: Mapping[str, Decimal]
    overrides: Overrides
    trial_days: int | None
    planned: Sequence[PlannedPhase]


def first_phases(beginning: Beginning, timezone: str) -> tuple[Phase, ...]:
    """The phases of a new subscription. What is planned counts from the start on the calendar of
    `timezone`, each for itself.

    Raises `Invalid`: `phase_order` where phases do not follow each other, `too_late` for one at
    or after the end, and what `unfold` raises, under `phases[n]`.
    """
    start = beginning.starts_at
    days = beginning.plan.trial_days if beginning.trial_days is None else beginning.trial_days
    said = Said(
        plan=beginning.plan,
        quantities=beginning.quantities,
        overrides=beginning.overrides or None,
        trial=True if days else None,
    )
    clauses = [Clause(start, said, "by_day")]
    if days:
        trial_end = Duration(months=0, days=days, seconds=0).after(start, timezone)
        if beginning.ends_at is None or trial_end < beginning.ends_at:
            clauses.append(Clause(trial_end, Said(trial=False), "by_day"))
    for planned in _planned(beginning, timezone):
        clauses = joined(clauses, planned)
    return unfold(clauses, beginning.ends_at)


def _planned(beginning: Beginning, timezone: str) -> list[Clause]:
    found: list[Clause] = []
    last, end = beginning.starts_at, beginning.ends_at
    for index, one in enumerate(beginning.planned):
        path = f"phases[{index}]."
        at = one.after.after(beginning.starts_at, timezone)
        if at <= last:
            detail = f"Phases follow each other. Say a time after {format_instant(last)}."
            raise Invalid([FieldError(f"{path}after", "phase_order", detail)])
        if end is not None and at >= end:
            detail = f"The subscription ends at {format_instant(end)}. Say a time before that."
            raise Invalid([FieldError(f"{path}after", "too_late", detail)])
        found.append(Clause(at, one.said, "by_day", path))
        last = at
    return found


def calendar_anchor(start: datetime, unit: PeriodUnit, timezone: str) -> Anchor:
    """The anchor at the local midnight that begins the day, week (Monday), month, quarter or year
    which `start` falls in.
    """
    local = to_local(start, timezone).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        local -= timedelta(days=local.weekday())
    elif unit != "day":
        month = {"month": local.month, "quarter": (local.month - 1) // 3 * 3 + 1, "year": 1}[unit]
        local = local.replace(month=month, day=1)
    return Anchor(local, timezone)
