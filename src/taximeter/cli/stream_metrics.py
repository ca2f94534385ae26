"""What a consumer counts about itself, for Prometheus and for the operator.

Owns names and labels; `stream` takes as many values as there are partitions.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from taximeter.cli.terminal import fail

STATUSES = ("accepted", "duplicate", "quarantined", "refused")


class StreamMetrics:
    """The counters of one consumer, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._messages = Counter(
            "taximeter_stream_messages", "Messages done, by stream.", ["stream"],
            registry=self._registry,
        )  # fmt: skip
        self._events = Counter(
            "taximeter_stream_events", "Events of messages, by what became of them.", ["status"],
            registry=self._registry,
        )  # fmt: skip
        self._lag = Gauge(
            "taximeter_stream_lag", "Messages ahead of this consumer, by stream.", ["stream"],
            registry=self._registry,
        )  # fmt: skip
        self._ahead = 0
        self._counts = dict.fromkeys(STATUSES, 0)
        self.messages = 0

    def serve(self, host: str, port: int) -> None:
        """Answer GET /metrics from now on. Ends the command where that cannot be."""
        try:
            start_http_server(port, host, self._registry)
        except OSError as error:
            fail(f"--metrics-port {port} cannot be listened on: {error.strerror or error}.")

    def count_messages(self, stream: str, number: int) -> None:
        """Count messages that are done."""
        self.messages += number
        self._messages.labels(stream).inc(number)

    def count_events(self, status: str, number: int) -> None:
        """Count events that are answered."""
        self._counts[status] += number
        self._events.labels(status).inc(number)

    def show_lag(self, lag: Mapping[str, int]) -> None:
        """Show what lies ahead, by stream; of streams that are gone nothing any more."""
        self._lag.clear()
        for stream, messages in lag.items():
            self._lag.labels(stream).set(messages)
        self._ahead = sum(lag.values())

    def line(self) -> str:
        """All of it in a line."""
        counts = ", ".join(f"{self._counts[status]:,} {status}" for status in STATUSES)
        return f"{self.messages:,} messages done: {counts}; {self._ahead:,} ahead"
