"""What credit was sold for against what it cost to serve: too cheap or too dear is flagged."""

from typing import Any

import pytest

from taximeter.bootstrap import Instance
from tests.http.api import client_for, problem
from tests.scenarios.story import Json, Story, usage_price


def wallet_price(key: str, unit: str, asset: str = "credits") -> Json:
    return usage_price(key, key, model="per_unit", unit=unit, asset=asset, settle="wallet")


def use(kind: str, event_id: str, cost: object = None, q: str = "1") -> Json:
    data = {"q": q} if cost is None else {"q": q, "cost": cost}
    return {"id": event_id, "type": kind, "subject": "acme", "data": data}


async def begin(story: Story, *prices: Json, **plan: Any) -> None:
    for price in prices:
        await story.meter(price["meter"])
    await story.plan("p", *prices, **plan)
    await story.customer(enforcement="soft")
    await story.subscribe("p")


async def report(story: Story, asset: str = "credits", **asked: Any) -> list[Json]:
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
    path = "/v1/reports/credit_value"
    return await story.everything(path, asset=asset, **{**span, **asked})


def shown(figures: Json, *names: str) -> list[object]:
    return [figures[name] for name in names or ("drawn", "value", "cost", "margin_percent", "flag")]


async def test_what_is_sold_too_cheap_or_too_dear_is_flagged_price_by_price(story: Story) -> None:
    chat, image, rule = (
        wallet_price("chat", "2"), wallet_price("image", "10"), wallet_price("rule", "5"),
    )  # fmt: skip
    await begin(story, chat, image, rule)
    # 1,000 credits for 10 USD: 0.01 each.
    await story.grant("1000", asset="credits", cost_basis={"amount": "10", "asset": "USD"})
    await story.use(
        *(use("chat", f"c{n}", "0.015") for n in range(10)),
        *(use("image", f"i{n}", {"amount": "0.12", "asset": "USD"}) for n in range(5)),
        use("rule", "r", "0.0005"),
    )
    (found,) = await report(story, margin_min="20", margin_max="98")
    by_price = {one["price"]: one for one in found["prices"]}
    # 10 x 2 credits = 0.20, cost 0.15: 25 % are left.
    assert shown(by_price["chat"]) == ["20", "0.2", "0.15", "25", None]
    # 5 x 10 credits = 0.50, cost 0.60: 20 % of it are missing.
    assert shown(by_price["image"]) == ["50", "0.5", "0.6", "-20", "too_cheap"]
    assert shown(by_price["image"], "value_per_unit", "cost_per_unit") == ["0.01", "0.012"]
    # 5 credits = 0.05, cost 0.0005: 99 %.
    assert shown(by_price["rule"]) == ["5", "0.05", "0.0005", "99", "too_dear"]
    # In all 75 credits for 0.75, which cost 0.7505.
    assert shown(found) == ["75", "0.75", "0.7505", "-0.066666666667", "too_cheap"]
    assert shown(found, "customer", "currency", "events", "events_without_cost", "complete") == [
        "acme", "USD", 16, 0, True,
    ]  # fmt: skip


async def test_a_draw_is_worth_what_was_paid_for_it(story: Story) -> None:
    assets = [{"asset": "credits", "unit_price": "0.02"}]
    bundled = [{"asset": "credits", "amount": "40", "kind": "paid", "priority": 60}]
    await begin(story, wallet_price("chat", "1"), assets=assets, credits=bundled)
    await story.grant("10", asset="credits", kind="promotional", priority=1)
    await story.grant("30", asset="credits", cost_basis={"amount": "0.90", "asset": "USD"})
    await story.use(use("chat", "a", "0.50", q="100"))
    (found,) = await report(story)
    # 10 given; 30 for 0.90; 40 of the plan and 20 past the grants at 0.02 each: 0.90 + 1.20.
    assert shown(found) == ["100", "2.1", "0.5", "76.190476190476", None]
    # Bought in another currency, or without a price, it is worth nobody knows what.
    await story.grant("7", asset="other", cost_basis={"amount": "5", "asset": "EUR"})
    (other,) = await report(story, "other")
    assert shown(other, "drawn", "unvalued", "value", "cost") == ["0", "0", "0", None]


