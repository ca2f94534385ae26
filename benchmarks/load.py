"""A load generator: HTTP/1.1 requests from memory over keep-alive connections.

Runs as a process of its own (`python -m benchmarks.load`), so that its work is not the server's,
and counts in: it shares the machine's cores with what it measures.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import uvloop


class _Feed:
    """The requests that are still to be sent. Without a `rate` each connection takes the next one
    as soon as it is free; with one they fall due so many a second, and the time that one waits for
    a free connection is part of its latency.
    """

    def __init__(self, requests: Sequence[bytes], rate: float | None) -> None:
        self._requests = deque(requests)
        self._rate = rate
        self._due: deque[tuple[bytes, float]] = deque()
        self._idle: list[_Connection] = []
        self.seconds: list[float] = []

    async def pace(self) -> None:
        """Let the requests fall due, if there is a rate."""
        if self._rate is None:
            return
        begun, sent = time.perf_counter(), 0
        while self._requests:
            now = time.perf_counter()
            while self._requests and begun + sent / self._rate <= now:
                self._due.append((self._requests.popleft(), begun + sent / self._rate))
                sent += 1
            while self._due and self._idle:
                self._idle.pop().send(*self._due.popleft())
            await asyncio.sleep(0.001)
        while self._idle:
            self._idle.pop().finish()

    def next(self, connection: "_Connection") -> None:
        """Have a free connection send what is next."""
        if self._due:
            connection.send(*self._due.popleft())
        elif not self._requests:
            connection.finish()
        elif self._rate is None:
            connection.send(self._requests.popleft(), time.perf_counter())
        else:
            self._idle.append(connection)


class _Connection(asyncio.Protocol):
    """Sends one request after the other and notes how long each answer took."""

    def __init__(self, feed: _Feed) -> None:
        self._feed = feed
        self._buffer = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._feed.next(self)

    def send(self, request: bytes, due_at: float) -> None:
        """Send a request that fell due at this instant."""
        self._sent_at = due_at
        self._transport.write(request)

    def finish(self) -> None:
        """There is no more to send."""
        self._transport.close()
        if not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        if not head.startswith(b"http/1.1 200"):
            self.done.set_exception(RuntimeError(self._buffer[:500].decode()))
            return
        self._feed.seconds.append(time.perf_counter() - self._sent_at)
        self._buffer = b""
        self._feed.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


def request(path: str, key: str, body: bytes) -> bytes:
    """A POST request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def drive(
    port: int, requests: Sequence[bytes], connections: int, rate: float | None = None
) -> tuple[float, list[float]]:
    """Send all requests over so many connections, as fast as they are answered or at a `rate` a
    second; returns the wall time and each latency.
    """
    loop = asyncio.get_running_loop()
    feed = _Feed(requests, rate)
    begun = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(feed), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(feed.pace(), *(protocol.done for _, protocol in made))
    return time.perf_counter() - begun, feed.seconds


def percentile(seconds: Sequence[float], share: float) -> float:
    """The latency that `share` of the requests did not exceed."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    """`load FILE PORT PATH KEY CONNECTIONS [RATE]`: FILE holds one body a line; prints a JSON
    result.
    """
    file, port, path, key, connections, *more = sys.argv[1:]
    rate = float(more[0]) if more else None
    bodies = Path(file).read_bytes().splitlines()
    requests = [request(path, key, body) for body in bodies]
    wall, seconds = uvloop.run(drive(int(port), requests, int(connections), rate))
    result = {"wall_s": wall, "p50_s": percentile(seconds, 0.5), "p99_s": percentile(seconds, 0.99)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
