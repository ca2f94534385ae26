"""Alerts: what of a customer is told when it crosses a threshold.

Owns the definitions beside the shares of budgets, and what it means to cross. What was raised is
remembered elsewhere: whoever raises an alert has compared under the lock of what is counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from taximeter.domain.entitlement.budget import Budget, BudgetWindow
from taximeter.kernel.quantity import ZERO

AlertKind = Literal["budget.threshold", "balance.low", "spend.threshold", "allowance.threshold"]
ALERT_KINDS: tuple[AlertKind, ...] = (
    "budget.threshold", "balance.low", "spend.threshold", "allowance.threshold",
)  # fmt: skip
COUNTER_PREFIX = "@alert:"


@dataclass(frozen=True, slots=True)
class BalanceAlert:
    """Told when the balance of `asset` falls to one of `below` or under it, and again when it does
    so after it was above.
    """

    customer: str
    name: str
    asset: str
    below: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class SpendAlert:
    """Told when what was charged of `asset` in a `window` reaches one of the amounts `at`."""

    customer: str
    name: str
    asset: str
    window: BudgetWindow
    at: tuple[Decimal, ...]

    @property
    def counter(self) -> Budget:
        """What counts it: a soft budget without a limit, under a name that no budget can have."""
        return Budget(
            self.customer, f"{COUNTER_PREFIX}{self.name}", None, self.asset, ZERO, self.window,
            "soft", (),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AllowanceAlert:
    """Told when what was used of the feature's allowance reaches one of the shares `at` of it."""

    customer: str
    name: str
    feature: str
    at: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """How often a threshold of a balance was told, and whether it is to be told again: it is
    `armed` until it is told, and again once the balance was above it.
    """

    number: int = 0
    armed: bool = True

    def after(self, before: Decimal, after: Decimal, threshold: Decimal) -> "Round":
        """The round once the balance has gone from `before` to `after`: a later one, and not
        armed, where that is told.
        """
        armed = self.armed or before > threshold
        if armed and after <= threshold:
            return Round(self.number + 1, armed=False)
        return Round(self.number, armed or after > threshold)


Alert = BalanceAlert | SpendAlert | AllowanceAlert


def reached(before: Decimal, after: Decimal, marks: Iterable[Decimal]) -> list[Decimal]:
    """The marks that a rise from `before` to `after` reaches, the lowest first. One of zero or
    less is there from the start: it is reached by the first rise above it.
    """
    return [
        mark
        for mark in sorted(marks)
        if (before < mark <= after if mark > ZERO else before <= mark < after)
    ]
