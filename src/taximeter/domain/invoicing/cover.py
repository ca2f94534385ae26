"""How much of what a period draws from wallets the plan's own credits cover, for a preview.

Owns the credits of one full period, apart from any calendar: a step shorter than the period counts
as often as it fits a month of 30 days (a quarter of 91, a year of 365), a longer one once. They
are drawn as grants are. Must not know what a customer has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import structs

from taximeter.domain.catalog.credit import PlanCredit
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.credit.burn import draw
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import PeriodUnit

_DAYS: Mapping[PeriodUnit, int] = {"day": 1, "week": 7, "month": 30, "quarter": 91, "year": 365}
_START = datetime(2000, 1, 1, tzinfo=UTC)

# What is drawn: the asset, for which meter, and how much.
Drawn = tuple[str, str, Decimal]


@dataclass(frozen=True, slots=True)
class Cover:
    """Of what is drawn in one asset: what the plan's credits cover, and what is left over."""

    asset: str
    covered: Decimal
    overage: Decimal


def covers(
    plan: Plan, quantities: Mapping[str, Decimal], drawn: Iterable[Drawn], on: datetime | None
) -> tuple[Cover, ...]:
    """The cover of each asset that the plan grants or gives a price, in the order drawn. `on` is
    the local time by which credits with dates count; None: they do not.
    """
    grants = {
        grant.id: grant
        for credit in plan.credits
        if (grant := _grant(plan, credit, quantities, on)) is not None
    }
    known = {credit.asset for credit in plan.credits} | {unit.asset for unit in plan.assets}
    found: dict[str, Cover] = {}
    for asset, meter, amount in drawn:
        if asset not in known or amount < ZERO:
            continue
        of_asset = [grant for grant in grants.values() if grant.asset == asset]
        taken = draw(of_asset, amount, _START, meter)
        for grant_id, part in taken.parts:
            left = grants[grant_id].remaining - part
            grants[grant_id] = structs.replace(grants[grant_id], remaining=left)
        cover = found.get(asset, Cover(asset, ZERO, ZERO))
        found[asset] = Cover(
            asset, cover.covered + amount - taken.uncovered, cover.overage + taken.uncovered
        )
    return tuple(found.values())


def _grant(
    plan: Plan, credit: PlanCredit, quantities: Mapping[str, Decimal], on: datetime | None
) -> Grant | None:
    """What the credit grants for one period, as one grant; None where that is nothing."""
    dated = credit.starts_from is not None or credit.starts_until is not None
    if dated and (on is None or not credit.starts_at(on)):
        return None
    times = max(1, _DAYS[plan.period] // _DAYS[credit.every])
    amount = credit.amount * credit.units(quantities) * times
    if credit.max_per_period is not None:
        amount = min(amount, credit.max_per_period)
    if amount <= ZERO or credit.scope_path is not None:
        return None
    return Grant(
        id=credit.key, customer="", asset=credit.asset, amount=amount, remaining=amount,
        kind=credit.kind, priority=credit.priority, effective_at=_START, expires_at=None,
        scope_meters=credit.scope_meters, created_at=_START,
    )  # fmt: skip
