"""A plan version and its prices, as values.

Owns their shape and invariants. Reading and checking the seller's document is
catalog/document.py; turning a quantity into an amount is domain/rating.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from taximeter.domain.catalog.credit import Commitment, CreditUnit, PlanCredit
from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.catalog.entitlement import Entitlement
from taximeter.domain.catalog.margin import MarginFloor
from taximeter.domain.catalog.segment import ANYBODY, Segment
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.kernel.times import PeriodUnit

Timing = Literal["advance", "arrears"]
Settle = Literal["invoice", "wallet"]
Enforcement = Literal["hard", "soft"]
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
    """Up to and including `up_to` (None: without end): `unit` for each `per`, and `flat` once. In
    `blocks`, a `per` that is begun is paid in full.
    """

    up_to: Decimal | None
    unit: Decimal
    per: Decimal
    flat: Decimal
    blocks: bool = False


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


@dataclass(frozen=True, slots=True)
class PercentTier:
    """Up to and including `up_to` (None: without end): `percent` of the amount, and `flat` once."""

    up_to: Decimal | None
    percent: Decimal
    flat: Decimal


@dataclass(frozen=True, slots=True)
class GraduatedPercentage:
    """Each tier's part of the amount at that tier's percent; a flat fee once it is entered."""

    tiers: tuple[PercentTier, ...]


@dataclass(frozen=True, slots=True)
class Percentage:
    """Of an amount that each event carries: `percent` and, for each event, `fixed`; together at
    least `min_per_event` and at most `max_per_event`. The first `free_events` events, and the
    first `free_amount` of the amounts, are free: whichever allowance ends first ends both.
    """

    percent: Decimal
    fixed: Decimal
    free_events: int
    free_amount: Decimal
    min_per_event: Decimal | None
    max_per_event: Decimal | None

    @property
    def by_event(self) -> bool:
        """Whether the price depends on single events, not on the sum of their amounts alone."""
        bounds = (self.min_per_event, self.max_per_event)
        return self.free_events > 0 or self.fixed > ZERO or bounds != (None, None)

    @property
    def in_order(self) -> bool:
        """Whether the price depends on which events came first."""
        return self.by_event and (self.free_events > 0 or self.free_amount > ZERO)


@dataclass(frozen=True, slots=True)
class CostPlus:
    """What each event cost, `markup_percent` more, and `markup_fixed` for each event."""

    markup_percent: Decimal
    markup_fixed: Decimal


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A price that each event carries in the property `value`, times `factor`."""

    value: str
    factor: Decimal


QuantityModel = (
    PerUnit | Package | Graduated | Volume | Stairstep | GraduatedPercentage | Percentage
)
FeeModel = CostPlus | Dynamic
RateModel = QuantityModel | FeeModel


def has_fees(model: RateModel) -> bool:
    """Whether each event has a fee of its own under the model."""
    return isinstance(model, CostPlus | Dynamic) or (
        isinstance(model, Percentage) and model.by_event
    )


@dataclass(frozen=True, slots=True)
class Condition:
    """What the property `name` of an event must be: one of `values` (as text), or, where there are
    none, a number above, at least, below or at most the bounds that are given.
    """

    name: str
    values: tuple[str, ...] = ()
    above: Decimal | None = None
    at_least: Decimal | None = None
    below: Decimal | None = None
    at_most: Decimal | None = None

    @property
    def text(self) -> str:
        """`batch true`, `input_tokens above 200000`."""
        if self.values:
            return f"{self.name} {' or '.join(self.values)}"
        words = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
        bounds = [(word, getattr(self, field)) for field, word in words.items()]
        said = [f"{word} {format_decimal(bound)}" for word, bound in bounds if bound is not None]
        return f"{self.name} {' and '.join(said)}"


@dataclass(frozen=True, slots=True)
class Multiplier:
    """`factor` on the amount of the events for which all of `when` hold."""

    when: tuple[Condition, ...]
    factor: Decimal

    def __post_init__(self) -> None:
        assert self.when, "a multiplier says when"


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate of a dimensional price: it takes usage whose dimensions have the values of `match`
    and for which the `ranges` hold.
    """

    match: tuple[tuple[str, str], ...]
    model: RateModel
    ranges: tuple[Condition, ...] = ()

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What the rate is known by: names and what is asked of them, in text."""
        asked = [(one.name, one.text.removeprefix(f"{one.name} ")) for one in self.ranges]
        return tuple(sorted([*self.match, *asked]))


