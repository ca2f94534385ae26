"""A check-and-decrement by Lua in Redis: what many put before their models as a gate.

It holds one number for each customer, and no grants, budgets or expiry; it runs here beside the
holds, on the same cores, with its default persistence and with each write on disk before the
answer. Needs a `redis-server` on the PATH (Debian: redis-server), and says so where there is none.
"""

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

SCRIPT = """
local left = tonumber(redis.call('GET', KEYS[1]))
if left < tonumber(ARGV[1]) then return 0 end
redis.call('DECRBY', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[1], 'EX', 300)
return 1
"""
CONNECTIONS = 64
READY_S_MAX = 10


@contextmanager
def redis(*, durable: bool) -> Iterator[int]:
    """A Redis of our own; its port. `durable`: each write is on disk before it is answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="taximeter-redis-") as folder:
        command = ["redis-server", "--port", str(port), "--dir", folder]
        if durable:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _wait(port: int) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _command(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)
    return b"*%d\r\n" % len(parts) + body


async def _drive(port: int, customers: list[str]) -> float:
    made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    reader, writer = made[0]
    writer.write(_command("SCRIPT", "LOAD", SCRIPT))
    await reader.readline()
    digest = (await reader.readline()).decode().strip()
    for customer in set(customers):
        writer.write(_command("SET", customer, "1000000000"))
        await reader.readline()

    async def work(number: int) -> None:
        reader, writer = made[number]
        for index, customer in enumerate(customers[number::CONNECTIONS]):
            hold = f"hold:{number}:{index}"
            writer.write(_command("EVALSHA", digest, "2", customer, hold, "1"))
            assert await reader.readline() == b":1\r\n", "there is enough"

    begun = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(CONNECTIONS)))
    took = time.perf_counter() - begun
    for _, each in made:
        each.close()
    return len(customers) / took


def redis_rate(customers: list[str], *, durable: bool) -> float | None:
    """Checks a second over 64 connections; None where there is no redis-server."""
    if shutil.which("redis-server") is None:
        return None
    with redis(durable=durable) as port:
        return asyncio.run(_drive(port, customers))
