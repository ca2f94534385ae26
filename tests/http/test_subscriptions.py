"""Subscriptions over HTTP: what is refused, and how it is told."""

from typing import Any

import httpx
import pytest

TIERS = [{"up_to": "10", "unit": "0"}, {"unit": "2"}]
PRICES = [
    {"key": "fee", "type": "flat", "amount": "10.00"},
    {"key": "calls", "type": "usage", "meter": "calls", "model": "graduated", "tiers": TIERS},
    {
        "key": "tokens", "type": "usage", "meter": "calls", "model": "dimensional",
        "dimensions": ["model"], "rates": [{"match": {"model": "a"}, "unit": "1"}],
    },
]  # fmt: skip


@pytest.fixture
async def ready(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A customer, a meter and a plan."""
    meter = {"event_type": "calls", "aggregation": "sum", "value": "q", "dimensions": ["model"]}
    plan = {"currency": "USD", "period": "month", "prices": PRICES, "trial_days": 7}
    for path, body in (
        ("/v1/customers/acme", {}), ("/v1/meters/calls", meter), ("/v1/plans/p", plan),
    ):  # fmt: skip
        assert (await client.put(path, json=body)).status_code == 201
    return client


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"overrides": {"nope": {"unit": "1"}}}, "overrides.nope", "unknown_price"),
        ({"overrides": {"calls": {"asset": "EUR"}}}, "overrides.calls.asset", "not_overridable"),
        (
            {"overrides": {"calls": {"tiers": [{"unit": "-1"}]}}},
            "overrides.calls.tiers[0].unit",
            "out_of_range",
        ),
        (
            {"overrides": {"calls": {"tiers": [{"unit": 0.1}]}}},
            "overrides.calls.tiers[0].unit",
            "invalid_number",
        ),
        (
            {"overrides": {"tokens": {"dimensions": ["model", "region"]}}},
            "overrides.tokens.dimensions[1]",
            "unknown_dimension",
        ),
        (
            {"phases": [{"after": "P1M", "overrides": {"fee": {"unit": "1"}}}]},
            "phases[0].overrides.fee.unit",
            "unknown_field",
        ),
        (
            {"phases": [{"after": "P2M"}, {"after": "P1M"}]},
            "phases[1].after",
            "phase_order",
        ),
        ({"term": "P1M", "phases": [{"after": "P1M"}]}, "phases[0].after", "too_late"),
        ({"anchor": "2026-01-01", "align": "calendar"}, "align", "conflicting_fields"),
        ({"term": "P1Y", "ends_at": "2099-01-01T00:00:00Z"}, "term", "conflicting_fields"),
    ],
)
async def test_what_is_wrong_is_named(
    ready: httpx.AsyncClient, fields: dict[str, Any], path: str, code: str
) -> None:
    body = {"customer": "acme", "plan": "p", **fields}
    answer = await ready.post("/v1/subscriptions", json=body)
    assert answer.status_code == 422, answer.text
    assert [(one["path"], one["code"]) for one in answer.json()["errors"]] == [(path, code)]


@pytest.mark.parametrize(
    "fields",
    [
        {"overrides": {"calls": 5}},
        {"phases": [{"adjust_percent": "5"}]},
        {"phases": [{"after": "soon"}]},
        {"phases": [{"after": "P1M", "adjust_percent": "-101"}]},
        {"phases": [{"after": "P1M", "colour": "red"}]},
        {"trial_days": 367},
        {"align": "moon"},
    ],
)
async def test_what_is_malformed_is_refused(
    ready: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    answer = await ready.post("/v1/subscriptions", json={"customer": "acme", "plan": "p", **fields})
    assert answer.status_code == 422, answer.text


async def test_an_answer_shows_the_terms_of_each_phase(ready: httpx.AsyncClient) -> None:
    own = {"fee": {"amount": "12.00"}}
    body = {
        "customer": "acme", "plan": "p", "overrides": own, "starts_at": "2026-01-01T00:00:00Z",
        "phases": [{"after": "P1Y", "adjust_percent": "5"}],
    }  # fmt: skip
    answer = await ready.post("/v1/subscriptions", json=body)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["overrides"], found["trial_ends_at"]) == (own, "2026-01-08T00:00:00Z")
    assert [
        (phase["status"], phase["overrides"], phase["adjust_percent"]) for phase in found["phases"]
    ] == [("trialing", own, None), ("active", own, None), ("active", own, "5")]
    again = await ready.get(f"/v1/subscriptions/{found['id']}")
    assert again.json() == found


async def test_a_refused_change_writes_nothing(ready: httpx.AsyncClient) -> None:
    body = {"customer": "acme", "plan": "p"}
    found = (await ready.post("/v1/subscriptions", json=body)).json()
    path = f"/v1/subscriptions/{found['id']}"
    wrong = {"overrides": {"fee": {"amount": "x"}}}
    answer = await ready.post(f"{path}/change", json=wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_number")
    assert (await ready.get(path)).json() == found
    assert (await ready.post(f"{path}/resume", json={})).json()["code"] == "invalid_state"
    assert (await ready.post("/v1/subscriptions/sub_none/pause", json={})).status_code == 404
