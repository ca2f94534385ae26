"""What events say of themselves, the tree of a run, and the share of a price that a part costs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.metering.event import Event, read_event
from taximeter.domain.metering.trace import attribute_of, place_of, trace_of, tree
from taximeter.domain.rating.rate import price_amount
from taximeter.domain.rating.share import Averages

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def event(**fields: Any) -> Event:
    found = read_event({"id": "e1", "subject": "c", "type": "m", **fields}, NOW)
    assert isinstance(found, Event)
    return found


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"path": "a/b/c"}, "path", "a/b/c"),
        ({"path": "a/b/c"}, "path.1", "a"),
        ({"path": "a/b/c"}, "path.2", "a/b"),
        ({"path": "a"}, "path.16", "a"),
        ({}, "path.1", ""),
        ({"source": "app"}, "source", "app"),
        ({"subscription": "sub"}, "subscription", "sub"),
        ({"trace_id": "t", "traceparent": PARENT}, "trace_id", "t"),
        ({"traceparent": PARENT}, "trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ({"trace_id": 7}, "trace_id", "7"),
        ({"trace_id": {"no": "text"}}, "trace_id", ""),
        ({"run": "nightly", "step": "plan"}, "run", "nightly"),
        ({"step": "plan"}, "step", "plan"),
        ({"data": {"step": "not here"}}, "step", ""),
    ],
)
def test_what_an_event_says(fields: dict[str, Any], name: str, expected: str) -> None:
    read = attribute_of(name)
    assert read is not None
    assert read(event(**fields)) == expected


@pytest.mark.parametrize("name", ["model", "path.0", "path.17", "path.", "Path", "trace"])
def test_other_names_are_no_groups(name: str) -> None:
    assert attribute_of(name) is None


def test_a_place_in_a_run() -> None:
    assert place_of(event()) == ("e1", "", "")
    assert place_of(event(span_id="s", parent_id="p", step="plan")) == ("s", "p", "plan")
    assert place_of(event(traceparent=PARENT)) == ("e1", "b7ad6b7169203331", "")
    assert place_of(event(span_id="s", parent_id="s")) == ("s", "", "")
    assert trace_of(event()) == ""


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], []),
        ([("a", ""), ("b", "a"), ("c", ""), ("d", "b"), ("e", "a")],
         [("a", None, 0), ("b", "a", 1), ("d", "b", 2), ("e", "a", 1), ("c", None, 0)]),
        ([("b", "a"), ("a", "")], [("a", None, 0), ("b", "a", 1)]),
        ([("a", "away"), ("b", "away")], [("away", None, 0), ("a", "away", 1), ("b", "away", 1)]),
        ([("a", "b"), ("b", "a")], [("a", None, 0), ("b", "a", 1)]),  # a circle
    ],
)  # fmt: skip
def test_the_tree(
    steps: list[tuple[str, str]], expected: list[tuple[str, str | None, int]]
) -> None:
    assert tree(steps) == expected


names = st.sampled_from("abcdef")


@given(st.dictionaries(names, st.just("") | names))
def test_every_step_stands_once_below_its_parent(parents: dict[str, str]) -> None:
    nodes = tree([*parents.items()])
    assert sorted(node.id for node in nodes) == sorted({*parents, *filter(None, parents.values())})
    depth: dict[str | None, int] = {None: -1}
    for node in nodes:
        assert node.parent in (None, parents.get(node.id))
        assert node.depth == depth[node.parent] + 1
        depth[node.id] = node.depth


def price(**fields: Any) -> UsagePrice:
    body = {"key": "u", "type": "usage", "meter": "u", **fields}
    plan = {"key": "p", "name": "p", "currency": "USD", "period": "month", "prices": [body]}
    (found,) = parse_plan(plan, version=1).prices
    assert isinstance(found, UsagePrice)
    return found


TIERS = [{"up_to": "10", "unit": "3"}, {"unit": "1"}]


def by_model(**quantities: str) -> list[tuple[Mapping[str, str], Decimal]]:
    return [({"model": name}, Decimal(quantity)) for name, quantity in quantities.items()]


def test_a_part_costs_the_average_of_its_rate() -> None:
    ladder = price(model="graduated", tiers=TIERS)
    # 10 x 3 + 10 x 1 = 40 for 20: 2 each
    assert Averages(ladder, [({}, Decimal(20))]).amount([({}, Decimal(5))]) == 10
    rates = [
        {"match": {"model": "big"}, "model": "graduated", "tiers": TIERS},
        {"match": {"model": "small"}, "unit": "0.5"},
    ]
    both = price(model="dimensional", dimensions=["model"], rates=rates, otherwise="zero",
                 maximum="30")  # fmt: skip
    # big 40 for 20, small 10 for 20, at most 30 in all: 0.6 of each; 5 big and 4 small: 10 + 2
    whole = by_model(big="20", small="20")
    assert Averages(both, whole).amount(by_model(big="5", small="4")) == Decimal("7.2")
    assert Averages(both, whole).amount(by_model(unknown="9")) == 0
    fees = price(model="percentage", percent="1", fixed="0.30", free_events=1)
    usage = [({}, Decimal(300)), ({"@fee": "1"}, Decimal(9)), ({"@fee": "free"}, Decimal(3))]
    # Fees of 9, of which 3 are free: 6, a third of it
    assert Averages(fees, usage).amount([({}, Decimal(50)), ({"@fee": "1"}, Decimal(3))]) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6))
def test_the_parts_cost_what_the_whole_does(parts: list[tuple[int, int]]) -> None:
    one = price(model="dimensional", dimensions=["model"], otherwise="zero", included="5", rates=[
        {"match": {"model": "big"}, "model": "volume", "tiers": TIERS},
        {"match": {"model": "small"}, "unit": "0.7"},
    ], discount={"amount": "1"})  # fmt: skip
    whole = by_model(big=str(sum(a for a, _ in parts)), small=str(sum(b for _, b in parts)))
    averages = Averages(one, whole)
    found = sum(averages.amount(by_model(big=str(a), small=str(b))) for a, b in parts)
    assert abs(found - price_amount(one, whole)) < Decimal("0.000000001")
