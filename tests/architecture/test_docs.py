"""Generated pages are current, and links in the documentation lead somewhere."""

import re
from pathlib import Path

import pytest

from docs.generate import DOCS, pages
from docs.generator import plan_document
from docs.generator.schema import read_tables
from tests.architecture.source import ROOT, Finding, expect_none

LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#+ +(.+?)\s*#*$", re.MULTILINE)
OUTSIDE = ("http://", "https://", "mailto:")


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return dict(pages())


def test_generated_pages_are_current(written: dict[str, str]) -> None:
    stale = [
        name
        for name, text in written.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"Run `make docs`: it changes {', '.join(stale)}."


def test_every_meaning_is_used(written: dict[str, str]) -> None:
    text = written["reference/plan-document.md"]
    unused = [name for name, meaning in plan_document.MEANINGS.items() if meaning not in text]
    assert not unused, f"No document has these fields; take them out of MEANINGS: {unused}."


def test_every_table_is_documented(written: dict[str, str]) -> None:
    sql = (ROOT / "src/taximeter/storage/schema.sql").read_text(encoding="utf-8")
    created = set(re.findall(r"^CREATE TABLE (\w+)", sql, re.MULTILINE))
    assert {table.name for table in read_tables(sql)} == created
    assert all(f"\n## {name}\n" in written["reference/schema.md"] for name in created)


def test_links_lead_somewhere() -> None:
    prose = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    expect_none(
        (finding for path in prose for finding in find_dead_links(path)),
        "Correct the link, or make `make docs` write the page:",
    )


def find_dead_links(path: Path) -> list[Finding]:
    """Links to files that are not there, and to headings that the file does not have."""
    found = []
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if target.startswith(OUTSIDE):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        is_page = there.exists() and there.suffix == ".md"
        if not there.exists() or (anchor and is_page and anchor not in anchors_of(there)):
            found.append(Finding(path.name, target))
    return found


def anchors_of(path: Path) -> set[str]:
    """The anchors that a page's headings have on the usual renderers."""
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    links = "[a](page.md) [b](gone.md) [c](#one-thing) [d](#another)"
    page.write_text(f"# One thing\n{links}\n```\n[e](only-code.md)\n```\n")
    assert [finding.what for finding in find_dead_links(page)] == ["gone.md", "#another"]
