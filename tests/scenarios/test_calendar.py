"""The calendar through invoices: anchors that come back, days of 23 and 25 hours, odd zones."""

import itertools

import pytest

from tests.scenarios.story import Story, event, flat, span, usage_price


async def begin(story: Story, *, timezone: str, starts_at: str, period: str, **fields: str) -> None:
    """A customer somewhere with a plan of this period, begun at this instant."""
    await story.customer(timezone=timezone)
    await story.meter("calls", "count")
    await story.plan(
        "p", flat("fee", "10.00", timing="arrears"), usage_price("calls", "calls", unit="0.01"),
        period=period,
    )  # fmt: skip
    await story.subscribe("p", starts_at=starts_at, **fields)


ROWS = [
    # Row 2: the sixth step from 31 December is 30 June, not 28 or 29 February drifting on.
    ("UTC", "2025-12-31T00:00:00Z", "month", {}, "2026-07-01T00:00:00Z", [
        "2025-12-31T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z",
        "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z",
        "2026-06-30T00:00:00Z",
    ]),
    # Row 4: a leap day by the year. 28 February, and 29 again in the next leap year.
    ("UTC", "2024-02-29T00:00:00Z", "year", {}, "2028-03-01T00:00:00Z", [
        "2024-02-29T00:00:00Z", "2025-02-28T00:00:00Z", "2026-02-28T00:00:00Z",
        "2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z",
    ]),
    # Row 6: the hour of the start is kept.
    ("UTC", "2026-01-31T15:00:00Z", "month", {}, "2026-05-01T00:00:00Z", [
        "2026-01-31T15:00:00Z", "2026-02-28T15:00:00Z", "2026-03-31T15:00:00Z",
        "2026-04-30T15:00:00Z",
    ]),
    # Row 12: midnight in New York is 05:00Z in winter and 04:00Z in summer.
    ("America/New_York", "2024-01-31T05:00:00Z", "month", {}, "2025-04-15T00:00:00Z", [
        "2024-01-31T05:00:00Z", "2024-02-29T05:00:00Z", "2024-03-31T04:00:00Z",
        "2024-04-30T04:00:00Z", "2024-05-31T04:00:00Z", "2024-06-30T04:00:00Z",
        "2024-07-31T04:00:00Z", "2024-08-31T04:00:00Z", "2024-09-30T04:00:00Z",
        "2024-10-31T04:00:00Z", "2024-11-30T05:00:00Z", "2024-12-31T05:00:00Z",
        "2025-01-31T05:00:00Z", "2025-02-28T05:00:00Z", "2025-03-31T04:00:00Z",
    ]),
    # Row 14: 8 March 2026 has 23 hours there.
    ("America/New_York", "2026-03-08T05:00:00Z", "day", {}, "2026-03-10T05:00:00Z", [
        "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z", "2026-03-10T04:00:00Z",
    ]),
    # Row 16: the anchor is a local date; October in Paris has 745 hours.
    ("Europe/Paris", "2026-09-30T22:00:00Z", "month", {"anchor": "2026-10-01"},
     "2026-11-01T00:00:00Z", ["2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"]),
    # Row 18: quarters from 30 November: 28 February, 30 May.
    ("UTC", "2025-11-30T00:00:00Z", "quarter", {}, "2026-06-01T00:00:00Z", [
        "2025-11-30T00:00:00Z", "2026-02-28T00:00:00Z", "2026-05-30T00:00:00Z",
    ]),
    # Row 20: half an hour east.
    ("Asia/Kolkata", "2025-12-31T18:30:00Z", "month", {}, "2026-02-01T00:00:00Z", [
        "2025-12-31T18:30:00Z", "2026-01-31T18:30:00Z",
    ]),
    # Row 22: a week of 167 hours.
    ("America/New_York", "2026-03-02T05:00:00Z", "week", {}, "2026-03-10T00:00:00Z", [
        "2026-03-02T05:00:00Z", "2026-03-09T04:00:00Z",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("timezone", "starts_at", "period", "fields", "until", "bounds"), ROWS,
    ids=[f"{row[0]}-{row[2]}-{row[1][:10]}" for row in ROWS],
)  # fmt: skip
async def test_bounds(
    story: Story, timezone: str, starts_at: str, period: str, fields: dict[str, str], until: str,
    bounds: list[str],
) -> None:  # fmt: skip
    await begin(story, timezone=timezone, starts_at=starts_at, period=period, **fields)
    await story.advance(max(until, "2026-01-01T00:00:00Z"))
    # An event at each boundary belongs to the period that begins there, and to no other.
    await story.use(*[event("calls", bound, bound) for bound in bounds])
    invoices = [one for one in await story.invoices() if one["period"]["to"] <= bounds[-1]]
    assert [span(one) for one in invoices] == list(itertools.pairwise(bounds))


async def test_events_on_boundaries_are_billed_once(story: Story) -> None:
    """31 January, 28 February, 31 March: usage at the very instant and just before it."""
    await begin(story, timezone="UTC", starts_at="2026-01-31T00:00:00Z", period="month")
    await story.advance("2026-02-28T00:00:00Z")
    await story.use(
        event("calls", "first", "2026-01-31T00:00:00Z"),
        event("calls", "last", "2026-02-27T23:59:59.999999Z"),
        event("calls", "next", "2026-02-28T00:00:00Z"),
        event("calls", "also", "2026-02-27T18:00:00-07:00"),  # 01:00Z on the 28th
    )
    await story.advance("2026-04-01T00:00:00Z")
    february, march = await story.invoices()
    # 10.00 + 2 x 0.01, each
    for invoice in (february, march):
        assert [line["quantity"] for line in invoice["lines"]] == ["1", "2"]
        assert invoice["total"] == "10.02"
    assert span(march) == ("2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z")


async def test_a_year_in_one_step_makes_twelve_invoices(story: Story) -> None:
    await begin(story, timezone="UTC", starts_at="2026-01-01T00:00:00Z", period="month")
    await story.use(event("calls", "a", "2026-01-01T23:00:00Z"))
    await story.advance("2027-01-01T02:00:00Z")
    invoices = await story.invoices()
    assert [one["total"] for one in invoices] == ["10.01"] + ["10.00"] * 11
    assert [one["number"] for one in invoices] == [f"INV-{n:06d}" for n in range(1, 13)]
    for month, invoice in enumerate(invoices, start=1):
        year, following = (2026, month + 1) if month < 12 else (2027, 1)
        # Each finalized itself an hour after its period's end, and is due 30 days later.
        assert invoice["finalized_at"] == f"{year}-{following:02d}-01T01:00:00Z"
        assert invoice["status"] == "open"
    assert invoices[0]["due_at"] == "2026-03-03T01:00:00Z"


async def test_days_are_the_customers_own(story: Story) -> None:
    """A fee from 10 March at noon in New York covers 22 of March's 31 days; the clocks were
    changed on the 8th, which costs nobody a day.
    """
    await story.customer(timezone="America/New_York")
    await story.plan("p", flat("fee", "31.00", timing="arrears"))
    await story.advance("2026-03-10T16:00:00Z")
    await story.subscribe("p", anchor="2026-03-01")
    await story.advance("2026-04-01T06:00:00Z")
    [invoice] = await story.invoices()
    assert span(invoice) == ("2026-03-10T16:00:00Z", "2026-04-01T04:00:00Z")
    assert invoice["total"] == "22.00"
