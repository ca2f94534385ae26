"""Phases as they inherit, ramps, trials, pauses: what a change makes of what was planned."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.catalog.deal import Overrides
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import FlatPrice, Plan
from taximeter.domain.subscription.begin import (
    Beginning,
    PlannedPhase,
    calendar_anchor,
    first_phases,
)
from taximeter.domain.subscription.change import cancel, change, pause, resume
from taximeter.domain.subscription.charges import boundaries
from taximeter.domain.subscription.subscription import Said, Subscription, segment_at
from taximeter.kernel.errors import Invalid, InvalidState
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import PeriodUnit, anchor_at, parse_duration
from tests.unit.subscription_values import bill, short, utc

USAGE = {"key": "calls", "type": "usage", "meter": "calls", "model": "per_unit", "unit": "1"}


def fees(amount: str, *others: Mapping[str, object], **fields: Any) -> Plan:
    """A plan with a monthly fee, and what is given beside it."""
    version = fields.pop("version", 1)
    prices = [{"key": "fee", "type": "flat", "amount": amount}, *others]
    body = {"key": "p", "currency": "USD", "period": "month", "prices": prices, **fields}
    return parse_plan(body, version=version)


SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20"}


def begin(
    plan: Plan,
    *planned: tuple[str, Said],
    start: str = "2026-01-01",
    timezone: str = "UTC",
    ends_at: str | None = None,
    seats: int | None = None,
    overrides: Overrides | None = None,
    trial_days: int | None = None,
) -> Subscription:
    at, end = utc(start), None if ends_at is None else utc(ends_at)
    phases = []
    for after, said in planned:
        duration = parse_duration(after)
        assert duration is not None
        phases.append(PlannedPhase(duration, said))
    counts = {} if seats is None else {"seats": Decimal(seats)}
    beginning = Beginning(at, end, plan, counts, overrides or {}, trial_days, phases)
    return Subscription(
        *("sub_1", None, "acme", anchor_at(at, timezone), at, end, 30, at),
        first_phases(beginning, timezone),
    )


def shown(it: Subscription) -> list[tuple[str, str]]:
    """Of each phase: when it starts, and the fee or what else it is."""
    found = []
    for phase in it.phases:
        fee = phase.plan.price("fee")
        text = format_decimal(fee.amount) if isinstance(fee, FlatPrice) else "none"
        text = "paused" if phase.deal.paused else "trial" if phase.deal.trial else text
        found.append((short(phase.starts_at), text))
    return found


def adjust(percent: str) -> Said:
    return Said(adjust_percent=Decimal(percent))


def test_phases_count_from_the_start_on_the_calendar() -> None:
    it = begin(fees("10"), ("P1M", adjust("1")), ("P2M", adjust("1")), start="2026-01-31")
    assert [short(phase.starts_at) for phase in it.phases] == [
        "2026-01-31", "2026-02-28", "2026-03-31",
    ]  # fmt: skip
    # Midnight in New York, before and after clocks change on 8 March.
    it = begin(
        fees("10"), ("P3M", adjust("1")), start="2026-01-01T05:00", timezone="America/New_York"
    )
    assert short(it.phases[1].starts_at) == "2026-04-01T04:00"


@pytest.mark.parametrize(
    ("planned", "path", "code"),
    [
        ([("P2M", adjust("1")), ("P1M", adjust("1"))], "phases[1].after", "phase_order"),
        ([("P1M", adjust("1")), ("P1M", adjust("1"))], "phases[1].after", "phase_order"),
        ([("P1Y", adjust("1"))], "phases[0].after", "too_late"),
        (
            [("P1M", Said(overrides={"fee": {"amount": "x"}}))],
            "phases[0].overrides.fee.amount",
            "invalid_number",
        ),
        (
            [("P1M", adjust("1")), ("P2M", Said(quantities={"seats": Decimal(1)}))],
            "phases[1].quantities.seats",
            "unknown_price",
        ),
        ([("P1M", Said(plan=fees("1", currency="EUR")))], "phases[0].plan", "currency_mismatch"),
    ],
)
def test_phases_that_do_not_fit_are_named(
    planned: list[tuple[str, Said]], path: str, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        begin(fees("10"), *planned, ends_at="2027-01-01")
    assert [(error.path, error.code) for error in caught.value.errors] == [(path, code)]


def test_a_change_reaches_later_phases_in_what_they_do_not_say() -> None:
    plan = fees("10", SEATS)
    seven = Said(quantities={"seats": Decimal(7)})
    it = begin(plan, ("P2M", adjust("10")), ("P3M", seven), seats=5)
    it = change(it, at=utc("2026-01-15"), quantities={"seats": Decimal(8)}, proration="by_day")
    assert [phase.quantities["seats"] for phase in it.phases] == [5, 8, 8, 7]
    own: Overrides = {"fee": {"amount": "50"}}
    it = change(it, at=utc("2026-02-01"), overrides=own, proration="by_day")
    # From February 50, and from March 10% more than that.
    assert shown(it)[2:] == [("2026-02-01", "50"), ("2026-03-01", "55"), ("2026-04-01", "55")]
    it = change(it, at=utc("2026-03-15"), overrides={}, proration="by_day")
    assert shown(it)[3:] == [("2026-03-01", "55"), ("2026-03-15", "11"), ("2026-04-01", "11")]


def test_another_plan_ends_adjustments_and_another_version_keeps_them() -> None:
    it = begin(fees("10"), ("P2M", adjust("10")), ("P3M", Said(plan=fees("7", key="c"))))
    version = change(it, at=utc("2026-01-15"), plan=fees("20", version=2), proration="by_day")
    assert shown(version)[1:] == [("2026-01-15", "20"), ("2026-03-01", "22"), ("2026-04-01", "7")]
    other = change(it, at=utc("2026-01-15"), plan=fees("20", key="b"), proration="by_day")
    assert shown(other)[1:] == [("2026-01-15", "20"), ("2026-04-01", "7")]
    late = change(it, at=utc("2026-03-15"), plan=fees("20", key="b"), proration="by_day")
    assert shown(late)[1:] == [("2026-03-01", "11"), ("2026-03-15", "20"), ("2026-04-01", "7")]


def test_a_planned_number_of_seats_survives_a_plan_that_has_them() -> None:
    seven = Said(quantities={"seats": Decimal(7)})
    it = begin(fees("10", SEATS), ("P3M", seven), seats=5)
    with_seats = change(
        it, at=utc("2026-02-01"), plan=fees("9", SEATS, key="b"), proration="by_day"
    )
    assert [phase.quantities for phase in with_seats.phases][1:] == [{"seats": 5}, {"seats": 7}]
    without = change(it, at=utc("2026-02-01"), plan=fees("9", key="b"), proration="by_day")
    assert shown(without) == [("2026-01-01", "10"), ("2026-02-01", "9")]


def test_seats_come_back_after_a_plan_without_them() -> None:
    plan = fees("10", SEATS)
    it = begin(plan, ("P1M", Said(plan=fees("9", key="b"))), ("P2M", Said(plan=plan)), seats=5)
    assert [phase.quantities for phase in it.phases] == [{"seats": 5}, {}, {"seats": 5}]


def test_an_override_cuts_only_the_segment_of_its_price() -> None:
    other = {**USAGE, "key": "other"}
    own: Overrides = {"calls": {"unit": "2"}}
    it = begin(fees("10", USAGE, other))
    it = change(it, at=utc("2026-01-10"), overrides=own, proration="by_day")
    it = change(it, at=utc("2026-01-20"), overrides={**own}, proration="by_day")
    assert len(it.phases) == 2  # what is there already changes nothing
    spans = {}
    for key in ("calls", "other"):
        segment = segment_at(it, key, utc("2026-01-15"))
        assert segment is not None
        spans[key] = (short(segment.span.start), short(segment.span.end))
    assert spans == {"calls": ("2026-01-10", "2026-02-01"), "other": ("2026-01-01", "2026-02-01")}


def test_a_trial_ends_at_its_local_hour() -> None:
    plan = fees("10", trial_days=14)
    it = begin(plan, start="2026-03-01T05:00", timezone="America/New_York")
    assert shown(it) == [("2026-03-01T05:00", "trial"), ("2026-03-15T04:00", "10")]
    assert shown(begin(plan, trial_days=0)) == [("2026-01-01", "10")]
    assert shown(begin(plan, ends_at="2026-01-10")) == [("2026-01-01", "trial")]


def test_a_phase_may_begin_in_a_trial_or_with_its_end() -> None:
    plan = fees("10", trial_days=14)
    it = begin(plan, ("P7D", adjust("10")), ("P14D", adjust("10")))
    assert shown(it) == [
        ("2026-01-01", "trial"), ("2026-01-08", "trial"), ("2026-01-15", "12.1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("period", "days", "found"),
    [
        ("month", 14, ["2026-01-15", "2026-02-01", "2026-03-01"]),
        ("month", 31, ["2026-02-01", "2026-03-01"]),  # both at once
        ("week", 10, ["2026-01-08", "2026-01-11", "2026-01-15", "2026-01-22"]),
        ("month", 0, ["2026-01-01", "2026-02-01", "2026-03-01"]),
    ],
)
def test_the_end_of_a_trial_is_a_boundary(period: str, days: int, found: list[str]) -> None:
    it = begin(fees("10", period=period, trial_days=days))
    until = "2026-01-22" if period == "week" else "2026-03-01"
    assert [short(at) for at in boundaries(it, None, utc(until))] == found


def test_a_trial_without_fees_has_no_boundary_of_its_own() -> None:
    it = begin(fees("0", USAGE, trial_days=14))
    assert [short(at) for at in boundaries(it, None, utc("2026-02-01"))] == ["2026-02-01"]


def paused(it: Subscription, at: str, until: str | None = None) -> Subscription:
    end = None if until is None else utc(until)
    return pause(it, at=utc(at), until=end, proration="by_day")


def resumed(it: Subscription, at: str) -> Subscription:
    return resume(it, at=utc(at), proration="by_day")


def test_a_pause_credits_what_is_unused() -> None:
    it = paused(begin(fees("31.00")), "2026-01-11", "2026-01-21")
    assert shown(it) == [("2026-01-01", "31"), ("2026-01-11", "paused"), ("2026-01-21", "31")]
    # 21 of 31 days back, 11 of 31 again, and February
    assert bill(it, "2026-02-01") == [
        ("-21.00", "2026-01-11", "2026-02-01"),
        ("11.00", "2026-01-21", "2026-02-01"),
        ("31.00", "2026-02-01", "2026-03-01"),
    ]


def test_what_is_planned_goes_on_under_a_pause() -> None:
    it = paused(begin(fees("10"), ("P2M", adjust("10"))), "2026-02-15", "2026-03-15")
    assert shown(it) == [
        ("2026-01-01", "10"), ("2026-02-15", "paused"), ("2026-03-01", "paused"),
        ("2026-03-15", "11"),
    ]  # fmt: skip
    it = resumed(it, "2026-02-20")
    assert shown(it)[2:] == [("2026-02-20", "10"), ("2026-03-01", "11")]


def test_a_pause_in_a_trial_does_not_prolong_it() -> None:
    it = paused(begin(fees("10", trial_days=14)), "2026-01-05", "2026-01-10")
    assert [text for _, text in shown(it)] == ["trial", "paused", "trial", "10"]


@pytest.mark.parametrize("at", ["2026-02-01", "2026-02-05", "2026-01-20"])
def test_a_subscription_is_paused_once(at: str) -> None:
    it = paused(begin(fees("10")), "2026-02-01", "2026-02-10")
    with pytest.raises(InvalidState):
        paused(it, at)
    assert len(paused(it, "2026-02-10").phases) == 3  # after it, again: it goes on


def test_what_is_not_paused_is_not_resumed() -> None:
    it = paused(begin(fees("10")), "2026-02-01", "2026-02-10")
    for at in ("2026-01-31", "2026-02-10"):
        with pytest.raises(InvalidState):
            resumed(it, at)
    assert {text for _, text in shown(resumed(it, "2026-02-01"))} == {"10"}


@pytest.mark.parametrize(
    ("at", "until", "path", "code"),
    [
        ("2025-12-31", None, "at", "too_early"),
        ("2026-01-10", None, "at", "too_early"),  # invoiced
        ("2026-02-01", "2026-02-01", "until", "too_early"),
        ("2026-02-01", "2026-06-01", "until", "too_late"),
    ],
)
def test_a_pause_that_does_not_fit_is_refused(
    at: str, until: str | None, path: str, code: str
) -> None:
    it = begin(fees("10"), ends_at="2026-06-01")
    end: datetime | None = None if until is None else utc(until)
    with pytest.raises(Invalid) as caught:
        pause(it, at=utc(at), until=end, proration="by_day", closed_until=utc("2026-01-15"))
    assert [(error.path, error.code) for error in caught.value.errors] == [(path, code)]


def test_what_is_over_is_not_paused() -> None:
    it = cancel(begin(fees("10")), utc("2026-02-01"), made_at=utc("2026-01-10"))
    with pytest.raises(InvalidState):
        paused(it, "2026-02-01")


def test_a_cancel_drops_what_was_planned() -> None:
    it = paused(begin(fees("10"), ("P3M", adjust("10"))), "2026-02-10", "2026-03-10")
    it = cancel(it, utc("2026-02-20"), made_at=utc("2026-02-15"))
    assert shown(it) == [("2026-01-01", "10"), ("2026-02-10", "paused")]


@pytest.mark.parametrize(
    ("unit", "local"),
    [
        ("day", "2026-05-20"),
        ("week", "2026-05-18"),
        ("month", "2026-05-01"),
        ("quarter", "2026-04-01"),
        ("year", "2026-01-01"),
    ],
)
def test_the_calendar_s_anchor(unit: PeriodUnit, local: str) -> None:
    # Wednesday 20 May, 22:30 in New York
    anchor = calendar_anchor(utc("2026-05-21T02:30"), unit, "America/New_York")
    assert anchor.local == datetime.fromisoformat(local)


def test_phases_are_bounded() -> None:
    with pytest.raises(Invalid) as caught:
        begin(fees("10"), *[(f"P{n}M", adjust("1")) for n in range(1, 101)])
    assert caught.value.errors[0].code == "too_many"
