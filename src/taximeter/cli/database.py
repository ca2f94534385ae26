"""`taximeter db`: the schema of the database, brought up to date; schema and books, checked."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.options import DataOption
from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import FAILED, INTERRUPTED, refuse, say, warn
from taximeter.cli.terminal import fail as end

if TYPE_CHECKING:
    from taximeter.services.books import Checked

DATA_DEFAULT = Path("taximeter-data")

database = typer.Typer(
    no_args_is_help=True,
    help="The database: migrate, status, check.",
)


@database.command()
def migrate(context: typer.Context, data: DataOption = DATA_DEFAULT) -> None:
    """Apply the migrations that are missing. `serve` does so as well when it starts.

    \b
    Examples:
      taximeter db migrate
      DATABASE_URL=postgresql://taximeter@db/taximeter taximeter db migrate
    """
    runtime: Runtime = context.obj
    with runtime.database(data, create=True) as url:
        applied = runtime.migrate(url)
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("up to date")


@database.command()
def status(context: typer.Context, data: DataOption = DATA_DEFAULT) -> None:
    """List the migrations that are missing. Exit status 1 where there are any.

    \b
    Example:
      taximeter db status
    """
    runtime: Runtime = context.obj
    with runtime.database(data, create=False) as url:
        pending = runtime.pending(url)
    for name in pending:
        say(f"pending {name}")
    if pending:
        raise typer.Exit(FAILED)
    say("up to date")


@database.command()
def check(
    context: typer.Context,
    customer: Annotated[
        str | None, typer.Option(help="Check the books of this customer only.", metavar="KEY")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Begin with this customer, to go on.", metavar="KEY"),
    ] = None,
    events: Annotated[
        int,
        typer.Option(
            help="Count usage again of customers with up to this many events; 0: of none.",
            metavar="COUNT",
            min=0,
        ),
    ] = 1_000_000,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="Compare the schema, not the books.")
    ] = False,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Compare the database with the declared schema, then its books with their entries.

    Of each customer, balances are computed again from their entries, what is held from open holds,
    and usage from the raw events; the first difference is named. It reads one snapshot for each
    customer and locks nothing, so a server may work meanwhile.

    Exit status: 0 all is right, 1 something differs or failed, 2 wrongly called.

    \b
    Examples:
      taximeter db check
      taximeter db check --customer acme
      taximeter db check --from acme --events 0
    """
    if customer is not None and start is not None:
        refuse("Say --customer or --from, not both.")
    runtime: Runtime = context.obj
    with runtime.database(data, create=False) as url:
        if runtime.pending(url):
            end("The database is not up to date. Run `taximeter db migrate` first.")
        difference = runtime.check(url)
        if difference is not None:
            end(f"The schema differs from the declared one: {difference}")
        say("the schema is as declared")
        if not schema_only:
            _Books(runtime, url, events).check(customer, start)


class _Books:
    """A check of the books, and what it has found so far."""

    def __init__(self, runtime: Runtime, url: str, events_max: int) -> None:
        self._runtime = runtime
        self._url = url
        self._events_max = events_max
        self._checked = 0
        self._differing = 0
        self._uncounted = 0
        self._last: str | None = None

    def check(self, customer: str | None, start: str | None) -> None:
        """Check one customer, or all from `start` on, and end the command where one differs."""
        try:
            asyncio.run(self._check(customer, start))
        except KeyboardInterrupt:
            cure = f" Go on with --from {self._last}." if self._last is not None else ""
            end(f"Stopped after {self._checked:,} customers.{cure}", INTERRUPTED)
        if self._uncounted:
            warn(
                f"The usage of {self._uncounted:,} customers was not counted again: they have over "
                f"{self._events_max:,} events (see --events), or one that was received in the very "
                "instant at which a meter changed."
            )
        if self._differing:
            end(
                f"The books of {self._differing:,} of {self._checked:,} customers differ from what "
                "they are made of; nothing was changed."
            )
        say(f"the books are right: {self._checked:,} checked")

    async def _check(self, customer: str | None, start: str | None) -> None:
        from taximeter.cli.progress import Progress
        from taximeter.services import books

        async with self._runtime.context(self._url) as services:
            if customer is not None:
                found = await books.check_customer(services, customer, events_max=self._events_max)
                self._note(found)
                return
            total = await books.count_customers(services, start)
            with Progress(total, "the customers") as progress:
                async for found in books.walk(services, start=start, events_max=self._events_max):
                    self._note(found)
                    progress.show(self._checked, f"{self._checked:,} customers checked")

    def _note(self, found: "Checked") -> None:
        self._checked += 1
        self._last = found.customer
        if found.difference is not None:
            self._differing += 1
            say(str(found.difference))
        elif not found.usage:
            self._uncounted += 1
