"""Reading the plan document that a seller writes.

Owns its grammar, defaults and checks; every error is reported with its path, a stable code and
the cure. Whether a plan's meters exist is not known here. What is published but not built yet is
refused by name (`not_supported`), never ignored: a field that is silently dropped misprices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.catalog.discount_document import read_discount, read_invoice_discount
from taximeter.domain.catalog.fields import Fields, Findings, shown
from taximeter.domain.catalog.model_document import (
    MODEL_FIELDS,
    read_seat_model,
    read_usage_model,
)
from taximeter.domain.catalog.outcome_document import read_outcome
from taximeter.domain.catalog.plan import (
    Discount,
    FlatPrice,
    Plan,
    Price,
    SeatPrice,
    Settle,
    Timing,
    UsagePrice,
)
from taximeter.domain.catalog.segment import read_family
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import PERIOD_UNITS, PeriodUnit, parse_duration

PRICES_MAX = 500
GRACE_DEFAULT = "PT1H"
GRACE_S_MAX = 31 * 86400
_GRACE_NONE = ("PT0S", "P0D")

_PRICE_TYPES: tuple[Literal["flat", "seat", "usage"], ...] = ("flat", "seat", "usage")
_TIMINGS: tuple[Timing, ...] = ("advance", "arrears")
_SETTLES: tuple[Settle, ...] = ("invoice", "wallet")
_PLAN_NOT_BUILT = (
    "credits",
    "assets",
    "entitlements",
    "invoice_threshold",
    "trial_days",
)
_PRICE_NOT_BUILT = ("multipliers", "pool", "tax_category")
_PRICE_FIELDS = MODEL_FIELDS | {
    "timing": "flat and seat prices (usage is billed in arrears)",
    "meter": "usage prices",
    "settle": "usage prices",
    "included": "usage prices (free seats are a graduated tier at unit 0)",
    "maximum": "usage prices",
    "minimum": "usage prices and to the plan",
    "outcome": "usage prices",
    "model": "seat and usage prices",
}


def parse_plan(document: Mapping[str, object], *, version: int = 1) -> Plan:
    """The plan that `document` describes, as its version `version`.

    Raises `Invalid` with every error found (at most the first 50).
    """
    findings = Findings()
    plan = _read_plan(document, version, findings)
    findings.raise_any()
    assert plan is not None, "a plan that cannot be made has an error"
    return plan


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a price needs to know of its plan; None where the plan itself is in error."""

    currency: str | None
    period: PeriodUnit | None


@dataclass(frozen=True, slots=True)
class _Common:
    """What every kind of price has."""

    key: str
    name: str
    asset: str
    period: PeriodUnit | None
    discount: Discount | None


def _read_plan(document: object, version: int, findings: Findings) -> Plan | None:
    fields = Fields.of(document, "", findings)
    if fields is None:
        return None
    key = fields.key("key")
    name = fields.text("name", default=key or "")
    currency = _read_currency(fields)
    period = fields.choice("period", PERIOD_UNITS)
    minimum = fields.number("minimum", optional=True)
    discount = read_invoice_discount(fields)
    grace_s = _read_grace_s(fields)
    family, segment = read_family(fields)
    prices = _read_prices(fields, _Frame(currency, period))
    fields.done(not_built=_PLAN_NOT_BUILT)
    if key is None or name is None or currency is None or period is None:
        return None
    return Plan(
        key=key,
        version=version,
        name=name or key,
        currency=currency,
        period=period,
        prices=prices,
        minimum=minimum,
        grace_s=grace_s,
        family=family,
        segment=segment,
        discount=discount,
    )


def _read_currency(fields: Fields) -> str | None:
    code = fields.text("currency")
    if code is None or is_currency(code):
        return code
    meant = f" Say {code.upper()}." if is_currency(code.upper()) else " Say one such as USD."
    fields.fail("currency", "unknown_currency", f"{shown(code)} is no ISO 4217 currency.{meant}")
    return None


def _read_grace_s(fields: Fields) -> int:
    """Seconds a draft waits for late usage; months have no fixed length, so they are refused."""
    text = fields.text("grace", default=GRACE_DEFAULT)
    if text is None or text in _GRACE_NONE:
        return 0
    duration = parse_duration(text)
    if duration is None or duration.months:
        detail = f"{shown(text)} is no duration of days or less. Say PT1H, P1D, or PT0S for none."
        fields.fail("grace", "invalid_duration", detail)
        return 0
    grace_s = duration.days * 86400 + duration.seconds
    if grace_s > GRACE_S_MAX:
        fields.fail("grace", "out_of_range", "This is too long. Say at most P31D.")
    return grace_s


