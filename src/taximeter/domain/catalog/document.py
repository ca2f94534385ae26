"""Reading the plan document that a seller writes.

Owns its grammar, defaults and checks; every error is reported with its path, a stable code and
the cure. Whether a plan's meters exist is not known here. What is published but not built yet is
refused by name (`not_supported`), never ignored: a field that is silently dropped misprices.
"""

from collections.abc import Mapping
from dataclasses import replace

from taximeter.domain.catalog.credit_document import read_assets, read_commitment, read_credits
from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.catalog.discount_document import read_invoice_discount
from taximeter.domain.catalog.entitlement_document import read_entitlements
from taximeter.domain.catalog.fields import Fields, Findings, shown
from taximeter.domain.catalog.margin_document import ENFORCEMENTS, read_margin
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.catalog.price_document import Frame, read_prices
from taximeter.domain.catalog.segment import read_family
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import PERIOD_UNITS, parse_duration

GRACE_DEFAULT = "PT1H"
GRACE_S_MAX = 31 * 86400
TRIAL_DAYS_MAX = 366
_GRACE_NONE = ("PT0S", "P0D")

_PLAN_NOT_BUILT = ("invoice_threshold",)


def parse_plan(document: Mapping[str, object], *, version: int = 1) -> Plan:
    """The plan that `document` describes, as its version `version`.

    Raises `Invalid` with every error found (at most the first 50).
    """
    findings = Findings()
    plan = _read_plan(document, version, findings)
    findings.raise_any()
    assert plan is not None, "a plan that cannot be made has an error"
    return replace(plan, document=document)


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
    trial_days = _read_trial_days(fields)
    prices = read_prices(fields, Frame(currency, period))
    credits = read_credits(fields, prices, currency, period)
    assets = read_assets(fields, currency)
    commitment = read_commitment(fields, period)
    entitlements = read_entitlements(fields)
    margin = read_margin(fields, prices, assets, currency)
    enforcement = fields.choice("enforcement", ENFORCEMENTS, default="hard")
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
        credits=credits,
        trial_days=trial_days,
        assets=assets,
        commitment=commitment,
        entitlements=entitlements,
        margin=margin,
        enforcement=enforcement or "hard",
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


def _read_trial_days(fields: Fields) -> int:
    days = fields.number("trial_days", default=ZERO)
    if days is None or (days == days.to_integral_value() and days <= TRIAL_DAYS_MAX):
        return int(days or 0)
    detail = f"This is no such number of days. Say whole days from 0 to {TRIAL_DAYS_MAX}."
    fields.fail("trial_days", "out_of_range", detail)
    return 0
