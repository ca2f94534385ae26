"""Rating by table: one row a case, the arithmetic beside it. Fast, so that mutation tests of the
package (make mutants) can run all of it for each mutant.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import Condition, Percentage, UsagePrice
from taximeter.domain.metering.fold import Unreadable
from taximeter.domain.metering.reserved import BUCKET, DAY, FEE, FREE, PRICE, RATE, WHEN
from taximeter.domain.rating.condition import holds
from taximeter.domain.rating.dimensional import match_rate
from taximeter.domain.rating.event_price import event_price, when_of
from taximeter.domain.rating.linear import is_linear
from taximeter.domain.rating.percentage import FreePart, free_fees
from taximeter.domain.rating.plan import rate_plan
from taximeter.domain.rating.rate import amount_of, delta, price_amount, rate_price
from taximeter.domain.rating.usage import Usage, counted_by, parts_of, with_group
from taximeter.kernel.errors import Invalid

Document = dict[str, Any]

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LADDER = [{"up_to": "10", "unit": "1"}, {"up_to": "20", "unit": "2", "flat": "5"}, {"unit": "3"}]
BATCH = {"when": {"batch": True}, "factor": "0.5"}
LONG = {"when": {"n": {"above": "10"}}, "factor": "2"}


def plan_of(*documents: Document) -> Document:
    return {"key": "p", "currency": "USD", "period": "month", "prices": list(documents)}


def usage(key: str = "u", **fields: Any) -> Document:
    return {"key": key, "type": "usage", "meter": key, "model": "per_unit", **fields}


def prices(*documents: Document) -> list[UsagePrice]:
    found = parse_plan(plan_of(*documents)).prices
    assert all(isinstance(price, UsagePrice) for price in found)
    return [price for price in found if isinstance(price, UsagePrice)]


def price(**fields: Any) -> UsagePrice:
    return prices(usage(**fields))[0]


def total(one: UsagePrice, *rows: tuple[Mapping[str, str], str]) -> str:
    used: Usage = [(dimensions, Decimal(quantity)) for dimensions, quantity in rows]
    lines = rate_price(one, used)
    amount = sum((line.amount for line in lines), Decimal(0))
    assert price_amount(one, used) == amount, "both ways come to the same"
    return format(amount.normalize(), "f")


# The value of the property, the condition, whether it holds.
CONDITIONS: list[tuple[str | None, Condition, bool]] = [
    ("eu", Condition("r", ("eu", "uk")), True),
    ("us", Condition("r", ("eu", "uk")), False),
    (None, Condition("r", ("eu",)), False),
    ("", Condition("r", ("",)), False),
    ("10", Condition("n", above=Decimal(10)), False),
    ("10.000000000001", Condition("n", above=Decimal(10)), True),
    ("10", Condition("n", at_least=Decimal(10)), True),
    ("9", Condition("n", at_least=Decimal(10)), False),
    ("10", Condition("n", below=Decimal(10)), False),
    ("9", Condition("n", below=Decimal(10)), True),
    ("10", Condition("n", at_most=Decimal(10)), True),
    ("11", Condition("n", at_most=Decimal(10)), False),
    ("15", Condition("n", above=Decimal(10), at_most=Decimal(20)), True),
    ("21", Condition("n", above=Decimal(10), at_most=Decimal(20)), False),
    ("ten", Condition("n", above=Decimal(1)), False),
]


@pytest.mark.parametrize(("text", "condition", "held"), CONDITIONS)
def test_what_a_condition_asks(text: str | None, condition: Condition, held: bool) -> None:
    assert holds(condition, text) is held


# What of the order of events is free: fields, the amounts by time, what is taken off the fees.
FREE_PARTS: list[tuple[tuple[int, str], list[str], str]] = [
    # 1% and 0.10 each: 1.10 + 2.60
    ((2, "0"), ["100", "250", "300"], "3.7"),
    # 1.10 of the first; of the second 1% of 250 + 0.10 less 1% of 130 + 0.10: 1.20
    ((0, "220"), ["100", "250", "300"], "2.3"),
    # just used up by the first two: 1.10 + 2.60
    ((0, "350"), ["100", "250", "300"], "3.7"),
    # the events end it first
    ((1, "350"), ["100", "250", "300"], "1.1"),
    # the amount ends it first: 1.10 and 1.20 as above
    ((3, "220"), ["100", "250", "300"], "2.3"),
    ((2, "0"), [], "0"),
    # a credit uses nothing up: 1.10 + 2.60
    ((2, "0"), ["100", "-50", "250", "300"], "3.7"),
    # an event of nothing is one, too: 0.10 + 1.10
    ((2, "0"), ["0", "100", "250"], "1.2"),
    ((0, "0"), ["100"], "0"),
]


@pytest.mark.parametrize(("free", "amounts", "off"), FREE_PARTS)
def test_what_is_free_of_fees(free: tuple[int, str], amounts: list[str], off: str) -> None:
    model = Percentage(Decimal(1), Decimal("0.10"), free[0], Decimal(free[1]), None, None)
    assert free_fees(model, map(Decimal, amounts)) == Decimal(off)
    part = FreePart(model)
    for carried in amounts:
        part.add(Decimal(carried))
    assert part.fees == Decimal(off), "what comes after the free part changes nothing"


# The price, what an event carries, its fee (None: it has none), or the reason why it is unreadable.
FEES: list[tuple[Document, Document, str | None]] = [
    ({"model": "percentage", "percent": "2", "fixed": "1"}, {"q": "50"}, "2"),
    ({"model": "percentage", "percent": "2", "fixed": "1"}, {"q": "-50"}, "-1"),
    ({"model": "percentage", "percent": "2", "fixed": "1"}, {"q": "0"}, "1"),
    ({"model": "percentage", "percent": "2", "min_per_event": "3"}, {"q": "50"}, "3"),
    ({"model": "percentage", "percent": "2", "max_per_event": "0.5"}, {"q": "50"}, "0.5"),
    ({"model": "percentage", "percent": "2"}, {"q": "50"}, None),
    ({"model": "percentage", "percent": "2", "free_amount": "5"}, {"q": "50"}, None),
    ({"model": "cost_plus", "markup_percent": "20"}, {"cost": "0.5"}, "0.6"),
    ({"model": "cost_plus", "markup_fixed": "2"}, {"cost": 3}, "5"),
    ({"model": "cost_plus"}, {"cost": {"amount": "1.5", "asset": "USD"}}, "1.5"),
    ({"model": "cost_plus"}, {"cost": {"amount": "1.5"}}, "1.5"),
    ({"model": "cost_plus"}, {"cost": {"amount": "1.5", "asset": "EUR"}}, "other_asset_cost"),
    ({"model": "cost_plus"}, {"cost": "-1"}, "invalid_cost"),
    ({"model": "cost_plus"}, {"cost": "0"}, "0"),
    ({"model": "cost_plus"}, {"cost": [1]}, "invalid_cost"),
    ({"model": "cost_plus"}, {"cost": {"asset": "USD"}}, "invalid_cost"),
    ({"model": "cost_plus"}, {}, "missing_cost"),
    ({"model": "dynamic", "value": "a.b", "factor": "3"}, {"a": {"b": "2"}}, "6"),
    ({"model": "dynamic", "value": "b"}, {"b": Decimal("0.5")}, "0.5"),
    ({"model": "dynamic", "value": "b"}, {"b": 0}, "0"),
    ({"model": "dynamic", "value": "b"}, {}, "missing_value"),
    ({"model": "dynamic", "value": "b"}, {"b": "x"}, "non_numeric_value"),
    ({"model": "dynamic", "value": "b"}, {"b": True}, "non_numeric_value"),
    ({"model": "dynamic", "value": "b"}, {"b": "-1"}, "negative_value"),
    ({"model": "dynamic", "value": "b"}, {"b": Decimal(10) ** 20}, "non_numeric_value"),
]


@pytest.mark.parametrize(("fields", "data", "fee"), FEES)
def test_the_fee_of_an_event(fields: Document, data: Document, fee: str | None) -> None:
    measure = event_price(price(**fields), ("d",), "UTC")
    if fee is None:
        assert measure is None
        return
    assert measure is not None and measure.names == ("d", FEE)
    quantity = Decimal(data.get("q", 1))
    try:
        units, fees = measure.read(data, NOON, ("x",), quantity)
    except Unreadable as unreadable:
        assert str(unreadable) == fee
    else:
        assert units == (("x", ""), quantity)
        assert fees == (("x", "1"), Decimal(fee))


def test_an_event_is_kept_apart_by_what_its_price_asks() -> None:
    rates = [
        {"match": {"m": "a"}, "unit": "1"},
        {"match": {"m": "a", "n": {"above": "10"}}, "model": "cost_plus"},
    ]
    one = price(
        model="dimensional", dimensions=["m", "n"], rates=rates, otherwise={"unit": "5"},
        multipliers=[BATCH, LONG], maximum_per_day="9",
    )  # fmt: skip
    measure = event_price(one, (), "Asia/Tokyo")
    assert measure is not None and measure.names == (RATE, WHEN, DAY, FEE)
    late = datetime(2026, 1, 5, 16, tzinfo=UTC)  # the 6th in Tokyo
    assert measure.read({"m": "a", "n": 5}, late, (), 7) == ((("0", "", "2026-01-06", ""), 7),)
    both = {"m": "a", "n": 11, "batch": True, "cost": "2"}
    assert measure.read(both, NOON, (), 7) == (
        (("1", "0,1", "2026-01-05", ""), 7), (("1", "0,1", "2026-01-05", "1"), Decimal(2)),
    )  # fmt: skip
    assert measure.read({"m": "z", "batch": True}, NOON, (), 7) == (
        (("otherwise", "0", "2026-01-05", ""), 7),
    )
    assert when_of(one, {"batch": "true", "n": "11"}) == "0,1"
    strict = price(model="dimensional", dimensions=["m", "n"], rates=rates)
    measure = event_price(strict, (), "UTC")
    assert measure is not None
    with pytest.raises(Unreadable, match="unmatched_dimension"):
        measure.read({"m": "z"}, NOON, (), 7)


# The dimensions, and the rate that takes them.
MATCHES: list[tuple[Mapping[str, str], object]] = [
    ({"m": "a", "n": "5"}, 0),
    ({"m": "a", "n": "11"}, 1),
    ({"m": "b", "n": "11"}, 2),
    ({"m": "b", "n": "10"}, "otherwise"),
    ({"m": "a"}, 0),
    ({}, "otherwise"),
    ({RATE: "1"}, 1),
    ({RATE: "otherwise", "m": "a"}, "otherwise"),
]


@pytest.mark.parametrize(("dimensions", "match"), MATCHES)
def test_the_rate_that_asks_most_wins(dimensions: Mapping[str, str], match: object) -> None:
    rates = [
        {"match": {"m": "a"}, "unit": "1"},
        {"match": {"m": "a", "n": {"above": "10"}}, "unit": "2"},
        {"match": {"n": {"above": "10"}}, "unit": "3"},
    ]
    one = price(model="dimensional", dimensions=["m", "n"], rates=rates, otherwise="zero")
    assert match_rate(one.model, dimensions) == match  # type: ignore[arg-type]


def test_of_rates_that_ask_as_much_the_first_wins() -> None:
    rates = [{"match": {"n": {"above": "5"}}, "unit": "1"}, {"match": {"m": "a"}, "unit": "2"}]
    for written, first in ((rates, "1"), (rates[::-1], "2")):
        one = price(model="dimensional", dimensions=["m", "n"], rates=written, otherwise="zero")
        assert total(one, ({"m": "a", "n": "9"}, "1")) == first


# The price, the rows of usage, the amount.
AMOUNTS: list[tuple[Document, list[tuple[Mapping[str, str], str]], str]] = [
    # 10 at 1, 10 at 2 and the fee of 5, 5 at 3: 10 + 20 + 5 + 15
    ({"model": "graduated", "tiers": LADDER}, [({}, "25")], "50"),
    # on either side of a bound: 10; 10 + 0.5 x 2 + 5
    ({"model": "graduated", "tiers": LADDER}, [({}, "10")], "10"),
    ({"model": "graduated", "tiers": LADDER}, [({}, "10.5")], "16"),
    ({"model": "graduated", "tiers": LADDER}, [({}, "-2")], "-2"),
    # all 15 at 2, and 5; all 25 at 3
    ({"model": "volume", "tiers": LADDER}, [({}, "15")], "35"),
    ({"model": "volume", "tiers": LADDER}, [({}, "25")], "75"),
    ({"model": "volume", "tiers": LADDER}, [({}, "-2")], "-2"),
    # 25 in blocks of 10: 3 at 4; none for a credit
    ({"model": "volume", "tiers": [{"unit": "4", "size": "10"}]}, [({}, "25")], "12"),
    ({"model": "graduated", "tiers": [{"unit": "4", "size": "10"}]}, [({}, "20")], "8"),
    ({"model": "graduated", "tiers": [{"unit": "4", "size": "10"}]}, [({}, "-5")], "0"),
    ({"model": "package", "amount": "3", "size": "10", "free": "5"}, [({}, "26")], "9"),
    ({"model": "package", "amount": "3", "size": "10", "free": "5"}, [({}, "5")], "0"),
    ({"model": "package", "amount": "3", "size": "10"}, [({}, "-5")], "0"),
    # 5% of 100 - 40; all is free; a credit uses nothing
    ({"model": "percentage", "percent": "5", "free_amount": "40"}, [({}, "100")], "3"),
    ({"model": "percentage", "percent": "5", "free_amount": "40"}, [({}, "30")], "0"),
    ({"model": "percentage", "percent": "5", "free_amount": "40"}, [({}, "-20")], "-1"),
    # 200 + 1% of 10, 300 + 2% of 2
    (
        {"model": "graduated_percentage", "tiers": [
            {"up_to": "10", "percent": "1", "flat": "200"}, {"percent": "2", "flat": "300"}]},
        [({}, "12")], "500.14",
    ),
    # (20 - 5) x 2, and rows add up
    ({"unit": "2", "included": "5"}, [({}, "12"), ({"m": "a"}, "8")], "30"),
    ({"unit": "2", "included": "5"}, [({}, "3")], "0"),
    ({"unit": "2", "included": "5"}, [({}, "-3")], "-6"),
    # 30 less 10%, less 4 off, within bounds
    ({"unit": "2", "discount": {"percent": "10"}}, [({}, "15")], "27"),
    ({"unit": "2", "discount": {"amount": "4"}}, [({}, "15")], "26"),
    ({"unit": "2", "discount": {"amount": "40"}}, [({}, "15")], "0"),
    ({"unit": "2", "discount": {"amount": "4"}}, [({}, "-15")], "-30"),
    ({"unit": "2", "maximum": "25"}, [({}, "15")], "25"),
    ({"unit": "2", "minimum": "35"}, [({}, "15")], "35"),
    ({"unit": "2", "maximum": "30", "minimum": "30"}, [({}, "15")], "30"),
    ({"unit": "2", "minimum": "35"}, [], "35"),
    ({"unit": "2", "maximum": "25", "minimum": "20"}, [({}, "15")], "25"),
    # (10 + 20 x 0.5 + 30 x 2 + 40 x 0.5 x 2): what none takes is free first: 5 of the 10
    (
        {"unit": "1", "multipliers": [BATCH, LONG], "included": "5"},
        [({WHEN: "0,1"}, "40"), ({WHEN: "0"}, "20"), ({WHEN: "1"}, "30"), ({WHEN: ""}, "10")],
        "115",
    ),
    # the fees of events, half of those of a batch
    (
        {"model": "cost_plus", "multipliers": [BATCH]},
        [({WHEN: "", FEE: ""}, "3"), ({WHEN: "", FEE: "1"}, "7"), ({WHEN: "0", FEE: "1"}, "4")],
        "9",
    ),
    # 10 of fees, 3 of them free
    (
        {"model": "percentage", "percent": "1", "free_events": 2},
        [({FEE: ""}, "900"), ({FEE: "1"}, "10"), ({FEE: FREE}, "3")], "7",
    ),
    # each bucket on its own: 9 x 1; 10 + 5 x 2 + 5
    (
        {"model": "graduated", "tiers": LADDER},
        [({BUCKET: "a"}, "9"), ({BUCKET: "b"}, "15")], "34",
    ),
    # fees of one rate, units of the other, by the meter's own dimensions: 7 + 2 x 5
    (
        {"model": "dimensional", "dimensions": ["m"], "rates": [
            {"match": {"m": "a"}, "model": "cost_plus"}, {"match": {"m": "b"}, "unit": "2"}]},
        [({"m": "a", FEE: ""}, "3"), ({"m": "a", FEE: "1"}, "7"), ({"m": "b", FEE: ""}, "5")], "17",
    ),
    # what is included is not for events with fees: 7 + (5 - 3) x 2
    (
        {"model": "dimensional", "dimensions": ["m"], "included": "3", "rates": [
            {"match": {"m": "a"}, "model": "cost_plus"}, {"match": {"m": "b"}, "unit": "2"}]},
        [({"m": "a", FEE: ""}, "5"), ({"m": "a", FEE: "1"}, "7"), ({"m": "b", FEE: ""}, "5")], "11",
    ),
    # past the bound of a last tier: 10 x 1 and 15 x 2
    (
        {"model": "graduated", "tiers": [
            {"up_to": "10", "unit": "1"}, {"up_to": "20", "unit": "2"}]},
        [({}, "25")], "40",
    ),
    # a day adds at most 10: of 12, 4 and 10 they are 10 + 4 + 10
    (
        {"unit": "1", "maximum_per_day": "10"},
        [({DAY: "2026-01-02"}, "4"), ({DAY: "2026-01-01"}, "12"), ({DAY: "2026-01-03"}, "10")],
        "24",
    ),
    # 5 off before a day is capped: 12 - 5, then 12, of which 10
    (
        {"unit": "1", "maximum_per_day": "10", "discount": {"amount": "5"}},
        [({DAY: "2026-01-01"}, "12"), ({DAY: "2026-01-02"}, "12")], "17",
    ),
    # the ladder goes on from day to day: 10; 2 x 5 + 5 = 15, of which 9; 3 x 3 + 5 x 2 = 19: 9
    (
        {"model": "graduated", "tiers": LADDER, "maximum_per_day": "9"},
        [({DAY: "a"}, "10"), ({DAY: "b"}, "5"), ({DAY: "c"}, "8")], "27",
    ),
    ({"unit": "1", "maximum_per_day": "10", "maximum": "12"},
     [({DAY: "a"}, "30"), ({DAY: "b"}, "30")], "12"),
    ({"unit": "1", "maximum_per_day": "10", "minimum": "12"}, [({DAY: "a"}, "30")], "12"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "rows", "amount"), AMOUNTS)
def test_amounts(fields: Document, rows: list[tuple[Mapping[str, str], str]], amount: str) -> None:
    assert total(price(**fields), *rows) == amount


RATES: list[Document] = [
    {"match": {"m": "a"}, "unit": "1"},
    {"match": {"m": "b"}, "model": "graduated", "tiers": LADDER},
]


@pytest.mark.parametrize(
    ("fields", "rows", "lines"),
    [
        # in the order written, otherwise last
        (
            {"otherwise": {"unit": "3"}}, [("z", "2"), ("b", "12"), ("a", "5")],
            [("m a", "5", "5"), ("m b", "12", "19"), ("other", "2", "6")],
        ),
        # 4 included: 4 of a; then 1 of it, all of b
        ({"included": "4"}, [("b", "2"), ("a", "5")], [("m a", "5", "1"), ("m b", "2", "2")]),
        ({"included": "6"}, [("b", "2"), ("a", "5")], [("m a", "5", "0"), ("m b", "2", "1")]),
        # usage that comes to nothing has no line
        ({}, [("a", "5"), ("a", "-5"), ("b", "1")], [("m b", "1", "1")]),
        ({"otherwise": "zero"}, [("z", "9")], [("other", "9", "0")]),
        # 10% of each line; 2 off, the bounds, on a line of their own
        (
            {"discount": {"percent": "10"}}, [("a", "10"), ("b", "1")],
            [("m a", "10", "9"), ("m b", "1", "0.9")],
        ),
        (
            {"discount": {"amount": "2"}}, [("a", "5")],
            [("m a", "5", "5"), ("adjustment", "0", "-2")],
        ),
        ({"maximum": "3"}, [("a", "5")], [("m a", "5", "5"), ("adjustment", "0", "-2")]),
        ({"minimum": "3"}, [], [("adjustment", "0", "3")]),
    ],
)  # fmt: skip
def test_lines_of_a_dimensional_price(
    fields: Document, rows: list[tuple[str, str]], lines: list[tuple[str, str, str]]
) -> None:
    one = price(model="dimensional", dimensions=["m"], rates=RATES, **fields)
    used: Usage = [({"m": value}, Decimal(quantity)) for value, quantity in rows]
    rated = rate_price(one, used)
    found = [(line.description.removeprefix("u: "), line.quantity, line.amount) for line in rated]
    assert found == [(name, Decimal(q), Decimal(a)) for name, q, a in lines]
    assert price_amount(one, used) == sum((line.amount for line in rated), Decimal(0))


def pool(kind: str, *units: str, **fields: Any) -> list[UsagePrice]:
    """Prices of one ladder with bounds of 10 and 20, each at its own unit price below 10."""
    documents = []
    for index, unit in enumerate(units):
        tiers = [{"up_to": "10", "unit": unit, "flat": "1"}, *LADDER[1:]]
        document = usage(f"p{index}", model=kind, pool="x", tiers=tiers, **fields)
        documents.append(document)
    return prices(*documents)


@pytest.mark.parametrize(
    ("kind", "quantities", "amounts"),
    [
        # p0 stands at 0 to 8: 8 x 1 + 1; p1 at 8 to 15: 2 x 4 below 10, 5 x 2 and the fee of 5
        ("graduated", ["8", "7"], ["9", "23"]),
        # p0 fills the first tier; p1 enters the second with its first unit
        ("graduated", ["10", "1"], ["11", "7"]),
        # nothing used: the first price owes the fee that is owed at 0
        ("graduated", ["0", "0"], ["1", "0"]),
        ("graduated", ["0", "3"], ["1", "12"]),
        # p0 crosses both bounds: 10 + 1 + 20 + 5 + 5 x 3; p1 is above: 2 x 3
        ("graduated", ["25", "2"], ["51", "6"]),
        # a credit is in the first tier, and moves nobody
        ("graduated", ["-2", "3"], ["-1", "12"]),
        # nothing used at the bound of a tier does not enter the next
        ("graduated", ["10", "0"], ["11", "0"]),
        # a credit is in the first tier whatever the others use: 15 x 2 + 5; -2 x 4
        ("volume", ["15", "-2"], ["35", "-8"]),
        # 15 in all: each at 2, the fee of 5 with the first
        ("volume", ["8", "7"], ["21", "14"]),
        ("volume", ["0", "7"], ["1", "28"]),
    ],
)
def test_a_pool_of_two(kind: str, quantities: list[str], amounts: list[str]) -> None:
    members = pool(kind, "1", "4")
    used: dict[str, Usage] = {
        one.key: [({}, Decimal(q))] for one, q in zip(members, quantities, strict=True)
    }
    found = [price_amount(one, with_group(one, used)) for one in members]
    assert found == [Decimal(amount) for amount in amounts]


def test_a_pool_after_what_is_included() -> None:
    """Each has 3 included: p0 stands at 0 to 5, p1 at 5 to 12: 5 x 4 and 2 x 2 + 5."""
    members = pool("graduated", "1", "4", included="3")
    used: dict[str, Usage] = {"p0": [({}, Decimal(8))], "p1": [({}, Decimal(10))]}
    found = [price_amount(one, with_group(one, used)) for one in members]
    assert found == [Decimal(6), Decimal(29)]


def test_a_pool_by_percent() -> None:
    """p0 stands at 0 to 8: 1% and the fee of 2; p1 at 8 to 15: 1% of 2, 2% of 5, the fee of 3."""
    tiers = [{"up_to": "10", "percent": "1", "flat": "2"}, {"percent": "2", "flat": "3"}]
    fields: Document = {"model": "graduated_percentage", "tiers": tiers, "pool": "x"}
    members = prices(usage("p0", **fields), usage("p1", **fields))
    used: dict[str, Usage] = {"p0": [({}, Decimal(8))], "p1": [({}, Decimal(7))]}
    found = [price_amount(one, with_group(one, used)) for one in members]
    assert found == [Decimal("2.08"), Decimal("3.12")]


def test_a_share_within_a_pool() -> None:
    """A tenth of the 50 of s are free of p0, which stands at 0 to 5; p1 at 5 to 11: 5 x 1, 2, 5."""
    share = {"percent": "10", "of": "s"}
    members = prices(
        usage("s", unit="1"),
        usage("p0", model="graduated", tiers=LADDER, pool="x", included=share),
        usage("p1", model="graduated", tiers=LADDER, pool="x"),
    )
    used: dict[str, Usage] = {
        "s": [({}, Decimal(50))], "p0": [({}, Decimal(10))], "p1": [({}, Decimal(6))],
    }  # fmt: skip
    found = [price_amount(one, with_group(one, used)) for one in members]
    assert found == [50, 5, 12]


def test_what_others_used_may_come_first() -> None:
    members = pool("graduated", "1", "4")
    rows: Usage = [({PRICE: "p0"}, Decimal(8)), ({}, Decimal(7))]
    assert price_amount(members[1], rows) == 23  # 2 x 4, 5 x 2 and the fee of 5


def test_packages_and_steps_of_a_pool() -> None:
    """5 free, then packages of 10 at 3: p0 begins one with its 3, p1 ends it and begins another.
    A stairstep is owed once, by the first.
    """
    fields: Document = {"model": "package", "amount": "3", "size": "10", "free": "5", "pool": "x"}
    members = prices(usage("p0", **fields), usage("p1", **fields))
    used: dict[str, Usage] = {"p0": [({}, Decimal(8))], "p1": [({}, Decimal(8))]}
    assert [price_amount(one, with_group(one, used)) for one in members] == [3, 3]
    (line,) = rate_price(members[1], with_group(members[1], used))
    assert [step.text for step in line.steps] == ["0 of 5 free", "1 package of 10 at 3"]
    steps = [{"up_to": "10", "flat": "7"}, {"flat": "9"}]
    fields = {"model": "stairstep", "tiers": steps, "pool": "x"}
    members = prices(usage("p0", **fields), usage("p1", **fields))
    assert [price_amount(one, with_group(one, used)) for one in members] == [9, 0]


def test_a_block_that_another_price_of_the_pool_began_is_paid() -> None:
    """Blocks of 10 at 4: p0 begins two with 12, p1's 8 fill the second, its 9th begins a third."""
    fields: Document = {"model": "graduated", "tiers": [{"unit": "4", "size": "10"}], "pool": "x"}
    members = prices(usage("p0", **fields), usage("p1", **fields))
    for quantity, amount in (("8", 0), ("9", 4)):
        used: dict[str, Usage] = {"p0": [({}, Decimal(12))], "p1": [({}, Decimal(quantity))]}
        assert [price_amount(one, with_group(one, used)) for one in members] == [8, amount]


