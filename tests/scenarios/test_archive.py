"""Old events in files: everything that is asked of them is answered as before."""

import asyncio
import os
import sys
from pathlib import Path

import psycopg
import pytest

from taximeter.bootstrap import Instance
from taximeter.gateways import parquet
from taximeter.kernel.times import parse_instant
from taximeter.services import archive, archive_run
from tests.scenarios.story import Json, Story, amounts, event, usage_price
from tests.serving import PROGRAM, wait_for_waiting

TIERS = [{"up_to": "100", "unit": "0.10"}, {"unit": "0.02"}]
DAY = "2026-01-{:02d}T10:00:00Z"


async def begin(story: Story) -> list[Json]:
    """Thirty events of January, then some of February; January's invoice is final."""
    for customer in ("acme", "zeta"):
        await story.customer(customer)
    await story.meter("calls")
    await story.meter("users", "unique", event_type="calls", value="user")
    await story.plan(
        "p", usage_price("calls", "calls", model="graduated", tiers=TIERS),
        usage_price("users", "users", unit="1"),
    )  # fmt: skip
    for customer in ("acme", "zeta"):
        await story.subscribe("p", customer)
    sent = [
        event("calls", f"{customer}-{n}", DAY.format(n + 1), customer=customer, q="3.50",
              user=f"u{n % 4}", note="kept as it is")
        for customer in ("acme", "zeta") for n in range(15)
    ]  # fmt: skip
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(*sent)
    await story.advance("2026-02-10T00:00:00Z")
    await story.use(event("calls", "new", q="1", user="u1"))
    return sent


async def put_away(instance: Instance, folder: Path, before: str) -> archive_run.Moved:
    """Archive what is older than `before`."""
    limit = parse_instant(before)
    assert limit is not None
    return await archive_run.archive_events(instance.context, folder, limit)


