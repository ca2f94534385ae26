"""What changes between two plan documents, in paths and in words."""

from copy import deepcopy
from typing import Any

import pytest

from taximeter.domain.catalog.difference import differences

PLAN: dict[str, Any] = {
    "key": "x", "currency": "USD", "period": "month",
    "prices": [
        {"key": "platform", "type": "flat", "amount": "499.00"},
        {
            "key": "resolutions", "type": "usage", "meter": "m", "model": "graduated",
            "tiers": [{"up_to": "5000", "unit": "0.30"}, {"unit": "0.20"}],
            "discount": {"percent": "10"},
        },
        {
            "key": "video", "type": "usage", "meter": "v", "model": "dimensional",
            "dimensions": ["speed"],
            "rates": [
                {"match": {"speed": "fast"}, "unit": "1.00"},
                {"match": {"speed": "slow"}, "unit": "0.40"},
            ],
        },
    ],
}  # fmt: skip


def changed(**fields: Any) -> dict[str, Any]:
    return {**deepcopy(PLAN), **fields}


def with_price(index: int, **fields: Any) -> dict[str, Any]:
    after = deepcopy(PLAN)
    after["prices"][index].update(fields)
    return after


FLAT, TIERED, VIDEO = PLAN["prices"]
SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20"}


@pytest.mark.parametrize(
    ("after", "kind", "path", "price", "summary"),
    [
        (
            with_price(1, tiers=[{"up_to": "5000", "unit": "0.25"}, {"unit": "0.20"}]),
            "changed", "prices[1].tiers[0].unit", "resolutions",
            "resolutions: tier 1 up to 5000: unit 0.30 -> 0.25",
        ),
        (
            with_price(1, tiers=[*TIERED["tiers"][:1], {"unit": "0.10"}]),
            "changed", "prices[1].tiers[1].unit", "resolutions",
            "resolutions: tier 2 above 5000: unit 0.20 -> 0.10",
        ),
        (
            with_price(1, maximum="50"), "added", "prices[1].maximum", "resolutions",
            "resolutions: maximum added: 50",
        ),
        (
            with_price(1, discount=None), "removed", "prices[1].discount", "resolutions",
            "resolutions: discount removed: percent 10",
        ),
        (
            with_price(1, discount={"percent": "20"}), "changed", "prices[1].discount.percent",
            "resolutions", "resolutions: discount: percent 10 -> 20",
        ),
        (
            with_price(2, rates=[VIDEO["rates"][0], {**VIDEO["rates"][1], "unit": "0.50"}]),
            "changed", "prices[2].rates[1].unit", "video",
            "video: rate speed slow: unit 0.40 -> 0.50",
        ),
        (
            with_price(2, rates=VIDEO["rates"][1:]), "removed", "prices[2].rates[0]", "video",
            "video: rate speed fast removed: match speed fast, unit 1.00",
        ),
        (
            with_price(2, rates=VIDEO["rates"][::-1]), "moved", "prices[2].rates", "video",
            "video: rates in another order: speed slow, speed fast",
        ),
        (
            with_price(2, otherwise="zero"), "added", "prices[2].otherwise", "video",
            "video: otherwise added: zero",
        ),
        (changed(currency="EUR"), "changed", "currency", None, "currency USD -> EUR"),
        (changed(minimum="1000"), "added", "minimum", None, "minimum added: 1000"),
        (
            changed(prices=[SEATS, FLAT, TIERED, VIDEO]), "added", "prices[0]", "seats",
            "price seats added: type seat, model per_unit, unit 20",
        ),
        (
            changed(prices=[TIERED, VIDEO]), "removed", "prices[0]", "platform",
            "price platform removed: type flat, amount 499.00",
        ),
        (
            changed(prices=[TIERED, FLAT, VIDEO]), "moved", "prices", None,
            "prices in another order: resolutions, platform, video",
        ),
    ],
)  # fmt: skip
def test_a_change_in_words(
    after: dict[str, Any], kind: str, path: str, price: str | None, summary: str
) -> None:
    [change] = differences(PLAN, after)
    assert (change.kind, change.path, change.price) == (kind, path, price)
    assert change.summary == summary


