"""The order in which grants burn, drawing from them, and giving back.

Owns the one total order: priority (low first), expiry (soonest first, never last), kind
(promotional before paid), creation, id. Must not write: `draw` says what to take from where.

Giving back (a negative amount: a volume tier fell, usage was voided) undoes in the reverse order
of drawing: first the debt, which was drawn last; then the usable grants, last in burn order
first, each up to what has been drawn from it; what is left raises the balance as a surplus (debt
below zero), which is drawn before any grant. So nothing is clamped and no grant outgrows itself.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.quantity import ZERO

Parts = tuple[tuple[str, Decimal], ...]

_NEVER = datetime.max.replace(tzinfo=UTC)


class Draw(msgspec.Struct, frozen=True, gc=False):
    """What a draw takes from each grant (negative: gives back to it), in order, none of it zero;
    and `uncovered`, what it adds to the debt (negative: takes from it).
    """

    parts: Parts
    uncovered: Decimal

    @property
    def amount(self) -> Decimal:
        """The whole amount drawn."""
        amount = self.uncovered
        for _, part in self.parts:
            amount += part
        return amount


def burn_key(grant: Grant) -> tuple[int, datetime, bool, datetime, str]:
    """Sorts grants into burn order; no two grants are equal under it."""
    expires_at = grant.expires_at or _NEVER
    return grant.priority, expires_at, grant.kind == "paid", grant.created_at, grant.id


def burn_order(grants: Iterable[Grant]) -> list[Grant]:
    """The grants, the one that burns first first."""
    found = list(grants)
    if len(found) > 1:
        found.sort(key=burn_key)
    return found


def draw(
    grants: Iterable[Grant],
    amount: Decimal,
    at: datetime,
    meter: str | None = None,
    *,
    path: str | None = None,
    debt: Decimal = ZERO,
) -> Draw:
    """How `amount` for usage of `meter` at `path` is taken from a wallet's `grants` at the instant
    `at`.

    `debt` is the wallet's so far; after the draw it is `debt + uncovered`. A negative `amount` is
    given back. Order of the arguments does not matter: the parts always sum to `amount`.
    """
    usable = burn_order(
        [grant for grant in grants if grant.usable_at(at) and grant.covers(meter, path)]
    )
    if amount >= ZERO:
        surplus = min(-debt, amount) if debt < ZERO else ZERO
        parts, rest = _take(usable, amount - surplus)
        drawn = Draw(parts, surplus + rest)
    else:
        repaid = min(max(debt, ZERO), -amount)
        parts, rest = _give_back(usable, -amount - repaid)
        drawn = Draw(parts, -repaid - rest)
    assert drawn.amount == amount, "a draw neither makes nor loses money"
    return drawn


def _take(usable: Sequence[Grant], amount: Decimal) -> tuple[Parts, Decimal]:
    parts = []
    for grant in usable:
        part = min(grant.remaining, amount)
        if part > ZERO:
            parts.append((grant.id, part))
            amount -= part
    return tuple(parts), amount


def _give_back(usable: Sequence[Grant], amount: Decimal) -> tuple[Parts, Decimal]:
    parts = []
    for grant in reversed(usable):
        part = min(grant.amount - grant.remaining, amount)
        if part > ZERO:
            parts.append((grant.id, -part))
            amount -= part
    return tuple(parts), amount
