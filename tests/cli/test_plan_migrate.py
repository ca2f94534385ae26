"""`taximeter plan migrate` against a running server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.command_line import run
from tests.serving import KEY, serving

PLAN = {"key": "api", "name": "API", "currency": "USD", "period": "month"}


def base(amount: str) -> dict[str, object]:
    """The plan with this monthly fee."""
    price = {"key": "base", "type": "flat", "amount": amount}
    return {**PLAN, "prices": [price]}


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """A server with two customers on version 1 of a plan that has two."""
    options = ("--port", 0, "--sandbox", "--now", "2026-03-10T12:00:00Z")
    with serving(tmp_path / "log", *options, DATABASE_URL=database_url) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            assert client.put("/v1/plans/api", json=base("100.00")).is_success
            for customer in ("a", "b"):
                assert client.put(f"/v1/customers/{customer}", json={}).is_success
                body = {"customer": customer, "plan": "api"}
                assert client.post("/v1/subscriptions", json=body).is_success
            assert client.put("/v1/plans/api", json=base("110.00")).is_success
        yield server.url


def test_the_list_the_move_and_nothing_twice(url: str) -> None:
    environment = {"TAXIMETER_URL": url, "TAXIMETER_API_KEY": KEY}
    listed = run("plan", "migrate", "api", "--to-version", 2, "--dry-run", **environment)
    assert listed.exit_code == 0, listed.output
    header, first, _, sums = listed.stdout.splitlines()
    assert header.split() == ["CUSTOMER", "SUBSCRIPTION", "FROM", "TO", "BEFORE", "AFTER",
                              "DIFFERENCE", "%", "NOTE"]  # fmt: skip
    # 110 - 100 = 10 more, of 100
    cells = first.split()
    assert (cells[0], cells[2:]) == ("a", ["api", "1", "api", "2", "100.00", "110.00", "10.00",
                                           "10"])  # fmt: skip
    assert sums == (
        "2 to move: 200.00 USD a period before, 220.00 after (+20.00); 2 pay more, 0 less, "
        "0 the same"
    )
    asked = run("plan", "migrate", "api", "--to-version", 2, **environment)
    assert asked.exit_code == 1
    moved = run("plan", "migrate", "api", "--to-version", 2, "--at", "now", "--yes", **environment)
    assert moved.exit_code == 0, moved.output
    assert moved.stdout.splitlines()[-1] == "2 moved, 0 there already, 0 left alone"
    again = run("plan", "migrate", "api", "--to-version", 2, "--yes", **environment)
    assert (again.exit_code, again.stdout) == (0, "Nothing is to be moved.\n")


def test_who_cannot_be_moved_is_told(url: str) -> None:
    environment = {"TAXIMETER_URL": url, "TAXIMETER_API_KEY": KEY}
    early = "2026-03-01T00:00:00Z"
    result = run("plan", "migrate", "api", "--at", early, "--yes", **environment)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "0 moved, 0 there already, 2 left alone"
    assert result.stderr.count("too_early") == 2
