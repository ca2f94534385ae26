"""Fixed fees: what holds however a subscription is changed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.plan import (
    FlatPrice,
    Plan,
)
from taximeter.domain.subscription.change import cancel, change
from taximeter.domain.subscription.charges import (
    Charge,
    boundaries,
    charges_at,
    minimum_at,
    previous_boundary,
)
from taximeter.domain.subscription.subscription import Phase, Proration, Subscription
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import (
    PERIOD_UNITS,
    Anchor,
    PeriodUnit,
    period_at,
    to_local,
)
from tests.unit.subscription_values import INSTANT, NEW_YORK, flat, plan, utc

START = utc("2026-01-31T15:30")
PRORATIONS: st.SearchStrategy[Proration] = st.sampled_from(["by_day", "by_second", "none"])
OFFSETS = st.integers(1, 400 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
ZONES = st.sampled_from(["UTC", NEW_YORK, "Asia/Kolkata", "Europe/Paris", "Australia/Lord_Howe"])


@st.composite
def subscriptions(
    draw: st.DrawFn, *, amounts: Sequence[str] = ("0", "30", "50.01")
) -> Subscription:
    """A subscription of one advance and one arrears fee, changed up to four times."""

    def drawn_plan(version: int, unit: PeriodUnit) -> Plan:
        amount, late = draw(st.sampled_from(amounts)), draw(st.sampled_from(amounts))
        return plan(
            flat(amount, name=f"Base {version}"),
            flat(late, "arrears", key="late", name=f"Late {version}"),
            version=version,
            period=unit,
        )

    anchor = Anchor(draw(st.sampled_from([datetime(2026, 1, 31), datetime(2025, 7, 5, 9)])), "UTC")
    unit = draw(st.sampled_from(PERIOD_UNITS[1:]))
    phase = Phase(START, None, drawn_plan(1, unit), {}, "by_day")
    anchor = Anchor(anchor.local, draw(ZONES))
    it = Subscription("sub_1", None, "acme", anchor, START, None, 30, START, (phase,))
    for n, offset in enumerate(sorted(draw(st.lists(OFFSETS, max_size=4)))):
        new = drawn_plan(n + 2, unit)
        it = change(it, at=START + offset, plan=new, proration=draw(PRORATIONS))
    return it


def billed(it: Subscription, until: datetime) -> list[Charge]:
    return [charge for at in boundaries(it, None, until) for charge in charges_at(it, at)]


UNTIL = START + timedelta(days=500)


@given(subscriptions(amounts=("31.07",)))
def test_changes_between_equal_fees_cost_nothing(it: Subscription) -> None:
    """However often and by whatever measure the plan changes, parts sum to the whole."""
    unchanged = Subscription(
        *("sub_1", None, "acme", it.anchor, START, None, 30, START),
        (Phase(START, None, it.phases[0].plan, {}, "by_day"),),
    )
    for at in boundaries(it, None, UNTIL):
        parts = sum((charge.amount for charge in charges_at(it, at)), ZERO)
        assert parts == sum((charge.amount for charge in charges_at(unchanged, at)), ZERO)


@given(subscriptions(), st.integers(0, 400 * 24), PRORATIONS)
def test_a_later_change_never_alters_an_earlier_invoice(
    it: Subscription, hours: int, proration: Proration
) -> None:
    at = it.phases[-1].starts_at + timedelta(hours=hours, minutes=1)
    changed = change(it, at=at, plan=plan(flat("77"), version=99), proration=proration)
    cancelled = cancel(it, at, made_at=at, credit_unused=True)
    for boundary in boundaries(it, None, at - INSTANT):
        before = charges_at(it, boundary)
        assert charges_at(changed, boundary) == before
        assert charges_at(cancelled, boundary) == before
        assert minimum_at(changed, boundary) == minimum_at(it, boundary)


@given(subscriptions(), st.integers(0, 100 * 24))
def test_with_unused_time_credited_exactly_the_used_time_is_paid(
    it: Subscription, hours: int
) -> None:
    """Against a plain recount: each fee period's amount by the share of it that lies before the
    end, with every cut by day.
    """
    phases = [Phase(p.starts_at, p.ends_at, p.plan, {}, "by_day") for p in it.phases]
    plain = Subscription(*("sub_1", None, "acme", it.anchor, START, None, 30, START), tuple(phases))
    end = phases[-1].starts_at + timedelta(hours=hours, minutes=1)
    it = cancel(plain, end, made_at=end, credit_unused=True)
    unit = it.phases[0].plan.period
    owed = Fraction(0)
    for phase in it.phases:
        assert phase.ends_at is not None
        at = phase.starts_at
        while at < phase.ends_at:
            whole = period_at(it.anchor, unit, at)
            part_end = min(whole.end, phase.ends_at)
            dates = [to_local(t, it.anchor.timezone).date() for t in (at, part_end)]
            ends = [to_local(t, it.anchor.timezone).date() for t in (whole.start, whole.end)]
            share = Fraction((dates[1] - dates[0]).days, (ends[1] - ends[0]).days)
            for price in phase.plan.prices:
                assert isinstance(price, FlatPrice)
                owed += Fraction(price.amount) * share
            at = part_end
    paid = sum((charge.amount for charge in billed(it, end)), ZERO)
    assert abs(Fraction(paid) - owed) < Fraction(1, 10**9)


@given(subscriptions())
def test_each_charge_is_billed_once_whatever_the_boundaries_asked_for(it: Subscription) -> None:
    every = list(boundaries(it, None, UNTIL))
    assert every == sorted(set(every))
    for before, at in zip([None, *every], every, strict=False):
        assert previous_boundary(it, at) == before
        assert list(boundaries(it, before, at)) == [at]
        assert all(charge.due_at <= at for charge in charges_at(it, at))
    charges = billed(it, UNTIL)
    seen = [(c.price.key, c.kind, c.due_at) for c in charges]
    assert len(set(seen)) == len(seen)
