"""What no file of the project says: work left undone, and how or by whom it was written."""

import re
from collections.abc import Iterator

import pytest

from tests.architecture.source import ROOT, Finding, expect_none, project_files

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MAKERS = re.compile(
    r"\bclaude\b(?![ -](opus|sonnet|haiku|instant|\d))"
    r"|\b(authored|created|generated|made|written) (by|with) (an? )?"
    r"(AI|LLM|language model|agent|assistant)\b"
    r"|\bco-authored-by\b",
    re.IGNORECASE,
)
PLACES = re.compile(r"(?<![\w.])/work/|\.\./shared\b")
# The one place that may know where the real data lies; this file; hashes that say nothing.
PLACES_KNOWN = (".ci/run",)
SKIPPED = ("tests/architecture/test_words.py", "uv.lock")


def find_words(place: str, text: str) -> Iterator[Finding]:
    """The lines that hold such a word."""
    if place in SKIPPED:
        return
    patterns = [UNFINISHED, MAKERS] if place in PLACES_KNOWN else [UNFINISHED, MAKERS, PLACES]
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern in patterns:
            if match := pattern.search(line):
                yield Finding(f"{place}:{number}", match.group())


def test_the_project_speaks_of_itself_alone() -> None:
    found: list[Finding] = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found.extend(find_words(path.relative_to(ROOT).as_posix(), text))
    expect_none(found, "Finish it or file it; and say what the code does, not where it came from:")


@pytest.mark.parametrize(
    ("place", "text", "findings"),
    [
        ("README.md", "TODO: say more", 1),
        ("README.md", "todo lists are out of scope", 0),
        ("README.md", "written by an AI", 1),
        ("README.md", "what is written by AI products' users", 1),
        ("plans/a.yaml", "model: claude-sonnet-4-5", 0),
        ("README.md", "Claude wrote this", 1),
        ("src/a.py", "open('/work/main/a')", 1),
        ("src/a.py", "open('homework/a')", 0),
        ("Makefile", "DATA = ../shared/data", 1),
        (".ci/run", "data=../shared/data", 0),
    ],
)
def test_the_rule(place: str, text: str, findings: int) -> None:
    assert len(list(find_words(place, text))) == findings
