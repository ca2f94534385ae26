"""The one write path: a transaction with its idempotency key, its audit row and bounded retries.

Owns begin and commit for everything but events and holds, whose group-committed form is
committer.py, and the snapshot of what only looks. Nothing calls the network inside a transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from psycopg import errors
from psycopg.errors import SerializationFailure

from taximeter.kernel.errors import IdempotencyConflict, TaximeterError, TooSlow
from taximeter.services.context import Connection, Context
from taximeter.storage import audit, idempotency
from taximeter.storage.connection import read_only

RETRIES_MAX = 5
RETRY_FIRST_S = 0.02
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)

Key = idempotency.Key
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a command works with. `at` is one instant for all that it writes."""

    context: Context
    connection: Connection
    actor: str
    at: datetime

    def new_id(self, prefix: str) -> str:
        """A new id, sortable by the transaction's time."""
        return self.context.ids(prefix, self.at)

    async def audit(self, action: str, object_id: str, detail: Mapping[str, object]) -> None:
        """Note who did what to which object."""
        await audit.insert(
            self.connection, audit_id=self.new_id("aud"), at=self.at, actor=self.actor,
            action=action, object_id=object_id, detail=detail,
        )  # fmt: skip


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer as it goes out; `replay` where it is the first answer given again."""

    status: int
    body: bytes
    replay: bool = False


class DryRun(Exception):
    """Carries a dry run's result past the roll-back. Never leaves this module."""


async def run(
    context: Context,
    actor: str,
    work: Callable[[Transaction], Awaitable[Result]],
    *,
    dry_run: bool = False,
) -> Result:
    """Do `work` in one transaction and commit it; with `dry_run` roll it back and return the
    result all the same. A conflict with a concurrent transaction is tried again, at most 5 times.
    """
    for attempt in range(RETRIES_MAX + 1):
        try:
            async with context.pool.connection() as connection, connection.transaction():
                result = await work(Transaction(context, connection, actor, context.clock.now()))
                if dry_run:
                    raise DryRun(result)
            return result
        except DryRun as finished:
            return finished.args[0]  # type: ignore[no-any-return]
        except _CONFLICTS:
            if attempt == RETRIES_MAX:
                raise
            await asyncio.sleep(RETRY_FIRST_S * 2**attempt)
    raise AssertionError("the loop returns or raises")


@asynccontextmanager
async def in_time(context: Context) -> AsyncIterator[None]:
    """Stops what is done within, in the database too, once it takes longer than a read may.

    Raises `TooSlow`.
    """
    limit = asyncio.timeout(context.read_s_max)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TooSlow(seconds=context.read_s_max) from None


async def look(context: Context, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do `work` on a snapshot of the database, which it cannot change: all that it reads belongs
    to one instant, and nobody waits for it. Raises `TooSlow`.
    """
    async with (
        in_time(context), context.pool.connection() as connection, connection.transaction()
    ):  # fmt: skip
        await read_only(connection)
        return await work(connection)


async def run_once(
    context: Context,
    actor: str,
    key: idempotency.Key | None,
    work: Callable[[Transaction], Awaitable[Result]],
    render: Callable[[Result], Answer],
) -> Answer:
    """Do `work` as `run` does, once for each idempotency key: the same request again gets the
    first answer. Raises `IdempotencyConflict` where the key belongs to another request.
    """

    async def keyed(transaction: Transaction) -> Answer:
        if key is None:
            return render(await work(transaction))
        found = await idempotency.find_answers(transaction.connection, [key])
        first = found.get((key.scope, key.key))
        if first is not None:
            if first.request_digest != key.request_digest:
                raise IdempotencyConflict(key=key.key)
            return Answer(first.status, first.body, replay=True)
        try:
            answer = render(await work(transaction))
        except TaximeterError:
            # The same request may have done it while this one waited for its locks.
            if await idempotency.find_answers(transaction.connection, [key]):
                raise SerializationFailure("the key was used meanwhile") from None
            raise
        if not await idempotency.store_answer(
            transaction.connection, key, answer.status, answer.body, transaction.at
        ):
            raise SerializationFailure("the key was used meanwhile")
        return answer

    return await run(context, actor, keyed)
