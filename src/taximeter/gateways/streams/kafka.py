"""Kafka, and what speaks its protocol: one member of a consumer group.

Owns the client's settings that decide about losing messages: offsets are committed by hand, after
`done`, and a group without offsets begins at the oldest message that is kept.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taximeter.gateways.streams import Message
from taximeter.kernel.errors import Unavailable

FIRST_OFFSET = 0
QUEUED_KIB_MAX = 64 * 1024  # what the client reads ahead: back-pressure beyond it
_OURS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "queued.max.messages.kbytes": QUEUED_KIB_MAX,
}


class KafkaStream:
    """A consumer of `topics` in `group`. `settings` are the client's own (security, time-outs),
    with ours on top; `notice` is told in sentences what goes wrong and is tried again.

    Raises `Unavailable` where the client is not installed, or refuses its settings.
    """

    def __init__(
        self,
        *,
        brokers: str,
        topics: Sequence[str],
        group: str,
        settings: Mapping[str, str],
        notice: Callable[[str], None],
    ) -> None:
        self._kafka = _client()
        self._notice = notice
        self._said: set[str] = set()
        self._ahead: list[Any] = []
        self._paused: list[Any] = []
        try:
            self._consumer = self._kafka.Consumer(
                {
                    "client.id": "taximeter",
                    "log_level": "0",
                    **settings,
                    "bootstrap.servers": brokers,
                    "group.id": group,
                    **_OURS,
                    "error_cb": self._note,
                }
            )
            self._consumer.subscribe(list(topics))
        except (self._kafka.KafkaException, TypeError, ValueError) as error:
            raise Unavailable(
                what=f"The Kafka client refuses its settings: {error}.",
                cure="Look at --brokers, --group and the file of --config.",
            ) from None

    def take(self, count_max: int, wait_s: float) -> Sequence[Message]:
        """The next messages of the partitions that this member was given."""
        if self._paused:
            self._consumer.resume(self._paused)
            self._paused = []
        taken, self._ahead = self._ahead, []
        if len(taken) < count_max:
            taken += self._consumer.consume(count_max - len(taken), 0.0 if taken else wait_s)
        found = [self._read(one) for one in taken if not self._is_error(one.error())]
        if found:
            self._said.clear()
        return found

    def done(self, messages: Sequence[Message]) -> None:
        """Commit the offsets behind these messages."""
        ends: dict[str, int] = {}
        for one in messages:
            ends[one.stream] = max(ends.get(one.stream, FIRST_OFFSET), one.position + 1)
        offsets = [self._partition(stream, end) for stream, end in sorted(ends.items())]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except self._kafka.KafkaException as error:
            self._note(error.args[0])

    def keep(self) -> None:
        """Answer the group's coordinator without taking more."""
        if not self._paused:
            self._paused = self._consumer.assignment()
            self._consumer.pause(self._paused)
        # Partitions that were just given to this member are not paused yet: keep what comes.
        self._ahead += self._consumer.consume(1, 0.0)

    def lag(self) -> Mapping[str, int]:
        """From the position of each partition to its end, as the last fetch told it."""
        found = {}
        for place in self._consumer.position(self._consumer.assignment()):
            _, end = self._consumer.get_watermark_offsets(place, cached=True)
            if place.offset >= FIRST_OFFSET and end >= FIRST_OFFSET:
                found[_name(place.topic, place.partition)] = max(0, end - place.offset)
        return found

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _partition(self, stream: str, offset: int) -> Any:
        topic, _, partition = stream.removeprefix("kafka:").rpartition("/")
        return self._kafka.TopicPartition(topic, int(partition), offset)

    @staticmethod
    def _read(one: Any) -> Message:
        _, milliseconds = one.timestamp()
        headers = {
            name: (value or b"").decode("utf-8", "replace") for name, value in one.headers() or ()
        }
        return Message(
            _name(one.topic(), one.partition()), one.offset(),
            datetime.fromtimestamp(max(0, milliseconds) / 1000, UTC), one.value() or b"", headers,
        )  # fmt: skip

    def _is_error(self, error: Any) -> bool:
        """Whether this is no message but an error; raises `Unavailable` for one that stays."""
        if error is None:
            return False
        if error.fatal() or error.code() in (
            self._kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED,
            self._kafka.KafkaError.GROUP_AUTHORIZATION_FAILED,
        ):
            raise Unavailable(
                what=f"Kafka refuses: {error.str()}.", cure="Mend it and start again."
            )
        self._note(error)
        return True

    def _note(self, error: Any) -> None:
        """Tell of an error that the client gets over by itself, of each kind once until all is well
        again.
        """
        if error.name() not in self._said:
            self._said.add(error.name())
            self._notice(f"Kafka: {error.str()}; trying again.")


def _name(topic: str, partition: int) -> str:
    return f"kafka:{topic}/{partition}"


def _client() -> Any:
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise Unavailable(
            what="The Kafka client is not installed.",
            cure="Install it: pip install 'taximeter[kafka]'.",
        ) from None
