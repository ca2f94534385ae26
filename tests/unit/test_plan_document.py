"""The plan document: what is understood, and what is refused with which error where."""

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import (
    Dimensional,
    Discount,
    FlatPrice,
    Graduated,
    Package,
    PerUnit,
    Plan,
    Rate,
    SeatPrice,
    Stairstep,
    Tier,
    UsagePrice,
    Volume,
)
from taximeter.kernel.errors import FieldError, Invalid

ONE, ZERO = Decimal(1), Decimal(0)
FLAT = {"key": "fee", "type": "flat", "amount": "1"}
SEAT = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20"}
USAGE = {"key": "u", "type": "usage", "meter": "m", "model": "per_unit", "unit": "1"}
TIERED = {"key": "u", "type": "usage", "meter": "m", "model": "graduated"}
PACKAGE = {"key": "u", "type": "usage", "meter": "m", "model": "package"}
VIDEO = {
    "key": "u",
    "type": "usage",
    "meter": "m",
    "model": "dimensional",
    "dimensions": ["speed"],
    "rates": [{"match": {"speed": "fast"}, "unit": "1"}],
}


def document(*prices: object, **fields: object) -> dict[str, object]:
    plan: dict[str, object] = {"key": "x", "name": "X", "currency": "USD", "period": "month"}
    return plan | {"prices": list(prices) or [FLAT]} | fields


def errors_of(plan: Mapping[str, object]) -> list[FieldError]:
    with pytest.raises(Invalid) as caught:
        parse_plan(plan)
    return list(caught.value.errors)


def price_of(price: Mapping[str, object]) -> Any:
    return parse_plan(document(price)).prices[0]


FULL = """
key: scale
name: Scale
currency: USD
period: month
minimum: "1000.00"
grace: P1DT30M
prices:
  - {key: platform, type: flat, amount: "499.00", timing: arrears, name: Platform fee, period: year}
  - {key: seats, type: seat, model: per_unit, unit: "20.00", timing: advance}
  - key: resolutions
    type: usage
    meter: resolutions.done
    model: graduated
    tiers: [{up_to: "5000", unit: "0"}, {unit: "0.30", per: 10, flat: 2}]
    settle: invoice
    asset: USD
    included: 7
    minimum: "10.00"
    maximum: "5000.00"
    discount: {percent: "10"}
  - key: tokens
    type: usage
    meter: tokens
    model: dimensional
    dimensions: [model, batch]
    rates:
      - {match: {model: gpt-5.2, batch: true}, unit: "1.75", per: "1000000"}
      - {match: {batch: 0}, model: package, amount: 3, size: 10}
    otherwise: {unit: "9"}
    settle: wallet
    asset: credits
    discount: {amount: "5"}
"""


def test_a_full_document() -> None:
    tokens = Dimensional(
        dimensions=("model", "batch"),
        rates=(
            # Sorted by dimension: in a match, order means nothing.
            Rate(
                (("batch", "true"), ("model", "gpt-5.2")),
                PerUnit(Decimal("1.75"), Decimal(1000000)),
            ),
            Rate((("batch", "0"),), Package(Decimal(3), Decimal(10), ZERO)),
        ),
        otherwise=PerUnit(Decimal(9), ONE),
    )
    resolutions = Graduated(
        (
            Tier(up_to=Decimal(5000), unit=ZERO, per=ONE, flat=ZERO),
            Tier(up_to=None, unit=Decimal("0.30"), per=Decimal(10), flat=Decimal(2)),
        )
    )
    assert parse_plan(yaml.safe_load(FULL), version=3) == Plan(
        key="scale",
        version=3,
        name="Scale",
        currency="USD",
        period="month",
        minimum=Decimal(1000),
        grace_s=86400 + 1800,
        prices=(
            FlatPrice("platform", "Platform fee", "USD", Decimal(499), "arrears", "year", None),
            SeatPrice("seats", "seats", "USD", PerUnit(Decimal(20), ONE), "advance", None, None),
            UsagePrice(
                key="resolutions",
                name="resolutions",
                asset="USD",
                meter="resolutions.done",
                model=resolutions,
                settle="invoice",
                period=None,
                included=Decimal(7),
                discount=Discount(Decimal(10), None),
                maximum=Decimal(5000),
                minimum=Decimal(10),
            ),
            UsagePrice(
                key="tokens",
                name="tokens",
                asset="credits",
                meter="tokens",
                model=tokens,
                settle="wallet",
                period=None,
                included=ZERO,
                discount=Discount(None, Decimal(5)),
                maximum=None,
                minimum=None,
            ),
        ),
    )


