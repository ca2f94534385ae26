"""The JSON Schema of plans keeps step with the reader: the same fields, and whatever it takes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given, settings

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan_schema import PLAN, PLAN_SCHEMA
from taximeter.kernel.errors import Invalid
from tests.unit.test_plan_document import FULL, broken

PLANS = Path(__file__).parents[2] / "plans"
# Between them these have every object that a plan can have; a new one goes here.
SAMPLES = """
key: a
currency: USD
period: month
minimum: 100
grace: PT2H
family: scale
segment: {region: eu, cohort: founders}
discount: {percent: "10", months: 3}
prices:
  - {key: fee, type: flat, amount: "1", discount: {amount: "1"}}
  - {key: seats, type: seat, model: volume, tiers: [{up_to: 5, unit: "2", per: "10", flat: 1}]}
  - {key: packs, type: usage, meter: m, model: package, amount: 1, size: 10, free: 5}
  - {key: done, type: usage, meter: m, model: per_unit, unit: 1, outcome: {retries: once}}
credits:
  - {asset: credits, amount: 10, expires: P1Y, priority: 5, scope: {meters: [m], path: a}}
assets: [{asset: credits, unit_price: "0.01"}]
commitment: {amount: 12000, period: year, rollover_max: 500}
enforcement: soft
margin: {floor: 30, enforcement: soft, free_cost_max: "0.05"}
entitlements:
  - {feature: sso, value: true}
  - {feature: support, value: gold}
  - {feature: calls, meter: m, limit: 1000, window: day, overage: allow}
  - {feature: runs, concurrency: "5"}
  - {feature: runs, rate: {limit: "100", per: minute}}
---
key: events
currency: USD
period: month
prices:
  - key: fees
    type: usage
    meter: m
    model: percentage
    percent: "2.9"
    fixed: "0.30"
    free_events: 3
    min_per_event: 1
    max_per_event: 5
  - {key: volume, type: usage, meter: m, model: graduated_percentage, tiers: [{percent: 1}]}
  - {key: own, type: usage, meter: m, model: dynamic, value: price, factor: 2}
  - {key: cost, type: usage, meter: m, model: cost_plus, markup_percent: 20, markup_fixed: 1}
  - {key: day, type: usage, meter: m, model: per_unit, unit: 1, maximum_per_day: 5, included: 1}
  - {key: share, type: usage, meter: n, model: per_unit, unit: 1, included: {percent: 10, of: day}}
  - {key: one, type: usage, meter: m, model: graduated, tiers: [{unit: 1}], pool: p}
  - {key: two, type: usage, meter: n, model: graduated, tiers: [{unit: 1}], pool: p}
  - key: half
    type: usage
    meter: m
    model: per_unit
    unit: 1
    multipliers: [{when: {batch: true, tokens: {above: 5, at_most: "9.5"}, at: [a, b]}, factor: 2}]
  - key: sized
    type: usage
    meter: m
    model: dimensional
    dimensions: [size]
    rates:
      - {match: {size: {at_least: 5, below: 9}}, model: percentage, percent: 2, fixed: 1}
      - {match: {size: 1}, model: cost_plus, markup_percent: 20}
      - {match: {size: 2}, model: dynamic, value: price}
      - {match: {size: 3}, model: graduated_percentage, tiers: [{percent: 1}]}
    otherwise: {model: percentage, percent: 2, min_per_event: 1}
  - key: else
    type: usage
    meter: m
    model: dimensional
    dimensions: [size]
    rates: [{match: {size: 1}, unit: 1}]
    otherwise: {model: cost_plus, markup_percent: 2, markup_fixed: 1}
  - key: other
    type: usage
    meter: m
    model: dimensional
    dimensions: [size]
    rates: [{match: {size: 1}, unit: 1}]
    otherwise: {model: dynamic, value: price, factor: 2}
  - key: last
    type: usage
    meter: m
    model: dimensional
    dimensions: [size]
    rates: [{match: {size: 1}, unit: 1}]
    otherwise: {model: graduated_percentage, tiers: [{percent: 1}]}
---
key: b
currency: EUR
period: year
prices:
  - key: tokens
    type: usage
    meter: m
    model: dimensional
    dimensions: [model]
    rates:
      - {match: {model: 1}, model: per_unit, unit: 1, per: 5}
      - {match: {model: a}, model: package, amount: 1, size: 10, free: 5}
      - {match: {model: b}, model: graduated, tiers: [{unit: 1}]}
    otherwise: {model: per_unit, unit: "9", per: 5}
  - key: more
    type: usage
    meter: m
    model: dimensional
    dimensions: [model]
    rates: [{match: {model: b}, unit: 1}]
    otherwise: {model: package, amount: 1, size: 10}
  - key: most
    type: usage
    meter: m
    model: dimensional
    dimensions: [model]
    rates: [{match: {model: b}, unit: 1}]
    otherwise: {model: volume, tiers: [{unit: 1}]}
