"""Reading the parts of a plan document that grant credit, price it and commit to spend.

Owns their grammar, defaults and checks, as document.py does for the rest.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

from taximeter.domain.catalog.credit import Commitment, CreditKind, CreditUnit, PlanCredit
from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.catalog.fields import Fields, shown
from taximeter.domain.catalog.plan import Price, SeatPrice, UsagePrice
from taximeter.kernel.times import (
    PERIOD_UNITS,
    Duration,
    PeriodUnit,
    parse_duration,
    parse_local,
)

CREDITS_MAX = 50
ASSETS_MAX = 50
SCOPE_METERS_MAX = 100
PRIORITY_DEFAULT = 50
PRIORITY_MAX = 1000
SEAT = "seat"

_EVERY: tuple[Literal["period"] | PeriodUnit, ...] = ("period", *PERIOD_UNITS)
_KINDS: tuple[CreditKind, ...] = ("promotional", "paid")
# In which periods a whole number of shorter ones fits, counted from one anchor.
_FITS: dict[PeriodUnit, tuple[PeriodUnit, ...]] = {
    "day": ("day", "week", "month", "quarter", "year"),
    "week": ("week",),
    "month": ("month", "quarter", "year"),
    "quarter": ("quarter", "year"),
    "year": ("year",),
}


def read_credits(
    fields: Fields, prices: Sequence[Price], currency: str | None, period: PeriodUnit | None
) -> tuple[PlanCredit, ...]:
    """The plan's `credits`; `prices`, `currency` and `period` are the plan's own."""
    found: list[PlanCredit] = []
    keys: dict[str, str] = {}
    for at, each in fields.nested_list("credits", count_max=CREDITS_MAX, required=False):
        credit = _read_credit(each, prices, currency, period or "month", keys)
        if credit is None:
            continue
        if credit.key in keys:
            detail = f"{keys[credit.key]} has this key already. Say another."
            fields.fail(f"{at}.key", "duplicate", detail)
        keys[credit.key] = at
        found.append(credit)
    return tuple(found)


def _read_credit(
    fields: Fields, prices: Sequence[Price], currency: str | None, period: PeriodUnit,
    taken: dict[str, str],
) -> PlanCredit | None:  # fmt: skip
    asset = read_asset(fields, currency)
    key = fields.key("key", default=_free_key(asset or "credit", taken))
    amount = fields.number("amount", positive=True)
    kind = fields.choice("kind", _KINDS, default="promotional")
    every = fields.choice("every", _EVERY, default="period")
    expires = _read_expires(fields)
    rollover_max = fields.number("rollover_max", optional=True, positive=True)
    priority = _read_priority(fields)
    per = _read_per(fields, prices)
    meters, path = _read_scope(fields)
    since, until = _read_local(fields, "from"), _read_local(fields, "until")
    max_per_period = fields.number("max_per_period", optional=True, positive=True)
    if since is not None and until is not None and until <= since:
        fields.fail("until", "too_early", "This is not after from. Say a later day.")
    fields.done()
    if asset is None or key is None or amount is None or kind is None or every is None:
        return None
    if rollover_max is not None and not _check_rollover(fields, asset, expires, prices, currency):
        return None
    return PlanCredit(
        key=key, asset=asset, amount=amount, kind=kind,
        every=period if every == "period" else every, expires=expires, rollover_max=rollover_max,
        priority=priority, per=per, scope_meters=meters, scope_path=path, starts_from=since,
        starts_until=until, max_per_period=max_per_period,
    )  # fmt: skip


def _free_key(asset: str, taken: dict[str, str]) -> str:
    """The asset's name, numbered from its second credit on."""
    names = (asset if n == 1 else f"{asset}-{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def read_asset(fields: Fields, currency: str | None) -> str | None:
    """What a credit is counted in: the plan's currency, or a unit of the seller's own."""
    asset = fields.key("asset", cure="the plan's currency, or a credit unit of your own")
    if asset is None or currency is None or asset == currency:
        return asset
    if asset.upper() == currency:
        fields.fail("asset", "unknown_currency", f"Currencies are in capitals. Say {currency}.")
    elif is_currency(asset):
        detail = f"The plan is in {currency}. Say {currency}, or a credit unit of your own."
        fields.fail("asset", "other_currency", detail)
    return asset


def _read_expires(fields: Fields) -> Literal["period_end", "never"] | Duration:
    text = fields.text("expires", default="period_end")
    if text == "never":
        return "never"
    if text is None or text == "period_end":
        return "period_end"
    duration = parse_duration(text)
    if duration is None:
        detail = f"{shown(text)} is no duration. Say period_end, never, or one such as P1Y."
        fields.fail("expires", "invalid_duration", detail)
        return "period_end"
    return duration


def _check_rollover(
    fields: Fields, asset: str, expires: Literal["period_end", "never"] | Duration,
    prices: Sequence[Price], currency: str | None,
) -> bool:  # fmt: skip
    if expires != "period_end":
        detail = "Only what expires with its step can roll over. Leave out one of them."
        fields.fail("rollover_max", "rollover_without_expiry", detail)
        return False
    invoiced = any(not isinstance(one, UsagePrice) or one.settle == "invoice" for one in prices)
    if asset == currency and invoiced:
        detail = (
            "Credit in the plan's currency pays its invoice, which is final only after the step "
            "has ended. Say a credit unit, or leave it out."
        )
        fields.fail("rollover_max", "rollover_of_currency", detail)
        return False
    return True


def _read_priority(fields: Fields) -> int:
    number = fields.number("priority", default=Decimal(PRIORITY_DEFAULT))
    if number is None:
        return PRIORITY_DEFAULT
    if number != number.to_integral_value() or number > PRIORITY_MAX:
        fields.fail("priority", "out_of_range", f"Say a whole number from 0 to {PRIORITY_MAX}.")
        return PRIORITY_DEFAULT
    return int(number)


def _read_per(fields: Fields, prices: Sequence[Price]) -> str | None:
    """The seat price by whose quantity the amount is multiplied: by its key, or the only one."""
    name = fields.key("per", default="")
    if not name:
        return None
    seats = [price.key for price in prices if isinstance(price, SeatPrice)]
    if name in seats:
        return name
    if name == SEAT and len(seats) == 1:
        return seats[0]
    listed = f"Say one of {', '.join(seats)}." if seats else "Leave it out, or add one."
    what = "several seat prices" if name == SEAT and seats else f"no seat price {shown(name)}"
    fields.fail("per", "unknown_price", f"The plan has {what}. {listed}")
    return None


def _read_scope(fields: Fields) -> tuple[tuple[str, ...] | None, str | None]:
    scope = fields.nested("scope")
    if scope is None:
        return None, None
    meters = scope.keys("meters", count_max=SCOPE_METERS_MAX)
    path = scope.text("path", default="")
    scope.done()
    return meters or None, path or None


def _read_local(fields: Fields, name: str) -> datetime | None:
    text = fields.text(name, default="")
    if not text:
        return None
    local = parse_local(text)
    if local is None:
        detail = f"{shown(text)} is no local date. Say one of the customer, such as 2026-06-01."
        fields.fail(name, "invalid_date", detail)
    return local


def read_assets(fields: Fields, currency: str | None) -> tuple[CreditUnit, ...]:
    """The plan's `assets`: credit units with their price."""
    found: dict[str, CreditUnit] = {}
    for at, each in fields.nested_list("assets", count_max=ASSETS_MAX, required=False):
        asset = each.key("asset", cure="a credit unit")
        unit_price = each.number("unit_price", optional=True)
        each.done()
        if asset is None:
            continue
        if is_currency(asset.upper()) and asset.upper() == (currency or "").upper():
            detail = "A currency has no price of its own. Say a credit unit, or leave it out."
            fields.fail(f"{at}.asset", "currency_as_unit", detail)
        elif asset in found:
            fields.fail(f"{at}.asset", "duplicate", f"{asset} is listed twice. Say it once.")
        found[asset] = CreditUnit(asset, unit_price)
    return tuple(found.values())


def read_commitment(fields: Fields, period: PeriodUnit | None) -> Commitment | None:
    """The plan's `commitment`, whose terms end where billing periods do."""
    nested = fields.nested("commitment")
    if nested is None:
        return None
    amount = nested.number("amount", positive=True)
    term = nested.choice("period", PERIOD_UNITS)
    rollover_max = nested.number("rollover_max", optional=True, positive=True)
    if term is not None and period is not None and term not in _FITS[period]:
        listed = ", ".join(_FITS[period])
        detail = f"No whole number of {period}s is a {term}. Say one of {listed}."
        nested.fail("period", "invalid_choice", detail)
    nested.done()
    if amount is None or term is None:
        return None
    return Commitment(amount, term, rollover_max)
