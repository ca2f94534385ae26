"""Consuming: messages of a stream into a running server, each event counted once.

Owns the order that makes it so: take, send until the server has answered that it is committed, keep
what was refused as dead letters, and only then say that the messages are done. A consumer that dies
in between is given them again, and the server knows their events. One portion is under way at a
time, so what waits, waits in the stream.
"""

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from taximeter.cli.api import Api, Refused
from taximeter.cli.runtime import MessageStream, StreamMessage
from taximeter.cli.stream_events import Letter, StreamEvent, StreamReader
from taximeter.cli.stream_metrics import StreamMetrics
from taximeter.cli.terminal import say, warn
from taximeter.cli.upload import (
    BATCH_BYTES_MAX,
    RETRIED,
    RETRY_FIRST_S,
    RETRY_S_MAX,
    Answer,
    Stopped,
    post_batch,
)
from taximeter.kernel.errors import Unavailable

TAKE_S = 1.0
TELL_S = 30.0
LAG_S = 5.0
LETTERS_MAX = 40  # within 16 MiB, even where JSON writes each byte as six
CONTENT_BYTES_MAX = 64 * 1024
Result = TypeVar("Result")
Attempt = tuple[Result | None, str, float]


class Consumption:
    """One consumer at work until `stop`; portions are of up to `batch` messages, and events."""

    def __init__(
        self,
        stream: MessageStream,
        reader: StreamReader,
        api: Api,
        *,
        batch: int,
        metrics: StreamMetrics,
        stop: threading.Event,
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._api = api
        self._batch = batch
        self._metrics = metrics
        self._stop = stop
        self._trouble = ""
        self._looked_at = self._told_at = time.monotonic()

    def run(self, idle_s_max: int | None) -> None:
        """Consume until told to stop, or nothing came for `idle_s_max` seconds.

        Raises `GaveUp` or `Refused` where the server refuses us, `Unavailable` where the stream
        does.
        """
        came_at = time.monotonic()
        while not self._stop.is_set():
            messages = self._stream.take(self._batch, TAKE_S)
            if messages:
                try:
                    self._deliver(messages)
                except Stopped:
                    warn("Stopped while the server did not answer: what it may lack comes again.")
                    return
                came_at = time.monotonic()
            elif idle_s_max is not None and time.monotonic() - came_at >= idle_s_max:
                break
            self._tell()
        self._metrics.show_lag(self._stream.lag())
        say(self._metrics.line())

    def _deliver(self, messages: Sequence[StreamMessage]) -> None:
        events: list[StreamEvent] = []
        letters: list[Letter] = []
        for message in messages:
            for found in self._reader.read(message):
                if isinstance(found, StreamEvent):
                    events.append(found)
                else:
                    letters.append(found)
        for portion in self._portions(events):
            letters += self._send(portion)
        for start in range(0, len(letters), LETTERS_MAX):
            body = {"letters": [_letter_json(one) for one in letters[start : start + LETTERS_MAX]]}
            self._until_answered(lambda body=body: self._post_letters(body))  # type: ignore[misc]
        self._metrics.count_events("refused", len(letters))
        self._stream.done(messages)
        for stream, number in Counter(one.stream for one in messages).items():
            self._metrics.count_messages(stream, number)

    def _portions(self, events: Sequence[StreamEvent]) -> Iterator[Sequence[StreamEvent]]:
        """The events in requests that the server takes: a message may hold thousands."""
        portion: list[StreamEvent] = []
        size = 0
        for one in events:
            if portion and (len(portion) >= self._batch or size + len(one.body) > BATCH_BYTES_MAX):
                yield portion
                portion, size = [], 0
            portion.append(one)
            size += len(one.body)
        if portion:
            yield portion

    def _send(self, portion: Sequence[StreamEvent]) -> Iterator[Letter]:
        """Have these events committed; those that were refused."""
        body = b"[" + b",".join(one.body for one in portion) + b"]"
        answer: Answer = self._until_answered(lambda: post_batch(self._api, body, {}))
        self._metrics.count_events("accepted", answer.accepted)
        self._metrics.count_events("duplicate", answer.duplicates)
        self._metrics.count_events("quarantined", answer.quarantined)
        for result in answer.results:
            if result.status not in ("duplicate", "quarantined"):
                one, error = portion[result.index], result.error
                yield Letter(
                    one.stream, one.position, one.item, result.id, error.path if error else "",
                    error.code if error else result.status, error.detail if error else "", one.body,
                )  # fmt: skip

    def _post_letters(self, body: dict[str, object]) -> Attempt[bool]:
        try:
            self._api.post("/v1/dead_letters", body)
        except Unavailable as error:
            return None, error.detail.rstrip("."), 0.0
        except Refused as error:
            if error.status not in RETRIED:
                raise
            return None, f"The server answers {error.status}", 0.0
        return True, "", 0.0

    def _until_answered(self, attempt: Callable[[], Attempt[Result]]) -> Result:
        """Try for as long as it takes: the stream keeps what comes meanwhile. Raises `Stopped`."""
        pause = RETRY_FIRST_S
        while True:
            found, reason, pause_min = attempt()
            if found is not None:
                if self._trouble:
                    warn("The server answers again.")
                self._trouble = ""
                return found
            if reason != self._trouble:
                self._trouble = reason
                warn(f"{reason}; trying again until it does.")
            self._stream.keep()
            if self._stop.wait(max(pause, pause_min)):
                raise Stopped
            pause = min(pause * 2, RETRY_S_MAX)

    def _tell(self) -> None:
        """Every few seconds look at the lag; every half minute say how it goes."""
        now = time.monotonic()
        if now - self._looked_at >= LAG_S:
            self._looked_at = now
            self._metrics.show_lag(self._stream.lag())
        if now - self._told_at >= TELL_S:
            self._told_at = now
            warn(self._metrics.line())


def _letter_json(letter: Letter) -> dict[str, object]:
    """A letter as the API takes it. Of a long one the beginning; it lies in the stream whole."""
    kept = letter.content[:CONTENT_BYTES_MAX]
    try:
        content, encoding = kept.decode(), "text"
    except UnicodeDecodeError:
        content, encoding = base64.b64encode(kept).decode(), "base64"
    if "\0" in content:
        content, encoding = base64.b64encode(kept).decode(), "base64"
    return {
        "stream": letter.stream, "position": str(letter.position), "item": letter.item,
        "event_id": _storable(letter.event_id or "", 256) or None,
        "path": _storable(letter.path, 500), "code": letter.code,
        "detail": _storable(letter.detail, 1000), "bytes": len(letter.content),
        "encoding": encoding, "content": content,
    }  # fmt: skip


def _storable(text: str, chars_max: int) -> str:
    """The text as the API keeps it: what is wrong with an event may be just this."""
    return text[:chars_max].replace("\0", "\ufffd")
