"""What customers may use: quotas by the customer's own clock, grandfathering, agreements (T16)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from taximeter.domain.catalog.entitlement_document import WINDOWS
from tests.scenarios.naive_calendar import period_around
from tests.scenarios.story import Json, Story, amounts, event, flat, totals, usage_price

NEW_YORK = "America/New_York"
T16 = {"feature": "queries", "meter": "queries", "limit": "1000", "window": "day"}


def quota(limit: str, window: str, **fields: Any) -> Json:
    """A quota of queries."""
    return {**T16, "limit": limit, "window": window, **fields}


async def check(story: Story, feature: str = "queries", **fields: Any) -> Json:
    """Whether acme may use one more of a feature."""
    body = {"customer": "acme", "feature": feature, **fields}
    return await story.ask("POST", "/v1/entitlements/check", json=body)


async def begin(story: Story, *entitlements: Json, timezone: str = "UTC", **fields: Any) -> str:
    """A customer on the plan t16, which entitles to these; the subscription's id."""
    await story.customer(timezone=timezone)
    await story.meter("queries", "count")
    await story.plan("t16", flat("base", "0.00"), entitlements=list(entitlements))
    return await story.subscribe("t16", **fields)


async def query(story: Story, count: int, name: str, time: str | None = None) -> None:
    """So many queries at one instant, by default now."""
    await story.use(*(event("queries", f"{name}-{n}", time) for n in range(count)))


async def test_t16_a_thousand_queries_a_day(story: Story) -> None:
    await begin(story, {**T16, "overage": "block"}, timezone=NEW_YORK)
    await story.advance("2026-03-08T04:00:00Z")  # 23:00 on 7 March in New York

    assert await check(story) == {
        "allowed": True, "value": None, "limit": "1000", "used": "0", "remaining": "1000",
        "resets_at": "2026-03-08T05:00:00Z",
    }  # fmt: skip
    await query(story, 1000, "a")
    assert await check(story) == {
        "allowed": False, "reason": "entitlement", "value": None, "limit": "1000", "used": "1000",
        "remaining": "0", "resets_at": "2026-03-08T05:00:00Z",
    }  # fmt: skip

    # 8 March begins at 05:00 UTC and has 23 hours: the clocks go from 2 to 3 o'clock.
    await story.advance("2026-03-08T05:00:00Z")
    fresh = await check(story)
    assert (fresh["allowed"], fresh["used"]) == (True, "0")
    assert fresh["resets_at"] == "2026-03-09T04:00:00Z"
    # Usage counts by its own time: what comes late for yesterday is yesterday's.
    await query(story, 1, "late", "2026-03-08T04:59:59Z")
    await query(story, 2, "b", "2026-03-08T05:00:00Z")
    await story.advance("2026-03-09T03:59:59Z")
    assert (await check(story))["used"] == "2"
    [row] = await story.usage(
        "queries", customer="acme", window="day", timezone=NEW_YORK,
        **{"from": "2026-03-08T05:00:00Z", "to": "2026-03-09T04:00:00Z"},
    )  # fmt: skip
    assert row["value"] == "2"
    await story.advance("2026-03-09T04:00:00Z")
    assert (await check(story))["used"] == "0"


@pytest.mark.parametrize(
    ("quantity", "allowed"), [("0", True), ("150", True), ("150.5", False), ("151", False)]
)
async def test_more_than_one_is_asked_for_at_once(
    story: Story, quantity: str, allowed: bool
) -> None:
    await begin(story, quota("150", "day"))
    answer = await check(story, quantity=quantity)
    assert (answer["allowed"], answer["remaining"]) == (allowed, "150")


async def test_several_quotas_on_one_feature_all_bind(story: Story) -> None:
    # Wanting 200 a day with 150 a day and 500 a month: 150, 150, 150, 50, 0.
    await begin(story, quota("150", "day"), quota("500", "month"))
    given = []
    for day in range(1, 6):
        await story.advance(f"2026-01-{day + 1:02}T10:00:00Z")
        answer = await check(story, quantity="200")
        assert not answer["allowed"]
        take = int(answer["remaining"])
        given.append(take)
        await query(story, take, f"day-{day}")
    assert given == [150, 150, 150, 50, 0]
    # The month binds now: the day would reset earlier.
    assert (await check(story))["resets_at"] == "2026-02-01T00:00:00Z"
    await story.advance("2026-02-01T00:00:00Z")
    assert (await check(story))["remaining"] == "150"


