"""The arithmetic that a meter may do over properties of an event's data.

Owns the grammar, its limits and the exact arithmetic. Must not know how a property is found in an
event: an expression names its properties, and is computed from their numbers.

    sum     = product {("+" | "-") product}
    product = signed {("*" | "/") signed}
    signed  = "-" signed | operand
    operand = number | property | "(" sum ")" | function "(" sum {"," sum} ")"

Functions: `max` and `min` of one or more, `ceil(x)` and `floor(x)` to a whole number,
`ceil(x, step)` and `floor(x, step)` to a multiple of a step above zero. Everything is exact but a
quotient without end, which is rounded half up at the 12th decimal, and the result, which is rounded
there too where it has more. A hyphen is a minus, so a property whose name has one cannot be named.
"""

import decimal
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from taximeter.kernel.quantity import (
    BOUND,
    DIGITS_FRACTION_MAX,
    ONE,
    ZERO,
    divide,
    parse_decimal,
    round_half_up,
)

LENGTH_MAX = 500
DEPTH_MAX = 20
TOKENS_MAX = 200
NAME_CHARS_MAX = 128
FUNCTIONS = ("max", "min", "ceil", "floor")

Number = Decimal | int
Values = Sequence[Number]
_Compute = Callable[[Values], Number]

_BLANKS = " \t\n\r\f\v"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)(?![A-Za-z0-9_.])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)|(?P<sign>[-+*/(),]))",
    re.ASCII,
)
_BOUND = int(BOUND)
# As precise as the process, but nothing is ever rounded without a word.
_EXACT = decimal.Context(
    prec=80,
    traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)


class Malformed(Exception):
    """A text that is no expression: `at` is the place of the fault, counted from 1, and `detail`
    says what is wrong and what to write instead.
    """

    def __init__(self, at: int, detail: str) -> None:
        super().__init__(at, detail)
        self.at = at
        self.detail = detail


