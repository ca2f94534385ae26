"""What tests of the pages say often."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx

from tests.http.api import event, put_customer, put_meter, send

HOST = "http://pages.test"
PLAN = {
    "key": "pro", "name": "Pro", "currency": "USD", "period": "month",
    "prices": [
        {"key": "base", "name": "Base", "type": "flat", "amount": "49.00", "timing": "advance"},
        {"key": "input", "name": "Input", "type": "usage", "meter": "tokens", "model": "per_unit",
         "unit": "1.75", "per": "1000"},
    ],
}  # fmt: skip


class _Figures(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._name: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._name = dict(attrs).get("data-figure")
        if self._name is not None:
            self.found[self._name] = ""

    def handle_data(self, data: str) -> None:
        if self._name is not None:
            self.found[self._name] += data

    def handle_endtag(self, tag: str) -> None:
        self._name = None


def figures(page: str) -> dict[str, str]:
    """The figures of a page, by name."""
    parser = _Figures()
    parser.feed(page)
    return parser.found


async def subscribe(client: httpx.AsyncClient, key: str = "acme", **customer: Any) -> None:
    """A customer on the plan `pro` since 1 March."""
    await put_meter(client, dimensions=["model"], unit="tokens", name="Tokens")
    await put_customer(client, quote(key, safe=""), **customer)
    assert (await client.put("/v1/plans/pro", json=PLAN)).status_code in (200, 201)
    body = {"customer": key, "plan": "pro", "starts_at": "2026-03-01T00:00:00Z"}
    answer = await client.post("/v1/subscriptions", json=body)
    assert answer.status_code == 201, answer.text


async def use(
    client: httpx.AsyncClient, event_id: str, time: str, n: str, *, key: str = "acme",
    model: str = "gpt-5.2",
) -> None:  # fmt: skip
    """One event of `n` tokens."""
    answer = await send(client, [event(event_id, time, customer=key, n=n, model=model)])
    assert answer["accepted"] == 1, answer


async def close_march(client: httpx.AsyncClient) -> dict[str, Any]:
    """Let March close; its invoice."""
    answer = await client.post("/v1/test_clock/advance", json={"to": "2026-04-01T02:00:00Z"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = (await client.get("/v1/invoices")).json()["data"][0]
    return found
