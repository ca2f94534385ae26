"""Streams: messages in from a log that keeps them until they are said to be done.

Owns what a message is, whatever carried it. A stream gives each message at least once: one that was
taken and not said to be done comes again, to this consumer or to another of its group. What a
message means is not for here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `stream` names where it lies (`kafka:usage/3`, `nats:USAGE`) and `position` its
    place there, which both stay the same however often it is given. `at` is when it was written.
    """

    stream: str
    position: int
    at: datetime
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Stream(Protocol):
    """A consumer's place in a stream. Not safe to use from several threads."""

    def take(self, count_max: int, wait_s: float) -> Sequence[Message]:
        """The next messages, at most `count_max`; none where none came within `wait_s`.

        Raises `Unavailable` where it is in vain to ask again.
        """
        ...

    def done(self, messages: Sequence[Message]) -> None:
        """All that was taken up to these is done, and need not come again. Where saying so fails
        they come again, which does no harm.
        """
        ...

    def keep(self) -> None:
        """Say that this consumer still works on what it took. To be called every few seconds."""
        ...

    def lag(self) -> Mapping[str, int]:
        """How many messages lie ahead of this consumer, by stream, as far as it is known."""
        ...

    def close(self) -> None:
        """Leave, so that others need not wait to take over."""
        ...
