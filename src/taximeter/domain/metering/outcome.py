"""What becomes of an outcome, and how much of an event it lets be billed.

Owns the table of states and the rules of retries, shares, human review and the time for taking
back. Must not know prices but for their outcome terms, nor which segment an event belongs to.

An outcome belongs to a customer, whatever prices its events are measured for. It is opened by the
first event that names it; `share` is the part of its usage that is billed now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from taximeter.domain.catalog.plan import OutcomeTerms
from taximeter.kernel.errors import InvalidState
from taximeter.kernel.quantity import DIGITS_FRACTION_MAX, ONE, ZERO, round_half_up
from taximeter.kernel.times import format_instant

OUTCOME_CHARS_MAX = 256

State = Literal["pending", "confirmed", "partial", "disputed", "failed", "reversed"]
Verb = Literal["confirm", "partial", "fail", "dispute", "reverse"]

STATE_AFTER: Mapping[Verb, State] = {
    "confirm": "confirmed",
    "partial": "partial",
    "fail": "failed",
    "dispute": "disputed",
    "reverse": "reversed",
}
ALLOWED: Mapping[State, tuple[Verb, ...]] = {
    "pending": ("confirm", "partial", "fail", "dispute"),
    "confirmed": ("dispute", "reverse"),
    "partial": ("dispute", "reverse"),
    "disputed": ("confirm", "partial", "fail", "reverse"),
    "failed": (),
    "reversed": (),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome of a customer as it stands.

    `share` (0 to 1) of its usage is billed; `confirm_at` is when it confirms itself (None: not by
    itself), `confirmed_at` when it was first confirmed, wholly or in part. It can be taken back
    for `reversible_s` seconds after that (None: for ever). `events` are its attempts so far,
    `steps` how often it was decided about.
    """

    customer: str
    id: str
    state: State
    share: Decimal
    human_review: bool
    opened_at: datetime
    confirm_at: datetime | None
    confirmed_at: datetime | None
    reversible_s: int | None
    events: int
    steps: int

    def __post_init__(self) -> None:
        assert ZERO <= self.share <= ONE, "a share is from 0 to 1"
        assert self.share == ZERO or self.confirmed_at is not None, "billed means confirmed"
        assert self.confirm_at is None or self.state == "pending", "only a pending one is due"

    @property
    def reversible_until(self) -> datetime | None:
        """The last instant at which it can be taken back; None: not confirmed, or no limit."""
        if self.confirmed_at is None or self.reversible_s is None:
            return None
        return self.confirmed_at + timedelta(seconds=self.reversible_s)


@dataclass(frozen=True, slots=True)
class Step:
    """What somebody decides about an outcome. `share` belongs to `partial`; `human_review` None
    leaves it as it is.
    """

    verb: Verb
    share: Decimal | None
    reason: str | None
    evidence: str | None
    human_review: bool | None

    def __post_init__(self) -> None:
        assert (self.share is not None) == (self.verb == "partial"), "a part has a share"
        assert self.share is None or ZERO < self.share < ONE, "a part is between 0 and 1"


def advance(outcome: Outcome, step: Step, at: datetime) -> Outcome:
    """The outcome after `step` at the instant `at`. A dispute bills and unbills nothing.

    Raises `InvalidState` for a step that its state forbids, and for one that comes too late: it is
    disputed or reversed by the end of its time for taking back, but a dispute raised in time may
    end at any time.
    """
    if step.verb not in ALLOWED[outcome.state]:
        raise InvalidState(kind="outcome", state=outcome.state, step=STATE_AFTER[step.verb])
    until = outcome.reversible_until
    if outcome.state in ("confirmed", "partial") and until is not None and at > until:
        state = f"{outcome.state}, which could be taken back until {format_instant(until)}"
        raise InvalidState(kind="outcome", state=state, step=STATE_AFTER[step.verb])
    share = {
        "confirm": ONE, "partial": step.share, "fail": ZERO, "reverse": ZERO,
        "dispute": outcome.share,
    }[step.verb]  # fmt: skip
    assert share is not None, "a part has a share"
    confirmed_at = outcome.confirmed_at
    if confirmed_at is None and share > ZERO:
        confirmed_at = at
    review = outcome.human_review if step.human_review is None else step.human_review
    return replace(
        outcome, state=STATE_AFTER[step.verb], share=share, human_review=review, confirm_at=None,
        confirmed_at=confirmed_at, steps=outcome.steps + 1,
    )  # fmt: skip


class Billed(NamedTuple):
    """What an event adds to a total: how many events, and how much of its quantity."""

    events: int
    quantity: Decimal


NOTHING = Billed(0, ZERO)


def billed(outcome: Outcome, terms: OutcomeTerms, value: Decimal | int, *, first: bool) -> Billed:
    """What an event of the outcome with this metered value (or this fee of its own) is billed under
    a price with `terms`.
    `first`: it is the outcome's first event for its meter; further ones are retries.

    One that was confirmed once stays an event of its total, even of quantity 0.
    """
    if outcome.confirmed_at is None or not (first or terms.retries == "each"):
        return NOTHING
    if outcome.human_review and terms.human_review == "free":
        return Billed(1, ZERO)
    if outcome.share == ONE:
        return Billed(1, Decimal(value))
    return Billed(1, round_half_up(Decimal(value) * outcome.share, DIGITS_FRACTION_MAX))


def outcome_id(data: Mapping[str, Any]) -> str | None:
    """The outcome that an event's data names: text of 1 to 256 printable characters, or a whole
    number. None where it names none.
    """
    value = data.get("outcome_id")
    if type(value) is int:
        return str(value)
    if type(value) is str and 0 < len(value) <= OUTCOME_CHARS_MAX and value.isprintable():
        return value
    return None


def needed_human(data: Mapping[str, Any]) -> bool:
    """Whether an event says that its outcome needed a person."""
    return data.get("human_review") is True
