"""The short way of hot requests over real connections: what is plain, what is not, and that a
client cannot tell the difference.
"""

import asyncio
import contextlib
import gzip
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from taximeter.bootstrap import Instance
from taximeter.cli.listen import answer_until
from taximeter.http.protocol import HotProtocol
from tests.http.api import ROOT_KEY, client_for, event, get, put_customer, put_meter
from tests.http.conftest import running
from tests.http.credit import give

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Line:
    """A connection of our own."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(
        self,
        path: str,
        body: bytes,
        *,
        head: str = "",
        key: str = ROOT_KEY,
        length: int | None = None,
    ) -> None:
        length = len(body) if length is None else length
        lines = (
            f"POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n{head}\r\n"
        )
        self.writer.write(lines.encode() + body)

    async def answer(self) -> Answer:
        async with asyncio.timeout(20):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(lines[0].split()[1]), headers, body)

    async def ask(self, path: str, body: object, *, head: str = "", key: str = ROOT_KEY) -> Answer:
        self.send(path, json.dumps(body).encode(), head=head, key=key)
        return await self.answer()

    async def ended(self) -> bool:
        async with asyncio.timeout(20):
            return await self.reader.read() == b""


@dataclass(slots=True)
class Place:
    """A listening instance with a meter, and a customer of the test's own with 100 USD."""

    instance: Instance
    client: httpx.AsyncClient
    port: int
    customer: str
    lines: list[Line]

    async def line(self) -> Line:
        """A new connection. The caller is known, so that what is plain goes the short way."""
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        self.lines.append(line)
        return line

    @property
    def hold(self) -> dict[str, str]:
        """A hold of one dollar."""
        return {"customer": self.customer, "asset": "USD", "amount": "1"}

    def event(self, event_id: str, n: int = 1) -> dict[str, Any]:
        """An event of the customer's."""
        return event(event_id, customer=self.customer, n=n)


@pytest.fixture(scope="module")
async def listening(
    new_database: Callable[[], AbstractContextManager[str]], anyio_backend: str
) -> AsyncIterator[Place]:
    with new_database() as url, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        stop, ready = asyncio.Event(), asyncio.Event()
        async with running(url) as instance, client_for(instance, ROOT_KEY) as client:
            serving = asyncio.create_task(
                answer_until(stop, instance, "127.0.0.1", held, lambda _: ready.set())
            )
            await ready.wait()
            await put_meter(client)
            yield Place(instance, client, held.getsockname()[1], "", [])
            stop.set()
            await serving


