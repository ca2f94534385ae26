"""The acceptance numbers T2, T3, T5, T6, and C2 and C4 of credit, through the public API."""

from typing import Any

import pytest

from tests.scenarios.story import Story, amounts, event, flat, span, usage_price

JANUARY = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")


async def preview(story: Story, plan: str, **usage: Any) -> str:
    """The total of a preview of usage."""
    answer = await story.ask("POST", f"/v1/plans/{plan}/preview", json={"usage": usage})
    return str(answer["total"])


def graduated(unit: str) -> dict[str, Any]:
    """5,000 resolutions are in the fee, each further one costs `unit`."""
    tiers = [{"up_to": "5000", "unit": "0"}, {"unit": unit}]
    return usage_price("resolutions", "resolutions", model="graduated", tiers=tiers)


@pytest.mark.parametrize(
    ("unit", "usage", "totals"),
    [
        # The 5,001st costs 0.30; 250 above: 250 x 0.30 = 75.00.
        ("0.30", ["0.00", "0.00", "0.30", "75.00"], ["499.00", "499.00", "499.30", "574.00"]),
        # 0.99; 250 x 0.99 = 247.50
        ("0.99", ["0.00", "0.00", "0.99", "247.50"], ["499.00", "499.00", "499.99", "746.50"]),
    ],
)
async def test_t2_a_fee_with_included_resolutions(
    story: Story, unit: str, usage: list[str], totals: list[str]
) -> None:
    await story.meter("resolutions")
    await story.plan("t2", flat("platform", "499.00", timing="advance"), graduated(unit))
    rows = list(zip(["4999", "5000", "5001", "5250"], usage, totals, strict=True))
    for quantity, _, total in rows:
        assert await preview(story, "t2", resolutions=quantity) == total

    # The same by events. The fee of a month is invoiced at its start, its usage at its end.
    for quantity, amount, _ in rows:
        customer = f"c{quantity}"
        await story.customer(customer)
        await story.subscribe("t2", customer)
        half = int(quantity) // 2
        await story.use(
            event("resolutions", "a", customer=customer, q=half),
            event("resolutions", "b", customer=customer, q=str(int(quantity) - half)),
        )
        [first] = await story.invoices(customer)
        assert amounts(first) == [("platform", "1", "499.00")]
        upcoming = await story.upcoming(customer)
        assert amounts(upcoming) == [("platform", "1", "499.00"), ("resolutions", quantity, amount)]
    await story.advance("2026-02-01T01:00:00Z")
    for quantity, amount, total in rows:
        _, second = await story.invoices(f"c{quantity}")
        assert (second["status"], span(second)) == ("open", JANUARY)
        assert amounts(second) == [("platform", "1", "499.00"), ("resolutions", quantity, amount)]
        assert second["total"] == total  # February's fee is as high as January's


VIDEO = usage_price(
    "video", "minutes", model="dimensional", dimensions=["speed"],
    rates=[
        {"match": {"speed": "fast"}, "unit": "1.00"},
        {"match": {"speed": "standard"}, "unit": "0.40"},
    ],
)  # fmt: skip


async def test_t3_minutes_by_speed(story: Story) -> None:
    await story.meter("minutes", dimensions=["speed"])
    await story.customer()
    await story.plan("t3", {**VIDEO, "otherwise": "quarantine"})
    body = [
        {"dimensions": {"speed": "fast"}, "quantity": "10"},
        {"dimensions": {"speed": "standard"}, "quantity": "25"},
    ]
    assert await preview(story, "t3", video=body) == "20.00"  # 10 x 1.00 + 25 x 0.40

    await story.subscribe("t3")
    await story.use(
        event("minutes", "a", q=4, speed="fast"),
        event("minutes", "b", q=25, speed="standard"),
        event("minutes", "c", q=6, speed="fast"),
    )
    upcoming = await story.upcoming()
    assert amounts(upcoming) == [("video", "10", "10.00"), ("video", "25", "10.00")]
    assert upcoming["total"] == "20.00"
    await story.advance("2026-02-01T01:00:00Z")
    [invoice] = await story.invoices()
    assert (invoice["status"], invoice["total"], span(invoice)) == ("open", "20.00", JANUARY)


@pytest.mark.parametrize(
    ("otherwise", "total"), [("zero", "0.00"), ({"unit": "0.70"}, "7.00")]
)  # 10 x 0.70
async def test_t3_a_speed_without_a_rate_that_is_priced(
    story: Story, otherwise: Any, total: str
) -> None:
    await story.meter("minutes", dimensions=["speed"])
    await story.customer()
    await story.plan("t3", {**VIDEO, "otherwise": otherwise})
    turbo = [{"dimensions": {"speed": "turbo"}, "quantity": "10"}]
    assert await preview(story, "t3", video=turbo) == total
    await story.subscribe("t3")
    await story.use(event("minutes", "a", q=10, speed="turbo"))
    assert amounts(await story.upcoming()) == [("video", "10", total)]


