"""What a plan entitles its customers to, as values: features switched, bounded by use, by how
much of them runs at once, or by how fast it is begun.

Owns their shape and invariants. Reading the seller's document is entitlement_document.py; what a
customer may do at an instant is domain/entitlement/feature.py.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from taximeter.kernel.quantity import ZERO

QuotaWindow = Literal["minute", "hour", "day", "week", "month", "period", "total"]
Overage = Literal["block", "allow"]
RatePer = Literal["second", "minute", "hour"]


@dataclass(frozen=True, slots=True)
class Switch:
    """The feature is off (`False`), on (`True`), or on with a setting: a text."""

    feature: str
    value: bool | str


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` of what `meter` counts in each `window` of the customer's time zone. With
    the overage `allow` more than that is told, but not refused.
    """

    feature: str
    meter: str
    limit: Decimal
    window: QuotaWindow
    overage: Overage

    def __post_init__(self) -> None:
        assert self.limit >= ZERO, "a quota is not negative"


@dataclass(frozen=True, slots=True)
class Slots:
    """At most `concurrency` open holds that name the feature."""

    feature: str
    concurrency: int

    def __post_init__(self) -> None:
        assert self.concurrency >= 0, "slots are not negative"


@dataclass(frozen=True, slots=True)
class Rate:
    """Holds that name the feature are placed for at most `limit` of it, by their quantity, in each
    `per` of UTC: a second, a minute or an hour.
    """

    feature: str
    limit: Decimal
    per: RatePer

    def __post_init__(self) -> None:
        assert self.limit >= ZERO, "a rate is not negative"


Entitlement = Switch | Quota | Slots | Rate
