"""`taximeter db`: the schema of the database, brought up to date, distributed and measured; schema
and books, checked.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.options import DataOption, YesOption
from taximeter.cli.runtime import DatabaseSizes, Runtime
from taximeter.cli.terminal import FAILED, INTERRUPTED, asks, refuse, say, show_rows, warn
from taximeter.cli.terminal import fail as end

if TYPE_CHECKING:
    from taximeter.services.books import Checked

DATA_DEFAULT = Path("taximeter-data")
TABLES_SHOWN_MAX = 12
SHARDS_DEFAULT = 32

database = typer.Typer(
    no_args_is_help=True,
    help="The database: migrate, status, check, distribute.",
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
    """List the migrations that are missing, and what is large. Exit status 1 where any is missing.

    Of a distributed database: each node's shards and bytes, too, and the customers with the most
    events that meters counted, which takes a look at every hour of usage.

    \b
    Example:
      taximeter db status
    """
    runtime: Runtime = context.obj
    with runtime.database(data, create=False) as url:
        pending = runtime.pending(url)
        for name in pending:
            say(f"pending {name}")
        if not pending:
            say("up to date")
        _show_sizes(runtime.sizes(url))
    if pending:
        raise typer.Exit(FAILED)


def _show_sizes(sizes: DatabaseSizes) -> None:
    if not sizes.tables:
        return
    say(f"size {_bytes(sum(table.bytes for table in sizes.tables))}")
    shown = sizes.tables[:TABLES_SHOWN_MAX]
    say("")
    if not sizes.nodes:
        show_rows(["TABLE", "SIZE"], [(table.name, _bytes(table.bytes)) for table in shown])
        return
    show_rows(
        ["TABLE", "SIZE", "KIND"],
        [
            (table.name, _bytes(table.bytes), table.kind if table.placed else "not distributed yet")
            for table in shown
        ],
    )
    say("")
    show_rows(
        ["NODE", "SHARDS", "SIZE"],
        [(node.name, f"{node.shards:,}", _bytes(node.bytes)) for node in sizes.nodes],
    )
    say("")
    show_rows(
        ["CUSTOMER", "COUNTED EVENTS"], [(key, f"{events:,}") for key, events in sizes.largest]
    )


def _bytes(count: int) -> str:
    """`count` bytes in the largest unit of which there is one, cut after one decimal."""
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB")):
        if count >= unit:
            return f"{count // unit}.{count % unit * 10 // unit} {name}"
    return f"{count // 1024} KiB"


@database.command()
def distribute(
    context: typer.Context,
    shards: Annotated[
        int,
        typer.Option(
            help="Into how many shards. More than twice the cores of all nodes that there will be.",
            metavar="COUNT",
            min=1,
            max=64_000,
        ),
    ] = SHARDS_DEFAULT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its statements; change nothing.")
    ] = False,
    yes: YesOption = False,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Distribute the database over the nodes of a Citus cluster, by customer.

    The server must have the extension. Catalog tables are copied to every node, tables that grow
    with customers are taken apart into shards, the rest stays on the coordinator. Tables that
    foreign keys connect are moved in one transaction, during which nobody writes to them; where
    wal_level is logical the others, events and usage among them, are written to meanwhile.

    It may be stopped at any instant and run again: it goes on where it was.

    \b
    Examples:
      taximeter db distribute --dry-run
      taximeter db distribute --shards 64 --yes
    """
    runtime: Runtime = context.obj
    with runtime.database(data, create=False) as url:
        if runtime.pending(url):
            end("The database is not up to date. Run `taximeter db migrate` first.")
        found = runtime.outlook(url, shards=shards)
        show_rows(
            ["TABLE", "KIND", "SIZE", "NOW"],
            [
                (table.name, table.kind, _bytes(table.bytes), "there" if table.placed else "to do")
                for table in found.tables
            ],
        )
        say("")
        for number, step in enumerate(found.steps, start=1):
            say(f"{number}. {step.sentence}")
            if dry_run:
                for text in step.texts:
                    say(f"   {text};")
        if found.obstacle is not None:
            end(found.obstacle)
        if not found.steps:
            say("Everything stands where it belongs.")
        elif not dry_run:
            _distribute(runtime, url, shards=shards, yes=yes)


def _distribute(runtime: Runtime, url: str, *, shards: int, yes: bool) -> None:
    if not yes:
        if not asks():
            refuse("Say --yes: tables are locked while they are moved.")
        typer.confirm("Distribute them now?", abort=True)
    runtime.distribute(url, shards=shards, told=lambda step: warn(step.sentence))
    say("Distributed. See: taximeter db status")


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
