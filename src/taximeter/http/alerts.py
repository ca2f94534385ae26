"""Routes of alerts: what is told of a customer, and what was."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field

from taximeter.domain.entitlement.alert import (
    Alert,
    AlertKind,
    AllowanceAlert,
    BalanceAlert,
    SpendAlert,
)
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
from taximeter.http.grants import Asset, CustomerPath
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services import alert_definitions, alerts
from taximeter.services.alert_definitions import StoredAlert

router = APIRouter(prefix="/v1", tags=["Alerts"])
THRESHOLDS_MAX = 20
NamePath = Annotated[Key, Path(description="The alert's name")]


def _positive(value: Decimal) -> Decimal:
    if value <= ZERO:
        raise ValueError("send a number above zero")
    return value


Amounts = Annotated[list[DecimalText], Field(min_length=1, max_length=THRESHOLDS_MAX)]
Marks = Annotated[
    list[Annotated[DecimalText, AfterValidator(_positive)]],
    Field(min_length=1, max_length=THRESHOLDS_MAX),
]


class BalanceAlertBody(Body):
    """Told when the balance of `asset` falls to one of the amounts `below` or under it."""

    on: Literal["balance"]
    asset: Asset
    below: Amounts

    def alert(self, customer: str, name: str) -> Alert:
        """What is asked for."""
        below = tuple(sorted(set(self.below), reverse=True))
        return BalanceAlert(customer, name, self.asset, below)


class SpendAlertBody(Body):
    """Told when what was charged of `asset` in a window reaches one of the amounts `at`."""

    on: Literal["spend"]
    asset: Asset
    window: Literal["day", "week", "month", "period", "total"]
    at: Marks

    def alert(self, customer: str, name: str) -> Alert:
        """What is asked for."""
        return SpendAlert(customer, name, self.asset, self.window, tuple(sorted(set(self.at))))


class AllowanceAlertBody(Body):
    """Told when what was used of the feature's quota reaches one of the shares `at` of it."""

    on: Literal["allowance"]
    feature: Key
    at: Marks

    def alert(self, customer: str, name: str) -> Alert:
        """What is asked for."""
        return AllowanceAlert(customer, name, self.feature, tuple(sorted(set(self.at))))


AlertBody = Annotated[
    BalanceAlertBody | SpendAlertBody | AllowanceAlertBody, Field(discriminator="on")
]


def definition_json(stored: StoredAlert) -> dict[str, object]:
    """A definition as answered."""
    return {
        "name": stored.alert.name,
        "customer": stored.alert.customer,
        **_terms(stored.alert),
        "created_at": instant(stored.created_at),
        "updated_at": instant(stored.updated_at),
    }


def _terms(alert: Alert) -> dict[str, object]:
    match alert:
        case BalanceAlert(asset=asset, below=below):
            return {"on": "balance", "asset": asset, "below": _texts(below)}
        case SpendAlert(asset=asset, window=window, at=at):
            return {"on": "spend", "asset": asset, "window": window, "at": _texts(at)}
        case AllowanceAlert(feature=feature, at=at):
            return {"on": "allowance", "feature": feature, "at": _texts(at)}


def _texts(thresholds: tuple[Decimal, ...]) -> list[str]:
    return [format_decimal(threshold) for threshold in thresholds]


@router.put(
    "/customers/{key}/alerts/{name}",
    status_code=201,
    responses={200: {"description": "Replaced"}},
)
async def put_alert(key: CustomerPath, name: NamePath, body: AlertBody, call: Admin) -> Response:
    """Have something told of a customer, once each time that a threshold is crossed. Shares of a
    budget are told without it: they stand in the budget's own `alerts`.
    """
    return await call.write(
        lambda transaction: alert_definitions.put_alert(transaction, body.alert(key, name)),
        lambda result: definition_json(result[0]),
        lambda result: 201 if result[1] else 200,
    )


@router.get("/customers/{key}/alerts")
async def list_definitions(
    key: CustomerPath, call: Reader, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """What is told of a customer, by name."""
    call.see(key)
    page = await alert_definitions.list_alerts(call.context, key, limit=limit, cursor=cursor)
    return ok(page_json(page, definition_json))


@router.get("/customers/{key}/alerts/{name}")
async def get_definition(key: CustomerPath, name: NamePath, call: Reader) -> Response:
    """One definition."""
    call.see(key)
    return ok(definition_json(await alert_definitions.get_alert(call.context, key, name)))


@router.delete("/customers/{key}/alerts/{name}")
async def delete_alert(key: CustomerPath, name: NamePath, call: Admin) -> Response:
    """Stop telling. What was told stays in the list."""
    return await call.write(
        lambda transaction: alert_definitions.delete_alert(transaction, key, name), definition_json
    )


@router.get("/alerts")
async def list_alerts(
    call: Reader,
    customer: CustomerKey | None = None,
    kind: Annotated[AlertKind | None, Query()] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """What was told, newest first: each threshold that was crossed, with the figures then."""
    if customer is not None:
        call.see(customer)
    page = await alerts.list_raised(
        call.context, customer=customer or call.caller.customer, kind=kind, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, alerts.alert_document))
