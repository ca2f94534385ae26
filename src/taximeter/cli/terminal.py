"""Speaking to the person at the terminal: results on standard output, all else on standard error.

Owns the exit codes. Text from files and servers is printed as it is, never as markup, and without
control characters.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FAILED = 1
USAGE = 2
NOT_ALL_TAKEN = 3
INTERRUPTED = 130
_PIPE_WIDTH = 120


def say(text: str) -> None:
    """Print a line of the result, at once."""
    print(printable(text), flush=True)


def warn(text: str) -> None:
    """Print a line that is not part of the result."""
    print(printable(text), file=sys.stderr, flush=True)


def say_in_colour(text: "Text") -> None:
    """Print a line of the result, coloured where it is read on a terminal."""
    from rich.console import Console

    Console(soft_wrap=True, highlight=False).print(text)


def warn_in_colour(text: "Text") -> None:
    """Print a line that is not part of the result, coloured where it is read on a terminal."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


def asks() -> bool:
    """Whether somebody sits at the terminal who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class CommandFailed(Exception):
    """Ends the command with one sentence that says what is wrong and the cure."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_status = code


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """End the command with one sentence that says what is wrong and the cure."""
    raise CommandFailed(sentence, code)


def refuse(sentence: str) -> NoReturn:
    """End the command because of how it was called."""
    fail(f"{sentence} See --help.", USAGE)


def printable(text: str) -> str:
    """`text` without what could steer a terminal; lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def show_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in aligned columns; nothing is cut, so that ids can be copied."""
    table = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


def console() -> "Console":
    """Where tables are printed: as wide as the terminal, or as a pipe can take."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)
