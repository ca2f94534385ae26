"""`taximeter demo`: a running sandbox with realistic usage, and a page to look at.

Owns the demo's own data directory and the order of things; what happens in it goes through the
server's API, as anybody's requests would.
"""

import asyncio
import logging
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from taximeter.cli.listen import answer_until, reserved, run_on_uvloop, stop_when_told
from taximeter.cli.runtime import RunningInstance, Runtime, ServeOptions
from taximeter.cli.terminal import INTERRUPTED, console, fail, say, warn
from taximeter.kernel.errors import TaximeterError

HOST = "127.0.0.1"
MARKER = "demo-state"
LOADING, LOADED = "loading", "loaded"
SECRET_BYTES = 32


def demo(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option(help="Where the demo keeps its own data.", metavar="DIR")
    ] = Path("demo-data"),
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8420,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove the demo's data and start over.")
    ] = False,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="End after printing instead of serving.")
    ] = False,
) -> None:
    """Show what Taximeter does: three customers, five weeks of usage, invoices, a live page.

    It runs a sandbox of its own, with its own database in the data directory, and never touches
    another one. Run it again and it serves what it loaded before.

    \b
    Examples:
      taximeter demo
      taximeter demo --port 8500 --data /tmp/demo
      taximeter demo --fresh --no-serve
    """
    from taximeter.cli.logs import configure_logging
    from taximeter.services.keys import make_secret

    configure_logging(logging.ERROR)
    runtime: Runtime = context.obj
    run = _Demo(make_secret(runtime.random_bytes(SECRET_BYTES)), data, serves=not no_serve)
    with reserved(HOST, port) as held:
        run.prepare(fresh=fresh)
        run_on_uvloop(lambda: run.run(runtime, held))
    run.report()


class _Demo:
    """One run. `serves`: until Ctrl-C, else only until all is printed."""

    def __init__(self, secret: str, data: Path, *, serves: bool) -> None:
        self._secret = secret
        self._data = data
        self._serves = serves
        self._stop = threading.Event()
        self._loaded_before = False
        self._is_shown = False
        self._failure: BaseException | None = None

    def prepare(self, *, fresh: bool) -> None:
        """Have the data directory ready: empty, or with what an earlier run has loaded."""
        marker = self._data / MARKER
        state = marker.read_text().strip() if marker.is_file() else None
        if state is None and self._data.is_dir() and any(self._data.iterdir()):
            fail(f"{self._data} holds something else than a demo. Name another with --data.")
        if state is not None and (fresh or state != LOADED):
            if not fresh:
                warn("notice: The last run did not finish loading; starting over.")
            shutil.rmtree(self._data)
            state = None
        self._loaded_before = state == LOADED
        if not self._loaded_before:
            self._data.mkdir(parents=True, exist_ok=True)
            marker.write_text(LOADING)

    async def run(self, runtime: Runtime, held: socket.socket) -> None:
        """Open the sandbox, answer, and tell the story meanwhile in a thread of its own."""
        from taximeter.cli.demo_print import done
        from taximeter.cli.demo_story import START

        say("Taximeter demo. The fare, as it runs.\n")
        began_s = time.monotonic()
        stop = stop_when_told()
        watching = asyncio.create_task(self._stop_with(stop))
        now = None if self._loaded_before else START
        instance = await runtime.open_instance(
            ServeOptions(
                self._data, sandbox=True, now=now, open_metrics=False, own_database=True,
                root_key=self._secret,
            )
        )  # fmt: skip
        try:
            done(f"PostgreSQL runs in {self._data} ({time.monotonic() - began_s:.1f} s)")
            telling: list[asyncio.Future[None]] = []

            def ready(url: str) -> None:
                loop = asyncio.get_running_loop()
                links = _Links(url, loop, instance, self._secret)
                telling.append(loop.run_in_executor(None, self._tell, links, stop))

            await answer_until(stop, instance, HOST, held, ready)
            self._stop.set()
            await asyncio.gather(*telling)
        finally:
            watching.cancel()
            self._stop.set()
            await instance.close()

    async def _stop_with(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stop.set()

    def _tell(self, links: "_Links", stop: asyncio.Event) -> None:
        """The story, in a thread. However it ends, the server is told to stop."""
        try:
            self._story(links)
        except BaseException as failure:  # noqa: BLE001 - raised again where the run ends
            if not (self._stop.is_set() or stop.is_set()):
                self._failure = failure
        finally:
            links.loop.call_soon_threadsafe(stop.set)

    def _story(self, links: "_Links") -> None:
        from taximeter.cli.api import Api
        from taximeter.cli.demo_print import LoadingBar, done, print_loaded, print_shown
        from taximeter.cli.demo_story import closed_month, load, set_up, trickle

        with Api(links.url, self._secret) as api:
            if self._loaded_before:
                done("The usage of an earlier run is there; --fresh starts over")
            else:
                set_up(api)
                done("Three customers on three plans: per token, hybrid, prepaid credits")
                with LoadingBar() as bar:
                    loaded = load(api, self._stop, bar.show)
                (self._data / MARKER).write_text(LOADED)
                print_loaded(loaded)
            print_shown(console(), closed_month(api))
            self._is_shown = True
            if self._serves:
                say(f"Open    {links.sign_in()}")
                say("        (signs you in once, within ten minutes)")
                say(f"API key {self._secret}  (for this run)\n")
                say("Usage keeps coming in while this runs. Ctrl-C stops it.")
                trickle(api, self._stop)

    def report(self) -> None:
        """How it ended."""
        from taximeter.cli.api import Refused

        if isinstance(self._failure, Refused):
            fail(self._failure.sentence)
        if isinstance(self._failure, TaximeterError):
            fail(self._failure.detail)
        if self._failure is not None:
            raise self._failure
        if not self._is_shown:
            fail("Stopped. The next run starts over.", INTERRUPTED)
        if self._serves:
            say("\nStopped. `taximeter demo` goes on from here.")


class _Links:
    """The running server's addresses, for a thread."""

    def __init__(
        self, url: str, loop: asyncio.AbstractEventLoop, instance: RunningInstance, secret: str
    ) -> None:
        self.url = url
        self.loop = loop
        self._instance = instance
        self._secret = secret

    def sign_in(self) -> str:
        """An address that signs a browser in, once."""
        return asyncio.run_coroutine_threadsafe(self._make(), self.loop).result()

    async def _make(self) -> str:
        return self.url + self._instance.sign_in_path(self._secret)
