"""From the messages of a stream to the events that the API takes.

Owns the three forms of a message: one CloudEvent in JSON, an array of them, or CloudEvents' binary
mode, whose attributes are headers (`ce_` in Kafka, `ce-` in NATS). With a mapping an object is a
row, as in an import. What brings no id gets one from its place in the stream, which is the same
whenever the message is given again. What cannot be read is an answer (`Letter`), not the end.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from taximeter.cli.event_mapping import EventMaker, EventMapping
from taximeter.cli.event_rows import BadRow, NotJson, Row, read_json
from taximeter.cli.runtime import StreamMessage
from taximeter.kernel.times import format_instant

_KAFKA, _NATS = "ce_", "ce-"


class StreamEvent(NamedTuple):
    """An event as JSON, and where it came from: the `item`th of a message."""

    stream: str
    position: int
    item: int
    body: bytes


class Letter(NamedTuple):
    """What was not taken, from where, and why in the API's words; `content` is what it was read
    from.
    """

    stream: str
    position: int
    item: int
    event_id: str | None
    path: str
    code: str
    detail: str
    content: bytes


class StreamReader:
    """Reads messages by a mapping."""

    def __init__(self, mapping: EventMapping) -> None:
        self._rows = EventMaker(mapping)
        self._events = EventMaker(_WHOLE)

    def read(self, message: StreamMessage) -> Iterator[StreamEvent | Letter]:
        """The events of a message, in its order, and what of it is none."""
        attributes = _attributes(message.headers)
        try:
            value = read_json(message.body) if message.body or not attributes else {}
        except NotJson as error:
            yield _letter(message, BadRow(0, None, "", error.code, error.detail))
            return
        if attributes:
            yield self._event(self._events, message, 0, {**attributes, "data": value}, "")
            return
        if not isinstance(value, list):
            yield self._event(self._rows, message, 0, value, "")
            return
        for item, one in enumerate(value):
            yield self._event(self._rows, message, item, one, f":{item}")

    @staticmethod
    def _event(
        maker: EventMaker, message: StreamMessage, item: int, value: Any, place: str
    ) -> StreamEvent | Letter:
        if not isinstance(value, dict):
            detail = "A message is one event as a JSON object, or an array of them."
            return _letter(message, BadRow(item, None, "", "not_an_object", detail))
        position_id = f"{message.stream}:{message.position}{place}"
        row = Row(item, value, b"", id=position_id, time=format_instant(message.at))
        made = maker.event(row)
        if isinstance(made, BadRow):
            return _letter(message, made)
        return StreamEvent(message.stream, message.position, item, made.body)


_WHOLE = EventMapping(
    whole=True, customer=None, customer_column=None, type=None, source=None, time_column=None,
    time_zone="UTC", id_column=None, columns=None, constants={},
)  # fmt: skip


def _attributes(headers: Mapping[str, str]) -> dict[str, Any]:
    """The attributes of an event in binary mode; none where the message is not in it."""
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(_KAFKA):
            found[lower.removeprefix(_KAFKA)] = value
        elif lower.startswith(_NATS):
            found[lower.removeprefix(_NATS)] = unquote(value)
    return found if "specversion" in found or "type" in found else {}


def _letter(message: StreamMessage, bad: BadRow) -> Letter:
    return Letter(
        message.stream, message.position, bad.line, bad.id, bad.path, bad.code, bad.detail,
        message.body,
    )  # fmt: skip
