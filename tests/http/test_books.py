"""The check of the books that an instance runs beside its work, and what it shows of it."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg
from structlog.testing import capture_logs

from taximeter.bootstrap import Instance, StandingClock
from taximeter.services.books import BooksWatch
from tests.http.api import put_customer
from tests.http.credit import give


async def metrics_of(client: httpx.AsyncClient) -> dict[str, str]:
    """The figures about books, by name."""
    lines = (await client.get("/metrics")).text.splitlines()
    return dict(line.split() for line in lines if line.startswith("taximeter_books"))


async def test_differences_are_logged_and_counted_until_they_are_gone(
    instance: Instance, client: httpx.AsyncClient, database_url: str
) -> None:
    for customer in ("acme", "beta", "gamma"):
        await put_customer(client, customer)
        await give(client, customer=customer, amount="10")
    clock = StandingClock(datetime(2026, 1, 1, tzinfo=UTC))
    books = BooksWatch(instance.context, clock)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE credit_grant SET remaining = 9 WHERE customer = 'beta'")
    with capture_logs() as logs:
        assert await books.run_round() == 0  # acme and beta; two at a time
        assert (books.differing, books.completed_at) == (1, None)
        assert await books.run_round() == 3  # gamma is the last
        assert await books.run_round() == 0
    assert books.completed_at == clock.now()
    (line,) = (line for line in logs if line["log_level"] == "error")
    assert line["event"] == "books_differ"
    assert (line["customer"], line["field"], line["stored"], line["recomputed"]) == (
        "beta", "remaining", "9", "10",
    )  # fmt: skip
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE credit_grant SET remaining = 10 WHERE customer = 'beta'")
    clock.set(clock.now() + timedelta(minutes=59))
    assert await books.run_round() == 0  # rests until an hour after it began
    clock.set(clock.now() + timedelta(minutes=1))
    assert await books.run_round() == 0
    assert books.differing == 1  # of the round before, until this one has seen all
    assert await books.run_round() == 3
    assert books.differing == 0


async def test_the_metrics_say_when_books_were_checked_and_how_many_differ(
    instance: Instance, client: httpx.AsyncClient
) -> None:
    await put_customer(client)
    assert await metrics_of(client) == {"taximeter_books_differing": "0.0"}
    assert await instance.server.books.run_round() == 1
    found = await metrics_of(client)
    assert found["taximeter_books_differing"] == "0.0"
    assert float(found["taximeter_books_checked_timestamp_seconds"]) > 1_700_000_000
