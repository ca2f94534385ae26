"""Ids that the system makes: a prefix, then 32 hexadecimal digits that sort by time.

Owns their form. Must not read the clock or a random source: both are given to `IdSource` by the
composition root, so ids are deterministic in tests.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def encode_id(prefix: str, milliseconds: int, random_bits: int) -> str:
    """`prefix_` and 32 hexadecimal digits: 48 bits of Unix milliseconds, then 80 random bits."""
    return f"{prefix}_{milliseconds & (1 << 48) - 1:012x}{random_bits & (1 << 80) - 1:020x}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_id(prefix: str, at: datetime) -> str:
    """An id that sorts before or as every id made at `at` or later."""
    return encode_id(prefix, _milliseconds(at), 0)


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


class IdSource:
    """Makes ids: `ids("inv", at)`; within one millisecond they count up from a random start."""

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self._at: datetime | None = None
        self._milliseconds = -1
        self._bits = 0
        self._first_halves: dict[str, str] = {}  # of this millisecond's ids, by prefix

    def __call__(self, prefix: str, at: datetime) -> str:
        """A new id whose sort order follows `at`, then the order of calls."""
        milliseconds = self._milliseconds if at is self._at else _milliseconds(at)
        if milliseconds == self._milliseconds:
            self._bits += 1
        else:
            self._milliseconds, self._bits = milliseconds, self._random_bits(79)
            self._first_halves.clear()
        self._at = at
        half = self._first_halves.get(prefix)
        if half is None:
            half = self._first_halves[prefix] = encode_id(prefix, milliseconds, 0)[:-20]
        return f"{half}{self._bits:020x}"
