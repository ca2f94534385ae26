"""Warnings about plans that are valid: what is judged, where, and what is left alone."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.rating.advice import advise

# The packs of a published price page: 5,000 at 0.225 each, 7,500 at 0.2250667, 10,000 at 0.225.
PACKS = [
    {"up_to": "100", "flat": "25"}, {"up_to": "200", "flat": "50"}, {"up_to": "400", "flat": "100"},
    {"up_to": "800", "flat": "200"}, {"up_to": "1200", "flat": "294"},
    {"up_to": "2000", "flat": "480"}, {"up_to": "3000", "flat": "705"},
    {"up_to": "4000", "flat": "920"}, {"up_to": "5000", "flat": "1125"},
    {"up_to": "7500", "flat": "1688"}, {"up_to": "10000", "flat": "2250"},
]  # fmt: skip
METER = {"event_type": "call", "aggregation": "sum", "value": "n", "unit": "token"}


def usage(**fields: object) -> dict[str, object]:
    return {"key": "u", "name": "Use", "type": "usage", "meter": "m", **fields}


def tiers(*found: object, **fields: object) -> dict[str, object]:
    return usage(**{"model": "graduated", "tiers": list(found), **fields})


def dimensional(*rates: object, **fields: object) -> dict[str, object]:
    return usage(**{"model": "dimensional", "dimensions": ["size"], "rates": list(rates), **fields})


PER_UNIT = usage(model="per_unit", unit="1")


def warnings(
    price: Mapping[str, object], meter: Mapping[str, object] | None = None, **plan: object
) -> list[tuple[str, str, str]]:
    document = {"key": "x", "currency": "USD", "period": "month", "prices": [price], **plan}
    meters = [parse_meter("m", meter, version=1)] if meter is not None else []
    return [(one.path, one.code, one.detail) for one in advise(parse_plan(document), meters)]


def test_a_pack_that_is_dearer_than_a_smaller_one() -> None:
    [(path, code, detail)] = warnings(
        {"key": "s", "name": "Packs", "type": "seat", "model": "stairstep", "tiers": PACKS}
    )
    assert (path, code) == ("prices[0].tiers[9].flat", "dearer_pack")
    # 1,688 / 7,500 = 0.22506666..., 1,125 / 5,000 = 0.225
    assert Decimal("0.225067") > Decimal(1125) / 5000
    assert "7500 for 1688 is 0.225067 each, dearer than 5000 for 1125 (0.225 each)" in detail


@pytest.mark.parametrize(
    ("price", "path", "code", "said"),
    [
        (
            tiers({"up_to": 10, "unit": "0.10"}, {"unit": "0.11"}),
            "prices[0].tiers[1].unit", "rising_rate", "(0.11) than tier 1 (0.1)",
        ),
        (
            tiers({"up_to": 10, "unit": "1", "per": "1000"}, {"unit": "2", "per": "1000"}),
            "prices[0].tiers[1].unit", "rising_rate", "(2 per 1000) than tier 1 (1 per 1000)",
        ),
        (
            tiers({"up_to": 9, "unit": 3}, {"up_to": 10, "unit": 1}, {"unit": 2}, model="volume"),
            "prices[0].tiers[2].unit", "rising_rate", "than tier 2",
        ),
        (
            dimensional({"match": {"size": "s"}, "model": "graduated",
                         "tiers": [{"up_to": 1, "unit": 1}, {"unit": 2}]}),
            "prices[0].rates[0].tiers[1].unit", "rising_rate", "than tier 1",
        ),
        (
            dimensional({"match": {"size": "s"}, "unit": 1}, otherwise={
                "model": "stairstep", "tiers": [{"up_to": 1, "flat": 1}, {"up_to": 2, "flat": 3}]}),
            "prices[0].otherwise.tiers[1].flat", "dearer_pack", "1.5 each",
        ),
        (
            tiers({"up_to": 9, "percent": "2"}, {"percent": 3}, model="graduated_percentage"),
            "prices[0].tiers[1].percent", "rising_rate", "(3%) than tier 1 (2%)",
        ),
        (
            # 10 x 1.00 = 10 at the end of tier 1.
            tiers({"up_to": 10, "unit": "1"}, {"up_to": 20, "unit": "0.5"}, {"unit": "0.1"},
                  maximum="10"),
            "prices[0].tiers[1]", "never_applies", "The maximum of 10",
        ),
        (
            # (10 x 1.00 + 10 x 0.50) less 20% = 12 at the end of tier 2.
            tiers({"up_to": 10, "unit": "1"}, {"up_to": 20, "unit": "0.5"}, {"unit": "0.1"},
                  maximum="12", discount={"percent": "20"}, included="100"),
            "prices[0].tiers[2]", "never_applies", "The maximum of 12",
        ),
        (
            dimensional({"match": {"size": "s"}, "unit": 1}, dimensions=["size", "speed"]),
            "prices[0].dimensions[1]", "unused_dimension", "No rate asks for speed",
        ),
        (
            {**usage(model="per_unit", unit="1"), "name": None},
            "prices[0].name", "no_name", "the keys u.",
        ),
    ],
)  # fmt: skip
def test_what_is_warned_of(price: dict[str, object], path: str, code: str, said: str) -> None:
    [(found_path, found_code, detail)] = warnings(price)
    assert (found_path, found_code) == (path, code)
    assert said in detail


@pytest.mark.parametrize(
    "price",
    [
        tiers({"up_to": 5000, "unit": 0}, {"unit": "0.30"}),  # free units first
        tiers({"up_to": 10, "unit": "1"}, {"unit": "1"}),
        tiers({"up_to": 10, "unit": "1"}, {"unit": "500", "per": "1000"}),
        tiers({"up_to": 10, "unit": "1"}, {"unit": "0.5"}, maximum="10.01"),
        tiers({"up_to": 5, "flat": 0}, {"up_to": 9, "flat": 5}, {"flat": 9}, model="stairstep"),
        usage(model="package", amount="5", size="10"),
        {"key": "f", "name": "Fee", "type": "flat", "amount": "1"},
    ],
)  # fmt: skip
def test_what_is_left_alone(price: dict[str, object]) -> None:
    assert warnings(price) == []


@pytest.mark.parametrize(
    ("price", "meter", "path", "code"),
    [
        (PER_UNIT, METER | {"unit": ""}, "prices[0].meter", "no_unit"),
        (PER_UNIT, METER | {"unit": "Units"}, "prices[0].meter", "vague_unit"),
        (
            PER_UNIT, METER | {"dimensions": ["size"]},
            "prices[0].meter", "unused_dimension",
        ),
        (
            dimensional({"match": {"size": "s"}, "unit": 1}),
            METER | {"dimensions": ["size"], "filter": {"size": ["l"]}},
            "prices[0].rates[0].match", "never_applies",
        ),
        (
            dimensional({"match": {"size": "l"}, "unit": 1}, {"match": {"size": "s"}, "unit": 1}),
            METER | {"dimensions": ["size"], "filter": {"size": {"not": ["s"]}}},
            "prices[0].rates[1].match", "never_applies",
        ),
    ],
)  # fmt: skip
def test_what_is_warned_of_a_meter(
    price: dict[str, object], meter: dict[str, object], path: str, code: str
) -> None:
    [(found_path, found_code, _)] = warnings(price, meter)
    assert (found_path, found_code) == (path, code)
    assert warnings(price) == []


def test_a_family_named_like_its_plan() -> None:
    price = usage(model="per_unit", unit=1)
    assert [one[:2] for one in warnings(price, family="x")] == [("family", "hidden_family")]
    assert warnings(price, family="y") == []


def test_what_multipliers_ask_for_is_used() -> None:
    half = {"when": {"batch": True}, "factor": "0.5"}
    price = PER_UNIT | {"multipliers": [half]}
    assert warnings(price, METER | {"dimensions": ["batch"]}) == []
