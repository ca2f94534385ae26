"""Which values of a meter's dimensions are kept apart, and which are counted together as @other.

Owns the rule: of each dimension, a customer's first `dimension_limit` values of a calendar month in
UTC are kept apart; whatever else comes is counted as `@other`, in totals and hours of the month, so
that what a total takes does not grow with what a client sends. A value that a rate of a price
names is never folded for that price. Which values are kept is stored, in the order in which they
came, so usage that is counted again folds as it did.

As a rule a batch brings no new value, and nothing is read: a route remembers what is kept, and only
what is committed.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Protocol

from psycopg.errors import SerializationFailure

from taximeter.domain.catalog.meter import OTHER, Meter
from taximeter.domain.catalog.plan import Dimensional
from taximeter.domain.subscription.routing import Kept, MeterRoute, Target
from taximeter.kernel.times import Period
from taximeter.storage import kept_values as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.ingestion import Connection
from taximeter.storage.kept_values import KeptKey, KeptRow

MONTHS_REMEMBERED_MAX = 4
COMBINATIONS_REMEMBERED_MAX = 10_000

# By dimension, the values that are kept.
_Full = dict[tuple[KeptKey, str], Set[str]]


class Seen(Protocol):
    """Values of the dimensions of a customer's meter, at some time within an hour."""

    @property
    def customer(self) -> str:
        """Whose usage it is."""

    @property
    def route(self) -> MeterRoute:
        """What read the values: of its meter's dimensions, and perhaps more."""

    @property
    def values(self) -> tuple[str, ...]:
        """The values, in the order of the route's names."""

    @property
    def hour(self) -> datetime:
        """The beginning of the hour."""


class Folding:
    """The dimensions of which a batch has values that are not kept, with those that are."""

    def __init__(self, full: Mapping[tuple[KeptKey, str], Set[str]]) -> None:
        self._full = full
        self._named: dict[int, Mapping[str, Set[str]]] = {}

    def fold(self, seen: Seen, target: Target | None = None) -> tuple[str, ...]:
        """The values under which usage is counted: for a price's `target`, or in hours."""
        meter = seen.route.meter
        if not self._full or meter.dimension_limit is None:
            return seen.values
        key = _key_of(seen)
        named = self._names_of(target) if target is not None else {}
        found = list(seen.values)
        for index, name in enumerate(meter.dimensions):
            kept = self._full.get((key, name))
            value = found[index]
            if kept is not None and value not in kept and value not in named.get(name, ()):
                found[index] = OTHER
        return tuple(found)

    def _names_of(self, target: Target) -> Mapping[str, Set[str]]:
        named = self._named.get(id(target))
        if named is None:
            model, found = target.price.model, dict[str, set[str]]()
            for rate in model.rates if isinstance(model, Dimensional) else ():
                for name, value in rate.match:
                    found.setdefault(name, set()).add(value)
            named = self._named[id(target)] = found
        return named


NO_FOLDING = Folding({})


async def folding_of(
    connection: Connection, seen: Iterable[Seen], *, keeping: bool = True
) -> Folding:
    """How these values are folded; new ones are kept while there is room. Without `keeping`
    nothing is written: a new value is taken to be kept where there is room for it.

    Raises `SerializationFailure` where another process kept a value meanwhile.
    """
    unsure = []
    for one in seen:
        route = one.route
        if route.meter.dimension_limit is None:
            continue
        hour = one.hour
        known = route.kept.get((hour.year, hour.month))
        if known is None or (one.values not in known.passed and not _passes(known, one.values)):
            unsure.append(one)
    if not unsure:
        return NO_FOLDING
    full: _Full = {}
    unknown: dict[KeptKey, list[Seen]] = {}
    for one in unsure:
        if not _is_folded(one, full):
            unknown.setdefault(_key_of(one), []).append(one)
    if unknown:
        full |= await _keep(connection, unknown, keeping=keeping)
    return Folding(full) if full else NO_FOLDING


