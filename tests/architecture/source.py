"""The project's own files, as the architecture tests read them.

Owns parsing, the resolution of names through imports, and the form of a finding. The rules stand in
the test modules.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "src/taximeter"

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Finding(NamedTuple):
    """One place that breaks a rule."""

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file; `path` is relative to the root."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, text: str, path: str = "domain/example.py") -> "Module":
        """A module of this text at `path` inside the package: an example for a rule."""
        return cls(f"{PACKAGE}/{path}", text, ast.parse(text))

    def within(self, *places: str) -> bool:
        """Whether it is one of these files of the package, or in one of these folders."""
        inside = self.path.removeprefix(f"{PACKAGE}/")
        return any(inside == place or inside.startswith(f"{place}/") for place in places)

    def at(self, node: ast.AST, what: str) -> Finding:
        """A finding at `node`."""
        return Finding(f"{self.path}:{getattr(node, 'lineno', 1)}", what)

    def imported(self) -> dict[str, str]:
        """The dotted name that each imported local name stands for."""
        names = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    names[alias.asname or root] = alias.name if alias.asname else root
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return names

    def roots(self) -> Iterator[tuple[ast.AST, str]]:
        """Each import with the top-level name of what it imports."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name.partition(".")[0]
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node, node.module.partition(".")[0]

    def functions(self) -> Iterator[tuple[str, Function]]:
        """Each function with its name inside the module: `Class.method`."""
        yield from _functions(self.tree, "")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{prefix}{child.name}", child
        if isinstance(child, Function | ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def dotted(node: ast.AST, imported: dict[str, str]) -> str | None:
    """The full name of `a.b.c` where `a` was imported, else None."""
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, imported)
        return f"{owner}.{node.attr}" if owner else None
    return None


def read_modules(*folders: str) -> tuple[Module, ...]:
    """The Python files in these folders of the root."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path.relative_to(ROOT).as_posix(), text, ast.parse(text))


@lru_cache(maxsize=1)
def package() -> tuple[Module, ...]:
    """Every module of the package."""
    found = read_modules(PACKAGE)
    assert found, f"there is no Python file in {PACKAGE}"
    return found


@lru_cache(maxsize=1)
def project_files() -> tuple[Path, ...]:
    """Every file of the project, without what .gitignore leaves out."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    return tuple(_files_in(ROOT, [".git", *ignored]))


def _files_in(folder: Path, ignored: list[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if any(path.match(pattern) for pattern in ignored):
            continue
        if path.is_dir():
            yield from _files_in(path, ignored)
        else:
            yield path


def expect_none(found: Iterable[Finding], cure: str) -> None:
    """Fail with every finding, and with the cure."""
    lines = [f"  {finding.place}: {finding.what}" for finding in found]
    assert not lines, "\n".join([cure, *lines])
