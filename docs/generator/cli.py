"""The page of the command line, from the commands' own help."""

import re
from collections.abc import Iterator
from typing import Any, cast

import typer

from docs.generator.markdown import code, page, table
from taximeter.cli.main import make_cli
from taximeter.cli.runtime import Runtime

_MARKUP = re.compile(r"\[/?(bold|cyan|dim|green|italic|red|yellow)\]")


def render() -> str:
    """The page."""
    intro = (
        "A command ends with 0 where it did what was asked, and else says in a sentence what is "
        "wrong and what to do. `--help` shows this for any command."
    )
    command = typer.main.get_command(make_cli(cast("Runtime", None)))
    return page("Command line", intro, _sections(command, "taximeter"))


def _sections(command: Any, name: str) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"## {name}"
    yield from _help(command.help or "")
    yield f"```console\n{name} {' '.join(command.collect_usage_pieces(context))}\n```"
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [[code(record[0]), _plain(record[1])] for record in records if record]
    rows = [row for row in rows if "--help" not in row[0]]
    if rows:
        yield table(["option", "meaning"], rows)
    for child in getattr(command, "commands", {}).values():
        yield from _sections(child, f"{name} {child.name}")


def _help(text: str) -> Iterator[str]:
    """Its paragraphs; what follows the head of one that keeps its lines is a block of code."""
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            head, *rest = lines[1:]
            yield head.strip()
            if rest:
                yield "```console\n" + "\n".join(_plain(line.strip()) for line in rest) + "\n```"
        else:
            yield _plain(" ".join(paragraph.split()))


def _plain(text: str) -> str:
    """Text without the marks of a terminal's colours."""
    return _MARKUP.sub("", text).replace("\\[", "[")
