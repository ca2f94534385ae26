"""Coupons: what they say, who may redeem them, and that their limits hold."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from taximeter.kernel.times import format_instant
from tests.http.api import NOW, get, problem, put_customer

DAY = timedelta(days=1)
SetClock = Callable[[datetime], None]
Json = dict[str, Any]


async def put_plan(client: httpx.AsyncClient, key: str = "plan", **fields: Any) -> None:
    """A plan of one fee of 100.00, billed at the end of its month."""
    fee = {"key": "fee", "type": "flat", "amount": "100", "timing": "arrears"}
    body = {"currency": "USD", "period": "month", "prices": [fee], **fields}
    answer = await client.put(f"/v1/plans/{key}", json=body)
    assert answer.status_code in (200, 201), answer.text


async def put_coupon(client: httpx.AsyncClient, key: str = "LAUNCH", **fields: Any) -> Json:
    """A coupon of 20%, or of what `fields` say."""
    if "amount" not in fields:
        fields.setdefault("percent", "20")
    answer = await client.put(f"/v1/coupons/{key}", json=fields)
    assert answer.status_code in (200, 201), answer.text
    found: Json = answer.json()
    return found


async def subscribe(client: httpx.AsyncClient, customer: str = "acme", **fields: Any) -> str:
    """A customer and its subscription; the subscription's id."""
    await put_customer(client, customer)
    body = {"customer": customer, "plan": "plan", **fields}
    answer = await client.post("/v1/subscriptions", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def redeem(
    client: httpx.AsyncClient, subscription: str, coupon: str = "LAUNCH", **headers: str
) -> httpx.Response:
    """The answer to redeeming a coupon."""
    path = f"/v1/subscriptions/{subscription}/coupons"
    return await client.post(path, json={"coupon": coupon}, headers=headers)


async def test_a_coupon_is_answered_as_it_was_put(client: httpx.AsyncClient) -> None:
    body: Json = {
        "key": "LAUNCH", "name": "Launch", "amount": "30.00", "currency": "USD", "months": 3,
        "prices": ["fee"], "plans": ["plan", "other"], "redeem_from": "2026-03-01T01:00:00+01:00",
        "redeem_by": "2026-04-01T00:00:00Z", "starts_at": "2026-03-01T00:00:00Z",
        "ends_at": "2027-03-01T00:00:00Z", "redemptions_max": "50", "per_customer_max": 2,
        "first_time_only": True,
    }  # fmt: skip
    found = await put_coupon(client, **body)
    assert found == {
        **body, "version": 1, "amount": "30", "percent": None, "redemptions_max": 50,
        "redeem_from": "2026-03-01T00:00:00Z", "redeemed": 0, "created_at": format_instant(NOW),
        "updated_at": format_instant(NOW), "ended_at": None,
    }  # fmt: skip
    assert await get(client, "/v1/coupons/LAUNCH") == found
    assert (await get(client, "/v1/coupons"))["data"] == [found]
    least = await put_coupon(client, "PLAIN", percent="12.5")
    assert (least["name"], least["percent"], least["per_customer_max"]) == ("PLAIN", "12.5", 1)
    assert {least[name] for name in ("months", "prices", "plans", "redemptions_max")} == {None}
    page = await get(client, "/v1/coupons", limit=1)
    rest = await get(client, "/v1/coupons", cursor=page["next_cursor"])
    assert [one["key"] for one in (*page["data"], *rest["data"])] == ["LAUNCH", "PLAIN"]
    problem(await client.get("/v1/coupons/NONE"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({}, "percent", "required"),
        ({"percent": "10", "amount": "5", "currency": "USD"}, "percent", "required"),
        ({"percent": "100.1"}, "percent", "out_of_range"),
        ({"percent": "-1"}, "percent", "out_of_range"),
        ({"percent": 0.5}, "percent", "invalid_number"),
        ({"amount": "5"}, "currency", "required"),
        ({"amount": "5", "currency": "usd"}, "currency", "unknown_currency"),
        ({"percent": "5", "currency": "USD"}, "currency", "unknown_field"),
        ({"percent": "5", "months": 0}, "months", "out_of_range"),
        ({"percent": "5", "prices": []}, "prices", "required"),
        ({"percent": "5", "prices": ["a b"]}, "prices[0]", "invalid_key"),
        ({"percent": "5", "plans": "plan"}, "plans", "invalid_type"),
        ({"percent": "5", "plans": ["p"] * 101}, "plans", "too_many"),
        ({"percent": "5", "redeem_by": "2026-03-01"}, "redeem_by", "invalid_time"),
        (
            {
                "percent": "5",
                "starts_at": "2026-03-01T00:00:00Z",
                "ends_at": "2026-03-01T00:00:00Z",
            },
            "ends_at",
            "too_early",
        ),
        ({"percent": "5", "redemptions_max": 0}, "redemptions_max", "out_of_range"),
        ({"percent": "5", "per_customer_max": "x"}, "per_customer_max", "out_of_range"),
        ({"percent": "5", "first_time_only": "yes"}, "first_time_only", "invalid_type"),
        ({"percent": "5", "key": "OTHER"}, "key", "invalid_key"),
        ({"percent": "5", "max": 3}, "max", "unknown_field"),
    ],
)
async def test_what_is_wrong_is_named(
    shared: httpx.AsyncClient, body: Json, path: str, code: str
) -> None:
    found = problem(await shared.put("/v1/coupons/WRONG", json=body), 422, code)
    assert [one["path"] for one in found["errors"]] == [path]
    problem(await shared.get("/v1/coupons/WRONG"), 404, "not_found")


async def test_a_redeemed_coupon_keeps_its_terms(client: httpx.AsyncClient) -> None:
    await put_plan(client)
    await put_coupon(client, months=3, per_customer_max=2)
    first = await subscribe(client)
    answer = await redeem(client, first)
    assert answer.status_code == 201
    redemption = answer.json()
    assert redemption.pop("id").startswith("red_")
    assert redemption == {
        "customer": "acme", "subscription": first, "source": "coupon", "coupon": "LAUNCH",
        "version": 1, "percent": "20", "amount": None, "months": 3, "prices": None, "plans": None,
        "starts_at": None, "ends_at": None, "from": format_instant(NOW), "until": None,
        "created_at": format_instant(NOW),
    }  # fmt: skip
    assert (await put_coupon(client, months=3, per_customer_max=2))["version"] == 1  # the same
    changed = await put_coupon(client, percent="50", per_customer_max=2)
    assert (changed["version"], changed["redeemed"]) == (2, 1)
    second = await subscribe(client)
    assert (await redeem(client, second)).json()["version"] == 2
    for subscription, off in ((first, "20.00"), (second, "50.00")):
        path = "/v1/customers/acme/upcoming_invoice"
        invoice = await get(client, path, subscription=subscription)
        assert (invoice["subtotal"], invoice["discount"]) == ("100.00", off)
    assert (await get(client, "/v1/coupons/LAUNCH"))["redeemed"] == 2


async def test_who_may_redeem_and_when(client: httpx.AsyncClient, set_clock: SetClock) -> None:
    await put_plan(client)
    subscription = await subscribe(client)
    week = {"redeem_from": format_instant(NOW), "redeem_by": format_instant(NOW + 7 * DAY)}
    await put_coupon(client, "WEEK", **week)
    await put_coupon(client, "LATER", redeem_from=format_instant(NOW + DAY))
    await put_coupon(client, "OTHER", plans=["other"])
    await put_coupon(client, "CALLS", prices=["calls"])
    await put_coupon(client, "EURO", amount="5", currency="EUR")
    await put_coupon(client, "GONE")
    ended = (await client.delete("/v1/coupons/GONE")).json()
    assert ended["ended_at"] == format_instant(NOW)
    assert (await client.delete("/v1/coupons/GONE")).json() == ended
    for coupon, code, cure in (
        ("LATER", "coupon_not_started", "2026-03-11T12:00:00Z"),
        ("OTHER", "coupon_not_applicable", "for the plans other"),
        ("CALLS", "coupon_not_applicable", "for the prices calls"),
        ("EURO", "coupon_not_applicable", "in EUR, the plan in USD"),
        ("GONE", "coupon_expired", "was ended"),
    ):
        found = problem(await redeem(client, subscription, coupon), 422, code)
        assert cure in found["detail"]
        assert found["errors"][0]["path"] == "coupon"
        if coupon != "GONE":
            assert (await get(client, f"/v1/coupons/{coupon}"))["redeemed"] == 0
    problem(await redeem(client, subscription, "NONE"), 404, "not_found")
    problem(await redeem(client, "sub_none", "WEEK"), 404, "not_found")
    assert (await redeem(client, subscription, "WEEK")).status_code == 201
    set_clock(NOW + 7 * DAY)
    problem(await redeem(client, subscription, "WEEK"), 422, "coupon_expired")
    await put_coupon(client, "GONE")  # put again, it can be redeemed again
    assert (await redeem(client, subscription, "GONE")).status_code == 201
    cancel = {"at": format_instant(NOW + 8 * DAY)}
    await client.post(f"/v1/subscriptions/{subscription}/cancel", json=cancel)
    set_clock(NOW + 8 * DAY)
    problem(await redeem(client, subscription, "LATER"), 409, "invalid_state")


async def test_one_customer_redeems_as_often_as_it_may(client: httpx.AsyncClient) -> None:
    await put_plan(client)
    await put_coupon(client)
    await put_coupon(client, "TWICE", per_customer_max=2)
    first, second = await subscribe(client), await subscribe(client)
    assert (await redeem(client, first)).status_code == 201
    problem(await redeem(client, second), 422, "coupon_used_up")
    redeemed = await redeem(client, first, "TWICE")
    problem(await redeem(client, first, "TWICE"), 422, "coupon_not_applicable")  # it lasts yet
    path = f"/v1/subscriptions/{first}/coupons/{redeemed.json()['id']}"
    ended = (await client.delete(path)).json()
    assert ended["until"] == format_instant(NOW)
    assert (await client.delete(path)).json() == ended
    problem(await client.delete(path.replace(first, second)), 404, "not_found")
    assert (await redeem(client, first, "TWICE")).status_code == 201
    problem(await redeem(client, second, "TWICE"), 422, "coupon_used_up")  # ended ones count
    listed = (await get(client, f"/v1/subscriptions/{first}/discounts"))["data"]
    assert [(one["coupon"], one["until"]) for one in listed] == [
        ("LAUNCH", None), ("TWICE", format_instant(NOW)), ("TWICE", None),
    ]  # fmt: skip
    problem(await client.get("/v1/subscriptions/sub_none/discounts"), 404, "not_found")


async def test_a_coupon_for_new_customers(client: httpx.AsyncClient) -> None:
    """Only before the first invoice; so it is given when the subscription is made."""
    ahead = {"key": "fee", "type": "flat", "amount": "100", "timing": "advance"}
    await put_plan(client, prices=[ahead])
    await put_coupon(client, first_time_only=True)
    invoiced = await subscribe(client)
    problem(await redeem(client, invoiced), 422, "coupon_not_applicable")
    body = {"customer": "acme", "plan": "plan", "coupon": "LAUNCH"}
    answer = await client.post("/v1/subscriptions", json=body)
    problem(answer, 422, "coupon_not_applicable")
    assert len((await get(client, "/v1/subscriptions"))["data"]) == 1  # nothing was begun
    await subscribe(client, "new", coupon="LAUNCH")
    [invoice] = (await get(client, "/v1/invoices", customer="new"))["data"]
    assert (invoice["subtotal"], invoice["total"], invoice["status"]) == ("100.00", "80.00", "open")


async def test_five_are_left_for_twenty(client: httpx.AsyncClient) -> None:
    await put_plan(client)
    await put_coupon(client, redemptions_max=5)
    customers = [f"c{n}" for n in range(20)]
    subscriptions = [await subscribe(client, customer) for customer in customers]
    answers = await asyncio.gather(*(redeem(client, one) for one in subscriptions))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [422] * 15
    for answer in answers:
        if answer.status_code == 422:
            problem(answer, 422, "coupon_used_up")
    assert (await get(client, "/v1/coupons/LAUNCH"))["redeemed"] == 5
    given = [
        len((await get(client, f"/v1/subscriptions/{one}/discounts"))["data"])
        for one in subscriptions
    ]
    assert sum(given) == 5


async def test_one_customer_at_once(client: httpx.AsyncClient) -> None:
    await put_plan(client)
    await put_coupon(client, per_customer_max=3)
    subscriptions = [await subscribe(client) for _ in range(10)]
    answers = await asyncio.gather(*(redeem(client, one) for one in subscriptions))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 7
    assert (await get(client, "/v1/coupons/LAUNCH"))["redeemed"] == 3


async def test_a_coupon_put_twice_at_once_is_two_versions(client: httpx.AsyncClient) -> None:
    bodies: list[Json] = [{"percent": "10"}, {"percent": "20"}]
    answers = await asyncio.gather(*(client.put("/v1/coupons/C", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 201]
    assert sorted(answer.json()["version"] for answer in answers) == [1, 2]


async def test_a_replay_redeems_once(client: httpx.AsyncClient) -> None:
    await put_plan(client)
    await put_coupon(client, per_customer_max=9)
    subscription = await subscribe(client)
    key = {"Idempotency-Key": "redeem-1"}
    first = await redeem(client, subscription, **key)
    again = await redeem(client, subscription, **key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replay"] == "true"
    assert (await get(client, "/v1/coupons/LAUNCH"))["redeemed"] == 1
    problem(await redeem(client, subscription, "OTHER", **key), 409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("discount", "path", "code"),
    [
        ({}, "discount", "required"),
        ({"percent": "120"}, "discount.percent", "out_of_range"),
        ({"amount": 0.5}, "discount.amount", "invalid_number"),
        ({"percent": "10", "months": "P3M"}, "discount.months", "out_of_range"),
        ({"percent": "10", "prices": ["fee"]}, "discount.prices", "unknown_field"),
        ("10", "discount", "invalid"),
    ],
)
async def test_a_subscription_s_discount_is_checked(
    shared: httpx.AsyncClient, discount: object, path: str, code: str
) -> None:
    await put_plan(shared)
    await put_customer(shared)
    body = {"customer": "acme", "plan": "plan", "discount": discount}
    for target in ("/v1/subscriptions", "/v1/subscriptions/sub_none/change"):
        sent = body if target.endswith("subscriptions") else {"discount": discount}
        found = problem(await shared.post(target, json=sent), 422, code)
        assert [one["path"] for one in found["errors"]] == [path]


async def test_a_subscription_takes_so_many_discounts(client: httpx.AsyncClient) -> None:
    await put_plan(client)
    subscription = await subscribe(client)
    change = f"/v1/subscriptions/{subscription}/change"
    for n in range(100):
        answer = await client.post(change, json={"discount": {"percent": str(n)}})
        assert answer.status_code == 200, answer.text
    answer = await client.post(change, json={"discount": {"percent": "5"}})
    problem(answer, 422, "too_many")
    assert (await client.post(change, json={"discount": None})).status_code == 200
