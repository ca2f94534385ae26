"""The group commit with a commit that is told what to do: what goes together, what fails alone,
what is refused, and how long it tries. Time is virtual, so waiting costs none.
"""

import asyncio
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import errors

from taximeter.kernel.errors import OverCapacity, Unavailable
from taximeter.services.committer import Bounds, Committer

Found = TypeVar("Found")


class Skipping(selectors.DefaultSelector):
    """Does not wait: it notes how long it would have."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could happen"
        self.skipped_s += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs as if it waited."""

    def __init__(self) -> None:
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return time.monotonic() + self.skipping.skipped_s


def run(main: Coroutine[Any, Any, Found]) -> Found:
    """Run a test's body to its end, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass(slots=True)
class Line:
    """A connection as the committer sees it."""

    broken: bool = False
    closed: bool = False
    log: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def group(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            self.log.append("roll back")
            raise
        self.log.append("commit")

    async def close(self) -> None:
        self.closed = True


Items = Sequence[int]


@dataclass(slots=True)
class Bench:
    """A committer whose commits go through `work`; what was committed, and over which lines."""

    work: Callable[[Items], Awaitable[None]] | None = None
    connects: Callable[[], Awaitable[None]] | None = None
    weight_per_commit: int = 100
    weight_waiting_max: int = 100
    weight_of_key_max: int = 100
    key: Callable[[int], int] | None = None
    lanes: int = 1
    commits: list[list[int]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    committer: Committer[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.committer = Committer(
            connect=self._connect, commit=self._commit, weight=abs, key=self.key,
            bounds=Bounds(
                self.weight_per_commit, self.weight_waiting_max, self.weight_of_key_max,
                lanes=self.lanes,
            ),
        )  # fmt: skip

    async def _connect(self) -> Any:
        if self.connects is not None:
            await self.connects()
        self.lines.append(Line())
        return self.lines[-1]

    async def _commit(self, connection: Any, items: Items) -> Sequence[int]:
        assert not connection.closed and not connection.broken
        if self.work is not None:
            await self.work(items)
        self.commits.append(list(items))
        return [item * 10 for item in items]

    async def __aenter__(self) -> "Bench":
        self.committer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.committer.stop()
        assert all(line.closed for line in self.lines), "every connection is closed"
        assert self.committer.weight_waiting == 0

    def submit(self, *items: int) -> list["asyncio.Task[int]"]:
        return [asyncio.create_task(self.committer.submit(item)) for item in items]


@dataclass(slots=True)
class Gate:
    """Lets one commit at a time through, when told."""

    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    opened: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, items: Items) -> None:
        self.arrived.release()
        await self.opened.acquire()


async def settle() -> None:
    """Let everything that can happen now happen."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_lone_item_is_committed_at_once() -> None:
    async def main() -> None:
        async with Bench() as bench:
            assert await bench.committer.submit(1) == 10
            assert await bench.committer.submit(2) == 20
            assert bench.commits == [[1], [2]]
            assert len(bench.lines) == 1
            assert bench.committer.commits == 2

    run(main())


def test_all_that_waits_goes_into_the_next_commit() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate) as bench:
            first = bench.submit(1)
            await gate.arrived.acquire()
            rest = bench.submit(*range(2, 12))
            await settle()
            assert bench.committer.weight_waiting == sum(range(2, 12))
            gate.opened.release()
            gate.opened.release()
            assert await asyncio.gather(*first, *rest) == [n * 10 for n in range(1, 12)]
            assert bench.commits == [[1], list(range(2, 12))]

    run(main())


def test_a_commit_takes_no_more_than_its_weight() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate, weight_per_commit=10) as bench:
            first = bench.submit(1)
            await gate.arrived.acquire()
            rest = bench.submit(4, 5, 2, 25, 3, 7, 1)
            await settle()
            for _ in range(6):
                gate.opened.release()
            await asyncio.gather(*first, *rest)
            # 25 is over the weight of a commit and goes alone.
            assert bench.commits == [[1], [4, 5], [2], [25], [3, 7], [1]]

    run(main())


