"""The route of a customer's spend."""

from fastapi import APIRouter, Response

from taximeter.domain.invoicing.spend import FORECAST_METHOD, PriceSpend
from taximeter.http.budgets import budget_json
from taximeter.http.customers import CustomerPath
from taximeter.http.fields import instant
from taximeter.http.server import Reader, ok
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import Period
from taximeter.services import spend
from taximeter.services.alerts import alert_document
from taximeter.services.spend import CustomerSpend, SubscriptionSpend

router = APIRouter(prefix="/v1", tags=["Customers"])


def _period_json(period: Period | None) -> dict[str, str | None] | None:
    return {"from": instant(period.start), "to": instant(period.end)} if period else None


def _price_json(part: SubscriptionSpend, one: PriceSpend) -> dict[str, object]:
    return {
        "price": one.price,
        "name": one.name,
        "subscription": part.subscription.id,
        "period": _period_json(part.spend.period),
        "asset": one.asset,
        "quantity": format_decimal(one.quantity),
        "amount": format_decimal(one.amount),
        "forecast": format_decimal(one.forecast),
        "settle": one.settle,
    }


def spend_json(found: CustomerSpend) -> dict[str, object]:
    """A customer's spend as answered."""
    currency = found.customer.currency
    return {
        "customer": found.customer.key,
        "at": instant(found.at),
        "period": _period_json(found.period),
        "currency": currency,
        "total": format_decimal(found.total),
        "prices": [_price_json(part, one) for part in found.parts for one in part.spend.prices],
        "forecast": {"total": format_decimal(found.forecast), "method": FORECAST_METHOD},
        "caps": [budget_json(state) for state in found.caps],
        "alerts": [alert_document(one) for one in found.alerts],
    }


@router.get("/customers/{key}/spend")
async def get_spend(key: CustomerPath, call: Reader) -> Response:
    """What the customer has spent in the open billing period, per price, and the forecast.

    Amounts are rounded as the invoice will round them; what settles from a wallet is exact. The
    forecast extends usage at the rate since the period began and adds the fees due by its end.
    `total` counts what is in the customer's currency, not credit units, before discounts on the
    whole invoice. With several subscriptions `period` spans their open periods; each price names
    its own. `caps` are the customer's budgets by name, the first 100 of them; `alerts` the last 100
    that were told since the open periods began, newest first.
    """
    call.see(key)
    return ok(spend_json(await spend.get_spend(call.context, key)))
