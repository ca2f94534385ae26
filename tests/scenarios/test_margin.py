"""The margin floor: a call that would leave too little is refused, told, or sent to a cheaper
model, before it runs.
"""

from typing import Any

import httpx

from taximeter.bootstrap import Instance
from tests.http.api import client_for, problem
from tests.scenarios.story import Json, Story, usage_price

RATES = [
    {"match": {"model": "large"}, "unit": "0.010"},
    {"match": {"model": "small"}, "unit": "0.002"},
]
TOKENS = usage_price(
    "tokens", "tokens", model="dimensional", dimensions=["model"], rates=RATES,
    otherwise="quarantine",
)  # fmt: skip


async def begin(story: Story, price: Json = TOKENS, **plan: Any) -> None:
    await story.meter("tokens", dimensions=["model"])
    await story.plan("p", price, **plan)
    await story.customer()
    await story.subscribe("p")


def work(q: str, cost: object = None, model: str = "large") -> Json:
    data = {"q": q, "model": model}
    return {"data": data if cost is None else {**data, "cost": cost}}


async def place(story: Story, first: Json, *alternatives: Json, **fields: Any) -> Json:
    body = {"customer": "acme", "estimate": {"type": "tokens", **first}, **fields}
    if alternatives:
        body["alternatives"] = list(alternatives)
    return await story.ask("POST", "/v1/holds", json=body)


async def test_a_call_that_leaves_too_little_is_refused(story: Story) -> None:
    await begin(story, margin={"floor": "30"})
    # 100 x 0.010 = 1.00: at most 0.70 may be spent.
    assert (await place(story, work("100", "0.70")))["allowed"] is True
    refused = await place(story, work("100", "0.80"))
    assert refused == {
        "allowed": False, "reason": "margin_floor", "shortfall": "0.1",
        "limit": {"kind": "margin", "asset": "USD", "floor": "30", "margin_percent": "20",
                  "price": "1", "cost": "0.8"},
    }  # fmt: skip
    # A cost that is not said is told, not refused; what happened is charged whatever it cost.
    untold = await place(story, work("100"))
    assert (untold["allowed"], untold["warnings"]) == (True, ["cost_unknown"])
    event = {"id": "a", "type": "tokens", **work("100", "5")}
    await story.ask("POST", f"/v1/holds/{untold['id']}/capture", json={"events": [event]})
    assert (await story.upcoming())["subtotal"] == "1.00"
    # An amount is no call whose cost could be told.
    plain = {"customer": "acme", "asset": "USD", "amount": "1"}
    assert (await story.ask("POST", "/v1/holds", json=plain))["allowed"] is True


async def test_a_soft_floor_tells(story: Story) -> None:
    await begin(story, margin={"floor": "30", "enforcement": "soft"})
    told = await place(story, work("100", "0.80"))
    assert (told["allowed"], told["amount"], told["warnings"]) == (True, "1", ["margin_floor"])


async def test_a_call_goes_to_the_first_model_that_keeps_the_floor(story: Story) -> None:
    await begin(story, margin={"floor": "50"})
    # large: 1.00 - 0.90 = 10 %. small at 0.15 of 0.20: 25 %. small at 0.05: 75 %.
    cheap = work("100", "0.05", "small")
    found = await place(story, work("100", "0.90"), work("100", "0.15", "small"), cheap)
    assert (found["allowed"], found["alternative"], found["amount"]) == (True, 1, "0.2")
    # What was asked for comes first, and none is named then.
    found = await place(story, work("100", "0.40"), cheap)
    assert (found["amount"], "alternative" in found) == ("1", False)
    # Where none fits, what was asked for says why.
    found = await place(story, work("100", "0.90"), work("100", "0.19", "small"))
    assert (found["allowed"], found["limit"]["margin_percent"]) == (False, "10")


async def test_alternatives_fit_a_budget_too_in_a_group(story: Story) -> None:
    """No floor: what is left of a budget decides which model is used."""
    await begin(story)
    budget = {"asset": "USD", "limit": "1.5", "window": "day"}
    await story.ask("PUT", "/v1/customers/acme/budgets/all", json=budget)
    small = work("100", model="small")
    wish = {"customer": "acme", "estimate": {"type": "tokens", **work("100")}}
    holds = [{**wish, "alternatives": [small]}] * 4 + [wish]
    body = {"mode": "independent", "holds": holds}
    answers = (await story.ask("POST", "/v1/holds/batch", json=body))["data"]
    # 1.00 + 0.20 + 0.20 = 1.40; a fourth of 0.20 would pass 1.50, and so would 1.00.
    assert [one.get("amount") for one in answers] == ["1", "0.2", "0.2", None, None]
    assert [one.get("alternative") for one in answers] == [None, 0, 0, None, None]
    assert {one.get("reason") for one in answers[3:]} == {"budget_exceeded"}
    assert [one["shortfall"] for one in answers[3:]] == ["0.9", "0.9"]  # 1.40 + 1.00 - 1.50


