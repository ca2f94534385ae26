"""`taximeter approval` against a running server."""

from pathlib import Path

import httpx

from tests.cli.command_line import run
from tests.serving import KEY, serving


def test_what_waits_is_listed_and_decided(database_url: str, tmp_path: Path) -> None:
    budget = {"asset": "USD", "limit": "100", "window": "total", "approve_above": "20"}
    holds = [{"customer": "acme", "asset": "USD", "amount": amount} for amount in ("30", "40")]
    options = ("--port", 0, "--sandbox", "--now", "2026-03-10T12:00:00Z")
    with serving(tmp_path / "log", *options, DATABASE_URL=database_url) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            client.put("/v1/customers/acme", json={})
            client.put("/v1/customers/acme/budgets/all", json=budget)
            answers = [client.post("/v1/holds", json=hold).json() for hold in holds]
            first, second = (answer["limit"]["approval"] for answer in answers)

            def ok(*arguments: object) -> str:
                environment = {"TAXIMETER_URL": server.url, "TAXIMETER_API_KEY": KEY}
                done = run("approval", *arguments, **environment)
                assert done.exit_code == 0, done.output
                return done.stdout

            listed = ok("list", "--customer", "acme", "--state", "pending").splitlines()[1:]
            assert [line.split()[0] for line in listed] == [second, first]
            approved = ok("approve", first, "--amount", "50", "--uses", "2", "--ttl", "60")
            assert approved == (
                f"{first} approved: 2 of at most 50 USD each, until 2026-03-10T12:01:00Z\n"
            )
            assert ok("decline", second) == f"{second} declined\n"
            placed = client.post("/v1/holds", json={**holds[0], "approval": first}).json()
            assert placed["allowed"] is True
