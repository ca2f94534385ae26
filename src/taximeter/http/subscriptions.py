"""Routes of subscriptions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, Field, WithJsonSchema

from taximeter.domain.catalog.deal import ADJUST_PERCENT_MAX, ADJUST_PERCENT_MIN
from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.catalog.discount_document import parse_invoice_discount
from taximeter.domain.catalog.document import TRIAL_DAYS_MAX
from taximeter.domain.subscription.phases import PHASES_MAX
from taximeter.domain.subscription.subscription import Phase, Subscription
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    DecimalText,
    Instant,
    Key,
    Limit,
    instant,
)
from taximeter.http.plan_schema import INVOICE_DISCOUNT_SCHEMA
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import Duration, parse_duration, parse_instant, parse_local
from taximeter.services import subscribe, subscriptions
from taximeter.services.discounts import DiscountChange
from taximeter.services.subscribe import NewPhase, NewSubscription
from taximeter.services.subscriptions import (
    CancelRequest,
    ChangeRequest,
    PauseRequest,
    ResumeRequest,
)

router = APIRouter(prefix="/v1", tags=["Subscriptions"])
Quantities = Annotated[dict[Key, DecimalText], Field(max_length=100)]


def _local(value: Any) -> datetime:
    local = parse_local(value) if isinstance(value, str) else None
    if local is None:
        raise ValueError("send a local date or date-time of the customer, such as 2026-01-31")
    return local


def _moment(value: Any) -> datetime | str:
    if value in ("now", "period_end", "term_end"):
        return str(value)
    at = parse_instant(value) if isinstance(value, str) else None
    if at is None:
        raise ValueError("send now, period_end, term_end or an RFC 3339 date-time with an offset")
    return at


LocalTime = Annotated[
    datetime,
    BeforeValidator(_local),
    WithJsonSchema({"type": "string", "examples": ["2026-01-31"]}),
]
Moment = Annotated[
    datetime | str,
    BeforeValidator(_moment),
    WithJsonSchema(
        {"type": "string", "examples": ["now", "period_end", "term_end", "2026-02-01T00:00:00Z"]}
    ),
]


DiscountField = Annotated[dict[str, Any], WithJsonSchema(INVOICE_DISCOUNT_SCHEMA)]


def _discount(document: dict[str, Any] | None) -> InvoiceDiscount | None:
    return None if document is None else parse_invoice_discount(document)


Overrides = Annotated[
    dict[Key, dict[str, Any]],
    Field(
        max_length=500,
        description="Fields of prices that replace the plan's, by price key",
        examples=[{"resolutions": {"tiers": [{"up_to": "9000", "unit": "0"}, {"unit": "0.25"}]}}],
    ),
]
Version = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
AdjustPercent = Annotated[
    DecimalText, Field(ge=ADJUST_PERCENT_MIN, le=ADJUST_PERCENT_MAX, examples=["5"])
]


def _duration(value: Any) -> Duration:
    duration = parse_duration(value) if isinstance(value, str) else None
    if duration is None:
        raise ValueError("send an ISO 8601 duration such as P3M or P14D")
    return duration


DurationText = Annotated[
    Duration,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "examples": ["P3M"]}),
]


class PhaseBody(Body):
    """What is planned for so long after the start; what is left out is as in the phase before.
    `adjust_percent` changes all prices of the phase before.
    """

    after: DurationText
    plan: Key | None = None
    version: Version | None = None
    quantities: Quantities | None = None
    overrides: Overrides | None = None
    adjust_percent: AdjustPercent | None = None


class SubscriptionBody(Body):
    """A new subscription. `term` says its end by a duration, or where it `renews` how long each
    term is; `align` counts its periods from the
    calendar in place of an `anchor`; without `trial_days` the plan's apply.
    """

    customer: CustomerKey
    plan: Key
    version: Version | None = None
    key: Key | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    term: DurationText | None = None
    renews: bool = False
    anchor: LocalTime | None = None
    align: Literal["calendar"] | None = None
    quantities: Quantities = {}
    overrides: Overrides = {}
    phases: Annotated[list[PhaseBody], Field(max_length=PHASES_MAX)] = []
    trial_days: Annotated[int, Field(ge=0, le=TRIAL_DAYS_MAX, strict=True)] | None = None
    net_terms_days: Annotated[int, Field(ge=0, le=365, strict=True)] = 30
    discount: DiscountField | None = None
    coupon: Key | None = None


class ChangeBody(Body):
    """What changes; what is left out stays. `overrides` replace all earlier ones."""

    plan: Key | None = None
    version: Version | None = None
    quantities: Quantities | None = None
    overrides: Overrides | None = None
    at: Moment = "now"
    proration: Literal["by_day", "by_second", "none"] = "by_day"
    discount: DiscountField | None = None

    def request(self) -> ChangeRequest:
        """What is asked of the service, of a change as of its preview."""
        changed = "discount" in self.model_fields_set  # null ends it, left out it stays
        return ChangeRequest(
            plan=self.plan, version=self.version, quantities=self.quantities, at=self.at,
            proration=self.proration, overrides=self.overrides,
            discount=DiscountChange(_discount(self.discount)) if changed else None,
        )  # fmt: skip


class CancelBody(Body):
    """When the subscription ends, and whether unused advance fees are credited."""

    at: Moment = "period_end"
    credit_unused: bool = False

    def request(self) -> CancelRequest:
        """What is asked of the service, of a cancel as of its preview."""
        return CancelRequest(at=self.at, credit_unused=self.credit_unused)


class PauseBody(Body):
    """When the subscription pauses, until when (left out: until it is resumed), and how the fees
    of the period are cut.
    """

    at: Moment = "now"
    until: Instant | None = None
    proration: Literal["by_day", "by_second", "none"] = "by_day"


class ResumeBody(Body):
    """When a paused subscription goes on."""

    at: Moment = "now"
    proration: Literal["by_day", "by_second", "none"] = "by_day"


def subscription_json(subscription: Subscription, now: datetime) -> dict[str, object]:
    """A subscription as answered; its plan and quantities are those that apply now."""
    phase = subscription.phase_at(now) or _nearest(subscription, now)
    return {
        "id": subscription.id,
        "key": subscription.key,
        "customer": subscription.customer,
        "status": _status(subscription, now),
        "plan": phase.plan.key,
        "version": phase.plan.version,
        "quantities": _quantities(phase),
        "overrides": phase.deal.overrides,
        "starts_at": instant(subscription.starts_at),
        "ends_at": instant(subscription.ends_at),
        "cancelled_at": instant(subscription.cancelled_at),
        "term": _term_json(subscription, now),
        "trial_ends_at": instant(_trial_ends_at(subscription)),
        "anchor": subscription.anchor.local.isoformat(),
        "timezone": subscription.anchor.timezone,
        "net_terms_days": subscription.net_terms_days,
        "created_at": instant(subscription.created_at),
        "phases": [_phase_json(one) for one in subscription.phases],
    }


def _nearest(subscription: Subscription, now: datetime) -> Phase:
    return subscription.phases[0 if now < subscription.starts_at else -1]


def _status(subscription: Subscription, now: datetime) -> str:
    if now < subscription.starts_at:
        return "scheduled"
    if subscription.ends_at is not None and now >= subscription.ends_at:
        return "ended"
    phase = subscription.phase_at(now)
    return "active" if phase is None else _kind(phase)


def _kind(phase: Phase) -> str:
    if phase.deal.paused:
        return "paused"
    return "trialing" if phase.deal.trial else "active"


def _trial_ends_at(subscription: Subscription) -> datetime | None:
    return max((p.ends_at for p in subscription.phases if p.deal.trial and p.ends_at), default=None)


def _phase_json(phase: Phase) -> dict[str, object]:
    percent = phase.said.adjust_percent if phase.said else None
    return {
        "starts_at": instant(phase.starts_at),
        "ends_at": instant(phase.ends_at),
        "plan": phase.plan.key,
        "version": phase.plan.version,
        "status": _kind(phase),
        "quantities": _quantities(phase),
        "overrides": phase.deal.overrides,
        "adjust_percent": None if percent is None else format_decimal(percent),
        "proration": phase.proration,
    }


def _term_json(subscription: Subscription, now: datetime) -> dict[str, object] | None:
    """The term that runs now, of a contract that renews itself."""
    term = subscription.term_at(now)
    if term is None or subscription.term is None:
        return None
    found = {"from": instant(term.start), "to": instant(term.end)}
    return {"duration": subscription.term.text, **found, "renews": subscription.ends_at is None}


def _quantities(phase: Phase) -> dict[str, str]:
    return {key: format_decimal(value) for key, value in phase.quantities.items()}


@router.post("/subscriptions", status_code=201)
async def create_subscription(body: SubscriptionBody, call: Admin) -> Response:
    """Start a subscription. Usage recorded since its start is priced by it."""
    for one, other in (("anchor", "align"), ("ends_at", "term")):
        if getattr(body, one) is not None and getattr(body, other) is not None:
            detail = f"Say {one} or {other}, not both."
            raise Invalid([FieldError(other, "conflicting_fields", detail)])
    new = NewSubscription(
        customer=body.customer, plan=body.plan, version=body.version, key=body.key,
        starts_at=body.starts_at, ends_at=body.ends_at, anchor=body.anchor,
        quantities=body.quantities, net_terms_days=body.net_terms_days,
        discount=_discount(body.discount), coupon=body.coupon,
        overrides=body.overrides, trial_days=body.trial_days, term=body.term, renews=body.renews,
        aligned=body.align is not None, phases=[NewPhase(**dict(one)) for one in body.phases],
    )  # fmt: skip
    return await call.write(
        lambda transaction: subscribe.create_subscription(transaction, new),
        lambda subscription: subscription_json(subscription, call.context.clock.now()), 201,
    )  # fmt: skip


@router.post("/subscriptions/{id}/change")
async def change_subscription(id: str, body: ChangeBody, call: Admin) -> Response:
    """Move to another plan, version or quantity."""
    return await call.write(
        lambda transaction: subscriptions.change_subscription(
            transaction, id, customer=call.caller.customer, request=body.request()
        ),
        lambda subscription: subscription_json(subscription, call.context.clock.now()),
    )  # fmt: skip


@router.post("/subscriptions/{id}/cancel")
async def cancel_subscription(id: str, body: CancelBody, call: Admin) -> Response:
    """End a subscription, by default at the end of its period."""
    return await call.write(
        lambda transaction: subscriptions.cancel_subscription(
            transaction, id, customer=call.caller.customer, request=body.request()
        ),
        lambda subscription: subscription_json(subscription, call.context.clock.now()),
    )  # fmt: skip


@router.post("/subscriptions/{id}/pause")
async def pause_subscription(id: str, body: PauseBody, call: Admin) -> Response:
    """Stop pricing: no fees fall due and usage is recorded at no price."""
    request = PauseRequest(body.at, body.until, body.proration)
    return await call.write(
        lambda transaction: subscriptions.pause_subscription(
            transaction, id, customer=call.caller.customer, request=request
        ),
        lambda subscription: subscription_json(subscription, call.context.clock.now()),
    )


@router.post("/subscriptions/{id}/resume")
async def resume_subscription(id: str, body: ResumeBody, call: Admin) -> Response:
    """Go on after a pause."""
    request = ResumeRequest(body.at, body.proration)
    return await call.write(
        lambda transaction: subscriptions.resume_subscription(
            transaction, id, customer=call.caller.customer, request=request
        ),
        lambda subscription: subscription_json(subscription, call.context.clock.now()),
    )


@router.get("/subscriptions/{id}")
async def get_subscription(id: str, call: Reader) -> Response:
    """One subscription."""
    found = await subscriptions.get_subscription(call.context, id, call.caller.customer)
    return ok(subscription_json(found, call.context.clock.now()))


@router.get("/subscriptions")
async def list_subscriptions(
    call: Reader,
    customer: Annotated[CustomerKey | None, Query()] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Subscriptions by customer and age."""
    if customer is not None:
        call.see(customer)
    page = await subscriptions.list_subscriptions(
        call.context, customer=customer or call.caller.customer, limit=limit, cursor=cursor
    )
    now = call.context.clock.now()
    return ok(page_json(page, lambda one: subscription_json(one, now)))
