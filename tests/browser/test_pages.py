"""The pages in a real browser, against a server of its own: signing in, live figures, an invoice.

The fixture `page` fails a test for any error on the console, so for anything that the pages'
security policy has refused.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

KEY = "tx_the-admin-key-of-browser-tests"
START = "2026-01-31T22:00:00Z"
STOP_S_MAX = 60
PLAN = {
    "key": "pro", "name": "Pro", "currency": "USD", "period": "month",
    "prices": [
        {"key": "base", "name": "Base fee", "type": "flat", "amount": "49.00"},
        {"key": "input", "name": "Input tokens", "type": "usage", "meter": "input",
         "model": "dimensional", "dimensions": ["model"], "otherwise": "quarantine",
         "rates": [{"match": {"model": "large"}, "unit": "1.75", "per": "1000"},
                   {"match": {"model": "small"}, "unit": "0.25", "per": "1000"}]},
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A running server with one customer, `acme`, and a client with its admin key."""

    url: str
    client: httpx2.Client

    def send(self, *events: dict[str, Any]) -> None:
        answer = self.client.post("/v1/events", json=list(events))
        assert answer.json()["accepted"] == len(events), answer.text

    def advance(self, to: str) -> None:
        answer = self.client.post("/v1/test_clock/advance", json={"to": to})
        assert answer.status_code == 200, answer.text


def event(event_id: str, time: str, tokens: int, model: str = "large") -> dict[str, Any]:
    data = {"model": model, "tokens": tokens}
    return {"id": event_id, "type": "call", "subject": "acme", "time": time, "data": data}


@pytest.fixture(scope="module")
def site(chromium: str) -> Iterator[Site]:
    """Served by `taximeter serve` in a process of its own, as a sandbox on fresh data."""
    with tempfile.TemporaryDirectory(prefix="tx-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        ours = ("DATABASE_URL", "TAXIMETER_URL")
        environment = {n: value for n, value in os.environ.items() if n not in ours}
        words = [sys.executable, "-c", "from taximeter.bootstrap import main; main()", "serve"]
        words += ["--data", str(folder / "data"), "--port", "0", "--sandbox", "--now", START]
        with subprocess.Popen(
            words, env={**environment, "TAXIMETER_API_KEY": KEY}, stdout=subprocess.PIPE, text=True,
        ) as server:  # fmt: skip
            try:
                assert server.stdout is not None
                ready = server.stdout.readline().split()
                assert ready[:1] == ["ready"], ready
                headers = {"authorization": f"Bearer {KEY}"}
                with httpx2.Client(base_url=ready[1], headers=headers, trust_env=False) as client:
                    found = Site(ready[1], client)
                    _set_up(found)
                    yield found
            finally:
                server.terminate()
                server.wait(STOP_S_MAX)


def _set_up(site: Site) -> None:
    meter = {"event_type": "call", "aggregation": "sum", "value": "tokens", "dimensions": ["model"],
             "name": "Input tokens", "unit": "tokens"}  # fmt: skip
    for path, body in (
        ("/v1/meters/input", meter),
        ("/v1/plans/pro", PLAN),
        ("/v1/customers/acme", {"name": "Acme Inc."}),
    ):
        assert site.client.put(path, json=body).status_code == 201, path
    body = {"customer": "acme", "plan": "pro", "starts_at": "2026-01-01T00:00:00Z"}
    assert site.client.post("/v1/subscriptions", json=body).status_code == 201
    site.send(
        event("a", "2026-01-05T10:00:00Z", 1_234_567),
        event("b", "2026-01-20T10:00:00Z", 7_654_321, "small"),
    )
    site.advance("2026-02-03T09:00:00Z")


@pytest.fixture
def signed_in(page: Page, site: Site) -> Page:
    """A page whose browser has signed in by the form; it shows the customers."""
    page.goto(site.url)
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Customers")).to_be_visible()
    return page


def test_a_figure_changes_without_a_reload(signed_in: Page, site: Site) -> None:
    row = signed_in.get_by_role("row", name="Acme Inc.").first
    expect(row).to_contain_text("$49.00")
    expect(signed_in.locator("#live-status")).to_have_text("Live")
    signed_in.evaluate("window.same = true")
    site.send(event("live-1", "2026-02-03T08:00:00Z", 2_000))
    expect(row).to_contain_text("$52.50")  # 49.00 + 2,000 x 1.75 / 1,000
    expect(signed_in.locator('[data-figure="today/events"]')).to_have_text("1")
    assert signed_in.evaluate("window.same") is True


def test_rows_that_were_not_there_appear(signed_in: Page, site: Site) -> None:
    assert site.client.put("/v1/customers/beta", json={"name": "Beta"}).status_code == 201
    expect(signed_in.get_by_role("link", name="Beta")).to_be_visible()


def test_a_customers_page_draws_its_charts(signed_in: Page) -> None:
    signed_in.get_by_role("link", name="Acme Inc.").click()
    expect(signed_in.get_by_role("heading", name="Acme Inc.")).to_be_visible()
    bars = signed_in.locator(".plot svg .mark-rect path")
    expect(bars.first).to_be_attached()
    assert bars.count() >= 2
    signed_in.get_by_text("Show as a table").click()
    expect(signed_in.get_by_role("row", name="5 Jan 2026 1,234,567")).to_be_visible()
    signed_in.locator('.plot svg path[aria-label*="1,234,567"]').hover(force=True)
    expect(signed_in.locator("#vg-tooltip-element")).to_contain_text("tokens")


def test_an_invoice_adds_up_and_explains_itself(signed_in: Page) -> None:
    signed_in.get_by_role("link", name=re.compile("INV-")).first.click()
    amounts = signed_in.locator("table.lines > tbody > tr > td:last-child").all_inner_texts()
    lines = [Decimal(amount.strip("$").replace(",", "")) for amount in amounts]
    total = signed_in.locator(".totals .grand dd").inner_text()
    # the fee for February, 1,234,567 x 1.75 / 1,000 and 7,654,321 x 0.25 / 1,000
    assert lines == [Decimal("49.00"), Decimal("2160.49"), Decimal("1913.58")]
    assert f"${sum(lines):,}" == total == "$4,123.07"
    signed_in.get_by_text("Input tokens: model large").first.click()
    explain = re.compile("Explain, down to the events.*model large")
    signed_in.get_by_role("link", name=explain).click()
    expect(signed_in.get_by_role("heading", name="The events behind it")).to_be_visible()
    expect(signed_in.get_by_role("row", name="5 Jan 2026, 10:00:00 1234567")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_window(
    signed_in: Page, width: int, scheme: Any, site: Site
) -> None:
    signed_in.set_viewport_size({"width": width, "height": 800})
    signed_in.emulate_media(color_scheme=scheme)
    invoice = site.client.get("/v1/invoices").json()["data"][0]["id"]
    for path in ("/", "/customers/acme", f"/invoices/{invoice}"):
        signed_in.goto(site.url + path)
        assert signed_in.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_keyboard_reaches_the_content(signed_in: Page) -> None:
    signed_in.keyboard.press("Tab")
    skip = signed_in.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()


def test_signing_out_leaves_nothing_to_see(signed_in: Page, site: Site) -> None:
    signed_in.get_by_role("button", name="Sign out").click()
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()
    signed_in.goto(f"{site.url}/customers/acme")
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()
