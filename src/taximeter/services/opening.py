"""Opening outcomes: what events under a price by outcome do before anybody has decided.

Owns which outcome an event opens or adds to, and on which terms. What is billed of it follows
from how the outcome stands; deciding about it is outcomes.py.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from taximeter.domain.catalog.plan import OutcomeTerms
from taximeter.domain.metering.event import Event
from taximeter.domain.metering.outcome import (
    NOTHING,
    Billed,
    Outcome,
    billed,
    needed_human,
    outcome_id,
)
from taximeter.domain.subscription.routing import MeterRoute, Reading
from taximeter.kernel.quantity import ZERO
from taximeter.services.context import Connection
from taximeter.storage import outcomes as storage
from taximeter.storage.outcomes import Attempt, Opened, Opening

ATTEMPTS_READ_MAX = 1_000

EventKey: TypeAlias = storage.EventKey
Counted = tuple[Event, Sequence[Reading]]
# How much of what a meter read in an event is billed under a price with these terms.
BilledOf = Callable[[EventKey, OutcomeTerms, Decimal | int], Billed]


async def open_outcomes(
    connection: Connection, counted: Sequence[Counted]
) -> Mapping[EventKey, Opened]:
    """Open the outcomes that these new events name, or add the events to those that are open;
    returns the outcome of each event for each meter that reads it for one.
    """
    named: dict[tuple[str, str], list[Counted]] = {}
    for event, readings in counted:
        pending = [reading for reading in readings if reading[0].pending]
        if pending:
            outcome = outcome_id(event.data)
            assert outcome is not None, "an event without one is quarantined"
            named.setdefault((event.customer, outcome), []).append((event, pending))
    outcomes = await storage.open_outcomes(
        connection, [_opening(*key, events) for key, events in named.items()]
    )
    attempts = [
        Attempt(event.customer, event.source, event.id, meter, key[1], number)
        for key, events in named.items()
        for number, (event, pending) in enumerate(
            events, start=outcomes[key].events - len(events) + 1
        )
        for meter in dict.fromkeys(route.meter.key for route, _, _ in pending)
    ]
    await storage.insert_events(connection, attempts)
    if any(one.confirmed_at is not None for one in outcomes.values()):
        return await storage.of_events(connection, {one[:3] for one in attempts})
    return {one[:4]: Opened(outcomes[one.customer, one.outcome], first=False) for one in attempts}


async def foresee_outcomes(
    connection: Connection, counted: Sequence[Counted]
) -> Mapping[EventKey, Opened]:
    """What `open_outcomes` would return, as far as the billing of these events goes by it; writes
    nothing.
    """
    found: dict[EventKey, Opened] = {}
    attempted: set[tuple[str, str]] = set()
    for event, readings in counted:
        name = outcome_id(event.data)
        assert name is not None, "an event without one is quarantined"
        outcome = await storage.find(connection, event.customer, name)
        if outcome is None:
            outcome = _pending(event, name)
        else:
            attempts = await storage.attempts_of(
                connection, event.customer, [name], limit=ATTEMPTS_READ_MAX
            )
            attempted |= {(name, one.attempt.meter) for one in attempts}
        for meter in dict.fromkeys(route.meter.key for route, _, _ in readings if route.pending):
            first = (name, meter) not in attempted
            found[event.customer, event.source, event.id, meter] = Opened(outcome, first)
            attempted.add((name, meter))
    return found


def _pending(event: Event, name: str) -> Outcome:
    return Outcome(
        customer=event.customer, id=name, state="pending", share=ZERO, human_review=False,
        opened_at=event.received_at, confirm_at=None, confirmed_at=None, reversible_s=None,
        events=1, steps=0,
    )  # fmt: skip


def _opening(customer: str, outcome: str, events: Sequence[Counted]) -> Opening:
    """What these events say of their outcome: its times are those of the first price that the
    first of them is measured for; it confirms itself after the last.
    """
    opened = [(event, _terms(readings[0][0])) for event, readings in events]
    confirm_at = [at for event, terms in opened if (at := _confirm_at(event, terms)) is not None]
    return Opening(
        customer=customer, id=outcome,
        human_review=any(needed_human(event.data) for event, _ in opened),
        opened_at=min(event.received_at for event, _ in opened),
        confirm_at=max(confirm_at, default=None),
        reversible_s=opened[0][1].reversible_s, events=len(events),
    )  # fmt: skip


def _terms(route: MeterRoute) -> OutcomeTerms:
    terms = route.pending[0].price.outcome
    assert terms is not None, "it is pending because of its outcome"
    return terms


def _confirm_at(event: Event, terms: OutcomeTerms) -> datetime | None:
    if terms.auto_confirm_s is None:
        return None
    return event.received_at + timedelta(seconds=terms.auto_confirm_s)


def billed_as_opened(opened: Mapping[EventKey, Opened]) -> BilledOf:
    """How much of an event is billed, as its outcome stands in `opened`. One that belongs to none
    was counted before its price asked for outcomes, and stays so.
    """

    def billed_of(key: EventKey, terms: OutcomeTerms, value: Decimal | int) -> Billed:
        found = opened.get(key)
        if found is None:
            return Billed(1, Decimal(value))
        return billed(found.outcome, terms, value, first=found.first)

    return billed_of


def change_of(opened: Mapping[EventKey, Opened], after: Mapping[str, Outcome]) -> BilledOf:
    """By how much the billed part of an event changes where its outcome goes from how it stands in
    `opened` to how it does in `after` (by id).
    """

    def billed_of(key: EventKey, terms: OutcomeTerms, value: Decimal | int) -> Billed:
        found = opened.get(key)
        if found is None:
            return NOTHING
        old = billed(found.outcome, terms, value, first=found.first)
        new = billed(after[found.outcome.id], terms, value, first=found.first)
        return Billed(new.events - old.events, new.quantity - old.quantity)

    return billed_of
