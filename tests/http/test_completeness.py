"""What a source sent against what is there: numbers, heartbeats, repeats, delays, silence."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from taximeter.bootstrap import Instance
from taximeter.domain.metering.completeness import Heartbeats, Numbers, SourceCompleteness
from tests.http.api import put_customer, put_meter
from tests.scenarios.story import Json

DAY = datetime(2026, 3, 10, tzinfo=UTC)
SetClock = Callable[[datetime], None]


def numbered(number: int, minutes: int, customer: str = "acme", **fields: Any) -> Json:
    """An event of the source `gate` with this number, so many minutes into the day."""
    at = DAY + timedelta(minutes=minutes)
    return {
        "id": str(number), "source": "gate", "type": "call", "subject": customer,
        "time": at.isoformat(), "sequence": str(number), "data": {"q": 1}, **fields,
    }  # fmt: skip


async def send(client: httpx.AsyncClient, *events: Json) -> Json:
    answer = await client.post("/v1/events", json=list(events))
    found: Json = answer.json()
    return found


async def report(client: httpx.AsyncClient, **parameters: str) -> list[Json]:
    """Every row of the report."""
    answer = await client.get("/v1/reports/completeness", params=parameters)
    assert answer.status_code == 200, answer.text
    rows: list[Json] = answer.json()["data"]
    return rows


async def beat(client: httpx.AsyncClient, source: str, **fields: Any) -> httpx.Response:
    return await client.post(f"/v1/sources/{source}/heartbeat", json=fields)


async def test_what_is_missing_came_again_or_late(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    await put_customer(client)
    await put_meter(client, value="q")
    set_clock(DAY + timedelta(minutes=1))
    # Number 1 is of yesterday; 2 to 10 are sent of customers who share the source, but not 5, 7 and
    # 8. globex is not known, so 4 waits.
    await send(client, numbered(1, -60), numbered(2, 0), numbered(3, 1), numbered(4, 1, "globex"))
    set_clock(DAY + timedelta(minutes=5))
    await send(client, numbered(6, 5), numbered(9, 5), numbered(10, 5, id="ten"))
    await send(client, numbered(10, 5, id="ten again"))  # the same number under another id
    await send(client, numbered(2, 0), numbered(2, 0), numbered(3, 1, data={"q": 7}))
    set_clock(DAY + timedelta(hours=3))
    await send(client, numbered(12, 179, sequence="none"))  # a number that is none is no number

    today = {"from": "2026-03-10T00:00:00Z", "to": "2026-03-11T00:00:00Z"}
    [row] = await report(client, **today)
    assert row["states"] == ["incomplete", "repeated_numbers", "conflicts", "quarantined"]
    assert (row["received"], row["expected"], row["missing"]) == (8, 9, 3)
    assert (row["duplicates"], row["conflicts"], row["quarantined"]) == (2, 1, 1)
    assert row["sequence"] == {
        "first": 2, "last": 10, "expected": 9, "received": 6, "missing": 3, "repeated": 1,
        "gaps": [{"first": 5, "last": 5}, {"first": 7, "last": 8}], "complete": True,
    }  # fmt: skip
    # Received 60, 0, 0, 0, 0, 0, 0 and 60 s after their times; half way of eight is the fourth.
    assert row["delays"] == {"median_s": "0", "p95_s": "60", "max_s": "60"}
    assert (row["late"], row["heartbeat"]) == (0, None)

    # 5 comes five hours late, and 7 with a time of tomorrow's: both are there, whatever their time.
    set_clock(DAY + timedelta(hours=5, minutes=5))
    await send(client, numbered(5, 5), numbered(7, 24 * 60 + 5))
    [row] = await report(client, **today)
    assert row["sequence"]["gaps"] == [{"first": 8, "last": 8}]
    assert (row["late"], row["delays"]["max_s"]) == (1, "18000")
    [tomorrow] = await report(
        client, **{"from": "2026-03-11T00:00:00Z", "to": "2026-03-12T00:00:00Z"}
    )
    assert (tomorrow["ahead"], tomorrow["states"]) == (
        {"events": 1, "max_s": "68400"}, ["ahead"],  # 24 h 5 min less 5 h 5 min: 19 h
    )  # fmt: skip
    [of_one] = await report(client, customer="globex", **today)
    assert (of_one["received"], of_one["sequence"], of_one["expected"]) == (1, None, None)
    assert await report(client, source="other", **today) == []


async def test_numbers_that_begin_with_one(client: httpx.AsyncClient, set_clock: SetClock) -> None:
    set_clock(DAY)
    await send(client, numbered(3, 0, sequencetype="Integer"), numbered(8, 0, source="odd"))
    first, second = await report(client)
    assert (first["source"], first["sequence"]["first"], first["missing"]) == ("gate", 1, 2)
    assert (second["source"], second["sequence"]["first"], second["missing"]) == ("odd", 8, 0)
    page = (await client.get("/v1/reports/completeness", params={"limit": "1"})).json()
    assert [row["source"] for row in page["data"]] == ["gate"]
    [rest] = await report(client, cursor=page["next_cursor"])
    assert rest["source"] == "odd"
    bad = await client.get("/v1/reports/completeness", params={"from": "2026-01-01T00:00:00Z"})
    assert (bad.status_code, bad.json()["errors"][0]["code"]) == (422, "invalid_span")


async def test_sources_that_fall_silent_are_told_once_and_counted(
    client: httpx.AsyncClient, set_clock: SetClock, instance: Instance
) -> None:
    watch = instance.server.sources
    async with instance.context.pool.connection() as connection:
        await connection.execute(  # a thousand that have been silent since yesterday
            "INSERT INTO source_silence SELECT '', 'old-' || n, %(at)s, %(at)s"
            " FROM generate_series(1, 1000) n",
            {"at": DAY - timedelta(days=1)},
        )
    set_clock(DAY)
    for name in ("a", "b"):
        await beat(client, name, sent=1, silence_after_s=60)
    assert (await watch.run_round(), watch.overdue) == (1000, 1000)
    set_clock(DAY + timedelta(minutes=2))
    earlier = (DAY - timedelta(hours=1)).isoformat()
    await beat(client, "a", sent=1, at=earlier, silence_after_s=3600)  # not its last word
    assert (await watch.run_round(), watch.overdue) == (2, 1002)
    await beat(client, "a", sent=1, silence_after_s=60)
    set_clock(DAY + timedelta(minutes=3))
    assert (await watch.run_round(), watch.overdue) == (0, 1001)
    set_clock(DAY + timedelta(days=31))
    assert (await watch.run_round(), watch.overdue) == (1, 2)  # a and b


async def test_heartbeats(
    client: httpx.AsyncClient, set_clock: SetClock, instance: Instance
) -> None:
    plain: Json = {"sequence": None}
    await put_customer(client)
    await put_meter(client, value="q")
    set_clock(DAY + timedelta(minutes=10))
    await send(client, *[numbered(n, n, **plain) for n in range(8)])
    said = (await beat(client, "gate", sent=10, silence_after_s=300)).json()
    assert (said["at"], said["customer"], said["clock_offset_s"]) == (
        "2026-03-10T00:10:00Z", None, "0",
    )  # fmt: skip
    [row] = await report(client)
    assert (row["expected"], row["received"], row["missing"]) == (10, 8, 2)
    assert (row["states"], row["heartbeat"]["from"]) == (["incomplete"], None)

    # In the next two hours 5 are sent, of which 5 arrive; its clock is 7 s ahead.
    set_clock(DAY + timedelta(hours=2))
    await send(client, *[numbered(n, 80 + n, **plain) for n in range(20, 25)])
    at = (DAY + timedelta(hours=2, seconds=7)).isoformat()
    await beat(client, "gate", sent=15, at=at, silence_after_s=300)
    set_clock(DAY + timedelta(hours=2, minutes=4))
    [row] = await report(client, **{"from": "2026-03-10T01:00:00Z"})
    assert (row["expected"], row["received"], row["missing"]) == (5, 5, 0)
    assert (row["states"], row["heartbeat"]["from"]) == (["ahead"], "2026-03-10T00:10:00Z")
    assert row["heartbeat"]["clock_offset_s"] == "7"
    set_clock(DAY + timedelta(hours=2, minutes=6))
    [row] = await report(client)
    assert row["states"] == ["incomplete", "silent", "ahead"]
    assert await instance.server.sources.run_round() == 1
    assert "taximeter_sources_overdue 1.0" in (await client.get("/metrics")).text
    await beat(client, "gate", sent=15, at=(DAY + timedelta(hours=2, minutes=6)).isoformat())
    set_clock(DAY + timedelta(hours=3))  # its last word says nothing of a next one
    assert await instance.server.sources.run_round() == 0
    assert "taximeter_sources_overdue 0.0" in (await client.get("/metrics")).text

    for fields, code in (
        ({"sent": 14}, "falling"),
        ({"sent": 16, "at": "2026-03-09T00:00:00Z"}, "falling"),
        ({"sent": 16, "at": "2026-03-12T00:00:00Z"}, "in_the_future"),
    ):
        refused = await beat(client, "gate", **fields)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)


async def test_heartbeats_of_each_customer(client: httpx.AsyncClient, set_clock: SetClock) -> None:
    """Where nothing is said of all together, what is said of each customer is added up; a key
    of one customer speaks of that customer and is told of it alone.
    """
    set_clock(DAY + timedelta(minutes=10))
    await send(client, numbered(1, 1), numbered(2, 2), numbered(3, 3, "globex"))
    body = {"name": "k", "scopes": ["ingest", "read"], "customer": "acme"}
    secret = (await client.post("/v1/api_keys", json=body)).json()["secret"]
    own = {"authorization": f"Bearer {secret}"}
    path = "/v1/sources/gate/heartbeat"
    assert (await client.post(path, json={"sent": 3}, headers=own)).json()["customer"] == "acme"
    foreign = await client.post(path, json={"sent": 3, "customer": "globex"}, headers=own)
    assert foreign.status_code == 404
    await beat(client, "gate", sent=1, customer="globex")
    [row] = await report(client)
    assert (row["heartbeat"]["expected"], row["heartbeat"]["received"]) == (4, 3)
    [mine] = (await client.get("/v1/reports/completeness", headers=own)).json()["data"]
    assert (mine["received"], mine["expected"], mine["missing"]) == (2, 3, 1)


@given(present=st.sets(st.integers(1, 40), min_size=1), sent=st.integers(0, 40))
def test_the_figures_add_up(present: set[int], sent: int) -> None:
    """Expected is received and missing, by numbers and by heartbeats; the report tells of more."""
    first, last = min(present), max(present)
    numbers = Numbers(first, last, len(present), 0, ())
    assert numbers.expected == numbers.received + numbers.missing
    assert numbers.missing == len(set(range(first, last + 1)) - present)
    beats = Heartbeats(None, DAY, sent, len(present), DAY, None)
    zero = timedelta(0)
    whole = SourceCompleteness(
        "s", DAY, len(present), 0, 0, 0, zero, 0, 0, None, None, numbers, beats
    )
    assert whole.missing == max(0, numbers.missing, sent - len(present))
    assert ("incomplete" in whole.states) == bool(whole.missing)
