"""The test clock of a sandbox: what it shows, and moving it on.

Owns the order of an advance: the clock stops at every instant at which a job falls due and lets
it run there, so that a job sees the time it was meant for and what it makes due is done in turn.
Each stop is stored before it is shown: after a crash the clock stands where jobs have run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from taximeter.kernel.errors import ClockBackwards, NoTestClock, Unavailable
from taximeter.kernel.times import format_instant
from taximeter.services.command import run
from taximeter.services.context import Context, TestClock
from taximeter.services.turn import Turn
from taximeter.storage import instance

STEPS_MAX = 100_000
STALLS_MAX = 200
STALL_S = 0.05

NextDue = Callable[[Context], Awaitable[datetime | None]]
RunDue = Callable[[Context], Awaitable[int]]

one_at_a_time = Turn().taken


def test_clock(context: Context) -> TestClock:
    """The instance's test clock. Raises `NoTestClock` where it runs on real time."""
    if context.test_clock is None:
        raise NoTestClock
    return context.test_clock


test_clock.__test__ = False  # type: ignore[attr-defined]


async def advance(
    context: Context,
    to: datetime,
    *,
    next_due: NextDue,
    run_due: RunDue,
    stalls_max: int = STALLS_MAX,
) -> datetime:
    """Move the clock on to `to`, running on the way every job that falls due by then; returns
    what the clock shows. Jobs are given by `next_due`, the instant of the earliest (maybe in the
    past), and `run_due`, which runs those due and returns how many; where it ran none though one is
    due, it is asked again, `stalls_max` times.

    Raises `NoTestClock`, `ClockBackwards`, and `Unavailable` where jobs never end; the clock then
    stands where it got to.
    """
    clock = test_clock(context)
    if to < clock.now():
        raise ClockBackwards(now=format_instant(clock.now()), to=format_instant(to))
    stalls = 0
    for _ in range(STEPS_MAX):
        due = await next_due(context)
        if due is None or due > to:
            break
        await _show(context, clock, max(due, clock.now()))
        if await run_due(context):
            stalls = 0
        else:
            # Another worker may be at it just now: what it runs is due until it commits.
            stalls += 1
            if stalls > stalls_max:
                raise _stuck(clock)
            await asyncio.sleep(STALL_S)
    else:
        raise _stuck(clock)
    await _show(context, clock, to)
    await run_due(context)
    return clock.now()


async def _show(context: Context, clock: TestClock, at: datetime) -> None:
    if at != clock.now():
        await run(context, "clock", lambda work: instance.set_clock(work.connection, at))
        clock.set(at)


def _stuck(clock: TestClock) -> Unavailable:
    return Unavailable(
        what=f"The test clock stopped at {format_instant(clock.now())}: what is due there does not"
        " end.",
        cure="The server's log tells why. Advance again to go on.",
    )
