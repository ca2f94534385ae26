"""What a valid plan had better not say: warnings, which refuse nothing.

Owns the judgment of effective rates, of parts that never apply, and of names that people read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import (
    Dimensional,
    FlatPrice,
    Graduated,
    GraduatedPercentage,
    Plan,
    ShareOf,
    Stairstep,
    Tier,
    UsagePrice,
    Volume,
)
from taximeter.domain.rating.rate import price_amount
from taximeter.kernel.errors import FieldError
from taximeter.kernel.quantity import ONE, ZERO, divide, format_decimal, round_half_up

VAGUE_UNITS = ("unit", "units", "item", "items", "thing", "things", "usage", "count", "number")
_DIGITS_SHOWN = 6


def advise(plan: Plan, meters: Sequence[Meter] = ()) -> list[FieldError]:
    """The warnings about a plan, by path; those about its meters only where they are given."""
    found = list(_names(plan))
    known = {meter.key: meter for meter in meters}
    for index, price in enumerate(plan.prices):
        at = f"prices[{index}]"
        if isinstance(price, FlatPrice):
            continue
        for path, model in _models(at, price.model):
            found += _rates(path, model)
        if isinstance(price, UsagePrice):
            found += _beyond_maximum(at, price)
            found += _unused_dimensions(at, price)
            if price.meter in known:
                found += _of_meter(at, plan, price, known[price.meter])
    return found


def _names(plan: Plan) -> Iterator[FieldError]:
    if plan.family == plan.key:
        detail = (
            f"The plan has the family's name, so that {plan.key} always means this plan alone. "
            "Say another key or family."
        )
        yield FieldError("family", "hidden_family", detail)
    unnamed = [index for index, price in enumerate(plan.prices) if price.name == price.key]
    if unnamed:
        keys = ", ".join(plan.prices[index].key for index in unnamed)
        detail = f"Invoices will print the keys {keys}. Say a name that people read for each."
        yield FieldError(f"prices[{unnamed[0]}].name", "no_name", detail)


def _models(path: str, model: object) -> Iterator[tuple[str, object]]:
    """The models inside a price, each with its path."""
    if not isinstance(model, Dimensional):
        yield path, model
        return
    for index, rate in enumerate(model.rates):
        yield f"{path}.rates[{index}]", rate.model
    if not isinstance(model.otherwise, str):
        yield f"{path}.otherwise", model.otherwise


def _rates(path: str, model: object) -> Iterator[FieldError]:
    if isinstance(model, Graduated | Volume):
        prices = [(tier.unit, tier.per, _price(tier.unit, tier.per)) for tier in model.tiers]
        yield from _dearer_tiers(path, "unit", prices)
    elif isinstance(model, GraduatedPercentage):
        percents = [(t.percent, ONE, f"{format_decimal(t.percent)}%") for t in model.tiers]
        yield from _dearer_tiers(path, "percent", percents)
    elif isinstance(model, Stairstep):
        yield from _dearer_packs(path, model.tiers)


def _dearer_tiers(
    path: str, name: str, tiers: Sequence[tuple[Decimal, Decimal, str]]
) -> Iterator[FieldError]:
    """Tiers (price, per how many, in words) whose units cost more than those of the tier before;
    after free units, any price is right.
    """
    for index in range(1, len(tiers)):
        (low, low_per, before), (unit, per, words) = tiers[index - 1], tiers[index]
        if low and unit * low_per > low * per:
            detail = (
                f"Tier {index + 1} is dearer per unit ({words}) than tier {index} ({before}), so "
                "who uses more pays a higher rate. Lower it, if that is not meant."
            )
            yield FieldError(f"{path}.tiers[{index}].{name}", "rising_rate", detail)


def _price(unit: Decimal, per: Decimal) -> str:
    return format_decimal(unit) if per == 1 else f"{format_decimal(unit)} per {format_decimal(per)}"


def _dearer_packs(path: str, tiers: Sequence[Tier]) -> Iterator[FieldError]:
    """Packs that cost more a unit than the cheapest smaller one."""
    best: tuple[Decimal, Decimal] | None = None
    for index, tier in enumerate(tiers):
        if tier.up_to is None or tier.flat == ZERO:
            continue
        if best is not None and tier.flat * best[0] > best[1] * tier.up_to:
            detail = (
                f"{format_decimal(tier.up_to)} for {format_decimal(tier.flat)} is "
                f"{_each(tier.flat, tier.up_to)} each, dearer than {format_decimal(best[0])} for "
                f"{format_decimal(best[1])} ({_each(best[1], best[0])} each). Lower it, if that is "
                "not meant."
            )
            yield FieldError(f"{path}.tiers[{index}].flat", "dearer_pack", detail)
        else:
            best = tier.up_to, tier.flat


def _each(flat: Decimal, units: Decimal) -> str:
    return format_decimal(round_half_up(divide(flat, units), _DIGITS_SHOWN))


def _beyond_maximum(path: str, price: UsagePrice) -> Iterator[FieldError]:
    """The first tier that is entered only after the price's maximum is reached."""
    if price.maximum is None or price.group or isinstance(price.included, ShareOf):
        return
    if not isinstance(price.model, Graduated | Stairstep):
        return
    free = replace(price, maximum=None, minimum=None, maximum_per_day=None)
    for index, tier in enumerate(price.model.tiers[:-1]):
        assert tier.up_to is not None, "only the last tier is without end"
        if price_amount(free, [({}, price.included + tier.up_to)]) >= price.maximum:
            detail = (
                f"The maximum of {format_decimal(price.maximum)} is reached before this tier is "
                "entered, so that it changes no amount. Leave it out, or raise the maximum."
            )
            yield FieldError(f"{path}.tiers[{index + 1}]", "never_applies", detail)
            return


