"""Moving credit from one asset to another at a stated rate.

Owns what each grant that is taken from becomes in the other asset. Paid and promotional credit,
expiries and costs stay apart, since each source grant makes one of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from taximeter.domain.credit.burn import Draw
from taximeter.domain.credit.cost import cost_between
from taximeter.domain.credit.wallet import Grant
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, SMALLEST, ZERO, floor_at


@dataclass(frozen=True, slots=True)
class Moved:
    """`amount` taken from a `source` grant, `to_amount` of the other asset that it becomes, and
    `cost`, what of the source's cost basis goes with it (None: it has none). A `to_amount` of zero
    is of a part too small to become anything.
    """

    source: Grant
    amount: Decimal
    to_amount: Decimal
    cost: Decimal | None


def moved_parts(
    drawn: Draw, grants: Mapping[str, Grant], costs: Mapping[str, Decimal], rate: Decimal
) -> list[Moved]:
    """What the grants that `drawn` takes from become at this rate; `costs` are the cost bases of
    those that have one. The sum is amount times rate, which must have at most 12 decimals; each
    part's own product is cut there, and the parts that lost most get one unit of it more.
    """
    exact = [part * rate for _, part in drawn.parts]
    to_amounts = _shared_out(exact, drawn.amount * rate)
    moved = []
    for (grant_id, part), to_amount in zip(drawn.parts, to_amounts, strict=True):
        source, cost = grants[grant_id], None
        if grant_id in costs:
            before = source.amount - source.remaining
            cost = cost_between(costs[grant_id], source.amount, before, before + part)
        moved.append(Moved(source, part, to_amount, cost))
    return moved


def _shared_out(exact: Sequence[Decimal], whole: Decimal) -> list[Decimal]:
    """These parts at 12 decimals, by largest remainder, so that they sum to `whole`."""
    cut = [floor_at(part, DIGITS_FRACTION_MAX) for part in exact]
    missing = int((whole - sum(cut, ZERO)) / SMALLEST)
    by_loss = sorted(range(len(exact)), key=lambda index: cut[index] - exact[index])
    for index in by_loss[:missing]:
        cut[index] += SMALLEST
    assert sum(cut, ZERO) == whole, "a transfer neither makes nor loses money"
    return cut
