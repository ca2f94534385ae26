"""Files of usage, read row by row: CSV with a header, or one JSON object a line.

Owns the reading and the digest of a row's content. A file is streamed, never held. A row that
cannot be read is an answer (`BadRow`), not the end of the import. Numbers keep every digit: cells
stay texts, JSON numbers become exact decimals.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from taximeter.domain.metering.event import EVENT_BYTES_MAX, decode_number

Format = Literal["csv", "ndjson"]
LINE_BYTES_MAX = 1024 * 1024
DIGEST_BYTES = 16
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson",
}  # fmt: skip
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


class UnusableFile(Exception):
    """The file as a whole cannot be imported; the text says why and the cure."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that starts on `line`: its values by column. `digest` is of its content, whatever the
    order of columns. `id` and `time` are those that its carrier gives it, for what brings none.
    """

    line: int
    values: Mapping[str, Any]
    digest: bytes
    id: str | None = None
    time: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be imported: which one, and why in the API's words."""

    line: int
    id: str | None
    path: str
    code: str
    detail: str


def format_of(file: Path, stream: BinaryIO) -> Format:
    """The format by the file's name, else by its first character. Raises `UnusableFile`."""
    known = _SUFFIXES.get(file.suffix.lower())
    if known is not None:
        return known
    start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(0)
    if start.startswith(b"["):
        raise UnusableFile(f"{file} holds one JSON array. Write one object a line instead.")
    return "ndjson" if start.startswith(b"{") else "csv"


class CsvRows:
    """The rows of a CSV file; blanks around a cell are not part of it.

    `columns` is the header. Raises `UnusableFile` where there is none, or a name stands twice.
    """

    def __init__(self, file: Path, stream: BinaryIO, delimiter: str) -> None:
        self._lines = _text_lines(stream)
        csv.field_size_limit(2 * EVENT_BYTES_MAX)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        try:
            header = next(self._reader, None)
        except csv.Error as error:
            raise UnusableFile(f"{file}: the header cannot be read: {error}.") from None
        if not header:
            raise UnusableFile(f"{file} is empty. The first line names the columns.")
        self.columns: Sequence[str] = [name.strip() for name in header]
        for number, name in enumerate(self.columns):
            if name in self.columns[:number]:
                raise UnusableFile(f"{file} has two columns {name!r}. Rename one of them.")

    def __iter__(self) -> Iterator[Row | BadRow]:
        order = sorted(range(len(self.columns)), key=lambda at: self.columns[at])
        while True:
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._unreadable(line, str(error))
                continue
            if not cells:
                continue
            cells = [cell.strip() for cell in cells]
            if len(cells) != len(self.columns):
                detail = f"{len(cells)} cells, but the header names {len(self.columns)} columns."
                yield BadRow(line, None, "", "malformed", detail)
                continue
            content = "\0".join(f"{self.columns[at]}\1{cells[at]}" for at in order)
            try:
                digest = _digest(content.encode())
            except UnicodeEncodeError:
                yield BadRow(line, None, "", "malformed", "This is not UTF-8. Save it as UTF-8.")
            else:
                yield Row(line, dict(zip(self.columns, cells, strict=True)), digest)

    def _unreadable(self, line: int, reason: str) -> BadRow:
        last = self._reader.line_num
        where = f" Lines {line} to {last} were read as one." if last > line else ""
        detail = f"Not valid CSV: {reason}.{where} Look at the quotation marks."
        return BadRow(line, None, "", "malformed", detail)


class JsonRows:
    """The rows of a file with one JSON object a line; blank lines are passed over."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Row | BadRow]:
        line = 0
        while content := self._stream.readline(LINE_BYTES_MAX):
            line += 1
            if len(content) == LINE_BYTES_MAX and not content.endswith(b"\n"):
                while rest := self._stream.readline(LINE_BYTES_MAX):
                    if rest.endswith(b"\n"):
                        break
                yield BadRow(line, None, "", "too_large", "The line is over 1 MiB.")
            elif not content.isspace():
                yield _json_row(line, content)


def _json_row(line: int, content: bytes) -> Row | BadRow:
    try:
        value = read_json(content)
    except NotJson as error:
        return BadRow(line, None, "", error.code, error.detail)
    if not isinstance(value, dict):
        return BadRow(line, None, "", "not_an_object", "Write one JSON object a line.")
    return Row(line, value, _digest(_encode(value)))


class NotJson(Exception):
    """Bytes that are no JSON that an event could come from: why, in the API's words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def read_json(content: bytes) -> Any:
    """The value of this JSON text, its numbers exact. Raises `NotJson`."""
    try:
        value = json.loads(
            content.decode("utf-8-sig"), parse_float=decode_number, parse_int=_whole_number,
            parse_constant=_no_constant, object_pairs_hook=_no_key_twice,
        )  # fmt: skip
    except _KeyTwice as error:
        detail = f"The key {error.args[0]!r} stands twice in one object. Write each key once."
        raise NotJson("duplicate_key", detail) from None
    except UnicodeDecodeError:
        raise NotJson("malformed", "This is not UTF-8. Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise NotJson("malformed", f"Not valid JSON: {error}.") from None
    try:
        _encode(value)
    except (UnicodeEncodeError, RecursionError):
        raise NotJson("malformed", "This holds text that is no UTF-8, or is too deep.") from None
    return value


class _KeyTwice(Exception):
    """A key stands twice in one object, so its value would be a guess."""


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _KeyTwice(key)
            seen.add(key)
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _whole_number(text: str) -> Decimal | int:
    return int(text) if len(text) < 19 else decode_number(text)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def _text_lines(stream: BinaryIO) -> Iterator[str]:
    """Lines with their ends, as the CSV reader wants them; bytes that are no UTF-8 become
    surrogates, by which their row is told.
    """
    first = True
    while content := stream.readline(LINE_BYTES_MAX):
        text = content.decode("utf-8", errors="surrogateescape")
        yield text.removeprefix("\ufeff") if first else text
        first = False
