"""The rows that a statement takes, sent as columns: one PostgreSQL array a column.

Owns both halves of that, from one list of names and types: the fragment of the statement that
unfolds the arrays, and the parameters, made from rows. Must not know what a row means.

The text of a JSON array is the text of a PostgreSQL array but for its brackets and for what JSON
escapes by a letter, so msgspec writes the columns as fast as it writes JSON (decision 3).
"""

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Literal

import msgspec

_ESCAPED = re.compile(r"\\(u[0-9a-f]{4}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_JSON = ("json", "jsonb")


class Columns:
    """Rows of the columns `declared`, such as "customer text, at timestamptz". Within a statement
    its text is a table `name` of these, with a `%s` for each column. `decimals` says how exact
    numbers stand within JSON; both forms keep every digit.
    """

    def __init__(
        self, name: str, declared: str, *, decimals: Literal["number", "string"] = "number"
    ) -> None:
        pairs = [column.split() for column in declared.split(",")]
        names, self._types = zip(*pairs, strict=True)
        arrays = ", ".join(f"%s::{one}[]" for one in self._types)
        self._text = f"unnest({arrays}) AS {name} ({', '.join(names)})"
        self._values: Any = attrgetter(*names)
        self._encode = msgspec.json.Encoder(decimal_format=decimals).encode

    def __str__(self) -> str:
        return self._text

    def of(self, rows: Iterable[object]) -> list[str | None]:
        """The parameters, from objects that have an attribute for each of several columns."""
        return self.of_tuples(map(self._values, rows))

    def of_tuples(self, rows: Iterable[Sequence[object]]) -> list[str | None]:
        """The parameters, from rows in the order of the columns."""
        return self.of_columns(list(zip(*rows, strict=True)))

    def of_columns(self, columns: Sequence[Sequence[object]]) -> list[str | None]:
        """The parameters, from the columns themselves; none at all stand for no rows."""
        if not columns or not columns[0]:
            return [None] * len(self._types)
        return [self._array(*one) for one in zip(self._types, columns, strict=True)]

    def _array(self, kind: str, values: Sequence[object]) -> str | None:
        """A column as the text of an array. One of nothing but nulls is null itself: beside a
        longer one, nulls stand for what it lacks.
        """
        if values[0] is None and values.count(None) == len(values):
            return None
        if kind in _JSON:
            values = [None if one is None else self._encode(one).decode() for one in values]
        elif kind == "bytea":
            values = [rf"\x{one.hex()}" if isinstance(one, bytes) else one for one in values]
        text = self._encode(values).decode()
        if kind == "text" and "\\" in text:  # within JSON whatever is escaped is so twice
            text = _ESCAPED.sub(_plain, text)
        return f"{{{text[1:-1]}}}"


def _plain(escaped: re.Match[str]) -> str:
    """An escape of JSON as an array has it: a quote and a backslash the same, all else as it is."""
    what = escaped[1]
    if what in _LETTERS:
        return _LETTERS[what]
    return escaped[0] if len(what) == 1 else chr(int(what[1:], 16))
