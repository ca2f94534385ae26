"""`taximeter usage recompute`: usage counted again from the raw events, compared and set right."""

import asyncio

import psycopg
import pytest
from typer.testing import Result

from tests.cli.command_line import run_on_database
from tests.scenarios.story import Json, Story, amounts, event, usage_price

FROM = "period_start 2026-01-01T00:00:00+00:00, meter"
P50 = "subscription {id}, price p50, " + FROM + " p50, version 1, dimensions {{}}"
OTHER = ' sums, version 1, dimensions {{"model":"@other"}}'


@pytest.fixture(autouse=True)
def named_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands work on the story's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)


async def live(story: Story, customer: str = "acme") -> str:
    """Usage by every aggregation, some of it beyond the limit of a dimension; the subscription."""
    story.audited = False  # the second biller knows no levels
    await story.customer(customer)
    shared: Json = {"event_type": "use", "value": "q"}
    await story.meter("sums", dimensions=["model"], dimension_limit=1, **shared)
    await story.meter("peaks", "max", bucket="day", **shared)
    await story.meter("users", "unique", event_type="use", value="user")
    await story.meter("p50", "percentile", percentile="0.5", **shared)
    await story.meter("gb", "weighted_sum", **shared)
    await story.plan(
        "p", usage_price("sums", "sums", unit="1"), usage_price("peaks", "peaks", unit="1"),
        usage_price("users", "users", unit="1"), usage_price("p50", "p50", unit="1"),
        usage_price("gb", "gb", unit="1"),
    )  # fmt: skip
    subscription = await story.subscribe("p", customer)
    await story.use(*[
        event("use", f"e{n}", "2026-01-01T00:00:00Z", customer=customer, q=n, model=f"m{n}",
              user=f"u{n % 2}")
        for n in range(1, 5)
    ])  # fmt: skip
    return subscription


async def recompute(*arguments: object) -> Result:
    """What the command says, in a thread of its own as it runs a loop of its own."""
    return await asyncio.to_thread(run_on_database, "usage", "recompute", *arguments)