async def test_minutes_and_hours_where_the_clock_is_half_an_hour_off(story: Story) -> None:
    await begin(story, quota("20", "minute"), quota("25", "hour"), timezone="Asia/Kolkata")
    await story.advance("2026-01-05T10:29:30Z")  # 15:59:30 in India
    await query(story, 20, "a", "2026-01-05T10:29:00Z")
    full = await check(story)
    assert (full["allowed"], full["limit"]) == (False, "20")
    assert full["resets_at"] == "2026-01-05T10:30:00Z"
    # Its hour ends with that minute: the next one is fresh in both.
    await story.advance("2026-01-05T10:30:00Z")
    fresh = await check(story)
    assert (fresh["remaining"], fresh["used"]) == ("20", "0")
    await query(story, 20, "b")
    await story.advance("2026-01-05T10:31:00Z")
    # 20 of 25 of the hour from 10:30 to 11:30 UTC.
    hour = await check(story)
    assert (hour["limit"], hour["remaining"], hour["resets_at"]) == (
        "25", "5", "2026-01-05T11:30:00Z",
    )  # fmt: skip


async def test_a_period_from_the_31st_and_a_quota_for_ever(story: Story) -> None:
    await begin(
        story, quota("10", "period"), quota("12", "total"), quota("9", "week", overage="allow"),
        starts_at="2026-01-31T00:00:00Z",
    )  # fmt: skip
    await story.advance("2026-01-31T00:00:00Z")
    await query(story, 10, "a")
    full = await check(story)
    # The week only tells; of the others the period is used up.
    assert (full["allowed"], full["limit"], full["resets_at"]) == (
        False, "10", "2026-02-28T00:00:00Z",
    )  # fmt: skip
    await story.advance("2026-02-28T00:00:00Z")
    last = await check(story, quantity="2")
    # 12 - 10 in all: less is left than the 10 of this period.
    assert last == {
        "allowed": True, "value": None, "limit": "12", "used": "10", "remaining": "2",
        "resets_at": None,
    }  # fmt: skip
    await query(story, 2, "b")
    assert not (await check(story))["allowed"]
    await story.advance("2026-03-31T00:00:00Z")
    assert not (await check(story))["allowed"]


async def test_what_only_tells_allows_more(story: Story) -> None:
    await begin(story, quota("3", "day", overage="allow"))
    await query(story, 5, "a")
    answer = await check(story)
    assert (answer["allowed"], answer["used"], answer["remaining"]) == (True, "5", "0")


async def test_a_subscription_keeps_what_its_version_entitles_to(story: Story) -> None:
    old = await begin(story, quota("10", "day"), {"feature": "sso", "value": True})
    await story.plan("t16", flat("base", "0.00"), entitlements=[quota("5", "day")])
    await story.customer("newcomer")
    await story.subscribe("t16", "newcomer")
    assert (await check(story))["limit"] == "10"
    assert (await check(story, customer="newcomer"))["limit"] == "5"
    assert (await check(story, "sso"))["value"] is True
    off = await check(story, "sso", customer="newcomer")
    assert (off["allowed"], off["reason"], off["value"]) == (False, "entitlement", False)
    # Until it is moved: what it entitles to then changes with the version, whatever fees do.
    await story.change(old, version=2, at="period_end")
    await story.advance("2026-01-31T23:59:59Z")
    assert (await check(story))["limit"] == "10"
    await story.advance("2026-02-01T00:00:00Z")
    assert (await check(story))["limit"] == "5"
    assert not (await check(story, "sso"))["allowed"]


