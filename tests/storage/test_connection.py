"""A pipeline hands large statements to the server whole, however slowly the socket takes them."""

import asyncio

import pytest

from taximeter.storage.connection import FlushedConnection


@pytest.fixture
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"


@pytest.mark.parametrize("size", [100_000, 1_000_000, 20_000_000])
async def test_a_large_statement_does_not_hang_a_pipeline(database_url: str, size: int) -> None:
    text = "x" * size
    async with await FlushedConnection.connect(database_url) as connection:
        async with asyncio.timeout(20):
            async with connection.pipeline(), connection.transaction():
                first = await connection.execute("SELECT length(%s)", [text])
                async with connection.pipeline():  # entering it waits for what was sent before
                    second = await connection.execute("SELECT length(%s)", [text])
                assert await first.fetchone() == await second.fetchone() == (size,)
