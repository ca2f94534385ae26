"""Versions of plans over time: scheduled, cancelled, rolled back, retired; and families."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.http.api import get, problem, put_customer

APRIL = "2026-04-01T00:00:00Z"
MAY = "2026-05-01T00:00:00Z"


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def fee(amount: str, **fields: Any) -> dict[str, Any]:
    """A plan of one monthly fee."""
    prices = [{"key": "fee", "type": "flat", "amount": amount}]
    return {"currency": "USD", "period": "month", "prices": prices, **fields}


async def put(
    client: httpx.AsyncClient, key: str, document: dict[str, Any], **parameters: str
) -> dict[str, Any]:
    """Publish a plan; the answer."""
    answer = await client.put(f"/v1/plans/{key}", json=document, params=parameters)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def subscribe(client: httpx.AsyncClient, plan: str, **fields: Any) -> httpx.Response:
    body = {"customer": "acme", "plan": plan, **fields}
    return await client.post("/v1/subscriptions", json=body)


async def version_of(client: httpx.AsyncClient, plan: str, **fields: Any) -> tuple[str, int]:
    """The plan and version that a new subscription gets."""
    answer = await subscribe(client, plan, **fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["plan"], answer.json()["version"]


async def statuses(client: httpx.AsyncClient, key: str) -> list[str]:
    """The status of each version, the first first."""
    found = await get(client, f"/v1/plans/{key}/versions")
    return [plan["status"] for plan in reversed(found["data"])]


async def test_a_scheduled_version_comes_into_force_at_its_time(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await put_customer(client)
    await put(client, "p", fee("10"))
    second = await put(client, "p", fee("20"), effective_at=APRIL)
    assert (second["version"], second["status"], second["effective_at"]) == (2, "scheduled", APRIL)
    assert await statuses(client, "p") == ["active", "scheduled"]
    assert (await get(client, "/v1/plans/p"))["version"] == 1
    assert (await get(client, "/v1/plans"))["data"][0]["version"] == 1
    assert (await client.post("/v1/plans/p/preview", json={})).json()["total"] == "10.00"
    ahead = await client.post("/v1/plans/p/preview", json={"version": 2})
    assert ahead.json()["total"] == "20.00"

    assert await version_of(client, "p") == ("p", 1)
    assert await version_of(client, "p", version=2) == ("p", 2)
    assert await version_of(client, "p", starts_at="2026-03-31T23:59:59Z") == ("p", 1)
    assert await version_of(client, "p", starts_at=APRIL) == ("p", 2)

    set_clock(at(4))
    assert await statuses(client, "p") == ["superseded", "active"]
    assert (await get(client, "/v1/plans/p"))["version"] == 2
    # A start in the past does not bring back a version that is no longer offered.
    assert await version_of(client, "p", starts_at="2026-03-31T00:00:00Z") == ("p", 2)


async def test_a_change_takes_the_version_in_force_at_its_time(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put(client, "old", fee("5"))
    await put(client, "p", fee("10"))
    await put(client, "p", fee("20"), effective_at=APRIL)
    subscription = (await subscribe(client, "old")).json()["id"]
    change = f"/v1/subscriptions/{subscription}/change"
    for when, version in (("2026-03-20T00:00:00Z", 1), ("2026-04-20T00:00:00Z", 2)):
        answer = await client.post(change, json={"plan": "p", "at": when})
        assert answer.json()["phases"][-1]["version"] == version, answer.text


async def test_the_latest_date_wins_whatever_was_made_first(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await put(client, "p", fee("10"))
    await put(client, "p", fee("20"), effective_at=APRIL)
    third = await put(client, "p", fee("11"))
    assert (third["version"], third["status"]) == (3, "active")
    assert await statuses(client, "p") == ["superseded", "scheduled", "active"]
    set_clock(at(4))
    assert (await get(client, "/v1/plans/p"))["version"] == 2


async def test_what_is_in_force_then_is_compared(client: httpx.AsyncClient) -> None:
    await put(client, "p", fee("10"))
    await put(client, "p", fee("20"), effective_at=APRIL)
    assert (await put(client, "p", fee("10")))["version"] == 1
    assert (await put(client, "p", fee("20"), effective_at=MAY))["version"] == 2
    assert (await put(client, "p", fee("10"), effective_at=MAY))["version"] == 3
    assert (await put(client, "p", fee("20"), effective_at="2026-03-20T00:00:00Z"))["version"] == 4


async def test_a_time_that_is_not_ahead_is_refused(client: httpx.AsyncClient) -> None:
    for time, code in (
        ("2026-03-10T12:00:00Z", "too_early"), ("2026-01-01T00:00:00Z", "too_early"),
        ("tomorrow", "invalid"), ("2026-04-01T00:00:00", "invalid"),
    ):  # fmt: skip
        parameters = {"effective_at": time}
        answer = await client.put("/v1/plans/p", json=fee("1"), params=parameters)
        assert problem(answer, 422, code)["errors"][0]["path"] == "effective_at"
    problem(await client.get("/v1/plans/p"), 404, "not_found")


async def test_a_plan_that_is_only_scheduled(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await put_customer(client)
    await put(client, "p", fee("10"), effective_at=MAY)
    await put(client, "p", fee("9"), effective_at=APRIL)
    assert (await get(client, "/v1/plans/p"))["version"] == 2  # the first that will be
    refused = problem(await subscribe(client, "p"), 409, "invalid_state")
    assert "2026-04-01T00:00:00Z" in refused["detail"]
    assert (await put(client, "p", fee("8")))["version"] == 3
    assert await version_of(client, "p") == ("p", 3)


async def test_a_scheduled_version_is_cancelled(
    client: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await put_customer(client)
    await put(client, "p", fee("10"))
    await put(client, "p", fee("20"), effective_at=APRIL)
    answer = await client.delete("/v1/plans/p/versions/2")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await client.delete("/v1/plans/p/versions/2")).json() == answer.json()
    problem(await subscribe(client, "p", version=2), 409, "invalid_state")
    set_clock(at(4))
    assert await statuses(client, "p") == ["active", "cancelled"]
    # Its number stays taken.
    assert (await put(client, "p", fee("20")))["version"] == 3


async def test_what_cannot_be_cancelled(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put(client, "p", fee("10"))
    await put(client, "p", fee("11"))
    await put(client, "p", fee("20"), effective_at=APRIL)
    await version_of(client, "p", version=3)
    for version in (1, 2, 3):  # superseded, active, used
        answer = await client.delete(f"/v1/plans/p/versions/{version}")
        problem(answer, 409, "invalid_state")
    problem(await client.delete("/v1/plans/p/versions/4"), 404, "not_found")
    assert await statuses(client, "p") == ["superseded", "active", "scheduled"]


async def test_rolling_back_makes_a_new_version(client: httpx.AsyncClient) -> None:
    await put(client, "p", fee("10"))
    await put(client, "p", fee("20"))
    body = {"version": 1, "reason": "typo"}
    answer = await client.post("/v1/plans/p/rollback", json=body)
    assert answer.status_code == 201
    assert (answer.json()["version"], answer.json()["outcome"]) == (3, "new_version")
    assert answer.json()["prices"][0]["amount"] == "10"
    again = await client.post("/v1/plans/p/rollback", json=body)
    assert (again.status_code, again.json()["version"]) == (200, 3)
    assert again.json()["outcome"] == "unchanged"
    problem(await client.post("/v1/plans/p/rollback", json={"version": 4}), 404, "not_found")
    problem(await client.post("/v1/plans/q/rollback", json={"version": 1}), 404, "not_found")


async def test_a_retired_plan_takes_no_new_subscriptions(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put(client, "p", fee("10"))
    await put(client, "q", fee("10"))
    running = (await subscribe(client, "p")).json()["id"]
    other = (await subscribe(client, "q")).json()["id"]
    retired = await client.post("/v1/plans/p/retire")
    assert retired.json()["retired_at"] == "2026-03-10T12:00:00Z"
    assert (await client.post("/v1/plans/p/retire")).json() == retired.json()

    assert "retired" in problem(await subscribe(client, "p"), 409, "invalid_state")["detail"]
    problem(await subscribe(client, "p", version=1), 409, "invalid_state")
    moved = await client.post(f"/v1/subscriptions/{other}/change", json={"plan": "p"})
    problem(moved, 409, "invalid_state")
    # A running subscription stays, and may move within its plan.
    await put(client, "p", fee("11"))
    kept = await client.post(f"/v1/subscriptions/{running}/change", json={"version": 2})
    assert kept.json()["phases"][-1]["version"] == 2

    assert (await client.post("/v1/plans/p/unretire")).json()["retired_at"] is None
    assert await version_of(client, "p") == ("p", 2)
    problem(await client.post("/v1/plans/x/retire"), 404, "not_found")


async def test_a_family_gives_the_member_that_is_for_the_customer(
    client: httpx.AsyncClient,
) -> None:
    family = {"family": "scale"}
    founders = {"region": "EU", "cohort": "founders"}
    await put(client, "scale-us", fee("10", **family))
    await put(client, "scale-any", fee("9", currency="EUR", **family))
    await put(client, "scale-eu", fee("8", currency="EUR", segment={"region": "eu"}, **family))
    await put(client, "scale-f", fee("7", currency="EUR", segment=founders, **family))
    await put(client, "other", fee("1"))
    listed = await get(client, "/v1/plans", family="scale")
    keys = [plan["key"] for plan in listed["data"]]
    assert keys == ["scale-any", "scale-eu", "scale-f", "scale-us"]
    for settings, expected in (
        ({}, "scale-us"),
        ({"currency": "EUR"}, "scale-any"),
        ({"currency": "EUR", "metadata": {"cohort": "founders"}}, "scale-any"),
        ({"currency": "EUR", "metadata": {"region": "eu"}}, "scale-eu"),
        ({"currency": "EUR", "tax": {"country": "FR", "region": "EU"}}, "scale-eu"),
        ({"currency": "EUR", "metadata": {"region": "eu", "cohort": "Founders"}}, "scale-f"),
    ):
        key = f"c{expected}{len(settings)}{len(str(settings))}"
        await put_customer(client, key, **settings)
        assert (await version_of(client, "scale", customer=key))[0] == expected
    await put_customer(client, "japan", currency="JPY")
    refused = problem(await subscribe(client, "scale", customer="japan"), 422, "no_segment")
    assert "scale-f (for region EU cohort founders in EUR)" in refused["detail"]
    await put_customer(client)
    answer = await subscribe(client, "scale", version=1)
    problem(answer, 422, "conflicting_fields")
    problem(await subscribe(client, "nothing"), 404, "not_found")


async def test_a_segment_belongs_to_one_plan_of_a_family(client: httpx.AsyncClient) -> None:
    segment = {"region": "eu"}
    await put(client, "a", fee("1", family="f", segment=segment))
    other = fee("2", family="f", segment={"region": "EU"})
    answer = await client.put("/v1/plans/b", json=other)
    refused = problem(answer, 422, "duplicate_segment")
    assert "Plan a of the family f" in refused["detail"]
    await put(client, "b", {**other, "currency": "EUR"})
    await put(client, "c", {**other, "family": "g"})
    # A plan may keep its own, and a retired one gives its segment up.
    await put(client, "a", fee("3", family="f", segment=segment))
    await client.post("/v1/plans/a/retire")
    await put(client, "d", other)
    problem(await client.post("/v1/plans/a/unretire"), 422, "duplicate_segment")
    # So does one whose next version has another, from then on.
    await put(client, "d", fee("2", family="f", segment={"region": "us"}), effective_at=APRIL)
    await put(client, "e", other, effective_at=APRIL)
    problem(await client.post("/v1/plans/a/unretire"), 422, "duplicate_segment")


async def test_segments_that_are_refused(client: httpx.AsyncClient) -> None:
    for fields, path, code in (
        ({"segment": {"region": "eu"}}, "family", "required"),
        ({"family": "f", "segment": {"region": ""}}, "segment.region", "invalid_text"),
        ({"family": "f", "segment": {"country": "DE"}}, "segment.country", "unknown_field"),
        ({"family": "f", "segment": {"cohort": 5}}, "segment.cohort", "invalid_text"),
        ({"family": "a b"}, "family", "invalid_key"),
    ):
        answer = await client.put("/v1/plans/p", json=fee("1", **fields))
        assert problem(answer, 422, code)["errors"][0]["path"] == path
