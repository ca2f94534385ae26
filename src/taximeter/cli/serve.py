"""`taximeter serve`: one process that answers HTTP until it is told to stop."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from taximeter.cli.options import DataOption
from taximeter.cli.runtime import RunningInstance, Runtime, ServeOptions
from taximeter.cli.terminal import fail, refuse, say, warn

BACKLOG = 2048
ANSWER_S_MAX = 8  # for requests under way when told to stop; containers are killed after 10
READY_S_MAX = 30
_POLL_S = 0.02
_HEALTHY = b" 200 "
_EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - named, not bound


def serve(
    context: typer.Context,
    data: DataOption = Path("taximeter-data"),
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8420,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Give the instance a test clock that stands still.")
    ] = False,
    now: Annotated[
        str | None,
        typer.Option(
            help="Where a new sandbox's clock starts: 2026-01-01T00:00:00Z.", metavar="TIME"
        ),
    ] = None,
    open_metrics: Annotated[
        bool, typer.Option("--open-metrics", help="Answer GET /metrics without an API key.")
    ] = False,
) -> None:
    """Run the server.

    With DATABASE_URL it uses that PostgreSQL (16 or newer); without, it runs one of its own in
    the data directory. The first start prints an admin key once, unless TAXIMETER_API_KEY names
    one. When it answers it prints `ready` and its address. SIGTERM and Ctrl-C stop it in order.

    \b
    Examples:
      taximeter serve
      taximeter serve --data /var/lib/taximeter --host 0.0.0.0 --port 80
      taximeter serve --sandbox --now 2026-01-01T00:00:00Z
    """
    from taximeter.kernel.times import parse_instant

    runtime: Runtime = context.obj
    at = None
    if now is not None:
        at = parse_instant(now)
        if at is None:
            refuse(f"--now {now} is no time with an offset. Say one like 2026-01-01T00:00:00Z.")
        if not sandbox:
            refuse("--now sets the clock of a sandbox. Say --sandbox as well, or leave it out.")
    from taximeter.cli.logs import configure_logging

    configure_logging()
    options = ServeOptions(data, sandbox, at, open_metrics)
    with _reserved(host, port) as held:
        run_on_uvloop(lambda: _serve(runtime, options, host, held))


def run_on_uvloop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` to its end on uvloop, or on asyncio's loop where there is none."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@contextlib.contextmanager
def _reserved(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to a port of `host` that nobody listens on.

    The server sets SO_REUSEPORT, so it would share a taken port without a word.
    """
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


async def _serve(runtime: Runtime, options: ServeOptions, host: str, held: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        """The first time in order; the second time as the system would."""
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    instance = await runtime.open_instance(options)
    try:
        _introduce(instance, runtime)
        if not stop.is_set():
            address, port = held.getsockname()[:2]
            with _listening_at(host, port):
                held.listen(1)  # refused where somebody took the port while we opened
                held.close()
                await _answer(instance, address, port, host, stop)
    finally:
        await instance.close()


def _introduce(instance: RunningInstance, runtime: Runtime) -> None:
    for notice in instance.notices:
        warn(f"notice: {notice}")
    if instance.first_secret is not None:
        say(f"admin key {instance.first_secret}")
        warn("notice: This first start made the admin key above. It is shown this once; "
             "`taximeter keys create` makes others.")  # fmt: skip
    elif runtime.environment.get("TAXIMETER_API_KEY"):
        warn("notice: The admin key is the one in TAXIMETER_API_KEY.")


async def _answer(
    instance: RunningInstance, address: str, port: int, host: str, stop: asyncio.Event
) -> None:
    """Answer requests until `stop`; then finish those under way. `host` is `address` as the
    operator named it."""
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server

    server = Server(
        instance.app, address=address, port=port, interface=Interfaces.ASGI, websockets=False,
        backlog=BACKLOG, backpressure=BACKLOG, log_level=LogLevels.error,
        log_dictconfig={"handlers": {}, "loggers": {"_granian": {"propagate": True}}},
    )  # fmt: skip
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    ready = asyncio.create_task(_announce(address, port, host))
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    stopping.cancel()
    server.stop()  # type: ignore[no-untyped-call]
    _, unfinished = await asyncio.wait([serving], timeout=ANSWER_S_MAX)
    if unfinished:
        warn(f"notice: Requests that did not end in {ANSWER_S_MAX} s were cut off.")
        serving.cancel()
    else:
        await serving
        if not stop.is_set():
            fail(f"The server on port {port} ended by itself; its log says why.")


async def _announce(address: str, port: int, host: str) -> None:
    """Say `ready` once the server answers a request of our own."""
    near = {_EVERY_IPV4: "127.0.0.1", "::": "::1"}.get(address, address)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    for _ in range(int(READY_S_MAX / _POLL_S)):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                if await _is_healthy(near, port):
                    say(f"ready {url}")
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
