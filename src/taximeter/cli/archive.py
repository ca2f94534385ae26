"""`taximeter archive`: old events in files, moved there, looked at, and brought back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.in_database import DATA_DEFAULT, in_database
from taximeter.cli.options import DataOption
from taximeter.cli.progress import Progress
from taximeter.cli.terminal import fail, refuse, say, show_rows, warn

if TYPE_CHECKING:
    from taximeter.services.archive_run import Archive, Verified
    from taximeter.services.context import Context

archive = typer.Typer(
    no_args_is_help=True,
    help="Old events in files: run, list, verify, restore.",
)


@archive.command("run")
def run_(
    context: typer.Context,
    before: Annotated[
        str,
        typer.Option(
            help="Move events older than this: 2026-01-01, or a time with its offset.",
            metavar="TIME",
            show_default=False,
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            help="Where the files go. Servers read them there, so all of them must see it.",
            metavar="DIR",
            show_default=False,
            file_okay=False,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many events it would be.")
    ] = False,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Move old events of final periods into Parquet files.

    Events younger than the last final invoice of their customer stay, as do quarantined ones. It
    may run beside a server, be stopped at any instant, and be run again.

    \b
    Examples:
      taximeter archive run --before 2026-01-01 --to /srv/archive --dry-run
      taximeter archive run --before 2026-01-01 --to /srv/archive
    """  # fmt: skip
    limit, folder = time_of(before, "--before"), to.resolve()

    async def work(services: "Context") -> None:
        from taximeter.services import archive_run

        due = await archive_run.count_due(services, limit)
        if dry_run:
            say(f"{due:,} events would be moved.")
            return
        with Progress(due, "the events") as progress:
            moved = await archive_run.archive_events(
                services, folder, limit,
                told=lambda done: progress.show(done, f"{done:,} events moved"),
            )  # fmt: skip
        say(f"{moved.events:,} events moved into {moved.files:,} files in {folder}.")

    in_database(context.obj, data, work)


@archive.command("list")
def list_(context: typer.Context, data: DataOption = DATA_DEFAULT) -> None:
    """List the files, oldest first.

    \b
    Example:
      taximeter archive list
    """
    from taximeter.kernel.times import format_instant

    rows: list[tuple[str, ...]] = []

    async def work(services: "Context") -> None:
        from taximeter.services.archive_run import list_archives

        rows.extend(
            [
                _shown(one, format_instant(one.time_first), format_instant(one.time_last))
                async for one in list_archives(services)
            ]
        )

    in_database(context.obj, data, work)
    show_rows(("NUMBER", "EVENTS", "BYTES", "FROM", "TO", "CUSTOMERS", "FILE"), rows)


def _shown(one: "Archive", first: str, last: str) -> tuple[str, ...]:
    customers = f"{one.customer_first}..{one.customer_last}"
    return str(one.number), f"{one.rows:,}", f"{one.bytes:,}", first, last, customers, one.path


@archive.command()
def verify(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Also name files in this directory that belong to no archive.",
            metavar="DIR",
            file_okay=False,
        ),
    ] = None,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Compare every file with what was written and with the identities of its events.

    Exit status: 0 all is right, 1 a file is missing or damaged.

    \b
    Examples:
      taximeter archive verify
      taximeter archive verify --dir /srv/archive
    """  # fmt: skip
    found: list[Verified] = []
    unknown: list[Path] = []
    where = folder.resolve() if folder is not None else None

    async def work(services: "Context") -> None:
        from taximeter.services import archive_run

        async for one in archive_run.verify(services):
            found.append(one)
            if one.fault is not None:
                say(f"{one.archive.path} {one.fault}")
        if where is not None:
            unknown.extend(await archive_run.unknown_files(services, where))

    in_database(context.obj, data, work)
    for path in unknown:
        warn(f"{path} belongs to no archive; what a stopped run has left may be deleted.")
    bad = sum(one.fault is not None for one in found)
    if bad:
        fail(
            f"{bad:,} of {len(found):,} files are not as they should be. Restore them from a copy."
        )
    events = sum(one.current for one in found)
    say(f"the archive is right: {events:,} events in {len(found):,} files")


@archive.command()
def restore(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="The file's number, from `archive list`.", min=1)],
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Bring the events of a file back into the database, and remove the file.

    \b
    Example:
      taximeter archive restore 12
    """

    async def work(services: "Context") -> int:
        from taximeter.services import archive_run

        return await archive_run.restore(services, number)

    say(f"{in_database(context.obj, data, work):,} events are in the database again.")


def time_of(text: str, option: str) -> datetime:
    """The instant that an option says: a time with its offset, or a day, which begins in UTC."""
    from taximeter.kernel.times import parse_instant

    at = parse_instant(text)
    if at is None:
        try:
            at = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            refuse(f"{option} {text} is no day and no time with an offset. Say 2026-01-01.")
    return at