def _read_prices(fields: Fields, frame: _Frame) -> tuple[Price, ...]:
    prices: list[Price] = []
    first_with: dict[str, str] = {}
    for at, price_fields in fields.nested_list("prices", count_max=PRICES_MAX):
        key = price_fields.key("key")
        if key is not None and key in first_with:
            detail = f"{first_with[key]} has this key already. Say another."
            fields.fail(f"{at}.key", "duplicate", detail)
        elif key is not None:
            first_with[key] = at
        price = _read_price(price_fields, key, frame)
        if price is not None:
            prices.append(price)
    return tuple(prices)


def _read_price(fields: Fields, key: str | None, frame: _Frame) -> Price | None:
    kind = fields.choice("type", _PRICE_TYPES)
    settle: Settle | None = "invoice"
    if kind == "usage":
        settle = fields.choice("settle", _SETTLES, default="invoice")
    common = _read_common(fields, key, frame, settle)
    price: Price | None = None
    if kind == "flat":
        price = _read_flat(fields, common)
    elif kind == "seat":
        price = _read_seat(fields, common)
    elif kind == "usage":
        price = _read_usage(fields, common, settle)
    else:
        fields.ignore(_PRICE_FIELDS)
    fields.done(not_built=_PRICE_NOT_BUILT, belongs=_PRICE_FIELDS)
    return price


def _read_common(
    fields: Fields, key: str | None, frame: _Frame, settle: Settle | None
) -> _Common | None:
    name = fields.text("name", default=key or "")
    asset = _read_asset(fields, frame.currency, settle)
    period = fields.choice("period", PERIOD_UNITS, default=frame.period or "month")
    discount = read_discount(fields)
    if key is None or name is None or asset is None:
        return None
    own_period = period if period != frame.period else None
    return _Common(key, name or key, asset, own_period, discount)


def _read_asset(fields: Fields, currency: str | None, settle: Settle | None) -> str | None:
    """What the price is counted in: the plan's currency, or a credit unit drawn from a wallet."""
    asset = fields.key("asset", default=currency or "")
    if not asset or currency is None or asset == currency:
        return asset
    if is_currency(asset):
        detail = f"An invoice has one currency. Say {currency}, or a credit unit of your own."
        fields.fail("asset", "other_currency", detail)
    elif asset.upper() == currency:
        fields.fail("asset", "unknown_currency", f"Currencies are in capitals. Say {currency}.")
    elif settle == "invoice":
        detail = (
            f"{shown(asset)} is a credit unit, which is drawn from a wallet. Say settle: wallet "
            f"(usage prices), or asset: {currency}."
        )
        fields.fail("asset", "credit_unit_on_invoice", detail)
    return asset


def _read_flat(fields: Fields, common: _Common | None) -> FlatPrice | None:
    amount = fields.number("amount")
    timing = fields.choice("timing", _TIMINGS, default="advance")
    if common is None or amount is None or timing is None:
        return None
    return FlatPrice(
        key=common.key,
        name=common.name,
        asset=common.asset,
        amount=amount,
        timing=timing,
        period=common.period,
        discount=common.discount,
    )


def _read_seat(fields: Fields, common: _Common | None) -> SeatPrice | None:
    model = read_seat_model(fields)
    timing = fields.choice("timing", _TIMINGS, default="advance")
    if common is None or model is None or timing is None:
        return None
    return SeatPrice(
        key=common.key,
        name=common.name,
        asset=common.asset,
        model=model,
        timing=timing,
        period=common.period,
        discount=common.discount,
    )


def _read_usage(fields: Fields, common: _Common | None, settle: Settle | None) -> UsagePrice | None:
    meter = fields.key("meter", cure="the key of a meter")
    model = read_usage_model(fields)
    included = fields.number("included", default=ZERO)
    maximum = fields.number("maximum", optional=True)
    minimum = fields.number("minimum", optional=True)
    if maximum is not None and minimum is not None and maximum < minimum:
        fields.fail("maximum", "out_of_range", "This is below minimum. Say at least as much.")
    if fields.has("minimum") and settle == "wallet":
        detail = "A wallet is drawn as usage happens, so no period is topped up. Leave it out."
        fields.fail("minimum", "minimum_on_wallet", detail)
    outcome = read_outcome(fields)
    if fields.take("timing") not in (None, "arrears"):
        fields.fail("timing", "invalid_choice", "Usage is billed in arrears. Leave it out.")
    if common is None or meter is None or model is None or settle is None or included is None:
        return None
    return UsagePrice(
        key=common.key,
        name=common.name,
        asset=common.asset,
        meter=meter,
        model=model,
        settle=settle,
        period=common.period,
        included=included,
        discount=common.discount,
        maximum=maximum,
        minimum=minimum,
        outcome=outcome,
    )
