"""Rating by property: what holds for every price and every usage."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import Dimensional, Graduated, UsagePrice
from taximeter.domain.rating.plan import rate_plan
from taximeter.domain.rating.rate import amount_of, delta, price_amount, rate_price
from taximeter.kernel.quantity import SMALLEST, format_decimal
from tests import naive_rater

Document = dict[str, Any]
Usage = list[tuple[Mapping[str, str], Decimal]]

DIMENSIONS = ("model", "class")
VALUES = ("a", "b", "c")
# The naive rater walks unit by unit, so quantities are small; fractions and inexact divisors
# are where the mistakes are.
PERS_EXACT = ("1", "10", "1000", "1000000", "8")
PERS = (*PERS_EXACT, "3", "744")


def decimals(low: int, high: int, places: int = 12) -> st.SearchStrategy[str]:
    exact = st.integers(low, high).map(str)
    fine = st.decimals(low, high, places=places, allow_nan=False).map(format_decimal)
    return exact | fine


def quantities(low: int = -5, high: int = 60) -> st.SearchStrategy[Decimal]:
    return decimals(low, high).map(Decimal)


prices = decimals(0, 20, places=6)


@st.composite
def tier_lists(draw: st.DrawFn, *, flat_only: bool, pers: Sequence[str]) -> list[Document]:
    bounded = draw(st.booleans())
    bounds = sorted(draw(st.sets(quantities(1, 50), min_size=int(bounded), max_size=4)))
    ends: list[Decimal | None] = [*bounds] if bounded else [*bounds, None]
    tiers = []
    for end in ends:
        tier: Document = {} if end is None else {"up_to": format_decimal(end)}
        if flat_only or draw(st.booleans()):
            tier["flat"] = draw(prices)
        if not flat_only and (draw(st.booleans()) or "flat" not in tier):
            tier["unit"] = draw(prices)
            if draw(st.integers(0, 3)) == 0:
                tier["size"] = draw(st.sampled_from(("0.5", "1", "7", "10")))
            else:
                tier["per"] = draw(st.sampled_from(pers))
        tiers.append(tier)
    return tiers


@st.composite
def models(draw: st.DrawFn, kinds: Sequence[str], pers: Sequence[str]) -> Document:
    kind = draw(st.sampled_from(kinds))
    if kind == "per_unit":
        return {"model": kind, "unit": draw(prices), "per": draw(st.sampled_from(pers))}
    if kind == "package":
        size = draw(st.sampled_from(("0.5", "1", "7", "10")))
        return {"model": kind, "amount": draw(prices), "size": size, "free": draw(decimals(0, 9))}
    tiers = draw(tier_lists(flat_only=kind == "stairstep", pers=pers))
    return {"model": kind, "tiers": tiers}


ALL = ("per_unit", "package", "graduated", "volume", "stairstep")
RISING = ("per_unit", "package", "graduated")


@st.composite
def dimensional_models(draw: st.DrawFn, pers: Sequence[str]) -> Document:
    matches = draw(
        st.lists(
            st.dictionaries(
                st.sampled_from(DIMENSIONS), st.sampled_from(VALUES), min_size=1, max_size=2
            ),
            min_size=1,
            max_size=5,
            unique_by=lambda match: tuple(sorted(match.items())),
        )
    )
    rates = [{"match": match, **draw(models(ALL, pers))} for match in matches]
    otherwise = draw(st.just("zero") | models(ALL, pers))
    return {
        "model": "dimensional",
        "dimensions": list(DIMENSIONS),
        "rates": rates,
        "otherwise": otherwise,
    }


@st.composite
def documents(
    draw: st.DrawFn,
    kinds: Sequence[str] = ALL,
    pers: Sequence[str] = PERS,
    dimensional: bool = True,
) -> Document:
    """A usage price, as its document."""
    plain = models(kinds, pers)
    price = draw(plain | dimensional_models(pers) if dimensional else plain)
    price |= {"key": "u", "type": "usage", "meter": "u"}
    if draw(st.booleans()):
        price["included"] = draw(decimals(0, 20))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(("percent", "amount")))
        price["discount"] = {kind: draw(decimals(0, 100))}
    if draw(st.booleans()):
        price["minimum"] = draw(decimals(0, 100))
    if draw(st.booleans()):
        price["maximum"] = draw(decimals(100, 300))
    return price


usages = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(DIMENSIONS), st.sampled_from(VALUES)), quantities()),
    max_size=6,
)


def parsed(document: Document) -> UsagePrice:
    plan = {"key": "p", "currency": "USD", "period": "month", "prices": [document]}
    price = parse_plan(plan).prices[0]
    assert isinstance(price, UsagePrice)
    return price


def exact(usage: Usage) -> list[tuple[Mapping[str, str], Fraction]]:
    return [(dimensions, Fraction(quantity)) for dimensions, quantity in usage]


@given(documents(pers=PERS_EXACT), usages)
def test_every_line_agrees_with_the_naive_rater(document: Document, usage: Usage) -> None:
    lines = [Fraction(line.amount) for line in rate_price(parsed(document), usage)]
    assert lines == naive_rater.usage_lines(document, exact(usage))


@given(documents(), usages)
def test_inexact_divisions_differ_by_half_a_last_digit_each(
    document: Document, usage: Usage
) -> None:
    ours = Fraction(price_amount(parsed(document), usage))
    theirs = sum(naive_rater.usage_lines(document, exact(usage)), Fraction(0))
    # At most 6 rates (and otherwise) of 5 tiers each, one division a tier.
    assert abs(ours - theirs) <= Fraction(SMALLEST) / 2 * 30


@given(
    st.lists(documents(pers=PERS_EXACT, dimensional=False), max_size=3),
    models(ALL, PERS_EXACT),
    prices,
    quantities(0, 40),
    usages,
)
def test_a_whole_plan_agrees_with_the_naive_rater(
    found: list[Document], seats: Document, fee: str, count: Decimal, usage: Usage
) -> None:
    usage_prices = [price | {"key": f"u{index}"} for index, price in enumerate(found)]
    document: Document = {
        "key": "p",
        "currency": "USD",
        "period": "month",
        "prices": [
            {"key": "fee", "type": "flat", "amount": fee, "discount": {"percent": "7.5"}},
            {"key": "seats", "type": "seat", "discount": {"amount": "3"}, **seats},
            *usage_prices,
        ],
    }
    by_key = {price["key"]: usage for price in usage_prices}
    ours = rate_plan(parse_plan(document), {"seats": count}, by_key)
    theirs = naive_rater.plan_lines(
        document,
        {"seats": Fraction(count)},
        {key: exact(totals) for key, totals in by_key.items()},
    )
    assert [(price.key, Fraction(line.amount)) for price, line in ours] == theirs


@given(documents(), usages)
def test_lines_and_steps_add_up(document: Document, usage: Usage) -> None:
    price = parsed(document)
    lines = rate_price(price, usage)
    assert sum((line.amount for line in lines), Decimal(0)) == price_amount(price, usage)
    for line in lines:
        assert sum((step.amount for step in line.steps), Decimal(0)) == line.amount
        for step in line.steps:
            if step.quantity is not None and step.unit is not None:
                assert step.quantity * step.unit == step.amount
    metered = sum((quantity for _, quantity in usage), Decimal(0))
    assert sum((line.quantity for line in lines), Decimal(0)) == metered


@given(documents(), st.lists(usages, min_size=1, max_size=5))
def test_the_deltas_of_any_split_add_up_to_the_whole(
    document: Document, parts: list[Usage]
) -> None:
    price = parsed(document)
    nothing: Usage = []
    totals = list(accumulate(parts, lambda so_far, part: so_far + part, initial=nothing))
    deltas = [delta(price, before, after) for before, after in pairwise(totals)]
    assert sum(deltas, Decimal(0)) == delta(price, [], totals[-1])


@given(documents(), usages, st.randoms(use_true_random=False))
def test_the_order_of_usage_means_nothing(document: Document, usage: Usage, chance: Any) -> None:
    shuffled = list(usage)
    chance.shuffle(shuffled)
    assert rate_price(parsed(document), shuffled) == rate_price(parsed(document), usage)


@given(documents(RISING, dimensional=False), quantities(-20), quantities(-20))
def test_more_use_never_costs_less(document: Document, one: Decimal, other: Decimal) -> None:
    low, high = sorted((one, other))
    assert delta(parsed(document), [({}, low)], [({}, high)]) >= 0


@given(documents(dimensional=False), quantities(-50, 0))
def test_negative_use_never_costs_more_than_none(document: Document, quantity: Decimal) -> None:
    price = parsed(document)
    assert price_amount(price, [({}, quantity)]) <= price_amount(price, [])


@given(documents(["graduated"], dimensional=False), quantities(0))
def test_graduated_is_the_sum_of_its_tiers(document: Document, quantity: Decimal) -> None:
    model = parsed(document).model
    assert isinstance(model, Graduated)
    expected = Decimal(0)
    start = Decimal(0)
    for index, tier in enumerate(model.tiers):
        last = index == len(model.tiers) - 1
        end = quantity if last or tier.up_to is None else min(tier.up_to, quantity)
        alone, _ = amount_of(Graduated((tier,)), max(end - start, Decimal(0)))
        if index == 0 or quantity > start:
            expected += alone
        start = tier.up_to or start
    assert amount_of(model, quantity)[0] == expected


@given(documents(dimensional=False), usages)
def test_a_minimum_and_a_maximum_bound_the_price(document: Document, usage: Usage) -> None:
    price = parsed(document)
    amount = price_amount(price, usage)
    assert price.maximum is None or amount <= price.maximum
    assert price.minimum is None or amount >= price.minimum


@given(documents(), usages, st.sampled_from(VALUES))
def test_dimensions_that_a_price_does_not_name_mean_nothing(
    document: Document, usage: Usage, value: str
) -> None:
    price = parsed(document)
    assume(isinstance(price.model, Dimensional))
    tagged: Usage = [({**dimensions, "region": value}, part) for dimensions, part in usage]
    assert rate_price(price, tagged) == rate_price(price, usage)
