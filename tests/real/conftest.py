"""Where the real data lies: a folder that the environment names, no part of the project."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"
