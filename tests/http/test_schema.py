"""The OpenAPI document against the instance: every operation of it, with what it says is right and
with what it says is wrong. No 5xx, and answers are as the document says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup

from tests.serving import KEY, serving

PER_EVENT = "POST /v1/events"  # 200, and what is wrong with each event
EXAMPLES = settings(
    max_examples=12, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "negative_data_rejection",
    "unsupported_method", "ignored_auth", "allow_header_conformance",
]  # fmt: skip


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Where an instance answers that holds a bit of everything."""
    with serving(tmp_path / "log", "--port", 0, DATABASE_URL=database_url) as server:
        prepare(server.url)
        yield server.url


def prepare(url: str) -> None:
    """A customer with a meter, a plan, a subscription, a grant, usage and an invoice."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:
        for method, path, body in [
            ("PUT", "/v1/customers/acme", {"name": "Acme"}),
            ("PUT", "/v1/meters/tokens", {"event_type": "call", "aggregation": "sum", "value": "n"}),
            ("PUT", "/v1/plans/p", {"currency": "USD", "period": "month", "prices": [
                {"key": "fee", "type": "flat", "amount": "10"},
                {"key": "use", "type": "usage", "meter": "tokens", "model": "per_unit", "unit": "1"},
            ]}),
            ("POST", "/v1/subscriptions", {"customer": "acme", "plan": "p"}),
            ("POST", "/v1/grants", {
                "customer": "acme", "asset": "USD", "kind": "paid", "amount": "5",
            }),
            ("POST", "/v1/events", {"id": "a", "type": "call", "subject": "acme",
                                    "data": {"n": 1}}),
        ]:  # fmt: skip
            assert client.request(method, path, json=body).is_success, path


def operations(schema: Any) -> list[Any]:
    """Every operation that the document describes."""
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation(url: str, mode: GenerationMode) -> None:
    checks.load_all_checks()
    per_event = [name for name in CHECKS if name != "negative_data_rejection"]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    faults = []
    with requests.Session() as session:
        for operation in operations(schema):
            names = per_event if operation.label == PER_EVENT else CHECKS
            chosen = checks.CHECKS.get_by_names(names)
            known = {parameter.name for parameter in operation.query}

            @EXAMPLES
            @given(operation.as_strategy(generation_mode=mode))
            def holds(case: schemathesis.Case) -> None:
                # A parameter that nobody reads does no harm, and a long address ends at the door.
                assume(known.issuperset(case.query or ()) and len(str(case.query)) < 4_000)
                case.call_and_validate(
                    checks=chosen, session=session, headers={"Authorization": f"Bearer {KEY}"}
                )

            try:
                holds()
            except Unsatisfiable:
                assert mode == GenerationMode.NEGATIVE, operation.label
            except FailureGroup as group:
                faults += [
                    f"{operation.label}: {one.title}: {one.message}" for one in group.exceptions
                ]
    assert not faults, "\n\n".join(faults)
