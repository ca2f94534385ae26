"""The model percentage: a part of an amount that each event carries.

Where only the percent and a free amount are asked for, the sum of the amounts decides. Else each
event has a fee of its own: the percent and the fixed fee together, at least `min_per_event` and at
most `max_per_event`. A negative amount gives its percent back, and no more.

What is free comes first, in the order of the events' time: an event within the allowances pays
nothing; the one that crosses the free amount pays its fixed fee in full and the percent of what
lies above; whichever allowance ends first ends both.
"""

from collections.abc import Iterable
from decimal import Decimal

from taximeter.domain.catalog.plan import Percentage
from taximeter.domain.rating.step import Step, free_step, free_units, percent_of, percent_step
from taximeter.kernel.quantity import ZERO


def amount(model: Percentage, quantity: Decimal) -> Decimal:
    """What amounts that add up to `quantity` cost, where single events do not matter."""
    return percent_of(model.percent, quantity - free_units(quantity, model.free_amount))


def steps(model: Percentage, quantity: Decimal) -> tuple[Step, ...]:
    """The free amount, where the model has one, then the percent of the rest."""
    free = free_units(quantity, model.free_amount)
    rest = percent_step("", quantity - free, model.percent)
    return (rest,) if not model.free_amount else (free_step(free, model.free_amount, "free"), rest)


def event_fee(model: Percentage, carried: Decimal) -> Decimal:
    """What one event that carries this amount costs, where nothing of it is free."""
    return _fee(model, carried, carried)


def _fee(model: Percentage, carried: Decimal, charged: Decimal) -> Decimal:
    fee = percent_of(model.percent, charged)
    if carried < ZERO:
        return fee
    fee += model.fixed
    if model.min_per_event is not None:
        fee = max(fee, model.min_per_event)
    return fee if model.max_per_event is None else min(fee, model.max_per_event)


class FreePart:
    """What is free of the fees of events that are shown to it one by one, the first first."""

    def __init__(self, model: Percentage) -> None:
        self._model = model
        self._events = 0
        self._amount = ZERO
        self.fees = ZERO
        self.done = not model.in_order

    def add(self, carried: Decimal) -> None:
        """Show the next event. Once `done`, no further event is free."""
        model = self._model
        if self.done or carried < ZERO:
            return
        self._events += 1
        left = carried
        if model.free_amount:
            left = min(carried, model.free_amount - self._amount)
        self._amount += left
        wholly = left == carried
        fee = ZERO if wholly else _fee(model, carried, carried - left)
        self.fees += event_fee(model, carried) - fee
        self.done = (
            not wholly
            or (model.free_events > 0 and self._events >= model.free_events)
            or (model.free_amount > ZERO and self._amount >= model.free_amount)
        )


def free_fees(model: Percentage, amounts: Iterable[Decimal]) -> Decimal:
    """What is free of the fees of events with these amounts, in their order."""
    part = FreePart(model)
    for carried in amounts:
        part.add(carried)
        if part.done:
            break
    return part.fees
