"""Levels over time: how long each level held, and what that comes to.

Owns the integral of a level, in exact numbers. A level holds from its event until the next one of
the same dimension values, across any boundary; before the first it is 0. Where changes come from,
and whose they are, is for others to say.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from taximeter.domain.catalog.meter import Meter
from taximeter.kernel.quantity import ZERO, divide
from taximeter.kernel.times import Period

_INSTANT = timedelta(microseconds=1)
_HOUR = Decimal(3_600_000_000)


def event_digest(source: str, event_id: str) -> str:
    """An event's identity within its customer, in 32 hexadecimal digits."""
    return hashlib.blake2b(f"{source}\0{event_id}".encode(), digest_size=16).hexdigest()


class Integral:
    """Adds up level times microseconds within each of `spans`, which follow each other in time.

    `since` is where the first change is read, not after the first span begins. Changes come in
    order: by time, then receipt, then the event's source and id. Of several at one instant the
    last one counts; of a `signed` meter, whose changes add up, all do.
    """

    def __init__(self, spans: Sequence[Period], since: datetime, *, signed: bool) -> None:
        self._spans = spans
        self._found = [ZERO] * len(spans)
        self._signed = signed
        self._level = ZERO
        self._at = since
        self._next = 0  # the first span that the level held so far may reach

    def change(self, at: datetime, value: Decimal) -> None:
        """From `at` on the level is `value`; of a signed meter, higher by `value`."""
        assert self._at <= at, "changes are in order"
        self._hold(at)
        self._level = self._level + value if self._signed else value

    def end(self) -> list[Decimal]:
        """The area of each span; the level held to the end of the last."""
        if self._spans and self._at < self._spans[-1].end:
            self._hold(self._spans[-1].end)
        return self._found

    def _hold(self, until: datetime) -> None:
        """Add the level that was held from the change before until now."""
        held = Period(self._at, until)
        self._at = until
        while self._next < len(self._spans):
            span = self._spans[self._next]
            shared = span.overlap(held)
            if shared is not None and self._level:
                self._found[self._next] += self._level * ((shared.end - shared.start) // _INSTANT)
            if span.end > until:
                break
            self._next += 1


def quantity_of(meter: Meter, area: Decimal, whole: Period) -> Decimal:
    """The meter's quantity for an area: level-hours, or the average level over `whole`, where the
    meter is `over: period`. An inexact quotient is rounded half up at the 12th decimal.
    """
    if meter.over is None:
        return divide(area, _HOUR)
    return divide(area, Decimal((whole.end - whole.start) // _INSTANT))
