"""Figures that change while one watches: what is sent, to how many, and until when."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.web.live import Live
from tests.web.site import subscribe, use

WAIT_S_MAX = 10


class Stream:
    """One request to `app` that stays open, and what it was sent."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.figures: dict[str, str] = {}
        self.messages = 0
        self.ended = asyncio.Event()
        self.leave = asyncio.Event()
        self._news = asyncio.Event()

    async def receive(self) -> MutableMapping[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        body = message.get("body", b"").decode()
        for line in body.splitlines():
            if line.startswith("data: "):
                self.messages += 1
                self.figures |= json.loads(line.removeprefix("data: "))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended.set()
        self._news.set()

    async def until(self, found: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S_MAX):
            while not found():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def watching(
    instance: Instance, browser: httpx.AsyncClient, query: str
) -> AsyncIterator[Stream]:
    stream = Stream()
    cookie = f"taximeter_session={browser.cookies['taximeter_session']}".encode()
    scope = {
        "type": "http", "method": "GET", "path": "/live", "query_string": query.encode(),
        "headers": [(b"cookie", cookie), (b"host", b"pages.test")], "root_path": "",
        "scheme": "http", "server": ("pages.test", 80), "http_version": "1.1",
    }  # fmt: skip
    serving = asyncio.create_task(_serve(instance.app(scope, stream.receive, stream.send)))
    try:
        yield stream
    finally:
        stream.leave.set()
        async with asyncio.timeout(WAIT_S_MAX):
            await serving


async def _serve(answering: Awaitable[None]) -> None:
    await answering


async def test_a_figure_changes_after_an_event_was_taken(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, instance: Instance
) -> None:
    await subscribe(client)
    async with watching(instance, browser, "page=home") as stream:
        await stream.until(lambda: "acme/spend" in stream.figures)
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.figures["acme/spend"] == "$49.00"
        await use(client, "a", "2026-03-10T11:00:00Z", "1000")
        await stream.until(lambda: stream.figures["acme/spend"] == "$50.75")
        assert stream.figures["today/events"] == "1"


async def test_a_customers_page_follows_its_upcoming_invoice(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, instance: Instance
) -> None:
    await subscribe(client)
    async with watching(instance, browser, "customer=acme") as stream:
        await stream.until(lambda: "upcoming/total" in stream.figures)
        before = stream.figures["shape"]
        await use(client, "a", "2026-03-10T11:00:00Z", "1000")
        await stream.until(lambda: stream.figures["upcoming/total"] == "$50.75")
        assert stream.figures["shape"] == before


async def test_what_does_not_change_is_not_sent_again(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, instance: Instance
) -> None:
    await subscribe(client)
    async with watching(instance, browser, "page=home") as stream:
        await stream.until(lambda: stream.messages == 1)
        await asyncio.sleep(2.5)
        assert stream.messages == 1


async def test_a_stream_ends_with_the_server(
    browser: httpx.AsyncClient, instance: Instance
) -> None:
    async with watching(instance, browser, "page=home") as stream:
        await stream.until(lambda: stream.messages == 1)
        instance.end_streams()
        async with asyncio.timeout(WAIT_S_MAX):
            await stream.ended.wait()
    assert (await browser.get("/live?page=home")).status_code == 503


@pytest.mark.parametrize(
    ("query", "status"), [("customer=nobody", 404), ("page=home&cursor=nonsense", 400)]
)
async def test_a_stream_of_nothing_is_refused(
    browser: httpx.AsyncClient, query: str, status: int
) -> None:
    assert (await browser.get(f"/live?{query}")).status_code == status


async def _forever() -> bool:
    return True


async def test_one_reading_serves_all_and_ends_with_the_last() -> None:
    streams, rounds = Live(pause_s=0.1), 0

    async def read() -> dict[str, str]:
        nonlocal rounds
        rounds += 1
        return {"rounds": str(rounds)}

    watchers = [Stream() for _ in range(20)]
    tasks = [
        asyncio.create_task(
            streams.stream(
                "topic", read, receive=one.receive, send=one.send, still_welcome=_forever
            )
        )
        for one in watchers
    ]
    for one in watchers:
        await one.until(lambda one=one: one.figures.get("rounds") == "3")  # type: ignore[misc]
    assert rounds == 3
    for one in watchers:
        one.leave.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.2)
    seen = rounds
    await asyncio.sleep(0.3)
    assert rounds == seen <= 4


async def test_there_are_not_more_streams_than_may_be() -> None:
    streams = Live(streams_max=2)
    watchers = [Stream(), Stream()]

    async def read() -> dict[str, str]:
        return {"a": "1"}

    tasks, full = [], []
    for one in watchers:
        full.append(streams.full)
        tasks.append(
            asyncio.create_task(
                streams.stream(
                    "topic", read, receive=one.receive, send=one.send, still_welcome=_forever
                )
            )
        )
        await one.until(lambda one=one: one.messages == 1)  # type: ignore[misc]
    full.append(streams.full)
    watchers[0].leave.set()
    await tasks[0]
    full.append(streams.full)
    watchers[1].leave.set()
    await tasks[1]
    assert full == [False, False, True, False]


async def test_a_stream_whose_session_ended_ends() -> None:
    stream = Stream()

    async def not_welcome() -> bool:
        return False

    streaming = Live(heartbeat_s=0.05).stream(
        "topic", _unreadable, receive=stream.receive, send=stream.send, still_welcome=not_welcome
    )
    await asyncio.wait_for(streaming, WAIT_S_MAX)
    assert stream.ended.is_set()
    assert stream.messages == 0


async def _unreadable() -> dict[str, str]:
    raise ValueError("the database is away")
