"""Small currencies, long pasts, contracts that never ran, and what explains a line."""

import asyncio

import pytest

from taximeter.kernel.paging import encode_cursor
from tests.scenarios.story import Json, Story, amounts, event, flat, span, totals, usage_price


@pytest.mark.parametrize(
    ("currency", "quantity", "line", "credit"),
    # Case 34: JPY has no minor unit, BHD three; a half rounds away from zero.
    [("JPY", "1023.45", "1023", "23"), ("JPY", "1023.5", "1024", "24"),
     ("BHD", "1.0005", "1.001", "1.000"), ("USD", "10.275", "10.28", "9.99")],
)  # fmt: skip
async def test_minor_units(
    story: Story, currency: str, quantity: str, line: str, credit: str
) -> None:
    await story.customer(currency=currency)
    await story.meter("u")
    await story.plan("p", usage_price("u", "u", unit="1"), currency=currency)
    await story.subscribe("p")
    await story.use(event("u", "a", q=quantity))
    await story.grant(credit, asset=currency)
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert (invoice["lines"][0]["amount"], invoice["total"]) == (line, line)
    assert invoice["paid_credits"] == credit
    assert invoice["rounding_residue"] != "0"


async def test_a_contract_of_twenty_years_ago(story: Story) -> None:
    """240 months are closed, some at once and the rest as soon as time moves; each once."""
    await story.customer()
    await story.meter("u")
    await story.plan("p", usage_price("u", "u", unit="1"), grace="PT0S")
    times = [f"{year}-{month:02d}-15T00:00:00Z" for year in range(2006, 2026) for month in (1, 7)]
    await story.use(*[event("u", time, time, q=1) for time in times])
    await story.subscribe("p", starts_at="2006-01-01T00:00:00Z")
    await story.advance("2026-01-02T00:00:00Z")
    invoices = await story.invoices()
    assert totals(invoices) == ["1.00"] * 40
    assert span(invoices[-1]) == ("2025-07-01T00:00:00Z", "2025-08-01T00:00:00Z")


async def test_a_contract_may_not_begin_thousands_of_periods_ago(story: Story) -> None:
    await story.customer()
    await story.plan("p", flat("fee", "1.00", timing="arrears"), period="day")
    body = {"customer": "acme", "plan": "p", "starts_at": "1000-01-01T00:00:00Z"}
    assert await story.refused("POST", "/v1/subscriptions", json=body) == (422, "too_early")
    body["starts_at"] = "2025-12-01T00:00:00Z"
    assert (await story.ask("POST", "/v1/subscriptions", json=body))["status"] == "active"


async def test_a_customer_that_no_event_could_name_is_refused(story: Story) -> None:
    for key in ("a%C2%A0b", "a%E2%80%8Bb", "a%09b"):
        status, _ = await story.refused("PUT", f"/v1/customers/{key}", json={})
        assert status == 422, key
    await story.customer("😀 & co.")
    await story.meter("u")
    await story.use(event("u", "a", customer="😀 & co.", q=1))


async def test_a_contract_that_never_ran(story: Story) -> None:
    await story.customer()
    await story.meter("u")
    await story.plan("p", usage_price("u", "u", unit="1"), flat("fee", "10", timing="arrears"))
    subscription = await story.subscribe("p", starts_at="2026-01-10T00:00:00Z")
    cancelled = await story.cancel(subscription, at="2026-01-10T00:00:00Z")
    assert cancelled["ends_at"] == "2026-01-10T00:00:00Z"
    await story.use(event("u", "a", q=5))
    await story.advance("2026-04-01T00:00:00Z")
    assert await story.invoices() == []


async def test_a_contract_with_an_end(story: Story) -> None:
    """From 10 January to 20 February: 22 of 31 days in advance, then 19 of 28; arrears the same."""
    await story.customer()
    await story.meter("u")
    await story.plan(
        "p", flat("before", "31", timing="advance"), flat("after", "28", timing="arrears"),
        usage_price("u", "u", unit="1"),
    )  # fmt: skip
    await story.subscribe(
        "p", anchor="2026-01-01", starts_at="2026-01-10T00:00:00Z", ends_at="2026-02-20T00:00:00Z"
    )
    await story.advance("2026-01-15T00:00:00Z")
    await story.use(event("u", "a", q=2))
    await story.advance("2026-02-19T00:00:00Z")
    await story.use(event("u", "b", q=3), event("u", "c", "2026-02-20T00:00:00Z", q=100))
    await story.advance("2026-04-01T00:00:00Z")
    first, january, february = await story.invoices()
    assert amounts(first, "price", "amount") == [("before", "22.00")]
    # 31 x 19/28 = 21.04; 28 x 22/31 = 19.87
    assert sorted(amounts(january, "price", "amount")) == [
        ("after", "19.87"), ("before", "21.04"), ("u", "2.00"),
    ]  # fmt: skip
    assert sorted(amounts(february, "price", "amount")) == [("after", "19.00"), ("u", "3.00")]