async def test_costs_go_with_what_the_event_is_priced_by(story: Story) -> None:
    usd = wallet_price("chat", "0.10", "USD")
    invoiced = {**usage_price("fee", "chat", model="per_unit", unit="0.01")}
    await begin(story, usd, invoiced, wallet_price("free", "1"))
    await story.use(
        use("chat", "a", "0.06"), use("chat", "b"), use("chat", "c", "much"),
        use("chat", "d", {"amount": "9", "asset": "EUR"}), use("free", "e", "5"),
    )  # fmt: skip
    (found,) = await report(story, "USD")
    # Four chats draw 0.40 of USD, past any grant. 0.06 is priced by two: 0.03 is the wallet's.
    assert shown(found) == ["0.4", "0.4", "0.03", "92.5", None]
    assert shown(found, "events", "events_without_cost") == [4, 3]
    (credits,) = await report(story)
    # A unit without a price: 1 is drawn, for which nobody knows what will be paid.
    names = ("drawn", "unvalued", "cost", "margin", "margin_percent", "value_per_unit", "flag")
    assert shown(credits, *names) == ["1", "1", "5", None, None, None, None]


async def test_costs_go_to_the_contract_that_prices_the_event_when_it_does(story: Story) -> None:
    await begin(story, wallet_price("chat", "1"), assets=[{"asset": "credits", "unit_price": "1"}])
    await story.plan("other", usage_price("calls", "chat", model="per_unit", unit="0.01"))
    other = await story.subscribe("other")
    await story.use(use("chat", "a", "2"), {**use("chat", "b", "5"), "subscription": other})
    # The older contract prices what names none: 1 credit, sold for 1, costs 2.
    (found,) = await report(story)
    assert shown(found) == ["1", "1", "2", "-100", "too_cheap"]
    # From the 2nd on its customer pays by invoice: what calls cost is no longer the credit's.
    [first, _] = await story.everything("/v1/subscriptions", customer="acme")
    await story.change(first["id"], plan="other", at="2026-01-02T00:00:00Z", proration="none")
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(use("chat", "c", "70"))
    (found,) = await report(story)
    assert shown(found, "drawn", "cost", "events") == ["1", "2", 1]


async def test_only_the_span_is_told_and_credit_that_was_given_is_too_cheap(story: Story) -> None:
    await begin(story, wallet_price("chat", "1"))
    await story.grant("10", asset="credits", kind="promotional")
    await story.use(use("chat", "a", "0.01"))
    await story.advance("2026-02-03T00:00:00Z")
    await story.use({**use("chat", "b", "0.02"), "time": "2026-02-02T00:00:00Z"})
    (january,) = await report(story)
    assert shown(january) == ["1", "0", "0.01", None, "too_cheap"]
    (february,) = await report(
        story, **{"from": "2026-02-02T00:00:00Z", "to": "2026-02-04T00:00:00Z"}
    )
    assert shown(february) == ["1", "0", "0.02", None, "too_cheap"]
    assert shown(february, "value_per_unit", "cost_per_unit") == ["0", "0.02"]
    # Without a span: what was drawn and cost until this very instant, of the last 30 days.
    found = await story.everything("/v1/reports/credit_value", asset="credits")
    assert shown(found[0], "drawn", "cost") == ["1", "0.02"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("asset=credits&from=2026-01-01T00:00:00Z&to=2026-06-01T00:00:00Z", "invalid_span"),
        ("asset=credits&margin_min=101", "invalid"),
        ("", "missing"),
    ],
)
async def test_what_cannot_be_asked(story: Story, asked: str, code: str) -> None:
    assert await story.refused("GET", f"/v1/reports/credit_value?{asked}") == (422, code)


async def test_it_is_the_sellers_alone(story: Story, instance: Instance) -> None:
    await story.customer()
    key = {"name": "a", "scopes": ["read"], "customer": "acme"}
    secret = (await story.ask("POST", "/v1/api_keys", json=key))["secret"]
    async with client_for(instance, secret) as theirs:
        answer = await theirs.get("/v1/reports/credit_value?asset=credits")
        problem(answer, 403, "forbidden")
