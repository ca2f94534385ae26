"""Grants and wallets: the credit a customer has in one asset.

Owns what a grant is, when it can be used, and what a wallet's balance is. The order in which
grants burn is burn.py. Must not know why credit is granted or used.

A wallet's posted balance is what its usable grants have left, less its debt. Debt is usage past
the grants; it is repaid by the next grant. Debt below zero is a surplus: credit given back for
which no grant is left to restore.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from taximeter.kernel.paths import lies_within
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period

GrantKind = Literal["paid", "promotional"]


class Grant(msgspec.Struct, frozen=True, gc=False):
    """`amount` of an asset given to a customer, of which `remaining` is left.

    Usable from `effective_at` until, exclusive, `expires_at` (None: for ever); only for usage of
    the meters in `scope_meters` (None: for anything) whose path is `scope_path` or lies below it
    (None: any or none). A low `priority` burns first. A grant that a plan made names its
    `subscription` and the plan's `credit`. A struct, because each charge makes some anew.
    """

    id: str
    customer: str
    asset: str
    amount: Decimal
    remaining: Decimal
    kind: GrantKind
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    scope_meters: tuple[str, ...] | None
    created_at: datetime
    scope_path: str | None = None
    subscription: str | None = None
    credit: str | None = None

    def __post_init__(self) -> None:
        assert ZERO <= self.remaining <= self.amount, "what is left is part of what was granted"

    def usable_at(self, at: datetime) -> bool:
        """Whether the grant is in force at `at`, whatever it has left."""
        return self.effective_at <= at and (self.expires_at is None or at < self.expires_at)

    def in_force_within(self, period: Period) -> bool:
        """Whether the grant is usable at some instant of the period, or at its start."""
        begins = self.effective_at < period.end or self.effective_at == period.start
        return begins and (self.expires_at is None or period.start < self.expires_at)

    def covers(self, meter: str | None, path: str | None = None) -> bool:
        """Whether usage of `meter` at `path` may be drawn from the grant (None: of no certain
        meter, of no path).
        """
        if self.scope_path is not None and not lies_within(path, self.scope_path):
            return False
        return self.scope_meters is None or meter in self.scope_meters


@dataclass(frozen=True, slots=True)
class Wallet:
    """A customer's credit in one asset, beside the grants: the debt."""

    customer: str
    asset: str
    debt: Decimal

    def posted(self, grants: Iterable[Grant], at: datetime) -> Decimal:
        """The balance at `at`: what the wallet's usable grants have left, less the debt."""
        return posted(grants, self.debt, at)


def posted(grants: Iterable[Grant], debt: Decimal, at: datetime) -> Decimal:
    """The balance of the wallet whose grants and debt these are."""
    return sum((grant.remaining for grant in grants if grant.usable_at(at)), ZERO) - debt


def apply_grant(debt: Decimal, amount: Decimal) -> tuple[Decimal, Decimal]:
    """What a new grant of `amount` has left once it has repaid the debt, and the debt after.

    To be applied when the grant becomes effective. A surplus (debt below zero) is kept.
    """
    repaid = min(max(debt, ZERO), amount)
    return amount - repaid, debt - repaid
