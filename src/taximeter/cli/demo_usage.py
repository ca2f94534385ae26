"""The usage that the demo shows: lifelike, and the same every time.

Owns who uses how much when: a day and a week have their rhythm, one customer has a busy
afternoon, and customers differ a hundredfold. Drawn from digests of the event's name, so that no
source of chance is needed; all numbers are whole.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from taximeter.kernel.times import format_instant, to_local

SOURCE = "demo"
HOUR = timedelta(hours=1)
_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 8, 15, 22, 26, 27, 22, 24, 28, 27, 24, 18, 12, 9, 8, 7, 5, 3)
_BY_WEEKDAY = (100, 108, 112, 106, 92, 34, 28)
_DAY_PARTS = sum(_BY_HOUR) * 100
_SCALE = 1 << 16


@dataclass(frozen=True, slots=True)
class Profile:
    """How a customer uses the product. `models` have shares that add up to 100; `spike` is a span
    in which usage is `spike_factor` times as much.
    """

    customer: str
    type: str
    timezone: str
    events_a_day: int
    models: Sequence[tuple[str, int]]
    input_max: int
    output_max: int
    spike: tuple[datetime, datetime] | None = None
    spike_factor: int = 1


PROFILES = (
    Profile(
        "nimbus", "llm.completion", "UTC", 2_450,
        (("gpt-5.2", 46), ("gpt-5-mini", 36), ("claude-sonnet-4-5", 18)), 18_000, 2_400,
        spike=(datetime(2026, 1, 20, 13, tzinfo=UTC), datetime(2026, 1, 20, 17, tzinfo=UTC)),
        spike_factor=6,
    ),
    Profile(
        "harbor", "assistant.reply", "America/New_York", 265, (("gpt-5-mini", 100),), 9_000, 900,
    ),
    Profile(
        "pixelpost", "llm.completion", "Europe/Paris", 26, (("gpt-5.2", 60), ("gpt-5-mini", 40)),
        8_000, 1_500,
    ),
)  # fmt: skip


def usage_between(profile: Profile, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """The customer's events in [start, end), by time."""
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        for number, offset in enumerate(_offsets(profile, hour)):
            at = hour + timedelta(milliseconds=offset)
            if start <= at < end:
                yield event_of(profile, f"req-{hour:%m%d%H}-{number:04d}", at)
        hour += HOUR


def event_of(profile: Profile, event_id: str, at: datetime) -> dict[str, Any]:
    """The event of this id: its model and tokens follow from the id."""
    draws = _draws(f"{profile.customer}/{event_id}")
    size, length, share = draws[0], draws[1], draws[2] * 100 // _SCALE
    model = profile.models[-1][0]
    for name, part in profile.models:
        if share < part:
            model = name
            break
        share -= part
    # The cube of an even draw: many short requests, a few long ones.
    tokens_in = 180 + profile.input_max * size**3 // _SCALE**3
    tokens_out = 12 + profile.output_max * length**2 // _SCALE**2
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": profile.type,
        "subject": profile.customer,
        "time": format_instant(at),
        "data": {"model": model, "input_tokens": tokens_in, "output_tokens": tokens_out},
    }


def _offsets(profile: Profile, hour: datetime) -> list[int]:
    """When within an hour its events are, in milliseconds."""
    local = to_local(hour, profile.timezone)
    parts = profile.events_a_day * _BY_HOUR[local.hour] * _BY_WEEKDAY[local.weekday()]
    if profile.spike is not None and profile.spike[0] <= hour < profile.spike[1]:
        parts *= profile.spike_factor
    name = f"{profile.customer}/{hour:%Y%m%d%H}"
    jitter, rest, *_ = _draws(name)
    parts = parts * (80 * _SCALE + 40 * jitter) // (100 * _SCALE)  # 80% to 120% of it
    count, left = divmod(parts, _DAY_PARTS)
    count += rest * _DAY_PARTS // _SCALE < left
    found = []
    for number in range(0, count, 16):
        found += [3_600_000 * draw // _SCALE for draw in _draws(f"{name}/{number}")]
    return sorted(found[:count])


def _draws(name: str) -> list[int]:
    """Sixteen even draws from 0 to 65,535 that belong to a name."""
    digest = hashlib.blake2b(name.encode(), digest_size=32).digest()
    return [int.from_bytes(digest[at : at + 2], "big") for at in range(0, 32, 2)]
