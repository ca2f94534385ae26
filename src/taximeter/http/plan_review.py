"""Routes that look at plans and publish nothing: check, compare, export, the schema."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from taximeter.domain.catalog.difference import Change
from taximeter.domain.catalog.plan_schema import PLAN_SCHEMA
from taximeter.http.document import Document, document_body, read_as
from taximeter.http.fields import Body, Key
from taximeter.http.plan_schema import DIFF_SCHEMA
from taximeter.http.server import Reader, ok
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.services import plan_review
from taximeter.services.keys import Caller
from taximeter.services.plan_yaml import CONTENT_TYPE, plan_yaml
from taximeter.services.plans import VERSION_MAX, get_plan

router = APIRouter(prefix="/v1", tags=["Plans"])
PlanPath = Annotated[Key, Path(description="The plan's key")]
Version = Annotated[int, Field(ge=1, le=VERSION_MAX)]
OF_SELLER = ("margin",)


class DiffBody(Body):
    """A document that is compared with what is in force, or two versions."""

    document: dict[str, Any] | None = None
    before: Annotated[Version | None, Field(alias="from")] = None
    after: Annotated[Version | None, Field(alias="to")] = None


def shown_document(document: Mapping[str, object], caller: Caller) -> Mapping[str, object]:
    """What a caller may see of a plan's document: what the seller wants to earn is not shown to
    those who are confined to a customer.
    """
    if caller.customer is None:
        return document
    return {name: value for name, value in document.items() if name not in OF_SELLER}


def change_json(change: Change) -> dict[str, object]:
    """A change as answered."""
    return {
        "kind": change.kind,
        "path": change.path,
        "price": change.price,
        "before": change.before,
        "after": change.after,
        "summary": change.summary,
    }


def _finding_json(found: FieldError) -> dict[str, object]:
    return {"path": found.path, "code": found.code, "detail": found.detail}


@router.post("/plans/check", openapi_extra=document_body({"type": "object"}))
async def check_plan(call: Reader, document: Document) -> Response:
    """Everything that publishing a document would refuse, and warnings that refuse nothing: a
    plan, or what is deployed together (`{"meters": [...], "plans": [...]}`). A document in error
    is answered with 200 as well.
    """
    review = await plan_review.check_plan(call.context, call.caller.key_id, document)
    return ok(
        {
            "valid": not review.errors,
            "errors": [_finding_json(found) for found in review.errors],
            "warnings": [_finding_json(found) for found in review.warnings],
        }
    )


@router.post("/plans/{key}/diff", openapi_extra=document_body(DIFF_SCHEMA))
async def compare_plan(key: PlanPath, sent: Document, call: Reader) -> Response:
    """What changes in a plan, field by field and in words: from the version `from` (in force, if
    left out) to a document, or to the version `to`.
    """
    body = read_as(DiffBody, sent)
    if body.document is not None and body.after is not None:
        detail = "A document is compared, or the version to. Leave one of them out."
        raise Invalid([FieldError("to", "conflicting_fields", detail)])
    found = await plan_review.compare_plan(
        call.context, key, document=body.document, before=body.before, after=body.after
    )
    changes = [
        change
        for change in found.changes
        if call.caller.customer is None or change.path.partition(".")[0] not in OF_SELLER
    ]
    return ok(
        {
            "key": key,
            "from": found.before.version,
            "to": found.after.version if found.after is not None else None,
            "unchanged": not changes,
            "changes": [change_json(change) for change in changes],
        }
    )


@router.get(
    "/plans/{key}/export", response_class=Response,
    responses={200: {"content": {kind: {} for kind in (CONTENT_TYPE, "application/json")}}},
)  # fmt: skip
async def export_plan(
    key: PlanPath,
    call: Reader,
    version: Annotated[
        int | None, Query(ge=1, le=VERSION_MAX, description="That in force if left out")
    ] = None,
    written: Annotated[
        Literal["yaml", "json"], Query(alias="format", description="How it is written")
    ] = "yaml",
) -> Response:
    """The document of a plan as it is published, which deploys unchanged."""
    plan = await get_plan(call.context, key, version)
    document = shown_document(plan.document, call.caller)
    if written == "json":
        return ok(document)
    return Response(plan_yaml(document), media_type=CONTENT_TYPE)


@router.get("/schemas/plan.json")
async def plan_schema() -> Response:
    """The JSON Schema of a plan document, by which editors complete and check plan files. Open to
    all.
    """
    return ok(PLAN_SCHEMA)
