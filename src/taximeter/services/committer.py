"""The group commit: one loop that takes all that waits and commits it in one transaction.

Owns the queue, its bound and the retries. There is no timer: the commit before is the batch
window, so a lone request is committed at once and a crowd is committed together. Must not know
what it commits.

A lane is one connection with at most one transaction under way. The first takes whatever waits;
a further one only where a good batch waits, to prepare it while the database works on the first:
few requests are better committed together than apart.

Where items have keys (a customer's), each key waits in a queue of its own and they are taken in
turn, so that one key's crowd delays its own items and not those of the others; and a key may be
refused where the others are not yet. A key is in one lane at a time: another would only wait for
its locks, with all that it has taken.
"""

import asyncio
import sys
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
import structlog
from psycopg import errors

from taximeter.kernel.errors import OverCapacity, Unavailable
from taximeter.storage.connection import GroupConnection

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_Waiting = tuple[Item, int, asyncio.Future[Answer]]

RETRIES_MAX = 5
RETRY_FIRST_S = 0.02
RECONNECT_S_MAX = 30.0
RETRY_AFTER_S = 1
STOP_S_MAX = 10.0
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)
# The driver counts these among the errors of operation, but it is an item that is at fault.
_LIMITS = (errors.ProgramLimitExceeded, errors.StatementTooComplex)

log = structlog.get_logger("committer")


class LimitExceeded(Exception):
    """An item is beyond what the database can hold: to try again is in vain."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much, by weight, goes into one commit; may wait in all, and of one key; and lets a second
    lane begin, where there are several `lanes`.
    """

    per_commit: int
    waiting_max: int
    of_key_max: int = sys.maxsize
    lanes: int = 1
    second_lane: int = 1


