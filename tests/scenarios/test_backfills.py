"""Backfills: loaded beside, looked at, applied customer by customer, reverted to the last digit."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg

from taximeter.bootstrap import Instance
from taximeter.services import backfill_apply
from tests.plant import HEADERS
from tests.scenarios.story import Json, Story, amounts, event, usage_price
from tests.serving import start, wait_for_waiting

TIERS = [{"up_to": "100", "unit": "0.10"}, {"unit": "0.02"}]
JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


async def begin(story: Story, *customers: str) -> None:
    """Calls in tiers by invoice, the greatest at 1, users at 0.5 from the wallet."""
    await story.meter("calls")
    await story.meter("peak", "max", event_type="calls")
    await story.meter("users", "unique", event_type="calls", value="user")
    await story.plan(
        "p", usage_price("calls", "calls", model="graduated", tiers=TIERS),
        usage_price("peak", "peak", unit="1"),
        usage_price("users", "users", unit="0.5", settle="wallet", asset="credits"),
    )  # fmt: skip
    for customer in customers:
        await story.customer(customer)
        await story.subscribe("p", customer)
        await story.grant("10", customer, asset="credits")


async def open_one(story: Story, **fields: Any) -> str:
    body = {"reason": "the export was wrong", "event_types": ["calls"], **JANUARY, **fields}
    return str((await story.ask("POST", "/v1/backfills", json=body))["id"])


async def load(story: Story, backfill: str, *events: Json) -> Json:
    return await story.ask("POST", f"/v1/backfills/{backfill}/events", json=list(events))


async def step(story: Story, backfill: str, verb: str) -> Json:
    return await story.ask("POST", f"/v1/backfills/{backfill}/{verb}")


async def state_of(story: Story, customer: str) -> Json:
    """All that usage leads to."""
    usage = [
        await story.usage(meter, customer=customer, window="hour", **JANUARY)
        for meter in ("calls", "peak", "users")
    ]
    balance = await story.ask("GET", f"/v1/customers/{customer}/balance")
    upcoming = await story.upcoming(customer)
    return {"usage": usage, "balance": balance, "upcoming": upcoming}


def call(
    event_id: str, day: int, q: object, user: str, customer: str = "acme", **fields: Any
) -> Json:
    at = f"2026-01-{day:02}T10:00:00Z"
    return event("calls", event_id, at, customer=customer, q=q, user=user, **fields)


async def test_what_the_preview_says_is_what_applying_does_and_reverting_undoes(
    story: Story,
) -> None:
    await begin(story, "acme", "other")
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(
        call("a", 2, 90, "ann"), call("b", 3, 20, "bob"), call("c", 4, 5, "ann"),
        call("x", 2, 7, "eve", "other"),
    )  # fmt: skip
    await story.advance("2026-02-01T01:00:00Z")
    [january] = await story.invoices()
    # 100 x 0.10 + 15 x 0.02 = 10.30, and the greatest: 90
    assert january["total"] == "100.30"
    assert await story.available(asset="credits") == "9"  # two users
    before = {key: await state_of(story, key) for key in ("acme", "other")}

    backfill = await open_one(story, customer="acme", replace=True)
    loaded = await load(
        story, backfill, call("a", 2, 90, "ann"), call("b", 5, 60, "ann"), call("n", 6, 1, "zoe"),
        call("a", 2, 90, "ann"), call("n", 6, 2, "zoe"), call("late", 31, 1, "zoe", "other"),
    )  # fmt: skip
    assert (loaded["accepted"], loaded["duplicates"], loaded["rejected"]) == (3, 1, 2)
    assert [one["error"]["code"] for one in loaded["results"][1:]] == ["conflict", "out_of_range"]
    assert await state_of(story, "acme") == before["acme"]
    [effect] = (await step(story, backfill, "preview"))["data"]
    assert await state_of(story, "acme") == before["acme"]
    # "a" stays, "b" says otherwise, "c" is gone, "n" is new: 90 + 60 + 1 calls, ann and zoe
    assert effect["events"] == {
        "voided": 1, "amended": 1, "added": 1, "quarantined": 0, "refused": 0,
    }  # fmt: skip
    assert effect["usage"] == [
        {"meter": "calls", "before": "115", "after": "151"},
        {"meter": "peak", "before": "90", "after": "90"},
        {"meter": "users", "before": "2", "after": "2"},
    ]
    assert {"asset": "credits", "before": "9", "after": "9"} in effect["wallets"]
    [upcoming] = effect["invoices"]
    # 36 calls more, all of them past the first 100: 36 x 0.02
    assert [(one["quantity"], one["amount"]) for one in upcoming["adjustments"]] == [("36", "0.72")]

    applied = await step(story, backfill, "apply")
    assert (applied["state"], applied["events"]) == ("applied", effect["events"])
    after = await state_of(story, "acme")
    assert after["upcoming"]["total"] == upcoming["total"]["after"]
    assert amounts(after["upcoming"], "kind", "amount")[-1] == ("adjustment", "0.72")
    assert await state_of(story, "other") == before["other"]
    assert await step(story, backfill, "apply") == applied
    found = await story.ask("GET", "/v1/events/b", params={"customer": "acme"})
    assert found["corrections"][0]["backfill"] == backfill

    reverted = await step(story, backfill, "revert")
    assert reverted["state"] == "reverted"
    assert {key: await state_of(story, key) for key in ("acme", "other")} == before
    assert await story.refused("POST", f"/v1/backfills/{backfill}/apply") == (409, "invalid_state")
    assert await step(story, backfill, "revert") == reverted
    assert await story.everything("/v1/backfills") == [reverted]


async def test_without_replacing_what_is_there_stays(story: Story) -> None:
    await begin(story, "acme")
    await story.use(event("calls", "a", "2026-01-01T00:00:00Z", q=1, user="ann"))
    await story.advance("2026-01-20T00:00:00Z")
    backfill = await open_one(story)
    same = event("calls", "a", "2026-01-01T00:00:00Z", q=1, user="ann")
    await load(story, backfill, same, call("b", 2, 2, "ann"), call("c", 2, "x", "ann"))
    applied = await step(story, backfill, "apply")
    assert applied["events"] == {
        "voided": 0, "amended": 0, "added": 1, "quarantined": 1, "refused": 0,
    }  # fmt: skip
    assert amounts(await story.upcoming())[0] == ("calls", "3", "0.30")
    await step(story, backfill, "revert")
    assert amounts(await story.upcoming())[0] == ("calls", "1", "0.10")
    assert await story.everything("/v1/events", customer="acme", status="quarantined") == []


async def test_discarding_and_other_steps_that_its_state_forbids(story: Story) -> None:
    await begin(story, "acme")
    await story.advance("2026-01-20T00:00:00Z")
    backfill = await open_one(story, meter="calls", event_types=None)
    await load(story, backfill, call("b", 2, 2, "ann"))
    discarded = await step(story, backfill, "discard")
    assert (discarded["state"], discarded["loaded"]) == ("discarded", 0)
    assert await step(story, backfill, "discard") == discarded
    for verb in ("apply", "revert", "preview"):
        path = f"/v1/backfills/{backfill}/{verb}"
        assert await story.refused("POST", path) == (409, "invalid_state")
    wrong: list[tuple[Json, str]] = [
        ({"meter": "calls"}, "conflicting_fields"), ({"event_types": None}, "conflicting_fields"),
        ({"event_types": None, "meter": "none"}, "unknown_meter"),
        ({"to": JANUARY["from"]}, "out_of_range"),
        ({"kind": "meter", "event_types": None, "meter": "calls", "replace": True},
         "conflicting_fields"),
    ]  # fmt: skip
    for fields, code in wrong:
        body = {"reason": "r", "event_types": ["calls"], **JANUARY, **fields}
        assert await story.refused("POST", "/v1/backfills", json=body) == (422, code)
    assert await story.refused("POST", "/v1/backfills/bf_none/apply") == (404, "not_found")


async def test_a_customer_with_whom_it_fails_stops_no_other(
    story: Story, instance: Instance
) -> None:
    await begin(story, "acme", "other")
    await story.plan("o", usage_price("calls", "calls", unit="1", outcome={}))
    await story.customer("mid")
    await story.subscribe("o", "mid")
    await story.use(
        *[event("calls", "a", customer=key, q=9, user="u", outcome_id="o")
          for key in ("acme", "mid", "other")]
    )  # fmt: skip
    backfill = await open_one(story, replace=True)
    effects = (await step(story, backfill, "preview"))["data"]
    assert [(one["customer"], one["problem"] and one["problem"]["code"]) for one in effects] == [
        ("acme", None), ("mid", "outcome_event"), ("other", None),
    ]  # fmt: skip
    for _ in range(3):  # a portion each: those that fail must not take all of them
        await backfill_apply.apply(instance.context, "root", backfill, portions=1)
    assert amounts(await story.upcoming("other"))[0] == ("calls", "0", "0.00")
    applied = await step(story, backfill, "apply")
    assert (applied["state"], applied["customers"]) == (
        "incomplete", {"total": 3, "pending": 0, "applied": 2, "failed": 1, "reverted": 0},
    )  # fmt: skip
    assert [one["customer"] for one in applied["failures"]] == ["mid"]
    assert amounts(await story.upcoming("other"))[0] == ("calls", "0", "0.00")
    assert (await step(story, backfill, "apply"))["state"] == "incomplete"
    assert (await step(story, backfill, "revert"))["state"] == "reverted"
    assert amounts(await story.upcoming("other"))[0] == ("calls", "9", "0.90")


async def test_what_does_not_count_is_loaded_again(story: Story) -> None:
    """Void or in quarantine: it counts where it can be read now, however late it came."""
    await begin(story, "acme")
    await story.meter("calls", late_limit="P5D")
    await story.advance("2026-01-20T00:00:00Z")
    sent = [
        call("ghost-void", 2, 1, "ann", "ghost"), call("ghost", 2, 1, "ann", "ghost"),
        call("wrong-void", 16, "x", "ann"), call("wrong", 16, "x", "ann"),
        call("late", 2, 1, "ann"),
    ]  # fmt: skip
    assert (await story.send(*sent))["quarantined"] == 5
    for name, customer in (("ghost-void", "ghost"), ("wrong-void", "acme")):
        body = {"customer": customer, "reason": "r"}
        await story.ask("POST", f"/v1/events/{name}/void", json=body)

    async def told() -> list[tuple[str, str | None]]:
        found = [
            await story.ask("GET", f"/v1/events/{one['id']}", params={"customer": one["subject"]})
            for one in sent
        ]
        return [(one["status"], (one.get("error") or {}).get("code")) for one in found]

    before = await told()
    backfill = await open_one(story, replace=True)
    await load(
        story, backfill,
        call("ghost-void", 2, 2, "ann", "ghost"), call("ghost", 2, 2, "ann", "ghost"),
        call("wrong-void", 16, 4, "ann"), call("wrong", 16, "y", "ann"),
        call("late", 2, 8, "ann"),
    )  # fmt: skip
    assert (await step(story, backfill, "apply"))["state"] == "applied"
    assert [status for status, _ in await told()] == [
        "quarantined", "quarantined", "accepted", "quarantined", "accepted",
    ]  # fmt: skip
    # (4 + 8) x 0.10
    assert amounts(await story.upcoming())[0] == ("calls", "12", "1.20")
    assert (await step(story, backfill, "revert"))["state"] == "reverted"
    assert await told() == before


async def test_a_new_version_of_a_meter_counts_the_past_anew(story: Story) -> None:
    story.audited = False  # it knows the newest versions only
    await begin(story, "acme")
    await story.use(event("calls", "a", "2026-01-01T00:00:00Z", q=10, user="ann"))
    await story.advance("2026-01-02T00:00:00Z")
    await story.meter("calls", value="q * 2")
    await story.meter("new", "count", event_type="calls")
    await story.use(call("b", 2, 10, "ann"))
    # As counted: 10 by the first version, 2 x 10 by the second; the new meter was not there.
    assert amounts(await story.upcoming())[0] == ("calls", "30", "3.00")
    await story.advance("2026-01-03T00:00:00Z")
    before = await state_of(story, "acme")
    backfill = await open_one(story, kind="meter", event_types=None, meter="calls", to=None)
    [effect] = (await step(story, backfill, "preview"))["data"]
    assert effect["usage"][:2] == [
        {"meter": "calls", "before": "30", "after": "40"},
        {"meter": "new", "before": "1", "after": "2"},
    ]
    assert (await step(story, backfill, "apply"))["events"]["amended"] == 2
    assert amounts(await story.upcoming())[0] == ("calls", "40", "4.00")
    await step(story, backfill, "revert")
    assert await state_of(story, "acme") == before


async def test_it_is_read_as_other_events_are(story: Story) -> None:
    await begin(story, "acme")
    await story.advance("2026-01-20T00:00:00Z")
    backfill = await open_one(story)
    body = json.dumps([call("b", 2, 2, "ann")]).encode()
    headers = {"content-type": "text/plain"}
    path = f"/v1/backfills/{backfill}/events"
    assert await story.refused("POST", path, content=body, headers=headers) == (400, "malformed")
    headers = {"content-type": "application/json", "idempotency-key": "k"}
    first = await story.ask("POST", path, content=body, headers=headers)
    assert first == await story.ask("POST", path, content=body, headers=headers)
    assert first["accepted"] == 1
    assert await story.usage("calls", customer="acme", **JANUARY) == []


async def test_what_is_too_much_to_be_shown_keeps_nobody_waiting(
    story: Story, database_url: str
) -> None:
    """Over 20,000 events: 1 that is there and 20,000 that were loaded."""
    await begin(story, "acme")
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(call("a", 5, 1, "ann", "acme"))
    backfill = await open_one(story, customer="acme", replace=True)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO backfill_event (backfill, customer, source, id, type, time, digest, data)
            SELECT %s, 'acme', '', 'n' || n, 'calls', '2026-01-06T00:00:00Z', '', '{}'
            FROM generate_series(1, 20000) AS n
            """,
            [backfill],
        )
        # Whoever counts keeps this lock; the preview is refused without asking for it.
        with connection.transaction():
            connection.execute("LOCK TABLE cache_change IN SHARE MODE")
            [effect] = (await step(story, backfill, "preview"))["data"]
        assert effect["problem"]["code"] == "too_many_events"
        connection.execute("DELETE FROM backfill_event WHERE id > 'n1'")
    [effect] = (await step(story, backfill, "preview"))["data"]
    assert (effect["problem"], effect["events"]["voided"]) == (None, 1)


