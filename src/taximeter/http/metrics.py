"""What an instance counts about itself, for Prometheus.

Owns names and labels. Labels take few values: no customer, no id, no path as it was sent.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            "taximeter_events", "Events taken in, by what became of them.",
            ["status"], registry=self._registry,
        )  # fmt: skip
        self._requests = Histogram(
            "taximeter_request_seconds", "Time from a request to the end of its answer.",
            ["method", "route", "status"], registry=self._registry,
        )  # fmt: skip
        self._accepted = self._events.labels("accepted")
        self._observed: dict[tuple[str, str, int], Histogram] = {}
        self._watched = False

    def watch(
        self,
        waiting: Callable[[], int],
        commits: Callable[[], int],
        differing: Callable[[], int],
        completed_at: Callable[[], datetime | None],
    ) -> None:
        """Show how many events wait to be committed and how often was committed; how many
        customers' books differ, and when the last round of their check was completed.
        """
        if not self._watched:
            self._registry.register(_Ingest(waiting, commits))
            self._registry.register(_Books(differing, completed_at))
            self._watched = True

    def count_events(self, accepted: int, others: Iterable[str]) -> None:
        """Count the events of one request: those accepted, and the status of each other one."""
        self._accepted.inc(accepted)
        for status, number in Tally(others).items():
            self._events.labels(status).inc(number)

    def count_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; `route` is the template that it matched, if any."""
        key = (method if method in METHODS else "other", route or "none", status)
        observed = self._observed.get(key)
        if observed is None:
            observed = self._observed[key] = self._requests.labels(key[0], key[1], str(status))
        observed.observe(seconds)

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _Ingest(Collector):
    def __init__(self, waiting: Callable[[], int], commits: Callable[[], int]) -> None:
        self._waiting = waiting
        self._commits = commits

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        yield GaugeMetricFamily(
            "taximeter_events_waiting", "Events that wait to be committed.", self._waiting()
        )
        yield CounterMetricFamily(
            "taximeter_commits", "Group commits of events since the start.", self._commits()
        )


class _Books(Collector):
    def __init__(
        self, differing: Callable[[], int], completed_at: Callable[[], datetime | None]
    ) -> None:
        self._differing = differing
        self._completed_at = completed_at

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment; no time before a round is complete."""
        yield GaugeMetricFamily(
            "taximeter_books_differing", "Customers whose books differ from their entries.",
            self._differing(),
        )  # fmt: skip
        completed_at = self._completed_at()
        if completed_at is not None:
            yield GaugeMetricFamily(
                "taximeter_books_checked_timestamp_seconds",
                "When the books of all customers had last been checked.",
                completed_at.timestamp(),
            )
