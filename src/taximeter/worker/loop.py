"""The loop that runs due jobs, in the same process as everything else.

Owns only the rhythm. What is due is decided by services/due.py from the rows themselves, so any
number of processes may run this loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

PAUSE_S = 1.0

log = structlog.get_logger("worker")


async def run_for_ever(jobs: dict[str, Callable[[], Awaitable[int]]]) -> None:
    """Run each job round after round, a second apart; one that fails is logged and tried again."""
    while True:
        for name, job in jobs.items():
            try:
                done = await job()
            except Exception:
                log.exception("round_failed", job=name)
            else:
                if done:
                    log.info("round_done", job=name, done=done)
        await asyncio.sleep(PAUSE_S)
