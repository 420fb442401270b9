"""From the text of an expression to its tree.

The grammar is that of CEL (https://github.com/cel-expr/cel-spec, langdef.md), without messages, macros, bytes and
null, and with durations such as `60s`. A single map is there, `line`: the machines of the line by their names.
Length, depth and nodes are bounded, so that no text takes long to read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import parse_duration
from gateway.settings.expressions.program import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_CHARACTERS, MOST_DEPTH, MOST_NODES = 2_000, 40, 300
"""Characters of an expression, levels of its tree, and nodes of it."""

_SPLIT = "write a part of it as a derived point of its own"

_INT_MAX = 2**63 - 1

LINE = "line"
"""The map of the machines of the line."""

_EXAMPLE = key_of("pressure", "press-02")


class WrongExpression(ValueError):
    """An expression is wrong at a place, which counts characters from 0."""

    def __init__(self, message: str, at: int) -> None:
        self.message, self.at = message, at
        super().__init__(f"{message} (at character {at + 1})")


@dataclass(frozen=True, slots=True)
class Literal:
    """A bool, a number or a text."""

    value: bool | int | float | str
    at: int = 0


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time, in seconds."""

    seconds: float
    at: int = 0


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a point, or of a table; `machine` is another machine of the line, empty for a name alone."""

    name: str
    at: int = 0
    machine: str = ""

    @property
    def key(self) -> str:
        """The name as it is written, which no other point has."""
        return key_of(self.name, self.machine)


@dataclass(frozen=True, slots=True)
class Unary:
    """`!` or `-` before an operand."""

    sign: str
    operand: Node
    at: int = 0


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two operands."""

    sign: str
    left: Node
    right: Node
    at: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """`condition ? then : other`."""

    condition: Node
    then: Node
    other: Node
    at: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of values, the right side of `in`."""

    items: tuple[Node, ...]
    at: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; of `x.f(y)` the first argument is `x`."""

    name: str
    arguments: tuple[Node, ...]
    at: int = 0


Node = Literal | Period | Name | Unary | Binary | Choice | Listing | Call


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKENS = re.compile(
    r"(?P<blank>\s+|//[^\n]*)"
    r"|(?P<duration>\d+(?:\.\d+)?(?:us|ms|s|m|h|d)\b)"
    r"|(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?\b|\d+[eE][+-]?\d+\b|\.\d+(?:[eE][+-]?\d+)?\b)"
    r"|(?P<hex>0[xX][0-9a-fA-F]+\b)"
    r"|(?P<int>\d+\b)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<quoted>`[^`\n]*`)"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:(),.\[\]])"
)

_SLIPS = {
    "=": "write == to compare", "&": "write &&, or bit(x, n) for a bit of a number", "|": "write ||",
    "^": "write pow(x, n) for a power", "{": "write a name without braces: only parameters of a template have them",
}  # fmt: skip

