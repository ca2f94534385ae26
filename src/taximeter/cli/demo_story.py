"""What the demo does, by the API alone, as anybody would: three customers, five weeks, a close.

Owns the cast and the order of the story. Usage is demo_usage.py's, what is shown of it
demo_print.py's. Time is the sandbox's: it moves on with the usage, so that periods close by
themselves on the way.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from taximeter.cli.api import Api, refused, segment
from taximeter.cli.demo_usage import PROFILES, Profile, event_of, usage_between
from taximeter.cli.plan_folder import plan_folder
from taximeter.cli.terminal import fail
from taximeter.kernel.times import format_instant, parse_instant, to_utc

START = datetime(2025, 12, 31, 23, tzinfo=UTC)  # midnight in Paris, where the year begins first
END = datetime(2026, 2, 5, 10, 30, tzinfo=UTC)
NEW_YEAR = datetime(2026, 1, 1)
BATCH = 1_000
PLANS = ("demo-tokens.yaml", "demo-hybrid.yaml", "demo-credits.yaml")
FEATURED = "nimbus"
EVENTS_EXPLAINED = 3
TRICKLE_S = 1.0
_BATCH_TYPE = {"Content-Type": "application/cloudevents-batch+json"}

METERS: Mapping[str, Mapping[str, Any]] = {
    "input_tokens": {
        "event_type": "llm.completion", "aggregation": "sum", "value": "input_tokens",
        "dimensions": ["model"], "unit": "tokens", "name": "Input tokens",
        "description": "Tokens that a model read",
    },
    "output_tokens": {
        "event_type": "llm.completion", "aggregation": "sum", "value": "output_tokens",
        "dimensions": ["model"], "unit": "tokens", "name": "Output tokens",
        "description": "Tokens that a model wrote, its reasoning among them",
    },
    "replies": {
        "event_type": "assistant.reply", "aggregation": "count", "unit": "replies",
        "name": "Assistant replies", "description": "Answers that the assistant sent",
    },
}  # fmt: skip
CUSTOMERS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "nimbus": ("Nimbus Code", "demo-tokens", {}),
    "harbor": ("Harbor Support", "demo-hybrid", {"seats": "8"}),
    "pixelpost": ("Pixel Post", "demo-credits", {}),
}
GRANTS: Sequence[Mapping[str, Any]] = (
    {"customer": "pixelpost", "asset": "credits", "amount": "2000", "kind": "promotional",
     "priority": 10, "expires_at": "2026-03-01T00:00:00Z"},
    {"customer": "pixelpost", "asset": "credits", "amount": "10000", "kind": "paid",
     "cost_basis": {"amount": "10.00", "asset": "USD"}},
)  # fmt: skip


class Stopped(Exception):
    """The story was told to stop."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded, and how long the server took for it."""

    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demo shows of a finalized invoice: the document, a line, and three events of it."""

    invoices: Sequence[Mapping[str, Any]]
    invoice: Mapping[str, Any]
    line: Mapping[str, Any]
    explanation: Mapping[str, Any]


def plan_files() -> list[Path]:
    """The demo's plans."""
    return [plan_folder() / name for name in PLANS]


def set_up(api: Api) -> None:
    """Publish meters and plans; create customers, their subscriptions and their credit."""
    from taximeter.cli.plan_file import read_plan_file

    for key, meter in METERS.items():
        api.put(f"/v1/meters/{key}", meter)
    for file in plan_files():
        for checked in read_plan_file(file).plans:
            api.put(f"/v1/plans/{segment(checked.plan.key)}", checked.document.body)
    zones = {profile.customer: profile.timezone for profile in PROFILES}
    for key, (name, plan, quantities) in CUSTOMERS.items():
        zone = zones[key]
        body = {"name": name, "currency": "USD", "timezone": zone, "enforcement": "soft"}
        api.put(f"/v1/customers/{key}", body)
        begins = format_instant(to_utc(NEW_YEAR, zone))
        api.post(
            "/v1/subscriptions",
            {"customer": key, "plan": plan, "starts_at": begins, "quantities": quantities},
        )
    for grant in GRANTS:
        api.post("/v1/grants", grant)