async def test_entitlements_never_change_an_invoice(story: Story) -> None:
    await story.customer()
    await story.meter("queries", "count")
    tiers = [{"up_to": "100", "unit": "1"}, {"unit": "0.50"}]
    prices = (
        flat("base", "31.00", timing="arrears"),
        usage_price("queries", "queries", model="graduated", tiers=tiers),
    )
    await story.plan("t16", *prices, entitlements=[quota("100", "day")])
    subscription = await story.subscribe("t16")
    await query(story, 90, "a")
    await story.plan("t16", *prices, entitlements=[quota("500", "day")])
    await story.advance("2026-01-15T00:00:00Z")
    await story.change(subscription, version=2, at="now", proration="by_day")
    await query(story, 90, "b")
    await story.advance("2026-02-01T01:00:00Z")
    [invoice] = await story.invoices()
    # One fee and one ladder, not two parts of each: 100 x 1 + 80 x 0.50 = 140.00.
    assert amounts(invoice) == [("base", "1", "31.00"), ("queries", "180", "140.00")]
    assert totals([invoice]) == ["171.00"]


async def test_a_pause_and_an_end_take_the_rights_away(story: Story) -> None:
    subscription = await begin(story, {"feature": "sso", "value": "saml"})
    assert (await check(story, "sso"))["value"] == "saml"
    await story.ask("POST", f"/v1/subscriptions/{subscription}/pause", json={"at": "now"})
    assert not (await check(story, "sso"))["allowed"]
    await story.ask("POST", f"/v1/subscriptions/{subscription}/resume", json={"at": "now"})
    assert (await check(story, "sso"))["allowed"]
    await story.cancel(subscription, at="now")
    await story.advance("2026-01-02T00:00:00Z")
    assert not (await check(story, "sso"))["allowed"]


async def test_of_several_subscriptions_the_most_generous_limit_holds(story: Story) -> None:
    first = await begin(story, quota("100", "day"))
    await story.plan("more", flat("base", "0.00"), entitlements=[quota("300", "day")])
    second = await story.subscribe("more")
    assert (await check(story))["limit"] == "300"
    [listed] = await story.everything("/v1/customers/acme/entitlements")
    assert [one["subscription"] for one in listed["plans"]] == [first, second]


async def test_what_is_agreed_with_a_customer_alone(story: Story) -> None:
    await begin(story, quota("10", "day"), {"feature": "sso", "value": False})
    await query(story, 7, "a")
    path = "/v1/customers/acme/entitlements"
    body = {"entitlements": [{"meter": "queries", "limit": "20", "window": "day"}]}
    put = await story.ask("PUT", f"{path}/queries", json=body)
    assert put == {
        "feature": "queries", "allowed": True, "value": None, "limit": "20", "used": "7",
        "remaining": "13", "resets_at": "2026-01-02T00:00:00Z", "concurrency": None,
        "quotas": [{
            "meter": "queries", "window": "day", "overage": "block", "limit": "20", "used": "7",
            "remaining": "13", "resets_at": "2026-01-02T00:00:00Z",
        }],
        "rates": [], "source": "customer", "plans": [],
    }  # fmt: skip
    await story.ask("PUT", f"{path}/beta", json={"entitlements": [{"value": "ring-1"}]})
    listed = await story.everything(path)
    assert [(one["feature"], one["allowed"], one["source"]) for one in listed] == [
        ("beta", True, "customer"), ("queries", True, "customer"), ("sso", False, "plan"),
    ]  # fmt: skip
    # Another customer has nothing of it.
    await story.customer("other")
    assert not (await check(story, "beta", customer="other"))["allowed"]
    # Without the agreement the plan holds again.
    await story.ask("DELETE", f"{path}/queries")
    assert (await check(story))["limit"] == "10"
    await story.ask("DELETE", f"{path}/beta")
    assert [one["feature"] for one in await story.everything(path)] == ["queries", "sso"]


def window_there(each: str, timezone: str, at: datetime) -> tuple[datetime, datetime]:
    """The window that holds the instant, by a plain calendar."""
    if each == "total":
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    if each == "period":
        return period_around(datetime(2026, 1, 31), timezone, "month", at)
    if each in ("day", "week", "month"):
        first = datetime(2026, 1, 5) if each == "week" else datetime(2026, 1, 1)
        return period_around(first, timezone, each, at)
    midnight, next_midnight = window_there("day", timezone, at)
    step = timedelta(minutes=1) if each == "minute" else timedelta(hours=1)
    while midnight + step <= at:
        midnight += step
    return midnight, min(midnight + step, next_midnight)