async def test_included_units_are_judged_by_what_comes_after_them(story: Story) -> None:
    await story.meter("tokens")
    await story.plan(
        "p", usage_price("tokens", "tokens", model="per_unit", unit="0.01", included="150"),
        margin={"floor": "30", "free_cost_max": "0.40"},
    )  # fmt: skip
    await story.customer()
    await story.subscribe("p")
    # 50 of 150 are free, and the next 50, too: it may cost 0.40.
    assert (await place(story, work("50", "0.40")))["allowed"] is True
    refused = await place(story, work("50", "0.41"))
    assert (refused["limit"]["price"], refused["limit"]["margin_percent"]) == ("0", None)
    assert refused["shortfall"] == "0.01"
    # A call of nothing is free, too.
    assert (await place(story, work("0", "0.40")))["allowed"] is True
    assert (await place(story, work("0", "0.41")))["reason"] == "margin_floor"
    # 100 are free, but the next 100 would be 50 x 0.01 = 0.50, of which 0.35 may be spent.
    assert (await place(story, work("100", "0.35")))["allowed"] is True
    assert (await place(story, work("100", "0.36")))["limit"]["price"] == "0.5"
    # 140 are used: 20 more cost the customer 0.10, as the next 20 would 0.20.
    await story.use({"id": "a", "subject": "acme", "type": "tokens", "data": {"q": "140"}})
    found = await place(story, work("20", "0.14"))
    assert (found["allowed"], found["amount"]) == (True, "0.1")
    assert (await place(story, work("20", "0.15")))["limit"]["margin_percent"] == "25"


async def test_credit_units_count_at_their_price(story: Story) -> None:
    price = usage_price(
        "tokens", "tokens", model="per_unit", unit="2", asset="credits", settle="wallet"
    )
    assets = [{"asset": "credits", "unit_price": "0.05"}]
    await begin(story, price, assets=assets, margin={"floor": "20"})
    await story.grant("1000", asset="credits")
    # 10 x 2 credits x 0.05 = 1.00.
    found = await place(story, work("10", {"amount": "0.80", "asset": "USD"}))
    assert (found["allowed"], found["amount"], found["asset"]) == (True, "20", "credits")
    assert (await place(story, work("10", "0.81")))["limit"]["margin_percent"] == "19"
    other: Json = {"customer": "acme", "estimate": {"type": "tokens", **work("1")}}
    for cost, code in (
        ({"amount": "1", "asset": "EUR"}, "other_asset_cost"),
        ("x", "invalid_cost"),
    ):
        other["alternatives"] = [work("1", cost)]
        assert await story.refused("POST", "/v1/holds", json=other) == (422, code)
    # Among several holds it is said which.
    body: Json = {"holds": [{"customer": "acme", "asset": "USD", "amount": "1"}, other]}
    answer = await story.client.post("/v1/holds/batch", json=body)
    found = problem(answer, 422, "invalid_cost")
    assert found["errors"][0]["path"] == "holds[1].alternatives[0].data.cost"


async def test_what_cannot_be_is_named(story: Story) -> None:
    await story.meter("tokens")
    credits = usage_price(
        "tokens", "tokens", model="per_unit", unit="2", asset="credits", settle="wallet"
    )
    plan: Json = {"key": "p", "currency": "USD", "period": "month", "prices": [credits]}
    assets = [{"asset": "credits", "unit_price": "0.05"}]
    for margin, more, code in (
        ({"floor": "30"}, {}, "no_unit_price"),
        ({"floor": "100"}, {"assets": assets}, "out_of_range"),
        ({"floor": "a lot"}, {"assets": assets}, "invalid_number"),
        ({"floor": "1", "enforcement": "off"}, {"assets": assets}, "invalid_choice"),
    ):
        put = {**plan, **more, "margin": margin}
        assert await story.refused("PUT", "/v1/plans/p", json=put) == (422, code)
    await story.customer()
    amount = {"customer": "acme", "asset": "USD", "amount": "1", "alternatives": [work("1")]}
    assert await story.refused("POST", "/v1/holds", json=amount) == (422, "conflicting_fields")
    group = [{"customer": "acme", "estimate": {"type": "tokens"}, "alternatives": [work("1")] * 9}]
    assert await story.refused("POST", "/v1/holds/batch", json={"holds": group * 101}) == (
        422, "too_many",
    )  # fmt: skip
    many = {"customer": "acme", "estimate": {"type": "tokens"}, "alternatives": [work("1")] * 10}
    assert await story.refused("POST", "/v1/holds", json=many) == (422, "too_many")


async def test_a_customer_does_not_see_what_the_seller_wants_to_earn(
    story: Story, instance: Instance
) -> None:
    await begin(story, margin={"floor": "30"})
    key = {"name": "a", "scopes": ["read"], "customer": "acme"}
    secret = (await story.ask("POST", "/v1/api_keys", json=key))["secret"]
    assert (await story.ask("GET", "/v1/plans/p"))["margin"] == {"floor": "30"}
    async with client_for(instance, secret) as theirs:
        texts = [
            (await theirs.get(path)).text
            for path in ("/v1/plans/p", "/v1/plans", "/v1/plans/p/versions", "/v1/plans/p/export")
        ]
        body = {"document": (await theirs.get("/v1/plans/p/export?format=json")).json()}
        compared: httpx.Response = await theirs.post("/v1/plans/p/diff", json=body)
        problem(await theirs.put("/v1/plans/p", json={}), 403, "forbidden")
    assert all("tokens" in text and "margin" not in text for text in texts)
    assert (compared.json()["unchanged"], compared.json()["changes"]) == (True, [])