def test_over_capacity_refuses_at_once_and_takes_nothing() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate, weight_waiting_max=10) as bench:
            first = bench.submit(1)
            await gate.arrived.acquire()
            waiting = bench.submit(6, 4)
            await settle()
            with pytest.raises(OverCapacity) as refused:
                await bench.committer.submit(1)
            assert refused.value.fields["retry_after_s"] == 1
            assert bench.committer.weight_waiting == 10
            gate.opened.release()
            await gate.arrived.acquire()
            after = bench.submit(10)  # there is room again
            gate.opened.release()
            gate.opened.release()
            await asyncio.gather(*first, *waiting, *after)
            assert bench.commits == [[1], [6, 4], [10]]

    run(main())


def test_what_is_heavier_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def main() -> None:
        async with Bench(weight_waiting_max=10) as bench:
            assert await bench.committer.submit(50) == 500

    run(main())


def test_a_poisoned_item_fails_alone() -> None:
    async def poisoned(items: Items) -> None:
        if -3 in items:
            raise ValueError("no good")

    async def main() -> None:
        gate = Gate()

        async def work(items: Items) -> None:
            if items == [1]:
                await gate(items)
            await poisoned(items)

        async with Bench(work) as bench:
            first = bench.submit(1)
            await gate.arrived.acquire()
            rest = bench.submit(2, -3, 4)
            await settle()
            gate.opened.release()
            found = await asyncio.gather(*first, *rest, return_exceptions=True)
            assert found[:2] == [10, 20]
            assert isinstance(found[2], ValueError)
            assert found[3] == 40
            assert bench.commits == [[1], [2], [4]]
            assert next(line.log for line in bench.lines) == ["commit", "roll back"]
            assert await bench.committer.submit(5) == 50

    run(main())


def test_a_client_that_leaves_is_dropped_from_the_queue() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate) as bench:
            first = bench.submit(1)
            await gate.arrived.acquire()
            gone, stays = bench.submit(2, 3)
            await settle()
            gone.cancel()
            await settle()
            gate.opened.release()
            gate.opened.release()
            assert await asyncio.gather(*first, stays) == [10, 30]
            assert bench.commits == [[1], [3]]

    run(main())


def test_a_client_that_leaves_during_the_commit_changes_nothing() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate) as bench:
            [first] = bench.submit(1)
            await gate.arrived.acquire()
            first.cancel()
            await settle()
            gate.opened.release()
            await settle()
            assert bench.commits == [[1]]
            gate.opened.release()
            assert await bench.committer.submit(2) == 20

    run(main())


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("server closed the connection"),
        errors.AdminShutdown("terminating connection"), errors.DeadlockDetected("deadlock"),
        errors.SerializationFailure("concurrent update"), errors.CannotConnectNow("starting up"),
    ],
)  # fmt: skip
def test_a_conflict_or_a_lost_connection_is_tried_again(error: psycopg.Error) -> None:
    async def main() -> None:
        failures = [error, error]

        async def work(items: Items) -> None:
            if failures:
                if not isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure)):
                    bench.lines[-1].broken = True
                raise failures.pop()

        async with Bench(work) as bench:
            found = await asyncio.gather(*bench.submit(1, 2))
            assert found == [10, 20]
            assert bench.commits == [[1, 2]]

    run(main())


def test_what_fails_for_ever_is_given_up() -> None:
    async def main() -> None:
        attempts = 0

        async def work(items: Items) -> None:
            nonlocal attempts
            attempts += 1
            raise errors.SerializationFailure("again")

        async with Bench(work) as bench:
            with pytest.raises(Unavailable, match="Send it again unchanged"):
                await bench.committer.submit(1)
            assert (attempts, bench.commits) == (6, [])

    run(main())


def test_a_database_that_is_away_for_long_is_given_up_in_bounded_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        away = True

        async def connects() -> None:
            if away:
                raise psycopg.OperationalError("connection refused")

        async with Bench(connects=connects) as bench:
            begin = loop.time()
            found = await asyncio.gather(*bench.submit(1, 2), return_exceptions=True)
            assert all(isinstance(one, Unavailable) for one in found)
            assert 10 < loop.time() - begin < 60
            away = False
            assert await bench.committer.submit(3) == 30
            assert bench.commits == [[3]]

    run(main())


