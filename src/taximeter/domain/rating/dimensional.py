"""The model dimensional: usage is kept apart by its dimensions and each part finds its rate.

The rate with most matched dimensions wins, then the order in which rates are written. Owns the
matching; what a rate costs is its own model's affair.
"""

from collections.abc import Mapping
from typing import Literal

from taximeter.domain.catalog.plan import Dimensional, RateModel
from taximeter.domain.metering.reserved import OTHERWISE, RATE
from taximeter.domain.rating.condition import holds

Match = int | Literal["otherwise"]


def match_rate(model: Dimensional, dimensions: Mapping[str, str]) -> Match | None:
    """The index of the rate that prices usage with these dimensions, or "otherwise".

    None: no rate matches and the price wants such usage set aside (`otherwise: quarantine`).
    Members of `dimensions` that the price does not name are passed over.
    """
    if model.by_event:
        return _match_ranges(model, dimensions)
    best: int | None = None
    most = 0
    for names, indexes in model.by_shape:
        if len(names) < most:
            break
        found = indexes.get(tuple([dimensions.get(name) for name in names]))
        if found is not None and (best is None or found < best):
            best, most = found, len(names)
    return _or_otherwise(model, best)


def _match_ranges(model: Dimensional, dimensions: Mapping[str, str]) -> Match | None:
    """As `match_rate`, where rates ask for ranges. Usage that found its rate event by event says
    which it was.
    """
    known = dimensions.get(RATE)
    if known is not None:
        return OTHERWISE if known == OTHERWISE else int(known)
    best: int | None = None
    most = 0
    for index, rate in enumerate(model.rates):
        asked = len(rate.match) + len(rate.ranges)
        if (
            asked > most
            and all(dimensions.get(name) == value for name, value in rate.match)
            and all(holds(one, dimensions.get(one.name)) for one in rate.ranges)
        ):
            best, most = index, asked
    return _or_otherwise(model, best)


def _or_otherwise(model: Dimensional, best: int | None) -> Match | None:
    if best is not None:
        return best
    return None if model.otherwise == "quarantine" else "otherwise"


def rate_model(model: Dimensional, match: Match) -> RateModel | None:
    """The model of the rate that `match` names; None where `otherwise` makes usage free."""
    if match != "otherwise":
        return model.rates[match].model
    return None if isinstance(model.otherwise, str) else model.otherwise