def _unused_dimensions(path: str, price: UsagePrice) -> Iterator[FieldError]:
    if not isinstance(price.model, Dimensional):
        return
    asked = {name for rate in price.model.rates for name, _ in rate.key}
    for index, name in enumerate(price.model.dimensions):
        if name not in asked:
            detail = f"No rate asks for {name}. Leave it out, or write the rates that do."
            yield FieldError(f"{path}.dimensions[{index}]", "unused_dimension", detail)


def _of_meter(path: str, plan: Plan, price: UsagePrice, meter: Meter) -> Iterator[FieldError]:
    if not meter.unit:
        detail = f"The meter {meter.key} does not say what it counts. Say its unit, such as token."
        yield FieldError(f"{path}.meter", "no_unit", detail)
    elif meter.unit.lower() in VAGUE_UNITS:
        detail = (
            f'The meter {meter.key} counts "{meter.unit}", which tells a customer nothing. Say '
            "what is counted, such as token or message."
        )
        yield FieldError(f"{path}.meter", "vague_unit", detail)
    asked = {
        name
        for other in plan.prices
        if isinstance(other, UsagePrice) and other.meter == meter.key
        for name in _dimensions_of(other)
    }
    unused = [name for name in meter.dimensions if name not in asked]
    if unused:
        detail = (
            f"The meter {meter.key} keeps {', '.join(unused)} apart, and no price of this plan "
            "differs by it. That is right for reports alone."
        )
        yield FieldError(f"{path}.meter", "unused_dimension", detail)
    if isinstance(price.model, Dimensional):
        allowed, excluded = dict(meter.filter), dict(meter.exclude)
        for index, rate in enumerate(price.model.rates):
            for name, value in rate.match:
                outside = name in allowed and value not in allowed[name]
                if outside or value in excluded.get(name, ()):
                    detail = (
                        f"The meter {meter.key} counts no event whose {name} is {value}, so that "
                        "this rate is never used. Leave it out, or change the meter."
                    )
                    yield FieldError(f"{path}.rates[{index}].match", "never_applies", detail)


def _dimensions_of(price: UsagePrice) -> Iterator[str]:
    """What a price tells apart."""
    if isinstance(price.model, Dimensional):
        yield from price.model.dimensions
    for multiplier in price.multipliers:
        yield from (condition.name for condition in multiplier.when)