async def test_t3_a_speed_without_a_rate_that_waits(story: Story) -> None:
    await story.meter("minutes", dimensions=["speed"])
    await story.customer()
    await story.plan("t3", {**VIDEO, "otherwise": "quarantine"})
    await story.subscribe("t3")
    answer = await story.send(event("minutes", "a", q=10, speed="turbo"))
    assert (answer["accepted"], answer["quarantined"]) == (0, 1)
    [result] = answer["results"]
    assert (result["status"], result["error"]["code"]) == ("quarantined", "unmatched_dimension")
    [waiting] = await story.everything("/v1/events", status="quarantined")
    assert (waiting["id"], waiting["status"]) == ("a", "quarantined")
    assert (await story.upcoming())["total"] == "0.00"


async def test_t5_packages_and_exact_thousands(story: Story) -> None:
    await story.meter("tokens")
    await story.plan(
        "t5",
        usage_price(
            "started", "tokens", model="package", amount="0.10", size="1000", free="1000000"
        ),
        usage_price("exact", "tokens", unit="0.10", per="1000", included="1000000"),
    )
    expected = {
        "1000000": ("0.00", "0.00"),
        "1000001": ("0.10", "0.00"),  # one package is begun; 1 / 1000 x 0.10 = 0.0001
        "1234567": ("23.50", "23.46"),  # 235 packages; 234.567 x 0.10 = 23.4567
    }
    for quantity, (started, exact) in expected.items():
        body = {"usage": {"started": quantity, "exact": quantity}}
        answer = await story.ask("POST", "/v1/plans/t5/preview", json=body)
        assert amounts(answer) == [("started", quantity, started), ("exact", quantity, exact)]

    for quantity, (started, exact) in expected.items():
        customer = f"c{quantity}"
        await story.customer(customer)
        await story.subscribe("t5", customer)
        await story.use(
            event("tokens", "a", customer=customer, q=999_999),
            event("tokens", "b", customer=customer, q=int(quantity) - 999_999),
        )
        upcoming = await story.upcoming(customer)
        assert amounts(upcoming) == [("started", quantity, started), ("exact", quantity, exact)]


async def test_t6_a_price_cut_in_mid_month(story: Story) -> None:
    await story.customer()
    await story.meter("tokens")
    for unit in ("75", "25"):
        await story.plan("t6", usage_price("out", "tokens", unit=unit, per="1000000"))
    subscription = await story.subscribe("t6", version=1)
    await story.advance("2026-01-14T12:00:00Z")
    changed = await story.change(
        subscription, version=2, at="2026-01-15T00:00:00Z", proration="none"
    )
    assert [phase["version"] for phase in changed["phases"]] == [1, 2]
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(
        event("tokens", "a", "2026-01-14T23:59:59Z", q="2000000"),
        event("tokens", "b", "2026-01-15T00:00:00Z", q="2000000"),
    )
    lines = [("2000000", "150.00"), ("2000000", "50.00")]  # 2 x 75.00 and 2 x 25.00
    upcoming = await story.upcoming()
    assert amounts(upcoming, "quantity", "amount") == lines
    assert upcoming["total"] == "200.00"
    await story.advance("2026-02-01T01:00:00Z")
    [invoice] = await story.invoices()
    assert amounts(invoice, "quantity", "amount") == lines
    assert [span(line) for line in invoice["lines"]] == [
        ("2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z"),
        ("2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"),
    ]
    assert invoice["total"] == "200.00"


@pytest.mark.parametrize("order", [("2026-02-01", "2027-01-01"), ("2027-01-01", "2026-02-01")])
async def test_c2_what_expires_first_burns_first(story: Story, order: tuple[str, str]) -> None:
    await wallet_plan(story)
    grants = {end: await story.grant("100", expires_at=f"{end}T00:00:00Z") for end in order}
    await story.use(event("u", "a", q=120))
    left = {
        end: (await story.ask("GET", f"/v1/grants/{grant}"))["remaining"]
        for end, grant in grants.items()
    }
    assert left == {"2026-02-01": "0", "2027-01-01": "80"}  # 100 + 20 = 120
    assert await story.available() == "80"


async def test_c2_one_of_a_thousand_grants_expires_a_day_earlier(story: Story) -> None:
    await wallet_plan(story)
    for number in range(1_000):
        end = "2026-12-30" if number == 617 else "2026-12-31"
        await story.grant("100", expires_at=f"{end}T00:00:00Z")
    await story.use(event("u", "a", q=99))
    left = [one["remaining"] for one in await story.everything("/v1/grants", customer="acme")]
    assert [(number, each) for number, each in enumerate(left) if each != "100"] == [(617, "1")]
    assert await story.available() == "99901"  # 100,000 - 99


async def test_c4_usage_without_credit_is_recorded_as_debt(story: Story) -> None:
    await wallet_plan(story)
    await story.use(event("u", "a", q=50))
    assert await story.available() == "-50"
    await story.grant("80")  # repays the 50 first
    assert await story.available() == "30"


async def wallet_plan(story: Story) -> None:
    """A soft customer whose every unit draws a dollar from the wallet."""
    await story.customer(enforcement="soft")
    await story.meter("u")
    await story.plan("x", usage_price("u", "u", unit="1", asset="USD", settle="wallet"))
    await story.subscribe("x")
