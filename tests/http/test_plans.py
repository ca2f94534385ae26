"""Plans: versions, dry runs and previews, with the figures of the published examples."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.http.api import get, problem, put_meter

T2: dict[str, Any] = {
    "name": "T2",
    "currency": "USD",
    "period": "month",
    "prices": [
        {"key": "platform", "type": "flat", "amount": "499.00", "timing": "advance"},
        {
            "key": "resolutions",
            "type": "usage",
            "meter": "resolutions",
            "model": "graduated",
            "tiers": [{"up_to": "5000", "unit": "0"}, {"unit": "0.30"}],
        },
    ],
}
T3: dict[str, Any] = {
    "name": "T3",
    "currency": "USD",
    "period": "month",
    "prices": [
        {
            "key": "video",
            "type": "usage",
            "meter": "minutes",
            "model": "dimensional",
            "dimensions": ["speed"],
            "rates": [
                {"match": {"speed": "fast"}, "unit": "1.00"},
                {"match": {"speed": "standard"}, "unit": "0.40"},
            ],
            "otherwise": "quarantine",
        }
    ],
}


def usage_plan(price: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A plan of one usage price `u` on the meter `u`."""
    prices = [{"key": "u", "type": "usage", "meter": "u", **price}]
    return {"name": "x", "currency": "USD", "period": "month", "prices": prices, **fields}


async def price_document(
    client: httpx.AsyncClient, document: dict[str, Any], **sample: Any
) -> dict[str, Any]:
    """The preview of a plan that is not published."""
    answer = await client.post("/v1/plans/preview", json={"document": document, **sample})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_plan_is_published_in_immutable_versions(client: httpx.AsyncClient) -> None:
    await put_meter(client, "resolutions")
    created = await client.put("/v1/plans/t2", json=T2)
    assert created.status_code == 201
    assert created.json() == {
        "key": "t2", "version": 1, "status": "active", "effective_at": "2026-03-10T12:00:00Z",
        "retired_at": None, **T2, "created_at": "2026-03-10T12:00:00Z",
    }  # fmt: skip

    platform = {**T2["prices"][0], "amount": 499}  # 499 and "499.00" mean the same
    again = await client.put("/v1/plans/t2", json={**T2, "prices": [platform, T2["prices"][1]]})
    assert (again.status_code, again.json()) == (200, created.json())

    dearer = {**T2["prices"][0], "amount": "599.00"}
    changed = await client.put("/v1/plans/t2", json={**T2, "prices": [dearer, T2["prices"][1]]})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)

    assert await get(client, "/v1/plans/t2") == changed.json()
    first = {**created.json(), "status": "superseded"}
    assert await get(client, "/v1/plans/t2", version=1) == first
    problem(await client.get("/v1/plans/t2?version=3"), 404, "not_found")


async def test_lists_of_plans_and_of_versions(client: httpx.AsyncClient) -> None:
    await put_meter(client, "resolutions")
    for name in ("one", "two", "three"):
        await client.put("/v1/plans/t2", json={**T2, "name": name})
    await client.put("/v1/plans/a", json=T2)
    plans = await get(client, "/v1/plans")
    assert [(plan["key"], plan["version"]) for plan in plans["data"]] == [("a", 1), ("t2", 3)]
    first = await get(client, "/v1/plans/t2/versions", limit=2)
    assert [plan["name"] for plan in first["data"]] == ["three", "two"]
    second = await get(client, "/v1/plans/t2/versions", limit=2, cursor=first["next_cursor"])
    assert [plan["name"] for plan in second["data"]] == ["one"]
    assert second["next_cursor"] is None
    problem(await client.get("/v1/plans/b/versions"), 404, "not_found")


async def test_a_dry_run_says_what_would_happen(client: httpx.AsyncClient) -> None:
    await put_meter(client, "resolutions")

    async def outcome(document: dict[str, Any]) -> tuple[str, int]:
        answer = await client.put("/v1/plans/t2?dry_run=true", json=document)
        assert answer.status_code == 200, answer.text
        assert answer.json()["dry_run"] is True
        return answer.json()["outcome"], answer.json()["version"]

    assert await outcome(T2) == ("created", 1)
    problem(await client.get("/v1/plans/t2"), 404, "not_found")
    await client.put("/v1/plans/t2", json=T2)
    assert await outcome(T2) == ("unchanged", 1)
    assert await outcome({**T2, "name": "New"}) == ("new_version", 2)
    assert (await get(client, "/v1/plans/t2"))["name"] == "T2"
    answer = await client.put("/v1/plans/t2?dry_run=true", json={**T2, "period": "fortnight"})
    problem(answer, 422, "invalid_choice")


