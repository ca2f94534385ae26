"""The `taximeter` command: its commands in one table, and how errors end it.

Must stay quick to import: a command imports what it works with when it runs.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taximeter import __version__
from taximeter.cli.approval import approval
from taximeter.cli.archive import archive
from taximeter.cli.backfill import backfill
from taximeter.cli.consume import consume
from taximeter.cli.customer import customer, retention
from taximeter.cli.database import database
from taximeter.cli.demo import demo
from taximeter.cli.import_command import import_
from taximeter.cli.keys import keys
from taximeter.cli.plan import plan
from taximeter.cli.runtime import Runtime
from taximeter.cli.serve import serve
from taximeter.cli.terminal import FAILED, CommandFailed, say, warn
from taximeter.cli.usage import usage
from taximeter.kernel.errors import TaximeterError


class Commands(TyperGroup):
    """Ends a command that failed for a reason we know with its sentence, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except CommandFailed as failed:
            warn(f"taximeter: {failed.sentence}")
            raise typer.Exit(failed.exit_status) from None
        except TaximeterError as error:
            warn(f"taximeter: {error.detail}")
            raise typer.Exit(FAILED) from None


def make_cli(runtime: Runtime) -> typer.Typer:
    """The command line over this outside world."""
    app = typer.Typer(
        name="taximeter", cls=Commands, no_args_is_help=True, add_completion=False,
        pretty_exceptions_enable=False, rich_markup_mode=None,
        context_settings={"obj": runtime, "help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(taximeter)
    app.command()(serve)
    app.command()(demo)
    app.command("import")(import_)
    app.add_typer(consume, name="consume")
    app.add_typer(backfill, name="backfill")
    app.add_typer(usage, name="usage")
    app.add_typer(plan, name="plan")
    app.add_typer(keys, name="keys")
    app.add_typer(approval, name="approval")
    app.add_typer(database, name="db")
    app.add_typer(archive, name="archive")
    app.add_typer(retention, name="retention")
    app.add_typer(customer, name="customer")
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"taximeter {__version__}")
        raise typer.Exit


def taximeter(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and end.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Usage-based billing for AI products: the fare, as it runs.

    \b
    Examples:
      taximeter demo
      taximeter serve
      taximeter plan check plans/scale.yaml
      taximeter import usage.csv --customer acme --type llm.completion --time-column at
    """
