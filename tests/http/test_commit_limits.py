"""What is beyond the database's own limits, or beyond memory, harms its neighbours no more than
any other item that is at fault.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import AsyncConnection, errors

from taximeter.kernel.errors import Unavailable
from taximeter.services.committer import Committer, LimitExceeded
from taximeter.services.ingest import IngestRequest, weight_of
from taximeter.storage.connection import FlushedConnection

Connection = AsyncConnection[tuple[Any, ...]]
TOO_LARGE, SLOW = 0, -1


class Bench:
    """A committer on a real database, whose items are numbers, and how often it tried each."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.tried: list[int] = []
        self.arrived = asyncio.Event()
        self.committer: Committer[int, int] = Committer(
            connect=self._connect, commit=self._commit, weight=lambda _: 1,
            weight_per_commit=10, weight_waiting_max=100,
        )  # fmt: skip

    async def _connect(self) -> Connection:
        return await FlushedConnection.connect(self.database_url)

    async def _commit(self, connection: Connection, items: Sequence[int]) -> Sequence[int]:
        self.tried += items
        if TOO_LARGE in items:
            # An index row of 16 kB of md5, which do not compress.
            await connection.execute("CREATE TEMP TABLE kept (key text PRIMARY KEY)")
            await connection.execute(
                "INSERT INTO kept SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n"
            )
        if SLOW in items and len(items) == 1:
            self.arrived.set()
            await asyncio.sleep(60)
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


async def test_a_stop_amid_single_commits_leaves_nobody_waiting(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taximeter.services.committer.STOP_S_MAX", 0.01)
    bench = Bench(database_url)
    items = (TOO_LARGE, SLOW, 1)
    tasks = [asyncio.create_task(bench.committer.submit(item)) for item in items]
    await asyncio.sleep(0)
    bench.committer.start()
    await bench.arrived.wait()
    await bench.committer.stop()
    found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(one) for one in found] == [LimitExceeded, Unavailable, Unavailable]


@pytest.mark.parametrize(
    ("body_bytes", "weight"), [(0, 1), (250, 1), (2_000, 1), (16 * 1024 * 1024, 16_384)]
)
def test_a_large_body_weighs_more_than_its_events(body_bytes: int, weight: int) -> None:
    assert weight_of(IngestRequest((), body_bytes=body_bytes)) == weight
