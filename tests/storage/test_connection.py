"""A group's statements reach the server whole, however slowly the socket takes them, and fail as
one.
"""

import asyncio

import pytest
from psycopg.errors import DivisionByZero, OperationalError, UniqueViolation

from taximeter.storage.connection import GroupConnection, answered


@pytest.fixture
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"


@pytest.mark.parametrize("size", [100_000, 1_000_000, 20_000_000])
async def test_large_statements_do_not_hang_a_group(database_url: str, size: int) -> None:
    text = "x" * size
    async with await GroupConnection.connect(database_url) as connection:
        async with asyncio.timeout(20), connection.group():
            sent = [await connection.execute("SELECT %s, 1", [text]) for _ in range(3)]
            for cursor in sent:
                assert await cursor.fetchone() == (text, 1)
                assert await cursor.fetchone() is None


async def test_a_group_commits_what_was_never_asked_for(database_url: str) -> None:
    async with await GroupConnection.connect(database_url) as connection:
        async with connection.group():
            await connection.execute("CREATE TABLE made (n integer PRIMARY KEY)")
            await connection.execute("INSERT INTO made SELECT generate_series(1, %s)", [3])
        cursor = await connection.execute("SELECT n FROM made ORDER BY n")
        assert await cursor.fetchall() == [(1,), (2,), (3,)]


async def test_rows_are_counted_once_they_are_answered(database_url: str) -> None:
    async with await GroupConnection.connect(database_url) as connection, connection.group():
        await connection.execute("CREATE TABLE made (n integer PRIMARY KEY)")
        cursor = await connection.execute("INSERT INTO made SELECT generate_series(1, 7)")
        assert cursor.rowcount == -1
        await answered(connection)
        assert cursor.rowcount == 7


async def test_a_group_that_fails_leaves_nothing_and_its_connection_goes_on(
    database_url: str,
) -> None:
    async with await GroupConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE made (n integer PRIMARY KEY)")
        insert = "INSERT INTO made VALUES (%s)"

        async def twice() -> None:
            async with connection.group():
                await connection.execute(insert, [1])
                await connection.execute(insert, [1])
                await connection.execute("SELECT 'never ran'")

        async def broken() -> None:
            async with connection.group():
                await connection.execute(insert, [2])
                raise ZeroDivisionError

        for _ in range(2):  # once with statements that are new to the server, once with known ones
            with pytest.raises(UniqueViolation):
                await twice()
            with pytest.raises(ZeroDivisionError):
                await broken()
        async with connection.group():
            await connection.execute(insert, [4])
            cursor = await connection.execute("SELECT 'never ran'")
            assert await cursor.fetchone() == ("never ran",)
        cursor = await connection.execute("SELECT n FROM made")
        assert await cursor.fetchall() == [(4,)]


async def test_a_transaction_that_cannot_be_undone_ends_its_connection(database_url: str) -> None:
    async with await GroupConnection.connect(database_url, autocommit=True) as connection:

        async def broken_twice() -> None:
            async with connection.group():
                await connection.execute("SELECT 1 / %s", [0])
                raise ZeroDivisionError  # the server skips the ROLLBACK, too

        with pytest.raises(DivisionByZero):
            await broken_twice()
        assert connection.closed


async def test_a_statement_that_fails_is_undone_to_a_savepoint(database_url: str) -> None:
    async with await GroupConnection.connect(database_url) as connection, connection.group():
        await connection.execute("SAVEPOINT before")
        cursor = await connection.execute("SELECT 1 / %s", [0])
        with pytest.raises(DivisionByZero):
            await cursor.fetchone()
        await connection.execute("ROLLBACK TO SAVEPOINT before")
        cursor = await connection.execute("SELECT 1 / %s", [1])
        assert await cursor.fetchone() == (1,)


async def test_a_server_that_is_gone_is_an_error_of_operation(database_url: str) -> None:
    async with (
        await GroupConnection.connect(database_url) as connection,
        await GroupConnection.connect(database_url, autocommit=True) as other,
    ):

        async def cut_off() -> None:
            async with asyncio.timeout(20), connection.group():
                cursor = await connection.execute("SELECT pg_backend_pid()")
                await other.execute("SELECT pg_terminate_backend(%s)", await cursor.fetchone())
                await (await connection.execute("SELECT pg_sleep(10)")).fetchone()

        with pytest.raises(OperationalError):
            await cut_off()
        assert connection.closed


async def test_parameters_go_by_place_or_by_name(database_url: str) -> None:
    async with await GroupConnection.connect(database_url) as connection, connection.group():
        by_place = await connection.execute("SELECT %s::int - %s::int, '%%s'", [7, 4])
        values = {"b": "two", "a": 1}
        by_name = await connection.execute("SELECT %(a)s::int, %(b)s::text, %(a)s::int", values)
        assert await by_place.fetchone() == (3, "%s")
        assert await by_name.fetchone() == (1, "two", 1)


async def test_a_plan_is_made_anew_as_tables_grow(database_url: str) -> None:
    """A statement that was planned while its table was empty finds rows by their key later."""
    update = "UPDATE made AS m SET n = m.n FROM unnest(%s::integer[]) AS k (n) WHERE m.n = k.n"
    async with await GroupConnection.opened(database_url) as connection:
        await connection.execute("CREATE TABLE made (n integer PRIMARY KEY)")
        await connection.execute("ANALYZE made")  # else it is taken for one of some pages
        plans = []
        for count in (0, 10_000, 0, 0):  # after the fourth group, plans of before it are gone
            async with connection.group():
                await connection.execute(update, ["{7}"])
                await connection.execute("INSERT INTO made SELECT generate_series(1, %s)", [count])
            cursor = await connection.execute(
                "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE made%'"
            )
            [(name,)] = await cursor.fetchall()
            cursor = await connection.execute(f"EXPLAIN EXECUTE {name} ('{{7}}')")
            plans.append("\n".join(row[0] for row in await cursor.fetchall()))
    assert "Index Cond" not in plans[0], "of an empty table all is read"
    assert "Index Cond: (n = k.n)" in plans[3]
