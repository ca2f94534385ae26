"""The model dimensional: usage is kept apart by its dimensions and each part finds its rate.

The rate with most matched dimensions wins, then the order in which rates are written. Owns the
matching and the sharing of free units among rates; what a rate costs is its own model's affair.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from taximeter.domain.catalog.plan import Dimensional, QuantityModel
from taximeter.domain.rating.step import free_units
from taximeter.kernel.quantity import ZERO


class RateUsage(NamedTuple):
    """What one rate has to price: `quantity` metered, `included` of it free. `model` is None
    where `otherwise` makes it free; `match` is () for `otherwise`.
    """

    match: tuple[tuple[str, str], ...]
    model: QuantityModel | None
    quantity: Decimal
    included: Decimal


def match_rate(
    model: Dimensional, dimensions: Mapping[str, str]
) -> int | Literal["otherwise"] | None:
    """The index of the rate that prices usage with these dimensions, or "otherwise".

    None: no rate matches and the price wants such usage set aside (`otherwise: quarantine`).
    Members of `dimensions` that the price does not name are passed over.
    """
    best: int | None = None
    most = 0
    for names, indexes in model.by_shape:
        if len(names) < most:
            break
        found = indexes.get(tuple([dimensions.get(name) for name in names]))
        if found is not None and (best is None or found < best):
            best, most = found, len(names)
    if best is not None:
        return best
    return None if model.otherwise == "quarantine" else "otherwise"


def usage_by_rate(
    model: Dimensional,
    usage: Sequence[tuple[Mapping[str, str], Decimal]],
    included: Decimal,
) -> list[RateUsage]:
    """The rates that have usage, in the order written, `otherwise` last.

    A rate whose usage comes to 0 has none. The free units of the price are used up in that same
    order, so that they depend on the totals alone and not on the order of events.
    """
    quantities: dict[int, Decimal] = {}
    for dimensions, quantity in usage:
        found = match_rate(model, dimensions)
        assert found is not None, "usage that no rate matches is quarantined before it is rated"
        index = len(model.rates) if found == "otherwise" else found
        quantities[index] = quantities.get(index, ZERO) + quantity
    parts = []
    left = included
    for index in sorted(quantities):
        quantity = quantities[index]
        if quantity == ZERO:
            continue
        free = free_units(quantity, left)
        left -= free
        if index < len(model.rates):
            rate = model.rates[index]
            parts.append(RateUsage(rate.match, rate.model, quantity, free))
        else:
            otherwise = None if isinstance(model.otherwise, str) else model.otherwise
            parts.append(RateUsage((), otherwise, quantity, free))
    return parts
