"""What can be asked of holds, and what is answered: the items that the committer groups.

Owns the values. A request carries how its answer is rendered, so that the first answer to an
idempotency key is stored in the transaction that makes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from taximeter.domain.credit.hold import Ask, Doubt, Hold, Refused
from taximeter.domain.metering.event import Event
from taximeter.services.command import Answer
from taximeter.services.ingest import IngestAnswer, IngestRequest
from taximeter.storage.idempotency import Key

HOLDS_PER_REQUEST_MAX = 1_000
APPROVALS_PER_HOLD_MAX = 10
ALTERNATIVES_MAX = 9
TTL_S_DEFAULT = 300
TTL_S_MAX = 86_400


class NewHold(msgspec.Struct, frozen=True, gc=False):
    """A hold that is asked for. With an `estimate` its needs are what that event would cost; what
    cannot be held for it is held for the first of the `alternatives` that can: `instead` is what
    they need, once they are priced.
    """

    customer: str
    ask: Ask
    ttl_s: int
    estimate: Event | None = None
    alternatives: tuple[Event, ...] = ()
    instead: tuple[Ask, ...] = ()


class Allowed(msgspec.Struct, frozen=True, gc=False):
    """A hold that was placed; `available` by asset after it (None: nothing limits it), and the
    `approvals` that it uses and what its rates `counted`; `alternative` is the number of the one
    that it was placed for (None: for what was asked).
    """

    hold: Hold
    available: Mapping[str, Decimal | None]
    warnings: tuple[Doubt, ...]
    approvals: tuple[str, ...] = ()
    counted: Mapping[str, Decimal] = MappingProxyType({})
    alternative: int | None = None


HoldAnswer: TypeAlias = Allowed | Refused


class Place(msgspec.Struct, frozen=True, gc=False):
    """Place these holds: `together` all or none of them."""

    holds: Sequence[NewHold]
    together: bool
    render: Callable[[Sequence[HoldAnswer]], Answer]
    idempotency: Key | None = None

    @property
    def customers(self) -> Sequence[str]:
        """Whose holds they are."""
        return [hold.customer for hold in self.holds]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A hold after a step, and what was charged for it with that step (None: nothing can be)."""

    hold: Hold
    charged: Mapping[str, Decimal] | None = None
    ingested: IngestAnswer | None = None


RenderStep: TypeAlias = Callable[[Resolved], Answer]


@dataclass(frozen=True, slots=True)
class Resolve:
    """A step of one hold: `digest` is of what is asked, by which the same again is known. A hold
    that does not lie `within` this path is not found.
    """

    customer: str
    hold: str
    digest: bytes
    render: RenderStep
    idempotency: Key | None = None
    within: str | None = None

    @property
    def customers(self) -> Sequence[str]:
        """Whose hold it is."""
        return [self.customer]


@dataclass(frozen=True, slots=True)
class Capture(Resolve):
    """Charge for the work that a hold was placed for: an amount of each asset, or what `events`
    cost, which are recorded. `keep_open`: more is to come, and the rest stays held.
    """

    amount: Decimal | None = None
    amounts: Mapping[str, Decimal] | None = None
    events: IngestRequest | None = None
    keep_open: bool = False


@dataclass(frozen=True, slots=True)
class Release(Resolve):
    """Free a hold: nothing is charged."""


@dataclass(frozen=True, slots=True)
class Extend(Resolve):
    """Let a hold expire `ttl_s` seconds from now."""

    ttl_s: int = TTL_S_DEFAULT


@dataclass(frozen=True, slots=True)
class Enforce:
    """Take these events in if all of them can be paid, else none."""

    events: IngestRequest
    render: Callable[[IngestAnswer], Answer]
    idempotency: Key | None = None

    @property
    def customers(self) -> Sequence[str]:
        """Whose events they are."""
        return [event.customer for event in self.events.events if type(event) is Event]


Step: TypeAlias = Capture | Release | Extend
HoldRequest: TypeAlias = Place | Step | Enforce
