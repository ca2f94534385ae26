"""A customer as billing sees them. Owns the value, what of its settings chooses a plan, and the
windows of its budgets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from taximeter.domain.catalog.entitlement import Entitlement
from taximeter.domain.catalog.plan import Enforcement
from taximeter.domain.credit.topup import AutoTopup
from taximeter.domain.entitlement.alert import Alert, BalanceAlert, SpendAlert
from taximeter.domain.entitlement.budget import Budget, window_of
from taximeter.domain.entitlement.suspension import Suspension
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.times import Period, period_at


@dataclass(frozen=True, slots=True)
class Customer:
    """`document` is what the seller sent, as it is answered again. `archived`: the content of some
    of its events is in files.
    """

    key: str
    currency: str
    timezone: str
    enforcement: Enforcement
    document: Mapping[str, object]
    created_at: datetime
    updated_at: datetime
    archived: bool = False


@dataclass(frozen=True, slots=True)
class CustomerTerms:
    """What prices a customer's usage: the customer and their subscriptions, oldest first; and what
    limits it: budgets by name, suspensions, and by feature the entitlements agreed with them alone;
    what is told of it; and which wallets are topped up. `any_soft_plan` is derived from the
    subscriptions: none of them need be asked where it is not so.
    """

    customer: Customer
    subscriptions: tuple[Subscription, ...]
    budgets: tuple[Budget, ...] = ()
    suspensions: tuple[Suspension, ...] = ()
    alerts: tuple[Alert, ...] = ()
    entitlements: Mapping[str, tuple[Entitlement, ...]] = field(default_factory=dict)
    auto_topups: tuple[AutoTopup, ...] = ()
    any_soft_plan: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        soft = any(
            phase.plan.enforcement == "soft"
            for subscription in self.subscriptions
            for phase in subscription.phases
        )
        object.__setattr__(self, "any_soft_plan", soft)

    def is_hard_at(self, at: datetime) -> bool:
        """Whether credit and budgets refuse what the customer does, or tell: they refuse where the
        customer is `hard`, and so is some plan that applies, if any does.
        """
        if self.customer.enforcement == "soft":
            return False
        if not self.any_soft_plan:
            return True
        phases = [one.phase_at(at) for one in self.subscriptions]
        plans = [phase.plan for phase in phases if phase is not None]
        return not plans or any(plan.enforcement == "hard" for plan in plans)

    @property
    def counted_assets(self) -> frozenset[str]:
        """The assets whose spend is counted, for a budget or an alert."""
        alerts = (alert.asset for alert in self.alerts if isinstance(alert, SpendAlert))
        return frozenset([*(budget.asset for budget in self.budgets), *alerts])

    def balance_alerts(self, asset: str) -> tuple[BalanceAlert, ...]:
        """What is told of the balance of this asset."""
        return tuple(
            alert
            for alert in self.alerts
            if isinstance(alert, BalanceAlert) and alert.asset == asset
        )

    def is_topped_up(self, asset: str) -> bool:
        """Whether the wallet of this asset is topped up by itself."""
        return any(auto.asset == asset for auto in self.auto_topups)

    def period_at(self, at: datetime) -> Period | None:
        """The billing period at this instant: of the oldest subscription that runs then."""
        for subscription in self.subscriptions:
            phase = subscription.phase_at(at)
            if phase is not None:
                return period_at(subscription.anchor, phase.plan.period, at)
        return None

    def window_of(self, budget: Budget, at: datetime) -> Period:
        """The window of a budget that contains the instant `at`."""
        period = self.period_at(at) if budget.window == "period" else None
        return window_of(budget.window, self.customer.timezone, at, period)


def regions_of(customer: Customer) -> tuple[str, ...]:
    """Where the customer is, as the segments of plans ask for it: the `country` and the `region`
    of their tax settings, and `region` of their metadata; what is left out is not among them.
    """
    tax, metadata = customer.document.get("tax"), customer.document.get("metadata")
    named = (_text(tax, "country"), _text(tax, "region"), _text(metadata, "region"))
    return tuple(region for region in named if region)


def cohort_of(customer: Customer) -> str | None:
    """The `cohort` of the customer's metadata, if it is there."""
    return _text(customer.document.get("metadata"), "cohort")


def _text(settings: object, name: str) -> str | None:
    value = settings.get(name) if isinstance(settings, Mapping) else None
    return value if isinstance(value, str) and value else None
