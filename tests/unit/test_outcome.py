"""Outcomes: the table of states, what is billed, and how they are written in plans and events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import OutcomeTerms, UsagePrice
from taximeter.domain.metering.outcome import (
    ALLOWED,
    NOTHING,
    STATE_AFTER,
    Billed,
    Outcome,
    State,
    Step,
    Verb,
    advance,
    billed,
    needed_human,
    outcome_id,
)
from taximeter.kernel.errors import Invalid, InvalidState

AT = datetime(2026, 1, 5, tzinfo=UTC)
DAY_S = 86_400
STATES: tuple[State, ...] = get_args(State)
VERBS: tuple[Verb, ...] = get_args(Verb)
ONCE = OutcomeTerms(None, None, "once", "bill")
EACH = OutcomeTerms(None, None, "each", "bill")
FREE = OutcomeTerms(None, None, "once", "free")

PENDING = Outcome(
    "acme", "o", "pending", Decimal(0), False, AT, AT + timedelta(hours=24), None, None, 1, 0
)


def step(verb: Verb, share: str = "0.4", **fields: Any) -> Step:
    given = {"reason": None, "evidence": None, "human_review": None, **fields}
    return Step(verb, Decimal(share) if verb == "partial" else None, **given)


def take(outcome: Outcome, *verbs: Verb, at: datetime = AT) -> Outcome:
    for verb in verbs:
        outcome = advance(outcome, step(verb), at)
    return outcome


def reached(state: State) -> Outcome:
    """One in this state, by the shortest way."""
    ways: dict[State, tuple[Verb, ...]] = {
        "pending": (), "confirmed": ("confirm",), "partial": ("partial",), "failed": ("fail",),
        "disputed": ("dispute",), "reversed": ("confirm", "reverse"),
    }  # fmt: skip
    return take(PENDING, *ways[state])


# Which state each step leads to (columns: confirm, partial, fail, dispute, reverse; "-": refused).
TABLE = """
pending    confirmed partial failed disputed -
confirmed  -         -       -      disputed reversed
partial    -         -       -      disputed reversed
disputed   confirmed partial failed -        reversed
failed     -         -       -      -        -
reversed   -         -       -      -        -
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_the_table_of_states(line: str) -> None:
    name, *after = line.split()
    (state,) = [one for one in STATES if one == name]
    for verb, wanted in zip(
        ("confirm", "partial", "fail", "dispute", "reverse"), after, strict=True
    ):
        (known,) = [one for one in VERBS if one == verb]
        if wanted == "-":
            with pytest.raises(InvalidState, match=f"outcome is {state}: it cannot be"):
                take(reached(state), known)
        else:
            found = take(reached(state), known)
            assert (found.state, found.confirm_at) == (wanted, None)
            assert found.steps == reached(state).steps + 1


def test_the_table_is_whole() -> None:
    assert set(ALLOWED) == set(STATES)
    assert set(STATE_AFTER) == set(VERBS)


@pytest.mark.parametrize(
    ("verbs", "share"),
    [
        ((), "0"),
        (("confirm",), "1"),
        (("partial",), "0.4"),
        (("fail",), "0"),
        (("dispute",), "0"),  # moves nothing
        (("confirm", "dispute"), "1"),
        (("partial", "dispute"), "0.4"),
        (("partial", "dispute", "confirm"), "1"),
        (("confirm", "dispute", "partial"), "0.4"),
        (("confirm", "dispute", "fail"), "0"),
        (("confirm", "dispute", "reverse"), "0"),
        (("confirm", "reverse"), "0"),
    ],
)
def test_the_share_that_is_billed(verbs: tuple[Verb, ...], share: str) -> None:
    assert take(PENDING, *verbs).share == Decimal(share)


def test_the_time_for_taking_back_runs_from_the_first_confirmation() -> None:
    limited = replace(PENDING, reversible_s=30 * DAY_S)
    assert limited.reversible_until is None
    confirmed = take(limited, "confirm")
    end = AT + timedelta(days=30)
    assert confirmed.reversible_until == end
    assert take(confirmed, "reverse", at=end).state == "reversed"
    after = end + timedelta(microseconds=1)
    for verb, past in (("reverse", "reversed"), ("dispute", "disputed")):
        with pytest.raises(InvalidState, match=f"back until 2026-02-04T00:00:00Z: it .* {past}"):
            take(confirmed, "reverse" if verb == "reverse" else "dispute", at=after)
    disputed = take(confirmed, "dispute", at=end)
    assert take(disputed, "reverse", at=after).state == "reversed"
    again = take(disputed, "confirm", at=after)
    assert again.confirmed_at == AT
    with pytest.raises(InvalidState, match="until 2026-02-04"):
        take(again, "reverse", at=after)
    assert take(PENDING, "confirm").reversible_until is None  # for ever


def test_human_review_is_kept_or_told() -> None:
    assert take(PENDING, "confirm").human_review is False
    reviewed = advance(PENDING, step("confirm", human_review=True), AT)
    assert reviewed.human_review is True
    disputed = take(reviewed, "dispute")
    assert disputed.human_review is True
    assert advance(disputed, step("confirm", human_review=False), AT).human_review is False


