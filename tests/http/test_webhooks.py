"""Webhooks: where they may go, how they are signed, sent again and given up."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance, Settings, StandingClock, open_instance
from taximeter.gateways.webhooks import HttpWebhooks, Reply, is_public
from taximeter.services.command import Transaction, run
from taximeter.services.deliver import CLAIM, RETRIES_MAX, Deliverer, retry_after
from taximeter.services.outbox import MESSAGE_TYPES, Message, put
from tests.http.api import (
    NOW,
    ROOT_KEY,
    client_for,
    event,
    get,
    problem,
    put_customer,
    put_meter,
    send,
)
from tests.http.receiver import Receiver, receiving

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
ANSWERS_S_MAX = 60
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
async def private(database_url: str, anyio_backend: str) -> AsyncIterator[Instance]:
    """An instance that may send to loopback."""
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=NOW, workers=False,
        allow_private_webhooks=True,
    )  # fmt: skip
    instance = await open_instance(settings)
    try:
        yield instance
    finally:
        await instance.close()


@pytest.fixture
async def sender(private: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that instance with the admin key."""
    async with client_for(private, ROOT_KEY) as found:
        yield found


@pytest.fixture
async def receiver(anyio_backend: str) -> AsyncIterator[Receiver]:
    """Somebody who wants to be told."""
    async with receiving() as found:
        yield found


