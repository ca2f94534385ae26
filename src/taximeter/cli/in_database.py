"""Commands that work on the database itself, without a server and without an API key."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import fail

if TYPE_CHECKING:
    from taximeter.services.context import Context

ACTOR = "cli"
DATA_DEFAULT = Path("taximeter-data")
Result = TypeVar("Result")


def in_database(
    runtime: Runtime, data: Path, work: Callable[["Context"], Awaitable[Result]]
) -> Result:
    """Do `work` on the database that the environment or `data` names."""

    async def main(url: str) -> Result:
        async with runtime.context(url) as services:
            return await work(services)

    with runtime.database(data, create=False) as url:
        if runtime.pending(url):
            fail("The database is not up to date. Run `taximeter db migrate` first.")
        return asyncio.run(main(url))
