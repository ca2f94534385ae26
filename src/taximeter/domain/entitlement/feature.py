"""Features: what a customer may use at an instant, and how much of it.

Owns how entries of one source and of several come together, which window of a quota an instant
lies in, what forbids more, and which limit is the one to tell. What was used is counted elsewhere.

All entries of one source hold together. Where several sources name a feature (the plans of
several subscriptions), each of its limits is the most generous that one of them states: one that
a source does not set does not bind. A source that switches the feature off is passed over where
another one has it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.entitlement import (
    Entitlement,
    Overage,
    Quota,
    QuotaWindow,
    Rate,
    RatePer,
    Slots,
    Switch,
)
from taximeter.domain.entitlement.budget import ALWAYS, window_of
from taximeter.domain.metering.window import window_at
from taximeter.kernel.quantity import ONE, ZERO, parse_decimal
from taximeter.kernel.times import Period


@dataclass(frozen=True, slots=True)
class PlanSource:
    """The plan version of a running subscription."""

    plan: str
    version: int
    subscription: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What one source says of one feature: at least one entry. `period` is the billing period that
    its windows of that name are; `source` None: agreed with the customer alone.
    """

    entries: tuple[Entitlement, ...]
    period: Period | None
    source: PlanSource | None

    def __post_init__(self) -> None:
        assert self.entries, "what says nothing of a feature is no offer"

    @property
    def switch(self) -> Switch | None:
        """The entry that switches the feature, if one does."""
        return next((one for one in self.entries if isinstance(one, Switch)), None)

    @property
    def enabled(self) -> bool:
        """Whether the feature is on: it is, unless it is switched off."""
        return self.switch is None or self.switch.value is not False


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `limit` of what `meter` counts within `window`, a window of the length `each`; where
    it `blocks`, more is refused.
    """

    meter: str
    limit: Decimal
    blocks: bool
    each: QuotaWindow
    window: Period

    @property
    def resets_at(self) -> datetime | None:
        """When the window ends; None: never."""
        return None if self.window == ALWAYS else self.window.end


@dataclass(frozen=True, slots=True)
class Rights:
    """What holds for one feature: whether it is `enabled`; the `value` that it is switched to
    (None: no entry switches it); of how many holds at once (`slots`, None: any number) it allows;
    and all `quotas` and `rates`, each of which applies. `sources` are the plans that say so; none
    where it was agreed with the customer alone.
    """

    feature: str
    enabled: bool
    value: bool | str | None
    slots: int | None
    quotas: tuple[Allowance, ...]
    sources: tuple[PlanSource, ...]
    rates: tuple[Rate, ...] = ()


def combine(feature: str, offers: Sequence[Offer], timezone: str, at: datetime) -> Rights:
    """The rights that these offers give at the instant `at`, in the customer's `timezone`; the
    first offers decide what the others say differently and nobody can compare.
    """
    assert offers, "a feature that nothing names has no rights"
    on = [offer for offer in offers if offer.enabled]
    sources = tuple(offer.source for offer in on or offers if offer.source is not None)
    if not on:
        return Rights(feature, enabled=False, value=False, slots=None, quotas=(), sources=sources)
    quotas = tuple(_quotas(on, timezone, at))
    return Rights(
        feature, enabled=True, value=_value(on), slots=_slots(on), quotas=quotas, sources=sources,
        rates=tuple(_rates(on, feature)),
    )  # fmt: skip


def _value(offers: Iterable[Offer]) -> bool | str | None:
    """The first setting; where all are numbers, the largest."""
    values = [offer.switch.value for offer in offers if offer.switch is not None]
    if not values:
        return None
    best: tuple[Decimal, str] | None = None
    for value in values:
        number = parse_decimal(value) if isinstance(value, str) else None
        if number is None or not isinstance(value, str):
            return values[0]
        if best is None or number > best[0]:
            best = number, value
    assert best is not None, "there is a value"
    return best[1]


def _slots(offers: Iterable[Offer]) -> int | None:
    best = 0
    for offer in offers:
        own = [one.concurrency for one in offer.entries if isinstance(one, Slots)]
        if not own:
            return None
        best = max(best, min(own))
    return best


def _rates(offers: Sequence[Offer], feature: str) -> Iterable[Rate]:
    limits = [_rate_limits(offer) for offer in offers]
    for per in limits[0]:
        if all(per in own for own in limits):
            yield Rate(feature, max(own[per] for own in limits), per)


def _rate_limits(offer: Offer) -> dict[RatePer, Decimal]:
    """The limit of each length; where several are stated, the smallest is what holds."""
    found: dict[RatePer, Decimal] = {}
    for one in offer.entries:
        if isinstance(one, Rate):
            found[one.per] = min(one.limit, found.get(one.per, one.limit))
    return found


_Kind = tuple[str, QuotaWindow, Overage]


def _quotas(offers: Sequence[Offer], timezone: str, at: datetime) -> Iterable[Allowance]:
    limits = [_limits(offer) for offer in offers]
    for kind in limits[0]:
        if not all(kind in own for own in limits):
            continue
        best = max(range(len(offers)), key=lambda n: limits[n][kind])
        meter, each, overage = kind
        window = quota_window(each, timezone, at, offers[best].period)
        yield Allowance(meter, limits[best][kind], overage == "block", each, window)


def _limits(offer: Offer) -> dict[_Kind, Decimal]:
    """The limit of each kind; where several are stated, the smallest is what holds."""
    found: dict[_Kind, Decimal] = {}
    for one in offer.entries:
        if isinstance(one, Quota):
            kind = (one.meter, one.window, one.overage)
            found[kind] = min(one.limit, found.get(kind, one.limit))
    return found


def quota_window(
    each: QuotaWindow, timezone: str, at: datetime, period: Period | None = None
) -> Period:
    """The window that contains the instant `at`. Minutes and hours are counted from the local
    midnight; the others are as those of budgets.
    """
    if each == "minute" or each == "hour":
        return window_at(each, timezone, at)
    return window_of(each, timezone, at, period)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one limit is used. Where it `blocks`, more than the limit is refused."""

    limit: Decimal
    used: Decimal
    blocks: bool
    resets_at: datetime | None

    @property
    def remaining(self) -> Decimal:
        """What is left; never below zero."""
        return max(ZERO, self.limit - self.used)

    def takes(self, quantity: Decimal) -> bool:
        """Whether `quantity` more is allowed."""
        return not self.blocks or self.used + quantity <= self.limit


