"""A meter: which events count, and how their values become one quantity.

Owns the definition only; folding events is domain/metering. A meter changes by a new version;
usage already counted keeps the version it was counted under.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.expression import Expression
from taximeter.kernel.times import Duration

Aggregation = Literal[
    "count", "sum", "max", "min", "latest", "unique", "percentile", "weighted_sum"
]
AGGREGATIONS: tuple[Aggregation, ...] = (
    "count", "sum", "max", "min", "latest", "unique", "percentile", "weighted_sum",
)  # fmt: skip
ADDING: tuple[Aggregation, ...] = ("sum", "count")  # what each event adds does not depend on others
OTHER = "@other"  # as what values beyond the limit of a dimension are counted
DIMENSION_LIMIT = 1_000
Over = Literal["period"]
Bucket = Literal["hour", "day", "month"]
BUCKETS: tuple[Bucket, ...] = ("hour", "day", "month")
BUCKETED: tuple[Aggregation, ...] = ("max", "min", "latest")  # may be taken apart by buckets
WHOLE: tuple[Aggregation, ...] = (
    "unique",
    "percentile",
)  # of all values at once: hours do not tell


@dataclass(frozen=True, slots=True)
class Meter:
    """`value` is the dotted path of a property of an event's `data`, or the text of `expression`,
    which computes the value from several (None for `count`).

    `filter` keeps events whose property (as text) is one of the values listed, `exclude` those
    whose property is missing or none of them; all members must hold. `dimensions` are properties by
    which usage is kept apart: of each, a customer's first `dimension_limit` values of a month
    (None: all). `series` is the first of the versions up to this one that aggregate alike: what
    they count is one quantity.

    With a `bucket`, the quantity is the sum of what each hour in UTC, or each day or month in the
    customer's time zone, comes to. `percentile` (above 0, below 1) is the share of the values that
    are not above the one that is taken. Of a level (`weighted_sum`), which holds until the next
    event, `signed` events say by what it changes; its quantity is in level-hours, or, `over` the
    period, the average level.

    An event that is older than `late_limit` when it is received is set aside (None: no limit).
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
    signed: bool = False
    over: Over | None = None
    bucket: Bucket | None = None
    series: int = 1
    percentile: Decimal | None = None
    late_limit: Duration | None = None
    dimension_limit: int | None = None

    def __post_init__(self) -> None:
        assert self.aggregation in AGGREGATIONS, self.aggregation
        assert (self.value is None) == (self.aggregation == "count"), (
            "every meter but count has a value"
        )
        assert self.is_level or not (self.signed or self.over), "these are of levels"
        assert (self.percentile is None) == (self.aggregation != "percentile")
        assert self.bucket is None or self.aggregation in BUCKETED, "others add up by themselves"

    @property
    def is_level(self) -> bool:
        """Whether events say how high something stands rather than what is used."""
        return self.aggregation == "weighted_sum"
