"""What a customer is entitled to: by the plans of running subscriptions, and by agreement.

Owns where entitlements come from: each subscription's own plan version, so that a newer version
changes nothing for those who are on an older one; what was agreed with the customer for a feature
takes the place of all that plans say of it. How they come together is domain/entitlement/feature.
"""

from collections.abc import Iterator
from datetime import datetime

from taximeter.domain.entitlement.feature import Offer, PlanSource, Rights, combine
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.subscription import Phase, Subscription
from taximeter.kernel.times import period_at


def rights_of(terms: CustomerTerms, feature: str, at: datetime) -> Rights | None:
    """The customer's rights to `feature` at the instant `at`; None where nothing that the customer
    has names it. A subscription that is paused entitles to nothing.
    """
    offers: list[Offer] = []
    agreed = terms.entitlements.get(feature)
    if agreed is not None:
        offers.append(Offer(agreed, terms.period_at(at), None))
    else:
        for subscription, phase in _running(terms, at):
            plan = phase.plan
            entries = tuple(one for one in plan.entitlements if one.feature == feature)
            if entries:
                period = period_at(subscription.anchor, plan.period, at)
                source = PlanSource(plan.key, plan.version, subscription.id)
                offers.append(Offer(entries, period, source))
    return combine(feature, offers, terms.customer.timezone, at) if offers else None


def features_of(terms: CustomerTerms, at: datetime) -> list[str]:
    """The features to which the customer has rights at the instant `at`, by key."""
    found = set(terms.entitlements)
    for _, phase in _running(terms, at):
        found.update(one.feature for one in phase.plan.entitlements)
    return sorted(found)


def _running(terms: CustomerTerms, at: datetime) -> Iterator[tuple[Subscription, Phase]]:
    for subscription in terms.subscriptions:
        phase = subscription.phase_at(at)
        if phase is not None:
            yield subscription, phase
