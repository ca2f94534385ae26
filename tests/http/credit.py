"""What tests of credit say often: a price that draws from the wallet, a grant, usage, a balance."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import httpx

from tests.http.api import get, put_meter, send

_numbers = count(1)


async def put_wallet_price(
    client: httpx.AsyncClient,
    *customers: str,
    subscribe: bool = True,
    starts_at: str = "2026-03-01T00:00:00Z",
    further: Sequence[Mapping[str, Any]] = (),
    **price: Any,
) -> None:
    """A plan that charges 1 USD for each `n` of a `call` to the wallet at once (with the `further`
    prices), and these customers (acme) subscribed to it.
    """
    await put_meter(client)
    prices = [
        {"key": "use", "type": "usage", "meter": "tokens", "model": "per_unit", "unit": "1",
         "asset": "USD", "settle": "wallet", **price},
        *further,
    ]  # fmt: skip
    plan = {"key": "prepaid", "name": "Prepaid", "currency": "USD", "period": "month",
            "prices": prices}  # fmt: skip
    answer = await client.put("/v1/plans/prepaid", json=plan)
    assert answer.status_code in (200, 201), answer.text
    for customer in customers or ("acme",) if subscribe else ():
        body = {"customer": customer, "plan": "prepaid", "starts_at": starts_at}
        answer = await client.post("/v1/subscriptions", json=body)
        assert answer.status_code == 201, answer.text


async def give(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Make a grant, by default of paid USD to acme; as answered."""
    body = {"customer": "acme", "asset": "USD", "kind": "paid", **fields}
    answer = await client.post("/v1/grants", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def use(
    client: httpx.AsyncClient, quantity: str, *, customer: str = "acme", kind: str = "call"
) -> None:
    """One event that uses this much, now."""
    event = {"id": f"use-{next(_numbers)}", "type": kind, "subject": customer,
             "data": {"n": quantity}}  # fmt: skip
    found = await send(client, [event])
    assert found["accepted"] == 1, found


async def balance(
    client: httpx.AsyncClient, customer: str = "acme", asset: str = "USD", **parameters: Any
) -> dict[str, Any]:
    """The balance of one wallet of the customer."""
    found = await get(client, f"/v1/customers/{customer}/balance", **parameters)
    (wallet,) = [wallet for wallet in found["wallets"] if wallet["asset"] == asset]
    return dict(wallet)


async def part_of(client: httpx.AsyncClient, grant: dict[str, Any]) -> str:
    """What is left of a grant."""
    found = await get(client, f"/v1/grants/{grant['id']}")
    return str(found["remaining"])
