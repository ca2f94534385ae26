"""Options that several commands share, so that they read and behave the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Where the data of the embedded PostgreSQL is kept; unused with DATABASE_URL.",
        metavar="DIR",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The running server; else TAXIMETER_URL, else http://127.0.0.1:8420.",
        metavar="URL",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="An API key; else TAXIMETER_API_KEY.", metavar="KEY"),
]
PlanPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE", exists=True, readable=True, show_default=False,
        help="YAML with one or more plans, separated by ---; or a directory of such files.",
    ),
]  # fmt: skip
PlanKey = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's key.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
