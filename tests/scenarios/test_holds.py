"""Holds: work is authorized before it runs, against what is there at that instant."""

import asyncio
from typing import Any

from tests.scenarios.story import Json, Story, event, usage_price

CREDITS = "credits"


async def begin(story: Story, *grants: str, asset: str = "USD", **customer: Any) -> None:
    await story.customer(**customer)
    for amount in grants:
        await story.grant(amount, asset=asset)


async def place(story: Story, amount: str = "1", **fields: Any) -> Json:
    """Ask for a hold; the answer, allowed or not."""
    body = {"customer": "acme", "asset": "USD", "amount": amount, **fields}
    return await story.ask("POST", "/v1/holds", json=body)


async def batch(story: Story, mode: str, *amounts: str, **fields: Any) -> list[Json]:
    holds = [{"customer": "acme", "asset": "USD", "amount": one, **fields} for one in amounts]
    found = await story.ask("POST", "/v1/holds/batch", json={"mode": mode, "holds": holds})
    answers: list[Json] = found["data"]
    return answers


async def capture(story: Story, hold: Json, amount: str, **fields: Any) -> Json:
    body = {"amount": amount, **fields}
    return await story.ask("POST", f"/v1/holds/{hold['id']}/capture", json=body)


async def release(story: Story, hold: Json) -> Json:
    return await story.ask("POST", f"/v1/holds/{hold['id']}/release", json={})


async def balance(story: Story, asset: str = "USD") -> tuple[str, str, str]:
    """Posted, held and available."""
    found = await story.ask("GET", "/v1/customers/acme/balance")
    (wallet,) = (one for one in found["wallets"] if one["asset"] == asset)
    return wallet["posted"], wallet["held"], wallet["available"]


async def test_a_hold_reserves_a_capture_charges_and_the_rest_is_free(story: Story) -> None:
    await begin(story, "100")
    hold = await place(story, "5")
    assert hold["allowed"] is True
    assert (hold["amount"], hold["available"]) == ("5", "95")
    assert hold["expires_at"] == "2026-01-01T00:05:00Z"  # 300 s
    assert await balance(story) == ("100", "5", "95")
    found = await capture(story, hold, "3.5")
    assert (found["state"], found["late"]) == ("captured", False)
    assert found["captured"] == [{"amount": "3.5", "asset": "USD"}]
    assert await balance(story) == ("96.5", "0", "96.5")
    second = await place(story, "6.5")
    await release(story, second)
    assert await balance(story) == ("96.5", "0", "96.5")
    read = await story.ask("GET", f"/v1/holds/{second['id']}")
    assert (read["state"], read["captured"]) == ("released", None)
    listed = await story.everything("/v1/holds", customer="acme")
    assert [one["id"] for one in listed] == [second["id"], hold["id"]]


async def test_t1_an_empty_wallet_refuses_if_hard_and_warns_if_soft(story: Story) -> None:
    """400 actions at 1 and 480 workflows at 20 are 10,000 credits, all that the plan gave."""
    await story.meter("action", "count")
    await story.meter("workflow", "count")
    own = {"asset": CREDITS, "settle": "wallet"}
    await story.plan(
        "t1", usage_price("action", "action", unit="1", **own),
        usage_price("workflow", "workflow", unit="20", **own),
        credits=[{"asset": CREDITS, "amount": "10000", "kind": "paid", "expires": "period_end"}],
    )  # fmt: skip
    await story.customer()
    await story.subscribe("t1")
    await story.use(*(event("action", f"a{n}") for n in range(400)))
    await story.use(*(event("workflow", f"w{n}") for n in range(480)))
    assert await balance(story, CREDITS) == ("0", "0", "0")
    refused = await place(story, "1", asset=CREDITS)
    assert refused == {
        "allowed": False, "reason": "insufficient_credits", "shortfall": "1",
        "limit": {"kind": "wallet", "asset": CREDITS, "available": "0"},
    }  # fmt: skip
    await story.customer(enforcement="soft")
    allowed = await place(story, "1", asset=CREDITS)
    assert (allowed["allowed"], allowed["warnings"]) == (True, ["insufficient_credits"])
    assert await balance(story, CREDITS) == ("0", "1", "-1")
    await capture(story, allowed, "1")
    assert await balance(story, CREDITS) == ("-1", "0", "-1")


