"""What scenarios say: customers, plans, subscriptions and usage, month after month, by HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

START = datetime(2026, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


@dataclass(slots=True)
class Story:
    """One instance, told by its API. Every step must succeed unless the test looks itself.

    `audited`: when it has ended, its invoices are recomputed; not so where old versions of a meter
    counted, since the API shows the newest only. `books_right`: its books are checked then; not so
    where the test has damaged them.
    """

    client: httpx.AsyncClient
    audited: bool = True
    books_right: bool = True

    async def ask(self, method: str, path: str, **request: Any) -> Json:
        """The JSON of a request that must succeed."""
        answer = await self.client.request(method, path, **request)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    async def refused(self, method: str, path: str, **request: Any) -> tuple[int, str]:
        """The status and code of a request that must fail."""
        answer = await self.client.request(method, path, **request)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["code"]

    async def customer(self, key: str = "acme", **fields: Any) -> None:
        """Create or replace a customer."""
        await self.ask("PUT", f"/v1/customers/{key}", json=fields)

    async def meter(self, key: str, aggregation: str = "sum", **fields: Any) -> None:
        """Create or change a meter; by default it sums `q` of events of its own name."""
        body = {"event_type": key, "aggregation": aggregation, **fields}
        if aggregation != "count":
            body.setdefault("value", "q")
        await self.ask("PUT", f"/v1/meters/{key}", json=body)

    async def plan(self, key: str, *prices: Json, **fields: Any) -> None:
        """Publish a plan, monthly and in USD unless `fields` say otherwise."""
        body = {"key": key, "name": key, "currency": "USD", "period": "month", **fields}
        await self.ask("PUT", f"/v1/plans/{key}", json={**body, "prices": list(prices)})

    async def subscribe(self, plan: str, customer: str = "acme", **fields: Any) -> str:
        """Start a subscription; its id."""
        body = {"customer": customer, "plan": plan, **fields}
        return str((await self.ask("POST", "/v1/subscriptions", json=body))["id"])

    async def change(self, subscription: str, **fields: Any) -> Json:
        """Change a subscription."""
        return await self.ask("POST", f"/v1/subscriptions/{subscription}/change", json=fields)

    async def cancel(self, subscription: str, **fields: Any) -> Json:
        """Cancel a subscription."""
        return await self.ask("POST", f"/v1/subscriptions/{subscription}/cancel", json=fields)

    async def send(self, *events: Mapping[str, Any]) -> Json:
        """Send events as one batch; the answer."""
        return await self.ask("POST", "/v1/events", json=list(events))

    async def use(self, *events: Mapping[str, Any]) -> None:
        """Send events, all of which must be plainly accepted."""
        answer = await self.send(*events)
        assert answer["accepted"] == len(events), answer["results"][:3]

    async def now(self) -> str:
        """What the test clock shows."""
        return str((await self.ask("GET", "/v1/test_clock"))["now"])

    async def advance(self, to: str) -> None:
        """Move the clock on; what falls due by then is done."""
        await self.ask("POST", "/v1/test_clock/advance", json={"to": to})

    async def upcoming(self, customer: str = "acme", **parameters: Any) -> Json:
        """The customer's next invoice so far."""
        path = f"/v1/customers/{customer}/upcoming_invoice"
        return await self.ask("GET", path, params=parameters)

    async def invoices(self, customer: str = "acme", **parameters: Any) -> list[Json]:
        """The customer's invoices, the oldest first."""
        found = await self.everything("/v1/invoices", customer=customer, **parameters)
        return sorted(found, key=lambda one: (one["period"]["to"], one["id"]))

    async def invoice(self, invoice_id: str) -> Json:
        """One invoice."""
        return await self.ask("GET", f"/v1/invoices/{invoice_id}")

    async def everything(self, path: str, **parameters: Any) -> list[Json]:
        """All pages of a list."""
        rows: list[Json] = []
        cursor: Json = {}
        while True:
            page = await self.ask("GET", path, params={"limit": 100, **parameters, **cursor})
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            cursor = {"cursor": page["next_cursor"]}

    async def grant(self, amount: str, customer: str = "acme", **fields: Any) -> str:
        """Give credit in USD unless `fields` say otherwise; the grant's id."""
        body = {"customer": customer, "asset": "USD", "kind": "paid", "amount": amount, **fields}
        return str((await self.ask("POST", "/v1/grants", json=body))["id"])

    async def available(self, customer: str = "acme", asset: str = "USD") -> str:
        """What the customer's wallet has available."""
        balance = await self.ask("GET", f"/v1/customers/{customer}/balance")
        return str(next(one["available"] for one in balance["wallets"] if one["asset"] == asset))

    async def usage(self, meter: str, **parameters: Any) -> list[Json]:
        """All rows of a usage query."""
        return await self.everything(f"/v1/meters/{meter}/usage", **parameters)


def event(
    kind: str, event_id: str, time: str | None = None, *, customer: str = "acme", **fields: Any
) -> Json:
    """An event; `fields` are its data but for `subscription` and `source`, which are its own."""
    own: Json = {name: fields.pop(name) for name in ("subscription", "source") if name in fields}
    found: Json = {"id": event_id, "type": kind, "subject": customer, "data": fields, **own}
    return found if time is None else {**found, "time": time}


def flat(key: str, amount: str, **fields: Any) -> Json:
    """A flat fee."""
    return {"key": key, "type": "flat", "amount": amount, **fields}


def usage_price(key: str, meter: str, **fields: Any) -> Json:
    """A usage price; by default each unit costs `unit`."""
    return {"key": key, "type": "usage", "meter": meter, "model": "per_unit", **fields}


def amounts(invoice: Json, *names: str) -> list[tuple[str, ...]]:
    """Of each line: what of it these members say (by default its price, quantity and amount)."""
    names = names or ("price", "quantity", "amount")
    return [tuple(line[name] for name in names) for line in invoice["lines"]]


def span(document: Mapping[str, Any]) -> tuple[str, str]:
    """The period of an invoice or a line."""
    return document["period"]["from"], document["period"]["to"]


def totals(invoices: Sequence[Json]) -> list[str]:
    """The totals of invoices."""
    return [str(invoice["total"]) for invoice in invoices]