async def asked(story: Story) -> list[Json | list[Json]]:
    """What clients can ask about January."""
    [january, *_] = await story.invoices()
    lines = [
        await story.ask("GET", f"/v1/invoices/{january['id']}/lines/{line['id']}/explain")
        for line in january["lines"]
    ]
    spans = {"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}
    return [
        january, *lines,
        await story.everything("/v1/events", customer="acme"),
        (await story.ask("GET", "/v1/events", params={"customer": "acme", "limit": 4}))["data"],
        await story.ask("GET", "/v1/events/acme-3", params={"customer": "acme"}),
        await story.usage("calls", customer="acme", window="minute", **spans),
        await story.usage("calls", window="day", **spans),
        await story.usage("users", window="day", **spans),
        await story.usage("users", customer="zeta", window="month", fill="zero", **spans),
    ]  # fmt: skip


async def test_archived_events_are_as_they_were(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    sent = await begin(story)
    before = await asked(story)
    # February is open: its event stays, though it is old enough.
    moved = await put_away(instance, tmp_path, "2026-02-15T00:00:00Z")
    assert (moved.events, moved.files) == (30, 1)
    assert (await story.everything("/v1/events"))[0]["id"] == "new", "of all customers: those here"
    assert await asked(story) == before

    again = await story.send(*sent)
    assert (again["duplicates"], again["accepted"]) == (30, 0)
    other = {**sent[0], "data": {"q": 4}}
    answer = await story.send(other, event("calls", "fresh", q=1, user="u1"))
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert answer["results"][0]["status"] == "conflict"
    refused = await story.client.post("/v1/events?atomic=true", json=[other])
    assert refused.status_code == 422

    # 15 x 3.5 = 52.5 were billed. Late: 60 more make 112.5: 47.5 x 0.10 + 12.5 x 0.02 = 5.00;
    # the user is a fifth one of January: 1.00.
    await story.use(event("calls", "late", DAY.format(30), q=60, user="u9"))
    upcoming = await story.upcoming()
    assert amounts(upcoming, "kind", "price", "amount") == [
        ("usage", "calls", "0.20"), ("usage", "users", "1.00"),
        ("adjustment", "calls", "5.00"), ("adjustment", "users", "1.00"),
    ]  # fmt: skip
    # What was late is of a final period, too, but for its adjustment: it goes into a file later.
    await story.advance("2026-03-01T02:00:00Z")
    moved = await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    assert moved.events == 1
    found = [one async for one in archive_run.verify(instance.context)]
    assert [(one.current, one.fault) for one in found] == [(30, None), (1, None)]


async def test_an_event_that_is_recalled_is_in_the_database_alone(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    sent = await begin(story)
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    before = await asked(story)
    identities = [("acme", "", f"acme-{n}") for n in (2, 3)]
    async with instance.context.pool.connection() as connection:
        assert await archive.recall(connection, [*identities, ("acme", "", "none")]) == 2
        assert await archive.recall(connection, identities) == 0
    assert await asked(story) == before
    assert (await story.send(*sent))["duplicates"] == 30
    [found] = [one async for one in archive_run.verify(instance.context)]
    assert (found.current, found.fault) == (28, None)

    # Moved again they are in a second file; the copies in the first do not count.
    assert (await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")).events == 2
    assert await asked(story) == before
    assert await archive_run.restore(instance.context, 1) == 28
    assert await asked(story) == before
    assert (await story.send(*sent))["duplicates"] == 30
    assert len(parquet.names_in(tmp_path)) == 1


async def test_a_run_that_is_killed_anywhere_loses_and_doubles_nothing(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    sent = await begin(story)
    before = await asked(story)
    for step in range(12):
        task = asyncio.create_task(put_away(instance, tmp_path, "2026-02-01T00:00:00Z"))
        sending = asyncio.create_task(story.send(*sent))
        await asyncio.sleep(step * 0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await sending)["duplicates"] == 30
        if step % 4 == 0:
            assert await asked(story) == before
        async with instance.context.pool.connection() as connection:
            await archive.recall(connection, [("acme", "", f"acme-{step}")])
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    assert await asked(story) == before
    found = [one async for one in archive_run.verify(instance.context)]
    assert (sum(one.current for one in found), {one.fault for one in found}) == (30, {None})


async def test_a_file_is_restored_while_its_events_are_taken_out(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    sent = await begin(story)
    before = await asked(story)
    async with instance.context.pool.connection() as connection:
        running = asyncio.create_task(put_away(instance, tmp_path, "2026-02-01T00:00:00Z"))
        lock = "SELECT number FROM archive FOR UPDATE"
        async with asyncio.timeout(10):
            found = None
            while found is None:
                found = await (await connection.execute(lock)).fetchone()
        restoring = asyncio.create_task(archive_run.restore(instance.context, 1))
        await asyncio.sleep(0.2)
    await asyncio.gather(running, restoring)
    assert await asked(story) == before
    assert (await story.send(*sent))["duplicates"] == 30


async def test_damage_is_found_and_named(story: Story, instance: Instance, tmp_path: Path) -> None:
    await begin(story)
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    [path] = parquet.names_in(tmp_path)
    content = path.read_bytes()
    (tmp_path / "other.parquet").write_bytes(b"")
    assert await archive_run.unknown_files(instance.context, tmp_path) == [
        tmp_path / "other.parquet"
    ]
    path.write_bytes(content[:-9] + b"x" + content[-8:])
    [found] = [one async for one in archive_run.verify(instance.context)]
    assert found.fault == "is not what was written"
    path.unlink()
    [found] = [one async for one in archive_run.verify(instance.context)]
    assert found.fault == "cannot be read"
    # The server says so, too, and does not make up an answer.
    refused = await story.refused("GET", "/v1/events/acme-3?customer=acme")
    assert refused == (503, "unavailable")
    path.write_bytes(content)


async def test_what_is_archived_can_be_corrected(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    sent = await begin(story)
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    void = {"customer": "acme", "reason": "sent in error"}
    await story.ask("POST", "/v1/events/acme-3/void", json=void)
    amend = {**void, "data": {"q": "63.50", "user": "u2"}}
    shown = await story.ask("POST", "/v1/events/acme-6/amend", json=amend)
    assert shown["corrections"][0]["before"]["data"]["note"] == "kept as it is"
    # 52.5 were billed; now it is 52.5 - 3.5 + 60 = 109: 47.5 x 0.10 + 9 x 0.02 = 4.93. The users
    # are the same four: u3 is another event's, too, and those are counted again in the file.
    assert amounts(await story.upcoming(), "kind", "price", "amount") == [
        ("usage", "calls", "0.10"), ("usage", "users", "1.00"), ("adjustment", "calls", "4.93"),
    ]  # fmt: skip
    assert (await story.send(*sent))["duplicates"] == 30
    before = await asked(story)
    await story.advance("2026-03-01T02:00:00Z")
    assert (await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")).events == 2
    assert (await asked(story))[1:] == before[1:]
    assert (await story.send(*sent))["duplicates"] == 30


def test_a_file_holds_all_that_is_known_of_an_event(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'event'"
        )
        assert {name for (name,) in rows} == set(parquet.COLUMNS)


@pytest.mark.parametrize("held", ["customer", "event"])
async def test_a_process_that_is_killed_loses_and_doubles_nothing(
    story: Story, instance: Instance, database_url: str, tmp_path: Path, held: str
) -> None:
    """SIGKILL once its file is known, and before ingestion is told, or its events are taken out."""
    sent = await begin(story)
    before = await asked(story)
    command = [sys.executable, "-c", PROGRAM, "archive", "run", "--before", "2026-02-01",
               "--to", str(tmp_path)]  # fmt: skip
    with psycopg.connect(database_url) as holding:
        holding.execute(f"SELECT FROM {held} WHERE customer = 'acme' FOR UPDATE".encode())
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "DATABASE_URL": database_url}
        )
        await asyncio.to_thread(wait_for_waiting, database_url)
        process.kill()
        await process.wait()
    assert await asked(story) == before
    assert (await story.send(*sent))["duplicates"] == 30
    assert (await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")).events == 30
    assert await asked(story) == before
    assert (await story.send(*sent))["duplicates"] == 30
    found = [one async for one in archive_run.verify(instance.context)]
    assert (sum(one.current for one in found), {one.fault for one in found}) == (30, {None})


async def test_a_backfill_brings_archived_events_back_while_others_come_in(
    story: Story, instance: Instance, database_url: str, tmp_path: Path
) -> None:
    await begin(story)
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    body = {"reason": "wrong", "event_types": ["calls"], "customer": "acme", "replace": True,
            "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}  # fmt: skip
    backfill = (await story.ask("POST", "/v1/backfills", json=body))["id"]
    with psycopg.connect(database_url) as holding:
        holding.execute("SELECT FROM archive FOR UPDATE")
        path = f"/v1/backfills/{backfill}/apply"
        applying = asyncio.create_task(story.ask("POST", path))
        await asyncio.to_thread(wait_for_waiting, database_url)
        async with asyncio.timeout(10):
            await story.use(event("calls", "meanwhile", q="1", user="u1"))
    applied = await applying
    assert (applied["state"], applied["events"]["voided"]) == ("applied", 15)
    # January's bill of acme was 15 x 3.5 x 0.10 = 5.25, and 4 users: none of it is left
    assert amounts(await story.upcoming(), "kind", "price", "amount") == [
        ("usage", "calls", "0.20"), ("usage", "users", "1.00"),
        ("adjustment", "calls", "-5.25"), ("adjustment", "users", "-4.00"),
    ]  # fmt: skip
    assert (await story.ask("POST", f"/v1/backfills/{backfill}/revert"))["state"] == "reverted"
    # calls 2 x 0.10 and one user, as before
    assert amounts(await story.upcoming()) == [("calls", "2", "0.20"), ("users", "1", "1.00")]


async def test_a_file_that_is_missing_keeps_a_backfill_from_its_customers_alone(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    await begin(story)
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    [path] = parquet.names_in(tmp_path)
    away = path.rename(tmp_path / "away")
    await story.customer("mid")
    await story.subscribe("p", "mid")
    await story.use(event("calls", "one", customer="mid", q="3.50", user="u1"))
    body = {"reason": "wrong", "event_types": ["calls"], "replace": True,
            "from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}  # fmt: skip
    backfill = "/v1/backfills/" + (await story.ask("POST", "/v1/backfills", json=body))["id"]
    effects = (await story.ask("POST", f"{backfill}/preview"))["data"]
    assert [(one["customer"], one["problem"] and one["problem"]["code"]) for one in effects] == [
        ("acme", "unavailable"), ("mid", None), ("zeta", "unavailable"),
    ]  # fmt: skip
    applied = await story.ask("POST", f"{backfill}/apply")
    assert (applied["state"], applied["events"]["voided"]) == ("incomplete", 1)
    failures = {one["customer"]: one for one in applied["failures"]}
    assert failures.keys() == {"acme", "zeta"}
    assert failures["acme"]["code"] == "unavailable"
    assert str(path) in failures["acme"]["detail"]
    away.rename(path)
    applied = await story.ask("POST", f"{backfill}/apply")
    # 15 of acme and its new one, 1 of mid, 15 of zeta
    assert (applied["state"], applied["events"]["voided"]) == ("applied", 32)
    reverting = await story.ask("POST", f"{backfill}/revert")
    assert reverting["state"] == "reverted"