async def test_t4_all_or_nothing(story: Story) -> None:
    await begin(story, "9")
    answers = await batch(story, "all_or_nothing", *["1"] * 10)
    assert [one["allowed"] for one in answers] == [False] * 10
    assert {one["reason"] for one in answers} == {"insufficient_credits"}
    assert answers[0]["limit"]["refused_hold"] == 9
    assert await balance(story) == ("9", "0", "9")
    await story.grant("1")
    answers = await batch(story, "all_or_nothing", *["1"] * 10)
    assert all(one["allowed"] for one in answers)
    assert await balance(story) == ("10", "10", "0")


async def test_t4_independent_and_parallel(story: Story) -> None:
    await begin(story, "9")
    answers = await batch(story, "independent", *["1"] * 10)
    assert [one["allowed"] for one in answers] == [True] * 9 + [False]
    for one in answers[:9]:
        await release(story, one)
    await story.customer("other")
    await story.grant("7", "other")
    found = await asyncio.gather(*(place(story, "1", customer="other") for _ in range(10)))
    assert sum(one["allowed"] for one in found) == 7
    assert await story.available("other") == "0"


async def test_a_hold_expires_by_itself_and_is_still_charged_late(story: Story) -> None:
    await begin(story, "10")
    hold = await place(story, "10", ttl_s=60)
    assert (await place(story, "1"))["allowed"] is False
    await story.advance("2026-01-01T00:01:00Z")
    assert await balance(story) == ("10", "0", "10")
    assert (await story.ask("GET", f"/v1/holds/{hold['id']}"))["state"] == "expired"
    assert await story.refused("POST", f"/v1/holds/{hold['id']}/release", json={}) == (
        409, "invalid_state",
    )  # fmt: skip
    other = await place(story, "8")
    assert other["available"] == "2"
    late = await capture(story, hold, "4")
    assert (late["state"], late["late"]) == ("captured", True)
    assert await balance(story) == ("6", "8", "-2")  # 10 - 4, and 8 are promised
    await capture(story, other, "8")
    assert await balance(story) == ("-2", "0", "-2")
    assert (await place(story, "1"))["shortfall"] == "3"
    await story.grant("5")
    assert await balance(story) == ("3", "0", "3")


async def test_an_extended_hold_lives_on(story: Story) -> None:
    await begin(story, "10")
    hold = await place(story, "10", ttl_s=60)
    await story.advance("2026-01-01T00:00:50Z")
    found = await story.ask("POST", f"/v1/holds/{hold['id']}/extend", json={"ttl_s": 60})
    assert found["expires_at"] == "2026-01-01T00:01:50Z"
    await story.advance("2026-01-01T00:01:49Z")
    assert await balance(story) == ("10", "10", "0")
    await story.advance("2026-01-01T00:01:50Z")
    assert await balance(story) == ("10", "0", "10")


async def test_a_hold_resolves_once(story: Story) -> None:
    await begin(story, "10")
    hold = await place(story, "5")
    first = await capture(story, hold, "2")
    assert await capture(story, hold, "2") == first, "the same again"
    path = f"/v1/holds/{hold['id']}"
    for step, body in (("capture", {"amount": "3"}), ("release", {}), ("extend", {"ttl_s": 9})):
        assert await story.refused("POST", f"{path}/{step}", json=body) == (409, "invalid_state")
    assert await balance(story) == ("8", "0", "8")
    rivals = await place(story, "4")
    path = f"/v1/holds/{rivals['id']}"
    answers = await asyncio.gather(
        *(story.client.post(f"{path}/capture", json={"amount": str(n)}) for n in range(4)),
        *(story.client.post(f"{path}/release", json={}) for _ in range(4)),
    )
    codes = [answer.status_code for answer in answers]
    assert sorted(codes) in ([200] + [409] * 7, [200] * 4 + [409] * 4), "one way wins"
    assert await balance(story) in [(str(8 - n), "0", str(8 - n)) for n in range(4)]