def test_blocks_of_the_tiers_of_a_pool() -> None:
    """Blocks of 10 at 4 above 5: p0 ends in the first tier; p1 begins two with 11 above the bound,
    whatever stood below it. By volume all 16 are in the second tier: p0 begins one, p1 the next.
    """
    tiers = [{"up_to": "5", "unit": "1"}, {"unit": "4", "size": "10"}]
    used: dict[str, Usage] = {"p0": [({}, Decimal(5))], "p1": [({}, Decimal(11))]}
    for kind, amounts in (("graduated", [5, 8]), ("volume", [4, 4])):
        fields: Document = {"model": kind, "tiers": tiers, "pool": "x"}
        members = prices(usage("p0", **fields), usage("p1", **fields))
        assert [price_amount(one, with_group(one, used)) for one in members] == amounts
    used["p0"] = [({}, Decimal(8))]  # 3 above the bound, one block; p1's 11 end at 14: two begun
    fields = {"model": "graduated", "tiers": tiers, "pool": "x"}
    members = prices(usage("p0", **fields), usage("p1", **fields))
    assert [price_amount(one, with_group(one, used)) for one in members] == [9, 4]


def test_a_pool_among_prices_of_other_ladders() -> None:
    """s shares in p0 and so is rated with the pool, written before and between its prices."""
    share = {"percent": "10", "of": "p0"}
    fields: Document = {"model": "graduated", "tiers": LADDER, "pool": "x"}
    members = prices(
        usage("s", unit="1", included=share), usage("p0", **fields),
        usage("t", unit="1", included=share), usage("p1", **fields),
    )  # fmt: skip
    used: dict[str, Usage] = {key: [({}, Decimal(10))] for key in ("s", "p0", "t", "p1")}
    # s, t: 10 less a tenth of 10; p0 fills the first tier; p1 the second: 20 and its fee of 5
    found = [price_amount(one, with_group(one, used)) for one in members]
    assert found == [9, 10, 9, 25]


