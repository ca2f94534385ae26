"""A customer as billing sees them. Owns the value only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from taximeter.domain.subscription.subscription import Subscription

Enforcement = Literal["hard", "soft"]


@dataclass(frozen=True, slots=True)
class Customer:
    """`document` is what the seller sent, as it is answered again."""

    key: str
    currency: str
    timezone: str
    enforcement: Enforcement
    document: Mapping[str, object]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CustomerTerms:
    """What prices a customer's usage: the customer and their subscriptions, oldest first."""

    customer: Customer
    subscriptions: tuple[Subscription, ...]
