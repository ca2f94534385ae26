"""Routes of plans: pricing as code."""

from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, BeforeValidator, Field

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.catalog.deployment import METERS_MAX
from taximeter.domain.catalog.fields import scalar_text
from taximeter.domain.invoicing.preview import Preview, PreviewLine, SampleEvent
from taximeter.domain.metering.event import check_data
from taximeter.domain.rating.step import Step
from taximeter.http.document import Document, document_body, read_as
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    DecimalText,
    Instant,
    Key,
    Limit,
    Name,
    Text,
    instant,
)
from taximeter.http.plan_review import change_json, shown_document
from taximeter.http.plan_schema import DEPLOYMENT_SCHEMA, PLAN_SCHEMA, PREVIEW_SCHEMA
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.money import format_minor
from taximeter.kernel.quantity import ONE, ZERO, format_decimal
from taximeter.services import deploy, plan_review, plans
from taximeter.services.command import Transaction, run
from taximeter.services.deploy import Deployed
from taximeter.services.keys import ROOT, Caller
from taximeter.services.plan_review import Sample
from taximeter.services.plans import VERSION_MAX, PlanPut, PlanVersion

DryRun = Annotated[bool, Query(description="Check only: answer what would happen, change nothing")]
EffectiveAt = Annotated[
    Instant | None,
    Query(description="When this comes into force, if not at once: RFC 3339, in the future"),
]
router = APIRouter(prefix="/v1", tags=["Plans"])
PlanPath = Annotated[Key, Path(description="The plan's key")]
EVENTS_MAX = 1_000
COUNT_MAX = Decimal(10) ** 12


def _parts(value: Any) -> Any:
    """Usage as a list of parts; a plain quantity is one part without dimensions."""
    return value if isinstance(value, list) else [{"quantity": value}]


def _text(value: Any) -> str:
    text = scalar_text(value)
    if text is None:
        raise ValueError("send a text, whole number, true or false; other numbers in quotes")
    return text


def _whole(value: Decimal) -> Decimal:
    if value != value.to_integral_value() or not ZERO < value <= COUNT_MAX:
        raise ValueError('send a whole number from 1 to a trillion, such as "1000"')
    return value


class UsagePart(Body):
    """What was used of one combination of dimension values."""

    dimensions: dict[str, Annotated[str, BeforeValidator(_text)]] = {}
    quantity: DecimalText


class EventsPart(Body):
    """A number of equal events."""

    type: Name
    data: dict[str, Any] = {}
    count: Annotated[DecimalText, AfterValidator(_whole)] = ONE


class PreviewBody(Body):
    """What a period might hold."""

    quantities: dict[str, DecimalText] = {}
    usage: dict[str, Annotated[list[UsagePart], BeforeValidator(_parts)]] = {}
    events: Annotated[list[EventsPart], Field(max_length=EVENTS_MAX)] = []
    version: Annotated[int, Field(ge=1, le=VERSION_MAX, strict=True)] | None = None
    document: dict[str, Any] | None = None
    meters: Annotated[list[dict[str, Any]], Field(max_length=METERS_MAX)] = []

    def sample(self) -> Sample:
        """The sample that is priced. Raises `Invalid` for data over the limits of an event."""
        for index, event in enumerate(self.events):
            if problem := check_data(event.data, f"events[{index}].data"):
                raise Invalid([problem])
        return Sample(
            quantities=self.quantities,
            usage={
                key: [(part.dimensions, part.quantity) for part in parts]
                for key, parts in self.usage.items()
            },
            events=[SampleEvent(e.type, e.data, int(e.count)) for e in self.events],
        )


def plan_json(plan: PlanVersion, caller: Caller = ROOT) -> dict[str, object]:
    """A plan as answered: of its document what the caller may see, with its version."""
    document = shown_document(plan.document, caller)
    return {
        "key": plan.key,
        "version": plan.version,
        "status": plan.status,
        "effective_at": instant(plan.effective_at),
        "retired_at": instant(plan.retired_at),
        **{name: value for name, value in document.items() if name != "key"},
        "created_at": instant(plan.created_at),
    }


