"""Help everywhere, quickly; and mistakes end with a sentence, never with a traceback."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from taximeter import __version__
from taximeter.cli.main import make_cli
from taximeter.cli.terminal import printable
from tests.cli.command_line import OfflineRuntime, run

# What is dear to import and not needed to say what a command does.
HEAVY = ("fastapi", "psycopg", "uvicorn", "httpx2", "yaml", "rich.table", "structlog", "babel")


def commands() -> Iterator[tuple[str, ...]]:
    """Every command by the words that call it."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(make_cli(OfflineRuntime({}))))]
    while waiting:
        words, command = waiting.pop()
        yield words
        for name, member in getattr(command, "commands", {}).items():
            waiting.append(((*words, name), member))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    groups = {(), *((name,) for name in (
        "plan", "keys", "db", "consume", "archive", "backfill", "usage", "retention", "customer",
        "approval",
    ))}  # fmt: skip
    if words not in groups - {()}:
        assert "Example" in result.stdout, "a command shows how it is used"
        assert "\n    taximeter " in result.stdout, "an example is a command to copy"


def test_help_imports_no_more_than_it_needs() -> None:
    program = (
        "import sys; from taximeter.bootstrap import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True
    )
    assert "serve" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    assert run("--version").stdout == f"taximeter {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command"),
        (["plan", "check", "missing.yaml"], "missing.yaml"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--now", "yesterday", "--sandbox"], "2026-01-01T00:00:00Z"),
        (["serve", "--now", "2026-01-01T00:00:00Z"], "--sandbox"),
        (["plan", "list", "--url", "nowhere", "--key", "k"], "http://127.0.0.1:8420"),
        (["plan", "list", "--url", "http://[", "--key", "k"], "http://127.0.0.1:8420"),
        (["plan", "list", "--key", "a b"], "blanks"),
    ],
)
def test_a_wrong_call_is_a_usage_error(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "list"], "TAXIMETER_API_KEY"),
        (["plan", "list", "--url", "http://127.0.0.1:1", "--key", "k"], "taximeter serve"),
        (["serve", "--host", "no.such.host.invalid", "--port", "0"], "--host"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_cure(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("taximeter: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc\td") == "a\N{REPLACEMENT CHARACTER}[31mb\nc\td"


def test_the_runtime_is_handed_to_commands() -> None:
    app = make_cli(OfflineRuntime({"TAXIMETER_API_KEY": "k"}))
    assert isinstance(app, typer.Typer)
    result = run("plan", "list", TAXIMETER_URL="http://127.0.0.1:1", TAXIMETER_API_KEY="k")
    assert "http://127.0.0.1:1 cannot be reached" in result.stderr
