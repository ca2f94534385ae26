"""Outcomes by HTTP: who may decide, what is refused, what the same again answers, and races."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.services.due import run_due
from tests.http.api import NOW, client_for, event, get, problem, put_customer, put_meter, send
from tests.http.credit import balance, give, put_wallet_price

DECISION = {"customer": "acme", "reason": "so it was"}


@pytest.fixture
async def ready(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Acme pays 1 USD from a wallet of 100 for each `n` of a confirmed outcome."""
    await put_customer(client)
    await put_wallet_price(client, outcome={"auto_confirm_after": "PT1H", "reversible_for": "P1D"})
    await give(client, amount="100")
    return client


async def decide(
    client: httpx.AsyncClient, outcome: str, verb: str, **fields: Any
) -> httpx.Response:
    return await client.post(f"/v1/outcomes/{outcome}/{verb}", json={**DECISION, **fields})


async def available(client: httpx.AsyncClient) -> str:
    return str((await balance(client))["available"])


async def test_a_decision_is_answered_with_its_history(ready: httpx.AsyncClient) -> None:
    await send(ready, [event("e", n=10, outcome_id="conv/1 ü")])
    path = "/v1/outcomes/conv%2F1%20%C3%BC"
    found = await get(ready, path, customer="acme")
    assert found == {
        "id": "conv/1 ü", "customer": "acme", "status": "pending", "share": "0",
        "human_review": False, "opened_at": "2026-03-10T12:00:00Z",
        "confirm_at": "2026-03-10T13:00:00Z", "confirmed_at": None, "reversible_until": None,
        "attempts": 1, "history": [],
        "events": [{"id": "e", "source": "", "meter": "tokens", "attempt": 1, "first": True}],
    }  # fmt: skip
    answer = await ready.post(f"{path}/partial", json={**DECISION, "share": "0.25"})
    assert answer.status_code == 200
    decided = answer.json()
    assert (decided["status"], decided["share"], decided["confirm_at"]) == ("partial", "0.25", None)
    assert decided["reversible_until"] == "2026-03-11T12:00:00Z"
    disputed = (await ready.post(f"{path}/dispute", json={**DECISION, "evidence": "t/7"})).json()
    assert [(one["status"], one["share"], one["evidence"]) for one in disputed["history"]] == [
        ("partial", "0.25", None), ("disputed", "0.25", "t/7"),
    ]  # fmt: skip
    assert {(one["reason"], one["actor"]) for one in disputed["history"]} == {("so it was", "root")}
    assert await get(ready, path, customer="acme") == disputed
    assert await available(ready) == "97.5"


async def test_the_same_again_answers_the_same(ready: httpx.AsyncClient) -> None:
    await send(ready, [event("e", n=10, outcome_id="o")])
    first = await decide(ready, "o", "partial", share="0.5")
    assert (await decide(ready, "o", "partial", share="0.5")).json() == first.json()
    for verb, fields in (
        ("partial", {"share": "0.6"}),
        ("partial", {"share": "0.5", "reason": "another"}),
        ("partial", {"share": "0.5", "evidence": "new"}),
        ("partial", {"share": "0.5", "human_review": True}),
        ("confirm", {}),
        ("fail", {}),
    ):
        found = problem(await decide(ready, "o", verb, **fields), 409, "invalid_state")
        assert found["detail"].startswith("This outcome is partial: it cannot be"), found
    assert await available(ready) == "95"
    headers = {"idempotency-key": "k"}
    body = {**DECISION, "reason": "back"}
    path = "/v1/outcomes/o/reverse"
    once = await ready.post(path, json=body, headers=headers)
    again = await ready.post(path, json=body, headers=headers)
    assert (once.content, again.headers["idempotent-replay"]) == (again.content, "true")
    assert len(once.json()["history"]) == 2
    assert await available(ready) == "100"


@pytest.mark.parametrize(
    ("verb", "fields", "path", "code"),
    [
        ("partial", {}, "share", "missing"),
        ("partial", {"share": "0"}, "share", "invalid"),
        ("partial", {"share": "1"}, "share", "invalid"),
        ("partial", {"share": "1.5"}, "share", "invalid"),
        ("partial", {"share": 0.5}, "share", "invalid"),
        ("confirm", {"share": "0.5"}, "share", "unknown_field"),
        ("confirm", {"human_review": "yes"}, "human_review", "invalid"),
        ("fail", {"reason": None}, "reason", "invalid"),
        ("reverse", {"reason": ""}, "reason", "invalid"),
        ("dispute", {"evidence": "x" * 501}, "evidence", "too_long"),
        ("dispute", {"customer": "a/b"}, "customer", "invalid"),
    ],
)
async def test_a_wrong_decision(
    shared: httpx.AsyncClient, verb: str, fields: dict[str, Any], path: str, code: str
) -> None:
    found = problem(await decide(shared, "o", verb, **fields), 422, code)
    assert [one["path"] for one in found["errors"]] == [path]


