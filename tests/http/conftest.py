"""The HTTP tests' instance: the whole application in this process, on a fresh database, as a
sandbox whose clock stands still at NOW until a test sets it. Nothing is patched.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from typing import Protocol

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taximeter.bootstrap import Instance, Settings, open_instance
from tests.http.api import NOW, ROOT_KEY, client_for

_NUMBERS = count(1)


class DatabaseServer(Protocol):
    """What the fixture `test_server` gives."""

    url: str
    admin_url: str
    template: str


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
    test_server: DatabaseServer, anyio_backend: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin key of an instance that the tests of a module share: for tables of
    bad input, and for tests that leave nothing behind that another one minds.
    """
    name = f"shared_{os.getpid()}_{next(_NUMBERS)}"
    owner = str(conninfo_to_dict(test_server.url)["user"])
    create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
    names = [sql.Identifier(each) for each in (name, owner, test_server.template)]
    with psycopg.connect(test_server.admin_url, autocommit=True) as connection:
        connection.execute(create.format(*names))
        try:
            async with running(make_conninfo(test_server.url, dbname=name)) as opened:
                async with client_for(opened, ROOT_KEY) as found:
                    yield found
        finally:
            connection.execute(drop.format(names[0]))


@pytest.fixture
def set_clock(instance: Instance) -> Callable[[datetime], None]:
    """Sets what the clock shows; nothing falls due by that."""
    assert instance.context.test_clock is not None
    return instance.context.test_clock.set
