"""Where an event counts: which meters read it and which prices of which subscription it feeds.

Owns the rule that one event lands in one subscription, and every reason to quarantine. Must not
fold or rate.

An event without `subscription` is priced, meter by meter, by the customer's oldest subscription
that has a price on that meter at the event's own time; with none it is recorded at no price.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from taximeter.domain.catalog.meter import ADDING, WHOLE, Meter
from taximeter.domain.catalog.plan import Dimensional, UsagePrice
from taximeter.domain.metering.bucket import bucket_of, names_of
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import (
    Unreadable,
    Value,
    counts,
    dimension_values,
    metered_value,
)
from taximeter.domain.metering.outcome import outcome_id
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.rating.event_price import UNMATCHED_DIMENSION, EventPrice, event_price
from taximeter.domain.rating.linear import is_linear
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.levels import touched_by
from taximeter.domain.subscription.subscription import Segment, Subscription, segment_at
from taximeter.kernel.times import Period

UNKNOWN_CUSTOMER = "unknown_customer"
UNKNOWN_SUBSCRIPTION = "unknown_subscription"
NO_METER = "no_meter"
MISSING_OUTCOME = "missing_outcome"
TOO_LATE = "too_late"

ALWAYS = Period(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Target:
    """One price's segment that an event adds to. `linear`: its parts rate apart; `timezone`: the
    one its days are counted in. `place` is what its totals are known by beside the customer:
    subscription, price and start; they run until `end`.
    """

    subscription: str
    segment: Segment
    price: UsagePrice
    linear: bool
    timezone: str
    place: tuple[str, str, datetime] = field(init=False, repr=False, compare=False)
    end: datetime = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        place = (self.subscription, self.price.key, self.segment.span.start)
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "end", self.segment.span.end)


class Kept(NamedTuple):
    """The values of a meter's dimensions that are kept apart, as far as known; all of them, where a
    dimension is `full`. `passed` are combinations of which each value is kept.
    """

    values: tuple[frozenset[str], ...]
    full: tuple[bool, ...]
    passed: set[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LevelRoute:
    """Whose level an event sets: that of the `subscription` it names, or (empty) of whichever
    prices the meter. `touches` are the subscriptions whose bills that may change.
    """

    subscription: str
    touches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeterRoute:
    """One meter that reads the event, and the segments its value adds to: at once to `targets`, to
    `pending` once the event's outcome is confirmed. `adds`: values are summed (or counted), which
    the fold of a batch does on the spot. `needs_outcome`: an event that names none is quarantined.
    `names` are the dimensions by which its readings are kept apart; `chooses`: not every event of
    the type counts; `matches`: some price has rates by dimension; `simple`: an event has one
    reading, of the meter's own dimensions; `hourly`: its readings add up by hours, for charts.

    A price that has to know single events has a route of its own, which `measure` reads; these
    are the `measured` ones of the meter's plain route, which reads for charts and other prices.
    `timezone` is the customer's, whose days a meter's buckets may be. `level` is there where the
    meter measures one: then nothing is added, and `targets` only have to have a rate. `kept`
    remembers by year and month which values are kept apart.
    """

    meter: Meter
    targets: tuple[Target, ...]
    pending: tuple[Target, ...] = ()
    measured: "tuple[MeterRoute, ...]" = ()
    measure: EventPrice | None = None
    timezone: str = "UTC"
    level: LevelRoute | None = None
    matched: dict[tuple[str, ...], bool] = field(default_factory=dict, compare=False)
    kept: dict[tuple[int, int], Kept] = field(default_factory=dict, compare=False)
    adds: bool = field(init=False, compare=False)
    needs_outcome: bool = field(init=False, compare=False)
    names: tuple[str, ...] = field(init=False, compare=False)
    chooses: bool = field(init=False, compare=False)
    matches: bool = field(init=False, compare=False)
    hourly: bool = field(init=False, compare=False)
    simple: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        meter, measure = self.meter, self.measure
        waits = bool(self.pending) or any(one.pending for one in self.measured)
        simple = not (meter.bucket or meter.late_limit or waits or self.measured)
        names = names_of(meter) if measure is None else measure.names
        object.__setattr__(self, "adds", meter.aggregation in ADDING)
        object.__setattr__(self, "needs_outcome", waits)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "chooses", bool(meter.filter or meter.exclude))
        models = [target.price.model for target in (*self.targets, *self.pending)]
        object.__setattr__(self, "matches", any(isinstance(one, Dimensional) for one in models))
        hourly = not (meter.aggregation in WHOLE or meter.is_level or measure is not None)
        object.__setattr__(self, "hourly", hourly)
        object.__setattr__(self, "simple", simple)

    def priced(self, values: tuple[str, ...]) -> bool:
        """Whether every price has a rate (or an `otherwise`) for these dimension values."""
        if not self.matches:
            return True
        known = self.matched.get(values)
        if known is None:
            known = self._match(values)
            if len(self.matched) < 10_000:
                self.matched[values] = known
        return known

    def _match(self, values: tuple[str, ...]) -> bool:
        dimensions = dict(zip(self.meter.dimensions, values, strict=True))
        return all(
            match_rate(target.price.model, dimensions) is not None
            for target in (*self.targets, *self.pending)
            if isinstance(target.price.model, Dimensional)
        )


@dataclass(frozen=True, slots=True)
class Routing:
    """The routes of one event type for one customer, the same at every instant within `valid`."""

    valid: Period
    meters: tuple[MeterRoute, ...]
    reason: str | None


# What one meter reads in one event: its route, the values of its dimensions, and the metered
# value. A plain tuple: every event makes one for each meter.
Reading = tuple[MeterRoute, tuple[str, ...], Value]


def routing_at(
    terms: CustomerTerms, meters: Sequence[Meter], subscription: str | None, at: datetime
) -> Routing:
    """Where events of the type that `meters` read go, at the instant `at`; `subscription` is the
    id or key that the event names, if any.
    """
    if not meters:
        return Routing(ALWAYS, (), NO_METER)
    candidates = terms.subscriptions
    if subscription is not None:
        candidates = tuple(s for s in candidates if subscription in (s.id, s.key))
        if not candidates:
            return Routing(ALWAYS, (), UNKNOWN_SUBSCRIPTION)
    start, end = _validity(candidates, at)
    routes = []
    for meter in meters:
        targets = _targets(candidates, meter.key, at)
        for target in targets:
            start = max(start, target.segment.span.start)
            end = min(end, target.segment.span.end)
        level = _level_route(candidates, meter, subscription, at) if meter.is_level else None
        routes.append(
            replace(_route(meter, targets), timezone=terms.customer.timezone, level=level)
        )
    return Routing(Period(start, end), tuple(routes), None)


def _level_route(
    candidates: Sequence[Subscription], meter: Meter, subscription: str | None, at: datetime
) -> LevelRoute:
    named = "" if subscription is None else candidates[0].id
    touches = touched_by(candidates, meter.key, at)
    return LevelRoute(named, tuple(one.id for one in touches))


def _route(meter: Meter, targets: tuple[Target, ...]) -> MeterRoute:
    plain, pending, measured = [], [], []
    for target in targets:
        measure = event_price(target.price, meter.dimensions, target.timezone)
        waits = target.price.outcome is not None
        if measure is not None:
            at_once, later = ((), (target,)) if waits else ((target,), ())
            measured.append(MeterRoute(meter, at_once, later, measure=measure))
        elif waits:
            pending.append(target)
        else:
            plain.append(target)
    return MeterRoute(meter, tuple(plain), tuple(pending), tuple(measured))


def _validity(subscriptions: Sequence[Subscription], at: datetime) -> tuple[datetime, datetime]:
    """Between which two changes of any phase `at` lies."""
    instants = {
        instant
        for subscription in subscriptions
        for phase in subscription.phases
        for instant in (phase.starts_at, phase.ends_at)
        if instant is not None
    }
    start = max((i for i in instants if i <= at), default=ALWAYS.start)
    return start, min((i for i in instants if i > at), default=ALWAYS.end)


def _targets(subscriptions: Sequence[Subscription], meter: str, at: datetime) -> tuple[Target, ...]:
    for subscription in subscriptions:
        phase = subscription.phase_at(at)
        if phase is None:
            continue
        targets = []
        for price in phase.plan.prices:
            if isinstance(price, UsagePrice) and price.meter == meter:
                segment = segment_at(subscription, price.key, at)
                assert segment is not None, "the phase that has the price applies at this instant"
                timezone = subscription.anchor.timezone
                targets.append(Target(subscription.id, segment, price, is_linear(price), timezone))
        if targets:
            return tuple(targets)
    return ()


def read(
    routing: Routing, event: Event, *, counted: bool = False, late: bool = False
) -> tuple[Reading, ...] | str:
    """What each meter reads in the event, or the reason why it is quarantined: wholly, so that no
    part of an event is ever billed twice or forgotten. `counted`: it was taken in before, so that
    it needs no outcome now, and may have come at any time; `late`: it may so anyway.
    """
    if routing.reason is not None:
        return routing.reason
    readings: list[Reading] = []
    data = event.data
    try:
        for route in routing.meters:
            meter = route.meter
            if route.chooses and not counts(meter, data):
                continue
            values = dimension_values(meter, data) if meter.dimensions else ()
            value = metered_value(meter, data)
            if not route.priced(values):
                return UNMATCHED_DIMENSION
            if route.simple:
                readings.append((route, values, value))
                continue
            if meter.bucket is not None:
                values = (*values, bucket_of(meter.bucket, route.timezone, event.time))
            if meter.late_limit is not None and not (counted or late) and _is_late(route, event):
                return TOO_LATE
            if route.needs_outcome and not counted and outcome_id(data) is None:
                return MISSING_OUTCOME
            readings.append((route, values, value))
            for one in route.measured:
                assert one.measure is not None, "it has its own route for this"
                for apart, quantity in one.measure.read(data, event.time, values, value):
                    readings.append((one, apart, quantity))
    except Unreadable as unreadable:
        return str(unreadable)
    return tuple(readings)


def _is_late(route: MeterRoute, event: Event) -> bool:
    """Whether the event was older than its meter allows when it was received."""
    assert route.meter.late_limit is not None, "it has a limit"
    return route.meter.late_limit.after(event.time, route.timezone) < event.received_at