@pytest.fixture
async def place(listening: Place, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    made = replace(listening, customer=request.node.name, lines=[])
    await put_customer(made.client, made.customer)
    await give(made.client, customer=made.customer, amount="100")
    yield made
    for line in made.lines:
        line.writer.close()
        with contextlib.suppress(ConnectionError):
            await line.writer.wait_closed()


async def test_one_connection_answers_one_request_after_the_other(place: Place) -> None:
    line = await place.line()
    for number in range(3):
        answer = await line.ask("/v1/events", place.event(f"e{number}", 2))
        assert answer.status == 200
        assert answer.json["accepted"] == 1
        assert answer.headers["content-type"] == "application/json"
        assert "date" in answer.headers
        assert "server" not in answer.headers
    hold = await line.ask("/v1/holds", place.hold)
    assert (hold.status, hold.json["available"]) == (200, "99")
    captured = await line.ask(f"/v1/holds/{hold.json['id']}/capture", {"amount": "1"})
    assert (captured.status, captured.json["state"]) == (200, "captured")
    lines = (await place.client.get("/metrics")).text
    assert 'route="/v1/holds/{id}/capture",status="200"} 1.0' in lines


async def test_errors_are_the_ones_of_every_route(place: Place) -> None:
    """Each refusal is answered over the wire as over ASGI, but for the request's id."""
    line = await place.line()
    asked: list[tuple[str, bytes]] = [
        ("/v1/holds", b"{"),
        ("/v1/holds", b'{"customer": "nobody", "asset": "USD", "amount": "1"}'),
        ("/v1/holds?now=1", json.dumps(place.hold).encode()),
        ("/v1/holds/hold_none/release", b""),
        ("/v1/events?results=some", b"[]"),
        ("/v1/events", b"{"),
    ]
    for path, body in asked:
        line.send(path, body)
        found = await line.answer()
        same = await place.client.post(
            path, content=body, headers={"content-type": "application/json"}
        )
        assert (found.status, found.headers["content-type"]) == (
            same.status_code, "application/problem+json",
        )  # fmt: skip
        assert {**found.json, "request_id": ""} == {**same.json(), "request_id": ""}
    assert (await line.ask("/v1/holds", place.hold)).status == 200


async def test_a_key_with_a_rate_is_told_to_wait(place: Place) -> None:
    """Two an hour: the first request looks the key up and goes ASGI's way, the others are short."""
    rate = {"requests": 2, "per": "hour"}
    body = {"name": "slow", "scopes": ["authorize"], "rate_limit": rate}
    slow = (await place.client.post("/v1/api_keys", json=body)).json()["secret"]
    line = await place.line()
    answers = [await line.ask("/v1/holds", place.hold, key=slow) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[2].json["code"] == "rate_limited"
    assert 1_790 <= int(answers[2].headers["retry-after"]) <= 1_800
    assert (await line.ask("/v1/holds", place.hold)).json["available"] == "97"  # 100 - 2 - 1


async def test_who_asks_is_known_for_each_request(place: Place) -> None:
    """A key that may only ingest, one that is wrong, and none, on a connection of the admin's."""
    made = await place.client.post("/v1/api_keys", json={"name": "meter", "scopes": ["ingest"]})
    ingest = made.json()["secret"]
    line = await place.line()
    for _ in range(2):  # the first time the key is looked up, the second it is remembered
        assert (await line.ask("/v1/events", place.event("e"), key=ingest)).status == 200
        refused = await line.ask("/v1/holds", place.hold, key=ingest)
        assert (refused.status, refused.json["code"]) == (403, "forbidden")
        assert (await line.ask("/v1/holds", place.hold, key="tx_wrong")).status == 401
    line.writer.write(b"POST /v1/holds HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}")
    assert (await line.answer()).status == 401
    assert (await line.ask("/v1/holds", place.hold)).status == 200


async def test_what_is_not_plain_is_taken_as_well(place: Place) -> None:
    line = await place.line()
    body = json.dumps(place.event("zipped")).encode()
    line.send("/v1/events", gzip.compress(body), head="Content-Encoding: gzip\r\n")
    assert (await line.answer()).json["accepted"] == 1
    line.writer.write(
        b"POST /v1/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        % ROOT_KEY.encode()
    )  # fmt: skip
    body = json.dumps(place.event("chunked")).encode()
    for part in (body[:9], body[9:]):
        line.writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        await asyncio.sleep(0.01)
    line.writer.write(b"0\r\n\r\n")
    assert (await line.answer()).json["accepted"] == 1
    body = json.dumps(place.event("asked")).encode()
    line.send("/v1/events", b"", head=f"Content-Length: {len(body)}\r\n")
    assert (await line.answer()).status == 400, "two lengths are refused"
    assert await line.ended()


async def test_a_client_may_ask_whether_to_go_on(place: Place) -> None:
    line = await place.line()
    body = json.dumps(place.event("late")).encode()
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ROOT_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    line.writer.write(head.encode())
    assert (await line.answer()).status == 100
    line.writer.write(body)
    assert (await line.answer()).json["accepted"] == 1


async def test_a_body_in_pieces_and_a_connection_that_ends(place: Place) -> None:
    line = await place.line()
    body = json.dumps([place.event(f"e{number}") for number in range(2_000)]).encode()
    line.send("/v1/events", body, head="Connection: close\r\n")
    answer = await line.answer()
    assert (answer.json["accepted"], answer.headers["connection"]) == (2_000, "close")
    assert await line.ended()


async def test_requests_sent_at_once_are_answered_in_order(place: Place) -> None:
    """Hot, documented, hot and hot again, in one write."""
    line = await place.line()
    hold = json.dumps(place.hold).encode()
    line.send("/v1/holds", hold)
    line.writer.write(
        f"GET /v1/customers/{place.customer} HTTP/1.1\r\nHost: here\r\n"
        f"Authorization: Bearer {ROOT_KEY}\r\n\r\n".encode()
    )
    line.send("/v1/holds", hold)
    line.send("/v1/events", json.dumps(place.event("e")).encode())
    answers = [await line.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert answers[0].json["available"] == "99"
    assert answers[1].json["key"] == place.customer
    assert answers[2].json["available"] == "98"
    assert answers[3].json["accepted"] == 1


async def test_a_body_too_large_is_refused(place: Place) -> None:
    line = await place.line()
    line.writer.write(
        f"POST /v1/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ROOT_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {17 * 1024**2}\r\n\r\n".encode()
    )
    for _ in range(17):
        line.writer.write(b" " * 1024**2)
    answer = await line.answer()
    assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_a_head_without_end_is_refused(place: Place) -> None:
    line = await place.line()
    line.writer.write(b"POST /v1/holds HTTP/1.1\r\n")
    await asyncio.sleep(0.05)
    line.writer.write(b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1024) for number in range(65)))
    assert (await line.answer()).status == 431


async def test_a_head_in_two_reads_does_not_count_what_is_read_with_it(place: Place) -> None:
    """The second read ends a head and its large body, and begins another head."""
    line = await place.line()
    body = json.dumps([place.event(f"e{number}") for number in range(900)]).encode()
    assert len(body) > 64 * 1024
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ROOT_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    line.writer.write(head[:40])
    await asyncio.sleep(0.05)
    line.writer.write(head[40:] + body + head[:40])
    assert (await line.answer()).json["accepted"] == 900


async def test_another_protocol_is_declined_and_the_body_read(place: Place) -> None:
    """As `curl --http2` and others ask. The body is this request's, in the same read or the next,
    whatever it looks like.
    """
    line = await place.line()
    wish = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    answer = await line.ask("/v1/events", place.event("wished"), head=wish)
    assert (answer.status, answer.json["accepted"]) == (200, 1)
    inner = (
        f"POST /v1/holds HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ROOT_KEY}\r\n"
        f"Content-Length: {len(json.dumps(place.hold))}\r\n\r\n{json.dumps(place.hold)}"
    ).encode()
    line.send("/v1/events", b"", head=wish)
    assert (await line.answer()).status == 400, "no body is no JSON"
    line.writer.write(
        f"POST /v1/events/release HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ROOT_KEY}\r\n"
        f"Content-Type: application/json\r\n{wish}Content-Length: {len(inner)}\r\n\r\n".encode()
    )
    await asyncio.sleep(0.05)
    line.writer.write(inner)
    assert (await line.answer()).status == 400, "it is read as a body, which is no JSON"
    assert (await line.ask("/v1/holds", place.hold)).json["available"] == "99", "the first hold"
    other = await place.line()
    other.writer.write(f"GET / HTTP/1.1\r\nHost: here\r\n{wish}\r\n".encode() * 2_000)
    assert (await other.answer()).status == 400
    line.writer.write(b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n")
    assert (await line.answer()).status == 400
    assert await line.ended()


async def test_a_stranger_sends_no_large_body(place: Place) -> None:
    for method, path in (("PUT", "/v1/customers/other"), ("POST", "/v1/events")):
        line = await place.line()
        line.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            f"Content-Length: {2 * 1024**2}\r\n\r\n".encode()
            + b" " * 70_000
        )
        answer = await line.answer()
        assert (answer.status, answer.json["code"]) == (401, "unauthorized")


async def test_a_connection_that_nobody_uses_is_closed(place: Place) -> None:
    """A second after its last answer, or after it began."""
    config = uvicorn.Config(
        place.instance.app, http=HotProtocol, ws="none", lifespan="off", timeout_keep_alive=1,
        log_config=None,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HotProtocol(config, ServerState(), {}, loop), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    used, never = await replace(place, port=port).line(), await replace(place, port=port).line()
    begun = loop.time()
    for _ in range(3):
        await asyncio.sleep(0.25)
        assert (await used.ask("/v1/holds", place.hold)).status == 200
    assert await never.ended()
    assert 0.9 <= loop.time() - begun < 1.7, "a second"
    assert await used.ended()
    assert loop.time() - begun >= 1.7, "three quarters of a second and a second"
    server.close()


async def test_what_is_no_http_is_refused(place: Place) -> None:
    line = await place.line()
    line.writer.write(b"hello\r\n\r\n")
    assert (await line.answer()).status == 400
    assert await line.ended()


async def test_a_client_that_leaves_gets_no_hold_but_its_events_are_taken(place: Place) -> None:
    """Both are sent while the database keeps the customer's account and wallets to itself."""
    context = place.instance.context
    line, other = await place.line(), await place.line()
    first = await line.ask("/v1/holds", place.hold)
    async with context.pool.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE cache_change IN EXCLUSIVE MODE")
        one, two = await place.line(), await place.line()
        line.send("/v1/holds", json.dumps(place.hold).encode())
        other.send("/v1/events", json.dumps(place.event("left", 5)).encode())
        await asyncio.sleep(0.1)  # both are under way, and wait
        one.send("/v1/holds", json.dumps(place.hold).encode())
        two.send("/v1/events", json.dumps(place.event("gone", 7)).encode())
        await asyncio.sleep(0.1)  # these two wait for them
        for each in (one, two):
            each.writer.close()
        await asyncio.sleep(0.1)
    assert (await line.answer()).json["available"] == "98"
    assert (await other.answer()).json["accepted"] == 1
    again = await line.ask("/v1/holds", place.hold)
    assert again.json["available"] == "97", "the hold of the client that left was not placed"
    assert first.json["available"] == "99"
    usage = await get(
        place.client, "/v1/meters/tokens/usage", customer=place.customer, window="total"
    )  # fmt: skip
    assert usage["data"][0]["value"] == "12", "5 + 7"


async def test_a_head_that_was_sent_before_says_nothing_of_the_body(place: Place) -> None:
    """100 USD, and holds whose requests differ by one digit: 100 - 1 - 2 - 3 = 94."""
    line = await place.line()
    found = [
        (await line.ask("/v1/holds", {**place.hold, "amount": str(amount)})).json["available"]
        for amount in (1, 2, 3)
    ]
    assert found == ["99", "97", "94"]
    body = json.dumps(place.hold).encode()
    for written in (1, len(body) - 1):  # that head again, and its body later, in two pieces
        line.send("/v1/holds", body[:written], length=len(body))
        await asyncio.sleep(0.02)
        line.writer.write(body[written:])
        assert (await line.answer()).status == 200
    for _ in range(3):  # three at once; the first two within one read
        line.send("/v1/holds", body)
    found = [(await line.answer()).json["available"] for _ in range(3)]
    assert found == ["91", "90", "89"]
    assert (await line.ask("/v1/holds", {**place.hold, "amount": "x"})).status == 422
    assert (await line.ask("/v1/holds", place.hold)).json["available"] == "88"


async def test_a_head_that_was_sent_before_is_of_no_use_to_a_revoked_key(place: Place) -> None:
    """The key is forgotten within five seconds; a head does not remember whose it was."""
    made = await place.client.post("/v1/api_keys", json={"name": "gone", "scopes": ["authorize"]})
    line = await place.line()
    for _ in range(3):
        assert (await line.ask("/v1/holds", place.hold, key=made.json()["secret"])).status == 200
    await place.client.delete(f"/v1/api_keys/{made.json()['id']}")
    for _ in range(50):
        if (await line.ask("/v1/holds", place.hold, key=made.json()["secret"])).status != 200:
            break
        await asyncio.sleep(0.2)
    assert (await line.ask("/v1/holds", place.hold, key=made.json()["secret"])).status == 401


async def test_no_more_heads_are_remembered_than_a_client_needs(place: Place) -> None:
    """Each of 200 heads is another one; all are answered, and so is the first one, again."""
    line = await place.line()
    for number in [*range(200), 0, 0]:
        answer = await line.ask("/v1/events", place.event("e"), head=f"X-Request-Id: {number}\r\n")
        assert answer.status == 200


async def test_of_large_heads_none_is_remembered(place: Place) -> None:
    """64 heads of 60 kB each: were they kept, it would be 64 * 60,000 = 3,840,000 bytes and more,
    of each connection.
    """
    line = await place.line()
    tracemalloc.start()
    try:
        for number in range(64):
            head = f"X-Large: {number:060000}\r\n"
            assert (await line.ask("/v1/events", place.event("e"), head=head)).status == 200
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 2_000_000
