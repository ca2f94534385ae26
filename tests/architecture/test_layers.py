"""What the inner layers may import. The order of layers is import-linter's, in pyproject.toml."""

import sys
from collections.abc import Iterator

import pytest

from tests.architecture.source import Finding, Module, expect_none, package

# babel has the currencies and their digits; msgspec writes an event's content for its digest.
DOMAIN_MAY = ("babel", "msgspec")


def find_foreign(module: Module) -> Iterator[Finding]:
    """Imports of the kernel beyond the standard library, of the domain beyond two libraries."""
    allowed = {"taximeter", *sys.stdlib_module_names}
    if module.within("domain"):
        allowed.update(DOMAIN_MAY)
    elif not module.within("kernel"):
        return
    for node, root in module.roots():
        if root not in allowed:
            yield module.at(node, root)


def test_the_core_imports_nothing_foreign() -> None:
    found = (finding for module in package() for finding in find_foreign(module))
    expect_none(found, "Pass in what the library gives; only services, edges and gateways use it:")


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        ("kernel/a.py", "import json\nfrom taximeter.kernel.ids import IdSource", 0),
        ("kernel/a.py", "import msgspec", 1),
        ("domain/a.py", "from msgspec.json import encode", 0),
        ("domain/a.py", "def f():\n    import numpy", 1),
        ("services/a.py", "import psycopg", 0),
    ],
)
def test_the_rule(path: str, text: str, findings: int) -> None:
    assert len(list(find_foreign(Module.of(text, path)))) == findings
