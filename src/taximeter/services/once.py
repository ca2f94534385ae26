"""Idempotency keys within a group of requests that is committed together.

Owns which request of a key is done: the first of the group, where none was done before; and for how
long first answers are kept. What is answered to the others is their committer's.
"""

from collections.abc import Container, Sequence
from datetime import timedelta

from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.storage import idempotency
from taximeter.storage.idempotency import Key

ACTOR = "system"
ANSWERS_PER_PORTION = 2_000
PORTIONS_PER_ROUND = 10

Name = tuple[str, str]


def fresh_of(
    keys: Sequence[Key | None], stored: Container[Name]
) -> tuple[list[int], dict[Name, int]]:
    """The places of the requests with these keys that are to be done, and the place of the first
    one of each key among them; `stored` are the keys that were used before.
    """
    firsts: dict[Name, int] = {}
    fresh = []
    for number, key in enumerate(keys):
        if key is None:
            fresh.append(number)
        elif (key.scope, key.key) not in stored and (key.scope, key.key) not in firsts:
            firsts[key.scope, key.key] = number
            fresh.append(number)
    return fresh, firsts


async def forget_answers(context: Context, kept_for: timedelta) -> int:
    """Forget first answers that were given longer ago than `kept_for`, some thousand in a round;
    how many. Each portion is a transaction of its own.
    """
    before = context.clock.now() - kept_for
    forgotten = 0

    async def work(transaction: Transaction) -> int:
        return await idempotency.forget(transaction.connection, before, ANSWERS_PER_PORTION)

    for _ in range(PORTIONS_PER_ROUND):
        count = await run(context, ACTOR, work)
        forgotten += count
        if count < ANSWERS_PER_PORTION:
            break
    return forgotten
