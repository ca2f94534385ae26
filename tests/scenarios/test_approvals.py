"""Approvals: holds over a budget's threshold wait for somebody, and pass as often as they said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest

from taximeter.bootstrap import Instance
from tests.http.api import client_for
from tests.scenarios.story import Json, Story
from tests.scenarios.test_holds import place


@pytest.fixture
async def agents(story: Story) -> Story:
    """acme has 1,000 USD; what agents do at once above 20 USD has to be approved."""
    await story.customer()
    await story.grant("1000")
    await budget(story, "agents", path="agents", approve_above="20")
    return story


@pytest.fixture
async def admins(agents: Story, instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """What acme's own admins reach, with their key."""
    body = {"name": "admins", "customer": "acme", "scopes": ["limits", "read"]}
    key = await agents.ask("POST", "/v1/api_keys", json=body)
    async with client_for(instance, key["secret"]) as client:
        yield client


async def budget(story: Story, name: str, limit: str = "500", **fields: Any) -> Json:
    body = {"asset": "USD", "window": "total", "limit": limit, **fields}
    return await story.ask("PUT", f"/v1/customers/acme/budgets/{name}", json=body)


async def job(story: Story, amount: str = "30", path: str = "agents/a", **fields: Any) -> Json:
    """Ask for a hold; the answer."""
    return await place(story, amount, path=path, **fields)


async def waiting(story: Story, amount: str = "30", **fields: Any) -> str:
    """The approval that a hold waits for."""
    refused = await job(story, amount, **fields)
    assert refused["reason"] == "approval_required", refused
    return str(refused["limit"]["approval"])


async def approve(story: Story, approval: str, **fields: Any) -> Json:
    return await story.ask("POST", f"/v1/approvals/{approval}/approve", json=fields)


async def decline(story: Story, approval: str) -> Json:
    return await story.ask("POST", f"/v1/approvals/{approval}/decline")


async def test_over_the_threshold_somebody_is_asked_once(agents: Story) -> None:
    """20 is not more than 20; 20.01 is. The same hold again waits for the same approval."""
    assert (await job(agents, "20"))["allowed"] is True
    assert (await job(agents, "30", path="people/kim"))["allowed"] is True
    refused = await job(agents, "20.01")
    (asked,) = await agents.everything("/v1/approvals", customer="acme", state="pending")
    assert refused == {
        "allowed": False, "reason": "approval_required",
        "limit": {
            "kind": "approval", "name": "agents", "path": "agents", "asset": "USD",
            "threshold": "20", "amount": "20.01", "set_by": "seller", "approval": asked["id"],
            "state": "pending", "approvals": [asked["id"]],
        },
    }  # fmt: skip
    assert await job(agents, "20.01") == refused
    assert await waiting(agents, "20.02") != asked["id"]
    assert await waiting(agents, "20.01", path="agents/b") != asked["id"]
    named = ("budget", "path", "feature", "amount", "threshold", "uses", "expires_at")
    assert [asked[name] for name in named] == [
        "agents", "agents/a", None, "20.01", "20", 0, "2026-01-08T00:00:00Z",
    ]  # fmt: skip
    assert len(await agents.everything("/v1/approvals")) == 3


async def test_an_approved_hold_passes_once(agents: Story) -> None:
    """30 was asked for, up to 40 is approved: 30 + 20 + 40 are held of 1,000."""
    approval = await waiting(agents)
    assert await waiting(agents, approval=approval) == approval
    found = await approve(agents, approval, amount="40", uses=2)
    assert (found["state"], found["allowed"], found["uses"]) == ("approved", "40", 2)
    assert found["expires_at"] == "2026-01-02T00:00:00Z"  # 86,400 s
    told = await job(agents)  # it has to be named
    assert (told["limit"]["approval"], told["limit"]["state"]) == (approval, "approved")
    first = await job(agents, approval=approval)
    assert (first["allowed"], first["available"]) == (True, "970")
    assert (await job(agents, "20", approval=approval))["allowed"] is True  # needs none
    assert await waiting(agents, "40.01", approval=approval) != approval
    assert await waiting(agents, "30", path="agents", approval=approval) != approval
    second = await job(agents, "40", path="agents/a/sub", approval=[approval])
    assert second["available"] == "910"
    shown = await agents.ask("GET", f"/v1/approvals/{approval}")
    assert (shown["state"], shown["used"]) == ("used", 2)
    assert shown["holds"] == sorted([first["id"], second["id"]])
    await agents.ask("POST", f"/v1/holds/{second['id']}/release", json={})
    again = await job(agents, approval=approval)  # a hold that was released has used it
    assert (again["allowed"], again["limit"]["state"]) == (False, "pending")
    assert again["limit"]["approval"] != approval