async def test_more_than_was_held_is_charged(story: Story) -> None:
    await begin(story, "10")
    hold = await place(story, "5")
    await capture(story, hold, "12")
    assert await balance(story) == ("-2", "0", "-2")


async def test_what_is_captured_in_parts(story: Story) -> None:
    """Of 10 held 3 and 4 are charged while it streams; 3 stay held, then 2 are charged."""
    await begin(story, "20")
    hold = await place(story, "10")
    path = f"/v1/holds/{hold['id']}/capture"
    for key, amount, then in (("a", "3", ("17", "7", "10")), ("b", "4", ("13", "3", "10"))):
        for _ in range(2):  # sent again it is charged once
            await story.ask(
                "POST", path, json={"amount": amount, "keep_open": True},
                headers={"Idempotency-Key": key},
            )  # fmt: skip
        assert await balance(story) == then
    body = {"amount": "1", "keep_open": True}
    assert await story.refused("POST", path, json=body) == (422, "needs_idempotency_key")
    found = await capture(story, hold, "2")
    assert found["captured"] == [{"amount": "9", "asset": "USD"}]
    assert await balance(story) == ("11", "0", "11")


async def test_a_part_frees_what_it_drew(story: Story) -> None:
    """8 held: 5 of what burns first, 3 of an older grant. A part of 5 draws the 5; the 3 stay held,
    so that voiding their grant takes nothing from the hold.
    """
    await begin(story)
    older = await story.grant("3", priority=90)
    await story.grant("5", priority=10)
    hold = await place(story, "8")
    await story.ask(
        "POST", f"/v1/holds/{hold['id']}/capture", json={"amount": "5", "keep_open": True},
        headers={"Idempotency-Key": "k"},
    )  # fmt: skip
    voided = await story.ask("POST", f"/v1/grants/{older}/void", json={})
    assert (voided["taken_back"], voided["held"]) == ("0", "3")
    assert await balance(story) == ("3", "3", "0")
    await capture(story, hold, "3")
    assert await balance(story) == ("0", "0", "0")


async def test_events_capture_a_hold(story: Story) -> None:
    """100 tokens at 0.02 are 2 of the 5 held; a replay of the events counts nothing."""
    await story.meter("tokens")
    await story.plan("p", usage_price("use", "tokens", unit="0.02", settle="wallet"))
    await begin(story, "10")
    await story.subscribe("p")
    hold = await place(story, "5", path="team/a")
    body = {"events": [{"id": "e1", "type": "tokens", "data": {"q": "100"}}]}
    found = await story.ask("POST", f"/v1/holds/{hold['id']}/capture", json=body)
    assert found["charged"] == [{"amount": "2", "asset": "USD"}]
    assert found["events"] == {"accepted": 1}
    assert await balance(story) == ("8", "0", "8")
    again = await story.ask("POST", f"/v1/holds/{hold['id']}/capture", json=body)
    assert again == found
    second = await place(story, "5")
    found = await story.ask("POST", f"/v1/holds/{second['id']}/capture", json=body)
    assert found["charged"] == []
    assert await balance(story) == ("8", "0", "8")
    (stored,) = (await story.ask("GET", "/v1/events", params={"customer": "acme"}))["data"]
    assert stored["path"] == "team/a"


async def test_a_grant_that_expires_while_held_stays_usable_for_the_hold(story: Story) -> None:
    await begin(story)
    await story.grant("10", expires_at="2026-01-01T00:02:00Z")
    await story.grant("3")
    hold = await place(story, "10", ttl_s=600)
    await story.advance("2026-01-01T00:03:00Z")
    # The 10 are over; what is held of them is no longer part of the balance.
    assert await balance(story) == ("3", "0", "3")
    await capture(story, hold, "8")
    assert await balance(story) == ("3", "0", "3")
    assert (await place(story, "3"))["allowed"] is True


async def test_a_grant_for_a_path_backs_no_hold_of_another(story: Story) -> None:
    await begin(story)
    await story.grant("10", scope={"path": "team/a"})
    await story.grant("2")
    assert (await place(story, "3", path="team/b"))["shortfall"] == "1"
    assert (await place(story, "11", path="team/a"))["available"] == "1"
    assert (await place(story, "1", path="team/b"))["allowed"] is True