def damage(database_url: str, statement: str, *, rows: int = 1) -> None:
    """Change rows behind the program's back."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(statement.encode()).rowcount == rows, statement


def hours_left(database_url: str) -> int:
    """How many hours of usage are left."""
    with psycopg.connect(database_url) as connection:
        return len(connection.execute("SELECT FROM usage_bucket").fetchall())


DAMAGE = [
    ("UPDATE usage_total SET quantity = 10 WHERE price = 'sums' AND quantity = 9",
     "usage total of subscription {id}, price sums, " + FROM + OTHER,
     "quantity is 10, recomputed it is 9"),
    ("DELETE FROM usage_total WHERE price = 'p50'",
     "usage total of " + P50, "quantity is nothing, recomputed it is 2"),
    ("UPDATE usage_total SET below = 0 WHERE price = 'p50'",
     "usage total of " + P50, "below is 0, recomputed it is 1"),
    ("UPDATE usage_bucket SET events = 7 WHERE meter = 'peaks'",
     "usage hour of meter peaks, bucket_start 2026-01-01T00:00:00+00:00, version 1",
     "events is 7, recomputed it is 4"),
    ("DELETE FROM usage_member WHERE ctid = (SELECT min(ctid) FROM usage_member)",
     "distinct value of subscription {id}, price users, " + FROM + " users", "member is"),
    ("UPDATE usage_value SET events = 3 WHERE value = 4",
     "value of " + P50 + ", value 4", "events is 3, recomputed it is 1"),
    ("UPDATE usage_level SET value = 5 WHERE value = 4",
     "level of meter gb, dimensions {{}}, time 2026-01-01T00:00:00+00:00",
     "value is 5, recomputed it is 4"),
]  # fmt: skip


async def test_damage_is_named_and_set_right(story: Story, database_url: str) -> None:
    subscription = await live(story)
    bill = await story.upcoming()
    assert (await recompute("--check")).exit_code == 0
    for statement, thing, figures in DAMAGE:
        damage(database_url, statement)
        found = await recompute("--check", "--customer", "acme")
        assert found.exit_code == 1
        assert found.stdout.startswith(f"acme: {thing.format(id=subscription)}")
        assert figures in found.stdout
        assert "1 of 1 customers differs" in found.stderr
        assert "nothing was changed" in found.stderr
        repaired = await recompute()
        assert (repaired.exit_code, "rows were set right" in repaired.stdout) == (0, True)
    again = await recompute("--check")
    assert again.stdout == "usage is what the events come to: 1 customers counted\n"
    assert await story.upcoming() == bill


async def test_what_is_final_is_named_and_left(story: Story, database_url: str) -> None:
    await live(story)
    await story.advance("2026-02-01T02:00:00Z")
    story.books_right = False
    await story.use(event("use", "new", q=7, model="m1", user="u"))
    damage(database_url, "UPDATE usage_total SET quantity = 50, billed = 50 WHERE price = 'users'"
                         " AND period_start = '2026-01-01'")  # fmt: skip
    damage(database_url, "UPDATE usage_total SET quantity = 60 WHERE price = 'sums'"
                         " AND period_start = '2026-02-01'")  # fmt: skip
    found = await recompute()
    assert found.exit_code == 1
    assert "what is final was not changed" in found.stderr
    assert "price users" in found.stdout.splitlines()[-1]
    assert "quantity is 50, recomputed it is 2" in found.stdout.splitlines()[-1]
    assert ("sums", "7", "7.00") in amounts(await story.upcoming())


@pytest.mark.parametrize("order", ["abcd", "dcba", "bdac", "cadb"])
async def test_what_came_in_the_instant_of_a_change_is_taken_back_by_its_version(
    story: Story, database_url: str, order: str
) -> None:
    """Under a clock that stands still, four versions of two meters count an event each."""
    story.audited = False  # the second biller knows the newest version only
    await story.customer()
    read: Json = {"q": 100, "r": 10, "s": 1, "model": "x"}
    await story.meter("use")
    await story.plan("p", usage_price("use", "use", unit="1", settle="wallet"))
    await story.subscribe("p")
    await story.use(event("use", "a", "2026-01-01T00:00:00Z", **read))  # q: 100
    await story.meter("use", value="r", dimensions=["model"])
    await story.use(event("use", "b", "2026-01-01T00:00:00Z", **read))  # r: 10
    await story.meter("use", "count")
    await story.send(event("later", "d", "2026-01-01T00:00:00Z", q=2))  # waits for its meter
    await story.use(event("use", "c", "2026-01-01T00:00:00Z", **read))  # 1
    await story.meter("more", "count", event_type="use")  # has counted none of them
    await story.meter("later")
    await story.meter("later", "max")
    counts = {"a": 100, "b": 10, "c": 1, "d": 0}
    left = sum(counts.values())
    # 0 - (100 + 10 + 1)
    assert await story.available() == "-111"
    assert [row["value"] for row in await story.usage("later", window="total")] == ["2"]
    assert await story.usage("more", window="total") == []
    for name in order:
        body = {"customer": "acme", "reason": "sent by mistake"}
        await story.ask("POST", f"/v1/events/{name}/void", json=body)
        left -= counts[name]
        assert await story.available() == str(-left)
        found = await recompute("--check")
        assert (found.exit_code, found.stderr) == (0, "")
    assert hours_left(database_url) == 0


async def test_it_goes_on_after_a_customer(story: Story, database_url: str) -> None:
    for customer in ("a", "b", "c"):
        await story.customer(customer)
    await live(story, "d")
    damage(
        database_url, "UPDATE usage_bucket SET quantity = 1 WHERE meter = 'sums' AND quantity = 9"
    )
    found = await recompute("--check", "--after", "b")
    assert "1 of 2 customers differs" in found.stderr
    assert (await recompute("--check", "--customer", "a")).exit_code == 0
    assert (await recompute("--customer", "d")).exit_code == 0
    both = await recompute("--customer", "a", "--after", "b")
    assert (both.exit_code, "not both" in both.stderr) == (2, True)
    assert (await recompute("--customer", "nobody")).exit_code == 1