async def test_ten_holds_at_once_and_one_use(agents: Story) -> None:
    approval = await waiting(agents)
    await approve(agents, approval)
    found = await asyncio.gather(*(job(agents, approval=approval) for _ in range(10)))
    assert [one["allowed"] for one in found].count(True) == 1
    others = {one["limit"]["approval"] for one in found if not one["allowed"]}
    assert len(others) == 1  # what they wait for now is one, too
    assert others != {approval}
    # Whoever declines beside them comes between: it is used at most as often as allowed.
    (other,) = others
    await approve(agents, other, uses=3)
    async with asyncio.TaskGroup() as tasks:
        holds = [tasks.create_task(job(agents, approval=other)) for _ in range(8)]
        declined = tasks.create_task(agents.client.post(f"/v1/approvals/{other}/decline"))
    assert declined.result().status_code in (200, 409)  # before all three were used, or after
    placed = sum(hold.result()["allowed"] for hold in holds)
    shown = await agents.ask("GET", f"/v1/approvals/{other}")
    assert placed == shown["used"] == len(shown["holds"]) <= 3


async def test_a_batch_uses_an_approval_for_what_is_placed(agents: Story) -> None:
    """All or nothing: what is not placed uses nothing. One by one: the first of each use."""
    approval = await waiting(agents)
    await approve(agents, approval)

    async def batch(mode: str, **fields: Any) -> list[Json]:
        hold = {"customer": "acme", "asset": "USD", "amount": "30", "path": "agents/a"}
        holds = [{**hold, "approval": approval}, {**hold, "approval": approval, **fields}]
        body = {"mode": mode, "holds": holds}
        answers: list[Json] = (await agents.ask("POST", "/v1/holds/batch", json=body))["data"]
        return answers

    answers = await batch("all_or_nothing")
    assert [one["reason"] for one in answers] == ["approval_required"] * 2
    assert [one["limit"]["state"] for one in answers] == ["approved"] * 2  # there is one use left
    assert answers[0]["limit"]["refused_hold"] == 1
    assert [one["allowed"] for one in await batch("independent")] == [True, False]


async def test_all_other_limits_still_bind(agents: Story) -> None:
    """Nobody is asked for what cannot be: 500 in all is the budget, 1,000 the wallet."""
    assert (await job(agents, "501"))["reason"] == "budget_exceeded"
    await budget(agents, "agents", limit="5000", path="agents", approve_above="20")
    assert (await job(agents, "1001"))["reason"] == "insufficient_credits"
    assert await agents.everything("/v1/approvals") == []
    approval = await waiting(agents, "900")
    await approve(agents, approval)
    await budget(agents, "agents", limit="800", path="agents", approve_above="20")
    refused = await job(agents, "900", approval=approval)
    assert (refused["reason"], refused["shortfall"]) == ("budget_exceeded", "100")
    shown = await agents.ask("GET", f"/v1/approvals/{approval}")
    assert (shown["state"], shown["used"]) == ("approved", 0)
    # A threshold binds on a soft budget of a soft customer, too; "0" is all that costs anything.
    await agents.customer(enforcement="soft")
    await budget(agents, "agents", "1", path="agents", enforcement="soft", approve_above="0")
    assert await waiting(agents, "0.01")
    assert (await place(agents, "5", path="people"))["allowed"] is True


async def test_nested_thresholds_each_want_their_own(agents: Story) -> None:
    await budget(agents, "everything", approve_above="25")
    refused = await job(agents, "30")
    first, second = refused["limit"]["approvals"]
    assert (refused["limit"]["name"], refused["limit"]["approval"]) == ("agents", first)
    await approve(agents, first)
    then = await job(agents, "30", approval=first)
    assert (then["limit"]["name"], then["limit"]["approvals"]) == ("everything", [second])
    await approve(agents, second)
    assert (await job(agents, "30", approval=[first, second]))["allowed"] is True
    for one in (first, second):
        assert (await agents.ask("GET", f"/v1/approvals/{one}"))["state"] == "used"


async def test_a_decision_is_made_once_and_told(agents: Story, database_url: str) -> None:
    approval = await waiting(agents)
    path = f"/v1/approvals/{approval}"
    less = {"amount": "29.99"}
    assert await agents.refused("POST", f"{path}/approve", json=less) == (422, "out_of_range")
    declined = await decline(agents, approval)
    assert await decline(agents, approval) == declined
    # For the rest of the 7 days nobody is asked again.
    told = await job(agents)
    assert (told["limit"]["approval"], told["limit"]["state"]) == (approval, "declined")
    approved = await approve(agents, approval, ttl_s=60)
    assert await approve(agents, approval, ttl_s=60) == approved
    assert await agents.refused("POST", f"{path}/approve", json={"uses": 2}) == (
        409, "invalid_state",
    )  # fmt: skip
    await decline(agents, approval)  # what was approved is taken back, for good
    assert (await job(agents, approval=approval))["limit"]["state"] == "declined"
    assert await agents.refused("POST", f"{path}/approve") == (409, "invalid_state")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT type, body FROM outbox ORDER BY seq").fetchall()
        audited = connection.execute(
            "SELECT action FROM audit WHERE object = %s ORDER BY at, id", [approval]
        ).fetchall()
    assert [row[0] for row in rows] == [
        "approval.requested", "approval.declined", "approval.approved", "approval.declined",
    ]  # fmt: skip
    assert f'"id":"{approval}"' in rows[0][1]
    assert [row[0] for row in audited] == [row[0] for row in rows[1:]]