def test_a_database_that_comes_back_is_used() -> None:
    async def main() -> None:
        refusals = 12

        async def connects() -> None:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise psycopg.OperationalError("connection refused")

        async with Bench(connects=connects) as bench:
            assert await asyncio.gather(*bench.submit(1, 2, 3)) == [10, 20, 30]

    run(main())


def test_stopping_commits_what_is_under_way_and_what_waits() -> None:
    async def main() -> None:
        gate = Gate()
        bench = Bench(gate)
        async with bench:
            tasks = bench.submit(1)
            await gate.arrived.acquire()
            tasks += bench.submit(2, 3)
            await settle()
            stopping = asyncio.create_task(bench.committer.stop())
            await settle()
            gate.opened.release()
            gate.opened.release()
            await stopping
            assert await asyncio.gather(*tasks) == [10, 20, 30]
            assert bench.commits == [[1], [2, 3]]

    run(main())


def test_stopping_does_not_wait_for_ever() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate) as bench:
            tasks = bench.submit(1)
            await gate.arrived.acquire()
            tasks += bench.submit(2)
            await settle()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in found)
        assert bench.commits == []

    run(main())


def test_what_comes_after_the_end_is_refused() -> None:
    async def main() -> None:
        async with Bench() as bench:
            assert await bench.committer.submit(1) == 10
        with pytest.raises(Unavailable):
            await asyncio.wait_for(bench.committer.submit(2), 5)

    run(main())


def test_two_lanes_share_the_queue() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate, lanes=2, weight_per_commit=5) as bench:
            tasks = bench.submit(1)
            await gate.arrived.acquire()
            tasks += bench.submit(2, 3, 4)
            await gate.arrived.acquire()  # the second lane has taken 2 and 3
            await settle()
            assert bench.committer.weight_waiting == 4
            for _ in range(3):
                gate.opened.release()
            assert await asyncio.gather(*tasks) == [10, 20, 30, 40]
            assert sorted(bench.commits) == [[1], [2, 3], [4]]
            assert len(bench.lines) == 2

    run(main())


def test_keys_are_taken_in_turn() -> None:
    """A crowd of one key (the ones below 10) does not delay the lone items of the others, and
    keeps its own order.
    """

    async def main() -> None:
        gate = Gate()
        async with Bench(gate, weight_per_commit=25, key=lambda item: item // 10) as bench:
            first = bench.submit(99)
            await gate.arrived.acquire()
            rest = bench.submit(1, 2, 3, 4, 5, 10, 20)
            await settle()
            for _ in range(4):
                gate.opened.release()
            await asyncio.gather(*first, *rest)
            assert bench.commits == [[99], [1, 10], [20, 2, 3], [4, 5]]

    run(main())


def test_a_key_is_refused_before_the_others_are() -> None:
    async def main() -> None:
        gate = Gate()
        async with Bench(gate, weight_of_key_max=10, key=lambda item: item // 10) as bench:
            first = bench.submit(99)
            await gate.arrived.acquire()
            waiting = bench.submit(6, 4)
            await settle()
            with pytest.raises(OverCapacity):
                await bench.committer.submit(1)
            waiting += bench.submit(15)
            await settle()
            gate.opened.release()
            gate.opened.release()
            await asyncio.gather(*first, *waiting)
            assert bench.commits == [[99], [6, 15, 4]]

    run(main())


def test_a_key_is_in_one_lane_at_a_time() -> None:
    """What waits of the key below 10 stays while 1 is under way, and goes once it is committed."""

    async def main() -> None:
        gate = Gate()
        async with Bench(gate, lanes=2, key=lambda item: item // 10) as bench:
            first = bench.submit(1)
            await gate.arrived.acquire()
            rest = bench.submit(2, 3, 20)
            await gate.arrived.acquire()
            await settle()
            assert bench.committer.weight_waiting == 5, "20 is under way, 2 and 3 are not"
            for _ in range(3):
                gate.opened.release()
            assert await asyncio.gather(*first, *rest) == [10, 20, 30, 200]
            assert bench.commits == [[1], [20], [2, 3]]
            assert bench.committer.weight_waiting == 0

    run(main())
