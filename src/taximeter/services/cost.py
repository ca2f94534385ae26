"""What a change of totals costs: amount(after) - amount(before) of each price, and of each path.

Owns the reading of the totals that a price needs beside those that changed. Amounts are the
domain's: exact, negative where a volume tier fell. Writes nothing, and charges nobody.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.rate import price_amount
from taximeter.domain.rating.usage import Usage, drawn_with, with_group
from taximeter.domain.subscription.routing import Target
from taximeter.kernel.paths import common_path
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection
from taximeter.services.dimensions import dimensions_of
from taximeter.storage import totals as storage
from taximeter.storage.ingestion import ChangedTotal


class SegmentKey(NamedTuple):
    """Names the segment of a price whose totals belong together."""

    customer: str
    subscription: str
    price: str
    start: datetime


# What the events of each path add to each row of totals, named by its segment and its dimensions;
# paths are in the order of their text ("": none).
Share = Mapping[tuple[SegmentKey, str], Decimal]
Shares = Mapping[str, Share]
# The shares of a customer's events by the deepest of some paths that they lie within: those of its
# grants and budgets, for which nothing else matters.
SharesOf = Callable[[str, Collection[str]], Shares]

_Changed = Mapping[SegmentKey, Sequence[ChangedTotal]]
_Rows = Mapping[SegmentKey, Sequence[tuple[str, Decimal]]]


def no_shares(_customer: str, _scopes: Collection[str]) -> Shares:
    """The shares of a change that is of no certain path."""
    return {}


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a change of the totals of a segment costs under its price; never 0. `linear`: each unit
    costs the same whatever else was used.
    """

    key: SegmentKey
    price: UsagePrice
    amount: Decimal
    linear: bool


class Costs(NamedTuple):
    """What changes of totals cost: `found`, of the totals `changed`; `rows` are all totals after
    the change of those segments whose parts do not rate apart.
    """

    found: Sequence[Cost]
    changed: _Changed
    rows: _Rows

    def by_path(self, cost: Cost, shares: Shares) -> list[tuple[str | None, Decimal]]:
        """A cost apart by path: in the order of the paths, what each one's usage adds to the
        amount, so that the parts sum to the whole. Where the changes are not sums of what events
        add, as one part, of the path that all of these share.
        """
        return _parts(cost, self.changed, self.rows, shares)


async def read_costs(
    connection: Connection, targets: Mapping[SegmentKey, Target], changed: _Changed
) -> Costs:
    """What these changes of totals cost. What serializes those who change a segment must be locked
    before: two first usages at once would each be priced without the other.
    """
    wholes: dict[SegmentKey, UsagePrice] = {}
    for key in changed:
        if not targets[key].linear:
            wholes |= _rated_together(key, targets[key])
    found = await storage.segment_totals(connection, list(wholes)) if wholes else {}
    rows = {SegmentKey(*key): totals for key, totals in found.items()}
    costs = []
    for key in changed if not wholes else changed.keys() | wholes.keys():
        price = wholes.get(key)
        if price is None:
            price = targets[key].price
            amount = _linear_cost(price, changed[key])
        else:
            amount = _cost(key, price, changed, rows)
        if amount != ZERO:
            costs.append(Cost(key, price, amount, key not in wholes))
    return Costs(costs, changed, rows)


async def cost_of_more(
    connection: Connection,
    targets: Mapping[SegmentKey, Target],
    more: Mapping[SegmentKey, Mapping[str, Decimal]],
) -> list[Cost]:
    """What these quantities (by the dimensions' text) would cost on top of what is counted now, of
    which nothing is locked.
    """
    wholes: dict[SegmentKey, UsagePrice] = {}
    for key in more:
        if not targets[key].linear:
            wholes |= _rated_together(key, targets[key])
    found = await storage.segment_totals(connection, list(wholes)) if wholes else {}
    rows = {SegmentKey(*key): dict(totals) for key, totals in found.items()}
    changed: dict[SegmentKey, list[ChangedTotal]] = {}
    for key, added in more.items():
        own = rows.setdefault(key, {})
        changed[key] = []
        for text, quantity in added.items():
            before = own.get(text)
            own[text] = (before or ZERO) + quantity
            changed[key].append(
                ChangedTotal(*key, text, before or ZERO, own[text], created=before is None)
            )
    after = {key: [*totals.items()] for key, totals in rows.items()}
    costs = []
    for key in more.keys() | wholes.keys():
        price = wholes.get(key)
        if price is None:
            price = targets[key].price
            costs.append(Cost(key, price, _linear_cost(price, changed[key]), linear=True))
        else:
            costs.append(Cost(key, price, _cost(key, price, changed, after), linear=False))
    return costs


def of_usage(price: UsagePrice) -> UsagePrice:
    """The price of usage alone: a minimum belongs to the period, not to any usage in it."""
    return price if price.minimum is None else replace(price, minimum=None)


