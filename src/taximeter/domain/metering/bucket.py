"""Buckets: the hours, days or months of which a meter takes its maximum, minimum or last apart.

Owns where they begin and how a total names them. A meter's quantity is the sum of what its buckets
come to; a price rates each on its own.
"""

from datetime import datetime

from taximeter.domain.catalog.meter import Bucket, Meter
from taximeter.domain.metering.reserved import BUCKET
from taximeter.domain.metering.window import HOUR, floor_hour, window_at, windows_in
from taximeter.kernel.times import Period, format_instant


def names_of(meter: Meter) -> tuple[str, ...]:
    """The dimensions by which a meter keeps usage apart, whatever prices it."""
    return meter.dimensions if meter.bucket is None else (*meter.dimensions, BUCKET)


def bucket_of(bucket: Bucket, timezone: str, at: datetime) -> str:
    """The bucket that contains the instant `at`, as the dimension names it: by its start. Hours are
    UTC's, days and months those of the `timezone`.
    """
    start = floor_hour(at) if bucket == "hour" else window_at(bucket, timezone, at).start
    return format_instant(start)


def buckets_after(bucket: Bucket, timezone: str, at: datetime, until: datetime) -> int:
    """How many buckets follow the one that contains `at`, and begin before `until`."""
    if bucket == "hour":
        first = floor_hour(at) + HOUR
        return max(0, -((first - until) // HOUR))
    first = window_at(bucket, timezone, at).end
    return (
        sum(1 for _ in windows_in(bucket, timezone, Period(first, until))) if first < until else 0
    )
