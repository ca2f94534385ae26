"""A discount that a subscription was given: its own, or a coupon's. Owns the value only."""

from dataclasses import dataclass
from datetime import datetime

from taximeter.domain.catalog.discount import InvoiceDiscount


@dataclass(frozen=True, slots=True)
class SubscriptionDiscount:
    """In force from `starts_at` until `ended_at` (None: as long as its terms say).

    `coupon` and `version` are what was redeemed, None for the subscription's own discount.
    """

    id: str
    customer: str
    subscription: str
    coupon: str | None
    version: int | None
    discount: InvoiceDiscount
    starts_at: datetime
    ended_at: datetime | None
    created_at: datetime
