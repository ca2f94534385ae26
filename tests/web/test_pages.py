"""What the pages show: every figure as the API has it, and nothing that a browser would run."""

import json
import re
from urllib.parse import quote

import httpx
import pytest

from taximeter.bootstrap import Instance
from tests.http.api import event, put_customer, put_meter, send
from tests.web.site import close_march, figures, subscribe, use

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


async def test_without_customers_the_first_page_says_how_to_begin(
    browser: httpx.AsyncClient,
) -> None:
    answer = await browser.get("/")
    assert answer.status_code == 200
    assert "No customers yet." in answer.text
    assert figures(answer.text)["today/events"] == "0"


async def test_the_first_page_shows_today_and_each_customer(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await subscribe(client, name="Acme Inc.")
    await use(client, "a", "2026-03-09T23:59:59Z", "1000000")
    await use(client, "b", "2026-03-10T00:00:00Z", "123456")
    await use(client, "c", "2026-03-10T11:00:00Z", "1")
    page = (await browser.get("/")).text
    shown = figures(page)
    assert shown["today/events"] == "2"
    # f(1,123,457) - f(1,000,000) = 123,457 x 1.75 / 1,000 = 216.04975, with two digits more
    assert (shown["today/money"], shown["today/money/more"]) == ("$216.04", "98")
    assert shown["acme/today/events"] == "2"
    # 49.00 + 1,123,457 x 1.75 / 1,000 = 49.00 + 1,966.05
    assert shown["acme/spend"] == "$2,015.05"
    assert 'href="/customers/acme"' in page
    assert "Acme Inc." in page
    assert "10 Mar 2026, 12:00:00 UTC" in page


async def test_the_first_page_shows_what_waits(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    assert "In quarantine" not in (await browser.get("/")).text
    await subscribe(client)
    lost = event("a", customer="nobody", n=2)
    read = event("b", n=2000, model={})  # a model is a text; 2,000 x 1.75 / 1,000
    assert (await send(client, [lost, read]))["quarantined"] == 2
    page = (await browser.get("/")).text
    assert "Unknown customer" in page and "1 without a price" in page
    assert "Invalid dimension" in page and "$3.50" in page


async def test_todays_money_is_what_todays_usage_adds(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await put_meter(client)
    await put_meter(client, "calls", aggregation="count")
    tiers = {"key": "t", "type": "usage", "meter": "tokens", "model": "graduated", "included": "10",
             "tiers": [{"up_to": "100", "unit": "1"}, {"unit": "0.5"}]}  # fmt: skip
    burn = {"key": "b", "type": "usage", "meter": "calls", "model": "per_unit", "unit": "2",
            "asset": "credits", "settle": "wallet"}  # fmt: skip
    plan = {"key": "pro", "name": "Pro", "currency": "USD", "period": "month",
            "prices": [tiers, burn]}  # fmt: skip
    assert (await client.put("/v1/plans/pro", json=plan)).status_code == 201
    for key, starts_at in (("acme", "2026-03-01T00:00:00Z"), ("new", "2026-03-10T10:00:00Z")):
        await put_customer(client, key)
        body = {"customer": key, "plan": "pro", "starts_at": starts_at}
        assert (await client.post("/v1/subscriptions", json=body)).status_code == 201
        await use(client, "before", "2026-03-09T12:00:00Z", "90", key=key)
        await use(client, "today", "2026-03-10T11:00:00Z", "40", key=key)
    shown = figures((await browser.get("/")).text)
    # acme: 130 - 10 cost 100 + 10 = 110, 90 - 10 cost 80: 30 more; new: 40 - 10 = 30. The event
    # that both meters count is one.
    assert (shown["today/money"], shown["today/events"]) == ("$60.00", "2")
    assert shown["today/money/rest"] == "4 credits"


async def test_customers_come_in_pages(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    for number in range(27):
        await put_customer(client, f"c{number:02}")
    first = (await browser.get("/")).text
    assert 'href="/customers/c24"' in first
    assert 'href="/customers/c25"' not in first
    following = re.search(r'href="(/\?cursor=[^"]+)" rel="next"', first)
    assert following is not None
    second = (await browser.get(following[1])).text
    assert 'href="/customers/c26"' in second
    assert 'href="/customers/c24"' not in second
    assert (await browser.get("/?cursor=nonsense")).status_code == 400


async def test_a_hostile_name_is_text_everywhere(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    key = "a<b>\"'&?#%"
    await put_meter(client, dimensions=["model"], name=HOSTILE, unit=HOSTILE)
    await subscribe(client, key, name=HOSTILE)
    await put_meter(client, dimensions=["model"], name=HOSTILE, unit=HOSTILE)
    await use(client, "</script><img src=x>", "2026-03-10T11:00:00Z", "5", key=key, model=HOSTILE)
    home = (await browser.get("/")).text
    address = f"/customers/{quote(key, safe='')}"
    assert f'href="{address}"' in home
    answer = await browser.get(address)
    assert answer.status_code == 200
    invoice = await close_march(client)
    document = await browser.get(f"/invoices/{invoice['id']}")
    line = next(one["id"] for one in invoice["lines"] if one["meter"])
    explained = await browser.get(f"/invoices/{invoice['id']}/lines/{line}")
    for page in (home, answer.text, document.text, explained.text):
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "{{7*7}}" in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert not re.search(r"\son\w+=", page)
        assert "style=" not in page


async def test_a_customers_page(client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    await subscribe(client, timezone="America/New_York")
    await use(
        client, "a", "2026-03-05T04:59:59Z", "1000", model="gpt-5-mini"
    )  # still the 4th there
    await use(client, "b", "2026-03-05T05:00:00Z", "2500")
    grant = {"customer": "acme", "asset": "USD", "amount": "100", "kind": "promotional",
             "expires_at": "2026-05-01T00:00:00Z"}  # fmt: skip
    assert (await client.post("/v1/grants", json=grant)).status_code == 201
    page = (await browser.get("/customers/acme")).text
    shown = figures(page)
    assert shown["acme/wallet/USD"] == "$100.00"
    assert "expires 30 Apr 2026" in page
    hold = {"customer": "acme", "asset": "USD", "amount": "6"}
    assert (await client.post("/v1/holds", json=hold)).json()["allowed"] is True
    held = figures((await browser.get("/customers/acme")).text)
    assert held["acme/wallet/USD"] == "$94.00", "what is held is not available"
    upcoming = (await client.get("/v1/customers/acme/upcoming_invoice")).json()
    assert shown["upcoming/total"] == f"${upcoming['total']}"
    assert shown["acme/spend"] == "$55.13"  # 49.00 + 3,500 x 1.75 / 1,000 = 6.125
    table = re.sub(r"<[^>]+>", " ", page[page.index('<table class="figures">') :])
    assert re.search(r"5 Mar 2026\s+0\s+2,500\s+2,500\s+4 Mar 2026\s+1,000\s+0\s+1,000", table)
    spec = json.loads(
        re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[0]
    )
    values = {(v["day"], v["series"]): v["value"] for v in spec["data"]["values"]}
    assert values["2026-03-05", "gpt-5.2"] == "2500"
    assert values["2026-03-04", "gpt-5-mini"] == "1000"


async def test_a_customer_with_nothing_has_empty_states(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await put_customer(client)
    page = (await browser.get("/customers/acme")).text
    for text in ("No subscription is running", "No usage in the last 35 days", "No wallet.",
                 "No invoice will come", "No invoices yet"):  # fmt: skip
        assert text in page
    assert "/static/vega" not in page


async def test_budgets_and_what_is_suspended(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await subscribe(client)
    page = (await browser.get("/customers/acme")).text
    assert 'id="budgets"' not in page
    assert 'id="suspended"' not in page
    body = {"asset": "USD", "limit": "50", "window": "month", "path": "support"}
    answer = await client.put("/v1/customers/acme/budgets/team", json=body)
    assert answer.status_code == 201
    suspension = {"path": "support/bot", "reason": HOSTILE}
    answer = await client.post("/v1/customers/acme/suspend", json=suspension)
    assert answer.status_code == 200
    one = {**event("a", "2026-03-10T00:00:00Z", n="10000", model="m"), "path": "support/bot"}
    assert (await send(client, [one]))["accepted"] == 1
    page = (await browser.get("/customers/acme")).text
    shown = figures(page)
    # 10,000 x 1.75 / 1,000 = 17.50 of 50
    assert shown["acme/budget/team/spent"] == "$17.50"
    assert shown["acme/budget/team/held"] == "$0.00"
    assert shown["acme/budget/team/remaining"] == "$32.50"
    assert shown["acme/suspended/support/bot"] == HOSTILE
    assert HOSTILE not in page
    assert "by the seller" in page


async def test_an_invoice_shows_what_the_api_says(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await subscribe(client, name="Acme")
    await use(client, "a", "2026-03-05T00:00:00Z", "1234567")
    invoice = await close_march(client)
    page = (await browser.get(f"/invoices/{invoice['id']}")).text
    for text in (
        invoice["number"], "Acme", "1\N{EN DASH}31 Mar 2026", invoice["input_digest"],
        "$2,209.49", "1,234,567", "1.75 per 1000", "rounded once",
    ):  # fmt: skip
        assert text in page, text
    for line in invoice["lines"]:
        assert f'href="/invoices/{invoice["id"]}/lines/{line["id"]}"' in page


async def test_discounts_stand_between_the_lines_and_the_total(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await subscribe(client)
    await use(client, "a", "2026-03-05T00:00:00Z", "1000000")
    assert (await client.put("/v1/coupons/TEN", json={"percent": "10"})).status_code == 201
    [subscription] = (await client.get("/v1/subscriptions")).json()["data"]
    path = f"/v1/subscriptions/{subscription['id']}/coupons"
    assert (await client.post(path, json={"coupon": "TEN"})).status_code == 201
    shown = figures((await browser.get("/customers/acme")).text)
    # 49.00 + 1,750.00 = 1,799.00, less 179.90
    assert shown["upcoming/discount"] == "\N{MINUS SIGN}$179.90"
    assert shown["upcoming/total"] == "$1,619.10"
    page = (await browser.get(f"/invoices/{(await close_march(client))['id']}")).text
    for text in ("Discount TEN, 10%", "\N{MINUS SIGN}$179.90", "$1,619.10"):
        assert text in page, text


async def test_a_line_is_explained_down_to_its_events_in_pages(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    await subscribe(client)
    for number in range(30):
        await use(client, f"event-{number:02}", f"2026-03-05T00:00:{number:02}Z", "7")
    invoice = await close_march(client)
    line = next(one["id"] for one in invoice["lines"] if one["meter"])
    page = (await browser.get(f"/invoices/{invoice['id']}/lines/{line}")).text
    assert "event-24" in page
    assert "event-25" not in page
    following = re.search(r'href="([^"#]+)#events" rel="next"', page)
    assert following is not None
    rest = (await browser.get(following[1])).text
    assert "event-29" in rest
    assert "event-24" not in rest


@pytest.mark.parametrize(
    "path",
    ["/customers/nobody", "/invoices/inv_0", "/invoices/inv_0/lines/line_1", "/nowhere", "/a/b/c"],
)
async def test_what_is_not_there_is_a_page_of_its_own(
    browser: httpx.AsyncClient, path: str
) -> None:
    answer = await browser.get(path)
    assert answer.status_code == 404
    assert "This road leads nowhere" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_no_page_takes_a_post(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/", headers={"origin": "http://pages.test"})
    assert answer.status_code == 405


async def test_every_page_has_its_headers(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/login", "/nowhere"):
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


async def test_what_a_page_loads_is_ours_and_may_be_kept_for_ever(
    browser: httpx.AsyncClient,
) -> None:
    page = (await browser.get("/")).text
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(loaded) == 3
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    for address in loaded:
        answer = await browser.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = await browser.get(address, headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
    assert (await browser.get("/static/../pages.py")).status_code == 404
    assert (await browser.get("/static/app.0000.css")).status_code == 404


async def test_the_api_keeps_its_addresses(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, instance: Instance
) -> None:
    assert (await stranger.get("/healthz")).status_code == 200
    answer = await stranger.get("/v1/customers")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    nowhere = await client.get("/nowhere")
    assert nowhere.headers["content-type"] == "application/problem+json"