def load(api: Api, stop: threading.Event, show: Callable[[int, datetime], None]) -> Loaded:
    """Send five weeks of usage in batches and let the clock follow. `show` is told how many events
    are in and where the clock is. Raises `Stopped`.
    """
    count, seconds = 0, 0.0
    for batch, until in _batches():
        if stop.is_set():
            raise Stopped
        advance(api, until)
        began_s = time.monotonic()
        send(api, batch)
        seconds += time.monotonic() - began_s
        count += len(batch)
        show(count, until)
    advance(api, END)
    return Loaded(count, seconds)


def _batches() -> Iterator[tuple[list[dict[str, Any]], datetime]]:
    """Batches by time, none across the end of a day or of anybody's month; and when each ends."""
    starts = sorted({to_utc(NEW_YEAR, profile.timezone) for profile in PROFILES})
    closes = {_months_later(profile) for profile in PROFILES}
    days = {START + timedelta(days=day) for day in range(1, (END - START).days + 1)}
    bounds = sorted({START, *starts, *closes, *days, END})
    for begin, end in pairwise(bounds):
        events = merge(
            *(
                usage_between(one, max(begin, to_utc(NEW_YEAR, one.timezone)), end)
                for one in PROFILES
            ),
            key=lambda event: str(event["time"]),
        )
        while batch := list(islice(events, BATCH)):
            last = parse_instant(batch[-1]["time"])
            assert last is not None
            yield batch, last


def _months_later(profile: Profile) -> datetime:
    return to_utc(NEW_YEAR.replace(month=2), profile.timezone)


def advance(api: Api, to: datetime) -> None:
    """Move the test clock on."""
    api.post("/v1/test_clock/advance", {"to": format_instant(to)})


def clock_of(api: Api) -> datetime:
    """What the test clock shows."""
    at = parse_instant(str(api.get("/v1/test_clock")["now"]))
    assert at is not None, "the API answers instants"
    return at


def send(api: Api, events: Sequence[Mapping[str, Any]]) -> None:
    """Send one batch; every event must be plainly accepted. Raises `Refused`."""
    response = api.post_events(json.dumps(list(events)).encode(), _BATCH_TYPE)
    if not response.is_success:
        raise refused(response)
    answer = response.json()
    if answer["accepted"] + answer["duplicates"] != len(events):
        fail(f"The demo's own usage was not taken: {answer['results'][:1]}. Try --fresh.")


def closed_month(api: Api) -> Shown:
    """The featured customer's invoice for January, and its largest line explained."""
    found = api.get("/v1/invoices", customer=FEATURED, status="open")["data"]
    everyone = api.get("/v1/invoices")["data"]
    if not found:
        fail("January has not closed. Start over with --fresh.")
    invoice = found[0]
    usage = [line for line in invoice["lines"] if line["meter"]]
    # Amounts of one currency have the same number of decimals: the longest is the largest.
    line = max(usage, key=lambda one: (len(one["amount"]), one["amount"]))
    explanation = api.get(
        f"/v1/invoices/{invoice['id']}/lines/{line['id']}/explain", limit=str(EVENTS_EXPLAINED)
    )
    return Shown(everyone, invoice, line, explanation)


def trickle(api: Api, stop: threading.Event) -> None:
    """Let the clock run with real time and usage come in, until `stop`."""
    at, last_s = clock_of(api), time.monotonic()
    number = 0
    while not stop.wait(TRICKLE_S):
        now_s = time.monotonic()
        at += timedelta(microseconds=int((now_s - last_s) * 1_000_000))
        last_s = now_s
        advance(api, at)
        send(api, list(_moment(at, number)))
        number += 1


def _moment(at: datetime, number: int) -> Iterator[dict[str, Any]]:
    """What happens within one second: something at the largest, now and then one elsewhere."""
    counts = (number % 3, number % 10 // 9, number % 60 // 59)
    for profile, count in zip(PROFILES, counts, strict=True):
        for index in range(count):
            yield event_of(profile, f"live-{at:%m%d%H%M%S}-{at.microsecond:06d}-{index}", at)
