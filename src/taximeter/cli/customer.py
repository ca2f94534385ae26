"""`taximeter customer` and `taximeter retention`: personal data taken away, in the database."""

from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.archive import time_of
from taximeter.cli.in_database import ACTOR, DATA_DEFAULT, in_database
from taximeter.cli.options import DataOption, YesOption
from taximeter.cli.progress import Progress
from taximeter.cli.terminal import asks, refuse, say

if TYPE_CHECKING:
    from taximeter.services.context import Context

customer = typer.Typer(no_args_is_help=True, help="A customer: erase what is personal.")
retention = typer.Typer(
    no_args_is_help=True, help="What old events say beside what meters read: run."
)


@customer.command()
def erase(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's key.")],
    reason: Annotated[
        str,
        typer.Option(
            help="Why. It is kept, so it should name nobody.", metavar="TEXT", show_default=False
        ),
    ],
    yes: YesOption = False,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Erase what is personal of a customer, in the database and in the files of the archive.

    Amounts, totals, invoices, paths and the key itself stay. There is no way back. It may be
    stopped at any instant and run again.

    \b
    Example:
      taximeter customer erase acme --reason "request of 12 May"
    """
    if not yes:
        if not asks():
            refuse("Say --yes: there is no way back.")
        typer.confirm(f"Erase what is personal of {key}? There is no way back.", abort=True)

    async def work(services: "Context") -> int:
        from taximeter.services.command import run
        from taximeter.services.erase import erase, request_erasure

        await run(services, ACTOR, lambda transaction: request_erasure(transaction, key, reason))
        return (await erase(services, key)).events

    say(f"{key} is erased: {in_database(context.obj, data, work):,} events were changed.")


@retention.command("run")
def run_(
    context: typer.Context,
    before: Annotated[
        str,
        typer.Option(
            help="Of events older than this: 2026-01-01, or a time with its offset.",
            metavar="TIME",
            show_default=False,
        ),
    ],
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Take away what no meter and no price reads of old events, in the database and in files.

    What they count stays, and so do identities. There is no way back. It may run beside a server,
    be stopped at any instant, and be run again.

    \b
    Example:
      taximeter retention run --before 2026-01-01
    """  # fmt: skip
    limit = time_of(before, "--before")

    async def work(services: "Context") -> None:
        from taximeter.services.retention import reduce_old

        with Progress(0, "the events") as progress:
            done = await reduce_old(
                services, limit, told=lambda count: progress.show(count, f"{count:,} events")
            )
        say(f"{done.events:,} events reduced, {done.files:,} files written anew.")

    in_database(context.obj, data, work)
