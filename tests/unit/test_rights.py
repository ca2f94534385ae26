"""What a customer may use at an instant: windows, several entries, several subscriptions."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.deal import Deal, agreed_plan
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.entitlement import Entitlement, Quota, QuotaWindow, Slots, Switch
from taximeter.domain.catalog.entitlement_document import WINDOWS
from taximeter.domain.entitlement.budget import ALWAYS
from taximeter.domain.entitlement.feature import (
    FeatureStanding,
    Rights,
    Standing,
    binding,
    quota_window,
)
from taximeter.domain.subscription.customer import Customer, CustomerTerms
from taximeter.domain.subscription.rights import features_of, rights_of
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.times import Period, parse_instant
from tests.unit.subscription_values import flat, plan, subscription, to, utc

NOW = utc("2026-04-10T12:00:00")
LOCAL_ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)


def day(limit: int, feature: str = "f", **fields: Any) -> Quota:
    """A quota a day of the meter m."""
    values: dict[str, Any] = {"window": "day", "overage": "block", "meter": "m", **fields}
    return Quota(feature, limit=Decimal(limit), **values)


def terms(
    *offers: tuple[Entitlement, ...], timezone: str = "UTC",
    agreed: dict[str, tuple[Entitlement, ...]] | None = None,
) -> CustomerTerms:  # fmt: skip
    """A customer with one monthly subscription from April for each set of entries."""
    customer = Customer("acme", "USD", timezone, "hard", {}, NOW, NOW)
    subscriptions = []
    for index, entries in enumerate(offers):
        own = plan(flat("1"), key=f"p{index}", entitlements=entries)
        subscriptions.append(replace(subscription(own, timezone=timezone), id=f"sub_{index}"))
    return CustomerTerms(customer, tuple(subscriptions), entitlements=agreed or {})


def rights(*offers: tuple[Entitlement, ...], **fields: Any) -> Rights:
    """The rights to `f` that these give."""
    found = rights_of(terms(*offers, **fields), "f", NOW)
    assert found is not None
    return found


def limits(found: Rights) -> list[str]:
    """The quotas in short; all of them block."""
    assert all(quota.blocks for quota in found.quotas)
    return [f"{quota.limit} a {quota.each}" for quota in found.quotas]


def at(text: str) -> datetime:
    found = parse_instant(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("each", "timezone", "instant", "start", "end"),
    [
        # The clocks of New York go from 2 to 3 o'clock on 8 March 2026: the day has 23 hours.
        ("day", "America/New_York", "2026-03-08T04:59:59Z",
         "2026-03-07T05:00:00Z", "2026-03-08T05:00:00Z"),
        ("day", "America/New_York", "2026-03-08T05:00:00Z",
         "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ("hour", "America/New_York", "2026-03-08T07:30:00Z",
         "2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z"),
        ("minute", "America/New_York", "2026-03-08T06:59:59Z",
         "2026-03-08T06:59:00Z", "2026-03-08T07:00:00Z"),
        # On 1 November they go back: 25 hours.
        ("day", "America/New_York", "2026-11-01T12:00:00Z",
         "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
        # The week from Monday 2 March has 7 x 24 - 1 hours.
        ("week", "America/New_York", "2026-03-08T12:00:00Z",
         "2026-03-02T05:00:00Z", "2026-03-09T04:00:00Z"),
        ("month", "America/New_York", "2026-03-31T23:00:00Z",
         "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"),
        # India is 5:30 ahead, all year.
        ("hour", "Asia/Kolkata", "2026-03-10T12:00:00Z",
         "2026-03-10T11:30:00Z", "2026-03-10T12:30:00Z"),
        ("day", "Asia/Kolkata", "2026-03-10T18:29:59Z",
         "2026-03-09T18:30:00Z", "2026-03-10T18:30:00Z"),
        ("week", "Asia/Kolkata", "2026-03-08T18:30:00Z",
         "2026-03-08T18:30:00Z", "2026-03-15T18:30:00Z"),
        # Without a billing period, the month takes its place.
        ("period", "UTC", "2026-03-31T23:00:00Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_the_window_of_an_instant(
    each: QuotaWindow, timezone: str, instant: str, start: str, end: str
) -> None:
    assert quota_window(each, timezone, at(instant)) == Period(at(start), at(end))


@given(each=st.sampled_from(WINDOWS), timezone=st.sampled_from(LOCAL_ZONES), instant=INSTANTS)
def test_each_instant_is_in_its_window_and_both_ends_agree(
    each: QuotaWindow, timezone: str, instant: datetime
) -> None:
    window = quota_window(each, timezone, instant)
    assert instant in window
    if window != ALWAYS:
        assert quota_window(each, timezone, window.start) == window
        assert quota_window(each, timezone, window.end).start == window.end


@pytest.mark.parametrize(
    ("instant", "start", "end"),
    [
        # Periods from 31 January: the short months end early, and the 31st comes back.
        ("2026-02-28T04:59:59Z", "2026-01-31T05:00:00Z", "2026-02-28T05:00:00Z"),
        ("2026-02-28T05:00:00Z", "2026-02-28T05:00:00Z", "2026-03-31T04:00:00Z"),
        ("2026-04-29T12:00:00Z", "2026-03-31T04:00:00Z", "2026-04-30T04:00:00Z"),
        ("2026-05-31T04:00:00Z", "2026-05-31T04:00:00Z", "2026-06-30T04:00:00Z"),
    ],
)
def test_a_period_is_the_billing_period(instant: str, start: str, end: str) -> None:
    zone = "America/New_York"
    own = plan(flat("1"), entitlements=(day(5, window="period"),))
    it = subscription(own, "2026-01-31T05:00:00", timezone=zone)
    customer = Customer("acme", "USD", zone, "hard", {}, NOW, NOW)
    found = rights_of(CustomerTerms(customer, (it,)), "f", at(instant))
    assert found is not None
    assert [quota.window for quota in found.quotas] == [Period(at(start), at(end))]
    # What is agreed with the customer alone runs in the periods of the oldest subscription.
    alone = CustomerTerms(customer, (it,), entitlements={"f": (day(9, window="period"),)})
    found = rights_of(alone, "f", at(instant))
    assert found is not None
    assert limits(found) == ["9 a period"]
    assert [quota.window for quota in found.quotas] == [Period(at(start), at(end))]


def test_a_feature_that_nothing_names() -> None:
    assert rights_of(terms(), "f", NOW) is None
    assert rights_of(terms((day(5, "other"),)), "f", NOW) is None
    before = utc("2026-03-31T23:59:59")  # the subscription runs from April
    assert rights_of(terms((day(5),)), "f", before) is None


def test_entries_of_one_plan_all_apply() -> None:
    found = rights((
        day(150), day(3000, window="month"), Slots("f", 9), Slots("f", 4), Switch("f", "x"),
        day(200),
    ))  # fmt: skip
    assert found.enabled
    assert (found.value, found.slots) == ("x", 4)
    # Two limits of one kind are the smaller of them.
    assert limits(found) == ["150 a day", "3000 a month"]
    assert [one.subscription for one in found.sources] == ["sub_0"]


@pytest.mark.parametrize(
    ("entries", "enabled", "value"),
    [
        ((Switch("f", value=True),), True, True),
        ((Switch("f", value=False),), False, False),
        ((Switch("f", "gold"),), True, "gold"),
        ((day(0),), True, None),
        ((Slots("f", 0),), True, None),
        ((day(5), Switch("f", value=False)), False, False),
    ],
)
def test_what_switches_a_feature(
    entries: tuple[Entitlement, ...], enabled: bool, value: bool | str | None
) -> None:
    found = rights(entries)
    assert (found.enabled, found.value) == (enabled, value)


def test_of_several_subscriptions_each_limit_is_the_most_generous() -> None:
    # A: 100 a day, 1,000 a month. B: 200 a day, 900 a month.
    both = rights(
        (day(100), day(1000, window="month"), Slots("f", 2)),
        (day(200), day(900, window="month"), Slots("f", 3), Slots("f", 7)),
    )
    assert limits(both) == ["200 a day", "1000 a month"]
    assert both.slots == 3
    # A limit that one of them does not set does not bind.
    lifted = rights((day(100), Slots("f", 2)), (Switch("f", value=True),))
    assert (lifted.quotas, lifted.slots, lifted.value) == ((), None, True)
    # One that says nothing of the feature changes nothing.
    alone = rights((day(100),), (Switch("other", value=True),))
    assert limits(alone) == ["100 a day"]
    # One that is off is passed over where another one is on.
    on = rights((Switch("f", value=False), day(500)), (day(100),))
    assert on.enabled
    assert limits(on) == ["100 a day"]
    assert [one.subscription for one in on.sources] == ["sub_1"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("5", "20"), "20"),
        (("20", "5"), "20"),
        (("gold", "silver"), "gold"),
        ((True, "20"), True),
        (("5", "gold"), "5"),
    ],
)
def test_of_several_settings_the_largest_or_the_oldest(
    values: tuple[bool | str, ...], expected: bool | str
) -> None:
    assert rights(*((Switch("f", value),) for value in values)).value == expected


def test_what_is_agreed_takes_the_place_of_plans() -> None:
    found = rights((day(5), Slots("f", 1)), agreed={"f": (day(50),)})
    assert (limits(found), found.slots, found.sources) == (["50 a day"], None, ())
    without = rights_of(terms(agreed={"f": (Switch("f", value=True),)}), "f", NOW)
    assert without is not None
    assert without.enabled
    # Other features stay as the plan says.
    other = rights_of(terms((day(5),), agreed={"g": (day(50, "g"),)}), "f", NOW)
    assert other is not None
    assert limits(other) == ["5 a day"]
    assert features_of(terms((day(5),), agreed={"g": (day(50, "g"),)}), NOW) == ["f", "g"]


def test_a_subscription_stays_on_its_version_until_it_is_moved() -> None:
    first = plan(flat("1"), entitlements=(day(5),))
    second = plan(flat("1"), version=2, entitlements=(day(3),))
    moved = to(subscription(first), "2026-04-15", second)
    assert limits_at(moved, "2026-04-14") == ["5 a day"]
    assert limits_at(moved, "2026-04-15") == ["3 a day"]


def limits_at(it: Subscription, text: str) -> list[str]:
    customer = Customer("acme", "USD", "UTC", "hard", {}, NOW, NOW)
    found = rights_of(CustomerTerms(customer, (it,)), "f", utc(text))
    assert found is not None
    return limits(found)


def test_a_pause_entitles_to_nothing_and_a_trial_to_all() -> None:
    published = parse_plan({
        "key": "p", "currency": "USD", "period": "month",
        "prices": [{"key": "base", "type": "flat", "amount": "1"}],
        "entitlements": [{"feature": "f", "value": True}],
    })  # fmt: skip
    assert agreed_plan(published, Deal(paused=True)).entitlements == ()
    on = (Switch("f", value=True),)
    assert agreed_plan(published, Deal(trial=True)).entitlements == on
    assert agreed_plan(published, Deal({"base": {"amount": "9"}})).entitlements == on


def standing(limit: int, used: int, resets: str | None = None, *, blocks: bool = True) -> Standing:
    return Standing(Decimal(limit), Decimal(used), blocks, None if resets is None else utc(resets))


DAILY = standing(150, 150, "2026-04-11")
MONTHLY = standing(500, 450, "2026-05-01")


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ([], None),
        ([DAILY, MONTHLY], DAILY),  # 0 left, and 50
        ([standing(150, 50, "2026-04-11"), MONTHLY], MONTHLY),  # 100 left, and 50
        ([standing(150, 150, "2026-04-11"), standing(500, 500, "2026-05-01")],
         standing(500, 500, "2026-05-01")),  # both used up: the one that resets last
        ([standing(500, 500, "2026-05-01"), standing(9, 9)], standing(9, 9)),  # never resets
        # What only tells comes after what blocks, even where less is left.
        ([standing(5, 9, "2026-04-11", blocks=False), MONTHLY], MONTHLY),
    ],
)  # fmt: skip
def test_the_limit_that_binds(standings: list[Standing], expected: Standing | None) -> None:
    assert binding(standings, Decimal(1)) == expected
    assert binding(standings[::-1], Decimal(1)) == expected


def test_what_a_limit_takes() -> None:
    assert [MONTHLY.takes(Decimal(n)) for n in (0, 50, 51)] == [True, True, False]
    assert (MONTHLY.remaining, standing(5, 9).remaining) == (Decimal(50), Decimal(0))
    assert standing(5, 9, blocks=False).takes(Decimal(1))
    assert not standing(5, 9).takes(Decimal(0))


ON = Rights("f", enabled=True, value=None, slots=None, quotas=(), sources=())
FULL, HALF = standing(3, 3), standing(3, 1)


@pytest.mark.parametrize(
    ("rights", "quotas", "slots", "reason", "tells"),
    [
        (None, (), None, "entitlement", None),
        (replace(ON, enabled=False, value=False), (), None, "entitlement", None),
        (ON, (), None, None, None),
        (ON, (DAILY, MONTHLY), HALF, "entitlement", DAILY),
        (ON, (DAILY,), FULL, "entitlement", DAILY),  # before the slots
        (ON, (MONTHLY,), FULL, "concurrency", FULL),
        (ON, (MONTHLY,), HALF, None, MONTHLY),
        (ON, (), FULL, "concurrency", FULL),
        (ON, (), HALF, None, HALF),  # three more take a slot, as one does
        (ON, (standing(5, 9, blocks=False),), None, None, standing(5, 9, blocks=False)),
    ],
)  # fmt: skip
def test_what_forbids_a_feature(
    rights: Rights | None, quotas: tuple[Standing, ...], slots: Standing | None,
    reason: str | None, tells: Standing | None,
) -> None:  # fmt: skip
    found = FeatureStanding("f", rights, quotas, slots)
    assert found.reason(Decimal(3)) == reason
    assert found.binding(Decimal(3)) == tells


ENTRIES = st.lists(
    st.one_of(
        st.builds(
            day,
            st.integers(0, 9),
            window=st.sampled_from(("day", "month", "total")),
            meter=st.sampled_from(("m", "n")),
            overage=st.sampled_from(("block", "allow")),
        ),
        st.builds(Slots, st.just("f"), st.integers(0, 3)),
        st.builds(Switch, st.just("f"), st.sampled_from((True, False, "5", "20", "gold"))),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


def allowed(found: Rights, used: dict[str, int], running: int) -> bool:
    """Whether one more fits, where so much of each meter is used and so many holds are open."""
    quotas = all(
        not one.blocks or used[one.meter] + 1 <= one.limit for one in found.quotas
    )  # fmt: skip
    return found.enabled and quotas and (found.slots is None or running < found.slots)


@given(
    offers=st.lists(ENTRIES, min_size=1, max_size=3),
    used=st.fixed_dictionaries({"m": st.integers(0, 9), "n": st.integers(0, 9)}),
    running=st.integers(0, 3),
)
def test_another_subscription_takes_nothing_away(
    offers: list[tuple[Entitlement, ...]], used: dict[str, int], running: int
) -> None:
    alone = [allowed(rights(own), used, running) for own in offers]
    assert allowed(rights(*offers), used, running) >= any(alone)
    assert rights(*offers, *offers) == replace(
        rights(*offers), sources=rights(*offers, *offers).sources
    )


@given(entries=ENTRIES, used=st.integers(0, 9), running=st.integers(0, 3))
def test_within_a_plan_every_entry_can_only_take_away(
    entries: tuple[Entitlement, ...], used: int, running: int
) -> None:
    counts = {"m": used, "n": used}
    each = [allowed(rights((one,)), counts, running) for one in entries]
    switches = [one for one in entries if isinstance(one, Switch)]
    if len(switches) <= 1:  # a document has at most one
        assert allowed(rights(entries), counts, running) == all(each)