def preview_json(shown: Preview) -> dict[str, object]:
    """A preview as answered."""
    digits = minor_digits(shown.currency)
    return {
        "currency": shown.currency,
        "lines": [_line_json(line) for line in shown.lines],
        "credits": [
            {
                "asset": drawn.asset,
                "amount": format_decimal(drawn.amount),
                **_cover_json(shown, drawn.asset),
            }
            for drawn in shown.credits
        ],
        "subtotal": format_minor(shown.subtotal, digits),
        "discount": format_minor(shown.discount, digits),
        "total": format_minor(shown.total, digits),
    }


def _cover_json(shown: Preview, asset: str) -> dict[str, object]:
    """What the plan's credits cover of what is drawn, where it grants the asset or prices it."""
    return {
        name: format_decimal(value)
        for cover in shown.covers
        if cover.asset == asset
        for name, value in (("covered", cover.covered), ("overage", cover.overage))
    }


def _line_json(line: PreviewLine) -> dict[str, object]:
    amount = format_decimal(line.amount)
    if not line.settled:
        amount = format_minor(line.amount, minor_digits(line.asset))
    return {
        "price": line.price,
        "description": line.description,
        "asset": line.asset,
        "settle": "wallet" if line.settled else "invoice",
        "rate": line.rate,
        "quantity": format_decimal(line.quantity),
        "amount": amount,
        "steps": [_step_json(step) for step in line.steps],
    }


def _step_json(step: Step) -> dict[str, object]:
    return {
        "text": step.text,
        "quantity": None if step.quantity is None else format_decimal(step.quantity),
        "unit": None if step.unit is None else format_decimal(step.unit),
        "amount": format_decimal(step.amount),
    }


@router.put(
    "/plans/{key}", status_code=201,
    responses={200: {"description": "A new version, or as it was"}},
    openapi_extra=document_body(PLAN_SCHEMA),
)  # fmt: skip
async def put_plan(
    key: PlanPath,
    call: Admin,
    document: Document,
    *,
    dry_run: DryRun = False,
    effective_at: EffectiveAt = None,
) -> Response:
    """Publish a plan: 201 if it is new, 200 with the next version if it differs from what is in
    force (with `effective_at`: in force then).

    A dry run answers 200 with `outcome`: `created`, `new_version` or `unchanged`, and with the
    `changes` to what is in force then.
    """

    async def work(transaction: Transaction) -> PlanPut:
        return await plans.put_plan(transaction, key, document, effective_at=effective_at)

    if dry_run:
        put = await run(call.context, call.caller.key_id, work, dry_run=True)
        return ok(
            {
                **plan_json(put.plan),
                "dry_run": True,
                "outcome": put.outcome,
                "changes": [change_json(change) for change in put.changes],
            }
        )
    return await call.write(work, lambda result: plan_json(result.plan), _status)


def _status(result: PlanPut) -> int:
    return 201 if result.outcome == "created" else 200


def _deployed_json(deployed: Deployed, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "meters": [
            {"key": put.meter.key, "version": put.meter.version, "outcome": put.outcome}
            for put in deployed.meters
        ],
        "plans": [
            {
                "key": put.plan.key,
                "version": put.plan.version,
                "status": put.plan.status,
                "effective_at": instant(put.plan.effective_at),
                "outcome": put.outcome,
                "changes": [change_json(change) for change in put.changes],
            }
            for put in deployed.plans
        ],
    }


@router.post("/plans/deploy", openapi_extra=document_body(DEPLOYMENT_SCHEMA))
async def deploy_plans(
    call: Admin,
    document: Document,
    *,
    dry_run: DryRun = False,
    effective_at: EffectiveAt = None,
) -> Response:
    """Publish meters and plans together: all of them or, where one is refused, none. Plans are
    judged by the meters as they will be. Each answers with its `outcome`: `created`,
    `new_version` or `unchanged`.
    """
    if dry_run:

        async def rehearse(transaction: Transaction) -> Deployed:
            return await deploy.rehearse(transaction, document, effective_at=effective_at)

        deployed = await run(call.context, call.caller.key_id, rehearse, dry_run=True)
        return ok(_deployed_json(deployed, dry_run=True))
    return await call.write(
        lambda transaction: deploy.deploy(transaction, document, effective_at=effective_at),
        lambda deployed: _deployed_json(deployed, dry_run=False),
    )


