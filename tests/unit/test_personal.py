"""What of an event's content stays: all that is read, and nothing beside it."""

import pytest

from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.metering.personal import read_by_meters, read_by_prices, reduced


@pytest.mark.parametrize(
    ("data", "paths", "kept"),
    [
        ({"n": 1, "name": "Ada"}, ["n"], {"n": 1}),
        ({"usage": {"in": 1, "who": "Ada"}, "x": 1}, ["usage.in"], {"usage": {"in": 1}}),
        ({"u": {"a": 1, "b": 2, "c": 3}}, ["u.a", "u.c"], {"u": {"a": 1, "c": 3}}),
        ({"u.a": 1, "u": {"a": 2}}, ["u.a"], {"u.a": 1}),  # the key with the dot is what is read
        ({"u": {"a": {"b": 1}}}, ["u.a", "u.a.b"], {"u": {"a": {"b": 1}}}),
        ({"n": None}, ["n", "missing", "n.deeper"], {"n": None}),
        ({}, ["n"], {}),
    ],
)
def test_what_is_read_stays(
    data: dict[str, object], paths: list[str], kept: dict[str, object]
) -> None:
    assert reduced(data, paths) == kept


def test_everything_that_a_meter_reads_is_named() -> None:
    document = {
        "event_type": "call", "aggregation": "sum", "value": "a + 2*b", "dimensions": ["model"],
        "filter": {"region": ["eu"], "kind": {"not": ["test"]}},
    }  # fmt: skip
    meter = parse_meter("m", document, version=1)
    assert read_by_meters([meter]) == {"a", "b", "model", "region", "kind"}


def test_everything_that_a_price_reads_is_named() -> None:
    document = {
        "prices": [
            {"key": "p", "multipliers": [{"when": {"batch": True}, "factor": "0.5"}]},
            {"key": "d", "model": "dimensional", "dimensions": ["tier"],
             "rates": [{"match": {"tier": "x"}, "unit": "1"}]},
            {"key": "v", "model": "dynamic", "value": "price"},
        ]
    }  # fmt: skip
    assert read_by_prices(document) == {"batch", "tier", "price"}
