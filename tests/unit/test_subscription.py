"""Which price applies when (segments), and what a change or a cancel makes of the phases."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.catalog.plan import FlatPrice, PerUnit, Plan, Price, SeatPrice, UsagePrice
from taximeter.domain.subscription.change import cancel, change
from taximeter.domain.subscription.phases import seat_quantities
from taximeter.domain.subscription.subscription import (
    Phase,
    Proration,
    Segment,
    Subscription,
    segment_at,
    segments_in,
)
from taximeter.kernel.errors import Invalid, InvalidState
from taximeter.kernel.quantity import ONE, ZERO
from taximeter.kernel.times import Anchor, Period, PeriodUnit


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def usage(unit: str, key: str = "out", period: PeriodUnit | None = None) -> UsagePrice:
    model = PerUnit(Decimal(unit), ONE)
    return UsagePrice(
        *(key, key, "USD", "tokens", model, "invoice", period, ZERO),
        discount=None,
        maximum=None,
        minimum=None,
    )


def seats(key: str = "seats") -> SeatPrice:
    return SeatPrice(key, key, "USD", PerUnit(Decimal(20), ONE), "advance", None, None)


FLAT = FlatPrice("base", "base", "USD", Decimal(30), "advance", None, None)


def plan(version: int, *prices: Price, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        **{"key": "p", "version": version, "name": "P", "currency": "USD", "period": "month"},
        **{"prices": prices, "minimum": None, "grace_s": 3600},
    }
    return Plan(**{**values, **changes})


def subscription(
    first: Plan,
    start: str = "2026-01-01",
    quantities: Mapping[str, Decimal] | None = None,
    ends_at: datetime | None = None,
) -> Subscription:
    at = utc(start)
    phase = Phase(at, ends_at, first, quantities or {}, "by_day")
    anchor = Anchor(at.replace(tzinfo=None), "UTC")
    return Subscription("sub_1", None, "acme", anchor, at, ends_at, 30, at, (phase,))


def span(segment: Segment | None) -> tuple[str, str]:
    assert segment is not None
    return str(segment.span.start)[:10], str(segment.span.end)[:10]


V1, V2 = plan(1, usage("75")), plan(2, usage("25"))


def changed(
    before: Subscription, at: str, to: Plan | None = None, proration: Proration = "by_day"
) -> Subscription:
    return change(before, at=utc(at), plan=to, proration=proration)


def test_a_segment_is_cut_where_the_price_changes() -> None:
    # examples.md, T6: 2,000,000 tokens at 75 per million before 15 January, 25 from then on
    it = changed(subscription(V1), "2026-01-15", V2, "none")
    old = segment_at(it, "out", utc("2026-01-14T23:59:59"))
    new = segment_at(it, "out", utc("2026-01-15"))
    assert span(old) == ("2026-01-01", "2026-01-15")
    assert span(new) == ("2026-01-15", "2026-02-01")
    assert old is not None
    assert old.plan == V1
    assert new is not None
    assert new.plan == V2
    assert old.period == new.period == Period(utc("2026-01-01"), utc("2026-02-01"))


def test_a_phase_with_the_same_price_continues_its_segment() -> None:
    first = plan(1, usage("75"), seats())
    it = subscription(first, quantities={"seats": Decimal(5)})
    it = change(it, at=utc("2026-01-10"), quantities={"seats": Decimal(6)}, proration="by_day")
    it = changed(it, "2026-01-20", plan(2, usage("75"), seats()))
    for day in ("2026-01-01", "2026-01-15", "2026-01-25"):
        assert span(segment_at(it, "out", utc(day))) == ("2026-01-01", "2026-02-01")


def test_going_back_to_an_earlier_price_does_not_join_what_lies_between() -> None:
    it = changed(changed(subscription(V1), "2026-01-10", V2), "2026-01-20", plan(3, usage("75")))
    found = list(segments_in(it, Period(utc("2026-01-01"), utc("2026-02-01"))))
    assert [span(segment) for segment in found] == [
        ("2026-01-01", "2026-01-10"),
        ("2026-01-10", "2026-01-20"),
        ("2026-01-20", "2026-02-01"),
    ]


def test_a_price_in_other_periods_is_another_segment() -> None:
    quarterly = plan(2, usage("75"), period="quarter")
    it = changed(subscription(V1), "2026-01-15", quarterly)
    assert span(segment_at(it, "out", utc("2026-01-14"))) == ("2026-01-01", "2026-01-15")
    assert span(segment_at(it, "out", utc("2026-01-15"))) == ("2026-01-15", "2026-04-01")


def test_outside_a_subscription_or_a_price_there_is_no_segment() -> None:
    it = cancel(subscription(V1), utc("2026-01-20"), made_at=utc("2026-01-05"))
    assert segment_at(it, "out", utc("2025-12-31")) is None
    assert segment_at(it, "out", utc("2026-01-20")) is None
    assert segment_at(it, "none", utc("2026-01-10")) is None
    assert span(segment_at(it, "out", utc("2026-01-19"))) == ("2026-01-01", "2026-01-20")


def test_segments_come_by_price_and_then_by_time_each_once() -> None:
    first = plan(1, usage("1", "a"), usage("1", "b", "week"))
    it = changed(subscription(first, "2026-01-05"), "2026-01-15", plan(2, usage("1", "a")))
    found = list(segments_in(it, Period(utc("2026-01-05"), utc("2026-02-06"))))
    assert [(segment.price.key, *span(segment)) for segment in found] == [
        ("a", "2026-01-05", "2026-02-05"),
        ("a", "2026-02-05", "2026-03-05"),
        ("b", "2026-01-05", "2026-01-12"),
        ("b", "2026-01-12", "2026-01-15"),
    ]


def test_a_broken_subscription_cannot_be_made() -> None:
    it = subscription(V1)
    phase = it.phases[0]
    at = it.starts_at
    for ends_at, phases in [
        (None, ()),
        (None, (Phase(utc("2026-01-02"), None, V1, {}, "by_day"),)),
        (None, (phase, Phase(utc("2026-02-01"), None, V1, {}, "by_day"))),
        (utc("2026-02-01"), (phase,)),
    ]:
        with pytest.raises(AssertionError):
            Subscription("sub_1", None, "acme", it.anchor, at, ends_at, 30, at, phases)
    with pytest.raises(AssertionError):
        Phase(utc("2026-01-02"), utc("2026-01-01"), V1, {}, "by_day")


def test_a_change_closes_the_phase_and_opens_another() -> None:
    it = changed(subscription(V1), "2026-01-15", V2, "by_second")
    assert it.phases == (
        Phase(utc("2026-01-01"), utc("2026-01-15"), V1, {}, "by_day"),
        Phase(utc("2026-01-15"), None, V2, {}, "by_second"),
    )


def test_a_change_at_the_start_of_a_phase_replaces_it() -> None:
    it = changed(changed(subscription(V1), "2026-01-15", V2), "2026-01-15", plan(3, usage("5")))
    assert [phase.plan.version for phase in it.phases] == [1, 3]
    it = changed(subscription(V1), "2026-01-01", V2)
    assert [phase.plan.version for phase in it.phases] == [2]


def test_a_change_to_what_is_there_changes_nothing() -> None:
    it = subscription(V1)
    assert changed(it, "2026-01-15", V1) is it


def test_a_change_keeps_what_it_does_not_name_and_the_agreed_end() -> None:
    first = plan(1, seats("a"), seats("b"), FLAT)
    counts = {"a": Decimal(1), "b": Decimal(2)}
    it = subscription(first, quantities=counts, ends_at=utc("2026-06-01"))
    it = change(it, at=utc("2026-01-15"), quantities={"b": Decimal(3)}, proration="by_day")
    assert it.phases[-1].quantities == {"a": Decimal(1), "b": Decimal(3)}
    it = change(it, at=utc("2026-01-16"), plan=plan(2, seats("b")), proration="by_day")
    assert it.phases[-1].quantities == {"b": Decimal(3)}
    assert it.phases[-1].ends_at == it.ends_at == utc("2026-06-01")


@pytest.mark.parametrize(
    ("at", "closed_until", "code"),
    [
        ("2025-12-31", None, "too_early"),  # before the start
        ("2026-02-09", None, None),  # before the change that is there, which stays
        ("2026-02-20", "2026-03-01", "too_early"),  # February is invoiced
        ("2026-03-01", "2026-03-01", "too_early"),  # so is the fee in advance for March
        ("2026-03-01T00:00:01", "2026-03-01", None),
        ("2026-02-20", "2026-02-01", None),  # in the past, of an open period
    ],
)
def test_what_is_invoiced_or_changed_already_stays(
    at: str, closed_until: str | None, code: str | None
) -> None:
    it = changed(subscription(V1), "2026-02-10", V2)
    closed = None if closed_until is None else utc(closed_until)
    if code is None:
        change(it, at=utc(at), plan=V1, proration="by_day", closed_until=closed)
        cancel(it, utc(at), made_at=utc(at), closed_until=closed)
        return
    with pytest.raises(Invalid) as caught:
        change(it, at=utc(at), plan=V1, proration="by_day", closed_until=closed)
    assert [(error.path, error.code) for error in caught.value.errors] == [("at", code)]
    if closed is not None:
        with pytest.raises(Invalid):
            cancel(it, utc(at), made_at=utc(at), closed_until=closed)


def test_a_change_keeps_the_currency() -> None:
    with pytest.raises(Invalid) as caught:
        changed(subscription(V1), "2026-01-15", plan(2, currency="EUR"))
    assert caught.value.errors[0].code == "currency_mismatch"


@pytest.mark.parametrize(
    ("given", "path", "code"),
    [
        ({}, "quantities.seats", "required"),
        ({"seats": Decimal(-1)}, "quantities.seats", "out_of_range"),
        ({"seats": ONE, "base": ONE}, "quantities.base", "unknown_price"),
        ({"seats": ONE, "nope": ONE}, "quantities.nope", "unknown_price"),
    ],
)
def test_seat_prices_need_their_quantities(
    given: Mapping[str, Decimal], path: str, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        seat_quantities(plan(1, FLAT, seats()), given, {})
    assert [(error.path, error.code) for error in caught.value.errors] == [(path, code)]


def test_a_quantity_of_zero_is_a_quantity() -> None:
    assert seat_quantities(plan(1, seats()), {"seats": ZERO}, {}) == {"seats": ZERO}


def test_a_cancel_ends_the_phase_and_drops_what_was_planned_after() -> None:
    it = changed(subscription(V1), "2026-02-10", V2)
    it = cancel(it, utc("2026-02-05"), made_at=utc("2026-02-01"), credit_unused=True)
    assert it.phases == (Phase(utc("2026-01-01"), utc("2026-02-05"), V1, {}, "by_day"),)
    assert (it.ends_at, it.cancelled_at) == (utc("2026-02-05"), utc("2026-02-01"))
    assert it.term_ends_at is None
    assert it.credit_unused


def test_a_cancel_at_the_start_leaves_nothing() -> None:
    it = cancel(subscription(V1), utc("2026-01-01"), made_at=utc("2026-01-01"))
    assert it.phase_at(utc("2026-01-01")) is None
    assert list(segments_in(it, Period(utc("2026-01-01"), utc("2026-02-01")))) == []


def test_a_cancel_remembers_the_agreed_end() -> None:
    it = subscription(V1, ends_at=utc("2026-06-01"))
    assert cancel(it, utc("2026-03-01"), made_at=utc("2026-02-01")).term_ends_at == it.ends_at


@pytest.mark.parametrize(("at", "code"), [("2025-12-31", "too_early"), ("2026-06-02", "too_late")])
def test_a_cancel_outside_the_subscription_is_refused(at: str, code: str) -> None:
    it = subscription(V1, ends_at=utc("2026-06-01"))
    with pytest.raises(Invalid) as caught:
        cancel(it, utc(at), made_at=utc("2026-01-01"))
    assert [(error.path, error.code) for error in caught.value.errors] == [("at", code)]


def test_what_is_over_is_not_changed_nor_cancelled_twice() -> None:
    it = cancel(subscription(V1), utc("2026-02-01"), made_at=utc("2026-01-10"))
    with pytest.raises(InvalidState):
        changed(it, "2026-02-01", V2)
    with pytest.raises(InvalidState):
        cancel(it, utc("2026-01-20"), made_at=utc("2026-01-20"))
    assert len(changed(it, "2026-01-20", V2).phases) == 2  # before its end it may change
