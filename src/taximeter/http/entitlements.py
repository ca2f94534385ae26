"""Routes of entitlements: what a customer may use, and how much of it."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator

from taximeter.domain.catalog.entitlement import Rate
from taximeter.domain.catalog.plan_schema import AGREED
from taximeter.domain.entitlement.feature import Allowance, FeatureStanding, Standing
from taximeter.http.customers import CustomerPath
from taximeter.http.document import Document, document_body
from taximeter.http.fields import (
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    DecimalText,
    Key,
    Limit,
    instant,
)
from taximeter.http.server import Admin, Authorizer, Reader, ok, page_json
from taximeter.kernel.quantity import ONE, ZERO, format_decimal
from taximeter.services import entitlements

router = APIRouter(prefix="/v1", tags=["Entitlements"])
FeaturePath = Annotated[Key, Path(description="The feature's key")]


def _not_negative(value: Decimal) -> Decimal:
    if value < ZERO:
        raise ValueError("send 0 or more")
    return value


class CheckBody(Body):
    """Who wants to use what, and how much of it."""

    customer: CustomerKey
    feature: Key
    quantity: Annotated[DecimalText, AfterValidator(_not_negative)] = ONE


def _figures_json(standing: Standing | None) -> dict[str, object]:
    return {
        "limit": format_decimal(standing.limit) if standing else None,
        "used": format_decimal(standing.used) if standing else None,
        "remaining": format_decimal(standing.remaining) if standing else None,
    }


def _standing_json(standing: Standing | None) -> dict[str, object]:
    return {
        **_figures_json(standing), "resets_at": instant(standing.resets_at) if standing else None,
    }  # fmt: skip


def check_json(standing: FeatureStanding, quantity: Decimal) -> dict[str, object]:
    """Whether so much more of a feature is allowed, as answered: figures are those of the limit
    that tells.
    """
    reason = standing.reason(quantity)
    return {
        "allowed": reason is None,
        **({} if reason is None else {"reason": reason}),
        "value": standing.rights.value if standing.rights else False,
        **_standing_json(standing.binding(quantity)),
    }


def _quota_json(quota: Allowance, standing: Standing) -> dict[str, object]:
    return {
        "meter": quota.meter,
        "window": quota.each,
        "overage": "block" if quota.blocks else "allow",
        **_standing_json(standing),
    }


def _rate_json(rate: Rate, standing: Standing) -> dict[str, object]:
    return {"per": rate.per, **_standing_json(standing)}


def feature_json(standing: FeatureStanding) -> dict[str, object]:
    """A feature as it stands, as answered."""
    rights = standing.rights
    quotas = rights.quotas if rights else ()
    rates = rights.rates if rights else ()
    sources = rights.sources if rights else ()
    return {
        "feature": standing.feature,
        **check_json(standing, ONE),
        "concurrency": _figures_json(standing.slots) if standing.slots else None,
        "quotas": [_quota_json(*both) for both in zip(quotas, standing.quotas, strict=True)],
        "rates": [_rate_json(*both) for both in zip(rates, standing.rates, strict=True)],
        "source": None if rights is None else "plan" if sources else "customer",
        "plans": [
            {"plan": one.plan, "version": one.version, "subscription": one.subscription}
            for one in sources
        ],
    }


@router.post("/entitlements/check")
async def check_entitlement(body: CheckBody, call: Authorizer) -> Response:
    """Whether the customer may use so much more of the feature now.

    Nothing is reserved or counted by asking. Of several limits the answer shows the one that
    refuses, or else the one with least left. `used` is what usage queries show of the quota's
    window, by event time, and what open holds reserve; a window is the customer's own (`resets_at`
    is its end). Of a rate it is for how much holds were placed in this second, minute or hour; of
    a feature with slots alone it is the holds that are open. `reason` says what
    forbids it, `entitlement` or `concurrency`. `value` is what the feature is switched to: false
    where nothing that the customer has names it.
    """
    call.see(body.customer)
    standing = await entitlements.check_entitlement(call.context, body.customer, body.feature)
    return ok(check_json(standing, body.quantity))


@router.get("/customers/{key}/entitlements")
async def list_entitlements(
    key: CustomerPath, call: Reader, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """The features to which the customer has rights now, by key: how each stands, and which plans
    say so (`source`: `plan`, or `customer` where it was agreed with the customer alone).
    """
    call.see(key)
    page = await entitlements.list_entitlements(call.context, key, limit=limit, cursor=cursor)
    return ok(page_json(page, feature_json))


@router.put(
    "/customers/{key}/entitlements/{feature}", status_code=201,
    responses={200: {"description": "Replaced"}}, openapi_extra=document_body(AGREED),
)  # fmt: skip
async def put_entitlement(
    key: CustomerPath, feature: FeaturePath, document: Document, call: Admin
) -> Response:
    """Agree with the customer alone on a feature: these entries hold in place of all that plans
    say of it.
    """
    return await call.write(
        lambda transaction: entitlements.agree(transaction, key, feature, document),
        lambda result: feature_json(result[0]),
        lambda result: 201 if result[1] else 200,
    )


@router.delete("/customers/{key}/entitlements/{feature}")
async def delete_entitlement(key: CustomerPath, feature: FeaturePath, call: Admin) -> Response:
    """End what was agreed: plans say again what the customer may do with the feature."""
    return await call.write(
        lambda transaction: entitlements.end_agreement(transaction, key, feature), feature_json
    )
