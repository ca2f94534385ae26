"""A backfill: what it is about, and which steps its state allows.

Owns which events belong to one. What it does to usage is the same as single corrections do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from taximeter.domain.metering.event import Event
from taximeter.kernel.errors import FieldError, InvalidState
from taximeter.kernel.times import Period, format_instant

BackfillKind = Literal["events", "meter"]
BackfillState = Literal[
    "open", "applying", "applied", "incomplete", "discarded", "reverting", "reverted"
]
Step = Literal["load", "preview", "discard", "apply", "revert"]

# From which states a step may be taken; of each, in the last ones it has been taken already.
ALLOWED: Mapping[Step, tuple[BackfillState, ...]] = {
    "load": ("open",),
    "preview": ("open",),
    "discard": ("open", "discarded"),
    "apply": ("open", "applying", "incomplete", "applied"),
    "revert": ("applying", "incomplete", "applied", "reverting", "reverted"),
}
_DONE = {
    "load": "loaded", "preview": "previewed", "discard": "discarded", "apply": "applied",
    "revert": "reverted",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Backfill:
    """Events of `types` within `span`, of one `customer` (None: of any). With `replaces` what is
    there already gives way to what is loaded; of kind `meter` it is counted anew by the newest
    version of `meter`. `started_at`: when it was first applied; `ended_at`: when it came to the
    state that it is in.
    """

    id: str
    kind: BackfillKind
    customer: str | None
    types: tuple[str, ...]
    meter: str | None
    span: Period
    replaces: bool
    reason: str
    state: BackfillState
    actor: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    def check(self, step: Step) -> None:
        """Raises `InvalidState` where its state forbids the step."""
        if self.state not in ALLOWED[step] or (step == "load" and self.kind == "meter"):
            state = self.state if self.kind == "events" else f"{self.state}, and of a meter"
            raise InvalidState(kind="backfill", state=state, step=_DONE[step])

    def stranger(self, event: Event) -> FieldError | None:
        """Why an event does not belong to it."""
        if self.customer not in (None, event.customer):
            return FieldError("subject", "out_of_range", f"The backfill is of {self.customer}.")
        if event.type not in self.types:
            detail = f"The backfill is of events of {', '.join(self.types)}."
            return FieldError("type", "out_of_range", detail)
        if event.time not in self.span:
            detail = (
                f"The backfill is of events from {format_instant(self.span.start)} on, before "
                f"{format_instant(self.span.end)}."
            )
            return FieldError("time", "out_of_range", detail)
        return None
