"""Reading discounts: of a price, of a whole invoice, and the coupon that gives one.

Owns their grammar, defaults and checks. Whether the plans and prices that a coupon names exist is
not known here.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.catalog.discount import Coupon, InvoiceDiscount
from taximeter.domain.catalog.fields import KEY_PATTERN, Fields, Findings, shown
from taximeter.domain.catalog.plan import Discount
from taximeter.kernel.times import parse_instant

PERCENT_MAX = Decimal(100)
MONTHS_MAX = 1_200
REDEMPTIONS_MAX = 1_000_000_000
NAMED_MAX = 100

_is_key = re.compile(KEY_PATTERN, re.ASCII).fullmatch


def read_discount(fields: Fields) -> Discount | None:
    """The optional `discount` of a price."""
    nested = fields.nested("discount")
    if nested is None:
        return None
    off = _read_off(nested, fields, "discount")
    nested.done()
    return Discount(*off) if off is not None else None


def read_invoice_discount(fields: Fields) -> InvoiceDiscount | None:
    """The optional `discount` of a plan: off its whole invoices."""
    nested = fields.nested("discount")
    if nested is None:
        return None
    off = _read_off(nested, fields, "discount")
    months = _read_count(nested, "months", MONTHS_MAX)
    nested.done()
    return InvoiceDiscount(*off, months) if off is not None else None


def parse_invoice_discount(document: Mapping[str, object]) -> InvoiceDiscount:
    """The `discount` that a subscription's `document` says. Raises `Invalid`."""
    findings = Findings()
    discount = read_invoice_discount(Fields({"discount": document}, "", findings))
    findings.raise_any()
    assert discount is not None, "a discount that cannot be made has an error"
    return discount


def parse_coupon(key: str, document: Mapping[str, object], *, version: int) -> Coupon:
    """The coupon `key` that `document` describes, as its version `version`.

    Raises `Invalid` with every error found.
    """
    findings = Findings()
    coupon = _read_coupon(key, document, version, findings)
    findings.raise_any()
    assert coupon is not None, "a coupon that cannot be made has an error"
    return coupon


def _read_coupon(key: str, document: object, version: int, findings: Findings) -> Coupon | None:
    fields = Fields.of(document, "", findings)
    if fields is None:
        return None
    if fields.key("key", default=key) not in (key, None):
        fields.fail("key", "invalid_key", f"The address says {shown(key)}. Say the same.")
    name = fields.text("name", default=key)
    off = _read_off(fields, fields, "percent")
    currency = _read_currency(fields)
    months = _read_count(fields, "months", MONTHS_MAX)
    prices, plans = _read_keys(fields, "prices"), _read_keys(fields, "plans")
    redeem_from, redeem_by = _read_window(fields, "redeem_from", "redeem_by")
    starts_at, ends_at = _read_window(fields, "starts_at", "ends_at")
    redemptions_max = _read_count(fields, "redemptions_max", REDEMPTIONS_MAX)
    per_customer_max = _read_count(fields, "per_customer_max", REDEMPTIONS_MAX)
    first_time_only = fields.flag("first_time_only", default=False)
    fields.done()
    if off is None or name is None or (currency is None) != (off[1] is None):
        return None
    discount = InvoiceDiscount(*off, months, prices, plans, starts_at, ends_at)
    return Coupon(
        key=key,
        version=version,
        name=name or key,
        currency=currency,
        discount=discount,
        redeem_from=redeem_from,
        redeem_by=redeem_by,
        redemptions_max=redemptions_max,
        per_customer_max=per_customer_max or 1,
        first_time_only=first_time_only,
    )


def _read_off(
    fields: Fields, outer: Fields, name: str
) -> tuple[Decimal | None, Decimal | None] | None:
    """Percent and amount, of which exactly one is said; that neither or both are is an error of
    the field `name` of `outer`.
    """
    percent = fields.number("percent", optional=True)
    amount = fields.number("amount", optional=True)
    if fields.has("percent") == fields.has("amount"):
        outer.fail(name, "required", "Say either percent or amount.")
        return None
    if percent is not None and percent > PERCENT_MAX:
        fields.fail("percent", "out_of_range", "Say a percentage from 0 to 100.")
    return None if percent is None and amount is None else (percent, amount)


def _read_currency(fields: Fields) -> str | None:
    """The currency of a coupon's amount; a percentage has none."""
    if not fields.has("amount"):
        if fields.take("currency") is not None:
            fields.fail("currency", "unknown_field", "A percentage has no currency. Leave it out.")
        return None
    currency = fields.text("currency")
    if currency is not None and not is_currency(currency):
        detail = f"{shown(currency)} is no ISO 4217 currency. Say one such as USD."
        fields.fail("currency", "unknown_currency", detail)
        return None
    return currency


def _read_count(fields: Fields, name: str, count_max: int) -> int | None:
    """A whole number from 1 to `count_max`; None where it is left out."""
    value = fields.take(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= count_max:
        return value
    fields.fail(name, "out_of_range", f"Say a whole number from 1 to {count_max}.")
    return None


def _read_keys(fields: Fields, name: str) -> tuple[str, ...] | None:
    """Keys of prices or plans, each once; None where the list is left out."""
    if not fields.has(name):
        fields.take(name)
        return None
    found: dict[str, None] = {}
    for index, value in enumerate(fields.items(name, count_max=NAMED_MAX)):
        if isinstance(value, str) and _is_key(value):
            found[value] = None
        else:
            fields.fail(f"{name}[{index}]", "invalid_key", f"{shown(value)} is no key. Say one.")
    return tuple(found)


def _read_window(fields: Fields, start: str, end: str) -> tuple[datetime | None, datetime | None]:
    """Two optional instants, of which the second must be the later."""
    since, until = _read_instant(fields, start), _read_instant(fields, end)
    if since is not None and until is not None and until <= since:
        fields.fail(end, "too_early", f"This is not after {start}. Say a later time.")
    return since, until


def _read_instant(fields: Fields, name: str) -> datetime | None:
    value = fields.take(name)
    if value is None:
        return None
    at = parse_instant(value) if isinstance(value, str) else None
    if at is None:
        detail = "This is no instant. Say a date-time with an offset: 2026-01-05T10:00:00Z."
        fields.fail(name, "invalid_time", detail)
    return at
