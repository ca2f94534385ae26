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