def test_a_rate_with_fees_is_found_by_the_dimensions_that_the_meter_read() -> None:
    rates = [{"match": {"m": "a"}, "model": "cost_plus"}, {"match": {"m": "b"}, "unit": "2"}]
    one = price(model="dimensional", dimensions=["m"], rates=rates, otherwise="zero")
    measure = event_price(one, ("m",), "UTC")
    assert measure is not None
    data = {"m": "b", "cost": "7"}  # the meter has read a, whatever stands here
    assert measure.read(data, NOON, ("a",), 3) == ((("a", ""), 3), (("a", "1"), Decimal(7)))
    assert measure.read(data, NOON, ("b",), 3) == ((("b", ""), 3),)


def test_usage_that_says_which_multipliers_hold_is_taken_at_its_word() -> None:
    plan = parse_plan(plan_of(usage(unit="2", multipliers=[BATCH])))
    rows: Usage = [({"batch": "true", WHEN: ""}, Decimal(3)), ({WHEN: "0"}, Decimal(4))]
    ((_, line),) = rate_plan(plan, {}, {"u": rows})
    assert line.amount == 10  # 3 x 2, 4 x 2 x 0.5


def test_a_share_of_what_another_counts() -> None:
    """10% of 50 are 5 of 8 free: 3 x 2. What is counted in fees gives no share."""
    share = {"percent": "10", "of": "a"}
    a, b = prices(usage("a", unit="1"), usage("b", unit="2", included=share))
    used: dict[str, Usage] = {
        "a": [({}, Decimal(30)), ({"m": "x"}, Decimal(20)), ({FEE: "1"}, Decimal(99))],
        "b": [({}, Decimal(8))],
    }
    assert price_amount(b, with_group(b, used)) == 6
    assert counted_by(b, with_group(b, used)) == {"a": Decimal(50), "b": Decimal(8)}
    assert with_group(b, used)[1] == ({PRICE: "a"}, Decimal(30))
    assert price_amount(b, with_group(b, {"b": used["b"]})) == 16
    used["a"] = [({}, Decimal(-30))]
    assert price_amount(b, with_group(b, used)) == 16
    assert price_amount(a, with_group(a, used)) == -30


