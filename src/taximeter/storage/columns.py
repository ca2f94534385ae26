"""The rows that a statement takes, sent as columns: one PostgreSQL array a column.

Owns both halves of that, from one list of names and types: the fragment of the statement that
unfolds the arrays, and the parameters, made from rows. Must not know what a row means.

The text of a JSON array is the text of a PostgreSQL array but for its brackets and for what JSON
escapes by a letter, so msgspec writes the columns as fast as it writes JSON (decision 3).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Literal

import msgspec

_ESCAPED = re.compile(r"\\(u[0-9a-f]{4}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Columns:
    """Rows of the columns `declared`, such as "customer text, at timestamptz". Within a statement
    its text is a table `name` of these, with a `%s` for each column. `decimals` says how exact
    numbers stand within JSON; both forms keep every digit.
    """

    def __init__(
        self, name: str, declared: str, *, decimals: Literal["number", "string"] = "number"
    ) -> None:
        pairs = [column.split() for column in declared.split(",")]
        names, types = zip(*pairs, strict=True)
        arrays = ", ".join(f"%s::{one}[]" for one in types)
        self._text = f"unnest({arrays}) AS {name} ({', '.join(names)})"
        self._none: list[str | None] = [None] * len(names)
        self._values: Any = attrgetter(*names)
        encoder = msgspec.json.Encoder(decimal_format=decimals)
        self._encode_lines = encoder.encode_lines
        self._texts = [at for at, one in enumerate(types) if one == "text"]
        written: dict[str, Callable[[Sequence[object]], Sequence[object]]]
        written = {"json": self._json, "jsonb": self._json, "bytea": _hexadecimal}
        self._written = [(at, written[one]) for at, one in enumerate(types) if one in written]

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
            return self._none
        found: list[Sequence[object] | None] = [
            # Beside a longer column, nulls stand for what one lacks.
            None if one[0] is None and one.count(None) == len(one) else one
            for one in columns
        ]
        for at, write in self._written:
            if (values := found[at]) is not None:
                found[at] = write(values)
        text = self._encode_lines(found).decode()
        arrays = [None if line == "null" else f"{{{line[1:-1]}}}" for line in text[:-1].split("\n")]
        if "\\" in text:  # within JSON whatever is escaped is so twice
            for at in self._texts:
                if (array := arrays[at]) is not None and "\\" in array:
                    arrays[at] = _ESCAPED.sub(_plain, array)
        return arrays

    def _json(self, values: Sequence[object]) -> list[str | None]:
        """Values as JSON: they are texts of their array."""
        # A list: of all else msgspec 0.22 never frees the iterator.
        texts: list[str | None] = [*self._encode_lines([*values]).decode()[:-1].split("\n")]
        if None in values:
            return [None if one is None else text for one, text in zip(values, texts, strict=True)]
        return texts


def _hexadecimal(values: Sequence[object]) -> list[object]:
    """Bytes as texts; a text is already."""
    return [rf"\x{one.hex()}" if isinstance(one, bytes) else one for one in values]


def _plain(escaped: re.Match[str]) -> str:
    """An escape of JSON as an array has it: a quote and a backslash the same, all else as it is."""
    what = escaped[1]
    if what in _LETTERS:
        return _LETTERS[what]
    return escaped[0] if len(what) == 1 else chr(int(what[1:], 16))


_TEXTS = Columns("k", "value text")


def texts(values: Sequence[str]) -> str | None:
    """The parameter of a `%s::text[]`."""
    return _TEXTS.of_columns([values])[0]
