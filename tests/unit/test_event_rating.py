"""Prices of single events, pools and caps by property: the product against a naive rater that
reads the seller's documents and walks event by event.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import Dimensional, Percentage, UsagePrice
from taximeter.domain.metering.fold import text_of
from taximeter.domain.metering.reserved import FEE, FREE
from taximeter.domain.rating.event_price import event_price
from taximeter.domain.rating.linear import is_linear
from taximeter.domain.rating.percentage import free_fees
from taximeter.domain.rating.rate import price_amount, rate_price
from taximeter.domain.rating.usage import Usage, with_group
from taximeter.kernel.quantity import format_decimal
from tests import naive_events
from tests.naive_events import Event

Document = dict[str, Any]
Data = dict[str, Any]

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODELS = ("a", "b", "c")


def decimals(low: int, high: int, places: int = 6) -> st.SearchStrategy[str]:
    exact = st.integers(low, high).map(str)
    fine = st.decimals(low, high, places=places, allow_nan=False).map(format_decimal)
    return exact | fine


datas = st.fixed_dictionaries(
    {
        "q": st.integers(-3, 40) | decimals(0, 40).map(Decimal),
        "cost": decimals(0, 9),
        "quote": decimals(0, 9),
        "day": st.integers(0, 3),
    },
    optional={
        "model": st.sampled_from(MODELS),
        "batch": st.booleans(),
        "tokens": st.integers(0, 40),
    },
)
ranges = st.fixed_dictionaries({"above": st.integers(0, 20).map(str)}) | st.fixed_dictionaries(
    {"at_least": st.integers(0, 20).map(str), "at_most": st.integers(21, 40).map(str)}
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "batch": st.booleans(),
        "model": st.sampled_from(MODELS) | st.lists(st.sampled_from(MODELS), min_size=1),
        "tokens": ranges,
    },
).filter(bool)
multipliers = st.lists(
    st.fixed_dictionaries({"when": conditions, "factor": decimals(0, 3)}), min_size=1, max_size=3
)


@st.composite
def percentages(draw: st.DrawFn, *, free: bool) -> Document:
    found: Document = {"model": "percentage", "percent": draw(decimals(0, 20))}
    for name, high in (("fixed", 3), ("min_per_event", 2), ("max_per_event", 9)):
        if draw(st.booleans()):
            found[name] = draw(decimals(3 if name == "max_per_event" else 0, high))
    if free and draw(st.booleans()):
        found["free_events"] = draw(st.integers(0, 4))
    if free and draw(st.booleans()):
        found["free_amount"] = draw(decimals(0, 60))
    return found


costs = st.fixed_dictionaries(
    {"model": st.just("cost_plus")},
    optional={"markup_percent": decimals(0, 50), "markup_fixed": decimals(0, 2)},
)
carried = st.fixed_dictionaries(
    {"model": st.just("dynamic"), "value": st.just("quote")}, optional={"factor": decimals(0, 3)}
)
units = st.fixed_dictionaries({"unit": decimals(0, 5), "per": st.sampled_from(("1", "1000"))})
matches = st.fixed_dictionaries(
    {}, optional={"model": st.sampled_from(MODELS), "tokens": ranges}
).filter(bool)


def as_asked(match: Document) -> str:
    """What a rate matches, whatever the order."""
    return repr(sorted(match.items()))


@st.composite
def dimensional(draw: st.DrawFn, kinds: st.SearchStrategy[Document]) -> Document:
    asked = draw(st.lists(matches, min_size=1, max_size=4, unique_by=as_asked))
    return {
        "model": "dimensional",
        "dimensions": ["model", "tokens"],
        "rates": [{"match": match, **draw(kinds)} for match in asked],
        "otherwise": draw(st.just("zero") | kinds),
    }


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """One usage price that needs to know single events."""
    simple = units.map(lambda fields: {"model": "per_unit", **fields}) | costs | carried
    takes_multipliers = draw(st.booleans())
    if takes_multipliers:
        price: Document = draw(simple | dimensional(units | costs | carried))
        price["multipliers"] = draw(multipliers)
    else:
        rates = units | costs | carried | percentages(free=False)
        price = draw(percentages(free=True) | dimensional(rates))
    price |= {"key": "u", "type": "usage", "meter": "u"}
    if price["model"] in ("per_unit", "dimensional") and draw(st.booleans()):
        price["included"] = draw(decimals(0, 30))
    if draw(st.booleans()):
        price["discount"] = {draw(st.sampled_from(("percent", "amount"))): draw(decimals(0, 100))}
    for name, low, high in (("maximum_per_day", 5, 60), ("maximum", 50, 200), ("minimum", 0, 40)):
        if draw(st.integers(0, 3)) == 0:
            price[name] = draw(decimals(low, high))
    if "free_events" in price or "free_amount" in price:
        price.pop("maximum_per_day", None)  # what is free has no day
    return price


def parsed(documents: Sequence[Document]) -> tuple[UsagePrice, ...]:
    plan = {"key": "p", "currency": "USD", "period": "month", "prices": list(documents)}
    prices = parse_plan(plan).prices
    assert all(isinstance(price, UsagePrice) for price in prices)
    return tuple(price for price in prices if isinstance(price, UsagePrice))


def at(data: Data) -> datetime:
    return START + timedelta(days=data["day"])


def measured(price: UsagePrice, events: Sequence[Data]) -> Usage:
    """What the events of one price come to, as ingestion would fold them."""
    kept = price.model.dimensions if isinstance(price.model, Dimensional) else ()
    measure = event_price(price, kept, "UTC")
    sums: dict[tuple[tuple[str, str], ...], Decimal] = {}
    for data in events:
        value = Decimal(data["q"])
        texts = tuple(text_of(data.get(name)) or "" for name in kept)
        readings: Sequence[tuple[tuple[str, ...], Decimal | int]] = ((texts, value),)
        names = kept
        if measure is not None:
            readings, names = measure.read(data, at(data), texts, value), measure.names
        for values, quantity in readings:
            key = tuple(zip(names, values, strict=True))
            sums[key] = sums.get(key, Decimal(0)) + quantity
    usage: list[tuple[Mapping[str, str], Decimal]] = [
        (dict(key), quantity) for key, quantity in sums.items()
    ]
    if isinstance(price.model, Percentage) and price.model.in_order:
        free = free_fees(price.model, (Decimal(data["q"]) for data in events))
        usage.append(({FEE: FREE}, free))
    return usage


def naive(events: Sequence[Data]) -> list[Event]:
    return [Event(data, Fraction(data["q"]), at(data).date().isoformat()) for data in events]


@given(documents(), st.lists(datas, max_size=12))
def test_single_events_agree_with_the_naive_rater(document: Document, events: list[Data]) -> None:
    (price,) = parsed([document])
    lines = rate_price(price, measured(price, events))
    expected = naive_events.price_total([document], "u", {"u": naive(events)})
    assert sum((Fraction(line.amount) for line in lines), Fraction(0)) == expected
    assert price_amount(price, measured(price, events)) == sum(line.amount for line in lines)


@given(documents(), st.lists(datas, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(
    document: Document, events: list[Data], random: Any
) -> None:
    """What is free first follows the time of events, so that alone keeps its order here."""
    (price,) = parsed([document])
    if isinstance(price.model, Percentage) and price.model.in_order:
        return
    shuffled = list(events)
    random.shuffle(shuffled)
    one, other = measured(price, events), measured(price, shuffled)
    assert price_amount(price, one) == price_amount(price, other)


@given(documents(), st.lists(datas, max_size=8), st.integers(0, 8))
def test_parts_of_a_linear_price_add_up(document: Document, events: list[Data], cut: int) -> None:
    (price,) = parsed([document])
    if not is_linear(price):
        return
    parts = [measured(price, part) for part in (events[:cut], events[cut:])]
    assert price_amount(price, measured(price, events)) == sum(
        price_amount(price, part) for part in parts
    )


@st.composite
def pools(draw: st.DrawFn) -> list[Document]:
    """Two to four prices of one ladder, beside one whose allowance is a share of the first."""
    kind = draw(
        st.sampled_from(("graduated", "volume", "stairstep", "package", "graduated_percentage"))
    )
    bounds = sorted(draw(st.sets(st.integers(1, 60), max_size=3)))
    ends: list[int | None] = [*bounds, None]
    shared = {"amount": draw(decimals(0, 9)), "size": "7", "free": draw(decimals(0, 20))}
    found: list[Document] = []
    for index in range(draw(st.integers(2, 4))):
        price: Document = {"key": f"p{index}", "type": "usage", "meter": f"p{index}", "pool": "x"}
        price["model"] = kind
        if kind == "package":
            price |= shared
        else:
            price["tiers"] = [draw(tiers(kind, end)) for end in ends]
        if draw(st.booleans()):
            price["included"] = draw(decimals(0, 20))
        found.append(price)
    share = {"percent": draw(decimals(0, 50)), "of": "p0"}
    found.append(
        {"key": "s", "type": "usage", "meter": "s", "model": "per_unit", "unit": "2",
         "included": share}
    )  # fmt: skip
    return found


@st.composite
def tiers(draw: st.DrawFn, kind: str, end: int | None) -> Document:
    tier: Document = {} if end is None else {"up_to": str(end)}
    if kind == "stairstep":
        return tier | {"flat": draw(decimals(0, 9))}
    tier["percent" if kind == "graduated_percentage" else "unit"] = draw(decimals(0, 9))
    if kind != "graduated_percentage" and draw(st.integers(0, 3)) == 0:
        tier["size"] = draw(st.sampled_from(("7", "2.5")))
    if draw(st.booleans()):
        tier["flat"] = draw(decimals(0, 9))
    return tier


@given(pools(), st.lists(st.integers(0, 50) | decimals(0, 50).map(Decimal), min_size=5, max_size=5))
def test_pools_agree_with_the_naive_rater(
    documents: list[Document], quantities: list[Decimal | int]
) -> None:
    prices = parsed(documents)
    usage: dict[str, Usage] = {}
    events: dict[str, list[Event]] = {}
    for price, quantity in zip(prices, quantities, strict=False):
        usage[price.key] = [({}, Decimal(quantity))]
        events[price.key] = [Event({}, Fraction(quantity))]
    for price in prices:
        (line,) = rate_price(price, with_group(price, usage))
        assert Fraction(line.amount) == naive_events.price_total(documents, price.key, events)


@given(pools(), st.lists(st.integers(0, 50).map(Decimal), min_size=5, max_size=5))
def test_equal_prices_of_a_pool_cost_what_one_price_would(
    documents: list[Document], quantities: list[Decimal]
) -> None:
    """With the same ladder for all and nothing included, a pool is one price."""
    members = [document for document in documents if "pool" in document]
    same = {name: value for name, value in members[0].items() if name != "included"}
    equal = [{**same, "key": one["key"], "meter": one["meter"]} for one in members]
    prices = parsed(equal)
    usage: dict[str, Usage] = {
        price.key: [({}, quantity)] for price, quantity in zip(prices, quantities, strict=False)
    }
    together = sum((price_amount(price, with_group(price, usage)) for price in prices), Decimal(0))
    alone = {name: value for name, value in same.items() if name != "pool"}
    (price,) = parsed([alone])
    total = sum((rows[0][1] for rows in usage.values()), Decimal(0))
    assert together == price_amount(price, [({}, total)])
