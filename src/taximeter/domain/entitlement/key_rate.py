"""How fast an API key may ask: a bucket that fills at an even rate.

Owns the arithmetic of the bucket. Time is a monotonic clock's, in nanoseconds; whose bucket it is
and where it is kept is the caller's business.
"""

from dataclasses import dataclass
from datetime import timedelta

from taximeter.domain.catalog.entitlement import RatePer
from taximeter.domain.entitlement.rate import RATE_STEPS

REQUESTS_MAX = 1_000_000
BYTES_PER_REQUEST = 4_096


@dataclass(frozen=True, slots=True)
class KeyRate:
    """At most `requests` at once, and as many again in each second, minute or hour."""

    requests: int
    per: RatePer

    def __post_init__(self) -> None:
        assert 0 < self.requests <= REQUESTS_MAX, "a key may ask at least once"

    def admit(self, full_at: int, now: int, body_bytes: int) -> tuple[int, int]:
        """Whether a request passes at `now`, where the bucket is full again at `full_at`: when it
        will be full then, and how many nanoseconds to wait for the request (0: it passes). Each
        begun 4 KiB of body count as a request, but no request counts more than the whole bucket.
        """
        span = RATE_STEPS[self.per] // timedelta(microseconds=1) * 1_000
        interval = span // self.requests
        weight = min(max(1, -(-body_bytes // BYTES_PER_REQUEST)), self.requests)
        empty = now + self.requests * interval  # no emptier, also after a slower rate
        after = min(max(full_at, now), empty) + weight * interval
        wait = after - empty
        return (after, 0) if wait <= 0 else (full_at, wait)
