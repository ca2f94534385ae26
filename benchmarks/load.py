"""A load generator: HTTP/1.1 requests from memory over keep-alive connections.

Runs as a process of its own (`python -m benchmarks.load`), so that its work is not the server's,
and counts in: it shares the machine's cores with what it measures.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import uvloop


class _Connection(asyncio.Protocol):
    """Sends one request after the other and notes how long each answer took."""

    def __init__(self, requests: list[bytes], seconds: list[float]) -> None:
        self._requests = requests
        self._seconds = seconds
        self._buffer = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        if not self._requests:
            self._transport.close()
            self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests.pop())

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
        self._seconds.append(time.perf_counter() - self._sent_at)
        self._buffer = b""
        self._next()

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
    port: int, requests: Sequence[bytes], connections: int
) -> tuple[float, list[float]]:
    """Send all requests over so many connections; returns the wall time and each latency."""
    loop = asyncio.get_running_loop()
    seconds: list[float] = []
    shared = list(reversed(requests))
    begun = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(shared, seconds), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return time.perf_counter() - begun, seconds


def percentile(seconds: Sequence[float], share: float) -> float:
    """The latency that `share` of the requests did not exceed."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    """`load FILE PORT PATH KEY CONNECTIONS`: FILE holds one body a line; prints a JSON result."""
    file, port, path, key, connections = sys.argv[1:]
    bodies = Path(file).read_bytes().splitlines()
    requests = [request(path, key, body) for body in bodies]
    wall, seconds = uvloop.run(drive(int(port), requests, int(connections)))
    result = {"wall_s": wall, "p50_s": percentile(seconds, 0.5), "p99_s": percentile(seconds, 0.99)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
