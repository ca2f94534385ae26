"""Reading entitlements: those of a plan document, and those of one customer for one feature.

Owns their grammar, defaults and checks. Whether a quota's meter exists is not known here.
"""

from typing import get_args

from taximeter.domain.catalog.entitlement import (
    Entitlement,
    Overage,
    Quota,
    QuotaWindow,
    Rate,
    RatePer,
    Slots,
    Switch,
)
from taximeter.domain.catalog.fields import Fields, Findings, scalar_text, shown

ENTITLEMENTS_MAX = 200
CONCURRENCY_MAX = 1_000_000
WINDOWS: tuple[QuotaWindow, ...] = get_args(QuotaWindow)
OVERAGES: tuple[Overage, ...] = get_args(Overage)
RATE_PERS: tuple[RatePer, ...] = get_args(RatePer)

_QUOTA_FIELDS = ("meter", "limit", "window", "overage")
_KINDS = {
    "value": "an entry of its own: one says one thing",
    "concurrency": "an entry of its own: one says one thing",
    "rate": "an entry of its own: one says one thing",
    **dict.fromkeys(_QUOTA_FIELDS, "a quota, in an entry of its own: one says one thing"),
}


def read_entitlements(fields: Fields, feature: str | None = None) -> tuple[Entitlement, ...]:
    """The list `entitlements`, in the order written; those in error are left out. Where `feature`
    is given all are of it, they do not name it, and there is at least one.
    """
    found: list[Entitlement] = []
    switched: dict[str, str] = {}
    every = fields.nested_list(
        "entitlements", count_max=ENTITLEMENTS_MAX, required=feature is not None
    )
    for at, each in every:
        entitlement = _read_entitlement(each, feature)
        if isinstance(entitlement, Switch):
            first = switched.setdefault(entitlement.feature, at)
            if first != at:
                detail = f"{first} switches this feature already. Say it once."
                fields.fail(f"{at}.value", "duplicate", detail)
        if entitlement is not None:
            found.append(entitlement)
    return tuple(found)


def parse_entitlements(feature: str, document: object) -> tuple[Entitlement, ...]:
    """What a document `{"entitlements": [...]}` says of the feature. Raises `Invalid`."""
    findings = Findings()
    fields = Fields.of(document, "", findings)
    found: tuple[Entitlement, ...] = ()
    if fields is not None:
        found = read_entitlements(fields, feature)
        fields.done()
    findings.raise_any()
    return found


def _read_entitlement(fields: Fields, feature: str | None) -> Entitlement | None:
    name = feature or fields.key("feature", cure="the key of a feature")
    found: Entitlement | None
    if fields.has("value"):
        found = _read_switch(fields, name)
    elif fields.has("concurrency"):
        found = _read_slots(fields, name)
    elif fields.has("rate"):
        found = _read_rate(fields, name)
    elif any(fields.has(one) for one in _QUOTA_FIELDS):
        found = _read_quota(fields, name)
    else:
        detail = "Missing. Say value, concurrency, rate, or meter, limit and window."
        fields.fail("value", "required", detail)
        found = None
    fields.done(belongs=_KINDS)
    return found


def _read_switch(fields: Fields, feature: str | None) -> Switch | None:
    value = fields.take("value")
    read = value if isinstance(value, bool) else scalar_text(value)
    if read is None or read == "":
        detail = f"{shown(value)} is no setting. Say true, false, or a text in quotes."
        fields.fail("value", "invalid_type", detail)
        return None
    return None if feature is None else Switch(feature, read)


def _read_slots(fields: Fields, feature: str | None) -> Slots | None:
    count = fields.number("concurrency")
    if count is None:
        return None
    if count != count.to_integral_value() or count > CONCURRENCY_MAX:
        detail = f"This is no such number. Say a whole number from 0 to {CONCURRENCY_MAX}."
        fields.fail("concurrency", "out_of_range", detail)
        return None
    return None if feature is None else Slots(feature, int(count))


def _read_rate(fields: Fields, feature: str | None) -> Rate | None:
    own = fields.nested("rate")
    if own is None:
        return None
    limit, per = own.number("limit"), own.choice("per", RATE_PERS)
    own.done()
    return None if feature is None or limit is None or per is None else Rate(feature, limit, per)


def _read_quota(fields: Fields, feature: str | None) -> Quota | None:
    meter = fields.key("meter", cure="the key of a meter")
    limit = fields.number("limit")
    window = fields.choice("window", WINDOWS)
    overage = fields.choice("overage", OVERAGES, default="block")
    if feature is None or meter is None or limit is None or window is None or overage is None:
        return None
    return Quota(feature, meter, limit, window, overage)
