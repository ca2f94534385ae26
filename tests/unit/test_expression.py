"""Expressions of meters: what they compute, to the last digit, and what is refused where."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.expression import Malformed, Uncomputable, parse_expression
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.metering.fold import Unreadable, counts, metered_value
from taximeter.kernel.quantity import format_decimal
from tests.naive_expression import evaluate


def number_of(value: object) -> Decimal | int:
    return value if isinstance(value, int) else Decimal(str(value))


def computed(text: str, data: Mapping[str, object]) -> str:
    expression = parse_expression(text)
    values = [number_of(data[name]) for name in expression.names]
    return format_decimal(Decimal(expression.result(values)))


@pytest.mark.parametrize(
    ("text", "data", "result"),
    [
        ("50*n", {"n": 3}, "150"),
        ("seconds * gpus", {"seconds": "600.5", "gpus": 8}, "4804"),
        ("input_tokens + 4*output_tokens", {"input_tokens": 374, "output_tokens": 44}, "550"),
        # 0.5 GB for 1.2 ms: 0.5 x 2 / 1000
        ("gb * ceil(ms, 1) / 1000", {"gb": "0.5", "ms": "1.2"}, "0.001"),
        ("max(60, seconds)", {"seconds": 45}, "60"),
        ("max(60, seconds)", {"seconds": "60.5"}, "60.5"),
        ("max(0.25, read_units)", {"read_units": 0}, "0.25"),
        ("min(a, b, 7)", {"a": 9, "b": 8}, "7"),
        ("max(a)", {"a": 9}, "9"),
        ("a - b - c", {"a": 10, "b": 3, "c": 2}, "5"),  # from left to right
        ("a-b", {"a": 10, "b": 3}, "7"),  # a hyphen is a minus
        ("a / b / c", {"a": 12, "b": 3, "c": 2}, "2"),
        ("a / b * c", {"a": 12, "b": 3, "c": 2}, "8"),
        ("a + b * c", {"a": 1, "b": 2, "c": 3}, "7"),
        ("(a + b) * c", {"a": 1, "b": 2, "c": 3}, "9"),
        ("-a * -b", {"a": 2, "b": 3}, "6"),
        ("--a", {"a": 2}, "2"),
        ("-0", {}, "0"),
        ("1 / n", {"n": 3}, "0.333333333333"),
        ("2 / n", {"n": 3}, "0.666666666667"),  # half up at the 12th decimal
        ("1 / n * n", {"n": 3}, "0.999999999999"),  # a quotient without end is rounded where it is
        ("-2 / n", {"n": 3}, "-0.666666666667"),  # away from zero
        ("n / 8", {"n": 1}, "0.125"),
        # 1 / 2^30 = 0.000000000931322574615...: exact until the end, then rounded once
        ("bytes / 1024 / 1024 / 1024", {"bytes": 1}, "0.000000000931"),
        ("bytes / 1024 / 1024 / 1024 * 1073741824", {"bytes": 1}, "1"),
        ("a * b", {"a": "0.000001", "b": "0.0000015"}, "0.000000000002"),
        ("ceil(a)", {"a": "2.000000000001"}, "3"),
        ("ceil(a)", {"a": "-2.5"}, "-2"),
        ("floor(a)", {"a": "2.999999999999"}, "2"),
        ("floor(a)", {"a": "-2.5"}, "-3"),
        ("ceil(a, 0.5)", {"a": "2.1"}, "2.5"),
        ("ceil(a, 5)", {"a": 10}, "10"),
        ("ceil(a, 5)", {"a": "10.1"}, "15"),
        ("ceil(a, 5)", {"a": "-12"}, "-10"),
        ("floor(a, 5)", {"a": "-12"}, "-15"),
        ("floor(a, 0.25)", {"a": "1.7"}, "1.5"),
        ("ceil(a, step)", {"a": 7, "step": 3}, "9"),
        ("max(1, ceil(kb)) * (1 + 0)", {"kb": "3.2"}, "4"),
        ("usage.total.tokens / 2", {"usage.total.tokens": 5}, "2.5"),
        ("max + min", {"max": 1, "min": 2}, "3"),  # a function only before a parenthesis
        ("999999999999999999 * 1", {}, "999999999999999999"),
        ("12", {}, "12"),
    ],
)
def test_what_it_computes(text: str, data: dict[str, object], result: str) -> None:
    assert computed(text, data) == result


@pytest.mark.parametrize(
    ("text", "at", "detail"),
    [
        ("", 1, "ends too early"),
        ("a +", 4, "ends too early"),
        ("a + + b", 5, "+ is not expected"),
        ("a b", 3, "b is not expected here. Say + - * or / before."),
        ("2 a", 3, "a is not expected here"),
        ("2a", 1, "not understood"),
        ("(a + b", 7, "open where it ends"),
        ("a + b)", 6, ") is not expected here"),
        ("max(a b)", 7, "open where b comes"),
        ("max()", 5, ") is not expected"),
        ("max(a,)", 7, ") is not expected"),
        ("sum(a)", 1, "There is no function sum. Say one of max, min, ceil, floor."),
        ("1 + ceil(a, b, c)", 5, "ceil takes a value and a step."),
        ("floor(a, 0)", 10, "A step is above 0."),
        ("ceil(a, -1)", 9, "A step is above 0."),
        ("a / 0", 5, "This is always 0."),
        ("a / (1 - 1)", 5, "This is always 0."),
        ("999999999999999999 + 1", 1, "no result"),
        ("a ** b", 4, "* is not expected"),
        ("a // b", 4, "/ is not expected"),
        ("a % b", 3, "not understood"),
        ("a.b.", 4, "not understood"),
        (".5", 1, "not understood"),
        ("1.", 1, "not understood"),
        ("1e3", 1, "not understood"),
        ("a + 1_000", 5, "not understood"),
        ("1234567890123456789", 1, "at most 18 digits"),
        ("0.1234567890123", 1, "12 after the point"),
        ("a\u00a0+ b", 2, "not understood"),
        ("\uff11", 1, "not understood"),
        ("a" * 129, 1, "at most 128"),
        ("(" * 21 + "a" + ")" * 21, 21, "Nest at most 20 levels."),
        ("-" * 30 + "a", 21, "Nest at most 20 levels."),
        ("a" + "+a" * 250, 501, "at most 500 characters"),
        ("a" + "+a" * 100, 201, "at most 200 names and signs"),
    ],
)
def test_what_is_refused_and_where(text: str, at: int, detail: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_expression(text)
    assert caught.value.at == at
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a / b", {"a": 1, "b": 0}),
        ("a / b", {"a": 0, "b": 0}),
        ("a / (b - b)", {"a": 1, "b": 5}),
        ("ceil(a, b)", {"a": 1, "b": 0}),
        ("floor(a, b)", {"a": 1, "b": -5}),
        ("a * b", {"a": 10**9, "b": 10**9}),  # 10^18 has 19 digits
        ("a / b", {"a": 10**12, "b": "0.000000000001"}),
        ("a * a * a * a * a", {"a": 10**17 + 1}),  # more digits than can be exact
        ("a + b", {"a": "999999999999999999.5", "b": "0.5"}),
        ("a + 0.5 * b", {"a": "999999999999999999.999999999999", "b": "0.000000000001"}),
    ],
)
def test_what_has_no_result(text: str, data: dict[str, object]) -> None:
    expression = parse_expression(text)
    with pytest.raises(Uncomputable):
        expression.result([number_of(data[name]) for name in expression.names])


def read(value: str, data: Mapping[str, Any], **fields: object) -> object:
    body = {"event_type": "e", "aggregation": "sum", "value": value, **fields}
    return metered_value(parse_meter("m", body, version=1), data)


@pytest.mark.parametrize(
    ("value", "data", "reason"),
    [
        ("a + b", {"a": 1}, "missing_value"),
        ("a + b", {"a": 1, "b": None}, "missing_value"),
        ("a + b", {"a": 1, "b": "many"}, "non_numeric_value"),
        ("a + b", {"a": 1, "b": True}, "non_numeric_value"),
        ("a - b", {"a": 1, "b": 2}, "negative_value"),
        ("a / b", {"a": 1, "b": 0}, "uncomputable_value"),
        ("max(a, b)", {"b": 5}, "missing_value"),  # missing is not zero
    ],
)
def test_an_event_that_cannot_be_computed(value: str, data: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(value, data)
    assert caught.value.args == (reason,)


def test_values_are_found_as_plain_ones_are() -> None:
    assert read("a.b * 2", {"a": {"b": "1.5"}}) == Decimal(3)
    assert read("a.b * 2", {"a.b": 2, "a": {"b": 3}}) == 4  # a name that holds the dots wins
    assert read("a - b", {"a": 1, "b": 2}, allow_negative=True) == -1
    assert read("a*b", {"a*b": 7, "a": 2, "b": 3}) == 6
    assert read("floor(a, 10)", {"a": 17}, aggregation="unique") == "10"


@pytest.mark.parametrize(
    ("data", "passes"),
    [
        ({}, True),  # a missing property is none of the values left out
        ({"status": None}, True),
        ({"status": "ok"}, True),
        ({"status": ""}, True),
        ({"status": ["failed"]}, True),
        ({"status": "failed"}, False),
        ({"status": 0}, False),
        ({"status": "ok", "test": True}, False),
    ],
)
def test_exclusion_filters(data: dict[str, Any], passes: bool) -> None:
    excluded = {"status": {"not": ["failed", 0]}, "test": {"not": [True]}}
    body = {"event_type": "e", "aggregation": "count", "filter": excluded}
    assert counts(parse_meter("m", body, version=1), data) is passes


# A tree as nested tuples, printed to text, which other code reads and computes in fractions.
NAMES = ("a", "b.c", "d")
Tree = Any
trees: st.SearchStrategy[Tree] = st.recursive(
    st.sampled_from(NAMES) | st.decimals(0, 1000, places=2).map(str),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-*"), inner, inner),
        st.tuples(st.just("neg"), inner),
        st.tuples(st.sampled_from(["max", "min"]), inner, inner),
        st.tuples(st.sampled_from(["ceil", "floor"]), inner),
        st.tuples(st.sampled_from(["ceil", "floor"]), inner, st.sampled_from(["0.3", "7"])),
    ),
    max_leaves=8,
)


def printed(tree: Tree, blank: str) -> str:
    if isinstance(tree, str):
        return tree
    sign, *inner = tree
    texts = [printed(one, blank) for one in inner]
    if sign == "neg":
        return f"-{blank}({texts[0]})"
    if sign in ("max", "min", "ceil", "floor"):
        return f"{sign}{blank}({f',{blank}'.join(texts)})"
    return f"({texts[0]}{blank}{sign}{blank}{texts[1]})"


def _whole(number: Decimal) -> Decimal | int:
    """As an event's JSON is read: whole numbers are int."""
    return int(number) if number == int(number) else number