_WORDS = {"and": "&&", "or": "||", "not": "!", "if": "condition ? x : y", "AND": "&&", "OR": "||", "NOT": "!"}
"""Operators of other languages."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}

_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
"""The binary operators, the loosest first."""


def parse(text: str, own: str = "") -> Node:
    """Return the tree of an expression. Raises `WrongExpression`.

    A point that is written with the machine `own` is that of the machine itself, as if its name was written alone.
    """
    if len(text) > MOST_CHARACTERS:
        raise WrongExpression(f"has {len(text):,} characters; the limit is {MOST_CHARACTERS:,}", 0)
    return _Parser(list(_tokens(text)), len(text), own).whole()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise WrongExpression(_slip(text, at), at)
        if match.lastgroup != "blank":
            yield _Token(str(match.lastgroup), match[0], at)
        at = match.end()


def _slip(text: str, at: int) -> str:
    if text[at] in "\"'`":
        return f"the text that begins with {text[at]} has no end"
    if text[at].isdecimal():
        return f"{re.match(r'[0-9A-Za-z_.]+', text[at:])[0]!r} is not a number"  # type: ignore[index] # a digit matches
    hint = _SLIPS.get(text[at])
    return f"{text[at]!r} is not an operator" + (f"; {hint}" if hint else "")


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[_Token], end: int, own: str) -> None:
        self._tokens = tokens
        self._own = own
        self._next = 0
        self._end = _Token("end", "", end)
        self._depth = self._nodes = 0

    def whole(self) -> Node:
        if not self._tokens:
            raise WrongExpression("is empty; write an expression, as in rate(pressure)", 0)
        found = self._choice()
        if self._peek.kind != "end":
            raise WrongExpression(self._unexpected("an operator"), self._peek.at)
        return found

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    def _take(self) -> _Token:
        token = self._peek
        self._next += 1
        return token

    def _sign(self, *signs: str) -> _Token | None:
        token = self._peek
        return self._take() if token.kind in {"sign", "name"} and token.text in signs else None

    def _need(self, sign: str) -> None:
        if self._sign(sign) is None:
            raise WrongExpression(self._unexpected(repr(sign)), self._peek.at)

    def _unexpected(self, wanted: str) -> str:
        token = self._peek
        if token.text in _WORDS:
            return f"{token.text!r} is not an operator; write {_WORDS[token.text]}"
        return f"{wanted} is missing" + (f" before {token.text!r}" if token.text else " at the end")

    def _count(self, at: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise WrongExpression(f"has more than {MOST_NODES} parts; {_SPLIT}", at)

    def _choice(self) -> Node:
        self._depth += 1
        at = self._peek.at
        if self._depth > MOST_DEPTH:
            raise WrongExpression(f"has more than {MOST_DEPTH} levels; {_SPLIT}", at)
        found = self._binary(0)
        if (sign := self._sign("?")) is not None:
            self._count(sign.at)
            then = self._choice()
            self._need(":")
            found = Choice(found, then, self._choice(), sign.at)
        self._depth -= 1
        return found

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while (sign := self._sign(*_LEVELS[level])) is not None:
            self._count(sign.at)
            right = self._binary(level + 1)
            left = Binary(sign.text, left, right, sign.at)
            self._check_chain(left, level)
        return left

    def _check_chain(self, found: Binary, level: int) -> None:
        """Refuse `a < b < c`, which CEL reads as a comparison of a bool; it is never meant."""
        if level == 2 and isinstance(found.left, Binary) and found.left.sign in _LEVELS[2]:  # noqa: PLR2004
            raise WrongExpression("compares a comparison; write a < b && b < c", found.at)

    def _unary(self) -> Node:
        signs = []
        while (sign := self._sign("!", "-")) is not None:
            self._count(sign.at)
            signs.append(sign)
        if len(signs) > MOST_DEPTH:
            raise WrongExpression(f"has more than {MOST_DEPTH} signs in a row", signs[0].at)
        if self._peek.text in _WORDS and self._peek.kind == "name":
            raise WrongExpression(self._unexpected("a value"), self._peek.at)
        found = self._member()
        for sign in reversed(signs):
            negative = sign.text == "-" and isinstance(found, Literal) and type(found.value) in {int, float}
            found = Literal(-found.value, sign.at) if negative else Unary(sign.text, found, sign.at)  # type: ignore[union-attr, operator] # a number
        return found

    def _member(self) -> Node:
        found = self._primary()
        while (dot := self._sign(".")) is not None:
            name = self._peek
            if name.kind not in {"name", "quoted", "int"}:
                raise WrongExpression(self._unexpected("a name"), name.at)
            self._take()
            if self._peek.text == "(":
                found = self._call(name, (found,))
            elif isinstance(found, Name):
                found = Name(f"{found.name}.{name.text.strip('`')}", found.at, found.machine)
            else:
                text = f"a value has no parts; a point of another machine of the line is written {_EXAMPLE}"
                raise WrongExpression(text, dot.at)
        return found

    def _call(self, name: _Token, first: tuple[Node, ...] = ()) -> Node:
        self._count(name.at)
        self._need("(")
        arguments = [*first]
        if self._sign(")") is None:
            arguments += self._items(")")
        return Call(name.text, tuple(arguments), name.at)

    def _items(self, end: str) -> list[Node]:
        found = [self._choice()]
        while self._sign(",") is not None:
            found.append(self._choice())
        self._need(end)
        return found

    def _point_of_line(self, line: _Token) -> Node:
        """Read the name of a machine after `line`, and that of a point of the machine."""
        self._need("[")
        machine = self._take()
        if machine.kind != "text" or len(machine.text) == len('""'):
            raise WrongExpression(f"write the name of a machine of the line in quotes, as in {_EXAMPLE}", machine.at)
        self._need("]")
        if self._sign(".") is None:
            raise WrongExpression(f"write a point of that machine, as in {_EXAMPLE}", self._peek.at)
        point = self._take()
        if point.kind not in {"name", "quoted"} or self._peek.text == "(":
            raise WrongExpression(f"write the name of a point here, as in {_EXAMPLE}", point.at)
        name = _unescaped(machine.text[1:-1], machine.at)
        return Name(point.text.strip("`"), line.at, "" if name == self._own else name)

    def _primary(self) -> Node:
        token = self._peek
        self._count(token.at)
        match token.kind:
            case "name" if token.text not in {"true", "false", "in"}:
                self._take()
                if token.text == LINE and self._peek.text == "[":
                    return self._point_of_line(token)
                return self._call(token) if self._peek.text == "(" else Name(token.text, token.at)
            case "quoted":
                self._take()
                return Name(token.text.strip("`"), token.at)
            case "sign" if token.text == "(":
                self._take()
                found = self._choice()
                self._need(")")
                return found
            case "sign" if token.text == "[":
                self._take()
                return Listing(tuple(self._items("]")), token.at)
            case "end" | "sign":
                raise WrongExpression(self._unexpected("a value"), token.at)
        self._take()
        return _literal(token)


def _literal(token: _Token) -> Node:
    text, at = token.text, token.at
    match token.kind:
        case "int" | "hex":
            number = int(text, 16 if token.kind == "hex" else 10)
            if number > _INT_MAX:
                raise WrongExpression(f"{text} is larger than an int can be, {_INT_MAX}", at)
            return Literal(number, at)
        case "float":
            value = float(text)
            if math.isinf(value):
                raise WrongExpression(f"{text} is larger than a float can be", at)
            return Literal(value, at)
        case "duration":
            seconds = parse_duration(text)
            assert isinstance(seconds, float)  # noqa: S101 - the token is a duration
            return Period(seconds, at)
        case "text":
            return Literal(_unescaped(text[1:-1], at), at)
    if text in {"true", "false"}:
        return Literal(text == "true", at)
    raise WrongExpression("a value is missing before 'in'", at)


def _unescaped(text: str, at: int) -> str:
    def put(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise WrongExpression(f"\\{match[1]} is not an escape; write \\\\ for a backslash", at)
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", put, text)