@dataclass(frozen=True, slots=True)
class Dimensional:
    """The rate with most matched dimensions wins, then the order written; what no rate matches
    follows `otherwise`.

    `by_shape` is derived from `rates`: for each set of dimension names that rates ask for, the
    longest first, the values asked for and the first rate that does. So a match costs one
    look-up a shape, however many rates there are. Where a rate has ranges, they are tried one by
    one instead, and each event finds its rate when it is read (`by_event`). `with_fees`: under
    some rate, events have fees of their own. `extremes`: the models of rates of which one costs
    most, and one least, whatever the quantity.
    """

    dimensions: tuple[str, ...]
    rates: tuple[Rate, ...]
    otherwise: Literal["quarantine", "zero"] | RateModel
    by_event: bool = field(init=False, repr=False, compare=False)
    with_fees: bool = field(init=False, repr=False, compare=False)
    by_shape: tuple[tuple[tuple[str, ...], Mapping[tuple[str | None, ...], int]], ...] = field(
        init=False, repr=False, compare=False
    )
    extremes: tuple[RateModel, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes: dict[tuple[str, ...], dict[tuple[str | None, ...], int]] = {}
        for index, rate in enumerate(self.rates):
            assert rate.key, "a rate matches something; what matches nothing is `otherwise`"
            if rate.match:
                names, values = zip(*rate.match, strict=True)
                shapes.setdefault(names, {}).setdefault(values, index)
        object.__setattr__(self, "by_event", any(rate.ranges for rate in self.rates))
        models = [rate.model for rate in self.rates]
        object.__setattr__(self, "extremes", _extremes(models))
        if not isinstance(self.otherwise, str):
            models.append(self.otherwise)
        object.__setattr__(self, "with_fees", any(has_fees(model) for model in models))
        longest_first = sorted(shapes.items(), key=lambda shape: -len(shape[0]))
        object.__setattr__(self, "by_shape", tuple(longest_first))


def _extremes(models: Sequence[RateModel]) -> tuple[RateModel, ...]:
    """These models without the units that cost neither least nor most, and without repeats."""
    units = [one for one in models if isinstance(one, PerUnit)]
    others: list[RateModel] = [one for one in models if not isinstance(one, PerUnit)]
    if units:
        others += [min(units, key=_each), max(units, key=_each)]
    return tuple(dict.fromkeys(others))


def _each(model: PerUnit) -> Fraction:
    return Fraction(model.unit) / Fraction(model.per)


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


UsageModel = RateModel | Dimensional


@dataclass(frozen=True, slots=True)
class ShareOf:
    """Units included by `percent` of what the price `price` of the same group counts."""

    percent: Decimal
    price: str


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
    """A price for what a meter counts. In order: `included` units free, the model (over the
    `pool`), the multipliers, the discount, the maximum a day and a period, the minimum. With
    `outcome` it bills confirmed outcomes only.

    `group` are the prices that are rated together with this one, itself among them, in the order
    written, each without its own group: those of one pool, and those whose usage gives others a
    share. They change together, so that their segments always begin and end together.

    `alone` is derived: the amount depends on the price's own quantities by dimension, and on
    nothing else, unless the meter has buckets.
    """

    key: str
    name: str
    asset: str
    meter: str
    model: UsageModel
    settle: Settle
    period: PeriodUnit | None
    included: Decimal | ShareOf
    discount: Discount | None
    maximum: Decimal | None
    minimum: Decimal | None
    outcome: OutcomeTerms | None = None
    maximum_per_day: Decimal | None = None
    multipliers: tuple[Multiplier, ...] = ()
    pool: str | None = None
    group: "tuple[UsagePrice, ...]" = ()
    alone: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert isinstance(self.included, ShareOf) or self.included >= ZERO, "included units"
        assert not self.group or self.key in {one.key for one in self.group}, "its own group"
        by_event = isinstance(self.model, Dimensional) and self.model.by_event
        bent = self.group or self.multipliers or self.maximum_per_day is not None
        object.__setattr__(self, "alone", not (bent or by_event or self.with_fees))

    @property
    def with_fees(self) -> bool:
        """Whether some events have a fee of their own under this price."""
        model = self.model
        return model.with_fees if isinstance(model, Dimensional) else has_fees(model)


Price = FlatPrice | SeatPrice | UsagePrice


@dataclass(frozen=True, slots=True)
class Plan:
    """One immutable version of a plan. `grace_s` is how long a draft waits for late usage after
    its period's end. `minimum` is per period over all fees and usage that belong to it, less what
    discounts take off them; `discount` is the plan's own, off whole invoices. `family` names plans
    of which `segment` says whom each is for.
    `entitlements` say what its customers may do: they never change an amount.
    `trial_days` is how long a new subscription is free of fees, in local days. `margin` is what
    each call must leave over. `enforcement` says whether limits of money refuse what its customers
    do, or tell.

    `document` is what the seller published, from which deal.py prices what one customer agreed.
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
    credits: tuple[PlanCredit, ...] = ()
    assets: tuple[CreditUnit, ...] = ()
    commitment: Commitment | None = None
    entitlements: tuple[Entitlement, ...] = ()
    trial_days: int = 0
    margin: MarginFloor | None = None
    enforcement: Enforcement = "hard"
    document: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def price(self, key: str) -> Price | None:
        """The price named `key`, if there is one."""
        return next((price for price in self.prices if price.key == key), None)

    def credit(self, key: str) -> PlanCredit | None:
        """The credit named `key`, if there is one."""
        return next((credit for credit in self.credits if credit.key == key), None)

    def unit_price(self, asset: str) -> Decimal | None:
        """What a unit of `asset` past the grants costs, if it has a price."""
        return next((one.unit_price for one in self.assets if one.asset == asset), None)
