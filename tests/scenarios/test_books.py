"""The checker of the books: it agrees with a lively customer, and names each kind of damage."""

import asyncio

import psycopg
import pytest
from typer.testing import Result

from tests.cli.command_line import run_on_database
from tests.scenarios.story import Story, event, usage_price

OF_N = ' {{"model":"n"}}'


@pytest.fixture(autouse=True)
def named_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands work on the story's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)


async def live(story: Story, customer: str = "acme") -> dict[str, str]:
    """A customer with two grants, a debt in another asset, usage, and a hold in every state; what
    its things are called.
    """
    await story.customer(customer)
    await story.meter("calls", dimensions=["model"])
    await story.meter("peak", "max", event_type="calls")
    await story.meter("users", "unique", event_type="calls", value="user")
    await story.plan(
        "p", usage_price("use", "calls", unit="1", settle="wallet"),
        usage_price("debt", "calls", unit="1", asset="credits", settle="wallet"),
        usage_price("top", "peak", unit="0.5"), usage_price("seats", "users", unit="2"),
    )  # fmt: skip
    names = {"subscription": await story.subscribe("p", customer)}
    names["grant"] = await story.grant("100", customer)
    names["second"] = await story.grant("5", customer, kind="promotional")
    await story.use(
        event("calls", "a", customer=customer, q=3, model="m", user="x"),
        event("calls", "b", customer=customer, q=5, model="n", user="y"),
        event("calls", "c", customer=customer, q=1, model="m", user="x"),
    )
    for name in ("captured", "released", "expired"):
        names[name] = await hold(story, customer, "2")
    await story.ask("POST", f"/v1/holds/{names['captured']}/capture", json={"amount": "1.5"})
    await story.ask("POST", f"/v1/holds/{names['released']}/release", json={})
    await story.advance("2026-01-01T01:00:00Z")  # after 300 s a hold expires
    names["open"] = await hold(story, customer, "10")
    await story.ask("POST", f"/v1/grants/{names['second']}/void", json={})
    return names


async def hold(story: Story, customer: str, amount: str) -> str:
    body = {"customer": customer, "asset": "USD", "amount": amount}
    return str((await story.ask("POST", "/v1/holds", json=body))["id"])


async def check(*arguments: object) -> Result:
    """What `taximeter db check` says, in a thread of its own as it runs a loop of its own."""
    return await asyncio.to_thread(run_on_database, "db", "check", *arguments)


