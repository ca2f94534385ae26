"""The connections of group commits, and how a transaction becomes a look.

Owns what runs a group's transaction: its statements go over a wire of their own (`wire.py`), and
reach it by the driver's own methods, so that what is written for any connection serves a group too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import ConnStatus

from taximeter.storage.wire import Params, Wire

Row = tuple[Any, ...]
Connection = AsyncConnection[Row]
Cursor = AsyncCursor[Row]


# A group's statements look up rows by their keys, in the order of these, in which they lock them,
# however many come and however large a table is. So they are planned once, for any parameters.
_BY_INDEX = """
SET enable_seqscan = off; SET enable_bitmapscan = off;
SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan
"""
# But a plan that was made while a table was empty reads all of it when it has grown: to lock one
# account it read ten thousand. So plans are made anew whenever twice as many groups were committed.
_REPLAN = "DISCARD PLANS"


class GroupConnection(Connection):
    """A connection that commits groups. Within `group` statements are kept back until an answer is
    asked for; outside it is as any other.
    """

    _wire: Wire | None = None
    _open: Wire | None = None
    _groups = 0

    @classmethod
    async def opened(cls, url: str) -> "GroupConnection":
        """A connection to the database at `url` that finds rows by its indexes alone."""
        connection = await cls.connect(url, autocommit=True)
        try:
            await connection.execute(_BY_INDEX)
        except BaseException:
            await connection.close()
            raise
        return connection

    @asynccontextmanager
    async def group(self) -> AsyncIterator[None]:
        """A transaction: committed at the end, together with what has not gone out yet, or undone
        where something raises.
        """
        wire = self._wire = self._wire or Wire(self)
        wire.begin()
        self._open = wire
        try:
            wire.send("BEGIN")
            self._groups += 1
            if self._groups.bit_count() == 1:
                wire.send(_REPLAN)
            try:
                yield
                wire.send("COMMIT")
                await wire.sync()
            except Exception:
                if self.pgconn.status == ConnStatus.OK:
                    wire.send("ROLLBACK")
                    await wire.sync()
                raise
            finally:
                wire.end()
        finally:
            self._open = None

    async def execute(  # type: ignore[override]
        self, query: str, params: Params | None = None, *, binary: bool = False
    ) -> Cursor:
        """Run a statement. In a group, where it may not have gone out when this returns, what is
        returned can fetch and count rows as a cursor does, and nothing else.
        """
        if self._open is None:
            return await super().execute(query, params, binary=binary)
        return cast("Cursor", self._open.send(query, params or (), binary=binary))

    async def answered(self) -> None:
        """Wait until all that was executed in this group is answered."""
        assert self._open is not None, "only a group's statements wait"
        await self._open.sync()


async def answered(connection: Connection) -> None:
    """Wait until all that was executed is answered: now their `rowcount` is known."""
    if isinstance(connection, GroupConnection):
        await connection.answered()


async def read_only(connection: Connection) -> None:
    """Let the transaction that has just begun see one snapshot and write nothing."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
