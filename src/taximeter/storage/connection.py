"""The connections that pipelines run on, and how a transaction becomes a look.

Owns the cure of one fault of the driver's: in a pipeline psycopg stops flushing as soon as libpq
has taken every command. What the socket had no room for waits for the next command; where an answer
is awaited first, as on entering a nested pipeline, a statement of some hundred kilobytes hangs for
ever.
"""

import asyncio
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.pq import PipelineStatus

Result = TypeVar("Result")
Connection = AsyncConnection[tuple[Any, ...]]


class FlushedConnection(Connection):
    """A connection that hands everything to the socket before it goes on, in pipelines too."""

    async def wait(
        self,
        gen: PQGen[Result],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is psycopg's
    ) -> Result:
        """As psycopg's, then flush."""
        result = await super().wait(gen, interval, timeout)
        if self.pgconn.pipeline_status != PipelineStatus.OFF:
            while self.pgconn.flush():
                await self._writable()
        return result

    async def _writable(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        socket = self.pgconn.socket
        loop.add_writer(socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(socket)


async def read_only(connection: Connection) -> None:
    """Let the transaction that has just begun see one snapshot and write nothing."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
