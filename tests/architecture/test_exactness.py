"""No binary number near money or quantity, and one place that rounds."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import Finding, Module, dotted, expect_none, package

EXACT = ("kernel", "domain")
ROUNDING = ("kernel/quantity.py",)
_ROUNDERS = ("quantize", "to_integral", "to_integral_value", "to_integral_exact")


def handles_amounts(module: Module) -> bool:
    """Whether the module computes: all of kernel and domain, elsewhere where it knows Decimal."""
    return module.within(*EXACT) or "decimal.Decimal" in module.imported().values()


def find_floats(module: Module) -> Iterator[Finding]:
    """The type, calls of it, and literals with a point."""
    if not handles_amounts(module):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "float":
            yield module.at(node, "float")
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield module.at(node, f"the literal {node.value}")


def find_rounding(module: Module) -> Iterator[Finding]:
    """`round`, and Decimal's own rounding outside the one module that has a name for each kind.
    In a comparison it asks whether a number is whole, and loses nothing.
    """
    imported = module.imported()
    compared = {
        id(node)
        for comparison in ast.walk(module.tree)
        if isinstance(comparison, ast.Compare)
        for node in ast.walk(comparison)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "round":
            yield module.at(node, "round")
        if module.within(*ROUNDING) or id(node) in compared:
            continue
        if isinstance(node, ast.Attribute) and node.attr in _ROUNDERS:
            yield module.at(node, node.attr)
        if (dotted(node, imported) or "").startswith("decimal.ROUND_"):
            yield module.at(node, "a rounding mode")


def test_amounts_are_never_binary_numbers() -> None:
    found = (finding for module in package() for finding in find_floats(module))
    expect_none(found, "Money and quantity are Decimal. Parse text by kernel.quantity:")


def test_rounding_has_one_place() -> None:
    found = (finding for module in package() for finding in find_rounding(module))
    expect_none(found, "Round by a named function of kernel/quantity.py, or add one there:")


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        ("domain/a.py", "def f(x: float) -> None: ...", 1),
        ("domain/a.py", "y = float('0.1') + 0.5", 2),
        ("services/a.py", "PAUSE_S = 0.5", 0),
        ("services/a.py", "from decimal import Decimal\nrate = Decimal(0.5)", 1),
        ("kernel/a.py", "limit = 5", 0),
    ],
)
def test_the_rule_on_floats(path: str, text: str, findings: int) -> None:
    assert len(list(find_floats(Module.of(text, path)))) == findings


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        ("domain/a.py", "y = round(x, 2)", 1),
        ("domain/a.py", "y = x.quantize(one)", 1),
        ("domain/a.py", "whole = x == x.to_integral_value()", 0),
        ("domain/a.py", "from decimal import ROUND_FLOOR\ny = f(x, ROUND_FLOOR)", 1),
        ("kernel/quantity.py", "y = x.quantize(one)", 0),
        ("kernel/quantity.py", "y = round(x)", 1),
    ],
)
def test_the_rule_on_rounding(path: str, text: str, findings: int) -> None:
    assert len(list(find_rounding(Module.of(text, path)))) == findings
