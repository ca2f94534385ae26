"""What is beyond the database's own limits, or beyond memory, harms its neighbours no more than
any other item that is at fault.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import AsyncConnection, errors

from taximeter.kernel.errors import Unavailable
from taximeter.services.committer import Bounds, Committer, LimitExceeded
from taximeter.services.ingest import IngestRequest, weight_of
from taximeter.storage.connection import GroupConnection
from tests.services import test_committer as virtual

Connection = AsyncConnection[tuple[Any, ...]]
TOO_LARGE = 0


class Bench:
    """A committer on a real database, whose items are numbers, and how often it tried each."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.tried: list[int] = []
        self.committer: Committer[int, int] = Committer(
            connect=self._connect, commit=self._commit, weight=lambda _: 1,
            bounds=Bounds(10, 100),
        )  # fmt: skip

    async def _connect(self) -> GroupConnection:
        return await GroupConnection.connect(self.database_url)

    async def _commit(self, connection: Connection, items: Sequence[int]) -> Sequence[int]:
        self.tried += items
        if TOO_LARGE in items:
            # An index row of 16 kB of md5, which do not compress.
            await connection.execute("CREATE TEMP TABLE kept (key text PRIMARY KEY)")
            await connection.execute(
                "INSERT INTO kept SELECT string_agg(md5(n::text), '') "
                "FROM generate_series(1, 500) n"
            )
        return items


async def test_an_item_beyond_a_limit_fails_alone_and_at_once(database_url: str) -> None:
    bench = Bench(database_url)
    tasks = [asyncio.create_task(bench.committer.submit(item)) for item in (1, TOO_LARGE, 2)]
    await asyncio.sleep(0)
    bench.committer.start()
    try:
        found = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await bench.committer.stop()
    assert found[0] == 1
    assert isinstance(found[1], LimitExceeded)
    assert isinstance(found[1].__cause__, errors.ProgramLimitExceeded)
    assert found[2] == 2
    assert bench.tried == [1, TOO_LARGE, 2, 1, TOO_LARGE, 2]


def test_a_stop_amid_single_commits_leaves_nobody_waiting() -> None:
    async def main() -> None:
        arrived = asyncio.Event()

        async def work(items: Sequence[int]) -> None:
            if 1 in items:
                raise errors.ProgramLimitExceeded
            arrived.set()
            await asyncio.Event().wait()

        async with virtual.Bench(work) as bench:
            tasks = bench.submit(1, 2, 3)
            await arrived.wait()
        assert all(task.done() for task in tasks)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [LimitExceeded, Unavailable, Unavailable]

    virtual.run(main())


@pytest.mark.parametrize(
    ("body_bytes", "weight"), [(0, 1), (250, 1), (2_000, 1), (16 * 1024 * 1024, 16_384)]
)
def test_a_large_body_weighs_more_than_its_events(body_bytes: int, weight: int) -> None:
    assert weight_of(IngestRequest((), body_bytes=body_bytes)) == weight
