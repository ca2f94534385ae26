"""Sending what the outbox holds to the webhook endpoints that want it.

Owns the order and the retries. A message becomes one delivery for each endpoint, in a transaction;
each attempt is claimed in one, made outside of any, and noted in another. What dies in between is
tried again when its claim ends, with the same `webhook-id`: a receiver gets a message at least
once. A slow endpoint holds up only itself. Times here are real ones, under a test clock, too: that
is what receivers check signatures by.
"""

import asyncio
from datetime import datetime, timedelta
from functools import partial

import structlog
from standardwebhooks import Webhook

from taximeter.gateways.webhooks import Reply, Webhooks
from taximeter.kernel.ids import first_id
from taximeter.services.command import Transaction, run
from taximeter.services.context import Clock, Context
from taximeter.storage import outbox as outbox_storage
from taximeter.storage import webhooks as storage
from taximeter.storage.webhooks import Claim, NewDelivery

ACTOR = "system"
MESSAGES_PER_ROUND = 500
ENDPOINTS_AT_ONCE = 32
DELIVERIES_PER_TURN = 100
ROUND_S_MAX = 1.0
CLAIM = timedelta(seconds=60)
RETRY_FIRST = timedelta(seconds=4)
RETRIES_MAX = 16
KEPT = timedelta(days=90)
PURGED_EVERY = timedelta(hours=1)
PURGED_MAX = 10_000
GONE = 410

log = structlog.get_logger("webhooks")


def retry_after(tries: int) -> timedelta | None:
    """How long to wait after so many tries in a row: 4 seconds, then twice as long each time; None
    after 16 retries, which is 4 * (2 ** 16 - 1) seconds, or three days, after the first try.
    """
    return RETRY_FIRST * 2 ** (tries - 1) if tries <= RETRIES_MAX else None


def headers_of(claim: Claim, at: datetime) -> dict[str, str]:
    """The headers of an attempt, its signature among them (Standard Webhooks)."""
    return {
        "content-type": "application/json",
        "user-agent": "taximeter",
        "webhook-id": claim.message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(claim.secret).sign(claim.message, at, claim.body),
    }


class Deliverer:
    """Sends, round after round; `clock` shows real time."""

    def __init__(self, context: Context, webhooks: Webhooks, clock: Clock) -> None:
        self._context = context
        self._webhooks = webhooks
        self._clock = clock
        self._turns: dict[str, asyncio.Task[int]] = {}
        self._purged_at: datetime | None = None

    async def run_round(self, *, wait_s: float = ROUND_S_MAX) -> int:
        """Give new messages to the endpoints that want them, and begin what is due, waiting for it
        so long at most; returns how many attempts ended. What has not ended goes on, and is waited
        for by the next round.
        """
        await run(self._context, ACTOR, self._dispatch)
        at = self._clock.now()
        if self._purged_at is None or at - self._purged_at >= PURGED_EVERY:
            await run(self._context, ACTOR, self._purge)
            self._purged_at = at
        async with self._context.pool.connection() as connection:
            found = await storage.due(
                connection, at, ENDPOINTS_AT_ONCE - len(self._turns), without=self._turns.keys()
            )
        for endpoint in found:
            self._turns[endpoint] = asyncio.create_task(self._turn(endpoint))
        if not self._turns:
            return 0
        done, _ = await asyncio.wait(self._turns.values(), timeout=wait_s)
        self._turns = {name: task for name, task in self._turns.items() if task not in done}
        for task in done:
            if error := task.exception():
                log.error("turn_failed", exc_info=error)
        return sum(task.result() for task in done if task.exception() is None)

    async def close(self) -> None:
        """Stop what is under way; it will be tried again."""
        for task in self._turns.values():
            task.cancel()
        await asyncio.gather(*self._turns.values(), return_exceptions=True)
        await self._webhooks.close()

    async def _dispatch(self, transaction: Transaction) -> None:
        connection, at = transaction.connection, self._clock.now()
        messages = await outbox_storage.take_waiting(connection, MESSAGES_PER_ROUND)
        if not messages:
            return
        endpoints = await storage.open_endpoints(connection)
        deliveries = [
            NewDelivery(self._context.ids("whd", at), message.id, endpoint.id, at)
            for message in messages
            for endpoint in endpoints
            if endpoint.wants(message.type)
        ]
        wanted = {delivery.message for delivery in deliveries}
        await storage.insert_deliveries(connection, deliveries)
        await outbox_storage.set_dispatched(connection, wanted, at)
        await outbox_storage.drop(connection, {message.id for message in messages} - wanted)

    async def _purge(self, transaction: Transaction) -> None:
        """Forget old deliveries that ended, and messages that are on their way to nobody."""
        before = self._clock.now() - KEPT
        await storage.forget(transaction.connection, first_id("whd", before), PURGED_MAX)
        await outbox_storage.forget(transaction.connection, before, PURGED_MAX)

    async def _turn(self, endpoint: str) -> int:
        """Make the endpoint's deliveries that are due, one after another, until one fails."""
        for done in range(DELIVERIES_PER_TURN):
            at = self._clock.now()
            claim = await run(self._context, ACTOR, partial(self._claim, endpoint, at))
            if claim is None:
                return done
            reply = await self._webhooks.post(claim.url, headers_of(claim, at), claim.body.encode())
            await run(self._context, ACTOR, partial(self._note, endpoint, claim, reply))
            if not reply.taken:
                log.info("delivery_failed", delivery=claim.id, endpoint=endpoint,
                         status=reply.status, tries=claim.tries)  # fmt: skip
                return done + 1
        return DELIVERIES_PER_TURN

    @staticmethod
    async def _claim(endpoint: str, at: datetime, transaction: Transaction) -> Claim | None:
        return await storage.claim(transaction.connection, endpoint, at, at + CLAIM)

    async def _note(
        self, endpoint: str, claim: Claim, reply: Reply, transaction: Transaction
    ) -> None:
        connection = transaction.connection
        if reply.taken:
            assert reply.status is not None, "what was taken was answered"
            await storage.set_delivered(connection, claim, reply.status, reply.text)
            return
        wait = retry_after(claim.tries) if reply.status != GONE else None
        next_at = self._clock.now() + wait if wait else None
        await storage.set_missed(connection, claim, reply.status, reply.text, next_at)
        if reply.status == GONE:
            reason = "The receiver answered 410 Gone."
            await storage.disable_endpoint(connection, endpoint, reason, transaction.at)
            await transaction.audit("webhook_endpoint.disabled", endpoint, {"reason": reason})
