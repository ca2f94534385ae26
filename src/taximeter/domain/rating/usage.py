"""The usage of a price, sorted into what is rated together.

Owns the meaning of the reserved dimensions and the order of everything that is rated: rates as
they are written and what is rated otherwise last, buckets by time, usage that no multiplier takes
before usage that some take. So what is free first, or fills a ladder first, depends on the totals
alone and not on the order of events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.catalog.plan import Dimensional, UsagePrice
from taximeter.domain.metering.reserved import BUCKET, FEE, FREE, PRICE, WHEN
from taximeter.domain.rating.dimensional import Match, match_rate
from taximeter.kernel.quantity import ZERO

Usage = Sequence[tuple[Mapping[str, str], Decimal]]


class Units(NamedTuple):
    """Usage that is rated as one: within one `bucket` of its meter, with the multipliers at the
    indexes in `when`. `fees` are what its events cost one by one, `free` what of that is free.
    """

    bucket: str
    when: tuple[int, ...]
    quantity: Decimal
    fees: Decimal
    free: Decimal


class Part(NamedTuple):
    """What one rate has to price; without rates, `match` is None."""

    match: Match | None
    units: tuple[Units, ...]

    @property
    def quantity(self) -> Decimal:
        """What was metered in all."""
        return sum((one.quantity for one in self.units), ZERO)


def parts_of(price: UsagePrice, usage: Usage) -> list[Part]:
    """The parts of the price's own usage, in their order. A rate whose usage comes to nothing has
    no part; a price without rates has one always. Usage that no rate matches under
    `otherwise: quarantine` must not get here.
    """
    model = price.model if isinstance(price.model, Dimensional) else None
    found: dict[Match | None, dict[tuple[str, str], list[Decimal]]] = {}
    if model is None:
        found[None] = {("", ""): [ZERO, ZERO, ZERO]}
    for dimensions, quantity in usage:
        if PRICE in dimensions:
            continue
        match = None
        if model is not None:
            match = match_rate(model, dimensions)
            assert match is not None, "usage that no rate matches is quarantined before it is rated"
        group = found.setdefault(match, {})
        key = dimensions.get(BUCKET, ""), dimensions.get(WHEN, "")
        sums = group.setdefault(key, [ZERO, ZERO, ZERO])
        fee = dimensions.get(FEE)
        sums[2 if fee == FREE else 1 if fee else 0] += quantity
    parts = [Part(match, _units(group)) for match, group in found.items()]
    if model is None:
        return parts
    last = len(model.rates)
    parts.sort(key=lambda part: part.match if isinstance(part.match, int) else last)
    return [part for part in parts if _is_any(part)]


def _units(group: Mapping[tuple[str, str], Sequence[Decimal]]) -> tuple[Units, ...]:
    """In order; the units of nothing that stand for no usage at all are left out beside others."""
    found = []
    for (bucket, when), (quantity, fees, free) in sorted(group.items()):
        indexes = tuple(int(index) for index in when.split(",") if index)
        if len(group) == 1 or quantity or fees or free:
            found.append(Units(bucket, indexes, quantity, fees, free))
    return tuple(found) or (Units("", (), ZERO, ZERO, ZERO),)


def _is_any(part: Part) -> bool:
    return any(one.quantity != ZERO or one.fees != ZERO for one in part.units)


def counted_by(price: UsagePrice, usage: Usage) -> dict[str, Decimal]:
    """What each price of the price's group has counted, itself included; 0 where nothing."""
    counted = dict.fromkeys((one.key for one in price.group), ZERO) | {price.key: ZERO}
    for dimensions, quantity in usage:
        if not dimensions.get(FEE):
            key = dimensions.get(PRICE, price.key)
            counted[key] = counted.get(key, ZERO) + quantity
    return counted


def drawn_with(price: UsagePrice) -> list[UsagePrice]:
    """The prices that draw on a wallet from the first usage of any of them on, and before that
    nothing, not even the flat fee of a tier that begins at zero: the price itself, and those of its
    pool, one of which owes such a fee for all.
    """
    if price.pool is None:
        return [price]
    return [replace(one, group=price.group) for one in price.group if one.pool == price.pool]


def is_drawn(price: UsagePrice, usage: Usage) -> bool:
    """Whether there is usage for which a price that settles from a wallet was drawn."""
    keys = {one.key for one in drawn_with(price)}
    return any(dimensions.get(PRICE, price.key) in keys for dimensions, _ in usage)


def with_group(price: UsagePrice, usage: Mapping[str, Usage]) -> Usage:
    """The usage of a price, and that of the others of its group, each marked with its price;
    `usage` is by price key.
    """
    own = usage.get(price.key, ())
    if not price.group:
        return own
    return [
        *own,
        *(
            ({**dimensions, PRICE: one.key}, quantity)
            for one in price.group
            if one.key != price.key
            for dimensions, quantity in usage.get(one.key, ())
        ),
    ]