async def subscribe(client: httpx.AsyncClient, url: str, *events: str) -> Json:
    """A new endpoint, as it is answered."""
    body = {"url": url, "events": list(events or ["*"])}
    answer = await client.post("/v1/webhook_endpoints", json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def happen(instance: Instance, *kinds: str, customer: str = "acme") -> None:
    """Messages of these types, each numbered."""

    async def work(transaction: Transaction) -> None:
        messages = [
            Message(kind, customer, {"number": number}, transaction.at)
            for number, kind in enumerate(kinds)
        ]
        await put(transaction.context, transaction.connection, *messages)

    await run(instance.context, "test", work)


def clocked(instance: Instance, webhooks: Any = None) -> tuple[Deliverer, StandingClock]:
    """A deliverer of this instance whose time a test moves."""
    clock = StandingClock(START)
    gateway = webhooks or HttpWebhooks(allow_private=True)
    return Deliverer(instance.context, gateway, clock), clock


async def whole_round(deliverer: Deliverer) -> int:
    """A round that waits for what it began, however slow the machine is."""
    return await deliverer.run_round(wait_s=ANSWERS_S_MAX)


async def deliveries(client: httpx.AsyncClient, **parameters: str) -> list[Json]:
    """The deliveries, the oldest first."""
    found: list[Json] = (await get(client, "/v1/webhook_deliveries", **parameters))["data"]
    return found[::-1]


def signature(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """What Standard Webhooks says, computed here: v1, HMAC-SHA256 of `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join(
        [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body]
    )
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def documented(name: str) -> Any:
    """The function of this name as the documentation has it for receivers to copy."""
    text = (ROOT / "docs/how-to/webhooks.md").read_text(encoding="utf-8")
    found: Json = {}
    exec(text.partition("```python\n")[2].partition("```")[0], found)
    return found[name]


def test_every_type_is_documented() -> None:
    text = (ROOT / "docs/how-to/webhooks.md").read_text(encoding="utf-8")
    assert [kind for kind in MESSAGE_TYPES if f"`{kind}`" not in text] == []


async def test_a_message_is_sent_signed(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    endpoint = await subscribe(sender, receiver.url, "balance.low", "invoice.finalized")
    assert len(base64.b64decode(endpoint["secret"].removeprefix("whsec_"))) == 32
    await happen(private, "balance.low", "budget.threshold", "invoice.finalized")
    before = datetime.now(UTC)
    assert await whole_round(private.deliverer) == 2
    assert len(receiver.requests) == 2
    line, headers, body = receiver.requests[0]
    assert line == "POST /hook HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-signature"] == signature(endpoint["secret"], headers, body)
    is_ours = documented("is_ours")
    assert is_ours(endpoint["secret"], headers, body)
    assert not is_ours(endpoint["secret"], headers, body + b" ")
    # Signed by real time, though the test clock stands in March.
    assert int(headers["webhook-timestamp"]) >= int(before.timestamp())
    assert json.loads(body) == {
        "type": "balance.low", "timestamp": "2026-03-10T12:00:00Z", "data": {"number": 0},
    }  # fmt: skip
    assert json.loads(receiver.requests[1][2])["type"] == "invoice.finalized"
    first, second = await deliveries(sender)
    assert (first["webhook_id"], first["status"]) == (headers["webhook-id"], "delivered")
    assert (first["attempts"], first["response_status"], first["response_text"]) == (
        1, 200, "thanks",
    )  # fmt: skip
    assert first["next_attempt_at"] is None
    assert (second["type"], second["customer"]) == ("invoice.finalized", "acme")
    whole = await get(sender, f"/v1/webhook_deliveries/{first['id']}")
    assert whole["body"] == json.loads(body)


async def test_the_worker_sends_by_itself(database_url: str, receiver: Receiver) -> None:
    """To a name: it is resolved, and named to the receiver."""
    settings = Settings(database_url=database_url, root_key=ROOT_KEY, allow_private_webhooks=True)
    instance = await open_instance(settings)
    try:
        async with client_for(instance, ROOT_KEY) as client:
            await subscribe(client, f"http://localhost:{receiver.port}/hook?a=b")
        await happen(instance, "balance.low")
        async with asyncio.timeout(30):
            await receiver.asked.wait()
    finally:
        await instance.close()
    line, headers, _ = receiver.requests[0]
    assert line == "POST /hook?a=b HTTP/1.1"
    assert headers["host"] == f"localhost:{receiver.port}"


async def test_messages_go_to_each_endpoint_that_wants_them(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    everything = await subscribe(sender, receiver.url, "*")
    low = await subscribe(sender, receiver.url, "balance.low")
    await happen(private, "balance.low", "spend.threshold")
    await whole_round(private.deliverer)
    assert [one["type"] for one in await deliveries(sender, endpoint=everything["id"])] == [
        "balance.low", "spend.threshold",
    ]  # fmt: skip
    (one,) = await deliveries(sender, endpoint=low["id"])
    # The same message has the same id wherever it goes.
    assert one["webhook_id"] in {each["webhook_id"] for each in await deliveries(sender)}
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 2


async def test_what_happens_is_told(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    """A fee of 12.50 in arrears, invoiced after its month; and a wallet of 5 that is drawn to 2."""
    await subscribe(sender, receiver.url)
    await put_customer(sender)
    await put_meter(sender)
    fee = {"key": "fee", "type": "flat", "amount": "12.50", "timing": "arrears"}
    calls = {"key": "calls", "type": "usage", "meter": "tokens", "model": "per_unit", "unit": "1"}
    body: Json = {"currency": "USD", "period": "month"}
    prices = [fee, {**calls, "settle": "wallet"}]
    await sender.put("/v1/plans/p", json={**body, "prices": prices})
    await sender.post("/v1/subscriptions", json={"customer": "acme", "plan": "p"})
    grant = {"customer": "acme", "asset": "USD", "kind": "promotional", "amount": "5"}
    scope = {"scope": {"meters": ["tokens"]}}
    assert (await sender.post("/v1/grants", json={**grant, **scope})).status_code == 201
    low = {"on": "balance", "asset": "USD", "below": ["2"]}
    await sender.put("/v1/customers/acme/alerts/low", json=low)
    await send(sender, [event("a", n=3)])
    advanced = await sender.post("/v1/test_clock/advance", json={"to": "2026-04-12T00:00:00Z"})
    assert advanced.status_code == 200, advanced.text
    await whole_round(private.deliverer)
    alert, invoice = (json.loads(body) for _, _, body in receiver.requests)
    assert (alert["type"], alert["timestamp"]) == ("balance.low", "2026-03-10T12:00:00Z")
    assert alert["data"] == (await get(sender, "/v1/alerts"))["data"][0]
    assert (alert["data"]["threshold"], alert["data"]["balance"]) == ("2", "2")
    (document,) = (await get(sender, "/v1/invoices", status="open"))["data"]
    assert (invoice["type"], invoice["data"]["total"]) == ("invoice.finalized", "12.50")
    assert invoice["timestamp"] == document["finalized_at"]
    assert {name: document[name] for name in invoice["data"]} == invoice["data"]


async def test_what_nobody_wants_is_forgotten(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    await happen(private, "balance.low")
    assert await whole_round(private.deliverer) == 0
    await subscribe(sender, receiver.url)
    assert await whole_round(private.deliverer) == 0
    assert await deliveries(sender) == []


async def test_a_failed_attempt_is_made_again_later_with_the_same_id(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(sender, receiver.url)
    await happen(private, "balance.low")
    deliverer, clock = clocked(private)
    receiver.answers = [500, 302]
    receiver.headers = {"Location": "http://127.0.0.1:1/elsewhere"}
    await whole_round(deliverer)
    (one,) = await deliveries(sender)
    assert (one["status"], one["attempts"], one["response_status"]) == ("pending", 1, 500)
    assert one["next_attempt_at"] == "2026-11-01T00:00:04Z"  # 4 seconds
    assert await whole_round(deliverer) == 0
    clock.set(START + timedelta(seconds=4))
    await whole_round(deliverer)  # a redirect is no success, and is not followed
    (one,) = await deliveries(sender)
    assert (one["status"], one["response_status"]) == ("pending", 302)
    assert one["next_attempt_at"] == "2026-11-01T00:00:12Z"  # 4 + 8 seconds
    clock.set(START + timedelta(seconds=12))
    await whole_round(deliverer)
    (one,) = await deliveries(sender)
    assert (one["status"], one["attempts"], one["response_status"]) == ("delivered", 3, 200)
    assert len(receiver.requests) == 3
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    await deliverer.close()


def test_retries_end_after_three_days() -> None:
    waits = [retry_after(tries) for tries in range(1, RETRIES_MAX + 1)]
    assert waits[:3] == [timedelta(seconds=4), timedelta(seconds=8), timedelta(seconds=16)]
    # 4 * (2**16 - 1) = 262,140 seconds; three days are 259,200.
    assert sum((wait for wait in waits if wait), timedelta()) == timedelta(seconds=262_140)
    assert retry_after(RETRIES_MAX + 1) is None


class Dead:
    """Takes nothing."""

    def __init__(self) -> None:
        self.attempts = 0

    async def refusal(self, url: str) -> str | None:
        return None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.attempts += 1
        return Reply(None, "The connection was refused.")

    async def close(self) -> None:
        pass


async def test_a_delivery_is_given_up_and_asked_for_again(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(sender, receiver.url)
    await happen(private, "balance.low")
    dead = Dead()
    deliverer, clock = clocked(private, dead)
    for _ in range(RETRIES_MAX + 3):
        await whole_round(deliverer)
        clock.set(clock.now() + timedelta(days=2))
    assert dead.attempts == RETRIES_MAX + 1
    (one,) = await deliveries(sender, status="failed")
    assert (one["attempts"], one["response_status"]) == (17, None)
    assert one["response_text"] == "The connection was refused."

    path = f"/v1/webhook_deliveries/{one['id']}/redeliver"
    answer = await sender.post(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    await whole_round(private.deliverer)
    (again,) = await deliveries(sender)
    assert (again["status"], again["attempts"]) == ("delivered", 18)
    assert receiver.requests[0][1]["webhook-id"] == one["webhook_id"]
    # What was delivered may be asked for as well.
    assert (await sender.post(path)).status_code == 200
    await whole_round(private.deliverer)
    assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == [
        one["webhook_id"], one["webhook_id"],
    ]  # fmt: skip


async def test_410_disables_an_endpoint(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    endpoint = await subscribe(sender, receiver.url)
    await happen(private, "balance.low", "balance.low")
    receiver.answers = [410]
    await whole_round(private.deliverer)
    await whole_round(private.deliverer)
    assert len(receiver.requests) == 1
    found = await get(sender, f"/v1/webhook_endpoints/{endpoint['id']}")
    assert (found["disabled_at"], found["disabled_reason"]) == (
        "2026-03-10T12:00:00Z", "The receiver answered 410 Gone.",
    )  # fmt: skip
    first, second = await deliveries(sender, status="failed")
    assert (first["response_status"], second["response_status"]) == (410, None)
    path = f"/v1/webhook_deliveries/{first['id']}/redeliver"
    problem(await sender.post(path), 409, "invalid_state")
    await happen(private, "balance.low")  # wanted by nobody any more
    await whole_round(private.deliverer)
    assert len(await deliveries(sender)) == 2


async def test_what_ended_is_kept_for_90_days(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(sender, receiver.url)
    await happen(private, "balance.low")
    deliverer, clock = clocked(private)
    await whole_round(deliverer)
    for days, kept in ((90, 1), (91, 0)):
        clock.set(START + timedelta(days=days))
        await whole_round(deliverer)
        assert len(await deliveries(sender)) == kept
    await deliverer.close()


async def test_a_deleted_endpoint_is_told_nothing(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    endpoint = await subscribe(sender, receiver.url)
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    await happen(private, "balance.low")
    assert (await sender.delete(path)).status_code == 200
    await whole_round(private.deliverer)
    assert receiver.requests == []
    problem(await sender.get(path), 404, "not_found")
    problem(await sender.delete(path), 404, "not_found")
    assert (await get(sender, "/v1/webhook_endpoints"))["data"] == []


class Dying:
    """Sends, and dies before anybody knows."""

    def __init__(self) -> None:
        self._real = HttpWebhooks(allow_private=True)

    async def refusal(self, url: str) -> str | None:
        return None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        await self._real.post(url, headers, body)
        raise asyncio.CancelledError

    async def close(self) -> None:
        await self._real.close()


async def test_death_between_sending_and_noting_sends_again_with_the_same_id(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(sender, receiver.url)
    await happen(private, "balance.low")
    dying, clock = clocked(private, Dying())
    with pytest.raises(asyncio.CancelledError):
        await whole_round(dying)
    await dying.close()
    (one,) = await deliveries(sender)
    assert (one["status"], one["attempts"], one["response_status"]) == ("pending", 1, None)
    after, later = clocked(private)
    later.set(clock.now() + CLAIM - timedelta(seconds=1))
    assert await whole_round(after) == 0  # another process may be at it still
    later.set(clock.now() + CLAIM)
    await whole_round(after)
    await after.close()
    assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == [
        one["webhook_id"], one["webhook_id"],
    ]  # fmt: skip
    (one,) = await deliveries(sender)
    assert (one["status"], one["attempts"]) == ("delivered", 2)


async def test_two_processes_send_each_message_once(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    for _ in range(3):
        await subscribe(sender, receiver.url)
    await happen(private, *["balance.low"] * 10)
    one, two = clocked(private)[0], clocked(private)[0]
    for _ in range(3):
        await asyncio.gather(whole_round(one), whole_round(two))
    await one.close()
    await two.close()
    assert len(receiver.requests) == 30
    assert {found["attempts"] for found in await deliveries(sender)} == {1}


async def test_a_long_answer_is_cut(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.body = b"x\n" * 1_000_000
    receiver.answers = [503]
    await subscribe(sender, receiver.url)
    await happen(private, "balance.low")
    await whole_round(private.deliverer)
    (one,) = await deliveries(sender)
    assert one["response_status"] == 503
    assert len(one["response_text"]) <= 200


async def test_the_secret_is_shown_once(sender: httpx.AsyncClient, receiver: Receiver) -> None:
    body = {"url": receiver.url, "events": ["*"]}
    headers = {"idempotency-key": "one"}
    first = await sender.post("/v1/webhook_endpoints", json=body, headers=headers)
    again = await sender.post("/v1/webhook_endpoints", json=body, headers=headers)
    assert first.json().pop("secret").startswith("whsec_")
    assert again.headers["idempotent-replay"] == "true"
    assert "secret" not in again.json()
    assert again.json()["id"] == first.json()["id"]
    assert "secret" not in (await get(sender, "/v1/webhook_endpoints"))["data"][0]


FORBIDDEN = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://localhost/",
    "http://LOCALHOST.:8080/",
    "http://api.localhost/",
    "http://127。0。0。1/",
    "http://①②⑦.0.0.1/",
    "http://10.0.0.1/",
    "http://10.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1:9000/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.1/",
    "http://100.100.100.200/",
    "http://metadata.google.internal/",
    "http://metadata/",
    "http://printer.local/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "https://user:password@example.com/",
    "https://example.com/#part",
    "https://example.com:99999/",
    "https:///path",
    "https://",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "example.com",
    "//example.com/",
    "https://exa mple.com/",
    "http://[::1",
]


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_an_address_within_is_refused(shared: httpx.AsyncClient, url: str) -> None:
    body = {"url": url, "events": ["*"]}
    problem(await shared.post("/v1/webhook_endpoints", json=body), 422, "forbidden_address")


async def test_a_public_address_is_taken(client: httpx.AsyncClient) -> None:
    """Also one that does not resolve where the tests run."""
    long = "https://example.com/" + "x" * 1000
    for url in (
        long,
        "https://example.com/?a=b",
        "http://8.8.8.8:8080/",
        "https://[2606:4700::1]/",
    ):
        assert (await subscribe(client, url))["url"] == url


async def test_an_address_is_judged_again_when_something_is_sent(
    private: Instance, sender: httpx.AsyncClient, receiver: Receiver
) -> None:
    """The endpoint was made while private addresses were allowed; now they are not."""
    await subscribe(sender, receiver.url)
    await happen(private, "balance.low")
    strict, _ = clocked(private, HttpWebhooks())
    await whole_round(strict)
    await strict.close()
    assert receiver.requests == []
    (one,) = await deliveries(sender)
    assert (one["status"], one["response_status"]) == ("pending", None)
    assert one["response_text"] == "127.0.0.1 leads to 127.0.0.1, which is no public address."


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("1.1.1.1", True), ("127.0.0.1", False), ("100.64.0.1", False),
        ("192.0.2.1", False), ("198.18.0.1", False), ("240.0.0.1", False),
        ("2606:4700::1", True), ("2001:db8::1", False), ("2001:0:1::1", False),
        ("::ffff:8.8.8.8", True), ("::ffff:10.0.0.1", False), ("64:ff9b::808:808", True),
        ("64:ff9b::a00:1", False), ("64:ff9b:1::1", False), ("2002:808:808::1", False),
        ("fec0::1", False), ("fe80::1%eth0", False), ("ff02::1", False), ("::7f00:1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "body",
    [
        {"url": "https://example.com/"},
        {"url": "https://example.com/", "events": []},
        {"url": "https://example.com/", "events": ["Balance low"]},
        {"url": "https://example.com/", "events": ["balance.*"]},
        {"url": "https://example.com/", "events": ["*"], "secret": "whsec_mine"},
        {"url": 5, "events": ["*"]},
    ],
)
async def test_what_is_no_endpoint_is_refused(shared: httpx.AsyncClient, body: Json) -> None:
    assert (await shared.post("/v1/webhook_endpoints", json=body)).status_code == 422


async def test_webhooks_are_the_administrators(client: httpx.AsyncClient) -> None:
    body = {"name": "reader", "scopes": ["read"]}
    secret = (await client.post("/v1/api_keys", json=body)).json()["secret"]
    headers = {"authorization": f"Bearer {secret}"}
    for path in ("/v1/webhook_endpoints", "/v1/webhook_deliveries"):
        problem(await client.get(path, headers=headers), 403, "forbidden")
    problem(await client.get("/v1/webhook_deliveries/whd_none"), 404, "not_found")
    problem(await client.post("/v1/webhook_deliveries/whd_none/redeliver"), 404, "not_found")
