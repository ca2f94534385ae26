"""`taximeter db`: the schema of the database, brought up to date and checked."""

from pathlib import Path

import typer

from taximeter.cli.options import DataOption
from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import FAILED, say
from taximeter.cli.terminal import fail as end

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
def check(context: typer.Context, data: DataOption = DATA_DEFAULT) -> None:
    """Compare the database with the declared schema. Exit status 1 where they differ.

    \b
    Example:
      taximeter db check
    """
    runtime: Runtime = context.obj
    with runtime.database(data, create=False) as url:
        if runtime.pending(url):
            end("The database is not up to date. Run `taximeter db migrate` first.")
        difference = runtime.check(url)
    if difference is not None:
        end(f"The schema differs from the declared one: {difference}")
    say("the schema is as declared")
