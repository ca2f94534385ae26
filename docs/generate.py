"""Writes the pages of docs/reference from what they describe: `make docs`.

Owns the list of generated pages. What a page says is in docs/generator; a test compares the pages
with what would be written now.
"""

from collections.abc import Mapping
from pathlib import Path

from docs.generator import api, cli, errors, plan_document, schema

DOCS = Path(__file__).parent
SCHEMA = DOCS.parent / "src/taximeter/storage/schema.sql"


def pages() -> Mapping[str, str]:
    """The text of each generated page by its path below docs."""
    return {
        "reference/api.md": api.render(),
        "reference/cli.md": cli.render(),
        "reference/errors.md": errors.render(),
        "reference/plan-document.md": plan_document.render(),
        "reference/schema.md": schema.render(SCHEMA.read_text(encoding="utf-8")),
    }


def main() -> None:
    """Write every page that differs, and name it."""
    for name, text in pages().items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