def _parts(
    cost: Cost, changed: _Changed, rows: _Rows, shares: Shares
) -> list[tuple[str | None, Decimal]]:
    key, price, whole = cost.key, cost.price, cost.amount
    keys = _group_keys(key, price)
    change: dict[tuple[SegmentKey, str], Decimal] = defaultdict(lambda: ZERO)
    for one in keys:
        for row in changed.get(one, ()):
            change[one, row.dimensions] += row.quantity - row.previous
    of_paths = [
        (path, {place: share for place, share in found.items() if place in change})
        for path, found in shares.items()
    ]
    of_paths = [(path, found) for path, found in of_paths if found]
    if len(of_paths) == 1:
        return [(of_paths[0][0] or None, whole)]
    summed: dict[tuple[SegmentKey, str], Decimal] = defaultdict(lambda: ZERO)
    for _, found in of_paths:
        for place, share in found.items():
            summed[place] += share
    if not of_paths or summed != change:
        return [(common_path([path or None for path, _ in of_paths]), whole)]
    parts: list[tuple[str | None, Decimal]] = []
    if cost.linear:
        for path, found in of_paths:
            usage = [(dimensions_of(text), share) for (_, text), share in found.items()]
            parts.append((path or None, price_amount(price, usage)))
        return [(path, amount) for path, amount in parts if amount != ZERO]
    left, rest = whole, dict(change)
    for path, found in of_paths:
        for place, share in found.items():
            rest[place] -= share
        missing = _missing(key, price, changed, rows, rest)
        parts.append((path or None, left - missing))
        left = missing
    return [(path, amount) for path, amount in parts if amount != ZERO]


def _missing(
    key: SegmentKey,
    price: UsagePrice,
    changed: _Changed,
    rows: _Rows,
    rest: Mapping[tuple[SegmentKey, str], Decimal],
) -> Decimal:
    """amount(after) - amount(after less `rest`): what the rest of a change adds."""
    if not any(rest.values()):
        return ZERO
    before, after = {}, {}
    for one in _group_keys(key, price):
        own, totals = changed.get(one, ()), rows.get(one, ())
        _, usage = _before_and_after(own, totals)
        after[one.price] = usage
        before[one.price] = [
            (dimensions, quantity - rest.get((one, text), ZERO))
            for (dimensions, quantity), text in zip(usage, _after(own, totals), strict=True)
        ]
    whole = price_amount(price, with_group(price, after))
    return whole - price_amount(price, with_group(price, before))


def _group_keys(key: SegmentKey, price: UsagePrice) -> list[SegmentKey]:
    """The segment, and those of the other prices of its price's group."""
    return [key, *(key._replace(price=one.key) for one in price.group if one.key != key.price)]


def _rated_together(key: SegmentKey, target: Target) -> dict[SegmentKey, UsagePrice]:
    """The segment and those of its price's group: where one has changed, the others cost anew."""
    found = {key: of_usage(target.price)}
    for one in target.price.group:
        price = target.segment.plan.price(one.key)
        assert isinstance(price, UsagePrice), "a group is of the plan's usage prices"
        found[key._replace(price=one.key)] = of_usage(price)
    return found


def _linear_cost(price: UsagePrice, changed: Sequence[ChangedTotal]) -> Decimal:
    """amount(after) - amount(before) of a price whose parts rate apart: what the change alone
    costs, to the last digit.
    """
    change = [(dimensions_of(row.dimensions), row.quantity - row.previous) for row in changed]
    return price_amount(price, change)


def _cost(
    key: SegmentKey,
    price: UsagePrice,
    changed: _Changed,
    rows: _Rows,
) -> Decimal:
    """amount(after) - amount(before) of one segment. `rows` are all its totals after the change,
    and those of its group. Before the first usage that it draws by nothing was charged, and nothing
    is once all of it is gone.
    """
    before, after = {}, {}
    existed = exists = False
    drawn = {one.key for one in drawn_with(price)}
    for one in _group_keys(key, price):
        own = changed.get(one, ())
        before[one.price], after[one.price] = _before_and_after(own, rows.get(one, ()))
        if one.price in drawn:
            existed = existed or any(quantity for _, quantity in before[one.price])
            existed = existed or any(not row.created for row in own)
            existed = existed or len(after[one.price]) > len({row.dimensions for row in own})
            exists = exists or any(not row.gone for row in own)
            exists = exists or any(quantity for _, quantity in after[one.price])
            exists = exists or len(after[one.price]) > len({row.dimensions for row in own})
    charged = price_amount(price, with_group(price, before)) if existed else ZERO
    return (price_amount(price, with_group(price, after)) if exists else ZERO) - charged


def _after(
    changed: Sequence[ChangedTotal], rows: Sequence[tuple[str, Decimal]]
) -> dict[str, Decimal]:
    """All totals after the change by their dimensions, with those of which it left no event."""
    after = dict(rows)
    for row in changed:
        if not rows:
            after[row.dimensions] = after.get(row.dimensions, ZERO) + row.quantity
        else:
            after.setdefault(row.dimensions, ZERO)
    return after


def _before_and_after(
    changed: Sequence[ChangedTotal], rows: Sequence[tuple[str, Decimal]]
) -> tuple[Usage, Usage]:
    after = _after(changed, rows)
    change: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in changed:
        change[row.dimensions] += row.quantity - row.previous
    return (
        [(dimensions_of(text), quantity - change[text]) for text, quantity in after.items()],
        [(dimensions_of(text), quantity) for text, quantity in after.items()],
    )
