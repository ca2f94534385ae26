"""What an instance counts about itself, for Prometheus.

Owns names and labels. Labels take few values: no customer, no id, no path as it was sent.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from math import isinf

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
BOUNDS_S = Histogram.DEFAULT_BUCKETS  # the last one is infinite
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one process, in a registry of their own. Every request counts, so counting is
    an addition; what they come to is put together when it is asked for.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counts = _Counts()
        self._registry.register(self._counts)
        self._watched = False

    def watch(
        self,
        waiting: Callable[[], int],
        commits: Callable[[], int],
        differing: Callable[[], int],
        completed_at: Callable[[], datetime | None],
        overdue: Callable[[], int],
    ) -> None:
        """Show how many events wait to be committed and how often was committed; how many
        customers' books differ, and when the last round of their check was completed; of how many
        sources the heartbeat is overdue.
        """
        if not self._watched:
            self._registry.register(_Ingest(waiting, commits))
            self._registry.register(_Books(differing, completed_at))
            self._registry.register(_Sources(overdue))
            self._watched = True

    def count_events(self, accepted: int, others: Sequence[str]) -> None:
        """Count the events of one request: those accepted, and the status of each other one."""
        events = self._counts.events
        events["accepted"] += accepted
        for status in others:
            events[status] = events.get(status, 0) + 1

    def count_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; `route` is the template that it matched, if any."""
        key = (method if method in METHODS else "other", route or "none", status)
        times = self._counts.requests.get(key)
        if times is None:
            times = self._counts.requests[key] = _Times()
        times.add(seconds)

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _Times:
    """How many requests took at most how long, by the bounds of the histogram."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * len(BOUNDS_S)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one request."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds


class _Counts(Collector):
    def __init__(self) -> None:
        self.events = {"accepted": 0}
        self.requests: dict[tuple[str, str, int], _Times] = {}

    def collect(self) -> Iterator[Metric]:
        """What was counted since the start."""
        events = CounterMetricFamily(
            "taximeter_events", "Events taken in, by what became of them.", labels=["status"]
        )
        for status, count in self.events.items():
            events.add_metric([status], count)
        yield events
        requests = HistogramMetricFamily(
            "taximeter_request_seconds", "Time from a request to the end of its answer.",
            labels=["method", "route", "status"],
        )  # fmt: skip
        for (method, route, answered), times in self.requests.items():
            sums = zip(BOUNDS_S, accumulate(times.buckets), strict=True)
            buckets = [("+Inf" if isinf(bound) else str(bound), count) for bound, count in sums]
            requests.add_metric([method, route, str(answered)], buckets, times.seconds)
        yield requests


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


class _Sources(Collector):
    def __init__(self, overdue: Callable[[], int]) -> None:
        self._overdue = overdue

    def collect(self) -> Iterator[Metric]:
        """The figure of the last minute."""
        yield GaugeMetricFamily(
            "taximeter_sources_overdue", "Sources whose heartbeat is overdue.", self._overdue()
        )