def binding(standings: Iterable[Standing], quantity: Decimal) -> Standing | None:
    """The limit that matters most to `quantity` more: one that refuses it, else one that could;
    of these the one with least left, and of several such the one that resets last.
    """

    def rank(one: Standing) -> tuple[bool, bool, Decimal, timedelta]:
        early = ALWAYS.end - (one.resets_at or ALWAYS.end)
        return one.takes(quantity), not one.blocks, one.remaining, early

    return min(standings, key=rank, default=None)


@dataclass(frozen=True, slots=True)
class FeatureStanding:
    """One feature as it stands for a customer at an instant: the `rights` to it (None: nothing that
    the customer has names it), how far each of its `quotas` and `rates` is used, in their order,
    and its `slots` (None: as many holds as there may be). What open holds reserve is used.
    """

    feature: str
    rights: Rights | None
    quotas: tuple[Standing, ...]
    slots: Standing | None
    rates: tuple[Standing, ...] = ()

    def reason(self, quantity: Decimal) -> Literal["entitlement", "concurrency"] | None:
        """What forbids `quantity` more, of what takes one slot at most; None: it is allowed."""
        on = self.rights is not None and self.rights.enabled
        if not on or not all(one.takes(quantity) for one in (*self.quotas, *self.rates)):
            return "entitlement"
        free = self.slots is None or self.slots.takes(min(quantity, ONE))
        return None if free else "concurrency"

    def binding(self, quantity: Decimal) -> Standing | None:
        """The limit that tells about `quantity` more; None where there is none. Slots do where
        they are what forbids it, or all there is.
        """
        limits = (*self.quotas, *self.rates)
        if self.reason(quantity) == "concurrency" or not limits:
            return self.slots
        return binding(limits, quantity)