def test_defaults() -> None:
    plan = parse_plan({"key": "x", "currency": "EUR", "period": "week", "prices": [FLAT, USAGE]})
    assert (plan.name, plan.version, plan.minimum, plan.grace_s) == ("x", 1, None, 3600)
    fee, usage = plan.prices
    assert isinstance(fee, FlatPrice)
    assert isinstance(usage, UsagePrice)
    assert (fee.name, fee.asset, fee.timing, fee.period) == ("fee", "EUR", "advance", None)
    assert (usage.name, usage.asset, usage.settle) == ("u", "EUR", "invoice")
    assert usage.model == PerUnit(ONE, ONE)
    assert usage.included == 0
    assert price_of(VIDEO).model.otherwise == "quarantine"
    assert price_of(VIDEO | {"otherwise": "zero"}).model.otherwise == "zero"
    assert price_of(PACKAGE | {"amount": 1, "size": 2}).model == Package(ONE, Decimal(2), ZERO)


def test_null_is_the_same_as_left_out() -> None:
    nulls: dict[str, object] = {
        "asset": None,
        "discount": None,
        "maximum": None,
        "period": None,
        "settle": None,
        "pool": None,
        "tiers": None,
    }
    assert price_of(USAGE | nulls) == price_of(USAGE)
    open_end: dict[str, object] = {"tiers": [{"up_to": 5, "unit": 1}, {"up_to": None, "unit": 1}]}
    assert price_of(TIERED | open_end).model.tiers[1].up_to is None
    unbuilt = {"trial_days": None, "grace": None, "minimum": None}
    assert parse_plan(document(**unbuilt)) == parse_plan(document())


def test_the_same_meaning_gives_equal_plans() -> None:
    one = document(USAGE | {"unit": "0.30", "period": "month"}, minimum="10.00", grace="PT60M")
    other = document(USAGE | {"unit": "0.3", "asset": "USD", "included": 0}, minimum=10)
    assert parse_plan(one) == parse_plan(other)
    assert parse_plan(one) != parse_plan(document(USAGE | {"unit": "0.31"}, minimum=10))


def test_the_order_of_conditions_means_nothing() -> None:
    """The database gives the members of an object back in another order."""
    when = {"visibility": "public", "phase": ["setup", "idle"]}
    turned = dict(reversed(when.items()))
    one, other = (usage(multipliers=[{"when": each, "factor": "0"}]) for each in (when, turned))
    assert parse_plan(one) == parse_plan(other)


@pytest.mark.parametrize(
    ("grace", "seconds"),
    [("PT1H", 3600), ("P2D", 172800), ("PT90S", 90), ("PT0S", 0), ("P31D", 31 * 86400)],
)
def test_grace(grace: str, seconds: int) -> None:
    assert parse_plan(document(grace=grace)).grace_s == seconds


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            {"model": "volume", "tiers": [{"unit": "2"}]},
            Volume((Tier(None, Decimal(2), ONE, ZERO),)),
        ),
        (
            {"model": "stairstep", "tiers": [{"up_to": 1, "flat": 0}, {"flat": "2"}]},
            Stairstep((Tier(ONE, ZERO, ONE, ZERO), Tier(None, ZERO, ONE, Decimal(2)))),
        ),
        # A bounded last tier is kept as written; rating goes on beyond it at its price.
        (
            {"model": "graduated", "tiers": [{"up_to": "5", "unit": "2"}]},
            Graduated((Tier(Decimal(5), Decimal(2), ONE, ZERO),)),
        ),
        (
            {"model": "package", "amount": "1", "size": "0.5", "free": "3"},
            Package(ONE, Decimal("0.5"), Decimal(3)),
        ),
    ],
)
def test_models_of_seats_and_usage(model: dict[str, object], expected: object) -> None:
    assert price_of({"key": "s", "type": "seat", **model}).model == expected
    assert price_of({"key": "u", "type": "usage", "meter": "m", **model}).model == expected


