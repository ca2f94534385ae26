"""Routes of coupons, and of the discounts that subscriptions are given."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from taximeter.domain.catalog.discount import InvoiceDiscount
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.http.document import Document, document_body
from taximeter.http.fields import LIMIT, Body, Cursor, Key, Limit, Name, decimal, instant
from taximeter.http.plan_schema import COUPON_SCHEMA
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.services import coupons, discounts
from taximeter.services.coupons import StoredCoupon

router = APIRouter(prefix="/v1", tags=["Coupons"])
CouponPath = Annotated[Key, Path(description="The coupon's key")]
RedemptionPath = Annotated[Name, Path(description="The redemption's id")]


class RedeemBody(Body):
    """Which coupon is redeemed."""

    coupon: Key


def _listed(keys: tuple[str, ...] | None) -> list[str] | None:
    return None if keys is None else list(keys)


def _terms_json(discount: InvoiceDiscount) -> dict[str, Any]:
    return {
        "percent": decimal(discount.percent),
        "amount": decimal(discount.amount),
        "months": discount.months,
        "prices": _listed(discount.prices),
        "plans": _listed(discount.plans),
        "starts_at": instant(discount.starts_at),
        "ends_at": instant(discount.ends_at),
    }


def coupon_json(stored: StoredCoupon) -> dict[str, object]:
    """A coupon as answered; `redeemed` counts its redemptions by all."""
    coupon = stored.coupon
    return {
        "key": coupon.key,
        "version": coupon.version,
        "name": coupon.name,
        **_terms_json(coupon.discount),
        "currency": coupon.currency,
        "redeem_from": instant(coupon.redeem_from),
        "redeem_by": instant(coupon.redeem_by),
        "redemptions_max": coupon.redemptions_max,
        "per_customer_max": coupon.per_customer_max,
        "first_time_only": coupon.first_time_only,
        "redeemed": stored.redeemed,
        "created_at": instant(stored.created_at),
        "updated_at": instant(stored.updated_at),
        "ended_at": instant(stored.ended_at),
    }


def discount_json(given: SubscriptionDiscount) -> dict[str, object]:
    """A subscription's discount as answered: with `from` and `until` it says when it was in
    force, before what its own terms say.
    """
    return {
        "id": given.id,
        "customer": given.customer,
        "subscription": given.subscription,
        "source": "subscription" if given.coupon is None else "coupon",
        "coupon": given.coupon,
        "version": given.version,
        **_terms_json(given.discount),
        "from": instant(given.starts_at),
        "until": instant(given.ended_at),
        "created_at": instant(given.created_at),
    }


@router.put(
    "/coupons/{key}", status_code=201,
    responses={200: {"description": "Its next version, or as it was"}},
    openapi_extra=document_body(COUPON_SCHEMA),
)  # fmt: skip
async def put_coupon(key: CouponPath, call: Admin, document: Document) -> Response:
    """Create a coupon: 201 if it is new, 200 if it was there. Other terms are its next version;
    what was redeemed keeps its own.
    """
    return await call.write(
        lambda transaction: coupons.put_coupon(transaction, key, document),
        lambda result: coupon_json(result[0]),
        lambda result: 201 if result[1] else 200,
    )


@router.delete("/coupons/{key}")
async def end_coupon(key: CouponPath, call: Admin) -> Response:
    """Let nobody redeem a coupon any more. What was redeemed goes on as it was."""
    return await call.write(lambda transaction: coupons.end_coupon(transaction, key), coupon_json)


@router.get("/coupons/{key}")
async def get_coupon(key: CouponPath, call: Admin) -> Response:
    """One coupon. Its key lets a customer redeem it, so this is for administrators."""
    return ok(coupon_json(await coupons.get_coupon(call.context, key)))


@router.get("/coupons")
async def list_coupons(call: Admin, limit: Limit = LIMIT, cursor: Cursor = None) -> Response:
    """Coupons by key, ended ones too."""
    page = await coupons.list_coupons(call.context, limit=limit, cursor=cursor)
    return ok(page_json(page, coupon_json))


@router.post("/subscriptions/{id}/coupons", status_code=201)
async def redeem_coupon(id: str, body: RedeemBody, call: Admin) -> Response:
    """Redeem a coupon: it takes what is billed from the open period on."""
    return await call.write(
        lambda transaction: discounts.redeem_coupon(
            transaction, id, body.coupon, customer=call.caller.customer
        ),
        discount_json, 201,
    )  # fmt: skip


@router.delete("/subscriptions/{id}/coupons/{redemption}")
async def end_redemption(id: str, redemption: RedemptionPath, call: Admin) -> Response:
    """End what a redeemed coupon takes off, from the open period on."""
    return await call.write(
        lambda transaction: discounts.end_redemption(
            transaction, id, redemption, customer=call.caller.customer
        ),
        discount_json,
    )


@router.get("/subscriptions/{id}/discounts")
async def list_discounts(id: str, call: Reader) -> Response:
    """Every discount that a subscription was given, its own and coupons, ended ones too."""
    found = await discounts.list_discounts(call.context, id, call.caller.customer)
    return ok({"data": [discount_json(one) for one in found], "next_cursor": None})
