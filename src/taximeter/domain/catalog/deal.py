"""What was agreed with one customer beside the published plan: overrides, adjustments, a trial, a
pause.

Owns the step from the published plan to the one that prices. Must not know when what applies:
that is the subscription's phases.

An override replaces the named fields of a price's document; the merged document is read by the
plan's own reader, so every check holds for it. An adjustment multiplies amounts of money: what
the document says by `Deal.factor`, what an override says by the adjustments since it was stated.
An adjusted amount is rounded once, half up at the 12th decimal, which is as fine as a document
can write a price.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.fields import read_number, shown_name
from taximeter.domain.catalog.plan import Discount, Plan, Price, UsagePrice
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import (
    BOUND,
    DIGITS_FRACTION_MAX,
    format_decimal,
)

Overrides = Mapping[str, Mapping[str, object]]

ADJUST_PERCENT_MIN = Decimal(-100)
ADJUST_PERCENT_MAX = Decimal(1000)
FIXED_FIELDS = ("key", "type", "meter", "asset", "settle")

_NO_CHANGE = Fraction(1)
_FREE = Discount(Decimal(100), None)
_AMOUNTS = ("amount", "unit", "flat", "percent", "fixed", "markup_percent", "markup_fixed")
_LISTS = ("tiers", "rates")
_path_of_price = re.compile(r"prices\[(\d+)\](.*)", re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True)
class Deal:
    """The terms of one customer. `overrides` are fields of prices by price key. `factor` is by
    how much all adjustments together multiply the published amounts; `rises` the same for each
    override, of the adjustments since it was stated (left out: none).

    On `trial`, fees and minimum are not charged and invoiced usage costs nothing; when `paused`,
    nothing is priced at all.
    """

    overrides: Overrides = field(default_factory=dict)
    factor: Fraction = _NO_CHANGE
    rises: Mapping[str, Fraction] = field(default_factory=dict)
    trial: bool = False
    paused: bool = False

    def __post_init__(self) -> None:
        assert self.rises.keys() <= self.overrides.keys(), "a rise is of an override"

    def adjusted(self, percent: Decimal) -> "Deal":
        """These terms with all amounts `percent` dearer (negative: cheaper)."""
        times = 1 + Fraction(percent) / 100
        rises = {key: self.rises.get(key, _NO_CHANGE) * times for key in self.overrides}
        return replace(self, factor=self.factor * times, rises=rises)

    def overridden(self, overrides: Overrides) -> "Deal":
        """These terms with `overrides` in place of all earlier ones: they are what is paid."""
        return replace(self, overrides=overrides, rises={})

    def kept_on(self, plan: Plan, *, moved: bool) -> "Deal":
        """These terms on another version, or (`moved`) another plan: overrides of prices that
        exist there stay; another plan starts from its own amounts.
        """
        kept = {key: value for key, value in self.overrides.items() if plan.price(key)}
        rises = {key: value for key, value in self.rises.items() if key in kept}
        factor = _NO_CHANGE if moved else self.factor
        return replace(self, overrides=kept, rises=rises, factor=factor)


NO_DEAL = Deal()


def agreed_plan(published: Plan, deal: Deal) -> Plan:
    """What prices a customer with this `deal` on the `published` plan version.

    Raises `Invalid` for overrides that do not fit, with paths such as
    `overrides.seats.tiers[0].unit`.
    """
    plan = published
    if deal.overrides or deal.factor != _NO_CHANGE:
        document = _agreed_document(published, deal)
        try:
            parsed = parse_plan(document, version=published.version)
        except Invalid as error:
            raise Invalid(by_price(error.errors, published)) from None
        plan = replace(parsed, document=published.document)
    if deal.paused:
        return replace(plan, prices=(), minimum=None, credits=(), entitlements=())
    if deal.trial:
        return replace(plan, prices=tuple(_on_trial(price) for price in plan.prices), minimum=None)
    return plan


def by_price(errors: Iterable[FieldError], plan: Plan) -> Sequence[FieldError]:
    """Errors of the plan's document as errors of the overrides of its prices."""
    found = []
    for error in errors:
        path = error.path
        match = _path_of_price(path)
        if match is not None:
            path = f"overrides.{plan.prices[int(match[1])].key}{match[2]}"
        found.append(replace(error, path=path))
    return found


def _on_trial(price: Price) -> Price:
    if isinstance(price, UsagePrice) and price.settle == "invoice":
        group = tuple(replace(one, discount=_FREE, minimum=None) for one in price.group)
        return replace(price, discount=_FREE, minimum=None, group=group)
    return price


def _agreed_document(published: Plan, deal: Deal) -> Mapping[str, object]:
    _check_overrides(published, deal.overrides)
    prices: Any = published.document["prices"]
    merged = []
    for price in prices:
        key = price["key"]
        override = deal.overrides.get(key, {})
        model = override.get("model", price.get("model"))
        rise = deal.rises.get(key, _NO_CHANGE)
        merged.append(
            {**_times(price, deal.factor, price.get("model")), **_times(override, rise, model)}
        )
    return {**published.document, "prices": merged}


def _check_overrides(published: Plan, overrides: Overrides) -> None:
    errors = []
    for key, fields in overrides.items():
        path = f"overrides.{shown_name(key)}"
        if published.price(key) is None:
            keys = ", ".join(price.key for price in published.prices[:10])
            detail = f"Plan {published.key} has no such price. It has {keys}."
            errors.append(FieldError(path, "unknown_price", detail))
            continue
        for name in FIXED_FIELDS:
            if name in fields:
                detail = f"The {name} of a price is the plan's. Leave it out, or use another plan."
                errors.append(FieldError(f"{path}.{name}", "not_overridable", detail))
    if errors:
        raise Invalid(errors)


def _times(fields: Mapping[str, object], factor: Fraction, model: object) -> Mapping[str, object]:
    """The fields of a price, tier or rate with its amounts of money multiplied."""
    if factor == _NO_CHANGE:
        return fields
    found = dict(fields)
    for name, value in fields.items():
        if name in _AMOUNTS or (name == "factor" and model == "dynamic"):
            found[name] = _product(value, factor)
        elif name in _LISTS and isinstance(value, list):
            found[name] = [_inner_times(item, factor) for item in value]
        elif name == "otherwise":
            found[name] = _inner_times(value, factor)
    return found


def _inner_times(value: object, factor: Fraction) -> object:
    return _times(value, factor, value.get("model")) if isinstance(value, Mapping) else value


def _product(value: object, factor: Fraction) -> object:
    """The amount multiplied; what is no amount stays, for the reader to report."""
    number = read_number(value)
    if not isinstance(number, Decimal) or number < 0:
        return value
    units = Fraction(number) * factor * 10**DIGITS_FRACTION_MAX
    product = Decimal(int(units + Fraction(1, 2))).scaleb(-DIGITS_FRACTION_MAX)
    if product >= BOUND:
        detail = "A price would have more than 18 digits before the point. Say a smaller percent."
        raise Invalid([FieldError("adjust_percent", "out_of_range", detail)])
    return format_decimal(product)
