"""What HTTP tests say often: a client, a customer, a meter, some events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from taximeter.bootstrap import Instance

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ROOT_KEY = "tx_the-admin-key-of-tests"


def client_for(instance: Instance, secret: str | None) -> httpx.AsyncClient:
    """A client of the instance with this API key (None: without one)."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    transport = httpx.ASGITransport(instance.app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://taximeter.test", headers=headers)


async def put_customer(client: httpx.AsyncClient, key: str = "acme", **fields: Any) -> None:
    """Create or replace a customer."""
    answer = await client.put(f"/v1/customers/{key}", json=fields)
    assert answer.status_code in (200, 201), answer.text


async def put_meter(client: httpx.AsyncClient, key: str = "tokens", **fields: Any) -> None:
    """Create or change a meter; by default it sums `n` of events of the type `call`."""
    body = {"event_type": "call", "aggregation": "sum", "value": "n", **fields}
    if body["aggregation"] == "count":
        del body["value"]
    answer = await client.put(f"/v1/meters/{key}", json=body)
    assert answer.status_code in (200, 201), answer.text


def event(
    event_id: str, time: str | None = None, *, customer: str = "acme", kind: str = "call",
    **data: Any,
) -> dict[str, Any]:  # fmt: skip
    """An event; `data` is its data."""
    fields = {"id": event_id, "type": kind, "subject": customer, "data": data}
    return fields if time is None else {**fields, "time": time}


async def send(client: httpx.AsyncClient, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Send events; the counts of the answer."""
    answer = await client.post("/v1/events", json=list(events))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def get(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    """The JSON of a GET that must succeed."""
    answer = await client.get(path, params=parameters or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which must have this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["code"] == code, found
    assert found["status"] == status
    return found