def test_what_means_the_same_is_no_change() -> None:
    after = with_price(0, amount=499, timing="advance", asset="USD", period="month", name=None)
    assert differences(PLAN, after) == []
    # Nor is it beside a change that means something.
    after["minimum"] = "5"
    after["grace"] = "PT1H"
    assert [change.path for change in differences(PLAN, after)] == ["minimum"]


def test_several_changes_stand_in_the_order_of_the_document() -> None:
    after = with_price(0, amount="599", key="fee")
    after["prices"][1]["tiers"].insert(1, {"up_to": "9000", "unit": "0.25"})
    assert [change.summary for change in differences(PLAN, after)] == [
        "price fee added: type flat, amount 599",
        "resolutions: tier 2 up to 9000: up_to added: 9000",
        "resolutions: tier 2 up to 9000: unit 0.20 -> 0.25",
        "resolutions: tier 3 above 9000 added: unit 0.20",
        "price platform removed: type flat, amount 499.00",
    ]


def test_a_difference_read_backwards_exchanges_before_and_after() -> None:
    after = with_price(1, maximum="50", tiers=[{"unit": "1"}])
    forth, back = differences(PLAN, after), differences(after, PLAN)
    assert {(c.before is None, c.after is None) for c in forth} == {
        (c.after is None, c.before is None) for c in back
    }


DAILY = {"feature": "calls", "meter": "calls", "limit": "150", "window": "day"}
MONTHLY = {**DAILY, "limit": "500", "window": "month"}
SSO = {"feature": "sso", "value": True}
RUNS = {"feature": "runs", "concurrency": "3"}
RATE = {"feature": "calls", "rate": {"limit": "10", "per": "hour"}}


@pytest.mark.parametrize(
    ("before", "after", "summaries"),
    [
        ([], [SSO, DAILY], ["entitlement sso added: value true",
          "entitlement calls per day added: meter calls, limit 150, window day"]),
        ([DAILY, MONTHLY], [DAILY, {**MONTHLY, "limit": "600"}],
         ["entitlement calls per month: limit 500 -> 600"]),
        ([MONTHLY], [DAILY, MONTHLY],
         ["entitlement calls per day added: meter calls, limit 150, window day"]),
        ([{**DAILY, "meter": "tokens"}], [{**DAILY, "meter": "tokens", "overage": "allow"}],
         ["entitlement calls of tokens per day: overage added: allow"]),
        ([DAILY], [{**DAILY, "limit": "150.0", "overage": "block"}], []),
        ([SSO], [{**SSO, "value": "saml"}], ["entitlement sso: value true -> saml"]),
        ([SSO, RUNS], [SSO, {**RUNS, "concurrency": 5}],
         ["entitlement runs at once: concurrency 3 -> 5"]),
        ([RATE], [{**RATE, "rate": {"limit": "20", "per": "hour"}}],
         ["entitlement calls placed per hour: rate: limit 10 -> 20"]),
        ([SSO, RUNS], [RUNS, SSO], ["entitlements in another order: runs at once, sso"]),
        ([SSO, {**SSO, "feature": "x"}], [SSO], ["entitlement x removed: value true"]),
        # Two limits of one kind are known by their place.
        ([DAILY, DAILY], [DAILY, {**DAILY, "limit": "9"}],
         ["entitlement calls per day: limit 150 -> 9"]),
    ],
)  # fmt: skip
def test_entitlements(
    before: list[dict[str, Any]], after: list[dict[str, Any]], summaries: list[str]
) -> None:
    found = differences(changed(entitlements=before), changed(entitlements=after))
    assert [one.summary for one in found] == summaries
    assert all(one.price is None for one in found)