"""
validator = jsonschema.Draft202012Validator(PLAN_SCHEMA)


def documents() -> list[dict[str, Any]]:
    """The samples, and every plan that comes with Taximeter."""
    texts = [SAMPLES, FULL, *(file.read_text() for file in sorted(PLANS.rglob("*.yaml")))]
    found = [one for text in texts for one in yaml.safe_load_all(text) if one is not None]
    return [one for one in found if "meters" not in one]


DOCUMENTS = documents()


def meters() -> list[dict[str, Any]]:
    """The documents with meters in the plan files that come with Taximeter."""
    texts = [file.read_text() for file in sorted(PLANS.rglob("*.yaml"))]
    return [one for text in texts for one in yaml.safe_load_all(text) if one and "meters" in one]


class Watched(dict[str, Any]):
    """An object of a document that notes which fields are asked for."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__({name: watched(value) for name, value in content.items()})
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def watched(value: Any) -> Any:
    """`value` with every object in it watched."""
    if isinstance(value, list):
        return [watched(item) for item in value]
    return Watched(value) if isinstance(value, Mapping) else value


def objects(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object with fields in the schema, with a path to it."""
    for part in schema.get("anyOf", ()):
        yield from objects(part, path)
    if "items" in schema:
        yield from objects(schema["items"], f"{path}[]")
    if "properties" in schema:
        yield path, schema
        for name, field in schema["properties"].items():
            yield from objects(field, f"{path}.{name}")


def visits(
    schema: Mapping[str, Any], value: Any, path: str
) -> Iterator[tuple[str, Mapping[str, Any], Watched]]:
    """Every object of a document that was read, with the schema it has."""
    for part in schema.get("anyOf", ()):
        yield from visits(part, value, path)
    if isinstance(value, list) and "items" in schema:
        for item in value:
            yield from visits(schema["items"], item, f"{path}[]")
    if isinstance(value, Watched) and "properties" in schema:
        yield path, schema, value
        for name, member in value.items():
            if name in schema["properties"]:
                yield from visits(schema["properties"][name], member, f"{path}.{name}")


def test_the_schema_has_the_fields_that_the_reader_asks_for() -> None:
    asked: dict[str, set[str]] = {}
    for document in DOCUMENTS:
        plan = watched(document)
        parse_plan(plan)
        for path, _, found in visits(PLAN, plan, "plan"):
            asked.setdefault(path, set()).update(found.asked)
    there = {path: set(schema["properties"]) for path, schema in objects(PLAN, "plan")}
    unseen = sorted(there.keys() - asked.keys())
    assert not unseen, f"No sample has them; add one to SAMPLES: {unseen}"
    missing = {path: sorted(names - there[path]) for path, names in asked.items()}
    missing = {path: names for path, names in missing.items() if names}
    assert not missing, f"The reader takes them; add them to catalog/plan_schema.py: {missing}"
    extra = {path: sorted(names - asked[path]) for path, names in there.items()}
    extra = {path: names for path, names in extra.items() if names}
    assert not extra, f"No reader asks for them; take them out, or add a sample: {extra}"


def test_the_schema_is_one() -> None:
    validator.check_schema(PLAN_SCHEMA)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda plan: str(plan["key"]))
def test_every_plan_that_comes_with_taximeter_is_valid(document: dict[str, Any]) -> None:
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda plan: str(plan["key"]))
def test_the_schema_takes_what_the_reader_takes(document: dict[str, Any]) -> None:
    @settings(max_examples=25)  # of each of the documents
    @given(broken(document))
    def holds(changed: Any) -> None:
        try:
            parse_plan(changed)
        except Invalid:
            return
        assert [error.message for error in validator.iter_errors(changed)] == []

    holds()


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"period": "fortnight"},
        {"currency": "usd"},
        {"prices": []},
        {"prices": [{"key": "a", "type": "flat", "amount": 0.5}]},
        {"prices": [{"key": "a", "type": "flat", "amount": -1}]},
        {"prices": [{"key": "a", "type": "flat", "amonut": "1"}]},
        {"prices": [{"key": "a b", "type": "flat", "amount": "1"}]},
        {"prices": [{"type": "flat", "amount": "1"}]},
    ],
)
def test_what_an_editor_marks(change: dict[str, Any]) -> None:
    document = {"key": "x", "currency": "USD", "period": "month"}
    fee = {"prices": [{"key": "a", "type": "flat", "amount": "1"}]}
    assert validator.is_valid(document | fee)
    assert not validator.is_valid(document | fee | change)


def test_meters_in_plan_files_are_valid_too() -> None:
    assert len(meters()) > 20
    for document in meters():
        assert [error.message for error in validator.iter_errors(document)] == []
    [meter, *_] = meters()[0]["meters"]
    for wrong in ({**meter, "key": None}, {**meter, "colour": "red"}, {"key": "a"}):
        assert not validator.is_valid({"meters": [wrong]})
    assert not validator.is_valid({"meters": [meter], "key": "x"})