async def test_a_confirmation_needs_no_reason(ready: httpx.AsyncClient) -> None:
    await send(ready, [event("e", n=1, outcome_id="o")])
    answer = await ready.post("/v1/outcomes/o/confirm", json={"customer": "acme"})
    assert answer.json()["history"][0]["reason"] is None


async def test_what_is_not_there(ready: httpx.AsyncClient) -> None:
    await put_customer(ready, "other")
    await send(ready, [event("e", n=1, outcome_id="o")])
    problem(await decide(ready, "unknown", "confirm"), 404, "not_found")
    problem(await decide(ready, "o", "confirm", customer="other"), 404, "not_found")
    problem(await decide(ready, "o", "confirm", customer="nobody"), 404, "not_found")
    problem(await decide(ready, "o", "undo"), 405, "method_not_allowed")
    for customer in ("other", "nobody"):
        answer = await ready.get("/v1/outcomes/o", params={"customer": customer})
        problem(answer, 404, "not_found")


async def test_who_may(instance: Instance, ready: httpx.AsyncClient) -> None:
    await put_customer(ready, "other")
    await send(ready, [event("e", n=1, outcome_id="o")])

    async def key(*scopes: str, customer: str | None = None) -> httpx.AsyncClient:
        body = {"name": "k", "scopes": list(scopes), "customer": customer}
        answer = await ready.post("/v1/api_keys", json=body)
        return client_for(instance, answer.json()["secret"])

    for scope in ("read", "authorize"):
        problem(await decide(await key(scope), "o", "confirm"), 403, "forbidden")
    problem(await decide(await key("ingest", customer="other"), "o", "confirm"), 404, "not_found")
    ingest = await key("ingest", customer="acme")
    assert (await decide(ingest, "o", "confirm")).status_code == 200
    problem(await ingest.get("/v1/outcomes"), 403, "forbidden")
    reader = await key("read", customer="other")
    assert (await get(reader, "/v1/outcomes"))["data"] == []
    problem(await reader.get("/v1/outcomes", params={"customer": "acme"}), 404, "not_found")
    answer = await reader.get("/v1/outcomes/o", params={"customer": "acme"})
    problem(answer, 404, "not_found")


async def test_lists_by_page_and_status(ready: httpx.AsyncClient) -> None:
    await put_customer(ready, "beta")
    await ready.post("/v1/subscriptions", json={"customer": "beta", "plan": "prepaid"})
    events = [event(f"e{n}", n=1, outcome_id=f"o{n}") for n in range(5)]
    await send(ready, [*events, event("e", n=1, outcome_id="o", customer="beta")])
    await decide(ready, "o1", "dispute")
    await decide(ready, "o3", "dispute")
    await decide(ready, "o4", "confirm")

    async def listed(**parameters: Any) -> list[str]:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await get(ready, "/v1/outcomes", limit=2, **parameters, **cursor)
            found += [f"{one['customer']}/{one['id']}" for one in page["data"]]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    assert await listed() == [*(f"acme/o{n}" for n in range(5)), "beta/o"]
    assert await listed(customer="acme", status="disputed") == ["acme/o1", "acme/o3"]
    assert await listed(status="pending") == ["acme/o0", "acme/o2", "beta/o"]
    assert await listed(status="confirmed", customer="beta") == []
    problem(await ready.get("/v1/outcomes", params={"status": "won"}), 422, "invalid")
    problem(await ready.get("/v1/outcomes", params={"cursor": "?"}), 422, "invalid_cursor")


@pytest.mark.parametrize("outcome", [None, "", "x" * 257, True, 1.5, ["a"], "a\u0007b"])
async def test_an_event_without_an_outcome_is_quarantined(
    ready: httpx.AsyncClient, outcome: object
) -> None:
    without = event("e", n=1)
    if outcome is not None:
        without["data"]["outcome_id"] = outcome
    found = await send(ready, [without, event("f", n=1, outcome_id="o")])
    assert (found["accepted"], found["quarantined"]) == (1, 1)
    assert found["results"][0]["error"]["code"] == "missing_outcome"