def damage(database_url: str, statement: str) -> None:
    """Change one row behind the program's back."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(statement.encode()).rowcount == 1, statement


async def test_the_books_of_a_lively_customer_are_right(story: Story) -> None:
    await live(story)
    await story.customer("idle")
    found = await check()
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == "the schema is as declared\nthe books are right: 2 checked\n"
    assert (await check("--schema-only")).stdout == "the schema is as declared\n"


# Used are 3 + 5 + 1 = 9, captured 1.5; promotional credit is drawn first, so that of the paid grant
# are left 100 - (9 + 1.5 - 5) = 94.5. The debt in credits is the 9 used.
@pytest.mark.parametrize(
    ("statement", "thing", "figures"),
    [
        ("UPDATE credit_grant SET remaining = 90 WHERE id = '{grant}'",
         "grant {grant}", "remaining is 90, recomputed it is 94.5"),
        ("DELETE FROM wallet_entry WHERE kind = 'grant' AND grant_id = '{grant}'",
         "grant {grant}", "remaining is 94.5, recomputed it is -5.5"),
        ("UPDATE wallet_entry SET grant_id = 'none' WHERE kind = 'grant' AND grant_id = '{grant}'",
         "grant {grant}", "remaining is 94.5, recomputed it is -5.5"),
        ("UPDATE wallet SET debt = 7 WHERE asset = 'credits'",
         "wallet credits", "debt is 7, recomputed it is 9"),
        (("UPDATE hold_account SET counters = "
         "jsonb_set(counters::jsonb, '{{g:{grant}}}', '\"12\"')::json"),
         "hold account g:{grant}", "counter is 12, recomputed it is 10"),
        ("UPDATE hold_account SET counters = '{{}}'",
         "hold account g:{grant}", "counter is nothing, recomputed it is 10"),
        ("DELETE FROM hold WHERE id = '{open}'",
         "hold account g:{grant}", "counter is 10, recomputed it is nothing"),
        ("UPDATE hold SET resolution = NULL WHERE id = '{released}'",
         "hold {released}", "state is released, recomputed it is open"),
        ("UPDATE hold SET counters = '{{\"w:USD\": \"1\"}}' WHERE id = '{released}'",
         "hold {released}", "counters is {{\"w:USD\": \"1\"}}, recomputed it is {{}}"),
        ("UPDATE hold SET captured = '{{\"USD\": \"1\"}}' WHERE id = '{captured}'",
         "hold {captured}, USD", "captured is 1, recomputed it is 1.5"),
        ("UPDATE usage_total SET quantity = 9 WHERE price = 'use' AND quantity = 5",
         "usage total {subscription}/use from 2026-01-01T00:00:00Z, meter calls version 1" + OF_N,
         "quantity is 9, recomputed it is 5"),
        ("UPDATE usage_total SET events = 2 WHERE price = 'top'",
         "usage total {subscription}/top from 2026-01-01T00:00:00Z, meter peak version 1",
         "events is 2, recomputed it is 3"),
        ("DELETE FROM usage_total WHERE price = 'seats'",
         "usage total {subscription}/seats from 2026-01-01T00:00:00Z, meter users version 1",
         "quantity is 0, recomputed it is 2"),
        ("UPDATE usage_bucket SET quantity = 6 WHERE meter = 'calls' AND quantity = 5",
         "usage of meter calls in the hour of 2026-01-01T00:00:00Z" + OF_N,
         "quantity is 6, recomputed it is 5"),
        ("DELETE FROM event WHERE id = 'b'",
         "usage total {subscription}/debt from 2026-01-01T00:00:00Z, meter calls version 1" + OF_N,
         "quantity is 5, recomputed it is 0"),
    ],
)  # fmt: skip
async def test_damage_is_named(
    story: Story, database_url: str, statement: str, thing: str, figures: str
) -> None:
    names = await live(story)
    story.audited = story.books_right = False
    damage(database_url, statement.format(**names))
    found = await check("--customer", "acme")
    assert found.exit_code == 1
    said = f"acme: {thing}: {figures}".format(**names)
    assert found.stdout.splitlines()[1:] == [said]
    assert "The books of 1 of 1 customers differ" in found.stderr


async def test_all_customers_are_checked_whatever_one_of_them_has(
    story: Story, database_url: str
) -> None:
    for customer in ("acme", "beta", "gamma"):
        await story.customer(customer)
        await story.grant("10", customer)
    story.books_right = False
    damage(database_url, "UPDATE credit_grant SET remaining = 9 WHERE customer = 'beta'")
    found = await check()
    assert (found.exit_code, len(found.stdout.splitlines())) == (1, 2)
    assert "beta: grant" in found.stdout
    assert "The books of 1 of 3 customers differ" in found.stderr
    assert (await check("--from", "gamma")).stdout.endswith("the books are right: 1 checked\n")
    assert (await check("--from", "beta")).exit_code == 1
    assert (await check("--customer", "acme")).exit_code == 0


async def test_usage_of_too_many_events_is_said_not_to_be_counted(
    story: Story, database_url: str
) -> None:
    await live(story)
    story.audited = story.books_right = False
    damage(database_url, "UPDATE usage_total SET quantity = 9 WHERE price = 'top'")
    found = await check("--events", "2")  # of three
    assert found.exit_code == 0
    assert "The usage of 1 customers was not counted again" in found.stderr
    assert (await check("--events", "3")).exit_code == 1


async def test_an_event_in_the_instant_in_which_a_meter_changed(
    story: Story, database_url: str
) -> None:
    """The first event counts by model, the second does not, both at the same instant."""
    story.audited = False
    await live(story)
    await story.advance("2026-01-01T02:00:00Z")
    await story.use(event("calls", "d", q=1, model="m", user="x"))
    await story.meter("calls")
    await story.use(event("calls", "e", q=1, model="m", user="x"))
    found = await check()
    assert (found.exit_code, found.stderr) == (0, "")
    # Of a time before events and meters said what came first.
    damage(database_url, "UPDATE event SET counted_at = NULL WHERE id = 'e'")
    damage(database_url, "UPDATE meter SET counts_from = NULL WHERE key = 'calls' AND version = 2")
    found = await check()
    assert found.exit_code == 0
    assert "The usage of 1 customers was not counted again" in found.stderr


async def test_a_check_that_is_called_wrongly() -> None:
    both = await check("--customer", "a", "--from", "b")
    assert (both.exit_code, "not both" in both.stderr) == (2, True)
    unknown = await check("--customer", "nobody")
    assert (unknown.exit_code, "nobody" in unknown.stderr) == (1, True)
