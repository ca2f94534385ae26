"""`taximeter plan gallery`: price pages as plan files, to look at and to start from.

Owns finding the files that come with Taximeter, and what is said of each: its first two lines, and
what its plans are made of. The files themselves are plan files like any other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from taximeter.cli.terminal import fail, refuse, say

_DEMO = "demo-"
_SOURCE = "Source: "
_OF_PRICES = ("included", "multipliers", "pool", "outcome", "discount", "minimum", "maximum")
_OF_PLANS = ("minimum", "credits", "commitment", "entitlements")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the gallery. `parts` are the models of its prices and the fields beside them
    that matter, in the order they come.
    """

    name: str
    title: str
    source: str
    parts: tuple[str, ...]
    text: str


def gallery(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|WORD]", show_default=False,
            help="The entry to print; or a word, to list the entries that hold it.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the entry into this file.", metavar="FILE"),
    ] = None,
) -> None:  # fmt: skip
    """List real price pages as plan files, or print one to start from.

    An entry holds its plans and their meters, and can be deployed as it is.

    \b
    Examples:
      taximeter plan gallery
      taximeter plan gallery graduated
      taximeter plan gallery openai-api > plans/tokens.yaml
      taximeter plan deploy plans/tokens.yaml
    """
    entries = list(read_gallery())
    named = next((one for one in entries if one.name == word), None)
    if named is not None:
        if output is None:
            say(named.text.rstrip("\n"))
        else:
            _write(output, named)
        return
    if output is not None:
        refuse("--output needs the name of an entry. `taximeter plan gallery` lists them.")
    found = [one for one in entries if word is None or word.lower() in _searched(one)]
    if not found:
        fail(f"No entry of the gallery holds {word}. `taximeter plan gallery` lists all of them.")
    width = max(len(one.name) for one in found) + 2
    for one in found:
        say(f"{one.name:{width}}{one.title}")
        say(f"{'':{width}}{', '.join(one.parts)}; {one.source}")


def read_gallery() -> Iterator[Entry]:
    """The entries, by name."""
    from taximeter.cli.plan_folder import plan_folder

    for file in sorted(plan_folder().glob("*.yaml")):
        if not file.stem.startswith(_DEMO):
            yield _read(file)


def _read(file: Path) -> Entry:
    from taximeter.cli.plan_file import read_plan_file

    text = file.read_text(encoding="utf-8")
    title, source, *_ = (line.removeprefix("# ") for line in text.splitlines())
    parts: dict[str, None] = {}
    for checked in read_plan_file(file).plans:
        parts |= dict.fromkeys(_parts(checked.document.body))
    source = source.removeprefix(_SOURCE).partition(".")[0]
    return Entry(file.stem, title.rstrip("."), source, tuple(parts), text)


def _parts(plan: Mapping[str, Any]) -> Iterator[str]:
    for price in plan["prices"]:
        yield price.get("model", price["type"])
        yield from (name for name in _OF_PRICES if name in price)
    yield from (name for name in _OF_PLANS if name in plan)


def _searched(entry: Entry) -> str:
    return f"{entry.name} {entry.text}".lower()


def _write(file: Path, entry: Entry) -> None:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(entry.text)
    except FileExistsError:
        fail(f"{file} is there already. Say another name.")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.")
    say(f"{file}: {entry.title}")
