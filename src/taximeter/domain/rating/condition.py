"""Whether a condition holds for a property of an event.

Owns the comparison: values as text, ranges as numbers. A property that is missing meets nothing,
and what is no number is in no range.
"""

from taximeter.domain.catalog.plan import Condition
from taximeter.kernel.quantity import parse_decimal


def holds(condition: Condition, text: str | None) -> bool:
    """Whether a property whose text is `text` (None: missing, or no scalar) meets `condition`."""
    if not text:
        return False
    if condition.values:
        return text in condition.values
    number = parse_decimal(text)
    return (
        number is not None
        and (condition.above is None or number > condition.above)
        and (condition.at_least is None or number >= condition.at_least)
        and (condition.below is None or number < condition.below)
        and (condition.at_most is None or number <= condition.at_most)
    )