def _passes(known: Kept, values: tuple[str, ...]) -> bool:
    if any(value not in kept for value, kept in zip(values, known.values, strict=False)):
        return False
    if len(known.passed) < COMBINATIONS_REMEMBERED_MAX:
        known.passed.add(values)
    return True


def _is_folded(seen: Seen, full: _Full) -> bool:
    """Whether all that is not known to be kept is of dimensions that are full; these are added."""
    known = seen.route.kept.get((seen.hour.year, seen.hour.month))
    if known is None:
        return False
    places = [n for n, kept in enumerate(known.values) if seen.values[n] not in kept]
    if not all(known.full[n] for n in places):
        return False
    for n in places:
        full[_key_of(seen), seen.route.meter.dimensions[n]] = known.values[n]
    return True


async def _keep(
    connection: Connection, unknown: Mapping[KeptKey, Sequence[Seen]], *, keeping: bool
) -> _Full:
    """Keep what there is room for; returns what is kept of the dimensions that are full."""
    stored = await storage.read(connection, list(unknown))
    rows: list[KeptRow] = []
    full: _Full = {}
    for key, those in unknown.items():
        meter = those[0].route.meter
        limit = meter.dimension_limit
        assert limit is not None, "only what has a limit is looked up"
        nothing = storage.Values(frozenset(), own=False)
        found = [stored.get((key, name), nothing) for name in meter.dimensions]
        if not any(one.own for one in found):
            sets = tuple([one.values for one in found])
            _remember(those, Kept(sets, tuple([len(values) >= limit for values in sets]), set()))
        for n, name in enumerate(meter.dimensions):
            kept = found[n].values
            new = [one for one in dict.fromkeys(s.values[n] for s in those) if one not in kept]
            room = max(0, limit - len(kept))
            rows += [
                KeptRow(*key, name, value, ordinal)
                for ordinal, value in enumerate(new[:room], start=len(kept) + 1)
            ]
            if len(new) > room:
                full[key, name] = kept | frozenset(new[:room])
    if rows and keeping:
        rows.sort(key=lambda row: (row.customer, row.meter, row.version, row.month, row.name))
        if not await storage.insert(connection, rows):
            raise SerializationFailure("another process kept a value meanwhile")
    return full


def _remember(those: Sequence[Seen], kept: Kept) -> None:
    """Have the routes of these know what is kept in their month."""
    for one in those:
        if len(one.route.kept) >= MONTHS_REMEMBERED_MAX:
            one.route.kept.clear()
        one.route.kept[one.hour.year, one.hour.month] = kept


def _key_of(seen: Seen) -> KeptKey:
    meter: Meter = seen.route.meter
    return KeptKey(seen.customer, meter.key, meter.version, _month_of(seen.hour))


def _month_of(at: datetime) -> datetime:
    """The beginning of the calendar month in UTC."""
    return datetime(at.year, at.month, 1, tzinfo=UTC)


class FoldedValues:
    """How the values of one customer's meter were folded in some months, for who reads events."""

    def __init__(self, kept: Mapping[tuple[datetime, str], Sequence[Set[str]]]) -> None:
        self._kept = kept

    def shown(self, name: str, value: str, at: datetime) -> str:
        """As what a value of the dimension `name` is counted at this instant."""
        kept = self._kept.get((_month_of(at), name))
        return value if kept is None or any(value in values for values in kept) else OTHER


async def folded_values(
    connection: Connection, customer: str, key: str, span: Period
) -> FoldedValues:
    """How values of a customer's meter were folded in the months that `span` touches."""
    limits = {
        meter.version: meter.dimension_limit
        for _, meter in await term_storage.meter_versions(connection)
        if meter.key == key
    }
    kept: dict[tuple[datetime, str], list[Set[str]]] = {}
    full = set()
    for version, month, name, values in await storage.kept_in(connection, customer, key, span):
        kept.setdefault((month, name), []).append(values)
        limit = limits[version]
        if limit is not None and len(values) >= limit:
            full.add((month, name))
    return FoldedValues({place: kept[place] for place in full})
