"""The HTTP tests' instance: the whole application in this process, on a fresh database, as a
sandbox whose clock stands still at NOW until a test sets it. Nothing is patched.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime

import httpx
import pytest

from taximeter.bootstrap import Instance, Settings, open_instance
from tests.http.api import NOW, ROOT_KEY, client_for


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"


@asynccontextmanager
async def running(database_url: str) -> AsyncIterator[Instance]:
    """An instance without its worker: due work is done where a test asks for it."""
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=NOW, workers=False
    )
    opened = await open_instance(settings)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def instance(database_url: str, anyio_backend: str) -> AsyncIterator[Instance]:
    """A running instance on a fresh database."""
    async with running(database_url) as opened:
        yield opened


@pytest.fixture
async def client(instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin key."""
    async with client_for(instance, ROOT_KEY) as found:
        yield found


@pytest.fixture(scope="module")
async def shared(
    new_database: Callable[[], AbstractContextManager[str]], anyio_backend: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin key of an instance that the tests of a module share: for tables of
    bad input, and for tests that leave nothing behind that another one minds.
    """
    with new_database() as url:
        async with running(url) as opened, client_for(opened, ROOT_KEY) as found:
            yield found


@pytest.fixture
def set_clock(instance: Instance) -> Callable[[datetime], None]:
    """Sets what the clock shows; nothing falls due by that."""
    assert instance.context.test_clock is not None
    return instance.context.test_clock.set