async def test_what_is_not_decided_or_used_ends(agents: Story) -> None:
    first = await waiting(agents)
    await agents.advance("2026-01-07T23:59:59Z")
    assert await waiting(agents) == first
    await agents.advance("2026-01-08T00:00:00Z")
    assert await agents.refused("POST", f"/v1/approvals/{first}/approve") == (409, "invalid_state")
    assert await agents.refused("POST", f"/v1/approvals/{first}/decline") == (409, "invalid_state")
    second = await waiting(agents)
    assert second != first
    await approve(agents, second, ttl_s=60)
    await agents.advance("2026-01-08T00:01:00Z")
    third = await waiting(agents, approval=second)
    assert third not in (first, second)
    await approve(agents, third, ttl_s=60)
    await decline(agents, third)  # for the rest of its 7 days, not of the minute
    await agents.advance("2026-01-08T00:03:00Z")
    assert await waiting(agents) == third
    for state, ids in (("expired", [second, first]), ("approved", []), ("used", [])):
        listed = await agents.everything("/v1/approvals", state=state)
        assert [one["id"] for one in listed] == ids


async def test_a_customer_decides_about_its_own_thresholds(
    agents: Story, admins: httpx.AsyncClient, instance: Instance
) -> None:
    sellers = await waiting(agents)
    found = await admins.post(f"/v1/approvals/{sellers}/approve")
    assert (found.status_code, found.json()["code"]) == (403, "set_by_seller")
    team = {"path": "team", "asset": "USD", "window": "total", "limit": "500",
            "approve_above": "5"}  # fmt: skip
    assert (await admins.put("/v1/customers/acme/budgets/team", json=team)).status_code == 201
    own = await waiting(agents, "6", path="team/a")
    found = await admins.post(f"/v1/approvals/{own}/approve", json={"uses": 2})
    assert (found.status_code, found.json()["state"]) == (200, "approved")
    assert (await job(agents, "6", path="team/a", approval=own))["allowed"] is True
    # The seller takes the threshold over: what the customer approved does not pass it.
    await agents.ask("PUT", "/v1/customers/acme/budgets/team", json=team)
    assert (await job(agents, "6", path="team/a", approval=own))["allowed"] is False
    # Another customer's approval is nobody else's, and passes nothing.
    await agents.customer("other")
    hidden = f"/v1/approvals/{sellers}"
    body = {"name": "o", "customer": "other", "scopes": ["limits", "read"]}
    key = await agents.ask("POST", "/v1/api_keys", json=body)
    async with client_for(instance, key["secret"]) as others:
        assert (await others.get(hidden)).status_code == 404
        assert (await others.post(f"{hidden}/decline")).status_code == 404
        assert (await others.get("/v1/approvals")).json()["data"] == []
        listed = await others.get("/v1/approvals", params={"customer": "acme"})
        assert listed.status_code == 404


async def test_how_many_wait_is_bounded(agents: Story) -> None:
    """Above 1,000 that wait nobody is asked: the refusal names no approval."""
    holds = [
        {"customer": "acme", "asset": "USD", "amount": f"30.{n:04}", "path": "agents/a"}
        for n in range(1000)
    ]
    body = {"mode": "independent", "holds": holds}
    answers = (await agents.ask("POST", "/v1/holds/batch", json=body))["data"]
    assert len({one["limit"]["approval"] for one in answers}) == 1000
    limit = (await job(agents, "40"))["limit"]
    assert (limit["approval"], limit["state"], limit["approvals"]) == (None, None, [])
    await decline(agents, await waiting(agents, "30"))
    assert await waiting(agents, "40")


@pytest.mark.parametrize(
    ("approval", "code"), [(7, "invalid"), (["a"] * 11, "too_many"), ("", "invalid_text")]
)
async def test_an_approval_is_named_by_ids(agents: Story, approval: Any, code: str) -> None:
    body = {"customer": "acme", "asset": "USD", "amount": "1", "approval": approval}
    assert await agents.refused("POST", "/v1/holds", json=body) == (422, code)
