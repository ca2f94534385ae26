"""A meter: which events count, and how their values become one quantity.

Owns the definition only; folding events is domain/metering. A meter changes by a new version;
usage already counted keeps the version it was counted under.
"""

from dataclasses import dataclass
from typing import Literal

from taximeter.domain.catalog.expression import Expression

Aggregation = Literal["count", "sum", "max", "min", "latest", "unique"]
AGGREGATIONS: tuple[Aggregation, ...] = ("count", "sum", "max", "min", "latest", "unique")
ADDING: tuple[Aggregation, ...] = ("sum", "count")  # what each event adds does not depend on others


@dataclass(frozen=True, slots=True)
class Meter:
    """`value` is the dotted path of a property of an event's `data`, or the text of `expression`,
    which computes the value from several (None for `count`).

    `filter` keeps events whose property (as text) is one of the values listed, `exclude` those
    whose property is missing or none of them; all members must hold. `dimensions` are properties by
    which usage is kept apart. `series` is the first of the versions up to this one that aggregate
    alike: what they count is one quantity.
    """

    key: str
    version: int
    event_type: str
    aggregation: Aggregation
    value: str | None
    dimensions: tuple[str, ...]
    filter: tuple[tuple[str, tuple[str, ...]], ...]
    unit: str
    name: str
    description: str
    allow_negative: bool
    exclude: tuple[tuple[str, tuple[str, ...]], ...] = ()
    expression: Expression | None = None
    series: int = 1

    def __post_init__(self) -> None:
        assert self.aggregation in AGGREGATIONS, self.aggregation
        assert (self.value is None) == (self.aggregation == "count"), (
            "every meter but count has a value"
        )
