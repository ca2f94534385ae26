"""Runs of agents: the tree of their steps, with what each used, what it was priced at and what it
cost, rolled up.

Owns which events a run has and how they are told apart. A run is read, never kept: it is what its
events say now. Prices are those of the totals of this moment: each unit at its own price where the
price is linear, at the average of its rate where it is not.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from taximeter.domain.catalog.meter import ADDING, Meter
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.event_cost import event_cost
from taximeter.domain.metering.fold import Tally, folded_quantity
from taximeter.domain.metering.trace import Node, place_of, run_name, tree
from taximeter.domain.rating.rate import price_amount
from taximeter.domain.rating.share import Averages
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.routing import Reading, Target
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, invalid_cursor, make_page
from taximeter.kernel.times import Period, format_instant, parse_instant
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.services.cost import SegmentKey, of_usage
from taximeter.services.count import (
    Counted,
    Total,
    fold_events,
    outcome_totals,
    share_of,
    targets_of,
    totals_of,
)
from taximeter.services.dimensions import dimensions_of
from taximeter.services.epochs import epochs_of, read_as_counted
from taximeter.services.opening import BilledOf, billed_as_opened
from taximeter.services.segment_usage import read_usage
from taximeter.storage import customers as customer_storage
from taximeter.storage import outcomes as outcome_storage
from taximeter.storage import runs as storage
from taximeter.storage import terms as term_storage

RUN_EVENTS_MAX = 5_000
SPAN_DEFAULT = timedelta(days=1)
SPAN_MAX = timedelta(days=31)

RunRow: TypeAlias = storage.RunRow


@dataclass(slots=True)
class Figures:
    """What some events come to: how many, what each meter measured of them, what they were priced
    at and what they say they cost, by asset.
    """

    events: int = 0
    tallies: dict[str, tuple[Meter, Tally]] = field(default_factory=dict)
    price: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cost: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    @property
    def usage(self) -> Sequence[tuple[Meter, Decimal]]:
        """The quantity of each meter, by its key."""
        return [
            (meter, folded_quantity(meter, tally))
            for _, (meter, tally) in sorted(self.tallies.items())
        ]

    def add(self, other: "Figures") -> None:
        """Add those of other events."""
        self.events += other.events
        for key, (meter, tally) in other.tallies.items():
            self.tallies.setdefault(key, (meter, Tally()))[1].merge(meter.aggregation, tally)
        for mine, more in ((self.price, other.price), (self.cost, other.cost)):
            for asset, amount in more.items():
                mine[asset] += amount


@dataclass(frozen=True, slots=True)
class RunStep:
    """A step of a run: its own `events` and `figures`, and the `total` with all steps below it."""

    node: Node
    name: str
    events: Sequence[Event]
    figures: Figures
    total: Figures


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a customer. `complete` is false where it has more events than are read."""

    customer: str
    trace: str
    name: str
    start: datetime
    end: datetime
    figures: Figures
    steps: Sequence[RunStep]
    complete: bool


