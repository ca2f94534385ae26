"""Routes of outcomes: what became of what the seller was to achieve."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field

from taximeter.domain.metering.outcome import Outcome, State, Step, Verb
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    DecimalText,
    Limit,
    Name,
    Text,
    instant,
)
from taximeter.http.server import Call, Ingester, Reader, ok, page_json
from taximeter.kernel.quantity import ONE, ZERO, format_decimal
from taximeter.services import outcomes
from taximeter.services.outcomes import OutcomeEvent, OutcomeStep, OutcomeView

router = APIRouter(prefix="/v1", tags=["Outcomes"])
EVIDENCE_CHARS_MAX = 500

OutcomePath = Annotated[Name, Path(description="The outcome's id, as `data.outcome_id` named it")]


def _part(value: Decimal) -> Decimal:
    if not ZERO < value < ONE:
        raise ValueError('send a share between 0 and 1, such as "0.4"; to bill all of it, confirm')
    return value


class DecisionBody(Body):
    """Who decides about whose outcome, and why."""

    customer: CustomerKey
    reason: Annotated[Text, Field(min_length=1)]
    evidence: Annotated[
        Text | None, Field(description="What shows it: a text, or where it is to be found")
    ] = None
    human_review: Annotated[
        bool | None,
        Field(strict=True, description="Whether it needed a person; left out: as it was"),
    ] = None


class ConfirmBody(DecisionBody):
    """A confirmation, which needs no reason."""

    reason: Annotated[Text, Field(min_length=1)] | None = None  # type: ignore[assignment]


class PartialBody(DecisionBody):
    """How much of the outcome was achieved."""

    share: Annotated[DecimalText, AfterValidator(_part)]


def _outcome_json(outcome: Outcome) -> dict[str, object]:
    return {
        "id": outcome.id,
        "customer": outcome.customer,
        "status": outcome.state,
        "share": format_decimal(outcome.share),
        "human_review": outcome.human_review,
        "opened_at": instant(outcome.opened_at),
        "confirm_at": instant(outcome.confirm_at),
        "confirmed_at": instant(outcome.confirmed_at),
        "reversible_until": instant(outcome.reversible_until),
        "attempts": outcome.events,
    }


def _event_json(event: OutcomeEvent) -> dict[str, object]:
    attempt, first = event
    return {
        "id": attempt.event,
        "source": attempt.source,
        "meter": attempt.meter,
        "attempt": attempt.attempt,
        "first": first,
    }


def _step_json(step: OutcomeStep) -> dict[str, object]:
    return {
        "status": step.state,
        "share": format_decimal(step.share),
        "human_review": step.human_review,
        "reason": step.reason,
        "evidence": step.evidence,
        "actor": step.actor,
        "at": instant(step.at),
    }


def _view_json(view: OutcomeView) -> dict[str, object]:
    return {
        **_outcome_json(view.outcome),
        "events": [_event_json(event) for event in view.events],
        "history": [_step_json(step) for step in view.steps],
    }


async def _decide(
    call: Call, id: str, verb: Verb, body: DecisionBody, share: Decimal | None = None
) -> Response:
    call.see(body.customer)
    step = Step(verb, share, body.reason, body.evidence, body.human_review)
    return await call.write(
        lambda transaction: outcomes.decide(transaction, body.customer, id, step), _view_json
    )


@router.post("/outcomes/{id:path}/confirm")
async def confirm_outcome(id: OutcomePath, body: ConfirmBody, call: Ingester) -> Response:
    """It was achieved: its usage is billed, in the period of its events."""
    return await _decide(call, id, "confirm", body)


@router.post("/outcomes/{id:path}/partial")
async def confirm_outcome_in_part(id: OutcomePath, body: PartialBody, call: Ingester) -> Response:
    """A part of it was achieved: this share of its usage is billed."""
    return await _decide(call, id, "partial", body, body.share)


@router.post("/outcomes/{id:path}/fail")
async def fail_outcome(id: OutcomePath, body: DecisionBody, call: Ingester) -> Response:
    """It was not achieved, and is never billed."""
    return await _decide(call, id, "fail", body)


@router.post("/outcomes/{id:path}/dispute")
async def dispute_outcome(id: OutcomePath, body: DecisionBody, call: Ingester) -> Response:
    """The customer contests it. Nothing is billed or credited by that, and it no longer confirms
    itself: whoever settles the dispute confirms, fails or reverses it, wholly or in part.
    """
    return await _decide(call, id, "dispute", body)


@router.post("/outcomes/{id:path}/reverse")
async def reverse_outcome(id: OutcomePath, body: DecisionBody, call: Ingester) -> Response:
    """Take it back after it was confirmed. What was invoiced is credited on the next invoice."""
    return await _decide(call, id, "reverse", body)


@router.get("/outcomes/{id:path}")
async def get_outcome(
    id: OutcomePath, call: Reader, customer: Annotated[CustomerKey, Query()]
) -> Response:
    """One outcome of a customer, with its first 100 events and last 100 decisions."""
    call.see(customer)
    return ok(_view_json(await outcomes.get_outcome(call.context, customer, id)))


@router.get("/outcomes")
async def list_outcomes(
    call: Reader,
    customer: CustomerKey | None = None,
    status: State | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Outcomes by customer and id."""
    if customer is not None:
        call.see(customer)
    page = await outcomes.list_outcomes(
        call.context, customer=customer or call.caller.customer, state=status, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, _outcome_json))
