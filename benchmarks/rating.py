"""Rating beside the naive rater of the tests: 100,000 pairs of a price and a quantity each.

Mixed models, the same pairs for all, one process, no database. The naive rater walks unit by unit
in fractions and shares no code; it is the yardstick of correctness, here of speed as well. It is
given a sample, in which both must come to the same sum, to the last digit.
"""

import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from time import perf_counter
from typing import Any

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.rate import price_amount, rate_price
from taximeter.kernel.quantity import ZERO
from tests.naive_events import Event, price_total

PAIRS, NAIVE_PAIRS = 100_000, 5_000
QUANTITY_MAX = 40

TIERS = [{"up_to": "10", "unit": "0"}, {"up_to": "25", "unit": "0.30"}, {"unit": "0.25"}]
PRICES: list[dict[str, Any]] = [
    {"model": "per_unit", "unit": "1.75", "per": "1000"},
    {"model": "per_unit", "unit": "0.10", "included": "5", "maximum": "2.5"},
    {"model": "package", "amount": "0.10", "size": "10", "free": "3"},
    {"model": "graduated", "tiers": TIERS},
    {"model": "graduated", "tiers": TIERS, "discount": {"percent": "10"}, "minimum": "1"},
    {"model": "volume", "tiers": TIERS},
    {"model": "stairstep", "tiers": [{"up_to": "10", "flat": "10"}, {"flat": "25"}]},
    {"model": "percentage", "percent": "2.9", "free_amount": "10"},
    {
        "model": "graduated_percentage",
        "tiers": [{"up_to": "10", "percent": "1", "flat": "2"}, {"percent": "0.5"}],
    },
]


def _parsed() -> list[tuple[dict[str, Any], UsagePrice]]:
    found = []
    for fields in PRICES:
        document = {"key": "u", "type": "usage", "meter": "u", **fields}
        plan = {"key": "p", "currency": "USD", "period": "month", "prices": [document]}
        price = parse_plan(plan).prices[0]
        assert isinstance(price, UsagePrice)
        found.append((document, price))
    return found


def _timed(work: Callable[[], Decimal | Fraction]) -> tuple[float, Fraction]:
    start = perf_counter()
    total = work()
    return perf_counter() - start, Fraction(total)


def main() -> None:
    """Print the pairs a second of each way, and how many times the naive rater's that is."""
    chance = random.Random(7)
    prices = _parsed()
    pairs = [(*chance.choice(prices), chance.randrange(QUANTITY_MAX)) for _ in range(PAIRS)]
    plain, total = _timed(
        lambda: sum((price_amount(price, [({}, Decimal(q))]) for _, price, q in pairs), ZERO)
    )
    explained, with_steps = _timed(
        lambda: sum(
            (rate_price(price, [({}, Decimal(q))])[0].amount for _, price, q in pairs), ZERO
        )
    )
    assert total == with_steps, "both ways come to the same sum"
    some = pairs[:NAIVE_PAIRS]
    naive, expected = _timed(
        lambda: sum(
            (
                price_total([document], "u", {"u": [Event({}, Fraction(q))]})
                for document, _, q in some
            ),
            Fraction(0),
        )
    )
    amounts = (price_amount(price, [({}, Decimal(q))]) for _, price, q in some)
    assert Fraction(sum(amounts, ZERO)) == expected, "the naive rater comes to the same sum"
    print(f"rating: {PAIRS:,} pairs of {len(prices)} models, and times the naive rater's speed")
    speeds = {"amount": PAIRS / plain, "with steps": PAIRS / explained}
    speeds["naive"] = NAIVE_PAIRS / naive
    for name, speed in speeds.items():
        print(f"  {name:<11}{speed:>12,.0f} a second   {speed / speeds['naive']:6.1f} times")


if __name__ == "__main__":
    main()
