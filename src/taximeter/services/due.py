"""What falls due by itself: outcomes that confirm themselves, closing of periods, plan credits,
finalizing of drafts, repayment of debts, balances that fell by themselves, top-ups.

Owns the jobs and their order. Each is one small transaction that checks again under its lock, so
several processes may run them at once and a crash costs nothing: what is due is read from the
rows themselves, there is no queue to lose.
"""

from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import datetime

import structlog

from taximeter.services import topups
from taximeter.services.balance_alerts import look_due, next_look
from taximeter.services.billing import bill_due, finalize_invoice, locked_subscription
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.grants import next_repayment, repay_due
from taximeter.services.outcomes import confirm_due
from taximeter.services.topup_charges import charge_due
from taximeter.storage import invoices, outcomes, plan_credits, subscriptions

JOBS_PER_ROUND = 200
OUTCOMES_PER_ROUND = 1_000
ROUNDS_MAX = 10_000
ACTOR = "system"

log = structlog.get_logger("due")


async def next_due(context: Context) -> datetime | None:
    """The earliest instant at which a job falls due; it may have passed."""
    async with context.pool.connection() as connection:
        instants = [
            await outcomes.next_due(connection),
            await subscriptions.next_due(connection),
            await plan_credits.next_due(connection),
            await invoices.next_due(connection),
        ]
    instants += [await next_repayment(context), await next_look(context)]
    instants.append(await topups.next_look(context))
    return min((at for at in instants if at is not None), default=None)


async def run_due(context: Context) -> int:
    """Run every job that is due now; returns how many ran. One that fails is logged and does not
    stop the others; it is tried again the next time.
    """
    done = await _attempt("repayment", repay_due(context))
    failed: set[tuple[str, str]] = set()
    for _ in range(ROUNDS_MAX):
        # Those that failed are still due, and come first.
        found = await _confirming(context, failed)
        found = found or await _due(context, JOBS_PER_ROUND + len(failed))
        jobs = [job for job in found if job[0] not in failed]
        if not jobs:
            break
        for name, work in jobs:
            try:
                await run(context, ACTOR, work)
                done += 1
            except Exception:
                failed.add(name)
                log.exception("job_failed", customer=name[0], object=name[1])
    # Last: what ends now may begin anew now.
    done += await _attempt("balances", look_due(context))
    done += await _attempt("topups", topups.look_due(context))
    return done + await _attempt("payments", charge_due(context))


async def _attempt(name: str, job: Awaitable[int]) -> int:
    """How many a job did; none where it failed, which is logged."""
    try:
        return await job
    except Exception:
        log.exception("job_failed", object=name)
        return 0


_OUTCOMES = "outcomes"
Job = tuple[tuple[str, str], Callable[[Transaction], Awaitable[None]]]


async def _confirming(context: Context, failed: Set[tuple[str, str]]) -> list[Job]:
    """The outcomes that confirm themselves now, a job for each customer. They come before the
    invoices that they may belong on.
    """
    at = context.clock.now()
    without = [customer for customer, name in failed if name == _OUTCOMES]
    async with context.pool.connection() as connection:
        found = await outcomes.due(connection, at, OUTCOMES_PER_ROUND, without=without)
    return [((customer, _OUTCOMES), _confirm(customer, ids)) for customer, ids in found.items()]


def _confirm(customer: str, ids: Sequence[str]) -> Callable[[Transaction], Awaitable[None]]:
    async def work(transaction: Transaction) -> None:
        await confirm_due(transaction, customer, ids)

    return work


async def _due(context: Context, limit: int) -> list[Job]:
    at = context.clock.now()
    async with context.pool.connection() as connection:
        closing = await subscriptions.due(connection, at, limit)
        granting = await plan_credits.due(connection, at, limit)
        finalizing = await invoices.due(connection, at, limit)
    jobs: list[Job] = [(key, _close(*key)) for key in dict.fromkeys([*closing, *granting])]
    jobs += [(key, _finalize(*key)) for key in finalizing]
    return jobs


def _close(customer: str, subscription_id: str) -> Callable[[Transaction], Awaitable[None]]:
    async def work(transaction: Transaction) -> None:
        found = await subscriptions.find(transaction.connection, subscription_id, customer=customer)
        assert found is not None, "a subscription is never deleted"
        await bill_due(transaction, await locked_subscription(transaction.connection, found))

    return work


def _finalize(customer: str, invoice_id: str) -> Callable[[Transaction], Awaitable[None]]:
    async def work(transaction: Transaction) -> None:
        row = await invoices.find(transaction.connection, invoice_id, customer=customer)
        if row is not None and row.status == "draft":
            await finalize_invoice(transaction, row, by_itself=True)

    return work
