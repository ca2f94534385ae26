"""The pages' tests: an instance in this process, a program that feeds it, a browser that looks."""

from collections.abc import AsyncIterator

import httpx
import pytest

from taximeter.bootstrap import Instance, Settings, open_instance
from tests.http.api import NOW, ROOT_KEY, client_for
from tests.web.site import HOST


@pytest.fixture
async def instance(database_url: str, anyio_backend: str) -> AsyncIterator[Instance]:
    """A running instance without its worker, as a sandbox whose clock stands at NOW."""
    opened = await open_instance(
        Settings(database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=NOW, workers=False)
    )
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def client(instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """A program with the admin key."""
    async with client_for(instance, ROOT_KEY) as found:
        yield found


@pytest.fixture
async def stranger(instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has not signed in."""
    transport = httpx.ASGITransport(instance.app, raise_app_exceptions=False)
    headers = {"accept": "text/html"}
    async with httpx.AsyncClient(transport=transport, base_url=HOST, headers=headers) as found:
        yield found


@pytest.fixture
async def browser(instance: Instance, stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A browser that has signed in by a link."""
    answer = await stranger.get(instance.sign_in_path(ROOT_KEY))
    assert answer.status_code == 200, answer.text
    return stranger
