"""Where the real data lies: a folder that the environment names, no part of the project."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """What the application runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests of it are skipped where there is none."""
    folder = os.environ.get("TAXIMETER_REAL_DATA")
    if not folder:
        pytest.skip("TAXIMETER_REAL_DATA does not name the folder of real data")
    return Path(folder)
