"""API keys: what is shown of them, what they may do, and their end."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from taximeter.bootstrap import Instance
from tests.http.api import NOW, client_for, event, get, problem, put_customer, put_meter

BODY = {"name": "app", "scopes": ["ingest", "read"]}


async def test_a_secret_is_shown_once(client: httpx.AsyncClient, database_url: str) -> None:
    made = await client.post("/v1/api_keys", json=BODY, headers={"idempotency-key": "k1"})
    assert made.status_code == 201
    shown = made.json()
    secret = shown.pop("secret")
    assert shown == {
        "id": shown["id"], **BODY, "customer": None,
        "created_at": "2026-03-10T12:00:00Z", "expires_at": None, "revoked_at": None,
        "rate_limit": None, "path": None,
    }  # fmt: skip
    assert secret.startswith("tx_")

    again = await client.post("/v1/api_keys", json=BODY, headers={"idempotency-key": "k1"})
    assert (again.status_code, again.json()) == (201, shown)
    assert again.headers["idempotent-replay"] == "true"
    assert (await get(client, "/v1/api_keys"))["data"] == [shown]

    with psycopg.connect(database_url) as connection:
        for table in ("api_key", "idempotency", "audit"):
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            assert rows
            found = [row[0] for row in rows if secret in row[0] or secret.encode().hex() in row[0]]
            assert found == []


async def test_a_key_does_what_its_scopes_say(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    made = await client.post("/v1/api_keys", json={"name": "in", "scopes": ["ingest", "ingest"]})
    assert made.json()["scopes"] == ["ingest"]
    async with client_for(instance, made.json()["secret"]) as sender:
        assert (await sender.post("/v1/events", json=[event("a", n=1)])).status_code == 200
        for answer in (
            await sender.get("/v1/events"),
            await sender.get("/v1/api_keys"),
            await sender.put("/v1/meters/m", json={}),
            await sender.post("/v1/events/release", json={}),
        ):
            problem(answer, 403, "forbidden")


async def test_a_revoked_key_is_dead(client: httpx.AsyncClient, instance: Instance) -> None:
    made = await client.post("/v1/api_keys", json=BODY)
    key_id, secret = made.json()["id"], made.json()["secret"]
    revoked = await client.delete(f"/v1/api_keys/{key_id}")
    assert (revoked.status_code, revoked.json()["revoked_at"]) == (200, "2026-03-10T12:00:00Z")
    async with client_for(instance, secret) as gone:
        problem(await gone.get("/v1/meters"), 401, "unauthorized")
    again = await client.delete(f"/v1/api_keys/{key_id}")
    assert (again.status_code, again.json()) == (200, revoked.json())
    problem(await client.delete("/v1/api_keys/key_none"), 404, "not_found")
    problem(await client.delete("/v1/api_keys/%00"), 422, "invalid")


async def test_a_key_ends_by_itself(
    client: httpx.AsyncClient, instance: Instance, set_clock: Callable[[datetime], None]
) -> None:
    made = await client.post("/v1/api_keys", json={**BODY, "expires_at": "2026-03-10T13:00:00Z"})
    async with client_for(instance, made.json()["secret"]) as caller:
        assert (await caller.get("/v1/meters")).status_code == 200
        set_clock(NOW + timedelta(hours=1))
        problem(await caller.get("/v1/meters"), 401, "unauthorized")


async def test_keys_are_listed_by_age(client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await client.post("/v1/api_keys", json={**BODY, "name": name})
    first = await get(client, "/v1/api_keys", limit=2)
    second = await get(client, "/v1/api_keys", limit=2, cursor=first["next_cursor"])
    assert [key["name"] for key in first["data"] + second["data"]] == ["a", "b", "c"]


async def test_a_confined_key_takes_in_events_of_its_customer_alone(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_meter(client)
    for customer in ("acme", "other"):
        await put_customer(client, customer)
    made = await client.post("/v1/api_keys", json={**BODY, "customer": "acme"})
    async with client_for(instance, made.json()["secret"]) as confined:
        events = [event("a", n=1), event("b", n=1, customer="other")]
        answer = (await confined.post("/v1/events", json=events)).json()
        assert (answer["accepted"], answer["rejected"]) == (1, 1)
        found = await get(confined, "/v1/events")
        assert [(e["id"], e["subject"]) for e in found["data"]] == [("a", "acme")]
        problem(await confined.get("/v1/events?customer=other"), 404, "not_found")
        problem(await confined.get("/v1/events/b?customer=other"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"scopes": ["read"]}, "name", "missing"),
        ({"name": "a"}, "scopes", "missing"),
        ({"name": "", "scopes": ["read"]}, "name", "invalid"),
        ({"name": "a\x00", "scopes": ["read"]}, "name", "invalid"),
        ({"name": "a", "scopes": []}, "scopes", "invalid"),
        ({"name": "a", "scopes": ["root"]}, "scopes[0]", "invalid"),
        ({"name": "a", "scopes": ["read"], "secret": "x"}, "secret", "unknown_field"),
        ({"name": "a", "scopes": ["read"], "customer": "a/b"}, "customer", "invalid"),
        ({"name": "a", "scopes": ["admin"], "customer": "a"}, "scopes", "invalid_scope"),
        ({"name": "a", "scopes": ["read"], "expires_at": "soon"}, "expires_at", "invalid"),
        (
            {"name": "a", "scopes": ["read"], "expires_at": "2026-03-10T12:00:00Z"},
            "expires_at",
            "too_early",
        ),
    ],
)
async def test_a_key_in_error_is_refused_by_field(
    shared: httpx.AsyncClient, body: dict[str, Any], path: str, code: str
) -> None:
    answer = await shared.post("/v1/api_keys", json=body)
    assert answer.status_code == 422, answer.text
    assert [(e["path"], e["code"]) for e in answer.json()["errors"]] == [(path, code)]


async def test_a_key_that_asks_too_fast_is_told_to_wait(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    await put_meter(client)
    body = {**BODY, "rate_limit": {"requests": 3, "per": "hour"}}
    made = (await client.post("/v1/api_keys", json=body)).json()
    assert made["rate_limit"] == {"requests": 3, "per": "hour"}
    async with client_for(instance, made["secret"]) as caller:
        assert (await caller.get("/v1/meters")).status_code == 200
        assert (await caller.post("/v1/events", json=[event("a", n=1)])).status_code == 200
        # Two of 4 KiB would be four in all; they do not count, and one is still free.
        large = event("b", n=1, text="x" * 5_000)
        refused = await caller.post("/v1/events", json=[large])
        found = problem(refused, 429, "rate_limited")
        assert "may make 3 requests per hour" in found["detail"]
        # One flows in every 1,200 s.
        assert 1_190 <= int(refused.headers["retry-after"]) <= 1_200
        assert (await caller.get("/v1/meters")).status_code == 200
        problem(await caller.get("/v1/meters"), 429, "rate_limited")
        problem(await caller.post("/v1/events", json=[event("c", n=1)]), 429, "rate_limited")
    assert len((await get(client, "/v1/events"))["data"]) == 1
    # Others are not held up, and a rate is lifted again.
    lifted = await client.delete(f"/v1/api_keys/{made['id']}/rate_limit")
    assert (lifted.status_code, lifted.json()["rate_limit"]) == (200, None)
    slower = {"requests": 1, "per": "second"}
    again = await client.put(f"/v1/api_keys/{made['id']}/rate_limit", json=slower)
    assert (again.status_code, again.json()["rate_limit"]) == (200, slower)
    problem(await client.delete("/v1/api_keys/key_none/rate_limit"), 404, "not_found")
    wrong = {"requests": 0, "per": "second"}
    problem(await client.put(f"/v1/api_keys/{made['id']}/rate_limit", json=wrong), 422, "invalid")