async def list_runs(
    context: Context,
    customer: str,
    *,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[RunRow]:
    """The runs with events from `start` on (None: of the day before `end`) and before `end` (None:
    now), those that began last first. Raises `NotFound`, `Invalid` for a span over 31 days, and
    `TooSlow`.
    """
    end = end or context.clock.now() + timedelta(microseconds=1)
    start = start or end - SPAN_DEFAULT
    if not timedelta(0) < end - start <= SPAN_MAX:
        detail = f"Say a time before `to` and at most {SPAN_MAX.days} days earlier."
        raise Invalid([FieldError("from", "out_of_range", detail)])
    parts = decode_cursor(cursor, 2)
    after = None
    if parts is not None:
        at = parse_instant(parts[0])
        if at is None:
            raise invalid_cursor()
        after = (at, parts[1])
    span = Period(start, end)

    async def read(connection: Connection) -> Sequence[RunRow]:
        if await customer_storage.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        return await storage.page(connection, customer, span, after, limit + 1)

    rows = await look(context, read)
    return make_page(rows, limit, lambda row: (format_instant(row.start), row.trace))


async def get_run(context: Context, customer: str, trace: str) -> Run:
    """One run with its steps. Raises `NotFound`."""

    async def read(connection: Connection) -> Run:
        found = await storage.events_of(connection, customer, trace, RUN_EVENTS_MAX + 1)
        terms = (await term_storage.customer_terms(connection, [customer])).get(customer)
        if not found or terms is None:
            raise NotFound(kind="run", key=trace)
        versions = await term_storage.meter_versions(connection)
        epochs = epochs_of(terms, versions)
        counted: list[Counted] = []
        for stored in found[:RUN_EVENTS_MAX]:
            readings = read_as_counted(epochs, terms, stored)
            counted.append((stored.event, () if isinstance(readings, str) else readings))
        priced = await _priced(connection, terms, counted, context.clock.now())
        steps = _steps(terms, counted, priced)
        whole = Figures()
        for step in steps:
            whole.add(step.figures)
        events = [event for event, _ in counted]
        name = next((name for event in events if (name := run_name(event))), "")
        return Run(
            customer, trace, name, events[0].time, events[-1].time, whole, steps,
            complete=len(found) <= RUN_EVENTS_MAX,
        )  # fmt: skip

    return await look(context, read)


def _steps(
    terms: CustomerTerms, counted: Sequence[Counted], priced: "_Priced"
) -> Sequence[RunStep]:
    """The steps, each before those below it."""
    by_step: dict[str, list[Counted]] = {}
    parents: dict[str, str] = {}
    names: dict[str, str] = {}
    for event, readings in counted:
        place = place_of(event)
        by_step.setdefault(place.id, []).append((event, readings))
        parents[place.id] = parents.get(place.id) or place.parent
        names[place.id] = names.get(place.id) or place.name
    nodes = tree([*parents.items()])
    own = {node.id: _figures(terms, by_step.get(node.id, ()), priced) for node in nodes}
    totals = {node.id: Figures() for node in nodes}
    for node in reversed(nodes):
        totals[node.id].add(own[node.id])
        if node.parent is not None:
            totals[node.parent].add(totals[node.id])
    return [
        RunStep(
            node, names.get(node.id, ""), [event for event, _ in by_step.get(node.id, ())],
            own[node.id], totals[node.id],
        )
        for node in nodes
    ]  # fmt: skip


def _figures(terms: CustomerTerms, counted: Sequence[Counted], priced: "_Priced") -> Figures:
    found = Figures(len(counted))
    for event, readings in counted:
        for route, _, value in readings:
            if route.measure is None and route.level is None:
                tally = found.tallies.setdefault(route.meter.key, (route.meter, Tally()))[1]
                tally.add(route.meter.aggregation, value, event)
        cost = event_cost(event.data)
        if cost is not None and cost.amount is not None:
            found.cost[cost.asset or terms.customer.currency] += cost.amount
    for asset, amount in priced.amounts(counted):
        found.price[asset] += amount
    return found


@dataclass(frozen=True, slots=True)
class _Priced:
    """Prices events by the totals of now: `targets` are the segments of meters that add up,
    `averages` of those whose price is not linear.
    """

    targets: Mapping[SegmentKey, Target]
    averages: Mapping[SegmentKey, Averages]
    billed_of: BilledOf

    def amounts(self, counted: Sequence[Counted]) -> list[tuple[str, Decimal]]:
        """What the events cost under each price, with its asset."""
        shares: dict[SegmentKey, list[tuple[Mapping[str, str], Decimal]]] = {}
        for (key, text), quantity in share_of(_adding(counted, self.billed_of)).items():
            shares.setdefault(key, []).append((dimensions_of(text), quantity))
        found = []
        for key, part in shares.items():
            target = self.targets[key]
            if target.linear:
                amount = price_amount(of_usage(target.price), part)
            else:
                amount = self.averages[key].amount(part)
            found.append((target.price.asset, amount))
        return found


async def _priced(
    connection: Connection, terms: CustomerTerms, counted: Sequence[Counted], at: datetime
) -> _Priced:
    identities = {
        (event.customer, event.source, event.id)
        for event, readings in counted
        if any(route.pending for route, _, _ in readings)
    }
    billed_of = billed_as_opened(await outcome_storage.of_events(connection, identities))
    targets = targets_of(_adding(counted, billed_of))
    subscriptions = {one.id: one for one in terms.subscriptions}
    bent = {key: target for key, target in targets.items() if not target.linear}
    wanted = [(subscriptions[target.subscription], target.segment) for target in bent.values()]
    usage = await read_usage(connection, wanted, at)
    averages = {
        key: Averages(of_usage(target.price), usage.get(key, ())) for key, target in bent.items()
    }
    return _Priced(targets, averages, billed_of)


def _adding(counted: Sequence[Counted], billed_of: BilledOf) -> list[Total]:
    """What these events add to the totals of meters that add up; of any other meter no event has a
    share.
    """
    adding: list[tuple[Event, Sequence[Reading]]] = [
        (event, [reading for reading in readings if reading[0].meter.aggregation in ADDING])
        for event, readings in counted
    ]
    return [*totals_of(fold_events(adding)), *outcome_totals(adding, billed_of)]
