"""Whether a plan fits the meters that it is to be billed by.

Owns what a price, a credit or a quota asks of a meter. Which meters there are, and which of their
versions counts, is for the caller to say.
"""

from collections.abc import Iterator, Mapping, Sequence

from taximeter.domain.catalog.entitlement import Entitlement, Quota
from taximeter.domain.catalog.meter import ADDING, Meter
from taximeter.domain.catalog.plan import Dimensional, Plan, UsagePrice
from taximeter.domain.rating.event_price import event_price
from taximeter.kernel.errors import FieldError, Invalid


def check_meters(plan: Plan, meters: Sequence[Meter]) -> None:
    """Raise `Invalid` for usage prices of meters that do not exist (`unknown_meter`), of dimensions
    that their meter does not keep apart (`unknown_dimension`: no rate of such a price could ever
    match), and of meters that do not add up where the price needs single events, a ladder that
    others share (`unsupported_aggregation`) or outcomes (`outcome_on_meter`), and of levels that
    would be drawn from a wallet (`unsupported_settle`). So for quotas (`check_quotas`).
    """
    known = {meter.key: meter for meter in meters}
    errors: list[FieldError] = []
    for index, price in enumerate(plan.prices):
        if not isinstance(price, UsagePrice):
            continue
        meter = known.get(price.meter)
        if meter is None:
            detail = f"There is no meter {price.meter}. Create it first, or correct its key."
            errors.append(FieldError(f"prices[{index}].meter", "unknown_meter", detail))
        else:
            errors += _fit_meter(price, meter, f"prices[{index}]")
    for index, credit in enumerate(plan.credits):
        for at, key in enumerate(credit.scope_meters or ()):
            if key not in known:
                detail = f"There is no meter {key}. Create it first, or correct its key."
                path = f"credits[{index}].scope.meters[{at}]"
                errors.append(FieldError(path, "unknown_meter", detail))
    errors += check_quotas(plan.entitlements, known)
    if errors:
        raise Invalid(errors)


def check_quotas(
    entitlements: Sequence[Entitlement], meters: Mapping[str, Meter]
) -> Iterator[FieldError]:
    """An error for each quota of a meter that does not exist, or does not add up."""
    for index, one in enumerate(entitlements):
        if not isinstance(one, Quota):
            continue
        path = f"entitlements[{index}].meter"
        meter = meters.get(one.meter)
        if meter is None:
            detail = f"There is no meter {one.meter}. Create it first, or correct its key."
            yield FieldError(path, "unknown_meter", detail)
        elif meter.aggregation not in ADDING:
            detail = (
                f"The meter {meter.key} takes the {meter.aggregation} of values, which a quota "
                "cannot be used up by. Say a meter that sums or counts."
            )
            yield FieldError(path, "unsupported_aggregation", detail)


def _fit_meter(price: UsagePrice, meter: Meter, path: str) -> Iterator[FieldError]:
    model = price.model
    if price.outcome is not None and meter.aggregation not in ADDING:
        detail = (
            f"An outcome adds its quantity when it is confirmed, and {meter.aggregation} does "
            "not add up. Use a meter that sums or counts, or leave outcome out."
        )
        yield FieldError(f"{path}.outcome", "outcome_on_meter", detail)
    if price.settle == "wallet" and meter.is_level:
        detail = (
            f"The level of {meter.key} costs while nothing happens, so no event could draw it "
            "from a wallet. Say settle: invoice."
        )
        yield FieldError(f"{path}.settle", "unsupported_settle", detail)
    if isinstance(model, Dimensional) and not model.by_event:
        for at, name in enumerate(model.dimensions):
            if name not in meter.dimensions:
                detail = f"The meter {meter.key} does not keep {name} apart. Add it there."
                yield FieldError(f"{path}.dimensions[{at}]", "unknown_dimension", detail)
    measured = event_price(price, meter.dimensions, "UTC") is not None
    if (measured or price.group) and meter.aggregation not in ADDING:
        detail = (
            f"The meter {meter.key} takes the {meter.aggregation} of values, so single events do "
            "not add up to its quantity. Say a meter that sums or counts, or leave out "
            "multipliers, ranges, pool, maximum_per_day and models of single events."
        )
        yield FieldError(f"{path}.meter", "unsupported_aggregation", detail)
