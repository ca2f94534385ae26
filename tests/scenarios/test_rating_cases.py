"""Cases of rating that other billing systems agree on, through the public API: a preview of one
price, and what the same usage comes to on an invoice. "Next" is the difference of two quantities of
one period, which billing within it charges.
"""

from decimal import Decimal
from typing import Any

import pytest

from tests.scenarios.story import Story, amounts, event, usage_price

Json = dict[str, Any]


def tiers(*found: Json) -> list[Json]:
    return list(found)


GRADUATED = {
    "model": "graduated",
    "tiers": tiers(
        {"up_to": "5", "flat": "100"}, {"up_to": "10", "flat": "50"}, {"up_to": "15", "unit": "5"},
        {"unit": "1"},
    ),
}  # fmt: skip
BLOCKS = tiers(
    {"up_to": "1000", "unit": "1.0", "size": "100"},
    {"up_to": "101000", "unit": "1.0", "size": "1000"},
    {"unit": "0.5", "size": "1000"},
)
CASES: list[tuple[str, Json, list[tuple[str, str]]]] = [
    # 100 + 50 + 5 x 5 + 7 x 1
    ("2", GRADUATED, [("22", "182.00")]),
    # 100 + 50 + 2 x 5; 182 is 12 over the cap: next 10.00
    ("4", GRADUATED | {"maximum": "170"}, [("12", "160.00"), ("22", "170.00")]),
    (
        "6",
        {
            "model": "volume",
            "tiers": tiers(
                {"up_to": "5", "flat": "100"}, {"up_to": "10", "flat": "150"},
                {"up_to": "15", "unit": "10"}, {"unit": "5"},
            ),
        },
        [("0", "100.00"), ("3", "100.00"), ("5", "100.00"), ("14", "140.00"), ("15", "150.00"),
         ("16", "80.00"), ("100", "500.00")],
    ),
    # next -70.00
    (
        "8",
        {"model": "volume", "tiers": tiers({"up_to": "15", "unit": "10"}, {"unit": "5"})},
        [("15", "150.00"), ("16", "80.00")],
    ),
    # 70 - 35; 270 - 135 = 135, capped: next 65.00
    (
        "10",
        {"model": "per_unit", "unit": "10", "discount": {"percent": "50"}, "maximum": "100"},
        [("7", "35.00"), ("27", "100.00")],
    ),
    # 6 x 15; 11 x 15 = 165, capped: next 10.00
    (
        "12",
        {"model": "package", "amount": "15", "size": "10", "maximum": "100"},
        [("60", "90.00"), ("110", "100.00")],
    ),
    (
        "14",
        {
            "model": "graduated",
            "tiers": tiers(
                {"up_to": "10", "unit": "10", "flat": "2"},
                {"up_to": "20", "unit": "5", "flat": "3"}, {"unit": "5", "flat": "3"},
            ),
        },
        [("0", "2.00"), ("1", "12.00"), ("10", "102.00"), ("11", "110.00"), ("12", "115.00"),
         ("21", "163.00")],
    ),
    (
        "16",
        {
            "model": "volume",
            "tiers": tiers(
                {"up_to": "100", "unit": "2", "flat": "10"}, {"up_to": "200", "unit": "1"},
                {"unit": "0.5", "flat": "50"},
            ),
        },
        [("0", "10.00"), ("1", "12.00"), ("100", "210.00"), ("100.5", "100.50"),
         ("101", "101.00"), ("200", "200.00"), ("300", "200.00")],
    ),
    # 10 blocks of 100, and 5 of 1,000 begun by the 4,325 above
    ("32 graduated", {"model": "graduated", "tiers": BLOCKS[:2]}, [("5325", "15.00")]),
    # 10; 101; 102 x 0.5; 300 x 0.5
    (
        "32 volume",
        {"model": "volume", "tiers": BLOCKS},
        [("1000", "10.00"), ("101000", "101.00"), ("101001", "51.00"), ("300000", "150.00")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "rows"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
async def test_a_price_by_its_quantities(
    story: Story, fields: Json, rows: list[tuple[str, str]]
) -> None:
    await story.meter("u")
    await story.plan("x", usage_price("u", "u", **fields))
    for quantity, total in rows:
        found = await story.ask("POST", "/v1/plans/x/preview", json={"usage": {"u": quantity}})
        assert found["total"] == total, quantity
    await story.customer()
    await story.subscribe("x")
    before = Decimal(0)
    for number, (quantity, total) in enumerate(rows):
        added = Decimal(quantity) - before
        before = Decimal(quantity)
        await story.use(event("u", str(number), q=str(added)))
        assert amounts(await story.upcoming()) == [("u", quantity, total)]


@pytest.mark.parametrize(
    ("currency", "quantity", "total"),
    [
        ("USD", "10.278798", "10.28"), ("USD", "10.275", "10.28"),
        ("USD", "999999.999", "1000000.00"), ("JPY", "1023.45", "1023"), ("JPY", "1023.5", "1024"),
        ("EUR", "99.996", "100.00"), ("GBP", "0.004", "0.00"), ("GBP", "0.005", "0.01"),
        ("BHD", "1.0005", "1.001"),
    ],
)  # fmt: skip
async def test_a_line_is_rounded_at_its_currency(
    story: Story, currency: str, quantity: str, total: str
) -> None:
    await story.meter("u")
    await story.plan("x", usage_price("u", "u", unit="1"), currency=currency)
    found = await story.ask("POST", "/v1/plans/x/preview", json={"usage": {"u": quantity}})
    assert found["total"] == total


@pytest.mark.parametrize(
    ("currency", "minimum", "quantity", "true_up"),
    [("USD", "1000", "749.996", "250.00"), ("JPY", "10000", "8500.5", "1499"),
     ("USD", "10", "9.997", None)],
)  # fmt: skip
async def test_a_true_up_is_measured_against_the_printed_line(
    story: Story, currency: str, minimum: str, quantity: str, true_up: str | None
) -> None:
    await story.meter("u")
    prices = usage_price("u", "u", unit="1")
    await story.plan("x", prices, currency=currency, minimum=minimum)
    found = await story.ask("POST", "/v1/plans/x/preview", json={"usage": {"u": quantity}})
    assert [line["amount"] for line in found["lines"][1:]] == ([true_up] if true_up else [])
