"""The value at a rank: exact, one of the values, the same however they were put together."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import Tally, folded_quantity, nearest_rank

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = Event("c", "", "e", "m", NOW, NOW, {}, "")


@pytest.mark.parametrize(
    ("percentile", "values", "expected"),
    [
        ("0.95", [], "0"),
        ("0.95", [7], "7"),  # 0.95 x 1 = 0.95: the 1st
        ("0.95", range(1, 21), "19"),  # 0.95 x 20 = 19: the 19th
        ("0.95", range(1, 22), "20"),  # 0.95 x 21 = 19.95: the 20th
        ("0.5", [1, 2, 3, 4], "2"),  # 0.5 x 4 = 2: the lower middle
        ("0.5", [3, 1, 2], "2"),  # 1.5: the 2nd
        ("0.999999999999", range(1, 1001), "1000"),
        ("0.000000000001", range(1, 1001), "1"),
        ("0.9", [5] * 9 + [100], "5"),  # 9: the 9th of ten, nine are 5
        ("0.91", [5] * 9 + [100], "100"),  # 9.1: the 10th
    ],
)
def test_the_nearest_rank(percentile: str, values: object, expected: str) -> None:
    counted: dict[Decimal | int, int] = {}
    for value in values:  # type: ignore[attr-defined]
        counted[value] = counted.get(value, 0) + 1
    assert nearest_rank(counted, Decimal(percentile)) == Decimal(expected)


shares = st.integers(1, 999).map(lambda n: Decimal(n) / 1000)
numbers = st.decimals("-5", "5", places=2)


@given(shares, st.lists(numbers, min_size=1, max_size=40), st.data())
def test_parts_in_any_order_are_the_whole(
    share: Decimal, values: list[Decimal], data: st.DataObject
) -> None:
    one = parse_meter(
        "m", {"event_type": "m", "aggregation": "percentile", "value": "q",
              "percentile": str(share)}, version=1,
    )  # fmt: skip
    parts = [Tally() for _ in range(data.draw(st.integers(1, 4)))]
    for value in data.draw(st.permutations(values)):
        data.draw(st.sampled_from(parts)).add("percentile", value, EVENT)
    whole = Tally()
    for part in parts:
        whole.merge("percentile", part)
    found = folded_quantity(one, whole)
    # At least the share of the values is not above it, and of any lesser value that is not so.
    assert found in values
    assert Fraction(sum(value <= found for value in values), len(values)) >= Fraction(share)
    assert Fraction(sum(value < found for value in values), len(values)) < Fraction(share)
