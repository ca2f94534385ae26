"""How much of their quotas customers have used: what usage queries show, by event time.

Owns the way from a quota's window to a quantity. Whole hours are summed in one statement for any
number of customers; only the hours that a window cuts (minutes, zones with offsets of half an
hour) are read event by event, and only where they have usage.
"""

from collections.abc import Sequence
from decimal import Decimal

from taximeter.domain.entitlement.feature import Allowance
from taximeter.domain.metering.window import floor_hour, hours_and_rest
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period
from taximeter.services.context import Connection
from taximeter.services.usage import usage_in
from taximeter.storage.usage import hour_sums


async def used_of(
    connection: Connection, customer: str, quotas: Sequence[Allowance]
) -> list[Decimal]:
    """What the customer has used of each of these quotas in its window. Needs a transaction."""
    return await used_of_all(connection, [(customer, quota) for quota in quotas])


async def used_of_all(
    connection: Connection, quotas: Sequence[tuple[str, Allowance]]
) -> list[Decimal]:
    """As `used_of`, for the quotas of several customers, each given with its customer."""
    if not quotas:
        return []
    spans: list[tuple[str, str, Period]] = []
    owners: list[tuple[int, bool]] = []  # the quota of each span, and whether it is a cut hour
    for n, (customer, quota) in enumerate(quotas):
        whole, rest = hours_and_rest(quota.window)
        if whole is not None:
            spans.append((customer, quota.meter, whole))
            owners.append((n, False))
        for part in rest:
            spans.append((customer, quota.meter, Period(floor_hour(part.start), part.end)))
            owners.append((n, True))
    used = [ZERO] * len(quotas)
    in_part: set[int] = set()
    sums = await hour_sums(connection, spans)
    for (n, is_cut), total in zip(owners, sums, strict=True):
        if total is not None and is_cut:
            in_part.add(n)
        elif total is not None:
            used[n] += total
    for n in sorted(in_part):
        customer, quota = quotas[n]
        used[n] = await usage_in(connection, customer, quota.meter, quota.window)
    return used