def test_units_are_sorted_for_what_is_free_first() -> None:
    one = price(unit="1", multipliers=[BATCH, LONG])
    (part,) = parts_of(one, [({WHEN: "1"}, Decimal(3)), ({WHEN: ""}, Decimal(0)),
                             ({BUCKET: "b", WHEN: "0,1"}, Decimal(2))])  # fmt: skip
    assert [(u.bucket, u.when, u.quantity) for u in part.units] == [
        ("", (1,), Decimal(3)), ("b", (0, 1), Decimal(2)),
    ]  # fmt: skip
    assert part.quantity == 5
    (nothing,) = parts_of(one, [])
    assert [(u.when, u.quantity) for u in nothing.units] == [((), Decimal(0))]


# A price, and whether its parts may be rated apart: a wrong yes would charge wallets wrongly.
LINEAR: list[tuple[Document, bool]] = [
    ({"unit": "1"}, True),
    ({"unit": "1", "per": "1000"}, True),
    ({"unit": "1", "per": "3"}, False),
    ({"unit": "1", "included": "1"}, False),
    ({"unit": "1", "maximum": "1"}, False),
    ({"unit": "1", "minimum": "1"}, False),
    ({"unit": "1", "maximum_per_day": "1"}, False),
    ({"unit": "1", "discount": {"percent": "5"}}, True),
    ({"unit": "1", "discount": {"amount": "5"}}, False),
    ({"unit": "1", "multipliers": [BATCH]}, True),
    ({"model": "cost_plus"}, True),
    ({"model": "dynamic", "value": "v"}, True),
    ({"model": "percentage", "percent": "1"}, True),
    ({"model": "percentage", "percent": "1", "fixed": "1"}, True),
    ({"model": "percentage", "percent": "1", "free_amount": "1"}, False),
    ({"model": "percentage", "percent": "1", "free_events": 1}, False),
    ({"model": "graduated", "tiers": LADDER}, False),
    ({"model": "volume", "tiers": LADDER}, False),
    ({"model": "package", "amount": "1", "size": "2"}, False),
    ({"model": "dimensional", "dimensions": ["m"], "rates": RATES[:1]}, True),
    ({"model": "dimensional", "dimensions": ["m"], "rates": RATES}, False),
    ({"model": "dimensional", "dimensions": ["m"], "rates": RATES[:1], "otherwise": "zero"}, True),
    (
        {"model": "dimensional", "dimensions": ["m"], "rates": RATES[:1],
         "otherwise": {"model": "volume", "tiers": LADDER}},
        False,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "linear"), LINEAR)
