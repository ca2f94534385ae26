"""Keyset paging: the cursor of a list, opaque to clients.

Owns the cursor's form and the limits. A cursor carries the sort key of the last row shown, so a
page costs the same however far one has read and rows added meanwhile shift nothing.
"""

import base64
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from taximeter.kernel.errors import FieldError, Invalid

LIMIT_DEFAULT = 25
LIMIT_MAX = 100

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a list and the cursor of the next (None: there is none)."""

    rows: Sequence[Row]
    next_cursor: str | None


def encode_cursor(key: Sequence[str]) -> str:
    """The opaque form of a sort key."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, parts: int) -> tuple[str, ...] | None:
    """The sort key of `parts` strings in `cursor`; None for the first page.

    Raises `Invalid` (`invalid_cursor`) for anything that `encode_cursor` did not make.
    """
    if cursor is None:
        return None
    key: object = None
    with suppress(ValueError, RecursionError):  # binascii and json errors are ValueErrors
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if not (isinstance(key, list) and len(key) == parts and all(map(_storable, key))):
        raise invalid_cursor()
    return tuple(key)


def invalid_cursor() -> Invalid:
    """The error for a cursor that is not of the list, or has a part that it cannot read."""
    detail = "This is no cursor of this list. Use the next_cursor of its last answer, or none."
    return Invalid([FieldError("cursor", "invalid_cursor", detail)])


def _storable(part: object) -> bool:
    """Whether `part` is text that the database can compare: no NUL, no lone surrogate."""
    return (
        isinstance(part, str)
        and "\0" not in part
        and not any("\ud800" <= character <= "\udfff" for character in part)
    )


def make_page(rows: Sequence[Row], limit: int, key_of: Callable[[Row], Sequence[str]]) -> Page[Row]:
    """A page of `rows`, which were read with a limit of `limit + 1` to learn if more follow."""
    if len(rows) <= limit:
        return Page(rows, None)
    shown = rows[:limit]
    return Page(shown, encode_cursor(key_of(shown[-1])))
