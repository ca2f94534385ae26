"""`taximeter backfill` against a running server."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.command_line import run
from tests.serving import KEY, serving


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """A server on 10 March with one customer, who pays 1 for each of 5 calls."""
    options = ("--port", 0, "--sandbox", "--now", "2026-03-10T12:00:00Z")
    with serving(tmp_path / "log", *options, DATABASE_URL=database_url) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            price = {"key": "calls", "type": "usage", "meter": "calls", "model": "per_unit",
                     "unit": "1"}  # fmt: skip
            plan = {"key": "p", "name": "P", "currency": "USD", "period": "month"}
            meter = {"event_type": "call", "aggregation": "sum", "value": "q"}
            body = {"customer": "acme", "plan": "p", "starts_at": "2026-03-01T00:00:00Z"}
            event = {"id": "a", "type": "call", "subject": "acme", "data": {"q": 5},
                     "time": "2026-03-05T00:00:00Z"}  # fmt: skip
            for method, path, sent in (
                ("PUT", "/v1/meters/calls", meter),
                ("PUT", "/v1/plans/p", {**plan, "prices": [price]}),
                ("PUT", "/v1/customers/acme", {}),
                ("POST", "/v1/subscriptions", body),
                ("POST", "/v1/events", event),
            ):
                assert client.request(method, path, json=sent).is_success
        yield server.url


def test_from_a_file_to_the_invoice_and_back(url: str, tmp_path: Path) -> None:
    environment = {"TAXIMETER_URL": url, "TAXIMETER_API_KEY": KEY}

    def ok(*arguments: object) -> str:
        done = run("backfill", *arguments, **environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    span = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-10T00:00:00Z")
    made = ok("create", *span, "--type", "call", "--replace", "--reason", "wrong").strip()
    file = tmp_path / "usage.csv"
    file.write_text("at,n\n2026-03-02T10:00:00Z,3\n2026-03-03T10:00:00Z,4\n")
    how = ("--customer", "acme", "--type", "call", "--time-column", "at", "--map", "q=n")
    assert "accepted     2" in ok("load", made, file, *how)
    assert "duplicates   2" in ok("load", made, file, *how)
    # 5 calls give way to 3 + 4
    assert [line.split() for line in ok("preview", made).splitlines()[1:]] == [
        ["acme", "usage", "calls", "5", "7"],
        ["acme", "invoice", "upcoming", "USD", "5.00", "7.00"],
    ]
    asked = run("backfill", "apply", made, **environment)
    assert asked.exit_code == 1
    assert ok("apply", made, "--yes") == f"{made} applied: 1 voided, 2 added\n"
    assert json.loads(ok("show", made))["state"] == "applied"
    assert ok("revert", made, "--yes").startswith(f"{made} reverted")
    other = ok("create", "--kind", "meter", "--meter", "calls", *span[:2], "--reason", "r").strip()
    assert ok("discard", other) == f"{other} discarded\n"
    listed = [line.split()[:3] for line in ok("list").splitlines()[1:]]
    assert listed == [[other, "discarded", "meter"], [made, "reverted", "events"]]