@router.get("/plans/{key}")
async def get_plan(
    key: PlanPath,
    call: Reader,
    version: Annotated[
        int | None, Query(ge=1, le=VERSION_MAX, description="The newest if left out")
    ] = None,
) -> Response:
    """One version of a plan; without `version` the one in force, or the first that will be."""
    return ok(plan_json(await plans.get_plan(call.context, key, version), call.caller))


@router.get("/plans")
async def list_plans(
    call: Reader,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
    family: Annotated[Key | None, Query(description="The plans of this family only")] = None,
) -> Response:
    """Plans by key, each in the version that is in force, or the first that will be."""
    page = await plans.list_plans(call.context, family=family, limit=limit, cursor=cursor)
    return ok(page_json(page, partial(plan_json, caller=call.caller)))


@router.get("/plans/{key}/versions")
async def list_versions(
    key: PlanPath, call: Reader, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """The versions of a plan, newest first."""
    page = await plans.list_versions(call.context, key, limit=limit, cursor=cursor)
    return ok(page_json(page, partial(plan_json, caller=call.caller)))


@router.delete("/plans/{key}/versions/{version}")
async def cancel_version(
    key: PlanPath, call: Admin, version: Annotated[int, Path(ge=1, le=VERSION_MAX)]
) -> Response:
    """Take back a version that is not in force yet and that no subscription is on."""
    return await call.write(
        lambda transaction: plans.cancel_version(transaction, key, version), plan_json
    )


class RollbackBody(Body):
    """The version whose content becomes the next version."""

    version: Annotated[int, Field(ge=1, le=VERSION_MAX, strict=True)]
    reason: Text | None = None


@router.post(
    "/plans/{key}/rollback", status_code=201,
    responses={200: {"description": "It is in force already"}},
)  # fmt: skip
async def roll_back(key: PlanPath, body: RollbackBody, call: Admin) -> Response:
    """Make a new version with the content of an earlier one, in force at once."""
    return await call.write(
        lambda transaction: plans.roll_back(transaction, key, body.version, body.reason),
        lambda result: {**plan_json(result.plan), "outcome": result.outcome},
        lambda result: 200 if result.outcome == "unchanged" else 201,
    )


@router.post("/plans/{key}/retire")
async def retire_plan(key: PlanPath, call: Admin) -> Response:
    """Take no new subscriptions to a plan; running ones stay as they are."""
    return await call.write(
        lambda transaction: plans.set_retired(transaction, key, retired=True), plan_json
    )


@router.post("/plans/{key}/unretire")
async def unretire_plan(key: PlanPath, call: Admin) -> Response:
    """Take new subscriptions to a plan again."""
    return await call.write(
        lambda transaction: plans.set_retired(transaction, key, retired=False), plan_json
    )


@router.post("/plans/preview", openapi_extra=document_body(PREVIEW_SCHEMA))
async def preview_document(call: Reader, document: Document) -> Response:
    """What one full period would cost under a plan that is not published."""
    body = read_as(PreviewBody, document)
    if body.document is None:
        raise Invalid([FieldError("document", "missing", "Send the plan that is to be priced.")])
    shown = await plan_review.preview_plan(
        call.context, call.caller.key_id, body.sample(),
        document=body.document, meters=body.meters,
    )  # fmt: skip
    return ok(preview_json(shown))


@router.post("/plans/{key}/preview", openapi_extra=document_body(PREVIEW_SCHEMA))
async def preview_plan(key: PlanPath, call: Reader, document: Document) -> Response:
    """What one full period would cost: full amounts, nothing prorated.

    Lines that settle from a wallet are in `credits`, the others in `subtotal`. Where the body has
    a `document`, that is priced in place of the published plan.
    """
    body = read_as(PreviewBody, document)
    shown = await plan_review.preview_plan(
        call.context, call.caller.key_id, body.sample(), key=key, version=body.version,
        document=body.document, meters=body.meters,
    )  # fmt: skip
    return ok(preview_json(shown))
