"""Sources: what they say that they sent, and whether it has all arrived.

Owns heartbeats and the report of completeness. The figures are counted when somebody asks, from the
events as they are stored; only what is not stored, repeats, is counted as it comes, in the same
transaction and where there are any.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from taximeter.domain.metering.completeness import SourceCompleteness
from taximeter.domain.metering.event import FUTURE_MAX, Event
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.times import format_instant
from taximeter.services.command import Transaction, look
from taximeter.services.context import Connection, Context
from taximeter.storage import sources as storage
from taximeter.storage.sources import Repeats, Span

Heartbeat: TypeAlias = storage.Heartbeat

SPAN_MAX = timedelta(days=31)
SPAN_DEFAULT = timedelta(hours=24)
LOOK_EVERY = timedelta(minutes=1)
TOLD_MAX = 1_000

log = structlog.get_logger("sources")


@dataclass(frozen=True, slots=True)
class CompletenessQuery:
    """Which sources are asked about: by the time of their events, of one customer or of all. What
    was received more than `late_after` past its time is late.
    """

    customer: str | None
    source: str | None
    start: datetime | None
    end: datetime | None
    late_after: timedelta


class SourcesWatch:
    """Looks once a minute whose heartbeat is overdue, and says so in the log when it becomes so: of
    up to 1,000 at once. The database knows who is; nothing is kept of any source in memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked_at: datetime | None = None
        self._overdue = 0

    @property
    def overdue(self) -> int:
        """How many sources should have said something by now."""
        return self._overdue

    async def run_round(self) -> int:
        """Look, where a minute has passed; how many have become overdue, of those that are told."""
        now = self._context.clock.now()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return 0
        async with self._context.pool.connection() as connection:
            self._overdue = await storage.count_overdue(connection, now)
            found = await storage.overdue_between(connection, self._looked_at, now, TOLD_MAX + 1)
        self._looked_at = now
        told = found[:TOLD_MAX]
        for customer, source in told:
            log.warning("source_overdue", source=source, customer=customer or None)
        if len(found) > TOLD_MAX:
            log.warning("more_sources_overdue", overdue=self._overdue)
        return len(told)


async def beat(
    transaction: Transaction,
    *,
    customer: str | None,
    source: str,
    at: datetime | None,
    sent: int,
    silence_after_s: int | None,
) -> Heartbeat:
    """Note that a source had sent so many events with a time before `at` (now, if it does not say).

    Raises `Invalid` where the count contradicts another heartbeat, or the time is in the future.
    """
    made = Heartbeat(
        customer or "", source, at or transaction.at, transaction.at, sent, silence_after_s
    )
    if made.at - transaction.at > FUTURE_MAX:
        detail = f"The time is over 24 h ahead of the server's {format_instant(transaction.at)}."
        raise Invalid([FieldError("at", "in_the_future", detail)])
    other = await storage.contradicted(transaction.connection, made)
    if other is not None:
        detail = (
            f"At {format_instant(other[0])} it was {other[1]}: the count never falls. A source "
            "that begins to count anew needs another name."
        )
        raise Invalid([FieldError("sent", "falling", detail)])
    await storage.put_heartbeat(transaction.connection, made)
    return made


async def read_completeness(
    context: Context, query: CompletenessQuery, *, limit: int, cursor: str | None
) -> Page[SourceCompleteness]:
    """Sources by name, each with what was expected and received in the span. Raises `Invalid`."""
    now = context.clock.now()
    end = query.end or now + FUTURE_MAX  # with what has a time ahead of ours
    start = query.start or min(now, end) - SPAN_DEFAULT
    if not timedelta(0) < end - start <= SPAN_MAX:
        detail = "Ask for a span of up to 31 days that ends after it begins."
        raise Invalid([FieldError("from", "invalid_span", detail)])
    span = Span(start, end, query.customer, query.source)
    after = decode_cursor(cursor, 1)

    async def read(connection: Connection) -> list[SourceCompleteness]:
        seen = await storage.page(
            connection, span, late=query.late_after, after=after[0] if after else None,
            limit=limit + 1,
        )  # fmt: skip
        names = [one.source for one in seen]
        archived_until = await storage.archived_until(connection)

        def whole(since: datetime | None) -> bool:
            return archived_until is None or (since is not None and since > archived_until)

        # Of one customer the numbers in between may be another's.
        counted = span.customer is None and whole(start)
        numbers = await storage.numbers(connection, span, names) if counted else {}
        beats = {
            source: said
            for source, said in (await storage.heartbeats(connection, span, names)).items()
            if whole(said.start)
        }
        at = min(now, end)
        return [
            SourceCompleteness(
                one.source, at, one.received, one.quarantined, one.late, one.ahead, one.ahead_most,
                one.duplicates, one.conflicts, one.delays, one.last_received_at,
                numbers.get(one.source), beats.get(one.source),
            )
            for one in seen
        ]  # fmt: skip

    return make_page(await look(context, read), limit, lambda row: (row.source,))


def count_repeats(events: Iterable[tuple[Event, str]]) -> list[Repeats]:
    """What is to be counted of events that were not stored, by what became of them."""
    counts = Counter(
        (one.customer, one.source, one.received_at.replace(minute=0, second=0, microsecond=0),
         status)
        for one, status in events
    )  # fmt: skip
    return [
        Repeats(*key, counts[*key, "duplicate"], counts[*key, "conflict"])
        for key in {(customer, source, hour) for customer, source, hour, _ in counts}
    ]
