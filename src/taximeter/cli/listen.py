"""Listening on a port, answering until told to stop, and stopping in order.

Owns the socket, the signals and the HTTP server. What is said to the operator is the commands'.
"""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from taximeter.cli.runtime import RunningInstance
from taximeter.cli.terminal import fail, warn

BACKLOG = 2048
KEEP_ALIVE_S = 75  # longer than what usually stands before a server keeps its connections
ANSWER_S_MAX = 8  # for requests under way when told to stop; containers are killed after 10
READY_S_MAX = 30
_POLL_S = 0.02
_HEALTHY = b" 200 "
_EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - named, not bound


def run_on_uvloop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` to its end on uvloop, or on asyncio's loop where there is none."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to a port of `host` that nobody listens on, to serve on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        fail(f"--host {host} is no address of this machine. Say one like 127.0.0.1 or 0.0.0.0.")
    with socket.socket(family, kind, protocol) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _listening_at(host, port):
            held.bind(address)
        yield held


@contextlib.contextmanager
def _listening_at(host: str, port: int) -> Iterator[None]:
    """Ends the command where listening fails."""
    try:
        yield
    except PermissionError:
        fail(f"Port {port} needs rights that you lack. Say another with --port.")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(
                f"Port {port} of {host} is in use. Stop what listens there, or say another with "
                "--port (0 takes a free one)."
            )
        reason = error.strerror or str(error)
        fail(f"Cannot listen on {host}, port {port}: {reason}. Say another --host or --port.")


def stop_when_told() -> asyncio.Event:
    """Set by the first SIGTERM or Ctrl-C; the second does what the system would."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    return stop


async def answer_until(
    stop: asyncio.Event,
    instance: RunningInstance,
    host: str,
    held: socket.socket,
    when_ready: Callable[[str], None],
) -> None:
    """Answer requests on the `held` socket's port until `stop`; then finish those under way.
    `host` is the address as the operator named it; `when_ready` is told the URL once it answers.
    """
    if stop.is_set():
        return
    address, port = held.getsockname()[:2]
    with _listening_at(host, port):
        held.listen(1)  # refused where somebody took the port while we opened
        ready = asyncio.create_task(_announce(address, port, host, when_ready))
        await _answer(stop, instance, held, ready)


async def _answer(
    stop: asyncio.Event,
    instance: RunningInstance,
    held: socket.socket,
    ready: asyncio.Task[None],
) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave the signals to `stop_when_told`."""
            yield

    config = uvicorn.Config(
        instance.app, http=instance.protocol, ws="none", lifespan="off", interface="asgi3",
        backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S, log_config=None, access_log=False,
        proxy_headers=False, server_header=False,
    )  # fmt: skip
    server = Server(config)
    serving = asyncio.create_task(server.serve([held]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    stopping.cancel()
    instance.end_streams()
    server.should_exit = True
    _, unfinished = await asyncio.wait([serving], timeout=ANSWER_S_MAX)
    if unfinished:
        warn(f"notice: Requests that did not end in {ANSWER_S_MAX} s were cut off.")
        serving.cancel()
    else:
        await serving
        if not stop.is_set():
            fail("The server ended by itself; its log says why.")


async def _announce(address: str, port: int, host: str, when_ready: Callable[[str], None]) -> None:
    """Tell `when_ready` once the server answers a request of our own."""
    near = {_EVERY_IPV4: "127.0.0.1", "::": "::1"}.get(address, address)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    for _ in range(int(READY_S_MAX / _POLL_S)):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                if await _is_healthy(near, port):
                    when_ready(url)
                    return
        await asyncio.sleep(_POLL_S)
    warn(f"notice: {url}/healthz does not answer 200 after {READY_S_MAX} s.")


async def _is_healthy(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return _HEALTHY in await reader.readline()
    finally:
        writer.close()
