"""Prices of single events, as steps: what the fees of events came to.

The fees themselves are summed as events arrive (event_price.py); here they are put in words.
"""

from taximeter.domain.catalog.plan import CostPlus, Dynamic, Percentage, RateModel
from taximeter.domain.rating.step import Step
from taximeter.domain.rating.usage import Units
from taximeter.kernel.quantity import ONE, ZERO, format_decimal


def fee_steps(model: RateModel, units: Units) -> tuple[Step, ...]:
    """The fees of all events, and what of them is free."""
    fees = Step(_text(model), None, None, units.fees)
    if not isinstance(model, Percentage) or not model.in_order:
        return (fees,)
    return fees, Step(_free_text(model), None, None, -units.free)


def _text(model: RateModel) -> str:
    match model:
        case CostPlus():
            fixed = model.markup_fixed
            more = f" and {format_decimal(fixed)} an event" if fixed != ZERO else ""
            return f"events at cost plus {format_decimal(model.markup_percent)}%{more}"
        case Dynamic():
            times = f" times {format_decimal(model.factor)}" if model.factor != ONE else ""
            return f"events at their {model.value}{times}"
        case Percentage():
            words = [f"events at {format_decimal(model.percent)}%"]
            if model.fixed != ZERO:
                words.append(f"and {format_decimal(model.fixed)} each")
            if model.min_per_event is not None:
                words.append(f"at least {format_decimal(model.min_per_event)}")
            if model.max_per_event is not None:
                words.append(f"at most {format_decimal(model.max_per_event)}")
            return " ".join(words)
        case _:
            raise AssertionError("other models price quantities")


def _free_text(model: Percentage) -> str:
    words = []
    if model.free_events:
        words.append(f"the first {model.free_events} events")
    if model.free_amount:
        words.append(f"the first {format_decimal(model.free_amount)}")
    return f"free: {' or '.join(words)}"
