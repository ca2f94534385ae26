"""What a move to other terms does to what a customer pays: one whole period at both.

Owns which usage of the present terms counts for which price of the others, and the comparison.
Both sides are one full period of the plan, nothing prorated, with the same seats and usage: what
falls due in the period of the move itself is a preview of the change.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal

from taximeter.domain.catalog.plan import Plan, UsagePrice
from taximeter.domain.invoicing.preview import Preview, preview
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.subscription import Phase
from taximeter.kernel.errors import FieldError
from taximeter.kernel.money import Money
from taximeter.kernel.quantity import ZERO, divide, format_decimal, round_half_up

PERCENT_DIGITS = 2
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Impact:
    """A period at the present terms and at the others: what is invoiced and what is drawn from
    wallets in the plan's currency, together. `warnings` say what the figures leave out.
    """

    before: Decimal
    after: Decimal
    warnings: tuple[FieldError, ...]

    @property
    def difference(self) -> Decimal:
        """What is paid more (negative: less)."""
        return self.after - self.before

    @property
    def percent(self) -> Decimal | None:
        """The difference as a percentage of what is paid now; None where that is nothing."""
        if self.before == ZERO:
            return None
        return round_half_up(divide(self.difference * _HUNDRED, self.before), PERCENT_DIGITS)


def impact(now: Phase, then: Phase, usage: Mapping[str, Usage]) -> Impact:
    """What a period costs under the terms of `then` beside those of `now`, with the `usage` of the
    period so far, by price of the plan of `now`.

    Raises `Invalid` where the other plan would not price the usage.
    """
    warnings = []
    carried: dict[str, Usage] = {}
    for price in then.plan.prices:
        if not isinstance(price, UsagePrice):
            continue
        source = _source(now.plan, price)
        if source is None:
            detail = (
                f"The usage of the meter {price.meter} is not priced now, and counted as none "
                f"for {price.key}."
            )
            warnings.append(FieldError(price.key, "unpriced_usage", detail))
        elif source != price.key and _is_special(usage.get(source, ())):
            detail = f"The usage of {source} is measured otherwise than {price.key} would."
            warnings.append(FieldError(price.key, "measured_otherwise", detail))
        else:
            carried[price.key] = usage.get(source, ())
    own = {key: used for key, used in usage.items() if now.plan.price(key) is not None}
    before = preview(now.plan, now.quantities, own)
    after = preview(then.plan, then.quantities, carried)
    if now.plan.period != then.plan.period:
        detail = (
            f"A {now.plan.period} of the present plan stands beside a {then.plan.period} of the "
            "other."
        )
        warnings.append(FieldError("period", "other_period", detail))
    warnings += _drawn_otherwise(before, after)
    return Impact(_paid(before), _paid(after), tuple(warnings))


def _source(plan: Plan, price: UsagePrice) -> str | None:
    """The price of the present plan whose usage is that of `price`: of its key, else its meter."""
    same = [
        one.key for one in plan.prices if isinstance(one, UsagePrice) and one.meter == price.meter
    ]
    return price.key if price.key in same else next(iter(same), None)


def _is_special(usage: Usage) -> bool:
    """Whether the quantities were taken in a way of their own price's."""
    return any(name.startswith("@") for dimensions, _ in usage for name in dimensions)


def _paid(shown: Preview) -> Decimal:
    drawn = [money.amount for money in shown.credits if money.asset == shown.currency]
    return shown.total + sum(drawn, ZERO)


def _drawn_otherwise(before: Preview, after: Preview) -> list[FieldError]:
    """A warning for each credit unit of which another amount is drawn: it has no one price."""
    old, new = _credits(before), _credits(after)
    return [
        FieldError(
            "credits", "other_credits",
            f"{format_decimal(old.get(asset, ZERO))} {asset} are drawn now, "
            f"{format_decimal(new.get(asset, ZERO))} then.",
        )
        for asset in sorted(_assets(before.credits, after.credits) - {before.currency})
        if old.get(asset, ZERO) != new.get(asset, ZERO)
    ]  # fmt: skip


def _credits(shown: Preview) -> dict[str, Decimal]:
    return {money.asset: money.amount for money in shown.credits}


def _assets(*credits: tuple[Money, ...]) -> Set[str]:
    return {money.asset for one in credits for money in one}
