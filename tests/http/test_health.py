"""What operators and generators read: health, metrics, the OpenAPI document, and limits of all
routes.
"""

from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from taximeter.bootstrap import Instance
from taximeter.http.app import Application
from tests.http.api import client_for, event, problem, put_customer, put_meter, send


async def test_health_needs_no_key(instance: Instance) -> None:
    async with client_for(instance, None) as stranger:
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert (await stranger.get(path)).status_code == 200, path
        problem(await stranger.get("/metrics"), 401, "unauthorized")


async def test_an_instance_is_not_ready_without_its_migrations(
    instance: Instance, client: httpx.AsyncClient, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM _yoyo_migration")
    problem(await client.get("/readyz"), 503, "unavailable")
    assert (await client.get("/healthz")).status_code == 200


async def test_without_a_database_answers_are_503(
    instance: Instance, client: httpx.AsyncClient
) -> None:
    await instance.context.pool.close()
    stranger = {"Authorization": "Bearer tx_stranger"}  # whom only the database would know
    for answer in (
        await client.post("/v1/events", json=event("a"), headers=stranger),
        await client.post("/v1/holds/hold_1/release"),
        await client.get("/readyz"),
        await client.get("/v1/meters"),
        await client.put("/v1/customers/acme", json={}),
    ):
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_metrics_count_events_and_requests(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    sent = [event("a", n=1), event("b", n=1), event("a", n=1), event("c"), {"id": "d"}]
    await send(client, sent)
    await client.get("/v1/meters/tokens")
    await client.get("/v1/meters/none")
    await client.get("/somewhere/else")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    requests = 'taximeter_request_seconds_count{method="GET",route="%s",status="%s"} 1.0'
    for line in (
        'taximeter_events_total{status="accepted"} 2.0',
        'taximeter_events_total{status="duplicate"} 1.0',
        'taximeter_events_total{status="quarantined"} 1.0',
        'taximeter_events_total{status="invalid"} 1.0',
        "taximeter_events_waiting 0.0",
        "taximeter_commits_total 1.0",
        requests % ("/v1/meters/{key}", "200"),
        requests % ("/v1/meters/{key}", "404"),
        requests % ("none", "404"),
    ):
        assert line in lines, line


async def test_metrics_may_be_open(instance: Instance) -> None:
    app = Application(replace(instance.server, open_metrics=True))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://taximeter.test") as stranger:
        assert (await stranger.get("/metrics")).status_code == 200


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


# They write nothing, so there is nothing to do twice.
LOOKS = (
    "/preview", "/preview_change", "/preview_cancel", "/preview_migration", "/plans/check", "/diff",
    "/entitlements/check",
)  # fmt: skip


async def test_openapi_says_how_every_route_answers(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemes = document["components"]["securitySchemes"]
    assert document["security"] == [{name: []} for name in schemes]
    assert "HTTPValidationError" not in str(document)
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in operations(document):
        answers = operation["responses"]
        for status, answer in answers.items():
            kind = "application/problem+json" if int(status) >= 400 else "application/json"
            assert kind in answer["content"] or path == "/metrics", (path, method, status)
        if not path.startswith("/v1") or path == "/v1/schemas/plan.json":
            continue  # open
        assert {"401", "403", "429", "503"} <= answers.keys(), (path, method)
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= answers.keys(), (path, method)
        if method == "post" and not path.endswith(LOOKS):
            parameters = [parameter["name"] for parameter in operation["parameters"]]
            assert "Idempotency-Key" in parameters, path
            assert "409" in answers, path
        if "{" in path:
            assert "404" in answers, (path, method)
    events = document["paths"]["/v1/events"]
    assert set(events) == {"get", "post"}
    assert set(events["post"]["requestBody"]["content"]) == {
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/json",
    }


async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"name": "' + b"a" * (16 * 1024 * 1024) + b'"}'
    for method, path in (
        ("PUT", "/v1/meters/m"),
        ("PUT", "/v1/customers/acme"),
        ("POST", "/v1/api_keys"),
    ):
        problem(await client.request(method, path, content=body), 413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/%00", 404),
        ("GET", "/v1/%zz", 404),
        ("PATCH", "/v1/meters/m", 405),
        ("DELETE", "/v1/meters", 405),
        ("FOO", "/v1/meters", 405),
        ("PUT", "/v1/events", 405),
    ],
)
async def test_what_is_not_there_is_a_problem_document(
    shared: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await shared.request(method, path)
    problem(answer, status, "not_found" if status == 404 else "method_not_allowed")


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"name": "\xff"}', b"{", b"[" * 50_000, b"1e9999"])
async def test_a_body_that_is_no_json_is_malformed(shared: httpx.AsyncClient, body: bytes) -> None:
    answer = await shared.post(
        "/v1/api_keys", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
