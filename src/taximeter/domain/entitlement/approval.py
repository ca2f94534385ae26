"""Approvals: somebody has to agree before work that costs more than a budget's threshold.

Owns the value, what state it is in at an instant, and which work it lets pass. Who may decide is
setter.py's; that a hold was refused for want of one is decided where holds are.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from taximeter.domain.entitlement.budget import Budget
from taximeter.domain.entitlement.setter import Setter, may_change
from taximeter.kernel.paths import lies_within

ApprovalState = Literal["pending", "approved", "declined", "expired", "used"]
APPROVAL_STATES: tuple[ApprovalState, ...] = ("pending", "approved", "declined", "expired", "used")
Verdict = Literal["approved", "declined"]

# How long somebody may take to decide; as long a declined one is not asked for again.
ASKED_FOR = timedelta(days=7)


class Unapproved(NamedTuple):
    """Work of `feature` at `path` that needs `amount` of the budget's asset, more than its
    threshold, and that nothing lets pass.
    """

    budget: Budget
    path: str | None
    feature: str | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Approval:
    """What was asked for at `asked_at`: work of `feature` (None: of none that was named) at `path`
    that needs `amount` of `asset`, where the budget had a `threshold` that was `set_by` somebody.

    Until somebody decides it ends at `expires_at`. Once approved it lets `uses` holds pass, each
    of which needs at most `allowed`, until `expires_at`; `used` of them did. `decided_as` says for
    whom was decided.
    """

    customer: str
    id: str
    budget: str
    path: str | None
    asset: str
    amount: Decimal
    feature: str | None
    threshold: Decimal
    set_by: Setter
    asked_at: datetime
    expires_at: datetime
    decision: Verdict | None = None
    allowed: Decimal | None = None
    uses: int = 0
    used: int = 0
    decided_at: datetime | None = None
    decided_by: str | None = None
    decided_as: Setter | None = None

    def __post_init__(self) -> None:
        assert self.used <= self.uses, "an approval is used as often as it allows, at most"
        assert (self.decision is None) == (self.decided_at is None), "what is decided says when"

    def state_at(self, at: datetime) -> ApprovalState:
        """Its state at the instant `at`."""
        if self.decision == "declined":
            return "declined"
        if self.decision == "approved" and self.used >= self.uses:
            return "used"
        if self.expires_at <= at:
            return "expired"
        return self.decision or "pending"

    def lets_pass(self, wish: Unapproved, at: datetime) -> bool:
        """Whether this work may be done by it at the instant `at`: it is approved by somebody who
        may pass over the budget's threshold, and the work is what it was asked for, or less.
        """
        return (
            self.state_at(at) == "approved"
            and self.allowed is not None
            and self.decided_as is not None
            and may_change(self.decided_as, wish.budget.set_by)
            and (self.customer, self.budget, self.asset)
            == (wish.budget.customer, wish.budget.name, wish.budget.asset)
            and wish.amount <= self.allowed
            and self.feature in (None, wish.feature)
            and lies_within(wish.path, self.path)
        )