async def test_what_is_cut_off_goes_on(story: Story) -> None:
    """Between customers, and within one of them between portions: nothing is done twice."""
    customers = [f"c{n}" for n in range(6)]
    await begin(story, *customers)
    await story.advance("2026-01-20T00:00:00Z")
    many = [call(f"e{n}", 2, 1, f"u{n % 3}", "c2") for n in range(2_100)]
    await story.use(*many)
    await story.use(*[call("a", 2, 50, "ann", key) for key in customers])
    before = {key: await state_of(story, key) for key in customers}
    backfill = await open_one(story, meter="calls", event_types=None, replace=True)
    await load(story, backfill, *[call("n", 3, 7, "zoe", key) for key in customers])

    async def done_with(verb: str, state: str) -> None:
        """Cut the step off once it is done with a customer, and take it again to the end."""
        under_way = asyncio.create_task(step(story, backfill, verb))
        found: Json = {"customers": {state: 0}}
        while not found["customers"][state]:
            await asyncio.sleep(0)
            found = await story.ask("GET", f"/v1/backfills/{backfill}")
        under_way.cancel()
        with suppress(asyncio.CancelledError):
            await under_way
        found = await story.ask("GET", f"/v1/backfills/{backfill}")
        assert 0 < found["customers"][state] < 6
        assert (await step(story, backfill, verb))["customers"][state] == 6

    await done_with("apply", "applied")
    applied = await story.ask("GET", f"/v1/backfills/{backfill}")
    assert (applied["events"]["voided"], applied["events"]["added"]) == (2_106, 6)
    # 7 calls x 0.10, the greatest 7 x 1, one user from the wallet
    assert [(await story.upcoming(key))["total"] for key in customers] == ["7.70"] * 6
    assert await story.available("c2", "credits") == "9.5"
    await done_with("revert", "reverted")
    assert {key: await state_of(story, key) for key in customers} == before