def test_which_prices_are_linear(fields: Document, linear: bool) -> None:
    assert is_linear(price(**fields)) is linear


def test_prices_of_a_group_are_not_linear() -> None:
    share = {"percent": "10", "of": "a"}
    assert [
        is_linear(one) for one in prices(usage("a", unit="1"), usage("b", unit="1", included=share))
    ] == [False, False]


def test_the_difference_of_two_totals() -> None:
    one = price(model="volume", tiers=LADDER)
    before: Usage = [({}, Decimal(20))]
    assert delta(one, before, [({}, Decimal(21))]) == 63 - 45
    assert delta(one, [({}, Decimal(21))], before) == 45 - 63


def test_steps_add_up_and_say_what_they_are() -> None:
    amount, steps = amount_of(price(model="graduated", tiers=LADDER).model, Decimal(12))  # type: ignore[arg-type]
    assert amount == 19
    expected: list[tuple[object, ...]] = [
        ("tier 1 (to 10): 10 at 1", 10, 1, 10),
        ("tier 2 (above 10 to 20): 2 at 2", 2, 2, 4),
        ("tier 2 (above 10 to 20): flat fee 5", None, None, 5),
    ]
    assert [(step.text, step.quantity, step.unit, step.amount) for step in steps] == expected


def test_a_plan_is_rated_price_by_price() -> None:
    seats = {"key": "s", "type": "seat", "model": "per_unit", "unit": "20",
             "discount": {"percent": "10"}}  # fmt: skip
    fee = {"key": "f", "type": "flat", "amount": "9", "discount": {"amount": "2"}}
    document = plan_of(fee, seats, usage(unit="2", multipliers=[BATCH]))
    rows: Usage = [({"batch": "true"}, Decimal(3)), ({}, Decimal(1))]
    rated = rate_plan(parse_plan(document), {"s": Decimal(5)}, {"u": rows})
    # 9 - 2; 100 less 10%; 1 x 2 and 3 x 2 x 0.5
    expected: list[tuple[object, ...]] = [("f", 1, 7), ("s", 5, 90), ("u", 4, 5)]
    assert [(p.key, line.quantity, line.amount) for p, line in rated] == expected
    assert [line.amount for _, line in rate_plan(parse_plan(document), {}, {})] == [7, 0, 0]


