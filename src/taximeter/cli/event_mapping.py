"""From the rows of a file to the events that the API takes.

Owns the mapping of columns, the reading of times, and the ids of rows that bring none: they
derive from the row's content and how many equal rows came before it, so the same file gives the
same ids however it is ordered or cut into batches, and a second import counts nothing twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from taximeter.cli.event_rows import DIGEST_BYTES, BadRow, Row
from taximeter.domain.metering.event import InvalidEvent, read_event
from taximeter.domain.metering.fold import property_at
from taximeter.kernel.times import format_instant, parse_instant, parse_local, to_utc

# The server judges whether a time is in its future: its clock may be a test clock.
_NO_FUTURE = datetime(8999, 12, 31, tzinfo=UTC)
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Ready(NamedTuple):
    """An event of the row that starts on `line`, as JSON."""

    line: int
    body: bytes


@dataclass(frozen=True, slots=True)
class EventMapping:
    """Where an event's fields come from. With `whole` a row is the event itself and the values
    here fill what it leaves out; else `columns` (None: all that are not used otherwise) become
    properties of its data, by name.
    """

    whole: bool
    customer: str | None
    customer_column: str | None
    type: str | None
    source: str | None
    time_column: str | None
    time_zone: str
    id_column: str | None
    columns: Mapping[str, str] | None
    constants: Mapping[str, str]

    @property
    def used(self) -> Sequence[str]:
        """The columns that are named, each of which must be there."""
        named = (self.customer_column, self.time_column, self.id_column)
        return [name for name in named if name is not None] + list((self.columns or {}).values())


class EventMaker:
    """Makes events of rows, and remembers which contents came before (16 bytes a row)."""

    def __init__(self, mapping: EventMapping) -> None:
        self._mapping = mapping
        self._seen: set[bytes] = set()
        self._repeats: dict[bytes, int] = {}

    def event(self, row: Row) -> Ready | BadRow:
        """The event of `row`, checked by the rules of the API; or what is wrong with it."""
        made = self._whole(row) if self._mapping.whole else self._mapped(row)
        if isinstance(made, BadRow):
            return made
        checked = read_event(made, _NO_FUTURE)
        if isinstance(checked, InvalidEvent):
            error = checked.error
            return BadRow(row.line, checked.id, error.path, error.code, error.detail)
        return Ready(row.line, _encode(made))

    def _whole(self, row: Row) -> dict[str, Any] | BadRow:
        mapping = self._mapping
        event = dict(row.values)
        defaults = {"subject": mapping.customer, "type": mapping.type, "source": mapping.source}
        for name, value in defaults.items():
            if value is not None:
                event.setdefault(name, value)
        if mapping.constants:
            data = event.get("data") or {}
            if isinstance(data, dict):
                event["data"] = {**data, **mapping.constants}
        if event.get("id") is None:
            event["id"] = self._row_id(row, str(event.get("type")))
        return event

    def _mapped(self, row: Row) -> dict[str, Any] | BadRow:
        mapping = self._mapping
        event: dict[str, Any] = {"type": mapping.type}
        if mapping.source is not None:
            event["source"] = mapping.source
        event["subject"] = mapping.customer or self._value(row, mapping.customer_column)
        if mapping.time_column is not None:
            time = self._time(row, mapping.time_column)
            if isinstance(time, BadRow):
                return time
            event["time"] = time
        elif row.time is not None:
            event["time"] = row.time
        if mapping.id_column is None:
            event["id"] = self._row_id(row, str(mapping.type))
        else:
            given = self._value(row, mapping.id_column)
            if given in (None, ""):
                detail = f"The column {mapping.id_column} is empty. Every row needs its id."
                return BadRow(row.line, None, mapping.id_column, "missing", detail)
            event["id"] = given if isinstance(given, str) else _encode(given).decode()
        event["data"] = self._data(row)
        return event

    def _data(self, row: Row) -> dict[str, Any]:
        """The properties; an empty cell is no property, for missing is not zero."""
        mapping = self._mapping
        if mapping.columns is None:
            data = {name: value for name, value in row.values.items() if name not in mapping.used}
        else:
            data = {name: self._value(row, column) for name, column in mapping.columns.items()}
        data = {name: value for name, value in data.items() if value is not None and value != ""}
        return {**data, **mapping.constants}

    def _time(self, row: Row, column: str) -> str | BadRow:
        text = self._value(row, column)
        at = _instant(text, self._mapping.time_zone) if isinstance(text, str) else None
        if at is not None:
            return format_instant(at)
        detail = (
            "This is no time. Write 2026-01-05T10:00:00Z, or 2026-01-05 10:00:00 for a time in "
            "--time-zone."
        )
        return BadRow(row.line, None, column, "invalid_time", detail)

    @staticmethod
    def _value(row: Row, column: str | None) -> Any:
        return None if column is None else property_at(row.values, column)

    def _row_id(self, row: Row, event_type: str) -> str:
        """The id of a row without one: its carrier's, else from its content. Part of that is the
        type, so that one file may be imported as events of several types.
        """
        if row.id is not None:
            return row.id
        content = hashlib.blake2b(
            row.digest + event_type.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES
        ).digest()
        ordinal = 1
        if content in self._seen:
            ordinal = self._repeats.get(content, 1) + 1
            self._repeats[content] = ordinal
        else:
            self._seen.add(content)
        return f"row-{content.hex()}-{ordinal}"


def _instant(text: str, time_zone: str) -> datetime | None:
    """The instant written in `text`, with a `T` or a blank; without an offset in `time_zone`."""
    standard = text.replace(" ", "T", 1) if text[10:11] == " " else text
    at = parse_instant(standard)
    if at is not None:
        return at
    local = parse_local(standard)
    return to_utc(local, time_zone) if local is not None else None
