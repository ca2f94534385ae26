"""How much of their quotas customers have used: what usage queries show, by event time.

Owns the way from a quota's window to a quantity. Whole hours are summed in one statement for any
number of customers; only the hours that a window cuts (minutes, zones with offsets of half an
hour) are read event by event, and only where they have usage: by the database itself, unless the
meter leaves events out or computes its value. May be used in a pipeline.
"""

from collections.abc import Sequence
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.entitlement.feature import Allowance
from taximeter.domain.metering.fold import read_value
from taximeter.domain.metering.window import floor_hour, hours_and_rest
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.context import Connection
from taximeter.services.meters import meter_of
from taximeter.storage import meters
from taximeter.storage import usage as storage
from taximeter.storage.usage import Wanted

EVENTS_PER_READ = 2_000

# The number of a quota, whose it is, its meter, and an hour's part that is in its window.
_Cut = tuple[int, str, str, Period]


async def used_of_all(
    connection: Connection, quotas: Sequence[tuple[str, Allowance]]
) -> list[Decimal]:
    """What was used of each of these quotas, given with its customer, in its window."""
    if not quotas:
        return []
    spans: list[tuple[str, str, Period]] = []
    parts: list[tuple[int, Period | None]] = []  # of each span, with the part of a cut hour
    for n, (customer, quota) in enumerate(quotas):
        whole, rest = hours_and_rest(quota.window)
        if whole is not None:
            spans.append((customer, quota.meter, whole))
            parts.append((n, None))
        for part in rest:
            spans.append((customer, quota.meter, Period(floor_hour(part.start), part.end)))
            parts.append((n, part))
    used = [ZERO] * len(quotas)
    cuts: list[_Cut] = []
    for (n, cut), total in zip(parts, await storage.hour_sums(connection, spans), strict=True):
        if cut is None:
            used[n] += total or ZERO
        elif total is not None:
            cuts.append((n, quotas[n][0], quotas[n][1].meter, cut))
    if cuts:
        await _add_cuts(connection, cuts, used)
    return used


async def _add_cuts(connection: Connection, cuts: Sequence[_Cut], used: list[Decimal]) -> None:
    """Add what the parts of cut hours come to."""
    found = await meters.find_all(connection, {meter for _, _, meter, _ in cuts})
    plain: list[tuple[int, Wanted, Period]] = []
    for n, customer, key, part in cuts:
        stored, since = found[key]
        wanted = Wanted(customer, meter_of(stored), since, ())
        if _is_plain(wanted.meter):
            plain.append((n, wanted, part))
        else:
            used[n] += await _sum_of_events(connection, wanted, part)
    if plain:
        sums = await storage.plain_sums(connection, [(wanted, part) for _, wanted, part in plain])
        for (n, _, _), total in zip(plain, sums, strict=True):
            used[n] += total


def _is_plain(meter: Meter) -> bool:
    """Whether the database can add the meter's events up: all of them, by one property."""
    whole = not meter.filter and not meter.exclude and meter.expression is None
    return whole and "." not in (meter.value or "")


async def _sum_of_events(connection: Connection, wanted: Wanted, span: Period) -> Decimal:
    total, after = ZERO, None
    while True:
        page = await storage.events_page(connection, wanted, span, after, limit=EVENTS_PER_READ)
        for event in page:
            read = read_value(wanted.meter, event.data)
            if read is not None:
                assert not isinstance(read[1], str), "a quota's meter adds up"
                total += read[1]
        if len(page) < EVENTS_PER_READ:
            return total
        after = page[-1]
