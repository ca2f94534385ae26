"""Whether all that a source sent has arrived: what was expected against what was received.

Owns what the figures of a source say about it. Two things tell what to expect: numbers that the
source gives its events, which show what is missing in between, and heartbeats, in which it says how
many it has sent. Without either, nothing does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

State = Literal[
    "incomplete", "silent", "late", "ahead", "repeated_numbers", "conflicts", "quarantined"
]
# Clocks of one place differ by less: an event of this instant that is a little ahead says nothing.
SKEW_TOLERATED = timedelta(seconds=5)


class Gap(NamedTuple):
    """Numbers that no event has, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a source's events from `first` to `last`. `received` of them are there, `gaps`
    are the first of what is missing; `repeated` events have a number that another one has, too.
    `complete` is false where more numbers lie there than are looked at.
    """

    first: int
    last: int
    received: int
    repeated: int
    gaps: Sequence[Gap]
    complete: bool = True

    @property
    def expected(self) -> int:
        """How many numbers lie there."""
        return self.last - self.first + 1

    @property
    def missing(self) -> int:
        """How many no event has."""
        return self.expected - self.received


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """What a source said that it sent between two heartbeats (`start` None: since it began) and how
    many events of that time are there. The rest is of the last one: when it came, how far the
    source's clock was ahead of ours, and after how long without a word the source is silent.
    """

    start: datetime | None
    end: datetime
    expected: int
    received: int
    received_at: datetime
    silence_after: timedelta | None

    @property
    def missing(self) -> int:
        """How many are not there; below zero where more are than were sent."""
        return self.expected - self.received

    @property
    def clock_offset(self) -> timedelta:
        """The source's clock less ours, as far as the way of a heartbeat is short."""
        return self.end - self.received_at


@dataclass(frozen=True, slots=True)
class Delays:
    """How long after their own time events were received: below zero where a clock was ahead."""

    median: timedelta
    p95: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class SourceCompleteness:
    """A source in a span of time. `received` events are stored, `quarantined` of them wait, `late`
    came later than is usual, `ahead` had a time after their receipt, by `ahead_most` at most.
    `duplicates` and `conflicts` came as well and were not stored. `at` is when this was read, or
    the end of the span.
    """

    source: str
    at: datetime
    received: int
    quarantined: int
    late: int
    ahead: int
    ahead_most: timedelta
    duplicates: int
    conflicts: int
    delays: Delays | None
    last_received_at: datetime | None
    numbers: Numbers | None
    heartbeats: Heartbeats | None

    @property
    def expected(self) -> int | None:
        """What should be there, by the heartbeats where there are any, else by the numbers."""
        known = self.heartbeats or self.numbers
        return known.expected if known else None

    @property
    def missing(self) -> int | None:
        """What is not there, by whichever tells of more."""
        found = [known.missing for known in (self.numbers, self.heartbeats) if known is not None]
        return max(0, *found) if found else None

    @property
    def silent(self) -> bool:
        """Whether the source should have said something by now."""
        beats = self.heartbeats
        if beats is None or beats.silence_after is None:
            return False
        heard = max(beats.received_at, self.last_received_at or beats.received_at)
        return self.at - heard > beats.silence_after

    @property
    def states(self) -> tuple[State, ...]:
        """What somebody should look at; nothing where all is well."""
        return tuple(self._states())

    def _states(self) -> Iterator[State]:
        if self.missing:
            yield "incomplete"
        if self.silent:
            yield "silent"
        if self.late:
            yield "late"
        offset = self.heartbeats.clock_offset if self.heartbeats else timedelta(0)
        if max(self.ahead_most, offset) > SKEW_TOLERATED:
            yield "ahead"
        if self.numbers and self.numbers.repeated:
            yield "repeated_numbers"
        if self.conflicts:
            yield "conflicts"
        if self.quarantined:
            yield "quarantined"
