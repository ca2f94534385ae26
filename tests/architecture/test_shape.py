"""Sizes, names and packages."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.source import ROOT, Finding, Module, expect_none, package, read_modules

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 1000
BANNED_WORDS = {"helper", "helpers", "manager", "managers", "misc", "util", "utils"}


def find_long_functions(module: Module) -> Iterator[Finding]:
    """Functions over the limit, their docstring counted."""
    for name, function in module.functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield module.at(function, f"{name} has {lines} lines")


def find_long_file(module: Module) -> Iterator[Finding]:
    """The file, where it is over its limit."""
    limit = TEST_FILE_LINES_MAX if module.path.startswith("tests/") else FILE_LINES_MAX
    lines = len(module.text.splitlines())
    if lines > limit:
        yield Finding(module.path, f"{lines} lines of at most {limit}")


def find_empty_names(module: Module) -> Iterator[Finding]:
    """Modules, classes and functions whose name says nothing of what they are."""
    named = [
        (node, node.name)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    stem = module.path.rpartition("/")[2].removesuffix(".py")
    for node, name in [(module.tree, stem), *named]:
        if BANNED_WORDS & {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+", name)}:
            yield module.at(node, name)


@pytest.fixture(scope="module")
def everything() -> tuple[Module, ...]:
    """Every Python file of the project; read once, and let go of with this module."""
    return package() + read_modules("tests", "docs", "benchmarks")


def test_functions_are_short(everything: tuple[Module, ...]) -> None:
    found = (finding for module in everything for finding in find_long_functions(module))
    expect_none(found, f"A function has at most {FUNCTION_LINES_MAX} lines. Name its parts:")


def test_files_are_short(everything: tuple[Module, ...]) -> None:
    found = (finding for module in everything for finding in find_long_file(module))
    expect_none(found, "A file has one subject. Split it by what changes together:")


def test_names_say_what_a_thing_is(everything: tuple[Module, ...]) -> None:
    found = (finding for module in everything for finding in find_empty_names(module))
    expect_none(found, "Name it for the noun or the verb that it is in billing:")


def test_every_package_has_an_init() -> None:
    folders = {(ROOT / module.path).parent for module in package()}
    missing = sorted(folder for folder in folders if not (folder / "__init__.py").exists())
    found = (Finding(str(folder.relative_to(ROOT)), "no __init__.py") for folder in missing)
    expect_none(found, "Add an __init__.py whose docstring says what the package owns:")


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("class CreditManager: ...", 1),
        ("def date_utils(): ...", 1),
        ("class Utility: ...", 0),
        ("from contextlib import contextmanager", 0),
    ],
)
def test_the_rule_on_names(text: str, findings: int) -> None:
    assert len(list(find_empty_names(Module.of(text)))) == findings


@pytest.mark.parametrize(("lines", "findings"), [(70, 0), (71, 1)])
def test_the_rule_on_functions(lines: int, findings: int) -> None:
    text = "def f():\n" + "    pass\n" * (lines - 1)
    assert len(list(find_long_functions(Module.of(text)))) == findings


@pytest.mark.parametrize(("lines", "findings"), [(500, 0), (501, 1)])
def test_the_rule_on_files(lines: int, findings: int) -> None:
    assert len(list(find_long_file(Module.of("pass\n" * lines)))) == findings
