"""Routes of sources: their heartbeats, and the report of what has arrived."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from taximeter.domain.metering.completeness import Delays, Heartbeats, Numbers, SourceCompleteness
from taximeter.http.fields import LIMIT, Body, Cursor, CustomerKey, Instant, Limit, Name, instant
from taximeter.http.server import Ingester, Reader, ok, page_json
from taximeter.services import sources
from taximeter.services.sources import CompletenessQuery, Heartbeat

router = APIRouter(prefix="/v1", tags=["Sources"])
LATE_AFTER_S = 3600
SECONDS_MAX = 366 * 24 * 3600
SourcePath = Annotated[Name, Path(description="The source, as its events name it")]


class HeartbeatBody(Body):
    """What a source says of itself at `at`: that it has sent `sent` events with a time before it,
    in all since it began. Without a word for `silence_after_s` it is silent.
    """

    customer: Annotated[
        CustomerKey | None, Field(description="Whose events are counted; all if left out")
    ] = None
    sent: Annotated[int, Field(ge=0, lt=2**53, strict=True)]
    at: Annotated[Instant | None, Field(description="Now, if left out")] = None
    silence_after_s: Annotated[int | None, Field(ge=1, le=SECONDS_MAX, strict=True)] = None


class CompletenessParameters(Body):
    """Which sources, and events of which time, are asked about."""

    customer: Annotated[CustomerKey | None, Field(description="All customers if left out")] = None
    source: Name | None = None
    start: Annotated[
        Instant | None, Field(alias="from", description="24 hours ago, if left out")
    ] = None
    end: Annotated[
        Instant | None,
        Field(alias="to", description="24 hours ahead if left out, as far as times may be"),
    ] = None
    late_after_s: Annotated[
        int, Field(ge=0, le=SECONDS_MAX, description="What came longer after its time is late")
    ] = LATE_AFTER_S
    limit: Limit = LIMIT
    cursor: Cursor = None


def seconds(span: timedelta) -> str:
    """A span of time in seconds, to the millisecond."""
    whole = span // timedelta(milliseconds=1)
    sign, (units, rest) = "-" if whole < 0 else "", divmod(abs(whole), 1000)
    return f"{sign}{units}.{rest:03d}".rstrip("0").rstrip(".")


def _heartbeat_json(beat: Heartbeat) -> dict[str, object]:
    return {
        "source": beat.source,
        "customer": beat.customer or None,
        "sent": beat.sent,
        "at": instant(beat.at),
        "silence_after_s": beat.silence_after_s,
        "received_at": instant(beat.received_at),
        "clock_offset_s": seconds(beat.at - beat.received_at),
    }


def _numbers_json(numbers: Numbers) -> dict[str, object]:
    return {
        "first": numbers.first,
        "last": numbers.last,
        "expected": numbers.expected,
        "received": numbers.received,
        "missing": numbers.missing,
        "repeated": numbers.repeated,
        "gaps": [{"first": gap.first, "last": gap.last} for gap in numbers.gaps],
        "complete": numbers.complete,
    }


def _beats_json(beats: Heartbeats) -> dict[str, object]:
    silence_after = beats.silence_after
    return {
        "from": instant(beats.start),
        "to": instant(beats.end),
        "expected": beats.expected,
        "received": beats.received,
        "missing": beats.missing,
        "received_at": instant(beats.received_at),
        "clock_offset_s": seconds(beats.clock_offset),
        "silence_after_s": silence_after // timedelta(seconds=1) if silence_after else None,
    }


def _delays_json(delays: Delays) -> dict[str, object]:
    return {
        "median_s": seconds(delays.median),
        "p95_s": seconds(delays.p95),
        "max_s": seconds(delays.longest),
    }


def completeness_json(one: SourceCompleteness) -> dict[str, object]:
    """A source as answered."""
    return {
        "source": one.source,
        "states": list(one.states),
        "expected": one.expected,
        "received": one.received,
        "missing": one.missing,
        "duplicates": one.duplicates,
        "conflicts": one.conflicts,
        "quarantined": one.quarantined,
        "late": one.late,
        "ahead": {"events": one.ahead, "max_s": seconds(one.ahead_most)},
        "delays": _delays_json(one.delays) if one.delays else None,
        "last_received_at": instant(one.last_received_at),
        "sequence": _numbers_json(one.numbers) if one.numbers else None,
        "heartbeat": _beats_json(one.heartbeats) if one.heartbeats else None,
    }


@router.post("/sources/{source:path}/heartbeat")
async def post_heartbeat(source: SourcePath, body: HeartbeatBody, call: Ingester) -> Response:
    """Say how many events a source has sent, so that what is missing shows, and that it lives, so
    that its silence does. The count never falls.
    """
    customer = body.customer
    if call.caller.customer is not None:
        customer = customer or call.caller.customer
        call.see(customer)
    return await call.write(
        lambda transaction: sources.beat(
            transaction, customer=customer, source=source, at=body.at, sent=body.sent,
            silence_after_s=body.silence_after_s,
        ),
        _heartbeat_json,
    )  # fmt: skip


@router.get("/reports/completeness")
async def read_completeness(
    call: Reader, asked: Annotated[CompletenessParameters, Query()]
) -> Response:
    """Of every source: what was expected and what was received of events with a time from `from` to
    `to` (up to 31 days), what is missing, came again, came late, or waits; `states` names what
    somebody should look at. Numbers (`sequence`) are those of all customers, and left out where one
    is asked about.
    """
    customer = asked.customer
    if call.caller.customer is not None:
        customer = customer or call.caller.customer
        call.see(customer)
    query = CompletenessQuery(
        customer, asked.source, asked.start, asked.end, timedelta(seconds=asked.late_after_s)
    )
    page = await sources.read_completeness(
        call.context, query, limit=asked.limit, cursor=asked.cursor
    )
    return ok(page_json(page, completeness_json))