async def test_usage_beside_a_hold_is_charged_from_what_it_holds(story: Story) -> None:
    """10 held of 10; 6 are used all the same: 4 - 10 leaves -6 available. A grant of 7 makes 1."""
    await story.meter("tokens")
    await story.plan("p", usage_price("use", "tokens", unit="1", settle="wallet"))
    await begin(story, "10")
    await story.subscribe("p")
    hold = await place(story, "10")
    await story.use(event("tokens", "e", q="6"))
    assert await balance(story) == ("4", "10", "-6")
    await story.grant("7")
    assert await balance(story) == ("11", "10", "1")
    await story.use(event("tokens", "f", q="4"))  # the first grant has nothing left
    assert (await place(story, "1"))["shortfall"] == "4"
    await capture(story, hold, "7")
    assert await balance(story) == ("0", "0", "0")


async def test_who_has_no_limit_is_not_limited(story: Story) -> None:
    await story.customer()
    hold = await place(story, "1000")
    assert (hold["allowed"], hold["available"]) == (True, None)


async def test_idempotency_of_placing(story: Story) -> None:
    await begin(story, "10")
    headers = {"Idempotency-Key": "k"}
    first = await place_with(story, headers, "4")
    assert await place_with(story, headers, "4") == first
    assert await balance(story) == ("10", "4", "6")
    body = {"customer": "acme", "asset": "USD", "amount": "5"}
    assert await story.refused("POST", "/v1/holds", json=body, headers=headers) == (
        409, "idempotency_conflict",
    )  # fmt: skip


async def place_with(story: Story, headers: dict[str, str], amount: str) -> Json:
    body = {"customer": "acme", "asset": "USD", "amount": amount}
    return await story.ask("POST", "/v1/holds", json=body, headers=headers)


async def test_one_key_for_two_requests_at_once(story: Story) -> None:
    """Whichever comes first decides; the same again is told the same, another is in conflict, also
    where the first is refused as an error.
    """
    await begin(story, "10")
    hold = await place(story, "5")
    path = f"/v1/holds/{hold['id']}"
    await release(story, hold)
    headers = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(
        story.client.post(f"{path}/capture", json={"amount": "1"}, headers=headers),
        story.client.post(f"{path}/capture", json={"amount": "1"}, headers=headers),
        story.client.post(f"{path}/capture", json={"amount": "2"}, headers=headers),
    )
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    codes = [answer.json()["code"] for answer in answers]
    assert codes[:2] == ["invalid_state"] * 2
    assert codes[2] in ("invalid_state", "idempotency_conflict")


async def test_what_is_no_hold_is_named(story: Story) -> None:
    await begin(story, "10")
    hold = await place(story, "5")
    good = {"customer": "acme", "asset": "USD", "amount": "1"}
    twice = [{"asset": "USD", "amount": "1"}, {"asset": "USD", "amount": "2"}]
    for path, body, refused in (
        ("", {**good, "customer": "nobody"}, (404, "not_found")),
        ("", {**good, "customer": "ac\0me"}, (404, "not_found")),
        ("", {**good, "path": "a\0"}, (422, "invalid_text")),
        ("", {**good, "amount": "-1"}, (422, "negative")),
        ("", {**good, "amount": "1e9"}, (422, "invalid")),
        ("", {**good, "ttl_s": 0}, (422, "invalid")),
        ("", {"customer": "acme"}, (422, "missing")),
        ("/batch", {"holds": [good] * 1001}, (422, "too_many")),
        ("/batch", {"holds": [good], "mode": "some"}, (422, "invalid")),
        ("/hold_0/capture", {"amount": "1"}, (404, "not_found")),
        (f"/{hold['id']}/capture", {}, (422, "invalid")),
        (f"/{hold['id']}/capture", {"amounts": twice}, (422, "duplicate")),
        (
            f"/{hold['id']}/capture",
            {"amounts": [{**twice[0], "asset": "\0"}]},
            (422, "invalid_text"),
        ),
    ):
        assert await story.refused("POST", f"/v1/holds{path}", json=body) == refused, body
    assert await balance(story) == ("10", "5", "5")
