"""The options of `taximeter import`: their names and what they say of themselves."""

from pathlib import Path
from typing import Annotated

import typer

BATCH_MAX = 10_000
PARALLEL_MAX = 64

EventsFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False,
        help="CSV with a header (.csv, .tsv), or one JSON object a line (.ndjson, .jsonl).",
    ),
]  # fmt: skip
CustomerOption = Annotated[
    str | None,
    typer.Option(help="The customer's key.", metavar="CUSTOMER"),
]
CustomerColumnOption = Annotated[
    str | None,
    typer.Option(help="The column with the customer's key.", metavar="COLUMN"),
]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type", help="The events' type, such as llm.completion.", metavar="TYPE",
    ),
]  # fmt: skip
SourceOption = Annotated[
    str | None,
    typer.Option(
        help="The events' source, a part of their identity.", metavar="SOURCE",
    ),
]  # fmt: skip
TimeColumnOption = Annotated[
    str | None,
    typer.Option(help="The column with the time of use.", metavar="COLUMN"),
]
TimeZoneOption = Annotated[
    str,
    typer.Option(help="The zone of times without an offset.", metavar="ZONE"),
]  # fmt: skip
IdColumnOption = Annotated[
    str | None,
    typer.Option(
        help="The column with the event's id; without it ids derive from the rows.",
        metavar="COLUMN",
    ),
]  # fmt: skip
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="PROPERTY=COLUMN",
        help="A property of data and its column; without any, all other columns are properties. "
        "Repeatable.",
    ),
]  # fmt: skip
ConstantOption = Annotated[
    list[str] | None,
    typer.Option(
        "--constant", metavar="PROPERTY=TEXT",
        help="A property of data with the same text in every event. Repeatable.",
    ),
]  # fmt: skip
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        help="What separates the cells of CSV; without it a comma, in .tsv a tab.",
        metavar="CHARACTER",
    ),
]
BatchOption = Annotated[
    int, typer.Option(help="Events in one request.", metavar="N", min=1, max=BATCH_MAX)
]
ParallelOption = Annotated[
    int, typer.Option(help="Requests at once.", metavar="N", min=1, max=PARALLEL_MAX)
]
RetryForOption = Annotated[
    int,
    typer.Option(
        help="How many seconds to go on while the server does not answer.", min=0,
        metavar="SECONDS",
    ),
]  # fmt: skip
StateOption = Annotated[
    Path | None,
    typer.Option(
        help="Remember in FILE which batches were taken, and skip them in the next run.",
        metavar="FILE", dir_okay=False,
    ),
]  # fmt: skip
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report", help="Write every problem to FILE, one JSON object each.", metavar="FILE",
        dir_okay=False,
    ),
]  # fmt: skip
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Read and check everything; send nothing.")
]
