"""Usage queries: every window, zone and aggregation against a second, naive count of the events."""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.kernel.times import format_instant, parse_instant
from tests.http.api import NOW, client_for, event, get, problem, put_customer, put_meter, send

SPAN = (datetime(2026, 3, 27, 22, 10, tzinfo=UTC), datetime(2026, 3, 30, 1, 45, 30, tzinfo=UTC))
AGGREGATIONS = ("count", "sum", "max", "min", "latest", "unique")
Fact = dict[str, Any]


def instant(text: str) -> datetime:
    found = parse_instant(text)
    assert found is not None
    return found


def make_facts(seed: int, customers: tuple[str, ...] = ("acme",)) -> list[Fact]:
    """Events around the night in which Europe's clocks go forward (29 March 2026, 01:00 UTC)."""
    chance = random.Random(seed)
    facts = []
    for number in range(120):
        at = datetime(2026, 3, 27, 20, tzinfo=UTC) + timedelta(
            minutes=chance.randrange(0, 56 * 60, 15), seconds=chance.choice([0, 0, 59])
        )
        n = chance.choice([1, 2, 3, "0.25", "1000000000000.000001"])
        facts.append({
            "id": f"e{number}", "time": at, "customer": chance.choice(customers),
            "data": {"n": n, "model": chance.choice(["a", "b", "é|"]), "batch": number % 3 == 0},
        })  # fmt: skip
    return facts


def window_start(at: datetime, window: str, timezone: str) -> datetime:
    """Where the window of an event begins, by the wall clock of the zone."""
    local = at.astimezone(ZoneInfo(timezone))
    if window == "minute":
        return at.replace(second=0)
    if window == "hour":
        return at - timedelta(minutes=local.minute, seconds=local.second)
    midnight = local.replace(hour=0, minute=0, second=0)
    midnight = midnight.replace(day=1) if window == "month" else midnight
    return midnight.replace(tzinfo=None).replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def fold(aggregation: str, facts: list[Fact]) -> Decimal:
    values = [Decimal(str(fact["data"]["n"])) for fact in facts]
    if aggregation == "count":
        return Decimal(len(facts))
    if aggregation == "unique":
        return Decimal(len(set(values)))
    if aggregation == "latest":
        last = max(facts, key=lambda fact: (fact["time"], fact["id"]))
        return Decimal(str(last["data"]["n"]))
    return {"sum": sum(values, Decimal(0)), "max": max(values), "min": min(values)}[aggregation]


def naive(
    facts: list[Fact], aggregation: str, window: str, timezone: str, by: tuple[str, ...]
) -> dict[tuple[str, datetime, tuple[str, ...]], Decimal]:
    found = defaultdict(list)
    for fact in facts:
        if SPAN[0] <= fact["time"] < SPAN[1]:
            start = SPAN[0]
            if window != "total":
                start = max(start, window_start(fact["time"], window, timezone))
            texts = {"model": fact["data"]["model"], "batch": str(fact["data"]["batch"]).lower()}
            found[fact["customer"], start, tuple(texts[name] for name in by)].append(fact)
    return {key: fold(aggregation, group) for key, group in found.items()}


async def read_all(client: httpx.AsyncClient, meter: str, **query: Any) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(client, f"/v1/meters/{meter}/usage", **query, **cursor)
        assert len(page["data"]) <= query.get("limit", 25)
        rows += page["data"]
        if page["next_cursor"] is None:
            return rows
        cursor = {"cursor": page["next_cursor"]}


def found_in(rows: list[dict[str, Any]]) -> dict[tuple[str, datetime, tuple[str, ...]], Decimal]:
    keyed = {
        (row["customer"], instant(row["from"]), tuple(row["group"].values())): Decimal(row["value"])
        for row in rows
    }
    assert len(keyed) == len(rows), "no row comes twice"
    assert list(keyed) == sorted(keyed), "rows come by customer, window, group"
    return keyed