class Uncomputable(Exception):
    """An expression without a result for these numbers: a division by zero, a step that is not
    above zero, or more digits than a number may have.
    """


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: `names` are the properties it reads, each once, in the order in which
    `result` takes their numbers. `text` is without blanks; two of the same text are equal.
    """

    text: str
    names: tuple[str, ...] = field(compare=False)
    _compute: _Compute = field(compare=False, repr=False)

    def result(self, values: Values) -> Number:
        """The exact result for these numbers, at most 12 decimals. Raises `Uncomputable`."""
        try:
            number = self._compute(values)
        except decimal.DecimalException as error:
            raise Uncomputable from error
        if type(number) is int:
            if -_BOUND < number < _BOUND:
                return number
            raise Uncomputable
        assert isinstance(number, Decimal)
        if not -BOUND < number < BOUND:
            raise Uncomputable
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int), "a result is finite"
        if exponent < -DIGITS_FRACTION_MAX:
            number = round_half_up(number, DIGITS_FRACTION_MAX)
            if abs(number) >= BOUND:
                raise Uncomputable
        return number


def parse_expression(text: str) -> Expression:
    """The expression that `text` is. Raises `Malformed`."""
    if len(text) > LENGTH_MAX:
        raise Malformed(LENGTH_MAX + 1, f"This is too long. Say at most {LENGTH_MAX} characters.")
    parser = _Parser(text)
    compute = parser.whole()
    expression = Expression(parser.text, tuple(parser.names), compute)
    if not parser.names:
        try:
            expression.result(())
        except Uncomputable:
            raise Malformed(1, "This has no result. Divide by what is not 0.") from None
    return expression


class _Token(NamedTuple):
    kind: str  # number, name, sign or end
    text: str
    at: int


class _Parser:
    """Reads one text from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    @property
    def text(self) -> str:
        """The text without its blanks, which mean nothing."""
        return "".join(token.text for token in self._tokens)

    def whole(self) -> _Compute:
        """The whole text as one expression."""
        compute = self._sum()
        if (token := self._peek()).kind != "end":
            raise Malformed(token.at, f"{token.text} is not expected here. Say + - * or / before.")
        return compute

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def _accept(self, *signs: str) -> str | None:
        token = self._peek()
        if token.kind == "sign" and token.text in signs:
            self._next += 1
            return token.text
        return None

    def _sum(self) -> _Compute:
        left = self._product()
        while sign := self._accept("+", "-"):
            left = _pair(_sum if sign == "+" else _difference, left, self._product())
        return left

    def _product(self) -> _Compute:
        left = self._signed()
        while sign := self._accept("*", "/"):
            at = self._peek().at
            right, constant = self._constant(self._signed)
            if sign == "/" and constant == ZERO:
                raise Malformed(at, "This is always 0. Divide by what is not.")
            left = _pair(_multiplied if sign == "*" else _quotient, left, right)
        return left

    def _signed(self) -> _Compute:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise Malformed(self._peek().at, f"Nest at most {DEPTH_MAX} levels.")
        compute = self._negated() if self._accept("-") else self._operand()
        self._depth -= 1
        return compute

    def _negated(self) -> _Compute:
        inner = self._signed()
        return lambda values: _difference(0, inner(values))

    def _operand(self) -> _Compute:
        token = self._take()
        if token.kind == "number":
            number = parse_decimal(token.text)
            if number is None:
                detail = "Say at most 18 digits before and 12 after the point."
                raise Malformed(token.at, detail)
            return _always(int(number) if number == int(number) else number)
        if token.kind == "name":
            if self._accept("("):
                return self._function(token)
            return self._property(token)
        if token.text == "(":
            inner = self._sum()
            self._close()
            return inner
        if token.kind == "end":
            raise Malformed(token.at, "It ends too early. Say a property or a number here.")
        raise Malformed(token.at, f"{token.text} is not expected. Say a property or a number here.")

    def _property(self, token: _Token) -> _Compute:
        if len(token.text) > NAME_CHARS_MAX:
            raise Malformed(token.at, f"A name has at most {NAME_CHARS_MAX} characters.")
        if token.text not in self.names:
            self.names.append(token.text)
        place = self.names.index(token.text)
        return lambda values: values[place]

    def _function(self, token: _Token) -> _Compute:
        if token.text not in FUNCTIONS:
            listed = ", ".join(FUNCTIONS)
            detail = f"There is no function {token.text}. Say one of {listed}."
            raise Malformed(token.at, detail)
        at = token.at
        step: Decimal | None = ONE
        inner = [self._sum()]
        while self._accept(","):
            at = self._peek().at
            found, step = self._constant(self._sum)
            inner.append(found)
        self._close()
        if token.text in ("max", "min"):
            return _extreme(max if token.text == "max" else min, tuple(inner))
        if len(inner) > 2:
            detail = f"{token.text} takes a value and a step. Leave the others out."
            raise Malformed(token.at, detail)
        if step is not None and step <= ZERO:
            raise Malformed(at, "A step is above 0. Say such as 1 or 0.5.")
        rounded = _ceiling if token.text == "ceil" else _floor
        return _pair(rounded, inner[0], inner[1] if len(inner) == 2 else _always(1))

    def _constant(self, read: Callable[[], _Compute]) -> tuple[_Compute, Decimal | None]:
        """What `read` reads, and its value where it depends on no property and has one."""
        begin = self._next
        compute = read()
        if any(token.kind == "name" and token.text not in FUNCTIONS
               for token in self._tokens[begin : self._next]):  # fmt: skip
            return compute, None
        try:
            return compute, Decimal(compute(()))
        except (decimal.DecimalException, IndexError, Uncomputable):
            return compute, None

    def _close(self) -> None:
        token = self._peek()
        if not self._accept(")"):
            found = "it ends" if token.kind == "end" else f"{token.text} comes"
            raise Malformed(token.at, f"A parenthesis is open where {found}. Say ) here.")


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(text.rstrip(_BLANKS))
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            begin = at + len(text[at:]) - len(text[at:].lstrip(_BLANKS))
            detail = (
                "This is not understood. Say properties such as usage.seconds, numbers such as "
                "0.5, + - * / and parentheses."
            )
            raise Malformed(begin + 1, detail)
        kind = match.lastgroup
        assert kind is not None, "each alternative of a token has its name"
        tokens.append(_Token(kind, match[kind], match.start(kind) + 1))
        at = match.end()
        if len(tokens) > TOKENS_MAX:
            raise Malformed(at, f"This is too long. Say at most {TOKENS_MAX} names and signs.")
    return [*tokens, _Token("end", "", end + 1)]


def _always(number: Number) -> _Compute:
    return lambda _: number


def _pair(
    apply: Callable[[Number, Number], Number], left: _Compute, right: _Compute
) -> _Compute:  # fmt: skip
    return lambda values: apply(left(values), right(values))


def _extreme(choose: Callable[..., Number], inner: Sequence[_Compute]) -> _Compute:
    if len(inner) == 2:
        first, second = inner
        return lambda values: choose(first(values), second(values))
    return lambda values: choose([compute(values) for compute in inner])


# Whole numbers are computed as such, which is many times faster.
def _sum(x: Number, y: Number) -> Number:
    return x + y if type(x) is int and type(y) is int else _EXACT.add(x, y)


def _difference(x: Number, y: Number) -> Number:
    return x - y if type(x) is int and type(y) is int else _EXACT.subtract(x, y)


def _multiplied(x: Number, y: Number) -> Number:
    return x * y if type(x) is int and type(y) is int else _EXACT.multiply(x, y)


def _quotient(numerator: Number, denominator: Number) -> Decimal:
    return divide(Decimal(numerator), Decimal(denominator))


def _ceiling(number: Number, step: Number) -> Number:
    return _difference(0, _floor(_difference(0, number), step))


def _floor(number: Number, step: Number) -> Number:
    if step <= 0:
        raise decimal.InvalidOperation("a step is above zero")
    if type(number) is int and type(step) is int:
        return number // step * step
    whole, rest = _EXACT.divmod(number, step)  # cut towards zero
    return _EXACT.multiply(whole - 1 if rest < 0 else whole, step)