numbers_of_event = st.decimals(-1000, 1000, places=6) | st.integers(-9, 9).map(Decimal)
blanks = st.sampled_from(["", " ", "  "])


@given(trees, st.lists(numbers_of_event, min_size=3, max_size=3), blanks)
def test_it_agrees_with_naive_fractions(tree: Tree, numbers: list[Decimal], blank: str) -> None:
    data = dict(zip(NAMES, numbers, strict=True))
    nested = {"a": data["a"], "b": {"c": data["b.c"]}, "d": data["d"]}
    exact = evaluate(printed(tree, blank), nested)
    try:
        expression = parse_expression(printed(tree, blank))
    except Malformed as error:  # nested too deeply, or a constant too big
        assert "Nest" in error.detail or abs(exact) >= 10**18
        return
    values = [_whole(data[name]) for name in expression.names]
    if abs(exact) >= 10**18:
        with pytest.raises(Uncomputable):
            expression.result(values)
        return
    try:
        assert Fraction(expression.result(values)) == exact
    except Uncomputable:
        assert "*" in expression.text  # a product of many more digits than numbers have


@given(st.text(alphabet="ab.,()+-*/ 0129maxceil", max_size=40))
def test_any_text_is_an_expression_or_refused_at_a_place(text: str) -> None:
    try:
        expression = parse_expression(text)
    except Malformed as error:
        assert 1 <= error.at <= len(text) + 1
        assert error.detail
    else:
        assert parse_expression(expression.text) == expression
