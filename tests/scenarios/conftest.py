"""The scenarios' instance: a sandbox in this process whose clock a story moves by the API."""

from collections.abc import AsyncIterator

import pytest

from taximeter.bootstrap import Instance, Settings, open_instance
from taximeter.services.books import walk
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.audit import audit
from tests.scenarios.story import START, Story


@pytest.fixture
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"


@pytest.fixture
async def instance(database_url: str, anyio_backend: str) -> AsyncIterator[Instance]:
    """A new instance on 1 January 2026."""
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=START, workers=False
    )
    opened = await open_instance(settings)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def story(instance: Instance) -> AsyncIterator[Story]:
    """What is told of the instance by HTTP alone. When the story has ended, a second biller
    recomputes all of its invoices from the raw events, and the checker all of its books.
    """
    async with client_for(instance, ROOT_KEY) as client:
        told = Story(client)
        yield told
        if told.audited:
            await audit(told)
        if told.books_right:
            await check_books(instance)


async def check_books(instance: Instance) -> None:
    """Compute all books again: none may differ."""
    differing = [
        str(checked.difference)
        async for checked in walk(instance.context, start=None, events_max=100_000)
        if checked.difference is not None
    ]
    assert not differing, "the books differ from what they are made of"