async def test_what_explains_a_line_adds_up_to_it(story: Story) -> None:
    """Page by page, before and after a change of price in mid-month, and for a rate."""
    await story.customer()
    await story.meter("u", dimensions=["model"])
    rates = [{"match": {"model": "a"}, "unit": "1"}, {"match": {"model": "b"}, "unit": "2"}]
    by_model = {"model": "dimensional", "dimensions": ["model"], "rates": rates}
    await story.plan("p", usage_price("u", "u", **by_model))
    await story.plan("q", usage_price("u", "u", unit="3"))
    subscription = await story.subscribe("p")
    await story.advance("2026-01-31T00:00:00Z")
    await story.use(*[
        event("u", f"e{n}", f"2026-01-{n % 30 + 1:02d}T10:00:00Z", q=n, model="ab"[n % 2])
        for n in range(250)
    ])  # fmt: skip
    await story.change(subscription, plan="q", at="2026-01-16T00:00:00Z")
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert len(invoice["lines"]) == 3
    for line in invoice["lines"]:
        path = f"/v1/invoices/{invoice['id']}/lines/{line['id']}/explain"
        found: list[Json] = []
        cursor: Json = {}
        while True:
            page = await story.ask("GET", path, params={"limit": 40, **cursor})
            assert (page["amount"], page["quantity"]) == (line["amount"], line["quantity"])
            found += page["events"]["data"]
            if page["events"]["next_cursor"] is None:
                break
            cursor = {"cursor": page["events"]["next_cursor"]}
        assert sum(int(one["quantity"]) for one in found) == int(line["quantity"])
        assert len({one["id"] for one in found}) == len(found)


async def test_a_line_is_explained_by_what_was_counted(story: Story) -> None:
    """The meter has changed since: what stands on the invoice was read by its old version."""
    story.audited = False
    await story.customer()
    await story.meter("u", value="a")
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.subscribe("p")
    await story.use(event("u", "x", a=3, b=100))
    await story.advance("2026-01-10T00:00:00Z")
    await story.meter("u", value="b")
    await story.use(event("u", "y", a=100, b=4))
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert invoice["total"] == "7.00"
    path = f"/v1/invoices/{invoice['id']}/lines/line_1/explain"
    page = await story.ask("GET", path)
    assert [one["quantity"] for one in page["events"]["data"]] == ["3", "4"]
    forged = encode_cursor(("yesterday", "", "x"))
    refused = await story.refused("GET", path, params={"cursor": forged})
    assert refused == (422, "invalid_cursor")
    assert await story.refused("GET", path.replace("line_1", "line_9")) == (404, "not_found")


async def test_a_request_twice_at_once_is_done_once(story: Story) -> None:
    """With an Idempotency-Key: ten at once make one subscription, one grant, one fee."""
    await story.customer()
    await story.plan("p", flat("fee", "10.00", timing="advance"))
    for path, body in (
        ("/v1/subscriptions", {"customer": "acme", "plan": "p"}),
        ("/v1/grants", {"customer": "acme", "asset": "USD", "kind": "paid", "amount": "5"}),
    ):
        headers = {"idempotency-key": path[-5:]}
        answers = await asyncio.gather(
            *[story.client.post(path, json=body, headers=headers) for _ in range(10)]
        )
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        replays = [answer.headers.get("idempotent-replay") for answer in answers]
        assert replays.count("true") == 9
        other = await story.refused("POST", path, json={**body, "customer": "b"}, headers=headers)
        assert other == (409, "idempotency_conflict")
    assert totals(await story.invoices()) == ["10.00"]
    assert await story.available() == "5"


async def test_ten_cancels_at_once_cancel_once(story: Story) -> None:
    await story.customer()
    await story.plan("p", flat("fee", "31.00", timing="advance"))
    subscription = await story.subscribe("p")
    await story.advance("2026-01-11T00:00:00Z")
    body = {"at": "now", "credit_unused": True}
    path = f"/v1/subscriptions/{subscription}/cancel"
    answers = await asyncio.gather(*[story.client.post(path, json=body) for _ in range(10)])
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    await story.advance("2026-03-01T00:00:00Z")
    assert totals(await story.invoices()) == ["31.00", "-21.00"]
    assert await story.available() == "21"