async def load(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None], facts: list[Fact]
) -> None:
    set_clock(datetime(2026, 4, 2, tzinfo=UTC))
    for customer in {fact["customer"] for fact in facts}:
        await put_customer(client, customer)
    for aggregation in AGGREGATIONS:
        dimensions = ["model", "batch"]
        await put_meter(client, aggregation, aggregation=aggregation, dimensions=dimensions)
    events = [
        event(fact["id"], format_instant(fact["time"]), customer=fact["customer"], **fact["data"])
        for fact in facts
    ]
    for start in range(0, len(events), 50):
        assert (await send(client, events[start : start + 50]))["quarantined"] == 0


QUERY = {"from": format_instant(SPAN[0]), "to": format_instant(SPAN[1])}


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Paris", "Asia/Kolkata", "Asia/Kathmandu"])
async def test_every_window_agrees_with_a_naive_count(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None], timezone: str
) -> None:
    facts = make_facts(seed=1)
    await load(client, set_clock, facts)
    for aggregation in AGGREGATIONS:
        for window in ("minute", "hour", "day", "month", "total"):
            for by in ((), ("batch", "model")):
                rows = await read_all(
                    client, aggregation, **QUERY, customer="acme", window=window,
                    timezone=timezone, group_by=list(by), limit=100,
                )  # fmt: skip
                expected = naive(facts, aggregation, window, timezone, by)
                assert found_in(rows) == expected, (aggregation, window, by)
                assert all(instant(row["to"]) <= SPAN[1] for row in rows)


@pytest.mark.parametrize("window", ["minute", "hour", "day", "total"])
async def test_pages_of_any_size_give_the_same_rows(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None], window: str
) -> None:
    facts = make_facts(seed=2, customers=("acme", "a b", "zoë|x"))
    await load(client, set_clock, facts)
    for aggregation in ("sum", "unique"):
        # A minute is the same in all zones.
        for timezone in ("UTC",) if window == "minute" else ("UTC", "Asia/Kolkata"):
            query = {**QUERY, "window": window, "timezone": timezone, "group_by": "model"}
            expected = naive(facts, aggregation, window, timezone, ("model",))
            for limit in (1 if window == "total" else 3, 7, 100):
                rows = await read_all(client, aggregation, **query, limit=limit)
                assert found_in(rows) == expected, (aggregation, timezone, limit)


@pytest.mark.parametrize("aggregation", ["sum", "unique"])
async def test_fill_shows_every_window_of_every_group(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None], aggregation: str
) -> None:
    facts = make_facts(seed=3, customers=("acme", "b"))
    await load(client, set_clock, facts)
    query: dict[str, Any] = {**QUERY, "window": "hour", "group_by": "model", "fill": "zero"}
    rows = found_in(await read_all(client, aggregation, **query, limit=50))
    expected = naive(facts, aggregation, "hour", "UTC", ("model",))
    # 27 March 22:10 to 30 March 01:45:30: the rest of an hour, 50 hours, a part of an hour
    assert len(rows) == 2 * 52 * 3
    assert {key: value for key, value in rows.items() if value} == expected


