"""Discounts on whole invoices, and coupons that give them, as values.

Owns their shape and invariants. Reading the seller's document is catalog/discount_document.py;
which lines of an invoice a discount takes is domain/invoicing/discounts.py.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class InvoiceDiscount:
    """Exactly one of a percent (0 to 100) of an invoice's lines or an amount off them.

    `months` is how long it lasts (None: for good). `prices` and `plans` are the keys of those
    whose lines it takes (None: all). It takes what begins in [`starts_at`, `ends_at`) only.
    """

    percent: Decimal | None
    amount: Decimal | None
    months: int | None = None
    prices: tuple[str, ...] | None = None
    plans: tuple[str, ...] | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        assert (self.percent is None) != (self.amount is None), "percent or amount"

    def names(self, *, price: str | None, plan: str) -> bool:
        """Whether lines of this price of this plan are among those that it takes."""
        if self.plans is not None and plan not in self.plans:
            return False
        return self.prices is None or price in self.prices


@dataclass(frozen=True, slots=True)
class Coupon:
    """A discount that customers redeem. `currency` is that of its amount (percent: None).

    It is redeemed from `redeem_from` until before `redeem_by`, at most `redemptions_max` times by
    all and `per_customer_max` times by one customer; with `first_time_only` by customers that no
    invoice was made for yet.
    """

    key: str
    version: int
    name: str
    currency: str | None
    discount: InvoiceDiscount
    redeem_from: datetime | None
    redeem_by: datetime | None
    redemptions_max: int | None
    per_customer_max: int
    first_time_only: bool

    def __post_init__(self) -> None:
        assert (self.currency is None) == (self.discount.amount is None), "an amount has a currency"
