"""What a plan grants, what a credit unit costs, and what a customer commits to, as values.

Owns their shape and invariants. Reading the seller's document is credit_document.py; when a
credit is granted is decided by domain/subscription.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from taximeter.kernel.quantity import ONE, ZERO
from taximeter.kernel.times import Duration, Period, PeriodUnit

CreditKind = Literal["paid", "promotional"]


@dataclass(frozen=True, slots=True)
class PlanCredit:
    """`amount` of `asset`, granted at the start of each step of `every`; `per` a seat of the seat
    price of that key (None: once).

    `expires` is the end of the step, never, or so long after the grant. `starts_from` and
    `starts_until` (local, half-open) bound when a step may start. At most `max_per_period` is
    granted in one of the plan's periods. Up to `rollover_max` of what is left at a step's end goes
    into the next. `key` names the credit across the versions of a plan.
    """

    key: str
    asset: str
    amount: Decimal
    kind: CreditKind
    every: PeriodUnit
    expires: Literal["period_end", "never"] | Duration
    rollover_max: Decimal | None
    priority: int
    per: str | None
    scope_meters: tuple[str, ...] | None
    scope_path: str | None
    starts_from: datetime | None
    starts_until: datetime | None
    max_per_period: Decimal | None

    def __post_init__(self) -> None:
        assert self.amount > ZERO, "a credit grants something"
        if self.rollover_max is not None:
            assert self.expires == "period_end", "only what expires with its step can roll over"

    def units(self, quantities: Mapping[str, Decimal]) -> Decimal:
        """How many times the amount is granted, with these quantities of seats."""
        return ONE if self.per is None else quantities.get(self.per, ZERO)

    def starts_at(self, local: datetime) -> bool:
        """Whether a step that starts at this local time grants the credit."""
        since, until = self.starts_from, self.starts_until
        return (since is None or since <= local) and (until is None or local < until)

    def expiry(self, since: datetime, step: Period, timezone: str) -> datetime | None:
        """When a grant of `step` made at `since` expires; None: never."""
        if isinstance(self.expires, Duration):
            return self.expires.after(since, timezone)
        return None if self.expires == "never" else step.end


@dataclass(frozen=True, slots=True)
class CreditUnit:
    """A credit unit: `unit_price` is its list value, and what a unit past the grants costs."""

    asset: str
    unit_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Commitment:
    """What fees and usage must come to in each term of `period`; of what is paid for nothing, up
    to `rollover_max` becomes credit for the next term.
    """

    amount: Decimal
    period: PeriodUnit
    rollover_max: Decimal | None
