"""`taximeter serve`: one process that answers HTTP until it is told to stop."""

import socket
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from taximeter.cli.listen import answer_until, reserved, run_on_uvloop, stop_when_told
from taximeter.cli.options import DataOption
from taximeter.cli.runtime import RunningInstance, Runtime, ServeOptions
from taximeter.cli.terminal import refuse, say, warn


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
    allow_private_webhooks: Annotated[
        bool,
        typer.Option(
            "--allow-private-webhooks", help="Let webhooks go to private and loopback addresses."
        ),
    ] = False,
    keep_answers: Annotated[
        int,
        typer.Option(
            help="Forget the first answer to an Idempotency-Key after so many days.", min=1,
            max=36_500, metavar="DAYS",
        ),
    ] = 30,
    read_timeout: Annotated[
        float,
        typer.Option(
            help="Stop reports, queries and previews that take longer.", min=0.1, max=86_400,
            metavar="SECONDS",
        ),
    ] = 30,
) -> None:  # fmt: skip
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
    runtime: Runtime = context.obj
    at = _clock_at(now, sandbox=sandbox)
    from taximeter.cli.logs import configure_logging

    configure_logging()
    options = ServeOptions(
        data, sandbox, at, open_metrics, allow_private_webhooks=allow_private_webhooks,
        keep_answers_days=keep_answers, read_s_max=read_timeout,
    )  # fmt: skip
    with reserved(host, port) as held:
        run_on_uvloop(lambda: _serve(runtime, options, host, held))


def _clock_at(now: str | None, *, sandbox: bool) -> datetime | None:
    from taximeter.kernel.times import parse_instant

    if now is None:
        return None
    at = parse_instant(now)
    if at is None:
        refuse(f"--now {now} is no time with an offset. Say one like 2026-01-01T00:00:00Z.")
    if not sandbox:
        refuse("--now sets the clock of a sandbox. Say --sandbox as well, or leave it out.")
    return at


async def _serve(runtime: Runtime, options: ServeOptions, host: str, held: socket.socket) -> None:
    stop = stop_when_told()
    instance = await runtime.open_instance(options)
    try:
        _introduce(instance, runtime)
        await answer_until(stop, instance, host, held, lambda url: say(f"ready {url}"))
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
