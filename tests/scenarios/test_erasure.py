"""Personal data taken away: nothing that was counted changes, and nothing personal is left."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from taximeter.bootstrap import Instance
from taximeter.gateways import parquet
from taximeter.kernel.times import parse_instant
from taximeter.services import erase, retention
from tests.scenarios.story import Json, Story, event, usage_price
from tests.scenarios.test_archive import put_away

SECRETS = ("Ada Lovelace", "ada@example.com", "secret", "EU123")


async def begin(story: Story) -> list[Json]:
    """A customer with everything that may be personal, in a file and in the database."""
    await story.customer(
        name="Ada Lovelace", email="ada@example.com", metadata={"note": "secret"},
        tax={"country": "DE", "vat_id": "EU123"}, credit_limit="100",
    )  # fmt: skip
    await story.customer("zeta", name="Zeta")
    await story.meter("calls", dimensions=["model"], filter={"region": ["eu"]})
    await story.plan("p", usage_price("calls", "calls", unit="0.10"))
    for customer in ("acme", "zeta"):
        await story.subscribe("p", customer)
    sent = [
        {
            **event("calls", f"{customer}-{n}", f"2026-01-0{n + 1}T00:00:00Z", customer=customer,
                    q="1.50", model="m", region="eu", prompt="secret"),
            "comment": "secret",
        }
        for customer in ("acme", "zeta") for n in range(3)
    ]  # fmt: skip
    await story.advance("2026-01-10T00:00:00Z")
    await story.use(*sent)
    await story.advance("2026-02-10T00:00:00Z")
    young = event("calls", "young", q="2", model="m", region="eu", prompt="secret")
    await story.use(young)
    correction = {"customer": "acme", "reason": "the secret was wrong", "data": {
        "q": "1", "model": "m", "region": "eu", "prompt": "secret"}}  # fmt: skip
    await story.ask("POST", "/v1/events/young/amend", json=correction)
    return [*sent, young]


def everything(database_url: str) -> str:
    """All rows of all tables as text."""
    found = []
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables.fetchall():
            query = sql.SQL("SELECT {}::text FROM {}").format(*[sql.Identifier(table)] * 2)
            found += [f"{table}: {row[0]}" for row in connection.execute(query)]
    return "\n".join(found)


def in_files(folder: Path) -> list[tuple[Any, ...]]:
    """All rows of all files of a directory."""
    return [row for path in parquet.names_in(folder) for rows in parquet.read(path) for row in rows]


async def figures(story: Story) -> list[Json | list[Json]]:
    """All amounts and quantities."""
    return [
        await story.invoices(), await story.upcoming(),
        await story.usage("calls", window="day", group_by="model"),
        await story.ask("GET", "/v1/customers/acme/balance"),
        await story.ask("GET", "/v1/customers/acme/spend"),
    ]  # fmt: skip


async def test_an_erased_customer_is_nobody_and_owes_the_same(
    story: Story, instance: Instance, database_url: str, tmp_path: Path
) -> None:
    sent = await begin(story)
    await put_away(instance, tmp_path, "2026-02-01T00:00:00Z")
    before = await figures(story)

    asked = await story.ask("POST", "/v1/customers/acme/erase", json={"reason": "on request"})
    assert asked["state"] == "running"
    acme = await story.ask("GET", "/v1/customers/acme")
    assert (acme["name"], acme["email"], acme["metadata"]) == (None, None, {})
    assert (acme["tax"]["country"], acme["tax"]["vat_id"]) == ("DE", None)
    assert acme["credit_limit"] == "100"
    while await erase.run_erasures(instance.context):
        pass
    done = await story.ask("GET", "/v1/customers/acme/erasure")
    assert (done["state"], done["events"]) == ("finished", 4)
    again = await story.ask("POST", "/v1/customers/acme/erase", json={"reason": "on request"})
    assert again["state"] == "running", "what came since is erased, too"
    await erase.erase(instance.context, "acme")

    left = "\n".join(
        line for line in everything(database_url).splitlines() if "zeta" not in line.lower()
    )
    assert not [secret for secret in SECRETS if secret in left]
    rows = in_files(tmp_path)
    assert [row[8] for row in rows if row[0] == "acme"] == [
        '{"model":"m","q":"1.50","region":"eu"}'] * 3  # fmt: skip
    assert all("secret" in row[8] and "secret" in row[9] for row in rows if row[0] == "zeta")
    assert await figures(story) == before
    answer = await story.send(*sent)
    assert (answer["duplicates"], answer["accepted"]) == (7, 0)
    assert await story.refused("POST", "/v1/customers/nobody/erase", json={"reason": "x"}) == (
        404, "not_found",
    )  # fmt: skip


async def test_retention_takes_away_what_is_old_of_everybody(
    story: Story, instance: Instance, tmp_path: Path
) -> None:
    sent = await begin(story)
    before = await figures(story)
    await put_away(instance, tmp_path, "2026-01-02T12:00:00Z")  # two each
    limit = parse_instant("2026-02-01T00:00:00Z")
    assert limit is not None
    done = await retention.reduce_old(instance.context, limit)
    assert (done.events, done.files) == (6, 1)
    for row in await story.everything("/v1/events", customer="zeta"):
        assert row["data"] == {"q": "1.50", "model": "m", "region": "eu"}
        assert "comment" not in row
    young = await story.ask("GET", "/v1/events/young", params={"customer": "acme"})
    assert young["data"]["prompt"] == "secret", "it is not old enough"
    done = await retention.reduce_old(instance.context, limit)
    assert (done.events, done.files) == (0, 0)
    assert await figures(story) == before
    assert (await story.send(*sent))["duplicates"] == 7


async def test_what_waits_and_what_comes_back_is_nobody_s_either(
    story: Story, instance: Instance, database_url: str
) -> None:
    await begin(story)
    january = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-11T00:00:00Z"}
    body = {"reason": "wrong", "event_types": ["calls"], "customer": "acme", **january}

    async def backfill(**fields: Any) -> str:
        return str((await story.ask("POST", "/v1/backfills", json={**body, **fields}))["id"])

    async def step(backfill_id: str, verb: str) -> Json:
        return await story.ask("POST", f"/v1/backfills/{backfill_id}/{verb}")

    right = {**event("calls", "acme-0", "2026-01-01T00:00:00Z", q="5", model="m", region="eu"),
             "comment": "secret"}  # fmt: skip
    applied = await backfill(replace=True)
    await story.ask("POST", f"/v1/backfills/{applied}/events", json=[right])
    assert (await step(applied, "apply"))["state"] == "applied"
    waiting = await backfill()
    staged = event("calls", "new", "2026-02-02T00:00:00Z", q="3", model="m", region="eu",
                   prompt="secret")  # fmt: skip
    await story.ask("POST", f"/v1/backfills/{waiting}/events", json=[staged])
    letter = {"stream": "s", "position": "1", "code": "too_deep", "bytes": 60}
    letters = [
        {**letter, "content": '{"subject": "acme", "data": "secret"}', "detail": "secret"},
        {**letter, "position": "2", "content": '{"subject": "zeta", "acme": "acme\'s \\"acme\\""}'},
    ]
    await story.ask("POST", "/v1/dead_letters", json={"letters": letters})

    await story.ask("POST", "/v1/customers/acme/erase", json={"reason": "on request"})
    refused = await step(applied, "revert")
    assert refused["failures"][0]["code"] == "being_erased"
    await erase.erase(instance.context, "acme")
    assert (await step(applied, "revert"))["state"] == "reverted"
    assert (await step(waiting, "apply"))["state"] == "applied"

    left = "\n".join(
        line for line in everything(database_url).splitlines() if "zeta" not in line.lower()
    )
    assert not [secret for secret in SECRETS if secret in left]
    kept = await story.ask("GET", "/v1/dead_letters")
    assert [one["content"] for one in kept["data"]] == ["erased", letters[1]["content"]]
    # January as it was, 3 x 1.50; February 1 + 3
    usage = await story.usage("calls", window="month", customer="acme", **january)
    assert [row["value"] for row in usage] == ["4.5", "4"]