@pytest.mark.parametrize(
    ("outcome", "terms", "value", "first", "expected"),
    [
        (PENDING, ONCE, 1, True, NOTHING),
        (reached("failed"), ONCE, 1, True, NOTHING),
        (reached("disputed"), ONCE, 1, True, NOTHING),
        (reached("confirmed"), ONCE, 1, True, Billed(1, Decimal(1))),
        (reached("confirmed"), ONCE, 1, False, NOTHING),
        (reached("confirmed"), EACH, 7, False, Billed(1, Decimal(7))),
        (reached("partial"), ONCE, Decimal("2.5"), True, Billed(1, Decimal(1))),  # 2.5 x 0.4
        (reached("reversed"), ONCE, 1, True, Billed(1, Decimal(0))),
        # 0.000000000001 x 0.4 and x 0.5, at the 12th decimal
        (reached("partial"), ONCE, Decimal("0.000000000001"), True, Billed(1, Decimal(0))),
        (
            advance(PENDING, step("partial", "0.5"), AT), ONCE, Decimal("0.000000000001"), True,
            Billed(1, Decimal("0.000000000001")),
        ),
        (advance(PENDING, step("confirm", human_review=True), AT), ONCE, 3, True,
         Billed(1, Decimal(3))),
        (advance(PENDING, step("confirm", human_review=True), AT), FREE, 3, True,
         Billed(1, Decimal(0))),
        (reached("confirmed"), FREE, 3, True, Billed(1, Decimal(3))),
    ],
)  # fmt: skip
def test_what_an_event_is_billed(
    outcome: Outcome, terms: OutcomeTerms, value: Decimal | int, first: bool, expected: Billed
) -> None:
    assert billed(outcome, terms, value, first=first) == expected


@given(st.lists(st.sampled_from(VERBS), max_size=8), st.sampled_from([ONCE, EACH, FREE]))
def test_steps_never_bill_more_than_all(verbs: list[Verb], terms: OutcomeTerms) -> None:
    """Whatever happens, what is billed is the sum of the changes, and from 0 to the whole."""
    outcome, sum_events, total = PENDING, 0, Decimal(0)
    before = NOTHING
    for verb in verbs:
        if verb not in ALLOWED[outcome.state]:
            continue
        outcome = take(outcome, verb)
        now = billed(outcome, terms, 3, first=True)
        sum_events += now.events - before.events
        total += now.quantity - before.quantity
        before = now
        assert Decimal(0) <= total <= Decimal(3)
        assert sum_events in (0, 1)
        assert total == Decimal(3) * outcome.share


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("conv-1", "conv-1"),
        ("x" * 256, "x" * 256),
        (17, "17"),
        ("x" * 257, None),
        ("", None),
        ("a\nb", None),
        (True, None),
        (Decimal("1.5"), None),
        (None, None),
        (["a"], None),
    ],
)
def test_which_outcome_an_event_names(value: object, expected: str | None) -> None:
    assert outcome_id({"outcome_id": value}) == expected
    assert outcome_id({}) is None


def test_who_needed_a_person() -> None:
    assert needed_human({"human_review": True})
    assert not any(needed_human({"human_review": value}) for value in (False, "true", 1, None))
    assert not needed_human({})


def parsed(outcome: object) -> OutcomeTerms | None:
    price = {"key": "x", "type": "usage", "meter": "m", "model": "per_unit", "unit": "1",
             "outcome": outcome}  # fmt: skip
    plan = parse_plan({"key": "p", "currency": "USD", "period": "month", "prices": [price]})
    (found,) = plan.prices
    assert isinstance(found, UsagePrice)
    return found.outcome


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, None),
        ({}, ONCE),
        ({"auto_confirm_after": "PT24H"}, OutcomeTerms(86_400, None, "once", "bill")),
        ({"reversible_for": "P30D"}, OutcomeTerms(None, 2_592_000, "once", "bill")),
        ({"auto_confirm_after": "P1W", "reversible_for": "P1DT1H"},
         OutcomeTerms(604_800, 90_000, "once", "bill")),
        ({"retries": "each", "human_review": "free"}, OutcomeTerms(None, None, "each", "free")),
    ],
)  # fmt: skip
def test_the_member_of_a_price(document: object, expected: OutcomeTerms | None) -> None:
    assert parsed(document) == expected


@pytest.mark.parametrize(
    ("document", "path", "code"),
    [
        ("yes", "prices[0].outcome", "invalid_type"),
        ({"auto_confirm_after": "P1M"}, "prices[0].outcome.auto_confirm_after", "invalid_duration"),
        ({"auto_confirm_after": 24}, "prices[0].outcome.auto_confirm_after", "invalid_duration"),
        ({"auto_confirm_after": "PT0S"}, "prices[0].outcome.auto_confirm_after",
         "invalid_duration"),
        ({"reversible_for": "30 days"}, "prices[0].outcome.reversible_for", "invalid_duration"),
        ({"retries": "never"}, "prices[0].outcome.retries", "invalid_choice"),
        ({"human_review": True}, "prices[0].outcome.human_review", "invalid_choice"),
        ({"success": "x"}, "prices[0].outcome.success", "unknown_field"),
    ],
)  # fmt: skip
def test_a_wrong_member(document: object, path: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parsed(document)
    assert [(one.path, one.code) for one in caught.value.errors] == [(path, code)]


def test_a_fee_has_no_outcome() -> None:
    fee = {"key": "x", "type": "flat", "amount": "1", "outcome": {}}
    with pytest.raises(Invalid) as caught:
        parse_plan({"key": "p", "currency": "USD", "period": "month", "prices": [fee]})
    assert [(one.path, one.code) for one in caught.value.errors] == [
        ("prices[0].outcome", "unknown_field")
    ]
