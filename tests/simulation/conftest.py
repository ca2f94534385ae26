"""The simulation's instance: a sandbox in this process whose clock is moved by the API."""

from collections.abc import AsyncIterator

import pytest

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.story import START, Story


@pytest.fixture
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"


@pytest.fixture
async def story(database_url: str, anyio_backend: str) -> AsyncIterator[Story]:
    """A new instance on 1 January 2026, told by HTTP alone."""
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=START, workers=False
    )
    instance = await open_instance(settings)
    try:
        async with client_for(instance, ROOT_KEY) as client:
            yield Story(client)
    finally:
        await instance.close()
