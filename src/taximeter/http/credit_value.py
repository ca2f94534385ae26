"""The report of credit against its cost."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import AfterValidator

from taximeter.domain.credit.value import Corridor
from taximeter.http.fields import LIMIT, Cursor, DecimalText, Instant, Limit
from taximeter.http.grants import Asset
from taximeter.http.server import Reader, ok, page_json
from taximeter.kernel.errors import Forbidden
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services import credit_value
from taximeter.services.credit_value import CreditValue, Figures

router = APIRouter(prefix="/v1", tags=["Credits"])


def _percent(value: Decimal) -> Decimal:
    if value > Decimal(100):
        raise ValueError("send at most 100 percent")
    return value


Percent = Annotated[DecimalText, AfterValidator(_percent)]


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else format_decimal(amount)


def _figures_json(figures: Figures) -> dict[str, object]:
    value = None if figures.unvalued else figures.value  # of all that was drawn
    margin = None if figures.cost is None or value is None else value - figures.cost
    return {
        "drawn": format_decimal(figures.drawn),
        "unvalued": format_decimal(figures.unvalued),
        "value": format_decimal(figures.value),
        "cost": _text(figures.cost),
        "margin": _text(margin),
        "margin_percent": _text(figures.margin_percent),
        "value_per_unit": _text(figures.per_unit(value)),
        "cost_per_unit": _text(figures.per_unit(figures.cost)),
        "flag": figures.flag,
    }


def _value_json(found: CreditValue) -> dict[str, object]:
    return {
        "customer": found.customer,
        "asset": found.asset,
        "currency": found.currency,
        **_figures_json(found.figures),
        "events": found.events,
        "events_without_cost": found.without_cost,
        "complete": found.complete,
        "prices": [
            {"price": key or None, **_figures_json(figures)}
            for key, figures in sorted(found.prices.items())
        ],
    }


@router.get("/reports/credit_value")
async def read_credit_value(
    call: Reader,
    asset: Asset,
    since: Annotated[
        Instant | None, Query(alias="from", description="30 days before `to` if left out")
    ] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Now if left out")] = None,
    margin_min: Annotated[
        Percent, Query(description="Sold for less margin than this: `too_cheap`")
    ] = ZERO,
    margin_max: Annotated[
        Percent | None, Query(description="Sold for more margin than this: `too_dear`")
    ] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """By customer, what the credit that was drawn from `from` until `to` (up to 92 days) was sold
    for, what serving it cost by `data.cost` of its events, and whether that is too cheap or too
    dear; in all and for each price. For keys that are not confined to a customer.
    """
    if call.caller.customer is not None:
        raise Forbidden(scope="read of all customers")
    page = await credit_value.list_values(
        call.context, asset, Corridor(margin_min, margin_max), start=since, end=until,
        limit=limit, cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, _value_json))
