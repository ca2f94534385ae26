"""Reading `outcome`: that a price is billed only once its outcome is confirmed.

Owns the grammar of the member and its defaults. What becomes of an outcome is metering/outcome.
"""

from typing import get_args

from taximeter.domain.catalog.fields import Fields, shown
from taximeter.domain.catalog.plan import HumanReview, OutcomeTerms, Retries
from taximeter.kernel.times import parse_duration

RETRIES: tuple[Retries, ...] = get_args(Retries)
HUMAN_REVIEWS: tuple[HumanReview, ...] = get_args(HumanReview)


def read_outcome(fields: Fields) -> OutcomeTerms | None:
    """The terms under `outcome`; None where it is left out or in error."""
    nested = fields.nested("outcome")
    if nested is None:
        return None
    auto_confirm_s = _read_seconds(nested, "auto_confirm_after", example="PT24H")
    reversible_s = _read_seconds(nested, "reversible_for", example="P30D")
    retries = nested.choice("retries", RETRIES, default="once")
    human_review = nested.choice("human_review", HUMAN_REVIEWS, default="bill")
    nested.done()
    if retries is None or human_review is None:
        return None
    return OutcomeTerms(auto_confirm_s, reversible_s, retries, human_review)


def _read_seconds(fields: Fields, name: str, *, example: str) -> int | None:
    """An optional time span in seconds: a day is 24 hours here, and months have no fixed length,
    so they are refused.
    """
    value = fields.take(name)
    if value is None:
        return None
    duration = parse_duration(value) if isinstance(value, str) else None
    if duration is None or duration.months:
        detail = f"{shown(value)} is no duration of days or less. Say one such as {example}."
        fields.fail(name, "invalid_duration", detail)
        return None
    return duration.days * 86_400 + duration.seconds
