"""Reading entitlements: those of a plan document, and those agreed for one feature."""

from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.entitlement import Entitlement, Quota, Rate, Slots, Switch
from taximeter.domain.catalog.entitlement_document import ENTITLEMENTS_MAX, parse_entitlements
from taximeter.kernel.errors import Invalid
from tests.unit.test_plan_document import document, errors_of

DAILY = {"feature": "queries", "meter": "queries", "limit": "1000", "window": "day"}


def read(*entries: dict[str, Any]) -> tuple[Entitlement, ...]:
    """What a plan with these entries entitles to."""
    return parse_plan(document(entitlements=list(entries))).entitlements


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"value": True}, Switch("f", value=True)),
        ({"value": False}, Switch("f", value=False)),
        ({"value": "gold"}, Switch("f", "gold")),
        ({"value": "8"}, Switch("f", "8")),
        ({"value": 8}, Switch("f", "8")),
        ({"concurrency": "5"}, Slots("f", 5)),
        ({"concurrency": 0}, Slots("f", 0)),
        ({"concurrency": "2.0"}, Slots("f", 2)),
        ({"rate": {"limit": 100, "per": "minute"}}, Rate("f", Decimal(100), "minute")),
        (
            {"meter": "m", "limit": "0.5", "window": "minute"},
            Quota("f", "m", Decimal("0.5"), "minute", "block"),
        ),
        (
            {"meter": "m", "limit": 0, "window": "total", "overage": "allow", "value": None},
            Quota("f", "m", Decimal(0), "total", "allow"),
        ),
    ],
)
def test_an_entry(entry: dict[str, Any], expected: Entitlement) -> None:
    assert read({"feature": "f", **entry}) == (expected,)
    assert parse_entitlements("f", {"entitlements": [entry]}) == (expected,)


def test_several_entries_on_one_feature_stay_in_order() -> None:
    found = read(
        DAILY, {**DAILY, "window": "month", "limit": 20000}, {"feature": "a", "value": "x"}
    )
    assert [type(one).__name__ for one in found] == ["Quota", "Quota", "Switch"]
    assert [one.window for one in found if isinstance(one, Quota)] == ["day", "month"]


def test_a_plan_without_entitlements_entitles_to_nothing() -> None:
    assert parse_plan(document()).entitlements == ()
    assert read() == ()


@pytest.mark.parametrize(
    ("entries", "path", "code", "cure"),
    [
        ([{"value": True}], "[0].feature", "required", "Say the key of a feature."),
        ([{"feature": "a b", "value": True}], "[0].feature", "invalid_key", "is no key"),
        ([{"feature": "f"}], "[0].value", "required", "concurrency, rate, or meter, limit"),
        ([{"feature": "f", "value": ""}], "[0].value", "invalid_type", "Say true, false"),
        ([{"feature": "f", "value": [1]}], "[0].value", "invalid_type", "Say true, false"),
        ([{"feature": "f", "value": 0.5}], "[0].value", "invalid_type", "in quotes"),
        (
            [{"feature": "f", "value": True, "concurrency": 1}],
            "[0].concurrency", "unknown_field", "belongs to an entry of its own",
        ),
        (
            [{"feature": "f", "concurrency": 1, "limit": 1}],
            "[0].limit", "unknown_field", "belongs to a quota",
        ),
        ([{"feature": "f", "rate": 5}], "[0].rate", "invalid_type", "object"),
        ([{"feature": "f", "rate": {"limit": "5", "per": "day"}}], "[0].rate.per",
         "invalid_choice", "second, minute, hour"),
        ([{"feature": "f", "rate": {"per": "hour"}}], "[0].rate.limit", "required", ""),
        (
            [{"feature": "f", "rate": {"limit": 1, "per": "hour", "window": "day"}}],
            "[0].rate.window", "unknown_field", "",
        ),
        ([{"feature": "f", "concurrency": "1.5"}], "[0].concurrency", "out_of_range", "whole"),
        ([{"feature": "f", "concurrency": -1}], "[0].concurrency", "out_of_range", "0 or more"),
        ([{"feature": "f", "concurrency": 10**7}], "[0].concurrency", "out_of_range", "1000000"),
        ([{"feature": "f", "meter": "m", "window": "day"}], "[0].limit", "required", "a number"),
        ([{**DAILY, "limit": "-1"}], "[0].limit", "out_of_range", "0 or more"),
        ([{**DAILY, "limit": 0.5}], "[0].limit", "invalid_number", "in quotes"),
        ([{**DAILY, "meter": None}], "[0].meter", "required", "Say the key of a meter."),
        ([{**DAILY, "window": "quarter"}], "[0].window", "invalid_choice", "minute, hour, day"),
        ([{**DAILY, "window": None}], "[0].window", "required", "Say one of minute"),
        ([{**DAILY, "overage": "warn"}], "[0].overage", "invalid_choice", "block, allow"),
        ([{**DAILY, "limits": "1"}], "[0].limits", "unknown_field", "Did you mean limit?"),
        (
            [{"feature": "f", "value": True}, DAILY, {"feature": "f", "value": "x"}],
            "[2].value", "duplicate", "entitlements[0] switches this feature already",
        ),
        ([DAILY] * (ENTITLEMENTS_MAX + 1), "", "too_many", "Say at most 200."),
    ],
)  # fmt: skip
def test_an_entry_in_error(entries: list[dict[str, Any]], path: str, code: str, cure: str) -> None:
    [error] = errors_of(document(entitlements=entries))
    assert (error.path, error.code) == (f"entitlements{path}", code)
    assert cure in error.detail


@pytest.mark.parametrize(
    ("written", "path", "code"),
    [
        ({}, "entitlements", "required"),
        ({"entitlements": []}, "entitlements", "required"),
        ([], "", "invalid_type"),
        ({"entitlements": [DAILY]}, "entitlements[0].feature", "unknown_field"),
        ({"entitlements": [{"value": True}], "until": 1}, "until", "unknown_field"),
        ({"entitlements": [{"value": 1}, {"value": 2}]}, "entitlements[1].value", "duplicate"),
    ],
)
def test_what_is_agreed_for_a_feature_in_error(written: object, path: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_entitlements("f", written)
    assert [(error.path, error.code) for error in caught.value.errors] == [(path, code)]