@pytest.mark.parametrize("number", ["0", "00012", "999999999999999999.999999999999", 0, 2**53])
def test_numbers_that_are_taken(number: object) -> None:
    assert price_of(USAGE | {"unit": number}).model.unit == Decimal(str(number))


@pytest.mark.parametrize(
    "number",
    [
        *(
            "",
            " 1",
            "1 ",
            "1e5",
            "NaN",
            "Infinity",
            "+1",
            "1.",
            ".5",
            "1,5",
            "0x10",
            "\uff11",
            "1\n",
        ),
        *("1" * 19, "0.1234567890123", 2**53 + 1, -(2**53) - 1, 10**40),
        *(0.3, 1.0, float("nan"), True, False, Decimal("0.3"), [], {}, datetime.date(2026, 1, 1)),
    ],
)
def test_numbers_that_are_refused(number: object) -> None:
    (error,) = errors_of(document(USAGE | {"unit": number}))
    assert (error.path, error.code) == ("prices[0].unit", "invalid_number")
    assert 'such as "0.30"' in error.detail or "in quotes" in error.detail


def test_bounds_are_inclusive() -> None:
    assert price_of(USAGE | {"discount": {"percent": "100"}}).discount.percent == 100
    assert price_of(USAGE | {"maximum": "5", "minimum": "5"}).maximum == 5
    assert price_of(USAGE | {"name": "é" * 500}).name == "é" * 500
    big: dict[str, object] = {"match": {"speed": 2**53}, "unit": 1}
    assert price_of(VIDEO | {"rates": [big]}).model.rates[0].match == (("speed", f"{2**53}"),)


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in document().items() if key != name}


def tiers(*found: object) -> dict[str, object]:
    return document(TIERED | {"tiers": list(found)})


def rates(*found: object, **fields: object) -> dict[str, object]:
    return document(VIDEO | {"rates": list(found)} | fields)


def usage(**fields: object) -> dict[str, object]:
    return document(USAGE | fields)


FAST = {"match": {"speed": "fast"}, "unit": "1"}
HALF = {"when": {"batch": True}, "factor": "0.5"}
LADDER = TIERED | {"pool": "p", "tiers": [{"up_to": "5", "unit": "1"}, {"unit": "2"}]}


