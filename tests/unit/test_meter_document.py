"""The meter's body: what is understood, and what is refused with which error where."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.kernel.errors import FieldError, Invalid

SUM = {"event_type": "llm.completion", "aggregation": "sum", "value": "input_tokens"}


def errors_of(body: Any) -> list[FieldError]:
    with pytest.raises(Invalid) as caught:
        parse_meter("input", body, version=1)
    return list(caught.value.errors)


def test_a_full_body() -> None:
    body = SUM | {
        "key": "input",
        "dimensions": ["model", "user.plan"],
        "filter": {"region": ["us", "eu", "eu"], "batch": [True, 1]},
        "unit": "token",
        "name": "Input tokens",
        "description": "What counts\nand what doesn't",
        "allow_negative": True,
    }
    assert parse_meter("input", body, version=4) == Meter(
        key="input",
        version=4,
        event_type="llm.completion",
        aggregation="sum",
        value="input_tokens",
        dimensions=("model", "user.plan"),
        dimension_limit=1000,
        # Sorted, and as text: the order of a filter means nothing.
        filter=(("batch", ("1", "true")), ("region", ("eu", "us"))),
        unit="token",
        name="Input tokens",
        description="What counts\nand what doesn't",
        allow_negative=True,
    )


def test_defaults() -> None:
    meter = parse_meter("calls", {"event_type": "call", "aggregation": "count"}, version=1)
    assert (meter.value, meter.dimensions, meter.filter) == (None, (), ())
    assert (meter.unit, meter.name, meter.description) == ("", "calls", "")
    assert not meter.allow_negative


@pytest.mark.parametrize("aggregation", ["sum", "max", "min", "latest", "unique"])
def test_every_aggregation_but_count_has_a_value(aggregation: str) -> None:
    body = SUM | {"aggregation": aggregation, "value": "usage.input_tokens"}
    assert parse_meter("m", body, version=1).value == "usage.input_tokens"
    (error,) = errors_of(body | {"value": None})
    assert (error.path, error.code) == ("value", "required")


def test_levels() -> None:
    body = SUM | {"aggregation": "weighted_sum"}
    meter = parse_meter("m", body, version=1)
    assert (meter.is_level, meter.signed, meter.over, meter.allow_negative) == (
        True, False, None, False,
    )  # fmt: skip
    meter = parse_meter("m", body | {"signed": True, "over": "period"}, version=1)
    assert (meter.signed, meter.over, meter.allow_negative) == (True, "period", True)


def test_the_limit_of_dimensions() -> None:
    assert parse_meter("m", SUM, version=1).dimension_limit is None
    body = SUM | {"dimensions": ["model"]}
    assert parse_meter("m", body, version=1).dimension_limit == 1000
    assert parse_meter("m", body | {"dimension_limit": 5}, version=1).dimension_limit == 5
    assert parse_meter("m", body | {"aggregation": "max"}, version=1).dimension_limit is None


def test_a_percentile() -> None:
    body = SUM | {"aggregation": "percentile", "percentile": "0.95"}
    assert parse_meter("m", body, version=1).percentile == Decimal("0.95")


@pytest.mark.parametrize("value", ["50*n", "5", "a-b", "max(a, b)", " a ", "(a)", "max + 1"])
def test_a_value_of_several_properties_or_numbers_is_an_expression(value: str) -> None:
    meter = parse_meter("m", SUM | {"value": value}, version=1)
    assert meter.expression is not None
    assert meter.value == meter.expression.text == value.replace(" ", "")


@pytest.mark.parametrize("value", ["a", "usage.input_tokens", "max", "ns:tokens", "ns:in-put"])
def test_a_value_of_one_property_is_its_name(value: str) -> None:
    meter = parse_meter("m", SUM | {"value": value}, version=1)
    assert (meter.value, meter.expression) == (value, None)


def test_a_filter_may_exclude() -> None:
    body = SUM | {"filter": {"status": {"not": ["failed", "cancelled"]}, "region": ["eu"]}}
    meter = parse_meter("m", body, version=1)
    assert meter.filter == (("region", ("eu",)),)
    assert meter.exclude == (("status", ("cancelled", "failed")),)


@pytest.mark.parametrize(
    ("fields", "path", "code", "detail"),
    [
        ({"event_type": None}, "event_type", "required", "Say a text."),
        ({"event_type": ""}, "event_type", "invalid_text", "This is empty."),
        ({"aggregation": None}, "aggregation", "required", "Say one of count, sum"),
        ({"aggregation": "avg"}, "aggregation", "invalid_choice", "Say one of count, sum"),
        ({"aggregation": "percentile"}, "percentile", "required", 'such as "0.30"'),
        ({"aggregation": "count"}, "value", "value_on_count", "Leave it out"),
        ({"value": "a +"}, "value", "invalid_expression", "Character 4: It ends too early."),
        ({"value": "a..b"}, "value", "invalid_expression", "Character 2: This is not understood."),
        ({"value": "a:b + 1"}, "value", "invalid_expression", "Character 2: This is not"),
        ({"value": "sum(a, b)"}, "value", "invalid_expression", "Say one of max, min, ceil, floor"),
        ({"value": "prix$"}, "value", "invalid_property", "names no property"),
        ({"value": 5}, "value", "invalid_property", "5 names no property"),
        ({"value": "a" * 129}, "value", "invalid_property", "names no property"),
        ({"dimensions": "model"}, "dimensions", "invalid_type", "Say a list."),
        ({"dimensions": ["a", "a"]}, "dimensions[1]", "duplicate", "listed twice"),
        ({"dimensions": [5]}, "dimensions[0]", "invalid_property", "names no property"),
        ({"dimensions": list("abcdefghijklmnopqrstu")}, "dimensions", "too_many", "at most 20"),
        ({"filter": ["eu"]}, "filter", "invalid_type", "Say an object."),
        ({"filter": {"region": "eu"}}, "filter.region", "invalid_type", "Say a list"),
        ({"filter": {"region": []}}, "filter.region", "invalid_type", "Say a list"),
        ({"filter": {"region": {"is": ["x"]}}}, "filter.region", "invalid_type", "for all others"),
        ({"filter": {"region": {"not": []}}}, "filter.region.not", "invalid_type", "Say a list"),
        ({"filter": {"region": {"not": [0.5]}}}, "filter.region.not[0]", "invalid_text", "quotes"),
        ({"filter": {"region": [0.5]}}, "filter.region[0]", "invalid_text", "in quotes"),
        ({"filter": {"region": [None]}}, "filter.region[0]", "invalid_text", "in quotes"),
        ({"filter": {"region": ["x"] * 1001}}, "filter.region", "too_many", "at most 1000"),
        ({"filter": {"a b": ["x"]}}, "filter.a b", "invalid_property", "names no property"),
        ({"filter": {f"f{n}": ["x"] for n in range(21)}}, "filter", "too_many", "at most 20"),
        ({"unit": 5}, "unit", "invalid_text", "in quotes"),
        ({"name": []}, "name", "invalid_text", "This is a list."),
        ({"description": "x" * 501}, "description", "invalid_text", "at most 500"),
        ({"allow_negative": "yes"}, "allow_negative", "invalid_type", "Say true or false."),
        ({"key": "other"}, "key", "invalid_key", "The address says"),
        ({"dimension_limit": "0"}, "dimension_limit", "out_of_range", "above 0"),
        ({"dimension_limit": "1.5"}, "dimension_limit", "out_of_range", "a whole number"),
        ({"dimension_limit": 100_001}, "dimension_limit", "out_of_range", "1 to 100000"),
        (
            {"aggregation": "max", "dimension_limit": 5},
            "dimension_limit",
            "unknown_field",
            "Only sum and count",
        ),
        ({"percentile": "0.95"}, "percentile", "unknown_field", "Only the aggregation percentile"),
        ({"aggregation": "percentile", "percentile": "1"}, "percentile", "out_of_range", "max."),
        ({"aggregation": "percentile", "percentile": "0"}, "percentile", "out_of_range", "above 0"),
        ({"bucket": "hour"}, "bucket", "unknown_field", "Only max, min, latest are taken by"),
        ({"aggregation": "max", "bucket": "week"}, "bucket", "invalid_choice", "hour, day, month"),
        ({"signed": True}, "signed", "unknown_field", "Only weighted_sum measures a level."),
        ({"over": "period"}, "over", "unknown_field", "Only weighted_sum measures a level."),
        ({"aggregation": "weighted_sum", "over": "day"}, "over", "invalid_choice", "Say one of"),
        ({"aggregation": "weighted_sum", "signed": 1}, "signed", "invalid_type", "true or false"),
        ({"dimension": ["model"]}, "dimension", "unknown_field", "Did you mean dimensions?"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(
    fields: dict[str, object], path: str, code: str, detail: str
) -> None:
    (error,) = errors_of(SUM | fields)
    assert (error.path, error.code) == (path, code)
    assert detail in error.detail


def test_a_body_that_is_no_object() -> None:
    (error,) = errors_of(["sum"])
    assert (error.path, error.code) == ("", "invalid_type")


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)


@given(
    st.dictionaries(
        st.sampled_from(
            [*SUM, "key", "dimensions", "filter", "unit", "name", "description", "allow_negative"]
        ),
        values | st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=4), values),
    )
)
def test_any_body_is_either_a_meter_or_refused_by_name(fields: dict[str, object]) -> None:
    try:
        meter = parse_meter("m", SUM | fields, version=1)
    except Invalid as error:
        assert all(found.code and found.detail for found in error.errors)
    else:
        assert meter.key == "m"
