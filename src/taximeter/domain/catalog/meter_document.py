"""Reading the meter document that a seller writes.

Owns its grammar, defaults and checks; every error is reported with its path, a stable code and
the cure. What is published but not built yet is refused by name (`not_supported`), never ignored:
a field that is silently dropped misprices.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from taximeter.domain.catalog.expression import Expression, Malformed, parse_expression
from taximeter.domain.catalog.fields import Fields, Findings, scalar_text, shown, shown_name
from taximeter.domain.catalog.meter import (
    ADDING,
    AGGREGATIONS,
    BUCKETED,
    BUCKETS,
    DIMENSION_LIMIT,
    Aggregation,
    Bucket,
    Meter,
    Over,
)
from taximeter.kernel.quantity import ONE
from taximeter.kernel.times import Duration, parse_duration

FILTERS_MAX = 20
FILTER_VALUES_MAX = 1000
METER_DIMENSIONS_MAX = 20
DIMENSION_LIMIT_MAX = 100_000

Conditions = tuple[tuple[str, tuple[str, ...]], ...]

_OVER: tuple[Over, ...] = ("period",)

_is_plain_property = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", re.ASCII).fullmatch
_is_expression = re.compile(r"[A-Za-z0-9_.,()+*/ -]+", re.ASCII).fullmatch


def parse_meter(key: str, body: Mapping[str, object], *, version: int) -> Meter:
    """The meter `key` that `body` describes, as its version `version`.

    Raises `Invalid` with every error found (at most the first 50).
    """
    findings = Findings()
    meter = _read_meter(body, key, version, findings)
    findings.raise_any()
    assert meter is not None, "a meter that cannot be made has an error"
    return meter


def _read_meter(body: object, key: str, version: int, findings: Findings) -> Meter | None:
    fields = Fields.of(body, "", findings)
    if fields is None:
        return None
    if fields.key("key", default=key) not in (key, None):
        fields.fail("key", "invalid_key", f"The address says {shown(key)}. Say the same.")
    event_type = fields.text("event_type")
    aggregation = fields.choice("aggregation", AGGREGATIONS)
    value, expression = _read_value(fields, aggregation)
    dimensions = fields.event_properties(
        "dimensions", count_max=METER_DIMENSIONS_MAX, required=False
    )
    kept, excluded = _read_filter(fields)
    unit = fields.text("unit", default="")
    name = fields.text("name", default=key)
    description = fields.text("description", default="")
    allow_negative = fields.flag("allow_negative", default=False)
    signed, over = _read_level(fields, aggregation)
    bucket = _read_bucket(fields, aggregation)
    percentile = _read_percentile(fields, aggregation)
    late_limit = _read_late_limit(fields)
    dimension_limit = _read_dimension_limit(fields, aggregation, dimensions)
    fields.done()
    if event_type is None or aggregation is None or (value is None and aggregation != "count"):
        return None
    if aggregation == "percentile" and percentile is None:
        return None
    if unit is None or name is None or description is None:
        return None
    return Meter(
        key=key,
        version=version,
        event_type=event_type,
        aggregation=aggregation,
        value=value,
        dimensions=dimensions,
        filter=kept,
        exclude=excluded,
        unit=unit,
        name=name or key,
        description=description,
        allow_negative=allow_negative or signed,
        expression=expression,
        signed=signed,
        over=over,
        bucket=bucket,
        percentile=percentile,
        late_limit=late_limit,
        dimension_limit=dimension_limit,
    )


def _read_dimension_limit(
    fields: Fields, aggregation: Aggregation | None, dimensions: tuple[str, ...]
) -> int | None:
    """How many values of a dimension are kept apart. What does not add up has no limit: the values
    beyond it could not be counted as one.
    """
    fields.ignore(("dimension_limit",))
    if not fields.has("dimension_limit"):
        return DIMENSION_LIMIT if dimensions and aggregation in ADDING else None
    if aggregation not in (*ADDING, None):
        detail = f"Only {' and '.join(ADDING)} can count the values beyond it as one. Leave it out."
        fields.fail("dimension_limit", "unknown_field", detail)
        return None
    limit = fields.number("dimension_limit", positive=True)
    if limit is not None and (limit != int(limit) or limit > DIMENSION_LIMIT_MAX):
        detail = f"Say a whole number of 1 to {DIMENSION_LIMIT_MAX}."
        fields.fail("dimension_limit", "out_of_range", detail)
        return None
    return int(limit) if limit is not None and dimensions else None


def _read_percentile(fields: Fields, aggregation: Aggregation | None) -> Decimal | None:
    """Which value of all in order is taken, as the share of them that are not above it."""
    fields.ignore(("percentile",))
    if aggregation not in ("percentile", None):
        if fields.has("percentile"):
            detail = "Only the aggregation percentile has one. Leave it out."
            fields.fail("percentile", "unknown_field", detail)
        return None
    if aggregation is None:
        return None
    share = fields.number("percentile", positive=True)
    if share is not None and share >= ONE:
        detail = "Say a share above 0 and below 1, such as 0.95; for the greatest value, max."
        fields.fail("percentile", "out_of_range", detail)
        return None
    return share


def _read_level(fields: Fields, aggregation: Aggregation | None) -> tuple[bool, Over | None]:
    """How events say the level, and what its quantity is."""
    signed = fields.flag("signed", default=False)
    over = fields.choice("over", _OVER, default="period") if fields.has("over") else None
    fields.ignore(("over",))
    if aggregation not in ("weighted_sum", None):
        for name in [*["signed"] * signed, *["over"] * (over is not None)]:
            detail = "Only weighted_sum measures a level. Leave it out."
            fields.fail(name, "unknown_field", detail)
        return False, None
    return signed, over


def _read_bucket(fields: Fields, aggregation: Aggregation | None) -> Bucket | None:
    """Of what spans each comes to something of its own."""
    fields.ignore(("bucket",))
    bucket = fields.choice("bucket", BUCKETS, default="hour") if fields.has("bucket") else None
    if bucket is not None and aggregation not in (*BUCKETED, None):
        detail = f"Only {', '.join(BUCKETED)} are taken by bucket. Leave it out."
        fields.fail("bucket", "unknown_field", detail)
        return None
    return bucket


def _read_late_limit(fields: Fields) -> Duration | None:
    """How old an event may be when it is received."""
    value = fields.take("late_limit")
    if value is None:
        return None
    duration = parse_duration(value) if isinstance(value, str) else None
    if duration is None:
        detail = f"{shown(value)} is no ISO 8601 duration. Say one such as P35D."
        fields.fail("late_limit", "invalid_duration", detail)
    return duration


def _read_value(
    fields: Fields, aggregation: Aggregation | None
) -> tuple[str | None, Expression | None]:
    """The property that is metered, or the expression that computes the value. A hyphen is a minus
    sign, so a property whose name has one cannot be metered.
    """
    value = fields.take("value")
    if aggregation is None:
        return None, None
    if aggregation == "count":
        if value is not None:
            detail = "count counts events, not a value. Leave it out, or say aggregation: sum."
            fields.fail("value", "value_on_count", detail)
        return None, None
    if not isinstance(value, str) or not _is_arithmetic(value):
        return fields.event_property("value"), None
    try:
        expression = parse_expression(value)
    except Malformed as error:
        detail = f"Character {error.at}: {error.detail}"
        fields.fail("value", "invalid_expression", detail)
        return None, None
    return expression.text, expression


def _is_arithmetic(value: str) -> bool:
    """Whether a text is meant as an expression rather than as the name of one property."""
    if _is_plain_property(value):
        return False
    return _is_expression(value) is not None or any(sign in value for sign in " +*(),")


def _read_filter(fields: Fields) -> tuple[Conditions, Conditions]:
    """Which values count, and which do not: properties and values sorted, since their order means
    nothing.
    """
    members = fields.entries("filter", required=False)
    if len(members) > FILTERS_MAX:
        fields.fail("filter", "too_many", f"Say at most {FILTERS_MAX} properties.")
        return (), ()
    kept: list[tuple[str, tuple[str, ...]]] = []
    excluded: list[tuple[str, tuple[str, ...]]] = []
    for name, raw in members.items():
        at = f"filter.{shown_name(name)}"
        if isinstance(raw, Mapping) and set(raw) == {"not"}:
            values = _read_values(fields, f"{at}.not", raw["not"])
            excluded += [(name, values)] if values else []
        else:
            values = _read_values(fields, at, raw)
            kept += [(name, values)] if values else []
    return tuple(sorted(kept)), tuple(sorted(excluded))


def _read_values(fields: Fields, at: str, raw: object) -> tuple[str, ...]:
    """The values of one property of a filter, as text."""
    if not isinstance(raw, list | tuple) or not raw:
        detail = 'Say a list of the values that count: ["eu"], or {"not": ["eu"]} for all others.'
        fields.fail(at, "invalid_type", detail)
        return ()
    if len(raw) > FILTER_VALUES_MAX:
        fields.fail(at, "too_many", f"Say at most {FILTER_VALUES_MAX} values.")
        return ()
    values = []
    for index, item in enumerate(raw):
        text = scalar_text(item)
        if text is None:
            detail = "Say a text, whole number, true or false; other numbers in quotes."
            fields.fail(f"{at}[{index}]", "invalid_text", detail)
        else:
            values.append(text)
    return tuple(sorted(set(values)))