@pytest.mark.parametrize(
    ("plan", "path", "code", "detail"),
    [
        # the plan
        (without("key"), "key", "required", "Missing. Say a key."),
        (without("currency"), "currency", "required", "Missing. Say a text."),
        (without("period"), "period", "required", "Say one of day, week, month, quarter, year."),
        (without("prices"), "prices", "required", "Missing. Say a list."),
        (document(prices=[]), "prices", "required", "This list is empty."),
        (document(prices={}), "prices", "invalid_type", "This is an object. Say a list."),
        (document(prices="flat"), "prices", "invalid_type", "This is a text. Say a list."),
        (document(5), "prices[0]", "invalid_type", "This is a whole number. Say an object"),
        (document(key="a b"), "key", "invalid_key", '"a b" is no key.'),
        (document(key="-a"), "key", "invalid_key", "start with a letter or digit"),
        (document(key="a" * 129), "key", "invalid_key", "1 to 128"),
        (document(key="a\n"), "key", "invalid_key", "is no key"),
        (document(key="clé"), "key", "invalid_key", "is no key"),
        (document(key=7), "key", "invalid_key", "in quotes where it looks like a number"),
        (document(key=2**60), "key", "invalid_key", "this number is no key"),
        (document(name=7), "name", "invalid_text", "Write it in quotes"),
        (document(name="a" * 501), "name", "invalid_text", "501 characters are too many"),
        (document(name="a\x00b"), "name", "invalid_text", "control characters"),
        (document(name="a\ud800"), "name", "invalid_text", "control characters"),
        (document(currency="usd"), "currency", "unknown_currency", "Say USD."),
        (document(currency="credits"), "currency", "unknown_currency", "Say one such as USD."),
        (document(currency=""), "currency", "invalid_text", "This is empty."),
        (document(period="monthly"), "period", "invalid_choice", "Did you mean month?"),
        (document(period=["month"]), "period", "invalid_choice", "a list is none of its values"),
        (document(minimum="-1"), "minimum", "out_of_range", "Say a number of 0 or more."),
        (document(grace="1h"), "grace", "invalid_duration", "Say PT1H"),
        (document(grace=""), "grace", "invalid_duration", "Say PT1H"),
        (document(grace="P1M"), "grace", "invalid_duration", "Say PT1H"),
        (document(grace="P32D"), "grace", "out_of_range", "at most P31D"),
        (document(trial_days=367), "trial_days", "out_of_range", "from 0 to 366"),
        (document(trial_days="1.5"), "trial_days", "out_of_range", "whole days"),
        (document(trial_days=-1), "trial_days", "out_of_range", "0 or more"),
        (document(grace=3600), "grace", "invalid_text", "Write it in quotes"),
        (document(curency="USD"), "curency", "unknown_field", "Did you mean currency?"),
        (document(zzz=1), "zzz", "unknown_field", "There is no such field. Leave it out."),
        (document(invoice_threshold="500"), "invoice_threshold", "not_supported", "not built yet"),
        (document(discount={}), "discount", "required", "either percent or amount"),
        (document(discount={"percent": "101"}), "discount.percent", "out_of_range", "0 to 100"),
        *(
            (
                document(discount={"amount": "5", "months": months}),
                "discount.months",
                "out_of_range",
                "whole number from 1 to 1200",
            )
            for months in (0, -1, 1201, 1.5, "1.5", True, "9" * 20)
        ),
        (document(discount={"percent": 5, "off": 1}), "discount.off", "unknown_field", "Leave it"),
        # any price
        (document({"key": "a"}), "prices[0].type", "required", "Say one of flat, seat, usage."),
        (document(FLAT | {"type": "flt"}), "prices[0].type", "invalid_choice", "mean flat?"),
        (document(FLAT, SEAT, FLAT), "prices[2].key", "duplicate", "prices[0] has this key"),
        (usage(asset="EUR"), "prices[0].asset", "other_currency", "Say USD"),
        (usage(asset="usd"), "prices[0].asset", "unknown_currency", "Say USD."),
        (usage(asset="credits"), "prices[0].asset", "credit_unit_on_invoice", "settle: wallet"),
        (document(FLAT | {"asset": "credits"}), "prices[0].asset", "credit_unit_on_invoice", "USD"),
        (usage(discount={}), "prices[0].discount", "required", "either percent or amount"),
        (
            usage(discount={"percent": 1, "amount": 1}),
            "prices[0].discount",
            "required",
            "either percent or amount",
        ),
        (usage(discount="10%"), "prices[0].discount", "invalid_type", "This is a text."),
        (
            usage(discount={"percent": "100.01"}),
            "prices[0].discount.percent",
            "out_of_range",
            "from 0 to 100",
        ),
        (usage(discount={"percent": "-1"}), "prices[0].discount.percent", "out_of_range", "0 or"),
        (
            usage(discount={"percent": 1, "months": 3}),
            "prices[0].discount.months",
            "unknown_field",
            "no such field",
        ),
        *(
            (usage(**{name: {}}), f"prices[0].{name}", "not_supported", f"{name} is not built yet")
            for name in ("tax_category",)
        ),
        # flat and seat
        (document(FLAT | {"amount": None}), "prices[0].amount", "required", "a number in quotes"),
        (document(FLAT | {"amount": "-5"}), "prices[0].amount", "out_of_range", "0 or more"),
        (document(FLAT | {"timing": "now"}), "prices[0].timing", "invalid_choice", "advance"),
        (document(FLAT | {"unit": "1"}), "prices[0].unit", "unknown_field", "model per_unit"),
        (document(FLAT | {"meter": "m"}), "prices[0].meter", "unknown_field", "usage prices"),
        (document(SEAT | {"model": None}), "prices[0].model", "required", "Say one of per_unit"),
        (document(SEAT | {"included": "5"}), "prices[0].included", "unknown_field", "free seats"),
        (document(SEAT | {"settle": "wallet"}), "prices[0].settle", "unknown_field", "usage"),
        (
            document(SEAT | {"model": "dimensional"}),
            "prices[0].model",
            "invalid_choice",
            "Say one of per_unit, package, graduated, volume, stairstep.",
        ),
        # usage
        (usage(meter=None), "prices[0].meter", "required", "Say the key of a meter."),
        (usage(unit=None), "prices[0].unit", "required", "a number in quotes"),
        (usage(per="0"), "prices[0].per", "out_of_range", "Say a number above 0."),
        (usage(included="-1"), "prices[0].included", "out_of_range", "0 or more"),
        (usage(maximum="1", minimum="2"), "prices[0].maximum", "out_of_range", "below minimum"),
        (usage(minimum="1", settle="wallet"), "prices[0].minimum", "minimum_on_wallet", "wallet"),
        (usage(settle="later"), "prices[0].settle", "invalid_choice", "invoice, wallet"),
        (usage(timing="advance"), "prices[0].timing", "invalid_choice", "in arrears"),
        (usage(tiers=[]), "prices[0].tiers", "unknown_field", "graduated, volume, stairstep"),
        (usage(settel="x"), "prices[0].settel", "unknown_field", "Did you mean settle?"),
        (usage(model="graded"), "prices[0].model", "invalid_choice", "Did you mean graduated?"),
        (document(PACKAGE | {"amount": 1}), "prices[0].size", "required", "a number in quotes"),
        (
            document(PACKAGE | {"amount": 1, "size": 0}),
            "prices[0].size",
            "out_of_range",
            "above 0",
        ),
        # tiers
        (document(TIERED), "prices[0].tiers", "required", "Say a list."),
        (tiers(5), "prices[0].tiers[0]", "invalid_type", "Say an object"),
        (tiers({"up_to": 5}), "prices[0].tiers[0].unit", "required", 'unit: "0"'),
        (tiers({"up_to": 0, "unit": 1}), "prices[0].tiers[0].up_to", "out_of_range", "above 0"),
        (
            tiers({"up_to": 5, "unit": 1}, {"up_to": "5.0", "unit": 1}),
            "prices[0].tiers[1].up_to",
            "tier_order",
            "Say more than 5",
        ),
        (
            tiers({"unit": 1}, {"unit": 1}),
            "prices[0].tiers[0].up_to",
            "required",
            "Only the last tier is without end",
        ),
        (tiers({"up_to": "inf", "unit": 1}), "prices[0].tiers[0].up_to", "invalid_number", "inf"),
        (tiers({"unit": 1, "per": 0}), "prices[0].tiers[0].per", "out_of_range", "above 0"),
        (tiers({"unit": 1, "sizes": 1}), "prices[0].tiers[0].sizes", "unknown_field", "no such"),
        (
            tiers({"unit": 1, "size": 1, "per": 2}),
            "prices[0].tiers[0].size",
            "conflicting_fields",
            "Say one of them",
        ),
        (tiers(*[{"unit": 1}] * 1001), "prices[0].tiers", "too_many", "at most 1000"),
        (
            document(
                SEAT | {"model": "stairstep", "unit": None, "tiers": [{"flat": 1, "unit": 1}]}
            ),
            "prices[0].tiers[0].unit",
            "unknown_field",
            "graduated and volume tiers",
        ),
        (
            document(SEAT | {"model": "stairstep", "unit": None, "tiers": [{}]}),
            "prices[0].tiers[0].flat",
            "required",
            "a number in quotes",
        ),
        # models of amounts and single events
        (usage(model="percentage", unit=None), "prices[0].percent", "required", "in quotes"),
        (
            usage(model="percentage", unit=None, percent="1", min_per_event="2", max_per_event="1"),
            "prices[0].max_per_event",
            "out_of_range",
            "below min_per_event",
        ),
        (
            usage(model="percentage", unit=None, percent="1", free_events="1.5"),
            "prices[0].free_events",
            "out_of_range",
            "whole number",
        ),
        (
            usage(model="percentage", unit=None, percent="1", free_events=3, settle="wallet"),
            "prices[0].settle",
            "free_on_wallet",
            "Say settle: invoice",
        ),
        (
            usage(model="percentage", unit=None, percent="1", included="3"),
            "prices[0].included",
            "included_without_units",
            "Leave it out",
        ),
        (
            usage(model="graduated_percentage", unit=None, tiers=[{"up_to": "5"}, {"percent": 1}]),
            "prices[0].tiers[0].percent",
            "required",
            'percent: "0" where it is free',
        ),
        (usage(model="dynamic", unit=None), "prices[0].value", "required", "a property"),
        # multipliers
        (usage(multipliers=[]), "prices[0].multipliers", "required", "at least one"),
        (
            usage(multipliers=[{"factor": "0.5"}]),
            "prices[0].multipliers[0].when",
            "required",
            "Say an object",
        ),
        (
            usage(multipliers=[{"when": {"batch": True}}]),
            "prices[0].multipliers[0].factor",
            "required",
            "in quotes",
        ),
        (
            usage(multipliers=[{"when": {"n": {"above": "1", "over": "1"}}, "factor": 2}]),
            "prices[0].multipliers[0].when.n.over",
            "unknown_field",
            "no such field",
        ),
        (
            usage(multipliers=[{"when": {"n": {"above": "1", "at_least": "2"}}, "factor": 2}]),
            "prices[0].multipliers[0].when.n.above",
            "conflicting_fields",
            "either above or at_least",
        ),
        (
            usage(multipliers=[{"when": {"n": {"above": "5", "below": "5"}}, "factor": 2}]),
            "prices[0].multipliers[0].when.n.below",
            "out_of_range",
            "No number is in this range",
        ),
        (
            document(PACKAGE | {"amount": 1, "size": 1, "multipliers": [HALF]}),
            "prices[0].multipliers",
            "multipliers_on_tiers",
            "each unit costs the same",
        ),
        # prices that are rated together
        (usage(pool="p"), "prices[0].pool", "pool_alone", "No other price"),
        (
            document(LADDER | {"key": "a"}, LADDER | {"key": "b", "model": "volume"}),
            "prices[1].pool",
            "pool_mismatch",
            "another ladder",
        ),
        (
            document(LADDER | {"key": "a"}, LADDER | {"key": "b", "period": "day"}),
            "prices[1].pool",
            "pool_mismatch",
            "another asset, settle or period",
        ),
        (
            document(LADDER | {"key": "a"}, LADDER | {"key": "b", "maximum_per_day": "5"}),
            "prices[1].maximum_per_day",
            "conflicting_fields",
            "no place in a pool",
        ),
        (
            usage(model="percentage", unit=None, percent="1", free_events=3, maximum_per_day="5"),
            "prices[0].maximum_per_day",
            "conflicting_fields",
            "known for the period",
        ),
        (
            usage(included={"percent": "10", "of": "compute"}),
            "prices[0].included.of",
            "unknown_price",
            "Say the key of one",
        ),
        (
            usage(included={"percent": "10", "of": "u"}),
            "prices[0].included.of",
            "circular",
            "leads back",
        ),
        # rates
        (document(VIDEO | {"dimensions": []}), "prices[0].dimensions", "required", "empty"),
        (
            document(VIDEO | {"dimensions": ["speed", "speed"]}),
            "prices[0].dimensions[1]",
            "duplicate",
            "listed twice",
        ),
        (
            document(VIDEO | {"dimensions": ["speed", "a b"]}),
            "prices[0].dimensions[1]",
            "invalid_property",
            "names no property",
        ),
        (rates(), "prices[0].rates", "required", "at least one"),
        (rates({"unit": 1}), "prices[0].rates[0].match", "required", "Say an object"),
        (rates({"match": {}, "unit": 1}), "prices[0].rates[0].match", "required", "empty"),
        (rates({"match": [], "unit": 1}), "prices[0].rates[0].match", "invalid_type", "a list"),
        (
            rates({"match": {"sped": "x"}, "unit": 1}),
            "prices[0].rates[0].match.sped",
            "unknown_dimension",
            "List it there",
        ),
        (
            rates({"match": {"speed": "x", 1: "y"}, "unit": 1}),
            "prices[0].rates[0].match.1",
            "invalid_property",
            "names no property",
        ),
        (
            rates({"match": {"speed": "x"}, "model": "percentage", "percent": 1, "free_amount": 5}),
            "prices[0].rates[0].free_amount",
            "free_in_rate",
            "came first",
        ),
        (
            rates({"match": {"speed": ["fast", "slow"]}, "unit": 1}),
            "prices[0].rates[0].match.speed",
            "invalid_text",
            "asks for one value",
        ),
        *(
            (
                rates({"match": {"speed": value}, "unit": 1}),
                "prices[0].rates[0].match.speed",
                "invalid_text",
                "in quotes",
            )
            for value in (0.5, None, 2**60, "a\x00")
        ),
        (rates(FAST, FAST), "prices[0].rates[1].match", "duplicate", "same as rates[0]"),
        (rates({"match": {"speed": "fast"}}), "prices[0].rates[0].unit", "required", "number"),
        (
            rates(FAST | {"model": "dimensional"}),
            "prices[0].rates[0].model",
            "invalid_choice",
            "Say one of per_unit",
        ),
        (rates(FAST | {"tiers": []}), "prices[0].rates[0].tiers", "unknown_field", "graduated"),
        (rates(FAST, otherwise="free"), "prices[0].otherwise", "invalid_choice", "quarantine"),
        (rates(FAST, otherwise=5), "prices[0].otherwise", "invalid_type", "Say an object"),
        (rates(FAST, otherwise={}), "prices[0].otherwise.unit", "required", "number"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(
    plan: dict[str, object], path: str, code: str, detail: str
) -> None:
    (error,) = errors_of(plan)
    assert (error.path, error.code) == (path, code)
    assert detail in error.detail


def test_every_error_is_reported_in_the_order_of_the_document() -> None:
    plan = document(
        USAGE | {"unit": 0.5, "settle": "x"},
        FLAT | {"amount": "-1"},
        TIERED | {"key": "t", "tiers": [{"up_to": 5, "unit": "a"}, {"up_to": 4, "unit": 1}]},
        currency="usd",
        extra=1,
    )
    assert [(error.path, error.code) for error in errors_of(plan)] == [
        ("currency", "unknown_currency"),
        ("prices[0].settle", "invalid_choice"),
        ("prices[0].unit", "invalid_number"),
        ("prices[1].amount", "out_of_range"),
        ("prices[2].tiers[0].unit", "invalid_number"),
        ("prices[2].tiers[1].up_to", "tier_order"),
        ("extra", "unknown_field"),
    ]


def test_errors_and_sizes_are_bounded() -> None:
    assert len(errors_of(document(*[{}] * 500))) == 50
    assert len(errors_of(document(**{f"f{index}": 1 for index in range(10_000)}))) == 50
    (error,) = errors_of(document(*[FLAT] * 501))
    assert (error.path, error.code) == ("prices", "too_many")
    (error,) = errors_of(document(**{"x" * 5000: 1}))
    assert len(error.path) <= 60


def test_names_of_unknown_fields_can_always_be_sent_back() -> None:
    odd: dict[Any, object] = {"\ud800\x00": 1, True: 2, 7: 3}
    for error in errors_of(document() | odd):
        assert error.code == "unknown_field"
        assert error.path.encode().decode().isprintable()


@pytest.mark.parametrize("other", [[], "text", 5, None])
def test_a_document_that_is_no_object(other: Any) -> None:
    (error,) = errors_of(other)
    assert (error.path, error.code) == ("", "invalid_type")


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("1")
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def broken(draw: st.DrawFn, value: object) -> object:
    """`value` with one part of it, at any depth, exchanged for anything."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: draw(broken(value[name]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(broken(value[index])), *value[index + 1 :]]
    return draw(anything)


@given(broken(yaml.safe_load(FULL)))
def test_any_document_is_either_a_plan_or_refused_by_name(value: Any) -> None:
    try:
        plan = parse_plan(value)
    except Invalid as error:
        assert all(found.code and found.detail.endswith(".") for found in error.errors)
    else:
        assert plan.prices
