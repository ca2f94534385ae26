"""Rating a whole plan for one full period: what a preview shows.

Must not round, sum across assets, or apply the plan's minimum: that is invoicing.
"""

from collections.abc import Mapping
from decimal import Decimal

from taximeter.domain.catalog.fields import Findings, shown, shown_name
from taximeter.domain.catalog.plan import Dimensional, FlatPrice, Plan, Price, SeatPrice, UsagePrice
from taximeter.domain.metering.reserved import FEE, WHEN
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.rating.event_price import when_of
from taximeter.domain.rating.rate import rate_flat, rate_price, rate_seats
from taximeter.domain.rating.step import Rated
from taximeter.domain.rating.usage import Usage, with_group
from taximeter.kernel.quantity import ZERO


def rate_plan(
    plan: Plan,
    quantities: Mapping[str, Decimal],
    usage: Mapping[str, Usage],
) -> tuple[tuple[Price, Rated], ...]:
    """The lines of every price for one full period of its own, in the order written, unrounded.

    `quantities` says the seats of seat prices, `usage` the totals of usage prices, both by price
    key; what they leave out is 0. Raises `Invalid` for a key that names no such price, a negative
    number of seats, and usage that no rate matches where the price sets it aside.
    """
    _check_inputs(plan, quantities, usage)
    usage = {key: _as_measured(plan.price(key), totals) for key, totals in usage.items()}
    lines: list[tuple[Price, Rated]] = []
    for price in plan.prices:
        if isinstance(price, FlatPrice):
            lines.append((price, rate_flat(price)))
        elif isinstance(price, SeatPrice):
            lines.append((price, rate_seats(price, quantities.get(price.key, ZERO))))
        else:
            rated = rate_price(price, with_group(price, usage))
            lines += [(price, line) for line in rated]
    return tuple(lines)


def _as_measured(price: Price | None, totals: Usage) -> Usage:
    """Totals that name the properties which multipliers ask for, as if they were events'."""
    if not isinstance(price, UsagePrice) or not price.multipliers:
        return totals
    return [
        (dimensions if WHEN in dimensions else {**dimensions, WHEN: when_of(price, dimensions)}, q)
        for dimensions, q in totals
    ]


def _check_inputs(
    plan: Plan, quantities: Mapping[str, Decimal], usage: Mapping[str, Usage]
) -> None:
    findings = Findings()
    for key, seats in quantities.items():
        path = f"quantities.{shown_name(key)}"
        if not isinstance(plan.price(key), SeatPrice):
            findings.add(path, "unknown_price", _unknown_price(key, plan, SeatPrice))
        elif seats < ZERO:
            findings.add(path, "out_of_range", "Say a number of 0 or more.")
    for key, totals in usage.items():
        path = f"usage.{shown_name(key)}"
        price = plan.price(key)
        if not isinstance(price, UsagePrice):
            findings.add(path, "unknown_price", _unknown_price(key, plan, UsagePrice))
        elif price.with_fees and not any(FEE in dimensions for dimensions, _ in totals):
            detail = "This price is of single events, not of a quantity. Send events instead."
            findings.add(path, "needs_events", detail)
        elif isinstance(price.model, Dimensional):
            _check_matched(path, price.model, totals, findings)
    findings.raise_any()


def _unknown_price(key: str, plan: Plan, kind: type[SeatPrice] | type[UsagePrice]) -> str:
    keys = [price.key for price in plan.prices if isinstance(price, kind)]
    noun = "seat" if kind is SeatPrice else "usage"
    cure = f"Say one of {', '.join(keys)}." if keys else "Leave it out: the plan has none."
    return f"The plan has no {noun} price {shown(key)}. {cure}"


def _check_matched(path: str, model: Dimensional, totals: Usage, findings: Findings) -> None:
    detail = (
        "No rate matches these dimensions, so such events would be quarantined. Say dimensions "
        "that a rate names, or give the price an otherwise."
    )
    for index, (dimensions, _) in enumerate(totals):
        if match_rate(model, dimensions) is None:
            findings.add(f"{path}[{index}].dimensions", "no_rate", detail)
