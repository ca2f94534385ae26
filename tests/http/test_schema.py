"""The OpenAPI document against the instance: every operation of it, with what it says is right and
with what it says is wrong. No 5xx, and answers are as the document says.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup

from tests.serving import KEY, serving

REJECTION = "negative_data_rejection"
# Of each operation on an object that is there (or where there is none to name), and on any other.
EXAMPLES, EXAMPLES_ELSEWHERE = 5, 2
EXAMPLE = settings(
    deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", REJECTION,
    "unsupported_method", "ignored_auth", "allow_header_conformance",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """Where an instance answers that holds a bit of everything, and what is there: the path
    parameters of each kind of object.
    """

    url: str
    there: Mapping[str, Mapping[str, str]]

    def parameters(self, path: str) -> list[tuple[dict[str, str] | None, int]]:
        """Those of an object that is there, if one is, and None (any); each with the number of
        examples that are worth trying.
        """
        kind = path.split("/")[2] if path.count("/") > 1 else ""
        found = self.there.get(kind, {})
        known = {name: value for name, value in found.items() if f"{{{name}}}" in path}
        return [(known, EXAMPLES), (None, EXAMPLES_ELSEWHERE)] if known else [(None, EXAMPLES)]


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A server with a customer, a meter, a plan, a subscription, a grant, usage and an invoice."""
    with serving(tmp_path / "log", "--port", 0, DATABASE_URL=database_url) as server:
        yield prepare(server.url)


def prepare(url: str) -> Site:
    fee = {"key": "fee", "type": "flat", "amount": "10"}
    use = {"key": "use", "type": "usage", "meter": "tokens", "model": "per_unit", "unit": "1"}
    usage = {"id": "a", "type": "call", "subject": "acme", "data": {"n": 1}}
    grant = {"customer": "acme", "asset": "USD", "kind": "paid", "amount": "5"}
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:

        def ask(method: str, path: str, body: object = None) -> Any:
            answer = client.request(method, path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

        ask("PUT", "/v1/customers/acme", {"name": "Acme"})
        ask("PUT", "/v1/meters/tokens", {"event_type": "call", "aggregation": "sum", "value": "n"})
        ask("PUT", "/v1/plans/p", {"currency": "USD", "period": "month", "prices": [fee, use]})
        subscription = ask("POST", "/v1/subscriptions", {"customer": "acme", "plan": "p"})
        granted = ask("POST", "/v1/grants", grant)
        ask("POST", "/v1/events", usage)
        [invoice] = ask("GET", "/v1/invoices")["data"]
    return Site(url, {
        "customers": {"key": "acme"}, "meters": {"key": "tokens"}, "plans": {"key": "p"},
        "subscriptions": {"id": subscription["id"]}, "grants": {"id": granted["id"]},
        "invoices": {"id": invoice["id"], "line": "line_1"}, "events": {"id": "a"},
    })  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation(site: Site, mode: GenerationMode) -> None:
    checks.load_all_checks()
    schema = schemathesis.openapi.from_url(f"{site.url}/openapi.json")
    operations: list[Any] = [cast("Any", found).ok() for found in schema.get_all_operations()]
    assert len(operations) > 25
    faults = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        for operation in operations:
            for there, examples in site.parameters(operation.path):
                faults += faults_of(operation, mode, session, there, examples)
    assert not faults, "\n\n".join(faults)


def faults_of(
    operation: Any,
    mode: GenerationMode,
    session: requests.Session,
    there: dict[str, str] | None,
    examples: int,
) -> list[str]:
    """What is wrong with the answers of one operation, on any object or on one that is `there`."""
    names = [name for name in CHECKS if name != REJECTION or rejects(operation)]
    chosen: Any = checks.CHECKS.get_by_names(names)
    known = {parameter.name for parameter in operation.query}

    @settings(EXAMPLE, max_examples=examples)
    @given(operation.as_strategy(generation_mode=mode, path_parameters=there))
    def holds(case: Any) -> None:
        # A parameter that nobody reads does no harm, and a long address ends at the door.
        assume(known.issuperset(case.query or ()) and len(str(case.query)) < 4_000)
        case.call_and_validate(checks=chosen, session=session)

    try:
        holds()
    except Unsatisfiable:
        assert mode == GenerationMode.NEGATIVE, operation.label
    except FailureGroup as group:
        return [f"{operation.label}: {one.title}: {one.message}" for one in group.exceptions]
    return []


def rejects(operation: Any) -> bool:
    """Whether a body that is wrong must be refused as a whole. Of events each is judged alone; in
    an address a list of one is the same as the one.
    """
    return bool(operation.method != "get" and operation.label != "POST /v1/events")