async def test_a_price_needs_a_meter_that_keeps_its_dimensions(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/plans/t2", json=T2)
    found = problem(answer, 422, "unknown_meter")
    assert [error["path"] for error in found["errors"]] == ["prices[1].meter"]

    await put_meter(client, "minutes", dimensions=["resolution"])
    found = problem(await client.put("/v1/plans/t3", json=T3), 422, "unknown_dimension")
    assert [error["path"] for error in found["errors"]] == ["prices[0].dimensions[0]"]
    await put_meter(client, "minutes", dimensions=["resolution", "speed"])
    assert (await client.put("/v1/plans/t3", json=T3)).status_code == 201


async def test_every_error_of_a_plan_is_named(client: httpx.AsyncClient) -> None:
    prices = [
        {"key": "a", "type": "flat", "amount": "1.00000000000001"},
        {"key": "a", "type": "flat", "amount": 1.5},
        {"key": "b", "type": "flat", "amount": "1", "colour": "red"},
    ]
    answer = await client.put("/v1/plans/x", json={**T2, "key": "y", "prices": prices})
    problem(answer, 422, "invalid_key")
    answer = await client.put("/v1/plans/x", json={**T2, "prices": prices})
    found = {(e["path"], e["code"]) for e in problem(answer, 422, "invalid")["errors"]}
    assert found == {
        ("prices[0].amount", "invalid_number"),
        ("prices[1].amount", "invalid_number"),
        ("prices[1].key", "duplicate"),
        ("prices[2].colour", "unknown_field"),
    }


@pytest.mark.parametrize(
    ("unit", "used", "total"),
    [
        ("0.30", "4999", "499.00"),
        ("0.30", "5000", "499.00"),
        ("0.30", "5001", "499.30"),
        ("0.30", "5250", "574.00"),  # 499 + 250 x 0.30
        ("0.99", "5001", "499.99"),
        ("0.99", "5250", "746.50"),  # 499 + 250 x 0.99
    ],
)
async def test_t2_previews(shared: httpx.AsyncClient, unit: str, used: str, total: str) -> None:
    await put_meter(shared, "resolutions")
    tiers = [{"up_to": "5000", "unit": "0"}, {"unit": unit}]
    plan = {**T2, "prices": [T2["prices"][0], {**T2["prices"][1], "tiers": tiers}]}
    await shared.put("/v1/plans/t2", json=plan)
    answer = await shared.post("/v1/plans/t2/preview", json={"usage": {"resolutions": used}})
    assert (answer.status_code, answer.json()["total"]) == (200, total)
    lines = answer.json()["lines"]
    assert [line["price"] for line in lines] == ["platform", "resolutions"]
    assert lines[0]["amount"] == "499.00"
    steps = sum((Decimal(step["amount"]) for step in lines[1]["steps"]), Decimal(0))
    assert steps == Decimal(lines[1]["amount"])
    assert answer.json()["credits"] == []


@pytest.mark.parametrize(
    ("otherwise", "turbo", "total"),
    [("quarantine", "0", "20.00"), ("zero", "10", "20.00"), ({"unit": "0.70"}, "10", "27.00")],
)
async def test_t3_previews(
    shared: httpx.AsyncClient, otherwise: object, turbo: str, total: str
) -> None:
    # 10 fast at 1.00 and 25 standard at 0.40 are 20.00; 10 turbo are 0.00, or 7.00 at 0.70.
    used = [
        {"dimensions": {"speed": "fast"}, "quantity": "10"},
        {"dimensions": {"speed": "standard"}, "quantity": "25"},
    ]
    if turbo != "0":
        used.append({"dimensions": {"speed": "turbo"}, "quantity": turbo})
    plan = {**T3, "key": "t3", "prices": [{**T3["prices"][0], "otherwise": otherwise}]}
    shown = await price_document(shared, plan, usage={"video": used})
    assert shown["total"] == total
    rates = [line["rate"] for line in shown["lines"]]
    assert rates[:2] == [{"speed": "fast"}, {"speed": "standard"}]


async def test_usage_that_would_be_quarantined_is_no_preview(shared: httpx.AsyncClient) -> None:
    used = [{"dimensions": {"speed": "turbo"}, "quantity": "10"}]
    body = {"document": {**T3, "key": "t3"}, "usage": {"video": used}}
    found = problem(await shared.post("/v1/plans/preview", json=body), 422, "no_rate")
    assert [error["path"] for error in found["errors"]] == ["usage.video[0].dimensions"]


@pytest.mark.parametrize(
    ("used", "started", "exact"),
    [
        ("1000000", "0.00", "0.00"),
        ("1000001", "0.10", "0.00"),
        ("1234567", "23.50", "23.46"),  # 235 packages x 0.10; 234.567 x 0.10
    ],
)
async def test_t5_previews(shared: httpx.AsyncClient, used: str, started: str, exact: str) -> None:
    common = {"type": "usage", "meter": "tokens"}
    package = {"model": "package", "amount": "0.10", "size": "1000", "free": "1000000"}
    unit = {"model": "per_unit", "unit": "0.10", "per": "1000", "included": "1000000"}
    plan = {
        "key": "t5", "name": "T5", "currency": "USD", "period": "month",
        "prices": [
            {"key": "started", **common, **package},
            {"key": "exact", **common, **unit},
        ],
    }  # fmt: skip
    shown = await price_document(shared, plan, usage={"started": used, "exact": used})
    assert [line["amount"] for line in shown["lines"]] == [started, exact]
    assert Decimal(shown["subtotal"]) == Decimal(started) + Decimal(exact)


@pytest.mark.parametrize(
    ("currency", "minimum", "used", "amount", "true_up"),
    [
        ("USD", "1000", "749.996", "750.00", "250.00"),
        ("JPY", "10000", "8500.5", "8501", "1499"),
        ("USD", "10", "9.997", "10.00", None),
        ("BHD", "0", "1.0005", "1.001", None),
        ("USD", "10", "10.275", "10.28", None),
    ],
)
async def test_lines_are_rounded_once_and_topped_up_to_the_minimum(
    shared: httpx.AsyncClient,
    currency: str,
    minimum: str,
    used: str,
    amount: str,
    true_up: str | None,
) -> None:
    plan = usage_plan(
        {"model": "per_unit", "unit": "1"}, key="x", currency=currency, minimum=minimum
    )
    shown = await price_document(shared, plan, usage={"u": used})
    lines = [(line["price"], line["amount"]) for line in shown["lines"]]
    assert lines == [("u", amount), *([(None, true_up)] if true_up else [])]
    assert Decimal(shown["total"]) == sum(Decimal(line["amount"]) for line in shown["lines"])


async def test_what_settles_from_a_wallet_is_no_part_of_the_total(
    shared: httpx.AsyncClient,
) -> None:
    wallet = {"type": "usage", "model": "per_unit", "asset": "credits", "settle": "wallet"}
    plan = {
        "key": "t1", "name": "T1", "currency": "USD", "period": "month",
        "prices": [
            {"key": "action", "meter": "action", "unit": "1", **wallet},
            {"key": "workflow", "meter": "workflow", "unit": "20", **wallet},
        ],
    }  # fmt: skip
    shown = await price_document(shared, plan, usage={"action": "400", "workflow": "480"})
    # 400 x 1 + 480 x 20 = 10,000 credits
    assert shown["credits"] == [{"asset": "credits", "amount": "10000"}]
    assert (shown["subtotal"], shown["total"]) == ("0.00", "0.00")
    assert [line["amount"] for line in shown["lines"]] == ["400", "9600"]


async def test_seats_are_priced_by_quantity(shared: httpx.AsyncClient) -> None:
    seats = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20.00"}
    plan = {**T2, "key": "t2", "prices": [T2["prices"][0], seats]}
    shown = await price_document(shared, plan, quantities={"seats": "5"})
    assert shown["total"] == "599.00"  # 499 + 5 x 20
    body = {"document": plan, "quantities": {"chairs": 5}}
    problem(await shared.post("/v1/plans/preview", json=body), 422, "unknown_price")
    body = {"document": plan, "usage": {"seats": "5"}}
    problem(await shared.post("/v1/plans/preview", json=body), 422, "unknown_price")


@pytest.mark.parametrize(
    ("aggregation", "quantity"),
    [("sum", "1000000000000.0000021"), ("count", "1003"), ("max", "1000000000"), ("min", "0.7"),
     ("latest", "0.7"), ("unique", "2")],
)  # fmt: skip
async def test_single_events_are_read_as_the_meters_read_them(
    client: httpx.AsyncClient, aggregation: str, quantity: str
) -> None:
    fields = {} if aggregation == "count" else {"value": "n"}
    await put_meter(client, "u", aggregation=aggregation, filter={"ok": ["true"]}, **fields)
    plan = usage_plan({"model": "per_unit", "unit": "1"})
    await client.put("/v1/plans/x", json=plan)
    events = (
        b'{"events": [{"type": "call", "data": {"n": 1e9, "ok": true}, "count": "1000"},'
        b'{"type": "call", "data": {"n": 5, "ok": false}},'
        b'{"type": "call", "data": {"n": 0.0000007, "ok": true}, "count": 3}]}'
    )
    if aggregation in ("min", "latest"):
        events = events.replace(b"0.0000007", b"0.7")
    answer = await client.post("/v1/plans/x/preview", content=events)
    assert answer.status_code == 200, answer.text
    assert answer.json()["lines"][0]["quantity"] == quantity


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "other"}, "no_meter"),
        ({"type": "call", "data": {"speed": "fast"}}, "missing_value"),
        ({"type": "call", "data": {"speed": "fast", "n": "x"}}, "non_numeric_value"),
        ({"type": "call", "data": {"speed": "fast", "n": -1}}, "negative_value"),
        ({"type": "call", "data": {"speed": "turbo", "n": 1}}, "unmatched_dimension"),
        ({"type": "call", "data": {"speed": ["fast"], "n": 1}}, "invalid_dimension"),
    ],
)
async def test_events_that_would_be_quarantined_are_no_preview(
    shared: httpx.AsyncClient, event: dict[str, Any], code: str
) -> None:
    await put_meter(shared, "minutes", dimensions=["speed"])
    await shared.put("/v1/plans/t3", json=T3)
    good = {"type": "call", "data": {"n": 10, "speed": "fast"}}
    answer = await shared.post("/v1/plans/t3/preview", json={"events": [good, event]})
    found = problem(answer, 422, code)
    assert [error["path"] for error in found["errors"]] == ["events[1]"]
    answer = await shared.post("/v1/plans/t3/preview", json={"events": [good]})
    assert answer.json()["total"] == "10.00"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"usage": {"resolutions": "1e3"}}, "usage.resolutions[0].quantity"),
        ({"usage": {"resolutions": 1.5}}, "usage.resolutions[0].quantity"),
        ({"usage": {"resolutions": [{"quantity": "1", "size": 1}]}}, "usage.resolutions[0].size"),
        ({"usage": []}, "usage"),
        ({"quantities": {"platform": "NaN"}}, "quantities.platform"),
        ({"used": {}}, "used"),
        ({"events": [{"type": "a", "count": "0"}]}, "events[0].count"),
        ({"events": [{"type": "a", "count": "1.5"}]}, "events[0].count"),
        ({"events": [{"type": "a\x00"}]}, "events[0].type"),
        ({"events": [{"type": "a", "data": {"n": 10**19}}]}, "events[0].data.n"),
        ({"events": [{"type": "a"}] * 1001}, "events"),
        ({"events": [{"type": "call"}], "usage": {"resolutions": "1"}}, "events"),
        ({"version": 0}, "version"),
        ({"version": 2**31}, "version"),
    ],
)
async def test_a_preview_in_error_is_refused_by_field(
    shared: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    await put_meter(shared, "resolutions")
    await shared.put("/v1/plans/t2", json=T2)
    answer = await shared.post("/v1/plans/t2/preview", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["path"] for error in answer.json()["errors"]] == [path]


async def test_a_preview_of_nothing(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/plans/t2/preview", json={}), 404, "not_found")
    answer = await client.post("/v1/plans/preview", json={"usage": {}})
    assert answer.status_code == 422
    assert "document" in {error["path"] for error in answer.json()["errors"]}
    problem(await client.get("/v1/plans/a%00"), 422, "invalid")
    problem(await client.get("/v1/plans/t2?version=99999999999999999999"), 422, "invalid")