class Committer(Generic[Item, Answer]):
    """Commits items in groups. `commit(connection, items)` does all the work of one transaction
    but its begin and end, and gives one answer each, in order.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[GroupConnection]],
        commit: Callable[[GroupConnection, Sequence[Item]], Awaitable[Sequence[Answer]]],
        weight: Callable[[Item], int],
        bounds: Bounds,
        key: Callable[[Item], Hashable] | None = None,
    ) -> None:
        self._connect = connect
        self._commit = commit
        self._weight = weight
        self._bounds = bounds
        self._key = key
        self._waiting: OrderedDict[Hashable, deque[_Waiting[Item, Answer]]] = OrderedDict()
        self._parked: dict[Hashable, deque[_Waiting[Item, Answer]]] = {}  # of keys under way
        self._weights: dict[Hashable, int] = {}
        self._weight_waiting = 0
        self._weight_parked = 0
        self._wake = asyncio.Event()
        self._crowd = asyncio.Event()
        self._under_way: list[Sequence[_Waiting[Item, Answer]]] = []  # a batch of each lane
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self.commits = 0

    @property
    def weight_waiting(self) -> int:
        """How much waits, in the unit of `weight`."""
        return self._weight_waiting

    def start(self) -> None:
        """Start the lanes in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._run(self._crowd if lane else self._wake), name=f"lane-{lane}")
            for lane in range(self._bounds.lanes)
        ]

    async def stop(self) -> None:
        """Commit what waits, then stop. What cannot be committed, and what comes later, gets
        `Unavailable`.
        """
        queues = (*self._waiting.values(), *self._parked.values(), *self._under_way)
        pending = [future for queue in queues for _, _, future in queue if not future.done()]
        if pending:
            await asyncio.wait(pending, timeout=STOP_S_MAX)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stopped = True
        self._fail_waiting()

    async def submit(self, item: Item) -> Answer:
        """Commit `item` with its neighbours; returns once that is durable. As `enqueue` else."""
        return await self.enqueue(item)

    def enqueue(self, item: Item) -> "asyncio.Future[Answer]":
        """Have `item` committed with its neighbours; what comes is there once that is durable.

        Raises `OverCapacity` at once where the queue (or that of its key) is full, and
        `Unavailable`, where the server is stopping; it comes where the database cannot be reached.
        Whoever gives up waiting cancels what comes, and is left out of the next group.
        """
        if self._stopped:
            raise Unavailable(
                what="The server is stopping; nothing of this request was taken.",
                cure="Send it again.",
            )
        weight = self._weight(item)
        if self._weight_waiting and self._weight_waiting + weight > self._bounds.waiting_max:
            raise OverCapacity(retry_after_s=RETRY_AFTER_S)
        key = None if self._key is None else self._key(item)
        of_key = self._weights.get(key, 0)
        if of_key and of_key + weight > self._bounds.of_key_max:
            raise OverCapacity(retry_after_s=RETRY_AFTER_S)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._weights[key] = of_key + weight
        self._weight_waiting += weight
        parked = self._parked.get(key)
        if parked is None:
            self._waiting.setdefault(key, deque()).append((item, weight, future))
            self._signal()
        else:
            parked.append((item, weight, future))
            self._weight_parked += weight
        return future

    def _take(self) -> "tuple[list[_Waiting[Item, Answer]], Sequence[Hashable]]":
        """What goes into the next transaction: of each key one in turn; and the keys that are under
        way with it. A request whose client has gone is dropped.
        """
        batch: list[_Waiting[Item, Answer]] = []
        keys: dict[Hashable, None] = {}
        taken = 0
        while self._waiting:
            key, queue = next(iter(self._waiting.items()))
            item, weight, future = queue[0]
            if batch and taken + weight > self._bounds.per_commit:
                break
            queue.popleft()
            self._weight_waiting -= weight
            if queue:
                self._weights[key] -= weight
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key], self._weights[key]
            if not future.done():
                batch.append((item, weight, future))
                taken += weight
                keys[key] = None
        if self._key is None:
            keys = {}
        for key in keys:
            self._parked[key] = self._waiting.pop(key, deque())
            self._weight_parked += self._weights.get(key, 0)
        self._signal()
        return batch, list(keys)

    def _free(self, keys: "Sequence[Hashable]") -> None:
        """Let what waits of these keys be taken: they are not under way any more."""
        for key in keys:
            queue = self._parked.pop(key)
            if queue:
                self._waiting[key] = queue
                self._weight_parked -= self._weights[key]
        self._signal()

    def _signal(self) -> None:
        """Wake the lanes that have work, let the others sleep."""
        _set(self._wake, bool(self._waiting))
        free = self._weight_waiting - self._weight_parked
        _set(self._crowd, free >= self._bounds.second_lane)

    async def _run(self, work: asyncio.Event) -> None:
        connection: GroupConnection | None = None
        try:
            while True:
                await work.wait()
                batch, keys = self._take()
                self._under_way.append(batch)
                try:
                    if batch:
                        connection = await self._commit_batch(connection, batch)
                finally:
                    self._under_way = [one for one in self._under_way if one is not batch]
                    self._free(keys)
        finally:
            if connection is not None:
                await connection.close()

    async def _commit_batch(
        self,
        connection: GroupConnection | None,
        batch: Sequence[_Waiting[Item, Answer]],
    ) -> GroupConnection | None:
        items = [item for item, _, _ in batch]
        try:
            connection, answers = await self._attempt(connection, items)
        except asyncio.CancelledError:
            _refuse(batch)
            raise
        except psycopg.OperationalError as error:
            log.error("commit_failed", error=str(error).strip())
            _refuse(batch)
            return None
        except Exception as error:
            if len(batch) > 1:
                # One of them is at fault: commit each alone, so that the others do not suffer.
                return await self._commit_each(batch)
            log.exception("commit_broken")
            if not batch[0][2].done():
                batch[0][2].set_exception(error)
            return None
        self.commits += 1
        for (_, _, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
        return connection

    async def _commit_each(self, batch: Sequence[_Waiting[Item, Answer]]) -> GroupConnection | None:
        connection: GroupConnection | None = None
        try:
            for one in batch:
                connection = await self._commit_batch(connection, [one])
        except asyncio.CancelledError:
            _refuse(batch)
            raise
        return connection

    async def _attempt(
        self, connection: GroupConnection | None, items: Sequence[Item]
    ) -> tuple[GroupConnection, Sequence[Answer]]:
        """One transaction, tried again (at most 5 times) on a conflict or a lost connection. Where
        that fails, the connection is closed.
        """
        try:
            for attempt in range(RETRIES_MAX + 1):
                if connection is None or connection.broken or connection.closed:
                    if connection is not None:
                        await connection.close()
                    connection = await self._reconnect()
                try:
                    async with connection.group():
                        answers = await self._commit(connection, items)
                    return connection, answers
                except _LIMITS as error:
                    raise LimitExceeded(str(error)) from error
                except (*_CONFLICTS, psycopg.OperationalError) as error:
                    if attempt == RETRIES_MAX:
                        raise psycopg.OperationalError(str(error)) from error
                    await asyncio.sleep(RETRY_FIRST_S * 2**attempt)
            raise AssertionError("the loop returns or raises")
        except BaseException:
            if connection is not None:
                await connection.close()
            raise

    async def _reconnect(self) -> GroupConnection:
        deadline = asyncio.get_running_loop().time() + RECONNECT_S_MAX
        pause = RETRY_FIRST_S
        while True:
            try:
                return await self._connect()
            except psycopg.OperationalError:
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    def _fail_waiting(self) -> None:
        for queue in (*self._waiting.values(), *self._parked.values()):
            _refuse(queue)
        self._waiting.clear()
        self._parked.clear()
        self._weights.clear()
        self._weight_waiting = 0


def _set(event: asyncio.Event, on: bool) -> None:  # noqa: FBT001
    if on != event.is_set():
        event.set() if on else event.clear()


def _refuse(batch: "Iterable[_Waiting[Any, Any]]") -> None:
    for _, _, future in batch:
        if not future.done():
            future.set_exception(
                Unavailable(
                    what="The database cannot be reached;",
                    cure="whether this request was taken is not known. Send it again unchanged: "
                    "what was taken counts once.",
                )
            )