async def test_a_day_of_a_clock_change_has_23_hours(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await load(client, set_clock, make_facts(seed=4))
    query = {"window": "day", "timezone": "Europe/Paris", "customer": "acme", "fill": "zero"}
    query |= {"from": "2026-03-28T00:00:00%2B01:00", "to": "2026-03-31T00:00:00%2B02:00"}
    text = "&".join(f"{name}={value}" for name, value in query.items())
    answer = await client.get(f"/v1/meters/sum/usage?{text}")
    assert [(row["from"], row["to"]) for row in answer.json()["data"]] == [
        ("2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z"),
        ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours
        ("2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"),
    ]


async def test_an_answer_includes_what_was_just_taken_in(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    for number in range(1, 5):
        await send(client, [event(f"e{number}", n=1)])
        for window in ("minute", "hour", "day", "month", "total"):
            page = await get(client, "/v1/meters/tokens/usage", window=window)
            assert [row["value"] for row in page["data"]] == [str(number)], window
            assert instant(page["data"][0]["to"]) > NOW


async def test_usage_keeps_the_version_it_was_counted_under(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    await send(client, [event("a", n=10, m=1)])
    await put_meter(client, value="m", dimensions=["model"])
    await send(client, [event("b", n=10, m=2, model="x")])
    page = await get(client, "/v1/meters/tokens/usage", group_by="model")
    assert [(row["group"], row["value"]) for row in page["data"]] == [
        ({"model": ""}, "10"),
        ({"model": "x"}, "2"),
    ]


async def test_a_meter_counts_nothing_from_before_it_was_there(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await put_customer(client)
    await put_meter(client)
    await send(client, [event("a", n=1), event("w", n=1, customer="late")])
    set_clock(NOW + timedelta(seconds=1))
    for aggregation in ("sum", "unique"):
        await put_meter(client, f"new-{aggregation}", aggregation=aggregation)
    await put_customer(client, "late")  # releases w, which all meters count now
    for aggregation in ("sum", "unique"):
        for window in ("minute", "day"):
            rows = await read_all(client, f"new-{aggregation}", window=window)
            assert [row["customer"] for row in rows] == ["late"], (aggregation, window)


async def test_a_confined_key_sees_its_customer_alone(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_meter(client)
    for customer in ("acme", "other"):
        await put_customer(client, customer)
        await send(client, [event("a", n=1, customer=customer)])
    body = {"name": "portal", "scopes": ["read"], "customer": "acme"}
    made = await client.post("/v1/api_keys", json=body)
    async with client_for(instance, made.json()["secret"]) as confined:
        rows = (await get(confined, "/v1/meters/tokens/usage"))["data"]
        assert [row["customer"] for row in rows] == ["acme"]
        answer = await confined.get("/v1/meters/tokens/usage?customer=other")
        problem(answer, 404, "not_found")
    rows = (await get(client, "/v1/meters/tokens/usage"))["data"]
    assert [row["customer"] for row in rows] == ["acme", "other"]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("from=2026-03-10", "from"),
        ("from=2026-03-10T00:00:00", "from"),
        ("from=0001-01-01T00:00:00Z", "from"),
        ("from=2026-03-10T00:00:00Z&to=2026-03-10T00:00:00Z", "from"),
        ("from=2026-04-10T00:00:00Z", "from"),
        ("to=%00", "to"),
        ("window=week", "window"),
        ("timezone=Mars/Base", "timezone"),
        ("timezone=%00", "timezone"),
        ("timezone=..%2F..%2Fetc%2Fpasswd", "timezone"),
        ("timezone=localtime", "timezone"),
        ("group_by=colour", "group_by"),
        ("group_by=model,%00", "group_by"),
        ("group_by=%FF", "group_by"),
        ("fill=one", "fill"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=1e3", "limit"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=bm8", "cursor"),
        ("cursor=WyJhIiwgImIiXQ", "cursor"),  # ["a", "b"]: no time
        ("cursor=WyJhIl0", "cursor"),
        ("cursor=" + "a" * 5000, "cursor"),
        ("customer=a%00", "customer"),
        ("customer=a%2Fb", "customer"),
        ("customer=" + "a" * 129, "customer"),
    ],
)
async def test_a_query_in_error_is_refused_by_field(
    shared: httpx.AsyncClient, query: str, path: str
) -> None:
    await put_meter(shared, dimensions=["model"])
    answer = await shared.get(f"/v1/meters/tokens/usage?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"].startswith(path)


async def test_the_ends_of_time_can_be_asked_for(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    await send(client, [event("a", "1000-01-01T00:00:00Z", n=1), event("b", n=2)])
    for window in ("minute", "hour", "day", "month", "total"):
        for timezone in ("UTC", "Pacific/Apia", "Asia/Kathmandu"):
            rows = await read_all(
                client, "tokens", window=window, timezone=timezone,
                **{"from": "1000-01-01T00:00:00Z", "to": "8999-12-31T23:59:59Z"},
            )  # fmt: skip
            values = [row["value"] for row in rows]
            assert values == (["3"] if window == "total" else ["1", "2"]), (window, timezone)
    page = await get(
        client, "/v1/meters/tokens/usage", window="minute", fill="zero", limit=100,
        to="8999-12-31T23:59:59Z", **{"from": "1000-01-01T00:00:00Z"}, customer="nobody",
    )  # fmt: skip
    assert len(page["data"]) == 100


async def test_an_unknown_meter_has_no_usage(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/meters/tokens/usage"), 404, "not_found")
    await put_meter(client)
    page = await get(client, "/v1/meters/tokens/usage", customer="nobody")
    assert page == {"data": [], "next_cursor": None}
