"""Outcomes: deciding about them, and reading them.

Owns the order of a decision: the terms are held as ingestion holds them, outcomes are locked, what
their events are billed changes in the segments of the events' own times, and wallets are charged
or given back the difference. What comes after an invoice is final is adjusted on the next one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from taximeter.domain.metering.outcome import STATE_AFTER, Outcome, State, Step, advance
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.paths import deepest_scope
from taximeter.kernel.quantity import format_decimal
from taximeter.services import archive
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.cost import Shares
from taximeter.services.count import (
    Counted,
    Total,
    TotalKey,
    fold_events,
    merge_total,
    outcome_totals,
    send_totals,
    settle_usage,
    share_of,
)
from taximeter.services.epochs import epochs_of, read_as_counted
from taximeter.services.kept_values import folding_of
from taximeter.services.opening import EventKey, change_of
from taximeter.services.spending import limited_among
from taximeter.storage import outcomes as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.outcomes import Attempt, Opened, ReadAttempt, StepRow

OutcomeStep: TypeAlias = StepRow
OutcomeEvent: TypeAlias = ReadAttempt

EVENTS_PER_STEP = 1_000
EVENTS_SHOWN_MAX = 100
STEPS_SHOWN_MAX = 100
SYSTEM = "system"
_BY_ITSELF = Step("confirm", None, None, None, None)


@dataclass(frozen=True, slots=True)
class OutcomeView:
    """An outcome with its first events and its last decisions, up to 100 each, in order."""

    outcome: Outcome
    events: Sequence[OutcomeEvent]
    steps: Sequence[OutcomeStep]


async def decide(
    transaction: Transaction, customer: str, outcome_id: str, step: Step
) -> OutcomeView:
    """Take a step with an outcome. The same again changes nothing, and neither does confirming one
    that has confirmed itself.

    Raises `NotFound`, and `InvalidState` for a step that its state or its time forbids.
    """
    connection = transaction.connection
    terms = await _hold(transaction, customer)
    locked = await storage.lock(connection, customer, [outcome_id])
    if terms is None or not locked:
        raise NotFound(kind="outcome", key=outcome_id)
    before = locked[0]
    if not await _is_repeated(connection, before, step):
        after = advance(before, step, transaction.at)
        await _apply(transaction, terms, [(before, after)], step, transaction.actor)
        await transaction.audit(
            f"outcome.{after.state}", outcome_id,
            {"customer": customer, "share": format_decimal(after.share), "reason": step.reason},
        )  # fmt: skip
        before = after
    return await _view(connection, before)


async def _is_repeated(connection: Connection, outcome: Outcome, step: Step) -> bool:
    """Whether the last step was this one."""
    last = await storage.last_steps(connection, outcome.customer, outcome.id, 1)
    if not last or outcome.state != STATE_AFTER[step.verb]:
        return False
    if step.human_review not in (None, last[0].human_review):
        return False
    if last[0].actor == SYSTEM:
        return True
    same = (last[0].reason, last[0].evidence) == (step.reason, step.evidence)
    return same and step.share in (None, last[0].share)


async def confirm_due(transaction: Transaction, customer: str, ids: Sequence[str]) -> None:
    """Confirm those of these outcomes of a customer that are due to confirm themselves."""
    terms = await _hold(transaction, customer)
    assert terms is not None, "a customer is never deleted"
    changes = [
        (one, advance(one, _BY_ITSELF, transaction.at))
        for one in await storage.lock(transaction.connection, customer, ids)
        if one.confirm_at is not None and one.confirm_at <= transaction.at
    ]
    if changes:
        await _apply(transaction, terms, changes, _BY_ITSELF, SYSTEM)


async def _hold(transaction: Transaction, customer: str) -> CustomerTerms | None:
    held = await transaction.context.terms.hold(transaction.connection, [customer])
    return held.customers[customer].terms


async def _apply(
    transaction: Transaction,
    terms: CustomerTerms,
    changes: Sequence[tuple[Outcome, Outcome]],
    step: Step,
    actor: str,
) -> None:
    """Write what becomes of outcomes of a customer, and count what that changes."""
    connection = transaction.connection
    await storage.write(connection, [after for _, after in changes])
    await storage.insert_steps(
        connection,
        [
            StepRow(
                after.customer, after.id, after.steps, after.state, after.share,
                after.human_review, step.reason, step.evidence, actor, transaction.at,
            )
            for _, after in changes
        ],
    )  # fmt: skip
    moved = [
        (before, after)
        for before, after in changes
        if (before.share, before.human_review) != (after.share, after.human_review)
    ]
    if moved:
        by_path = await _changed_totals(connection, terms, moved)
        merged: dict[TotalKey, Total] = {}
        for totals in by_path.values():
            for total in totals.values():
                merge_total(merged, total)
        context, limited = transaction.context, limited_among([terms])
        counting = await send_totals(context, connection, list(merged.values()), limited)
        counting = counting._replace(shares_of=partial(_shares, by_path))
        await settle_usage(context, connection, counting)


def _shares(
    by_path: Mapping[str, Mapping[TotalKey, Total]], _customer: str, scopes: Collection[str]
) -> Shares:
    """What the totals of each path add to each row, by the deepest of the scopes it lies within."""
    found: dict[str, list[Total]] = {}
    for path, totals in by_path.items():
        found.setdefault(deepest_scope(path, scopes) or "", []).extend(totals.values())
    return {path: share_of(found[path]) for path in sorted(found)}


async def _changed_totals(
    connection: Connection, terms: CustomerTerms, changes: Sequence[tuple[Outcome, Outcome]]
) -> dict[str, dict[TotalKey, Total]]:
    """What totals gain or lose by these outcomes, by the path of their events: these are read and
    routed as they were when they came, in steps of bounded size.
    """
    before = {one.id: one for one, _ in changes}
    after = {one.id: one for _, one in changes}
    epochs = epochs_of(terms, await term_storage.meter_versions(connection))
    by_path: dict[str, dict[TotalKey, Total]] = {}
    last: Attempt | None = None
    while True:
        found = await storage.attempts_of(
            connection, terms.customer.key, list(before), after=last, limit=EVENTS_PER_STEP
        )
        opened: dict[EventKey, Opened] = {
            one.attempt[:4]: Opened(before[one.attempt.outcome], one.first) for one in found
        }
        change = change_of(opened, after)
        counted: list[Counted] = []
        for stored in await archive.events_of(connection, {key[:3] for key in opened}):
            readings = read_as_counted(epochs, terms, stored)
            if not isinstance(readings, str):
                counted.append((stored.event, readings))
        folding = await folding_of(connection, fold_events(counted))
        for one in counted:
            merged = by_path.setdefault(one[0].path or "", {})
            for total in outcome_totals([one], change, folding):
                merge_total(merged, total)
        if len(found) < EVENTS_PER_STEP:
            return by_path
        last = found[-1].attempt


async def get_outcome(context: Context, customer: str, outcome_id: str) -> OutcomeView:
    """One outcome of a customer. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        outcome = await storage.find(connection, customer, outcome_id)
        if outcome is None:
            raise NotFound(kind="outcome", key=outcome_id)
        return await _view(connection, outcome)


async def _view(connection: Connection, outcome: Outcome) -> OutcomeView:
    customer, ids = outcome.customer, [outcome.id]
    events = await storage.attempts_of(connection, customer, ids, limit=EVENTS_SHOWN_MAX)
    steps = await storage.last_steps(connection, customer, outcome.id, STEPS_SHOWN_MAX)
    return OutcomeView(outcome, events, steps)


async def list_outcomes(
    context: Context, *, customer: str | None, state: State | None, limit: int, cursor: str | None
) -> Page[Outcome]:
    """Outcomes by customer and id; None stands for any."""
    after = decode_cursor(cursor, 2)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, customer=customer, state=state,
            after=(after[0], after[1]) if after else None, limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda one: (one.customer, one.id))
