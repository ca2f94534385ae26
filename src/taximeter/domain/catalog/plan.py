"""A plan version and its prices, as values.

Owns their shape and invariants. Reading and checking the seller's document is
catalog/document.py; turning a quantity into an amount is domain/rating.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.catalog.segment import ANYBODY, Segment
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import PeriodUnit

Timing = Literal["advance", "arrears"]
Settle = Literal["invoice", "wallet"]
Retries = Literal["once", "each"]
HumanReview = Literal["bill", "free"]


@dataclass(frozen=True, slots=True)
class PerUnit:
    """q / per x unit."""

    unit: Decimal
    per: Decimal


@dataclass(frozen=True, slots=True)
class Package:
    """ceil(max(0, q - free) / size) x amount."""

    amount: Decimal
    size: Decimal
    free: Decimal


@dataclass(frozen=True, slots=True)
class Tier:
    """Up to and including `up_to` (None: without end): `unit` for each `per`, and `flat` once."""

    up_to: Decimal | None
    unit: Decimal
    per: Decimal
    flat: Decimal


@dataclass(frozen=True, slots=True)
class Graduated:
    """Each tier's units at that tier's price; a flat fee once its tier is entered."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    """All units at the price of the tier that q falls in, plus its flat fee."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class Stairstep:
    """The flat fee of the tier that q falls in."""

    tiers: tuple[Tier, ...]


QuantityModel = PerUnit | Package | Graduated | Volume | Stairstep


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate of a dimensional price: it takes usage whose dimensions have these values."""

    match: tuple[tuple[str, str], ...]
    model: QuantityModel


@dataclass(frozen=True, slots=True)
class Dimensional:
    """The rate with most matched dimensions wins, then the order written; what no rate matches
    follows `otherwise`.

    `by_shape` is derived from `rates`: for each set of dimension names that rates ask for, the
    longest first, the values asked for and the first rate that does. So a match costs one
    look-up a shape, however many rates there are.
    """

    dimensions: tuple[str, ...]
    rates: tuple[Rate, ...]
    otherwise: Literal["quarantine", "zero"] | QuantityModel
    by_shape: tuple[tuple[tuple[str, ...], Mapping[tuple[str | None, ...], int]], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        shapes: dict[tuple[str, ...], dict[tuple[str | None, ...], int]] = {}
        for index, rate in enumerate(self.rates):
            assert rate.match, "a rate matches something; what matches nothing is `otherwise`"
            names, values = zip(*rate.match, strict=True)
            shapes.setdefault(names, {}).setdefault(values, index)
        longest_first = sorted(shapes.items(), key=lambda shape: -len(shape[0]))
        object.__setattr__(self, "by_shape", tuple(longest_first))


@dataclass(frozen=True, slots=True)
class Discount:
    """Exactly one of a percent (0 to 100) or an amount off."""

    percent: Decimal | None
    amount: Decimal | None

    def __post_init__(self) -> None:
        assert (self.percent is None) != (self.amount is None), "percent or amount"


@dataclass(frozen=True, slots=True)
class FlatPrice:
    """A fee for each period, billed before (`advance`) or after (`arrears`) it.

    `period` is the price's own where it differs from the plan's, else None.
    """

    key: str
    name: str
    asset: str
    amount: Decimal
    timing: Timing
    period: PeriodUnit | None
    discount: Discount | None


@dataclass(frozen=True, slots=True)
class SeatPrice:
    """A fee for each seat; the subscription's quantity named by `key` says how many."""

    key: str
    name: str
    asset: str
    model: QuantityModel
    timing: Timing
    period: PeriodUnit | None
    discount: Discount | None


@dataclass(frozen=True, slots=True)
class OutcomeTerms:
    """Usage is billed once its outcome is confirmed.

    An outcome confirms itself `auto_confirm_s` seconds after its last event was received (None:
    never), and can be taken back for `reversible_s` seconds after (None: for ever). Of several
    events of one outcome `once` bills the first alone, `each` all; `free` bills no outcome that
    needed a person.
    """

    auto_confirm_s: int | None
    reversible_s: int | None
    retries: Retries
    human_review: HumanReview


@dataclass(frozen=True, slots=True)
class UsagePrice:
    """A price for what a meter counts. In order: `included` units free, the model, the discount,
    the maximum, the minimum (both per period). With `outcome` it bills confirmed outcomes only.
    """

    key: str
    name: str
    asset: str
    meter: str
    model: QuantityModel | Dimensional
    settle: Settle
    period: PeriodUnit | None
    included: Decimal
    discount: Discount | None
    maximum: Decimal | None
    minimum: Decimal | None
    outcome: OutcomeTerms | None = None

    def __post_init__(self) -> None:
        assert self.included >= ZERO, "included units are not negative"


Price = FlatPrice | SeatPrice | UsagePrice


@dataclass(frozen=True, slots=True)
class Plan:
    """One immutable version of a plan. `grace_s` is how long a draft waits for late usage after
    its period's end. `minimum` is per period over all fees and usage that belong to it, less what
    discounts take off them; `discount` is the plan's own, off whole invoices. `family` names plans
    of which `segment` says whom each is for.
    """

    key: str
    version: int
    name: str
    currency: str
    period: PeriodUnit
    prices: tuple[Price, ...]
    minimum: Decimal | None
    grace_s: int
    family: str | None = None
    segment: Segment = ANYBODY
    discount: InvoiceDiscount | None = None

    def price(self, key: str) -> Price | None:
        """The price named `key`, if there is one."""
        return next((price for price in self.prices if price.key == key), None)