async def test_a_duplicate_is_no_attempt(ready: httpx.AsyncClient) -> None:
    """Also where it comes with new ones, or in a batch that is refused."""
    first = event("a", n=1, outcome_id="o")
    await send(ready, [first])
    found = await send(ready, [first, event("b", n=1, outcome_id="o")])
    assert (found["accepted"], found["duplicates"]) == (1, 1)
    answer = await ready.post(
        "/v1/events?atomic=true", json=[event("c", n=1, outcome_id="o"), event("a", n=2)]
    )
    assert answer.status_code == 422
    shown = await get(ready, "/v1/outcomes/o", customer="acme")
    assert (shown["attempts"], [one["id"] for one in shown["events"]]) == (2, ["a", "b"])


async def test_many_callers_at_once(ready: httpx.AsyncClient) -> None:
    """Whoever comes first decides, and once: also against the clock that confirms by itself."""
    await send(ready, [event(f"e{n}", n=1, outcome_id=f"o{n}") for n in range(10)])
    same = await asyncio.gather(*(decide(ready, "o0", "confirm") for _ in range(8)))
    assert {answer.status_code for answer in same} == {200}
    assert {len(answer.json()["history"]) for answer in same} == {1}
    assert await available(ready) == "99"

    steps: tuple[tuple[str, dict[str, str]], ...] = (
        ("confirm", {}), ("fail", {}), ("dispute", {}), ("partial", {"share": "0.5"}),
    )  # fmt: skip
    mixed = await asyncio.gather(
        *(
            decide(ready, "o1", verb, reason=f"{verb} {n}", **fields)
            for verb, fields in steps
            for n in range(2)
        )
    )
    statuses = [answer.status_code for answer in mixed]
    assert statuses.count(409) == 8 - statuses.count(200)
    shown = await get(ready, "/v1/outcomes/o1", customer="acme")
    assert len(shown["history"]) == statuses.count(200)
    spent = {"confirmed": "98", "partial": "98.5"}.get(shown["status"])
    if shown["status"] == "disputed":
        spent = {"0": "99", "1": "98", "0.5": "98.5"}[shown["share"]]
    assert await available(ready) == (spent or "99")
    if shown["status"] in ("confirmed", "partial"):
        await asyncio.gather(*(decide(ready, "o1", "reverse") for _ in range(4)))
        assert await available(ready) == "99"


async def test_a_decision_against_the_clock(
    instance: Instance, ready: httpx.AsyncClient, set_clock: Callable[[datetime], None]
) -> None:
    await send(ready, [event(f"e{n}", n=1, outcome_id=f"o{n}") for n in range(20)])
    set_clock(NOW + timedelta(hours=1))
    outcomes = [f"o{n}" for n in range(20)]
    answers, *_ = await asyncio.gather(
        asyncio.gather(*(decide(ready, one, "fail") for one in outcomes[:10])),
        run_due(instance.context), run_due(instance.context), run_due(instance.context),
        asyncio.gather(*(decide(ready, one, "confirm") for one in outcomes[10:])),
    )  # fmt: skip
    assert {answer.status_code for answer in answers} <= {200, 409}
    failed = sum(answer.status_code == 200 for answer in answers)
    shown = [await get(ready, f"/v1/outcomes/{one}", customer="acme") for one in outcomes]
    assert [len(one["history"]) for one in shown] == [1] * 20
    assert [one["status"] for one in shown].count("failed") == failed
    assert await available(ready) == str(100 - (20 - failed))


async def test_events_and_decisions_at_once(client: httpx.AsyncClient) -> None:
    """Of outcomes that bill each event, all events are billed once they are confirmed, whichever
    comes first.
    """
    await put_customer(client)
    await put_wallet_price(client, outcome={"retries": "each"})
    await give(client, amount="1000")
    await send(client, [event("first", n=1, outcome_id="o")])

    async def burst(number: int) -> None:
        for n in range(5):
            other = event(f"{number}-{n}-x", n=1, outcome_id=f"x{number}")
            await send(client, [event(f"{number}-{n}", n=2, outcome_id="o"), other])

    await asyncio.gather(*(burst(number) for number in range(4)), decide(client, "o", "confirm"))
    shown = await get(client, "/v1/outcomes/o", customer="acme")
    assert (shown["attempts"], len(shown["events"])) == (21, 21)
    assert sorted(one["attempt"] for one in shown["events"]) == list(range(1, 22))
    assert await available(client) == "959"  # 1000 - 1 - 20 x 2


async def test_a_plan_without_outcomes_opens_none(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_meter(client)
    await put_wallet_price(client)
    await send(client, [event("e", n=1, outcome_id="o")])
    assert (await get(client, "/v1/outcomes"))["data"] == []


async def test_a_preview_takes_usage_as_confirmed(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_wallet_price(client, outcome={}, subscribe=False)
    answer = await client.post("/v1/plans/prepaid/preview", json={"usage": {"use": "7"}})
    assert answer.json()["lines"][0]["amount"] == "7"
