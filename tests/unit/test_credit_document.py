"""Reading credits, credit units and commitments of a plan document."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.catalog.credit import Commitment, CreditUnit, PlanCredit
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import Plan
from taximeter.kernel.errors import Invalid
from taximeter.kernel.times import Duration

SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20"}
CALLS = {"key": "calls", "type": "usage", "meter": "calls", "model": "per_unit", "unit": "1"}


def read(*prices: dict[str, Any], **fields: Any) -> Plan:
    """The plan of these prices and fields."""
    base = {"key": "p", "currency": "USD", "period": "month", "prices": list(prices or [CALLS])}
    return parse_plan({**base, **fields})


def test_a_credit_without_options() -> None:
    plan = read(credits=[{"asset": "credits", "amount": "100"}])
    assert plan.credits == (
        PlanCredit(
            key="credits", asset="credits", amount=Decimal(100), kind="promotional", every="month",
            expires="period_end", rollover_max=None, priority=50, per=None, scope_meters=None,
            scope_path=None, starts_from=None, starts_until=None, max_per_period=None,
        ),
    )  # fmt: skip


def test_a_credit_with_every_option() -> None:
    written = {
        "key": "bonus", "asset": "credits", "amount": "100", "kind": "paid", "every": "day",
        "expires": "P1Y", "priority": 5, "per": "seat", "from": "2026-06-01",
        "until": "2026-09-01T12:00:00", "max_per_period": "900",
        "scope": {"meters": ["calls", "calls"], "path": "team"},
    }  # fmt: skip
    (credit,) = read(SEATS, CALLS, credits=[written]).credits
    assert (credit.key, credit.kind, credit.every, credit.priority) == ("bonus", "paid", "day", 5)
    assert (credit.per, credit.expires) == ("seats", Duration(12, 0, 0))
    assert (credit.scope_meters, credit.scope_path) == (("calls",), "team")
    assert (credit.starts_from, credit.starts_until) == (
        datetime(2026, 6, 1), datetime(2026, 9, 1, 12),
    )  # fmt: skip
    assert credit.max_per_period == Decimal(900)


def test_credits_of_one_asset_are_numbered() -> None:
    both = read(credits=[{"asset": "credits", "amount": n} for n in ("1", "2", "3")])
    assert [one.key for one in both.credits] == ["credits", "credits-2", "credits-3"]


def test_units_and_commitments() -> None:
    plan = read(
        assets=[{"asset": "credits", "unit_price": "0.01"}, {"asset": "minutes"}],
        commitment={"amount": "12000", "period": "year", "rollover_max": "100"},
    )
    assert plan.assets == (CreditUnit("credits", Decimal("0.01")), CreditUnit("minutes", None))
    assert plan.unit_price("credits") == Decimal("0.01")
    assert plan.unit_price("minutes") is plan.unit_price("other") is None
    assert plan.commitment == Commitment(Decimal(12000), "year", Decimal(100))


CREDIT = {"asset": "credits", "amount": "1"}


@pytest.mark.parametrize(
    ("fields", "path", "code", "words"),
    [
        ({"credits": [{"amount": "1"}]}, "credits[0].asset", "required", "credit unit"),
        ({"credits": [{"asset": "EUR", "amount": "1"}]}, "credits[0].asset", "other_currency",
         "Say USD"),
        ({"credits": [{"asset": "usd", "amount": "1"}]}, "credits[0].asset", "unknown_currency",
         "Say USD"),
        ({"credits": [CREDIT | {"amount": "0"}]}, "credits[0].amount", "out_of_range", "above 0"),
        ({"credits": [CREDIT | {"kind": "free"}]}, "credits[0].kind", "invalid_choice",
         "promotional, paid"),
        ({"credits": [CREDIT | {"every": "hour"}]}, "credits[0].every", "invalid_choice", "period"),
        ({"credits": [CREDIT | {"expires": "soon"}]}, "credits[0].expires", "invalid_duration",
         "P1Y"),
        ({"credits": [CREDIT | {"expires": "never", "rollover_max": "1"}]},
         "credits[0].rollover_max", "rollover_without_expiry", "Leave out"),
        ({"credits": [CREDIT | {"asset": "USD", "rollover_max": "1"}]},
         "credits[0].rollover_max", "rollover_of_currency", "credit unit"),
        ({"credits": [CREDIT | {"priority": 1001}]}, "credits[0].priority", "out_of_range",
         "0 to 1000"),
        ({"credits": [CREDIT | {"priority": "1.5"}]}, "credits[0].priority", "out_of_range",
         "whole"),
        ({"credits": [CREDIT | {"per": "seat"}]}, "credits[0].per", "unknown_price", "add one"),
        ({"credits": [CREDIT | {"from": "June"}]}, "credits[0].from", "invalid_date", "2026-06-01"),
        ({"credits": [CREDIT | {"from": "2026-06-01", "until": "2026-06-01"}]},
         "credits[0].until", "too_early", "later"),
        ({"credits": [CREDIT | {"scope": {"meters": ["a b"]}}]}, "credits[0].scope.meters[0]",
         "invalid_key", "no key"),
        ({"credits": [CREDIT | {"scope": {"users": []}}]}, "credits[0].scope.users",
         "unknown_field", "no such field"),
        ({"credits": [CREDIT | {"key": "a"}] * 2}, "credits[1].key", "duplicate", "credits[0]"),
        ({"credits": [CREDIT] * 51}, "credits", "too_many", "at most 50"),
        ({"assets": [{"asset": "USD", "unit_price": "1"}]}, "assets[0].asset", "currency_as_unit",
         "credit unit"),
        ({"assets": [{"asset": "a"}, {"asset": "a"}]}, "assets[1].asset", "duplicate", "once"),
        ({"commitment": {"amount": "1", "period": "week"}}, "commitment.period", "invalid_choice",
         "month, quarter, year"),
        ({"commitment": {"amount": "0", "period": "year"}}, "commitment.amount", "out_of_range",
         "above 0"),
        ({"commitment": {"period": "year"}}, "commitment.amount", "required", "Say"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str, code: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(CALLS, **fields)
    (error,) = refused.value.errors
    assert (error.path, error.code) == (path, code)
    assert words in error.detail


def test_of_several_seat_prices_one_is_named() -> None:
    several = [SEATS, SEATS | {"key": "guests"}]
    plan = read(*several, credits=[CREDIT | {"per": "guests"}])
    assert plan.credits[0].per == "guests"
    with pytest.raises(Invalid) as refused:
        read(*several, credits=[CREDIT | {"per": "seat"}])
    assert "Say one of seats, guests." in refused.value.errors[0].detail