def metered(meter: Json, data: Json) -> Decimal:
    """What an event adds to this meter."""
    if meter.get("aggregation") == "count":
        return Decimal(1)
    if "filter" in meter and data["batch"]:
        return Decimal(0)
    return Decimal(data["q"]) + (1 if "value" in meter else 0)


ONE_BY_ONE: Json = {"filter": {"batch": ["false"]}}


@pytest.mark.parametrize(
    ("timezone", "meter"),
    [
        ("UTC", ONE_BY_ONE),
        (NEW_YORK, {}),
        ("Asia/Kolkata", {}),
        ("Asia/Kolkata", ONE_BY_ONE),
        ("Australia/Lord_Howe", {"value": "q + 1"}),
        ("Australia/Lord_Howe", {"aggregation": "count"}),
    ],
)
async def test_what_is_used_is_what_events_of_the_window_add_up_to(
    story: Story, timezone: str, meter: Json
) -> None:
    """Every window, at instants of which clocks change in some zones, against a plain sum."""
    rng = Random(timezone)
    await story.customer(timezone=timezone)
    await story.meter("tokens", dimensions=["model"], **meter)
    entries = [
        {"feature": each, "meter": "tokens", "limit": "1000000", "window": each}
        for each in WINDOWS
    ]  # fmt: skip
    await story.plan("p", flat("base", "0.00"), entitlements=entries)
    await story.subscribe("p", anchor="2026-01-31")
    counted: list[tuple[datetime, Decimal]] = []
    for number, day in enumerate(("2026-03-08", "2026-04-05", "2026-11-01")):
        noon = datetime.fromisoformat(f"{day}T12:00:00Z")
        await story.advance(noon.isoformat())
        events = []
        for n in range(150):
            time = noon + timedelta(seconds=rng.randrange(-5 * 86400, 20 * 3600))
            # Some within the minute, and at the instants where windows meet.
            time = time if n % 3 else noon + timedelta(minutes=30 * rng.randrange(-96, 40))
            q, batch = Decimal(rng.randrange(1000)) / 10, rng.random() < 0.2
            data: Json = {"q": str(q) if n % 2 else int(q), "batch": batch, "model": "abc"[n % 3]}
            events.append(event("tokens", f"{number}-{n}", time.isoformat(), **data))
            counted.append((time, metered(meter, data)))
        await story.use(*events)
        for at in (noon, noon + timedelta(hours=6, minutes=17), noon + timedelta(hours=19)):
            await story.advance(at.isoformat())
            for each in WINDOWS:
                window = window_there(each, timezone, at)
                expected = sum(q for time, q in counted if window[0] <= time < window[1])
                answer = await check(story, each)
                assert Decimal(answer["used"]) == expected, (each, at)
                resets_at = None if each == "total" else window[1].isoformat()
                assert answer["resets_at"] == (resets_at and resets_at.replace("+00:00", "Z"))


async def test_a_minute_of_many_events_is_read_in_portions(story: Story) -> None:
    await story.customer()
    await story.meter("calls", **ONE_BY_ONE)
    entry = {"feature": "calls", "meter": "calls", "limit": "100000", "window": "minute"}
    await story.plan("p", flat("base", "0.00"), entitlements=[entry])
    await story.subscribe("p")
    at = "2026-01-01T00:00:00Z"
    # 4,100 at one instant, of which each tenth is left out: 3,690 x 2.
    events = [event("calls", str(n), at, q=2, batch=n % 10 == 0) for n in range(4100)]
    await story.use(*events)
    assert (await check(story, "calls"))["used"] == "7380"


