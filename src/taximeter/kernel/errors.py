"""The one tree of errors.

    TaximeterError
    ├── Invalid                 a request whose fields are wrong, each named with its cure
    ├── Malformed               a body that cannot be read at all
    ├── NotFound                no such object, or not for this caller
    │   └── NoTestClock         this instance runs on real time
    ├── Conflict
    │   ├── AlreadyExists       the key is taken by other content
    │   ├── IdempotencyConflict the idempotency key was used with another body
    │   ├── InvalidState        the object's state forbids the step
    │   └── ClockBackwards      the test clock only moves forward
    ├── Unauthorized            no key, or a bad one
    ├── Forbidden               the key lacks the scope
    │   ├── SetBySeller         a customer's key may not change what the seller set
    │   └── ConfinedToPath      the key is confined to a path, and this is of the whole customer
    ├── TooLarge                a body over the limits
    ├── RateLimited             the key asks faster than it may
    ├── OverCapacity            the queue is full; nothing was taken
    ├── TooSlow                 a read that took longer than the operator allows; it was stopped
    └── Unavailable             a part that is needed (the database, a binary) cannot be had

Each class has a stable `code`, and its docstring is its message: `{name}` is filled from the
keyword arguments. Expected outcomes (a refused hold, a duplicate event) are values, not errors.
The HTTP status of each class stands in one table, in http/problem.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: its path (`prices[2].unit`), a stable code, and the cure."""

    path: str
    code: str
    detail: str


class TaximeterError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, **fields: object) -> None:
        template = type(self).__doc__ or ""
        self.fields = fields
        self.detail = " ".join(template.format_map(fields).split())
        self.errors: Sequence[FieldError] = ()
        super().__init__(self.detail)


class Invalid(TaximeterError):
    """{summary}"""

    code = "invalid"

    def __init__(self, errors: Iterable[FieldError]) -> None:
        found = list(errors)
        assert found, "an Invalid error names at least one field"
        first = found[0]
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        super().__init__(
            summary=f"{first.path}: {first.detail}{more}" if first.path else first.detail
        )
        self.errors = found


class Malformed(TaximeterError):
    """The body cannot be read: {reason}"""

    code = "malformed"


class NotFound(TaximeterError):
    """There is no {kind} {key!r}."""

    code = "not_found"


class NoTestClock(NotFound):
    """This instance runs on real time and has no test clock. Start one with --sandbox, on data of
    its own, for a clock that can be moved."""


class Conflict(TaximeterError):
    """The request conflicts with what is there."""

    code = "conflict"


class AlreadyExists(Conflict):
    """A {kind} {key!r} exists already, with other content. {cure}"""

    code = "already_exists"


class IdempotencyConflict(Conflict):
    """The idempotency key {key!r} was used before with another request. Use a new key, or send
    the first request again unchanged."""

    code = "idempotency_conflict"


class InvalidState(Conflict):
    """This {kind} is {state}: it cannot be {step}."""

    code = "invalid_state"


class ClockBackwards(Conflict):
    """The test clock shows {now} and only moves forward; {to} is earlier."""

    code = "clock_backwards"


class Unauthorized(TaximeterError):
    """Send a valid API key as `Authorization: Bearer KEY`."""

    code = "unauthorized"


class Forbidden(TaximeterError):
    """This API key lacks the scope {scope!r}."""

    code = "forbidden"


class SetBySeller(Forbidden):
    """The seller set this {kind}: a key of the customer cannot {step} it. {cure}"""

    code = "set_by_seller"


class ConfinedToPath(Forbidden):
    """This API key is confined to the path {path!r}: it sends events, places holds and asks for
    features, and does nothing else."""

    code = "confined_to_path"


class TooLarge(TaximeterError):
    """{what} is over the limit of {limit}. {cure}"""

    code = "too_large"


class RateLimited(TaximeterError):
    """This API key may make {requests} requests per {per}, and has made them; nothing of this one
    was taken. Send it again after {retry_after_s} s."""

    code = "rate_limited"


class OverCapacity(TaximeterError):
    """The server has as much waiting as it can hold; nothing of this request was taken. Send it
    again after {retry_after_s} s."""

    code = "over_capacity"


class TooSlow(TaximeterError):
    """This takes over {seconds:g} s, so it was stopped, for others not to wait. Ask for less: a
    shorter span, one customer. The operator may allow more (`serve --read-timeout`).
    """

    code = "too_slow"


class Unavailable(TaximeterError):
    """{what} {cure}"""

    code = "unavailable"
