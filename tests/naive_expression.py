"""A second reading of meters' expressions, naive on purpose: Python's grammar, in fractions."""

import ast
from collections.abc import Mapping
from fractions import Fraction
from typing import Any


def evaluate(text: str, data: Mapping[str, Any]) -> Fraction:
    """What the expression comes to for an event's data, rounded half up at the 12th decimal."""
    exact = _value(ast.parse(text.strip(), mode="eval").body, data)
    scaled = abs(exact) * 10**12
    whole = int(scaled) + (scaled - int(scaled) >= Fraction(1, 2))
    return Fraction(whole if exact >= 0 else -whole, 10**12)


def _value(node: ast.expr, data: Mapping[str, Any]) -> Fraction:
    match node:
        case ast.Constant(value=number):
            return Fraction(str(number))
        case ast.Name(id=name):
            return Fraction(str(data[name]))
        case ast.Attribute(value=inner, attr=name):
            return Fraction(str(_inner(inner, data)[name]))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, data)
        case ast.BinOp(left=left, op=sign, right=right):
            return _paired(sign, _value(left, data), _value(right, data))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _called(name, [_value(one, data) for one in args])
        case _:
            raise AssertionError(ast.dump(node))


def _inner(node: ast.expr, data: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(node, ast.Attribute):
        found: Mapping[str, Any] = _inner(node.value, data)[node.attr]
        return found
    assert isinstance(node, ast.Name)
    return data[node.id]  # type: ignore[no-any-return]


def _paired(sign: ast.operator, x: Fraction, y: Fraction) -> Fraction:
    match sign:
        case ast.Add():
            return x + y
        case ast.Sub():
            return x - y
        case ast.Mult():
            return x * y
        case _:
            assert isinstance(sign, ast.Div)
            return x / y


def _called(name: str, values: list[Fraction]) -> Fraction:
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    x, step = values[0], values[1] if len(values) > 1 else Fraction(1)
    assert name in ("ceil", "floor")
    return x // step * step if name == "floor" else -(-x // step) * step