@pytest.mark.parametrize("meter", [{}, ONE_BY_ONE])
async def test_a_minute_is_told_of_while_events_come_in(story: Story, meter: Json) -> None:
    await story.customer()
    await story.meter("calls", **meter)
    entry = {"feature": "calls", "meter": "calls", "limit": "10", "window": "minute"}
    await story.plan("p", flat("base", "0.00"), entitlements=[entry])
    await story.subscribe("p")
    alert = {"on": "allowance", "feature": "calls", "at": ["0.5", "1"]}
    await story.ask("PUT", "/v1/customers/acme/alerts/used", json=alert)
    for n in range(4):
        await story.use(event("calls", f"a{n}", q=3, batch=False))
    raised = await story.everything("/v1/alerts")
    assert [(one["threshold"], one["used"]) for one in raised[::-1]] == [("0.5", "6"), ("1", "12")]


async def test_what_a_new_version_of_the_meter_cannot_read_adds_nothing(story: Story) -> None:
    story.audited = False
    await story.customer()
    await story.meter("calls", "count")
    entry = {"feature": "calls", "meter": "calls", "limit": "10", "window": "minute"}
    await story.plan("p", flat("base", "0.00"), entitlements=[entry])
    await story.subscribe("p")
    read: list[Json] = [{"q": 5}, {"q": "1.5"}, {"q": -3}, {"q": "-3"}, {"q": "x"}, {"q": [1]}, {}]
    await story.use(*(event("calls", str(n), **data) for n, data in enumerate(read)))
    assert (await check(story, "calls"))["used"] == "7"
    await story.meter("calls")  # from now on it sums q
    assert (await check(story, "calls"))["used"] == "6.5"
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:01:00Z"}
    [shown] = await story.usage("calls", customer="acme", window="minute", **span)
    assert shown["value"] == "6.5"


async def hold(story: Story, feature: str, **fields: Any) -> Json:
    """Ask for a hold of 1 dollar that names the feature."""
    body = {"customer": "acme", "asset": "USD", "amount": "1", "feature": feature, **fields}
    return await story.ask("POST", "/v1/holds", json=body)


async def test_t16_three_runs_at_once(story: Story) -> None:
    await begin(story, {"feature": "runs", "concurrency": "3"})
    await story.grant("100")
    runs = [await hold(story, "runs") for _ in range(3)]
    assert [run["allowed"] for run in runs] == [True, True, True]
    refused = await hold(story, "runs")
    assert (refused["allowed"], refused["reason"]) == (False, "concurrency")
    assert await check(story, "runs") == {
        "allowed": False, "reason": "concurrency", "value": None, "limit": "3", "used": "3",
        "remaining": "0", "resets_at": None,
    }  # fmt: skip
    await story.ask("POST", f"/v1/holds/{runs[0]['id']}/release")
    assert (await check(story, "runs"))["remaining"] == "1"
    assert (await hold(story, "runs"))["allowed"]
    assert not (await hold(story, "runs"))["allowed"]
    # Runs that died free their slots when their holds expire.
    await story.advance("2026-01-01T00:05:00Z")
    assert (await check(story, "runs"))["used"] == "0"
    assert (await hold(story, "runs"))["allowed"]
    [listed] = await story.everything("/v1/customers/acme/entitlements")
    assert listed["concurrency"] == {"limit": "3", "used": "1", "remaining": "2"}


async def test_what_open_holds_reserve_of_a_quota_is_used(story: Story) -> None:
    await begin(story, quota("10", "day"), {"feature": "sso", "value": False})
    await story.grant("100")
    await query(story, 4, "a")
    placed = await hold(story, "queries", quantity="5")
    assert placed["allowed"]
    answer = await check(story)
    assert (answer["used"], answer["remaining"]) == ("9", "1")  # 4 + 5 of 10
    refused = await hold(story, "queries", quantity="2")
    assert (refused["allowed"], refused["reason"]) == (False, "entitlement")
    assert (await hold(story, "sso"))["reason"] == "entitlement"
    # Captured with 3 queries: what was held is free, what was used counts.
    events = [event("queries", f"b-{n}") for n in range(3)]
    await story.ask("POST", f"/v1/holds/{placed['id']}/capture", json={"events": events})
    assert (await check(story))["used"] == "7"
    assert (await hold(story, "queries", quantity="3"))["allowed"]
