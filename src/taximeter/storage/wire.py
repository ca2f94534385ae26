"""Statements that go to the server together and are answered together, over libpq's pipeline.

Owns how one transaction's statements travel: they are kept back until an answer is asked for, then
all that waits goes out in one write. The driver's own pipeline hands every statement to the socket
by itself, and makes a cursor for each, which costs a small group of requests more than all else
that is done for it (decision 22). Must not know what a statement means.
"""

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import Error, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]

PREPARED_MAX = 500
_PLACE = re.compile(r"%(?:\((\w+)\))?s|%%")
_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED, ExecStatus.BAD_RESPONSE)
_Prepared = tuple[str, tuple[int, ...]]  # a statement and the types of its parameters


class Sent:
    """A statement that was sent, read like a cursor. To fetch asks for its answer, and raises what
    the server raised; `rowcount` is how many rows it touched, once it is answered (before: -1).
    """

    __slots__ = ("_at", "_result", "_rows", "_wire")

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire
        self._result: PGresult | None = None
        self._rows: list[Row] | None = None
        self._at = 0

    @property
    def rowcount(self) -> int:
        """How many rows it touched or found."""
        return -1 if self._result is None else self._result.command_tuples or 0

    async def fetchall(self) -> list[Row]:
        """The rows that were not fetched yet."""
        rows = await self._read()
        at, self._at = self._at, len(rows)
        return rows[at:] if at else rows

    async def fetchone(self) -> Row | None:
        """The next row, if there is one."""
        rows = await self._read()
        if self._at >= len(rows):
            return None
        self._at += 1
        return rows[self._at - 1]

    async def _read(self) -> list[Row]:
        if self._rows is None:
            if self._result is None:
                await self._wire.sync()
            assert self._result is not None, "a sync answers everything, or raises"
            self._rows = self._wire.rows_of(self._result)
        return self._rows

    def take(self, result: PGresult) -> None:
        """Take the server's answer."""
        self._result = result


class Wire:
    """The pipeline of one connection. The driver must send nothing between `begin` and `end`."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._pgconn = connection.pgconn
        self._dumping = Transformer(connection)
        self._loading = Transformer(connection)
        self._names: dict[_Prepared, bytes] = {}
        self._numbers = count()
        self._waiting: deque[Sent | _Prepared] = deque()

    def begin(self) -> None:
        """Start a pipeline."""
        self._pgconn.enter_pipeline_mode()

    def end(self) -> None:
        """End the pipeline. Where something still waits for its answer, or a transaction could not
        be ended, the connection is of no more use, and closed.
        """
        if self._waiting or self._pgconn.transaction_status != TransactionStatus.IDLE:
            self._pgconn.finish()
        elif self._pgconn.status == ConnStatus.OK:
            self._pgconn.exit_pipeline_mode()

    def send(self, statement: str, parameters: Params = (), *, binary: bool = False) -> Sent:
        """Send a statement, with a `%s` or a `%(name)s` for each parameter; `binary`: its answer
        is.
        """
        text, names = _numbered(statement)
        given = (
            [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters
        )
        values: Sequence[Any] = ()
        types: tuple[int, ...] = ()
        formats: Sequence[Format] | None = None
        if given:
            values = self._dumping.dump_sequence(given, [PyFormat.AUTO] * len(given))
            types, formats = self._dumping.types or (), self._dumping.formats
        answer = Format.BINARY if binary else Format.TEXT
        name = self._names.get((statement, types)) or self._prepare(statement, text, types)
        if name is None:
            self._pgconn.send_query_params(text, values, types, formats, answer)
        else:
            self._pgconn.send_query_prepared(name, values, formats, answer)
        sent = Sent(self)
        self._waiting.append(sent)
        return sent

    def _prepare(self, statement: str, text: bytes, types: tuple[int, ...]) -> bytes | None:
        """The name of a statement that is prepared now; None where so many are that this one is
        not.
        """
        if len(self._names) >= PREPARED_MAX:
            return None
        name = self._names[statement, types] = b"wire_%d" % next(self._numbers)
        self._pgconn.send_prepare(name, text, types)
        self._waiting.append((statement, types))
        return name

    async def sync(self) -> None:
        """Hand over what waits and read all answers. Raises the first error among them."""
        self._pgconn.pipeline_sync()
        while self._pgconn.flush():
            await self._ready(writing=True)
            self._pgconn.consume_input()  # the server may not read on before it can write
        error: Error | None = None
        while True:
            result = await self._next()
            if result.status == ExecStatus.PIPELINE_SYNC:
                break
            one = self._waiting.popleft()
            if isinstance(one, Sent):
                one.take(result)
            if result.status in _FAILED:
                if not isinstance(one, Sent):
                    del self._names[one]
                if error is None:
                    error = error_from_result(result, "utf-8")
        if error is not None:
            raise error

    async def _next(self) -> PGresult:
        """The next answer. Raises `OperationalError` where the connection is lost."""
        ended = False
        while True:
            while self._pgconn.is_busy():
                await self._ready()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is not None:
                return result
            if ended:  # the end of a statement's answers stands once between two statements
                raise OperationalError("the connection is lost")
            ended = True

    async def _ready(self, *, writing: bool = False) -> None:
        """Wait until the socket can be read, or written where that is asked for."""
        loop, socket = asyncio.get_running_loop(), self._pgconn.socket
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(socket, _tell, ready)
        if writing:
            loop.add_writer(socket, _tell, ready)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if writing:
                loop.remove_writer(socket)

    def rows_of(self, result: PGresult) -> list[Row]:
        """The rows of an answer, as Python's values."""
        self._loading.set_pgresult(result)
        return self._loading.load_rows(0, result.ntuples, tuple)


def _tell(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


@lru_cache(PREPARED_MAX)
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with its parameters as the server numbers them, and the names of those that
    have one, in that order.
    """
    names: list[str] = []
    places = count(1)

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name = found[1]
        if name is None:
            return f"${next(places)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACE.sub(number, statement).encode(), tuple(names)