@pytest.mark.parametrize(
    ("fields", "quantities", "rows", "error"),
    [
        ({"unit": "1"}, {"u": "1"}, {}, ("quantities.u", "unknown_price")),
        ({"unit": "1"}, {"s": "-1"}, {}, ("quantities.s", "out_of_range")),
        ({"unit": "1"}, {}, {"s": [({}, "1")]}, ("usage.s", "unknown_price")),
        ({"model": "cost_plus"}, {}, {"u": [({}, "1")]}, ("usage.u", "needs_events")),
        (
            {"model": "dimensional", "dimensions": ["m"], "rates": RATES}, {},
            {"u": [({"m": "a"}, "1"), ({"m": "z"}, "1")]}, ("usage.u[1].dimensions", "no_rate"),
        ),
    ],
)  # fmt: skip
def test_what_a_plan_cannot_be_asked(
    fields: Document,
    quantities: Mapping[str, str],
    rows: Mapping[str, Sequence[tuple[Mapping[str, str], str]]],
    error: tuple[str, str],
) -> None:
    seats = {"key": "s", "type": "seat", "model": "per_unit", "unit": "20"}
    plan = parse_plan(plan_of(seats, usage(**fields)))
    used = {key: [(d, Decimal(q)) for d, q in found] for key, found in rows.items()}
    with pytest.raises(Invalid) as caught:
        rate_plan(plan, {key: Decimal(q) for key, q in quantities.items()}, used)
    (found,) = caught.value.errors
    assert (found.path, found.code) == error