async def test_a_process_that_is_killed_leaves_whole_customers(
    story: Story, database_url: str, tmp_path: Path
) -> None:
    customers = [f"c{n}" for n in range(4)]
    await begin(story, *customers)
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(*[call("a", 2, 50, "ann", key) for key in customers])
    before = {key: await state_of(story, key) for key in customers}
    backfill = await open_one(story, replace=True)
    await load(story, backfill, *[call("n", 3, 7, "zoe", key) for key in customers])
    path = f"/v1/backfills/{backfill}/apply"
    with psycopg.connect(database_url) as holding:
        holding.execute("SELECT FROM event WHERE customer = 'c2' FOR UPDATE")
        server = start(tmp_path / "log", "--sandbox", "--port", 0, DATABASE_URL=database_url)
        async with httpx.AsyncClient(base_url=server.url, headers=HEADERS) as client:
            applying = asyncio.create_task(client.post(path))
            await asyncio.to_thread(wait_for_waiting, database_url)
            server.kill()
            with suppress(httpx.TransportError):
                await applying
        assert server.process.stdout is not None
        server.process.stdout.close()
    found = await story.ask("GET", f"/v1/backfills/{backfill}")
    counts = {"applied": 2, "pending": 2, "failed": 0, "reverted": 0, "total": 4}
    assert found["customers"] == counts
    assert (await step(story, backfill, "apply"))["state"] == "applied"
    # 7 calls x 0.10, the greatest 7 x 1, one user from the wallet
    assert [(await story.upcoming(key))["total"] for key in customers] == ["7.70"] * 4
    assert [await story.available(key, "credits") for key in customers] == ["9.5"] * 4
    assert (await step(story, backfill, "revert"))["state"] == "reverted"
    assert {key: await state_of(story, key) for key in customers} == before
